/** Lines of a log as typed columns, and from there into Parquet: tasks for themselves, all other events together. */

/** Names as Spark writes them, with their types; what is not named here is not read. */
const rdd = 'struct("RDD ID" integer)'
const stage = `struct("Stage ID" integer, "Stage Attempt ID" integer, "Stage Name" varchar, "Number of Tasks" integer, "RDD Info" ${rdd}[], "Parent IDs" integer[], "Details" varchar, "Submission Time" bigint, "Completion Time" bigint, "Failure Reason" varchar, "Accumulables" json, "Resource Profile Id" integer)`
const blockManager = 'struct("Executor ID" varchar, "Host" varchar, "Port" integer)'
const properties =
  'struct("spark.job.description" varchar, "spark.jobGroup.id" varchar, "spark.job.tags" varchar, "spark.scheduler.pool" varchar, "spark.sql.execution.id" varchar)'
const taskInfo =
  'struct("Task ID" bigint, "Index" integer, "Attempt" integer, "Partition ID" integer, "Launch Time" bigint, "Executor ID" varchar, "Host" varchar, "Locality" varchar, "Speculative" boolean, "Getting Result Time" bigint, "Finish Time" bigint, "Failed" boolean, "Killed" boolean)'
const taskEnd = `struct("Reason" varchar, "Class Name" varchar, "Description" varchar, "Full Stack Trace" varchar, "Kill Reason" varchar, "Executor ID" varchar, "Exit Caused By App" boolean, "Loss Reason" varchar, "Block Manager Address" ${blockManager}, "Shuffle ID" integer, "Map ID" bigint, "Map Index" integer, "Reduce ID" integer, "Message" varchar, "Job ID" integer, "Partition ID" integer, "Attempt Number" integer)`
const pushed =
  'struct("Corrupt Merged Block Chunks" bigint, "Merged Fetch Fallback Count" bigint, "Merged Remote Blocks Fetched" bigint, "Merged Local Blocks Fetched" bigint, "Merged Remote Chunks Fetched" bigint, "Merged Local Chunks Fetched" bigint, "Merged Remote Bytes Read" bigint, "Merged Local Bytes Read" bigint, "Merged Remote Requests Duration" bigint)'
const taskMetrics = `struct("Executor Deserialize Time" bigint, "Executor Deserialize CPU Time" bigint, "Executor Run Time" bigint, "Executor CPU Time" bigint, "Peak Execution Memory" bigint, "Result Size" bigint, "JVM GC Time" bigint, "Result Serialization Time" bigint, "Memory Bytes Spilled" bigint, "Disk Bytes Spilled" bigint, "Shuffle Read Metrics" struct("Remote Blocks Fetched" bigint, "Local Blocks Fetched" bigint, "Fetch Wait Time" bigint, "Remote Bytes Read" bigint, "Remote Bytes Read To Disk" bigint, "Local Bytes Read" bigint, "Total Records Read" bigint, "Remote Requests Duration" bigint, "Push Based Shuffle" ${pushed}), "Shuffle Write Metrics" struct("Shuffle Bytes Written" bigint, "Shuffle Write Time" bigint, "Shuffle Records Written" bigint), "Input Metrics" struct("Bytes Read" bigint, "Records Read" bigint), "Output Metrics" struct("Bytes Written" bigint, "Records Written" bigint))`

const columns: Record<string, string> = {
  Event: 'varchar',
  Timestamp: 'bigint',
  'Spark Version': 'varchar',
  'Job ID': 'integer',
  'Submission Time': 'bigint',
  'Completion Time': 'bigint',
  'Job Result': 'struct("Result" varchar, "Exception" struct("Message" varchar))',
  'Stage IDs': 'integer[]',
  'Stage Infos': `${stage}[]`,
  'Stage Info': stage,
  Properties: properties,
  'Stage ID': 'integer',
  'Stage Attempt ID': 'integer',
  'Task Type': 'varchar',
  'Task End Reason': taskEnd,
  'Task Info': taskInfo,
  'Task Metrics': taskMetrics,
  'App ID': 'varchar',
  'App Name': 'varchar',
  'App Attempt ID': 'varchar',
  User: 'varchar',
  'Executor ID': 'varchar',
  'Executor Info': 'json',
  'Removed Reason': 'varchar',
  'Block Manager ID': blockManager,
  'Maximum Memory': 'bigint',
  'Maximum Onheap Memory': 'bigint',
  'Maximum Offheap Memory': 'bigint',
  'JVM Information': 'json',
  'Spark Properties': 'json',
  'Hadoop Properties': 'json',
  'System Properties': 'json',
  'Metrics Properties': 'json',
  'Classpath Entries': 'json',
  'Resource Profile Id': 'integer',
  'Executor Resource Requests': 'json',
  'Task Resource Requests': 'json',
  executionId: 'bigint',
  rootExecutionId: 'bigint',
  description: 'varchar',
  details: 'varchar',
  physicalPlanDescription: 'varchar',
  sparkPlanInfo: 'json',
  time: 'bigint',
  errorMessage: 'varchar',
  progress: 'json',
  id: 'varchar',
  runId: 'varchar',
  name: 'varchar',
  exception: 'varchar',
}

