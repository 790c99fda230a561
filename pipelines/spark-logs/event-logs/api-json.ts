/** Rows as Spark's History Server writes them. Names and order of fields are its own. */

export type Row = Record<string, unknown>

/** `2026-11-21T01:39:01.587GMT` */
export function dateOf(value: unknown): string | undefined {
  return value instanceof Date ? value.toISOString().replace('Z', 'GMT') : undefined
}

const msOf = (value: unknown): number => (value instanceof Date ? value.getTime() : 0)

/** A field that is left out when there is nothing to say. */
function given(name: string, value: unknown): Row {
  return value === undefined || value === null ? {} : { [name]: value }
}

const notYet = new Date(-1)

export function appOf(attempts: Row[]): Row {
  const [newest = {}] = attempts
  return {
    id: newest['app_id'],
    name: newest['name'] ?? '',
    attempts: attempts.map(attemptOf),
  }
}

export function attemptOf(row: Row): Row {
  const end = row['ended_at'] ?? notYet
  return {
    ...given('attemptId', row['attempt'] === '' ? undefined : row['attempt']),
    startTime: dateOf(row['started_at'] ?? notYet),
    endTime: dateOf(end),
    lastUpdated: dateOf(row['read_at']),
    // of one that has not ended Spark tells none
    duration: row['ended_at'] === null ? 0 : row['duration_ms'],
    sparkUser: row['user'] ?? '',
    completed: row['ended_at'] !== null,
    appSparkVersion: row['spark_version'] ?? '',
    startTimeEpoch: msOf(row['started_at']),
    endTimeEpoch: msOf(end),
    lastUpdatedEpoch: msOf(row['read_at']),
  }
}

export function jobOf(row: Row): Row {
  return {
    jobId: row['job_id'],
    name: row['name'] ?? '',
    ...given('description', row['description']),
    ...given('submissionTime', dateOf(row['started_at'])),
    ...given('completionTime', dateOf(row['ended_at'])),
    stageIds: row['stage_ids'],
    ...given('jobGroup', row['job_group']),
    jobTags: row['tags'],
    status: row['status'],
    numTasks: row['tasks'],
    numActiveTasks: row['active_tasks'],
    numCompletedTasks: row['completed_tasks'],
    numSkippedTasks: row['skipped_tasks'],
    numFailedTasks: row['failed_tasks'],
    numKilledTasks: row['killed_tasks'],
    numCompletedIndices: row['completed_indices'],
    numActiveStages: row['active_stages'],
    numCompletedStages: row['completed_stages'],
    numSkippedStages: row['skipped_stages'],
    numFailedStages: row['failed_stages'],
    killedTasksSummary: row['killed_summary'],
  }
}

interface Accumulable {
  ID: number
  Name: string
  Value?: unknown
}

function accumulators(value: unknown): Row[] {
  // as: what Spark wrote
  const all = (typeof value === 'string' ? JSON.parse(value) : []) as Accumulable[]
  return all.map(({ ID, Name, Value }) => ({ id: ID, name: Name, value: String(Value) }))
}

/** What is long of a stage, by its row. */
export type StageTexts = (stage: Row) => { details?: unknown; accumulables?: unknown }

