/** What is computed of a job, behind the commit of its events, and how jobs are found that nobody has asked for. */
import type { Schedule, Task } from 'millrace'
import { jobKey } from './analytics.ts'
import { summaryKey } from './event-logs/summaries.ts'

/** Jobs that are computed by one statement. */
const jobsAtOnce = 200

export const tasks: Record<string, Task> = {
  compute_job_analytics: {
    says: 'Computes the analytics of a job whose start and end are there',
    atOnce: jobsAtOnce,
    async run({ keys }, { sql, drop }) {
      const jobs = keys.filter((key) => /^-?\d{1,10}$/.test(key)).map(Number)
      const computed = await sql(computeSql, [jobs])
      // of the day on which it ended as it was known before, too
      const dropped = computed.flatMap(({ job_id, end_day, old_end_day }) => [
        jobKey(Number(job_id)),
        summaryKey(String(end_day)),
        ...(old_end_day === null ? [] : [summaryKey(String(old_end_day))]),
      ])
      await drop([...new Set(dropped)])
    },
  },
  schedule_pending_analytics: {
    says: 'Asks for every job that has a start, an end and something that is not computed',
    async run(_, { sql, enqueue }) {
      const found = await sql(pendingSql)
      await enqueue(
        'compute_job_analytics',
        found.map(({ job_id }) => String(job_id)),
      )
    },
  },
}

export const schedules: Schedule[] = [
  {
    task: 'schedule_pending_analytics',
    everyMs: (settings) => Number(settings['RECONCILE_EVERY']),
    atStart: true,
  },
]

// Through the index of what is pending; the key says whether start and end are there.
const pendingSql = `
  select distinct job_id
  from   raw_logs pending
  where  status = 'pending'
  and    exists (select from raw_logs where job_id = pending.job_id and event = 'SparkListenerJobStart')
  and    exists (select from raw_logs where job_id = pending.job_id and event = 'SparkListenerJobEnd')
  order by job_id`

const computeSql = `
  with edges as (
    -- somebody may have given them a task: then there can be several, and whichever came first the same one counts
    select distinct on (job_id, event) job_id, event, "user", timestamp, log
    from   raw_logs
    where  job_id = any($1::int[])
    and    event in ('SparkListenerJobStart', 'SparkListenerJobEnd')
    order by job_id, event, task_id collate "C" nulls first
  ),
  ended as (
    select start.job_id, nullif(start."user", '') as "user", start.timestamp as start_time,
           coalesce(spark_log_time(done.log -> 'completion_time'), done.timestamp) as end_time,
           coalesce(done.log ->> 'job_result' = 'JobSucceeded', false) as succeeded
    from   edges start
    join   edges done on done.job_id = start.job_id and done.event = 'SparkListenerJobEnd'
    where  start.event = 'SparkListenerJobStart'
  ),
  -- one snapshot: a row that comes meanwhile is not counted, stays pending, and is asked for by its own commit
  seen as (
    select id, job_id, event, "user", status, log -> 'successful' = 'false' as failed
    from   raw_logs
    where  job_id in (select job_id from ended)
  ),
  told as (
    select job_id, count(*) filter (where event = 'SparkListenerTaskEnd') as tasks,
           count(*) filter (where event = 'SparkListenerTaskEnd' and failed) as failed,
           min(nullif("user", '') collate "C") as "user"
    from   seen
    group by job_id
    having bool_or(status = 'pending')
  ),
  before as (
    select job_id, end_time
    -- of these jobs, and not of those of event logs with the same numbers
    from   only job_analytics
    where  job_id in (select job_id from told)
  ),
  written as (
    insert into job_analytics (
      job_id, "user", start_time, end_time, duration_seconds, task_count, failed_tasks, success_rate)
    select job_id, coalesce(ended."user", told."user", 'unknown'), start_time, end_time,
           least(greatest(floor(extract(epoch from end_time - start_time)), 0), 2147483647)::int,
           tasks, failed,
           case when tasks > 0 then (tasks - failed)::float8 / tasks when succeeded then 1 else 0 end
    from   told
    join   ended using (job_id)
    on conflict (job_id) do update
    set    "user" = excluded."user",
           start_time = excluded.start_time,
           end_time = excluded.end_time,
           duration_seconds = excluded.duration_seconds,
           task_count = excluded.task_count,
           failed_tasks = excluded.failed_tasks,
           success_rate = excluded.success_rate
    returning job_id, end_time
  ),
  marked as (
    update raw_logs
    set    status = 'processed'
    where  id in (select id from seen where status = 'pending' and job_id in (select job_id from told))
  )
  select written.job_id, to_char(written.end_time at time zone 'UTC', 'YYYY-MM-DD') as end_day,
         to_char(before.end_time at time zone 'UTC', 'YYYY-MM-DD') as old_end_day
  from   written
  left join before using (job_id)`
