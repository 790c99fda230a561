/**
 * What a log says, from the Parquet of its tasks and of its other events: a table in DuckDB for each table of results.
 * Everything is told from sets of events, never from their order. Long because the tables tell one story, each from the
 * ones before it.
 */
import { metrics } from './parse.ts'

export interface Subject {
  appId: string
  attempt: string
  lines: number
  badLines: number
  bytes: number
  /** What is known of the log beside its events: in progress, cut, damaged. */
  marks: string[]
  pricePerCoreHour: number
}

const text = (value: string): string => `'${value.replaceAll("'", "''")}'`
const list = (paths: readonly string[]): string => `[${paths.map(text).join(', ')}]`
/** A list of numbers as JSON. */
const json = (list: string): string => `coalesce(to_json(${list}), '[]')`
/** Postgres has no U+0000, neither in texts nor in JSON. */
export const clean = (value: string): string => `replace(${value}, chr(0), '')`
export const cleanJson = (value: string): string => `regexp_replace(${value}::varchar, '\\\\u0000', '', 'g')`
const at = (ms: string): string => `make_timestamptz((${ms}) * 1000)`

const summed = Object.keys(metrics)

/** The statements, in order. Task files may be none; events are at least one file. */
export function analysis(subject: Subject, files: { tasks: readonly string[]; events: readonly string[] }): string[] {
  const key = `${text(subject.appId)} as app_id, ${text(subject.attempt)} as attempt`
  return [
    `create or replace temp view events as select * from read_parquet(${list(files.events)}, union_by_name = true)`,
    `create or replace temp view every_task as select * from read_parquet(${list(files.tasks)}, union_by_name = true)`,
    ...jobsAndStages,
    ...ofTasks,
    stages(key),
    ...jobs(key),
    jobAnalytics,
    executors(key),
    sqlExecutions(key),
    streamProgress(key),
    app(key, subject),
  ]
}

/** Tells whether lines were read twice, which a log has none of, and posts may have. */
export const taskRepeats = `
  select count(*) > count(distinct (stage_id, stage_attempt, task_id, reason)) as repeated from every_task`

/** What `tasks` is when lines are there once, and when they are there again. */
export const tasksOnce = 'create or replace temp view tasks as select * from every_task'
export const tasksDistinct = `
  create or replace temp table tasks as
  select distinct on (stage_id, stage_attempt, task_id, reason) * from every_task order by all`

const toldOfStage = [
  'Stage ID',
  'Stage Attempt ID',
  'Stage Name',
  'Number of Tasks',
  'RDD Info',
  'Parent IDs',
  'Submission Time',
  'Completion Time',
  'Failure Reason',
  'Resource Profile Id',
]
const stageInfo = (from: string): string => `{${toldOfStage.map((name) => `'${name}': ${from}."${name}"`).join(', ')}}`

const jobsAndStages = [
  `create or replace temp table job_starts as
   select "Job ID" as job_id, min("Submission Time") as started_ms, any_value("Stage IDs") as stage_ids,
     -- what is long of a stage is told below
     any_value(list_transform("Stage Infos", lambda i: {'id': i."Stage ID", 'name': i."Stage Name",
       'tasks': i."Number of Tasks", 'completed_ms': i."Completion Time"})) as infos,
     any_value(Properties) as properties
   from   events
   where  event = 'SparkListenerJobStart' and "Job ID" is not null
   group by 1`,
  `create or replace temp table job_ends as
   select "Job ID" as job_id, max("Completion Time") as ended_ms, any_value("Job Result") as result
   from   events
   where  event = 'SparkListenerJobEnd' and "Job ID" is not null
   group by 1`,
  // without what is long of a stage: that is read from where it lies when somebody asks
  `create or replace temp table stages_told as
   with told as (
     select unnest(list_transform("Stage Infos", lambda i: ${stageInfo('i')})) as info, 0 as said_by, null as properties
     from   events
     where  event = 'SparkListenerJobStart'
     union all
     select ${stageInfo('"Stage Info"')}, case event when 'SparkListenerStageCompleted' then 2 else 1 end,
       case event when 'SparkListenerStageSubmitted' then Properties end
     from   events
     where  event in ('SparkListenerStageSubmitted', 'SparkListenerStageCompleted')
   )
   select info."Stage ID" as stage_id, coalesce(info."Stage Attempt ID", 0) as stage_attempt, info, said_by, properties
   from   told
   where  info."Stage ID" is not null`,
  `create or replace temp table stage_infos as
   with best as (
     select stage_id, stage_attempt, arg_max(rowid, said_by) as place, any_value(properties) as properties
     from   stages_told
     group by all
   )
   select t.stage_id, t.stage_attempt, t.info, t.said_by, b.properties
   from   stages_told t
   join   best b on t.rowid = b.place`,
  'drop table stages_told',
  `create or replace temp table listed_stages as
   select job_id, unnest(stage_ids) as stage_id from job_starts`,
]

