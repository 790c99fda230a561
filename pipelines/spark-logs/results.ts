import type { Chart, Route } from 'millrace'
import { allJobs } from './analytics.ts'

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
    says: 'The jobs that ended on a day, the last first: those of event logs, with their application, and all others',
    query: {
      day,
      user: { type: 'string', maxLength: 300, default: '', says: 'only those of this user' },
      job: { type: 'string', maxLength: 11, default: '', says: 'only those of this number, on whatever day' },
      app: { type: 'string', maxLength: 300, default: '', says: 'only those of this application' },
      limit,
    },
    answers: {
      end_time: 'timestamp',
      job_id: 'integer',
      app_id: 'text',
      user: 'text',
      seconds: 'integer',
      task_count: 'integer',
      failed_tasks: 'integer',
      success_rate: 'number',
      attempt: 'text',
    },
    handle: ({ query }, { sql }) =>
      sql(
        `
        with chosen as (
          select coalesce(spark_log_time(to_jsonb($1::text || 'T00:00')), date_trunc('day', max(end_time), 'UTC')) as day
          from   job_analytics
        )
        select end_time, job_id, app_id, "user", duration_seconds as seconds, task_count, failed_tasks, success_rate, attempt
        from   ${allJobs}, chosen
        where  ((($4 <> '' or $5 <> '') and $1 = '') or (end_time >= chosen.day and end_time < chosen.day + interval '24 hours'))
        and    ($3 = '' or "user" = $3)
        and    ($4 = '' or job_id::text = $4)
        and    ($5 = '' or app_id = $5)
        order by end_time desc, job_id desc, app_id
        limit  $2`,
        [query['day'], query['limit'], query['user'], query['job'], query['app']],
      ),
  },
  {
    name: 'times',
    says: 'How long the jobs took that ended last, along the time of their end',
    query: { user: { type: 'string', maxLength: 300, default: '', says: 'only those of this user' }, limit },
    answers: { end_time: 'timestamp', seconds: 'integer' },
    handle: ({ query }, { sql }) =>
      sql(
        `
        select end_time, duration_seconds as seconds
        from   job_analytics
        where  $1 = '' or "user" = $1
        order by end_time desc
        limit  $2`,
        [query['user'], query['limit']],
      ),
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
    title: 'How long jobs take',
    says: 'the thousand that ended last, along the time of their end',
    route: 'times?limit=1000',
    draws: 'line',
    x: 'end_time',
    y: ['seconds'],
    unit: 's',
    asks: { user: 'User' },
    refreshSeconds: 5,
  },
  {
    title: 'Jobs of a day',
    says: 'the last first; of the last day, unless one is named. A number is looked for on all days',
    route: 'jobs?limit=100',
    draws: 'table',
    x: 'job_id',
    y: ['success_rate'],
    asks: { day: 'Day', job: 'Job', user: 'User' },
    leads: { column: 'job_id', to: 'job', with: { job: 'job_id', app: 'app_id', attempt: 'attempt' } },
    refreshSeconds: 5,
  },
]
