import type { Chart, Route } from 'millrace'
import { intOf } from './analytics.ts'

const day = {
  type: 'string',
  maxLength: 40,
  default: '',
  says: 'a day in UTC, as YYYY-MM-DD; the last one on which a job ended, when left out',
} as const
const limit = { type: 'integer', minimum: 1, maximum: 10_000, default: 100, says: 'so many at most' } as const
const days = {
  type: 'integer',
  minimum: 1,
  maximum: 3660,
  default: 30,
  says: 'so many days back from the last',
} as const

export const routes: Route[] = [
  {
    name: 'jobs',
    says: 'The jobs that ended on a day, the last first',
    query: { day, limit },
    answers: {
      job_id: 'integer',
      user: 'text',
      start_time: 'timestamp',
      end_time: 'timestamp',
      duration_seconds: 'integer',
      task_count: 'integer',
      failed_tasks: 'integer',
      success_rate: 'number',
    },
    handle: ({ query }, { sql }) =>
      sql(
        `
        with chosen as (
          select coalesce(spark_log_time(to_jsonb($1::text || 'T00:00')), date_trunc('day', max(end_time), 'UTC')) as day
          from   job_analytics
        )
        select job_id, "user", start_time, end_time, duration_seconds, task_count, failed_tasks, success_rate
        from   job_analytics, chosen
        where  end_time >= chosen.day and end_time < chosen.day + interval '24 hours'
        order by end_time desc, job_id desc
        limit  $2`,
        [query['day'], query['limit']],
      ),
  },
  {
    name: 'job',
    says: 'The events of a job, in the order of their times',
    query: {
      job_id: {
        type: 'string',
        maxLength: 11,
        default: '',
        says: 'the number of the job; the one that ended last, when left out',
      },
      limit,
    },
    answers: {
      timestamp: 'timestamp',
      event: 'text',
      user: 'text',
      task_id: 'text',
      successful: 'text',
      duration_ms: 'number',
      status: 'text',
    },
    async handle({ query }, { sql }) {
      const told = String(query['job_id'])
      return await sql(
        `
        select timestamp, event::text, "user", task_id, coalesce(log ->> 'successful', log ->> 'job_result') as successful,
               case when jsonb_typeof(log -> 'duration_ms') = 'number' then (log ->> 'duration_ms')::float8 end as duration_ms,
               status::text
        from   raw_logs
        where  job_id = coalesce($1::int, (select job_id from job_analytics order by end_time desc, job_id desc limit 1))
        and    ($1::int is not null or $2 = '')
        order by timestamp, event, task_id
        limit  $3`,
        [intOf(told) ?? null, told, query['limit']],
      )
    },
  },
  {
    name: 'days',
    says: 'Each day on which jobs ended: how many, how long, and how many of their tasks succeeded',
    query: { days },
    answers: { day: 'timestamp', jobs: 'integer', task_count: 'integer', success_percent: 'number', hours: 'number' },
    handle: ({ query }, { sql }) =>
      sql(
        `
        select date_trunc('day', end_time, 'UTC') as day, count(*) as jobs, sum(task_count)::bigint as task_count,
               round(100 * coalesce(1 - sum(failed_tasks)::numeric / nullif(sum(task_count), 0), avg(success_rate)::numeric), 2)::float8
                 as success_percent,
               round(sum(duration_seconds) / 3600.0, 2)::float8 as hours
        from   job_analytics
        where  end_time > (select max(end_time) from job_analytics) - $1 * interval '1 day'
        group by 1
        order by 1`,
        [query['days']],
      ),
  },
  {
    name: 'events',
    says: 'Events by what they are, and whether they are computed',
    answers: { event: 'text', status: 'text', events: 'integer' },
    handle: (_, { sql }) =>
      sql(`
        select event::text, status::text, count(*) as events
        from   raw_logs
        group by event, status
        order by event, status`),
  },
]

export const charts: Chart[] = [
  {
    title: 'Success',
    says: 'of tasks, by the day on which their job ended (UTC)',
    route: 'days',
    draws: 'line',
    x: 'day',
    y: ['success_percent'],
    unit: '%',
    refreshSeconds: 5,
  },
  {
    title: 'Jobs by day',
    says: 'days in UTC',
    route: 'days?days=60',
    draws: 'bars',
    x: 'day',
    y: ['jobs'],
    unit: 'jobs',
    refreshSeconds: 5,
  },
  {
    title: 'Jobs of a day',
    says: 'the last first; of the last day, unless one is named',
    route: 'jobs?limit=50',
    draws: 'table',
    x: 'job_id',
    y: ['success_rate'],
    asks: { day: 'Day' },
    refreshSeconds: 5,
  },
  {
    title: 'One job',
    says: 'its events; of the job that ended last, unless one is named',
    route: 'job?limit=100',
    draws: 'table',
    x: 'timestamp',
    y: ['duration_ms'],
    asks: { job_id: 'Job' },
    refreshSeconds: 5,
  },
]