const ofTasks = [
  `create or replace temp table task_sums as
   with counted as (
     select stage_id, stage_attempt, min(launched_ms) as first_ms,
       -- a task that was handed in again has ended before, and did not start again
       count(*) filter (not ended) as started,
       count(*) filter (reason in ('TaskKilled', 'TaskCommitDenied')) as killed,
       count(*) filter (ended and reason not in ('Success', 'TaskKilled', 'TaskCommitDenied')) as failed,
       coalesce(sum(finished_ms - launched_ms) filter (ended), 0) as task_ms_total,
       coalesce(sum(finished_ms - launched_ms) filter (ended and reason not in ('Success', 'Resubmitted')), 0) as retried_ms
     from   tasks
     group by all
   ), done_well as (
     select stage_id, stage_attempt, count(*) as completed, count(distinct task_index) as indices,
       median(finished_ms - launched_ms) as task_ms_median, max(finished_ms - launched_ms) as task_ms_max
     from   tasks
     where  reason = 'Success'
     group by all
   ), measured as (
     select stage_id, stage_attempt, count(*) as ended, ${summed.map((name) => `sum(${name}) as ${name}`).join(', ')}
     from   tasks
     where  ended and reason <> 'Resubmitted'
     group by all
   )
   select c.*, coalesce(m.ended, 0) as ended, coalesce(w.completed, 0) as completed, coalesce(w.indices, 0) as indices,
     w.task_ms_median, w.task_ms_max, ${summed.map((name) => `m.${name}`).join(', ')}
   from   counted c
   left join done_well w using (stage_id, stage_attempt)
   left join measured m using (stage_id, stage_attempt)`,
  `create or replace temp table kills as
   select stage_id, stage_attempt, coalesce(error, reason) as why, count(*) as n
   from   tasks
   where  reason in ('TaskKilled', 'TaskCommitDenied')
   group by all`,
  // a stage runs for those of its jobs that were under way when it was submitted
  `create or replace temp table job_stages as
   with candidates as (
     select l.job_id, i.stage_id, i.stage_attempt,
       i.info."Submission Time" as submitted_ms, s.started_ms, e.ended_ms
     from   listed_stages l
     join   stage_infos i using (stage_id)
     join   job_starts s using (job_id)
     left join job_ends e using (job_id)
   ), judged as (
     select *, submitted_ms is not null and submitted_ms >= started_ms and (ended_ms is null or submitted_ms <= ended_ms) as meant
     from   candidates
   )
   select job_id, stage_id, stage_attempt
   from   judged
   qualify meant or not bool_or(meant) over (partition by stage_id, stage_attempt)`,
]

const status = `
  case
    when i.said_by = 2 and i.info."Failure Reason" is not null then 'FAILED'
    when i.said_by = 2 and i.info."Submission Time" is not null then 'COMPLETE'
    when i.said_by = 2 then 'SKIPPED'
    when i.said_by = 1 or t.started > 0 or t.ended > 0 then 'ACTIVE'
    when exists (from job_stages j join job_ends e using (job_id)
      where j.stage_id = k.stage_id and j.stage_attempt = k.stage_attempt) then 'SKIPPED'
    else 'PENDING'
  end`

