import type { Chart, Route } from 'millrace'

const limit = { type: 'integer', minimum: 1, maximum: 10_000, default: 100, says: 'so many at most' } as const
const word = (says: string) => ({ type: 'string', maxLength: 300, default: '', says }) as const
const app = word('the id of an application; without one, the newest')
const newest = `coalesce(nullif($1, ''), (select app_id from spark_apps order by started_at desc nulls last limit 1))`

export const routes: Route[] = [
  {
    name: 'applications',
    says: 'Applications, the newest first',
    query: {
      limit,
      id: word('only those whose id or name has this in it'),
      user: word('only those of this user'),
    },
    answers: {
      started_at: 'timestamp',
      app_id: 'text',
      attempt: 'text',
      name: 'text',
      user: 'text',
      state: 'text',
      seconds: 'number',
      jobs: 'integer',
      failed_jobs: 'integer',
      tasks: 'integer',
      success_rate: 'number',
      findings: 'integer',
      core_hours: 'number',
      cost: 'number',
    },
    handle: ({ query }, { sql }) =>
      sql(
        `
        select started_at, app_id, attempt, name, "user",
               case when complete then 'complete' else array_to_string(array(select jsonb_array_elements_text(marks)), ', ') end as state,
               round(duration_ms / 1000.0, 1)::float8 as seconds, jobs, failed_jobs, tasks, success_rate,
               (select count(*) from spark_findings f where f.app_id = a.app_id and f.attempt = a.attempt) as findings,
               round(core_hours::numeric, 3)::float8 as core_hours, round(cost::numeric, 4)::float8 as cost
        from   spark_apps a
        where  ($2 = '' or position(lower($2) in lower(app_id || ' ' || coalesce(name, ''))) > 0)
        and    ($3 = '' or "user" = $3)
        order by started_at desc nulls last, app_id desc
        limit  $1`,
        [query['limit'], query['id'], query['user']],
      ),
  },
  {
    name: 'application-jobs',
    says: 'Jobs that ended on a day, the latest first',
    query: {
      limit,
      day: word('a day in UTC, as YYYY-MM-DD; without one, the newest on which a job ended'),
      app: word('only those of this application'),
      user: word('only those of this user'),
    },
    answers: {
      ended_at: 'timestamp',
      app_id: 'text',
      job_id: 'integer',
      user: 'text',
      name: 'text',
      status: 'text',
      seconds: 'number',
      tasks: 'integer',
      failed_tasks: 'integer',
      success_rate: 'number',
    },
    handle: ({ query }, { sql }) =>
      sql(
        `
        with day as (
          select coalesce(nullif($2, '')::date, (select (max(ended_at) at time zone 'UTC')::date from spark_jobs)) as day
        )
        select ended_at, app_id, job_id, "user", coalesce(description, name) as name, status,
               round(duration_ms / 1000.0, 3)::float8 as seconds, completed_tasks + failed_tasks + killed_tasks as tasks,
               failed_tasks, success_rate
        from   spark_jobs, day
        where  ended_at >= day.day::timestamp at time zone 'UTC'
        and    ended_at < (day.day + 1)::timestamp at time zone 'UTC'
        and    ($3 = '' or app_id = $3)
        and    ($4 = '' or "user" = $4)
        order by ended_at desc, app_id, job_id desc
        limit  $1`,
        [query['limit'], dayOf(query['day']), query['app'], query['user']],
      ),
  },
  {
    name: 'durations',
    says: 'How long jobs took, along the time at which they ended',
    query: { app, limit },
    answers: { ended_at: 'timestamp', seconds: 'number', status: 'text' },
    handle: ({ query }, { sql }) =>
      sql(
        `
        select ended_at, round(duration_ms / 1000.0, 3)::float8 as seconds, status
        from   spark_jobs
        where  app_id = ${newest} and ended_at is not null
        order by ended_at desc
        limit  $2`,
        [query['app'], query['limit']],
      ),
  },
  {
    name: 'stages',
    says: 'Stages of an application or of one of its jobs, with how long their tasks take',
    query: {
      app,
      job: { type: 'integer', minimum: -1, maximum: 2_147_483_647, default: -1, says: 'only those of this job' },
      limit,
    },
    answers: {
      stage: 'text',
      status: 'text',
      name: 'text',
      tasks: 'integer',
      failed_tasks: 'integer',
      median_seconds: 'number',
      longest_seconds: 'number',
      spilled_mb: 'number',
      gc_seconds: 'number',
      failure: 'text',
    },
    handle: ({ query }, { sql }) =>
      sql(
        `
        select stage_id || '.' || stage_attempt as stage, status, name, tasks, failed_tasks,
               round((task_ms_median / 1000.0)::numeric, 3)::float8 as median_seconds,
               round(task_ms_max / 1000.0, 3)::float8 as longest_seconds,
               round(disk_spilled / 1e6, 1)::float8 as spilled_mb, round(jvm_gc_ms / 1000.0, 1)::float8 as gc_seconds,
               left(failure, 300) as failure
        from   spark_stages
        where  app_id = ${newest}
        and    ($2 < 0 or job_ids @> to_jsonb($2::int))
        order by stage_id desc, stage_attempt desc
        limit  $3`,
        [query['app'], query['job'], query['limit']],
      ),
  },
  {
    name: 'findings',
    says: 'What is wrong with an application, the worst first',
    query: { app, limit },
    answers: {
      finding: 'text',
      about: 'text',
      severity: 'text',
      value: 'number',
      threshold: 'number',
      says: 'text',
      formula: 'text',
    },
    handle: ({ query }, { sql }) =>
      sql(
        `
        select finding, about, severity, round(value::numeric, 3)::float8 as value, threshold, says, formula
        from   spark_findings
        where  app_id = ${newest}
        order by severity, finding, value desc
        limit  $2`,
        [query['app'], query['limit']],
      ),
  },
]

export const charts: Chart[] = [
  {
    title: 'Applications',
    says: 'from the event logs of Spark',
    route: 'applications?limit=50',
    draws: 'table',
    x: 'started_at',
    y: ['jobs'],
    refreshSeconds: 5,
  },
  {
    title: 'Jobs of the newest day',
    says: 'that ended, in UTC',
    route: 'application-jobs?limit=50',
    draws: 'table',
    x: 'ended_at',
    y: ['success_rate'],
    refreshSeconds: 5,
  },
  {
    title: 'How long jobs take',
    says: 'of the newest application',
    route: 'durations?limit=1000',
    draws: 'line',
    x: 'ended_at',
    y: ['seconds'],
    by: 'status',
    unit: 's',
    refreshSeconds: 5,
  },
  {
    title: 'What is wrong',
    says: 'with the newest application',
    route: 'findings?limit=20',
    draws: 'table',
    x: 'finding',
    y: ['value'],
    refreshSeconds: 5,
  },
  {
    title: 'Stages',
    says: 'of the newest application',
    route: 'stages?limit=20',
    draws: 'table',
    x: 'stage',
    y: ['tasks'],
    refreshSeconds: 5,
  },
]

// A text that is no day is on none of which there is anything.
function dayOf(text: unknown): string {
  const day = String(text ?? '')
  const isDay = /^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(day) && new Date(day).toJSON()?.startsWith(day) === true
  return day === '' || isDay ? day : '0001-01-01'
}