export function stageOf(row: Row, texts: StageTexts): Row {
  const { details, accumulables } = texts(row)
  return {
    status: row['status'],
    stageId: row['stage_id'],
    attemptId: row['stage_attempt'],
    numTasks: row['tasks'],
    numActiveTasks: row['active_tasks'],
    numCompleteTasks: row['completed_tasks'],
    numFailedTasks: row['failed_tasks'],
    numKilledTasks: row['killed_tasks'],
    numCompletedIndices: row['completed_indices'],
    ...given('submissionTime', dateOf(row['submitted_at'])),
    ...given('firstTaskLaunchedTime', dateOf(row['first_task_at'])),
    ...given('completionTime', dateOf(row['completed_at'])),
    ...given('failureReason', row['failure']),
    executorDeserializeTime: row['executor_deserialize_ms'],
    executorDeserializeCpuTime: row['executor_deserialize_cpu_ns'],
    executorRunTime: row['executor_run_ms'],
    executorCpuTime: row['executor_cpu_ns'],
    resultSize: row['result_size'],
    jvmGcTime: row['jvm_gc_ms'],
    resultSerializationTime: row['result_serialization_ms'],
    memoryBytesSpilled: row['memory_spilled'],
    diskBytesSpilled: row['disk_spilled'],
    peakExecutionMemory: row['peak_memory'],
    inputBytes: row['input_bytes'],
    inputRecords: row['input_records'],
    outputBytes: row['output_bytes'],
    outputRecords: row['output_records'],
    shuffleRemoteBlocksFetched: row['shuffle_remote_blocks'],
    shuffleLocalBlocksFetched: row['shuffle_local_blocks'],
    shuffleFetchWaitTime: row['shuffle_fetch_wait_ms'],
    shuffleRemoteBytesRead: row['shuffle_remote_bytes'],
    shuffleRemoteBytesReadToDisk: row['shuffle_remote_bytes_to_disk'],
    shuffleLocalBytesRead: row['shuffle_local_bytes'],
    shuffleReadBytes: Number(row['shuffle_remote_bytes']) + Number(row['shuffle_local_bytes']),
    shuffleReadRecords: row['shuffle_read_records'],
    shuffleCorruptMergedBlockChunks: row['merged_corrupt_chunks'],
    shuffleMergedFetchFallbackCount: row['merged_fallbacks'],
    shuffleMergedRemoteBlocksFetched: row['merged_remote_blocks'],
    shuffleMergedLocalBlocksFetched: row['merged_local_blocks'],
    shuffleMergedRemoteChunksFetched: row['merged_remote_chunks'],
    shuffleMergedLocalChunksFetched: row['merged_local_chunks'],
    shuffleMergedRemoteBytesRead: row['merged_remote_bytes'],
    shuffleMergedLocalBytesRead: row['merged_local_bytes'],
    shuffleRemoteReqsDuration: row['shuffle_remote_requests_ms'],
    shuffleMergedRemoteReqsDuration: row['merged_remote_requests_ms'],
    shuffleWriteBytes: row['shuffle_write_bytes'],
    shuffleWriteTime: row['shuffle_write_ns'],
    shuffleWriteRecords: row['shuffle_write_records'],
    name: row['name'] ?? '',
    ...given('description', row['description']),
    details: details ?? '',
    schedulingPool: row['pool'],
    rddIds: row['rdd_ids'],
    accumulatorUpdates: accumulators(accumulables),
    killedTasksSummary: row['killed_summary'],
    resourceProfileId: row['resource_profile'],
    isShufflePushEnabled: false,
    shuffleMergersCount: 0,
  }
}

export function executorOf(row: Row, app: Row): Row {
  // as: what Spark says of an executor when it is added
  const info = row['info'] as { 'Log Urls'?: Row; Attributes?: Row; Resources?: Row; 'Resource Profile Id'?: number }
  const isDriver = row['executor'] === 'driver'
  return {
    id: row['executor'],
    hostPort: row['host_port'],
    isActive: row['active'],
    rddBlocks: 0,
    memoryUsed: 0,
    diskUsed: 0,
    totalCores: row['cores'],
    maxTasks: row['cores'],
    activeTasks: row['active_tasks'],
    failedTasks: row['failed_tasks'],
    completedTasks: row['completed_tasks'],
    totalTasks: row['total_tasks'],
    // of a driver Spark tells the time of the application
    totalDuration: isDriver ? app['duration_ms'] : row['total_ms'],
    totalGCTime: row['gc_ms'],
    totalInputBytes: row['input_bytes'],
    totalShuffleRead: row['shuffle_read'],
    totalShuffleWrite: row['shuffle_write'],
    isBlacklisted: false,
    maxMemory: row['max_memory'],
    addTime: dateOf(row['added_at']),
    ...given('removeTime', dateOf(row['removed_at'])),
    ...given('removeReason', row['remove_reason']),
    executorLogs: info['Log Urls'] ?? {},
    ...(row['max_onheap'] === null
      ? {}
      : {
          memoryMetrics: {
            usedOnHeapStorageMemory: 0,
            usedOffHeapStorageMemory: 0,
            totalOnHeapStorageMemory: row['max_onheap'],
            totalOffHeapStorageMemory: row['max_offheap'] ?? 0,
          },
        }),
    blacklistedInStages: [],
    attributes: info.Attributes ?? {},
    resources: info.Resources ?? {},
    resourceProfileId: info['Resource Profile Id'] ?? 0,
    isExcluded: false,
    excludedInStages: [],
  }
}