function stages(key: string): string {
  return `
    create or replace temp table spark_stages as
    with known as (
      select stage_id, stage_attempt from stage_infos union select stage_id, stage_attempt from task_sums
    ), jobs_of as (
      select stage_id, stage_attempt, list(job_id order by job_id) as job_ids from job_stages group by all
    ), kills_of as (
      select stage_id, stage_attempt, json_group_object(${clean('why')}, n) as summary from kills group by all
    )
    select ${key}, k.stage_id, k.stage_attempt, ${json('j.job_ids')} as job_ids, ${status} as status,
      ${clean('i.info."Stage Name"')} as name, ${clean('i.properties."spark.job.description"')} as description,
      coalesce(i.properties."spark.scheduler.pool", 'default') as pool,
      ${clean('i.info."Failure Reason"')} as failure, ${at('i.info."Submission Time"')} as submitted_at,
      ${at('t.first_ms')} as first_task_at, ${at('i.info."Completion Time"')} as completed_at,
      coalesce(i.info."Number of Tasks", 0) as tasks, greatest(0, coalesce(t.started - t.ended, 0)) as active_tasks,
      coalesce(t.completed, 0) as completed_tasks, coalesce(t.failed, 0) as failed_tasks,
      coalesce(t.killed, 0) as killed_tasks, coalesce(t.indices, 0) as completed_indices,
      coalesce(x.summary, '{}') as killed_summary, ${json('i.info."Parent IDs"')} as parent_ids,
      coalesce(to_json(list_transform(i.info."RDD Info", lambda r: r."RDD ID")), '[]') as rdd_ids,
      coalesce(i.info."Resource Profile Id", 0) as resource_profile,
      coalesce(t.task_ms_total, 0) as task_ms_total, t.task_ms_median, t.task_ms_max,
      ${summed.map((name) => `coalesce(t.${name}, 0) as ${name}`).join(', ')},
      coalesce(t.retried_ms, 0) as _retried_ms
    from   known k
    left join stage_infos i using (stage_id, stage_attempt)
    left join task_sums t using (stage_id, stage_attempt)
    left join jobs_of j using (stage_id, stage_attempt)
    left join kills_of x using (stage_id, stage_attempt)`
}

function jobs(key: string): string[] {
  return [
    // tasks of a job are those of the stages that ran for it; of a stage that ran twice an index counts once
    `create or replace temp table job_indices as
     select job_id, sum(n)::bigint as indices
     from (
       select j.job_id, t.stage_id, count(distinct t.task_index) as n
       from   (select stage_id, stage_attempt, task_index from tasks where reason = 'Success') t
       join   job_stages j using (stage_id, stage_attempt)
       group by all
     )
     group by 1`,
    `create or replace temp table job_late as
     select j.job_id, count(*) as n
     from   tasks t
     join   job_stages j using (stage_id, stage_attempt)
     join   job_ends e using (job_id)
     where  t.ended and t.finished_ms > e.ended_ms
     group by 1`,
    `create or replace temp table spark_jobs as
     with known as (
       select job_id from job_starts union select job_id from job_ends
     ), of_stages as (
       select j.job_id,
         sum(s.active_tasks) as active_tasks, sum(s.completed_tasks) as completed_tasks,
         sum(s.failed_tasks) as failed_tasks, sum(s.killed_tasks) as killed_tasks, sum(s._retried_ms) as retried_ms,
         count(*) filter (s.status = 'ACTIVE') as active_stages,
         count(distinct s.stage_id) filter (s.status = 'COMPLETE') as completed_stages,
         count(distinct s.stage_id) filter (s.status = 'SKIPPED') as skipped_stages,
         coalesce(sum(s.tasks) filter (s.status = 'SKIPPED'), 0) as skipped_tasks,
         count(*) filter (s.status = 'FAILED') as failed_stages
       from   job_stages j
       join   spark_stages s using (stage_id, stage_attempt)
       group by 1
     ), kills_of as (
       select job_id, json_group_object(${clean('why')}, n) as summary
       from   (select j.job_id, why, sum(n)::bigint as n from kills join job_stages j using (stage_id, stage_attempt) group by all)
       group by 1
     )
     select ${key}, k.job_id,
       ${clean(`list_last(list_sort(s.infos)).name`)} as name,
       ${clean('s.properties."spark.job.description"')} as description,
       ${clean('s.properties."spark.jobGroup.id"')} as job_group,
       coalesce(to_json(list_sort(list_filter(string_split(${clean('s.properties."spark.job.tags"')}, ','), lambda t: t <> ''))), '[]') as tags,
       (select ${clean('min("User")')} from events where event = 'SparkListenerApplicationStart') as "user",
       case when e.result.Result = 'JobSucceeded' then 'SUCCEEDED' when e.job_id is not null then 'FAILED' else 'RUNNING' end as status,
       ${at('s.started_ms')} as started_at, ${at('e.ended_ms')} as ended_at,
       case when e.ended_ms < s.started_ms then 0 else e.ended_ms - s.started_ms end as duration_ms, ${clean('e.result.Exception.Message')} as error,
       ${json('s.stage_ids')} as stage_ids,
       coalesce(list_sum(list_transform(list_filter(s.infos, lambda i: i.completed_ms is null), lambda i: i.tasks)), 0)::int as tasks,
       coalesce(o.active_tasks, 0) as active_tasks, coalesce(o.completed_tasks, 0) as completed_tasks,
       coalesce(o.skipped_tasks, 0) as skipped_tasks, coalesce(o.failed_tasks, 0) as failed_tasks,
       coalesce(o.killed_tasks, 0) as killed_tasks, coalesce(n.indices, 0) as completed_indices,
       coalesce(o.active_stages, 0) as active_stages, coalesce(o.completed_stages, 0) as completed_stages,
       coalesce(o.skipped_stages, 0) as skipped_stages, coalesce(o.failed_stages, 0) as failed_stages,
       coalesce(x.summary, '{}') as killed_summary,
       case when coalesce(o.completed_tasks + o.failed_tasks + o.killed_tasks, 0) > 0
         then o.completed_tasks::double / (o.completed_tasks + o.failed_tasks + o.killed_tasks)
         else (coalesce(e.result.Result, '') = 'JobSucceeded')::int end as success_rate,
       coalesce(o.retried_ms, 0) as retried_ms, coalesce(l.n, 0) as late_tasks
     from   known k
     left join job_starts s using (job_id)
     left join job_ends e using (job_id)
     left join of_stages o using (job_id)
     left join job_indices n using (job_id)
     left join kills_of x using (job_id)
     left join job_late l using (job_id)`,
  ]
}

