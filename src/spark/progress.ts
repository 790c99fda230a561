/** How far Spark has come with a statement, as its Connect server says it: of rows that says nothing. */
export interface SparkProgress {
  stages: number
  stagesDone: number
  tasks: number
  tasksDone: number
  bytesRead: number
}

export function howFar({ stages, stagesDone, tasks, tasksDone, bytesRead }: SparkProgress): string {
  const megabytes = Math.round(bytesRead / 1e6).toLocaleString('en-US')
  return `${stagesDone} of ${stages} stages, ${tasksDone} of ${tasks} tasks, ${megabytes} MB read`
}