const n = (row: Row, name: string): number => Number(row[name] ?? 0)

export function taskOf(row: Row, logs: Record<string, unknown>): Row {
  const reason = row['reason']
  const running = reason === null
  const killed = reason === 'TaskKilled' || reason === 'TaskCommitDenied'
  const duration = n(row, 'finished_ms') - n(row, 'launched_ms')
  const gettingResult = n(row, 'getting_result_ms')
  return {
    taskId: n(row, 'task_id'),
    index: row['task_index'],
    attempt: row['task_attempt'],
    partitionId: row['partition_id'] ?? -1,
    launchTime: dateOf(new Date(n(row, 'launched_ms'))),
    ...(gettingResult > 0 ? { resultFetchStart: dateOf(new Date(gettingResult)) } : {}),
    ...(running ? {} : { duration }),
    executorId: row['executor'],
    host: row['host'],
    status: running ? 'RUNNING' : reason === 'Success' ? 'SUCCESS' : killed ? 'KILLED' : 'FAILED',
    taskLocality: row['locality'],
    speculative: row['speculative'],
    accumulatorUpdates: [],
    ...given('errorMessage', row['error']),
    // one that was lost with its executor has measured nothing
    ...(running ? {} : { taskMetrics: taskMetricsOf(row) }),
    executorLogs: logs[String(row['executor'])] ?? {},
    schedulerDelay: running ? 0 : schedulerDelay(row, duration),
    gettingResultTime: gettingResult > 0 ? n(row, 'finished_ms') - gettingResult : 0,
  }
}

function schedulerDelay(row: Row, duration: number): number {
  const gettingResult = n(row, 'getting_result_ms') > 0 ? n(row, 'finished_ms') - n(row, 'getting_result_ms') : 0
  const known = ['executor_run_ms', 'executor_deserialize_ms', 'result_serialization_ms']
  return Math.max(0, known.reduce((left, name) => left - n(row, name), duration) - gettingResult)
}

function taskMetricsOf(row: Row): Row {
  return {
    executorDeserializeTime: n(row, 'executor_deserialize_ms'),
    executorDeserializeCpuTime: n(row, 'executor_deserialize_cpu_ns'),
    executorRunTime: n(row, 'executor_run_ms'),
    executorCpuTime: n(row, 'executor_cpu_ns'),
    resultSize: n(row, 'result_size'),
    jvmGcTime: n(row, 'jvm_gc_ms'),
    resultSerializationTime: n(row, 'result_serialization_ms'),
    memoryBytesSpilled: n(row, 'memory_spilled'),
    diskBytesSpilled: n(row, 'disk_spilled'),
    peakExecutionMemory: n(row, 'peak_memory'),
    inputMetrics: { bytesRead: n(row, 'input_bytes'), recordsRead: n(row, 'input_records') },
    outputMetrics: { bytesWritten: n(row, 'output_bytes'), recordsWritten: n(row, 'output_records') },
    shuffleReadMetrics: {
      remoteBlocksFetched: n(row, 'shuffle_remote_blocks'),
      localBlocksFetched: n(row, 'shuffle_local_blocks'),
      fetchWaitTime: n(row, 'shuffle_fetch_wait_ms'),
      remoteBytesRead: n(row, 'shuffle_remote_bytes'),
      remoteBytesReadToDisk: n(row, 'shuffle_remote_bytes_to_disk'),
      localBytesRead: n(row, 'shuffle_local_bytes'),
      recordsRead: n(row, 'shuffle_read_records'),
      remoteReqsDuration: n(row, 'shuffle_remote_requests_ms'),
      shufflePushReadMetrics: {
        corruptMergedBlockChunks: n(row, 'merged_corrupt_chunks'),
        mergedFetchFallbackCount: n(row, 'merged_fallbacks'),
        remoteMergedBlocksFetched: n(row, 'merged_remote_blocks'),
        localMergedBlocksFetched: n(row, 'merged_local_blocks'),
        remoteMergedChunksFetched: n(row, 'merged_remote_chunks'),
        localMergedChunksFetched: n(row, 'merged_local_chunks'),
        remoteMergedBytesRead: n(row, 'merged_remote_bytes'),
        localMergedBytesRead: n(row, 'merged_local_bytes'),
        remoteMergedReqsDuration: n(row, 'merged_remote_requests_ms'),
      },
    },
    shuffleWriteMetrics: {
      bytesWritten: n(row, 'shuffle_write_bytes'),
      writeTime: n(row, 'shuffle_write_ns'),
      recordsWritten: n(row, 'shuffle_write_records'),
    },
  }
}