// As those of jobs whose events were posted one by one: a task that was killed did not succeed.
const jobAnalytics = `
  create or replace temp table spark_job_analytics as
  select app_id, attempt, job_id, coalesce(nullif("user", ''), 'unknown') as "user",
    started_at as start_time, ended_at as end_time,
    least(duration_ms // 1000, 2147483647)::integer as duration_seconds,
    (completed_tasks + failed_tasks + killed_tasks)::integer as task_count,
    (failed_tasks + killed_tasks)::integer as failed_tasks, success_rate
  from   spark_jobs
  where  started_at is not null and ended_at is not null`

function executors(key: string): string {
  return `
    create or replace temp table spark_executors as
    with told as (
      select coalesce("Block Manager ID"."Executor ID", "Executor ID") as executor,
        min(Timestamp) filter (event in ('SparkListenerExecutorAdded', 'SparkListenerBlockManagerAdded')) as added_ms,
        max(Timestamp) filter (event = 'SparkListenerExecutorRemoved') as removed_ms,
        any_value("Removed Reason") as reason, any_value("Executor Info") as info,
        any_value("Block Manager ID") filter (event = 'SparkListenerBlockManagerAdded') as manager,
        max("Maximum Memory") as max_memory, max("Maximum Onheap Memory") as max_onheap,
        max("Maximum Offheap Memory") as max_offheap
      from   events
      where  event in ('SparkListenerExecutorAdded', 'SparkListenerExecutorRemoved', 'SparkListenerBlockManagerAdded')
      group by 1
    ), work as (
      select executor, any_value(host) as host,
        count(*) filter (not ended) as total, count(*) filter (ended and reason <> 'Resubmitted') as ends,
        count(*) filter (reason = 'Success') as completed,
        count(*) filter (ended and reason not in ('Success', 'TaskKilled', 'TaskCommitDenied')) as failed,
        sum(finished_ms - launched_ms) filter (ended) as total_ms,
        sum(jvm_gc_ms) filter (ended and reason <> 'Resubmitted') as gc_ms,
        sum(input_bytes) filter (ended and reason <> 'Resubmitted') as input_bytes,
        sum(shuffle_local_bytes + shuffle_remote_bytes) filter (ended and reason <> 'Resubmitted') as shuffle_read,
        sum(shuffle_write_bytes) filter (ended and reason <> 'Resubmitted') as shuffle_write
      from   tasks
      group by 1
    ), known as (
      select executor from told union select executor from work
    )
    select ${key}, k.executor, coalesce(t.info->>'Host', t.manager.Host, w.host) as host,
      coalesce(t.manager.Host || ':' || t.manager.Port, t.info->>'Host', w.host) as host_port,
      coalesce((t.info->>'Total Cores')::int, 0) as cores, t.removed_ms is null as active,
      ${at('t.added_ms')} as added_at, ${at('t.removed_ms')} as removed_at, ${clean('t.reason')} as remove_reason,
      greatest(0, coalesce(w.total - w.ends, 0)) as active_tasks, coalesce(w.completed, 0) as completed_tasks,
      coalesce(w.failed, 0) as failed_tasks, coalesce(w.total, 0) as total_tasks, coalesce(w.total_ms, 0) as total_ms,
      coalesce(w.gc_ms, 0) as gc_ms, coalesce(w.input_bytes, 0) as input_bytes,
      coalesce(w.shuffle_read, 0) as shuffle_read, coalesce(w.shuffle_write, 0) as shuffle_write,
      coalesce(t.max_memory, 0) as max_memory, t.max_onheap, t.max_offheap,
      coalesce(${cleanJson('t.info')}, '{}') as info
    from   known k
    left join told t using (executor)
    left join work w using (executor)
    where  k.executor is not null`
}