const ofTasks = ['Stage ID', 'Stage Attempt ID', 'Task Type', 'Task End Reason', 'Task Info', 'Task Metrics']

const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`
const named = (column: string): string => `"${column}"`

function read(path: string, names: string[]): string {
  const typed = names.map((name) => `${quoted(name)}: ${quoted(columns[name] ?? '')}`)
  return `read_json(${quoted(path)}, format = 'newline_delimited', ignore_errors = true,
             maximum_object_size = 16777216, columns = {${typed.join(', ')}})`
}

/** Lines of any kind of a file. What is no event has no name of one. */
export function linesIn(path: string): string {
  return `select * from ${read(path, Object.keys(columns))}`
}

const time = (field: string): string => `"Task Info"."${field}"`
const metric = (path: readonly string[]): string => ['Task Metrics', ...path].map(named).join('.')

/** The metrics of a task, by the name of their column, and where they are in what an event says of them. */
export const metrics = {
  executor_deserialize_ms: ['Executor Deserialize Time'],
  executor_deserialize_cpu_ns: ['Executor Deserialize CPU Time'],
  executor_run_ms: ['Executor Run Time'],
  executor_cpu_ns: ['Executor CPU Time'],
  result_size: ['Result Size'],
  jvm_gc_ms: ['JVM GC Time'],
  result_serialization_ms: ['Result Serialization Time'],
  memory_spilled: ['Memory Bytes Spilled'],
  disk_spilled: ['Disk Bytes Spilled'],
  peak_memory: ['Peak Execution Memory'],
  input_bytes: ['Input Metrics', 'Bytes Read'],
  input_records: ['Input Metrics', 'Records Read'],
  output_bytes: ['Output Metrics', 'Bytes Written'],
  output_records: ['Output Metrics', 'Records Written'],
  shuffle_remote_blocks: ['Shuffle Read Metrics', 'Remote Blocks Fetched'],
  shuffle_local_blocks: ['Shuffle Read Metrics', 'Local Blocks Fetched'],
  shuffle_fetch_wait_ms: ['Shuffle Read Metrics', 'Fetch Wait Time'],
  shuffle_remote_bytes: ['Shuffle Read Metrics', 'Remote Bytes Read'],
  shuffle_remote_bytes_to_disk: ['Shuffle Read Metrics', 'Remote Bytes Read To Disk'],
  shuffle_local_bytes: ['Shuffle Read Metrics', 'Local Bytes Read'],
  shuffle_read_records: ['Shuffle Read Metrics', 'Total Records Read'],
  shuffle_remote_requests_ms: ['Shuffle Read Metrics', 'Remote Requests Duration'],
  merged_corrupt_chunks: ['Shuffle Read Metrics', 'Push Based Shuffle', 'Corrupt Merged Block Chunks'],
  merged_fallbacks: ['Shuffle Read Metrics', 'Push Based Shuffle', 'Merged Fetch Fallback Count'],
  merged_remote_blocks: ['Shuffle Read Metrics', 'Push Based Shuffle', 'Merged Remote Blocks Fetched'],
  merged_local_blocks: ['Shuffle Read Metrics', 'Push Based Shuffle', 'Merged Local Blocks Fetched'],
  merged_remote_chunks: ['Shuffle Read Metrics', 'Push Based Shuffle', 'Merged Remote Chunks Fetched'],
  merged_local_chunks: ['Shuffle Read Metrics', 'Push Based Shuffle', 'Merged Local Chunks Fetched'],
  merged_remote_bytes: ['Shuffle Read Metrics', 'Push Based Shuffle', 'Merged Remote Bytes Read'],
  merged_local_bytes: ['Shuffle Read Metrics', 'Push Based Shuffle', 'Merged Local Bytes Read'],
  merged_remote_requests_ms: ['Shuffle Read Metrics', 'Push Based Shuffle', 'Merged Remote Requests Duration'],
  shuffle_write_bytes: ['Shuffle Write Metrics', 'Shuffle Bytes Written'],
  shuffle_write_ns: ['Shuffle Write Metrics', 'Shuffle Write Time'],
  shuffle_write_records: ['Shuffle Write Metrics', 'Shuffle Records Written'],
} as const

// As Spark prints what became of a task that did not succeed.
const failure = `
  case "Task End Reason".Reason
    when 'Success' then null
    when 'TaskKilled' then "Task End Reason"."Kill Reason"
    when 'ExceptionFailure' then coalesce("Task End Reason"."Full Stack Trace",
      "Task End Reason"."Class Name" || ': ' || "Task End Reason".Description)
    when 'Resubmitted' then 'Resubmitted (resubmitted due to lost executor)'
    when 'FetchFailed' then format('FetchFailed({}, shuffleId={}, mapIndex={}, mapId={}, reduceId={}, message={}{}{})',
      case when "Task End Reason"."Block Manager Address" is null then 'null'
        else format('BlockManagerId({}, {}, {}, None)', "Task End Reason"."Block Manager Address"."Executor ID",
          "Task End Reason"."Block Manager Address".Host, "Task End Reason"."Block Manager Address".Port) end,
      "Task End Reason"."Shuffle ID", "Task End Reason"."Map Index", "Task End Reason"."Map ID",
      "Task End Reason"."Reduce ID", chr(10), coalesce("Task End Reason".Message, ''), chr(10))
    when 'ExecutorLostFailure' then 'ExecutorLostFailure (executor ' || coalesce("Task End Reason"."Executor ID", '')
      || ' exited ' || case when "Task End Reason"."Exit Caused By App" then 'caused by one of the running tasks'
        else 'unrelated to the running tasks' end || ')'
      || coalesce(' Reason: ' || "Task End Reason"."Loss Reason", '')
    when 'TaskCommitDenied' then format('TaskCommitDenied (Driver denied task commit) for job: {}, partition: {}, attemptNumber: {}',
      "Task End Reason"."Job ID", "Task End Reason"."Partition ID", "Task End Reason"."Attempt Number")
    else "Task End Reason".Reason
  end`

/** Starts and ends of tasks, of a table of lines. */
export function tasksOf(table: string): string {
  return `
    select "Stage ID" as stage_id, coalesce("Stage Attempt ID", 0) as stage_attempt, ${time('Task ID')} as task_id,
      ${time('Index')} as task_index, ${time('Attempt')} as task_attempt, ${time('Partition ID')} as partition_id,
      ${time('Launch Time')} as launched_ms, nullif(${time('Finish Time')}, 0) as finished_ms,
      coalesce(${time('Getting Result Time')}, 0) as getting_result_ms, ${time('Executor ID')} as executor,
      ${time('Host')} as host, ${time('Locality')} as locality, coalesce(${time('Speculative')}, false) as speculative,
      Event = 'SparkListenerTaskEnd' as ended, "Task Type" as task_type,
      case when Event = 'SparkListenerTaskEnd' then coalesce("Task End Reason".Reason, 'Unknown') end as reason, "Task End Reason"."Class Name" as error_class,
      coalesce("Task End Reason".Description, "Task End Reason".Message, "Task End Reason"."Loss Reason") as error_says, ${failure} as error,
      "Task Metrics" is not null as has_metrics,
      ${Object.entries(metrics)
        .map(([name, path]) => `coalesce(${metric(path)}, 0) as ${name}`)
        .join(', ')}
    from   ${table}
    where  Event in ('SparkListenerTaskStart', 'SparkListenerTaskEnd')
    and    "Task Info"."Task ID" is not null`
}

/** All other events of a table of lines: the last part of their names, and what was read of them. */
export function eventsOf(table: string): string {
  return `
    select ${eventName}, * exclude (Event, ${ofTasks.map(named).join(', ')})
    from   ${table}
    where  ${isOther}`
}

/** Events of a file of lines that are of no task. */
export function eventsIn(path: string): string {
  const names = Object.keys(columns).filter((name) => !ofTasks.includes(name))
  return `
    select ${eventName}, * exclude (Event)
    from   ${read(path, names)}
    where  ${isOther}`
}

const eventName = "regexp_extract(Event, '([A-Za-z]+)$', 1) as event"
const isOther = "Event is not null and Event not in ('SparkListenerTaskStart', 'SparkListenerTaskEnd')"