export function environmentOf(info: unknown): Row {
  // as: what the follower has put there
  const { environment, profiles } = (info ?? {}) as {
    environment?: Record<string, Record<string, string>>
    profiles?: { id: number; executor: Record<string, Row>; task: Record<string, Row> }[]
  }
  const jvm = environment?.['jvm'] ?? {}
  const pairs = (name: string): string[][] =>
    Object.entries(environment?.[name] ?? {}).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return {
    runtime: {
      javaVersion: jvm['Java Version'] ?? '',
      javaHome: jvm['Java Home'] ?? '',
      scalaVersion: jvm['Scala Version'] ?? '',
    },
    sparkProperties: pairs('spark'),
    hadoopProperties: pairs('hadoop'),
    systemProperties: pairs('system'),
    metricsProperties: pairs('metrics'),
    classpathEntries: pairs('classpath'),
    resourceProfiles: (profiles ?? []).map(({ id, executor, task }) => ({
      id,
      executorResources: renamed(executor, {
        resourceName: 'Resource Name',
        amount: 'Amount',
        discoveryScript: 'Discovery Script',
        vendor: 'Vendor',
      }),
      taskResources: renamed(task, { resourceName: 'Resource Name', amount: 'Amount' }),
    })),
  }
}

function renamed(resources: Record<string, Row>, names: Record<string, string>): Row {
  return Object.fromEntries(
    Object.entries(resources ?? {}).map(([resource, values]) => [
      resource,
      Object.fromEntries(Object.entries(names).map(([ours, theirs]) => [ours, values[theirs] ?? ''])),
    ]),
  )
}

export function executionOf(row: Row, { details, plan }: { details: boolean; plan: boolean }): Row {
  return {
    id: row['execution_id'],
    status: row['status'],
    description: row['description'] ?? '',
    planDescription: plan ? (row['plan'] ?? '') : '',
    submissionTime: dateOf(row['started_at']),
    duration: row['duration_ms'] ?? 0,
    runningJobIds: row['running_jobs'],
    successJobIds: row['success_jobs'],
    failedJobIds: row['failed_jobs'],
    ...(details ? { nodes: nodesOf(row['plan_info']), edges: [] } : { nodes: [], edges: [] }),
  }
}

interface PlanInfo {
  nodeName: string
  children?: PlanInfo[]
}

// Names of nodes, the root first. What each of them counted is in accumulators, which are not read.
function nodesOf(plan: unknown): Row[] {
  const nodes: Row[] = []
  const add = ({ nodeName, children = [] }: PlanInfo): void => {
    nodes.push({ nodeId: nodes.length, nodeName, metrics: [] })
    for (const child of children) add(child)
  }
  // as: what Spark wrote of a plan
  if (plan !== null && plan !== undefined) add(plan as PlanInfo)
  return nodes
}