function sqlExecutions(key: string): string {
  return `
    create or replace temp table spark_sql as
    with told as (
      select executionId as execution_id, any_value(rootExecutionId) as root_id,
        any_value(description) filter (event = 'SparkListenerSQLExecutionStart') as description,
        any_value(details) filter (event = 'SparkListenerSQLExecutionStart') as details,
        min(time) filter (event = 'SparkListenerSQLExecutionStart') as started_ms,
        max(time) filter (event = 'SparkListenerSQLExecutionEnd') as ended_ms,
        any_value(errorMessage) filter (event = 'SparkListenerSQLExecutionEnd') as error,
        -- plans are told again and again while a query runs: the final one says so
        max_by({'text': physicalPlanDescription, 'info': sparkPlanInfo},
          {'isUpdate': event = 'SparkListenerSQLAdaptiveExecutionUpdate',
           'isFinal': contains(physicalPlanDescription, '== Final Plan =='), 'long': length(physicalPlanDescription)})
          filter (physicalPlanDescription is not null) as plan
      from   events
      where  event in ('SparkListenerSQLExecutionStart', 'SparkListenerSQLExecutionEnd', 'SparkListenerSQLAdaptiveExecutionUpdate')
      and    executionId is not null
      group by 1
    ), jobs_of as (
      select try_cast(s.properties."spark.sql.execution.id" as bigint) as execution_id,
        list(job_id order by job_id) filter (j.status = 'RUNNING') as running,
        list(job_id order by job_id) filter (j.status = 'SUCCEEDED') as success,
        list(job_id order by job_id) filter (j.status = 'FAILED') as failed
      from   job_starts s
      join   spark_jobs j using (job_id)
      group by 1
    )
    select ${key}, t.execution_id, t.root_id, ${clean('t.description')} as description, ${clean('t.details')} as details,
      ${clean('t.plan.text')} as plan, ${cleanJson('t.plan.info')} as plan_info,
      case when coalesce(t.error, '') <> '' then 'FAILED' when t.ended_ms is null then 'RUNNING'
        when len(j.failed) > 0 and t.error is null then 'FAILED' else 'COMPLETED' end as status,
      ${clean("nullif(t.error, '')")} as error, ${at('t.started_ms')} as started_at, ${at('t.ended_ms')} as ended_at,
      t.ended_ms - t.started_ms as duration_ms, ${json('j.running')} as running_jobs, ${json('j.success')} as success_jobs,
      ${json('j.failed')} as failed_jobs
    from   told t
    left join jobs_of j using (execution_id)`
}

function streamProgress(key: string): string {
  return `
    create or replace temp table spark_stream_progress as
    with ended as (
      select runId as run_id, any_value(exception) as error
      from   events
      where  event = 'QueryTerminatedEvent'
      group by 1
    ), told as (
      select progress->>'runId' as run_id, coalesce((progress->>'batchId')::bigint, -1) as batch, any_value(progress) as progress
      from   events
      where  event = 'QueryProgressEvent' and (progress->>'runId') is not null
      group by all
    )
    select ${key}, t.run_id, t.batch, t.progress->>'id' as query_id, ${clean("t.progress->>'name'")} as name,
      try_cast(t.progress->>'timestamp' as timestamptz) as at,
      coalesce(try_cast(t.progress->>'batchDuration' as bigint), try_cast(t.progress->'durationMs'->>'triggerExecution' as bigint)) as duration_ms,
      coalesce(list_sum(list_transform(try_cast(t.progress->'sources' as json[]), lambda s: coalesce(try_cast(s->>'numInputRows' as bigint), 0))), 0)::bigint as input_rows,
      list_sum(list_transform(try_cast(t.progress->'sources' as json[]), lambda s: try_cast(s->>'processedRowsPerSecond' as double))) as rows_per_second,
      coalesce(list_sum(list_transform(try_cast(t.progress->'stateOperators' as json[]), lambda s: coalesce(try_cast(s->>'numRowsTotal' as bigint), 0))), 0)::bigint as state_rows,
      case when t.batch = max(t.batch) over (partition by t.run_id) then ${clean('e.error')} end as error,
      ${cleanJson('t.progress')} as progress
    from   told t
    left join ended e using (run_id)`
}

function app(key: string, { lines, badLines, bytes, marks, pricePerCoreHour }: Subject): string {
  return `
    create or replace temp table spark_apps as
    with told as (
      select any_value("App Name") as name, any_value(User) as "user",
        any_value("Spark Version") filter (event = 'SparkListenerLogStart') as spark_version,
        min(Timestamp) filter (event = 'SparkListenerApplicationStart') as started_ms,
        max(Timestamp) filter (event = 'SparkListenerApplicationEnd') as ended_ms,
        min(Timestamp) as first_ms,
        greatest(max(Timestamp), max("Submission Time"), max("Completion Time"), max(time), max("Stage Info"."Completion Time")) as last_ms,
        any_value({'jvm': "JVM Information", 'spark': "Spark Properties", 'hadoop': "Hadoop Properties", 'system': "System Properties",
          'metrics': "Metrics Properties", 'classpath': "Classpath Entries"}) filter (event = 'SparkListenerEnvironmentUpdate') as environment,
        list_sort(list(distinct {'id': "Resource Profile Id", 'executor': "Executor Resource Requests", 'task': "Task Resource Requests"})
          filter (event = 'SparkListenerResourceProfileAdded')) as profiles
      from   events
    ), last_of_tasks as (
      select max(greatest(launched_ms, finished_ms)) as ms from tasks
    ), times as (
      select *, coalesce(started_ms, first_ms) as begins_ms,
        -- what ends after the application has ended, has still been seen
        greatest(coalesce(ended_ms, 0), coalesce(last_ms, 0), coalesce((select ms from last_of_tasks), 0)) as seen_ms
      from   told
    ), of_jobs as (
      select count(*) as jobs, count(*) filter (status = 'FAILED') as failed, count(*) filter (status = 'RUNNING') as running from spark_jobs
    ), of_stages as (
      select count(*) as stages, coalesce(sum(completed_tasks + failed_tasks + killed_tasks), 0)::bigint as tasks,
        coalesce(sum(completed_tasks), 0)::bigint as completed, coalesce(sum(failed_tasks), 0)::bigint as failed
      from   spark_stages
    ), of_executors as (
      select count(*) filter (executor <> 'driver' or cores > 0) as executors,
        coalesce(sum(cores * greatest(0, coalesce(epoch_ms(removed_at), coalesce(t.ended_ms, t.seen_ms)) - epoch_ms(added_at))), 0) / 3600000.0 as core_hours
      from   spark_executors, times t
    )
    select ${key}, ${clean('t.name')} as name, ${clean('t."user"')} as "user", t.spark_version, ${at('t.begins_ms')} as started_at,
      ${at('t.ended_ms')} as ended_at, ${at('nullif(t.seen_ms, 0)')} as last_event_at,
      greatest(0, coalesce(t.ended_ms, t.seen_ms) - coalesce(t.begins_ms, t.seen_ms)) as duration_ms,
      t.ended_ms is not null and ${marks.length === 0} as complete,
      to_json(list_concat([${marks.map(text).join(', ')}]::varchar[],
        list_filter([case when t.started_ms is null then 'no start' end, case when t.ended_ms is null then 'no end' end,
          ${badLines > 0 ? "'lines that are no events'" : 'null'}], lambda m: m is not null))) as marks,
      ${lines} as lines, ${badLines} as bad_lines, ${bytes} as bytes, j.jobs, j.failed as failed_jobs, j.running as running_jobs,
      s.stages, s.tasks, s.failed as failed_tasks, case when s.tasks > 0 then s.completed::double / s.tasks end as success_rate,
      e.executors, e.core_hours, e.core_hours * ${pricePerCoreHour} as cost,
      ${cleanJson("json_object('environment', to_json(t.environment), 'profiles', to_json(t.profiles))")} as info
    from   times t, of_jobs j, of_stages s, of_executors e`
}
