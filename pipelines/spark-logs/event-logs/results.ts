/** What the page shows of applications, and how. */
import type { Chart, Route, View } from 'millrace'

const limit = { type: 'integer', minimum: 1, maximum: 10_000, default: 100, says: 'so many at most' } as const
const word = (says: string) => ({ type: 'string', maxLength: 300, default: '', says }) as const
const app = word('the id of an application; without one, the newest')
const attempt = { type: 'string', maxLength: 20, default: '', says: 'its attempt; without one, the newest' } as const

/** The one attempt of an application that is meant, by the first two parameters. */
const chosen = `
  chosen as (
    select a.*
    from   spark_apps a
    where  ($1 = '' or app_id = $1) and ($2 = '' or attempt = $2)
    order by case when $1 = '' then started_at end desc nulls last, length(attempt) desc, attempt desc, app_id desc
    limit  1
  )`

/** Of a finding `f`. */
export const findingColumns = `f.severity, f.finding, f.says, round(f.value::numeric, 3)::float8 as value, f.threshold, f.about,
               f.formula, left(f.evidence::text, 500) as evidence`

export const findingAnswers = {
  severity: 'text',
  finding: 'text',
  says: 'text',
  value: 'number',
  threshold: 'number',
  about: 'text',
  formula: 'text',
  evidence: 'text',
} as const

/** Of a stage `s`: what every list of stages shows. */
export const stageColumns = `s.stage_id || '.' || s.stage_attempt as stage, s.status, s.name, s.tasks, s.failed_tasks,
               round(s.disk_spilled / 1e6, 1)::float8 as spilled_mb, round(s.jvm_gc_ms / 1000.0, 1)::float8 as gc_seconds,
               left(s.failure, 300) as failure`

const state = `case when complete then 'complete'
  else array_to_string(array(select jsonb_array_elements_text(marks)), ', ') end`

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
        select started_at, app_id, attempt, name, "user", ${state} as state,
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
    name: 'application',
    says: 'What is known of an application, a line for each fact',
    query: { app, attempt },
    answers: { what: 'text', value: 'text' },
    handle: ({ query }, { sql }) =>
      sql(
        `
        with ${chosen}
        select fact.what, fact.value
        from   chosen c
        cross join lateral (values
          ('application', app_id || case when attempt = '' then '' else ', attempt ' || attempt end),
          ('name', name),
          ('user', "user"),
          ('state', ${state}),
          ('started', to_char(started_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')),
          ('ended', to_char(ended_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')),
          ('took', round(duration_ms / 1000.0, 1) || ' s'),
          ('jobs', jobs || ', ' || failed_jobs || ' failed, ' || running_jobs || ' run'),
          ('tasks', tasks || ', ' || failed_tasks || ' failed'),
          ('tasks that did well', round((100 * success_rate)::numeric, 2) || ' %'),
          ('executors', executors::text),
          ('core hours', round(core_hours::numeric, 4) || ', which cost ' || round(cost::numeric, 4)),
          ('Spark', spark_version),
          ('lines', lines || ', ' || bad_lines || ' of them no events')
        ) fact(what, value)
        where  fact.value is not null`,
        [query['app'], query['attempt']],
      ),
  },
  {
    name: 'application-jobs',
    says: 'Jobs of an application, the latest first',
    query: { app, attempt, limit },
    answers: {
      job_id: 'integer',
      name: 'text',
      status: 'text',
      started_at: 'timestamp',
      seconds: 'number',
      tasks: 'integer',
      failed_tasks: 'integer',
      success_rate: 'number',
      app_id: 'text',
      attempt: 'text',
    },
    handle: ({ query }, { sql }) =>
      sql(
        `
        with ${chosen}
        select j.job_id, coalesce(j.description, j.name) as name, j.status, j.started_at,
               round(j.duration_ms / 1000.0, 3)::float8 as seconds,
               j.completed_tasks + j.failed_tasks + j.killed_tasks as tasks, j.failed_tasks, j.success_rate,
               j.app_id, j.attempt
        from   spark_jobs j
        join   chosen using (app_id, attempt)
        order by j.job_id desc
        limit  $3`,
        [query['app'], query['attempt'], query['limit']],
      ),
  },
  {
    name: 'durations',
    says: 'How long jobs of an application took, along the time at which they ended',
    query: { app, attempt, limit },
    answers: { ended_at: 'timestamp', seconds: 'number', status: 'text' },
    handle: ({ query }, { sql }) =>
      sql(
        `
        with ${chosen}
        select j.ended_at, round(j.duration_ms / 1000.0, 3)::float8 as seconds, j.status
        from   spark_jobs j
        join   chosen using (app_id, attempt)
        where  j.ended_at is not null
        order by j.ended_at desc
        limit  $3`,
        [query['app'], query['attempt'], query['limit']],
      ),
  },
  {
    name: 'stages',
    says: 'Stages of an application or of one of its jobs, with how long their tasks take',
    query: {
      app,
      attempt,
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
        with ${chosen}
        select ${stageColumns},
               round((s.task_ms_median / 1000.0)::numeric, 3)::float8 as median_seconds,
               round(s.task_ms_max / 1000.0, 3)::float8 as longest_seconds
        from   spark_stages s
        join   chosen using (app_id, attempt)
        where  ($3 < 0 or s.job_ids @> to_jsonb($3::int))
        order by s.stage_id desc, s.stage_attempt desc
        limit  $4`,
        [query['app'], query['attempt'], query['job'], query['limit']],
      ),
  },
  {
    name: 'findings',
    says: 'What is wrong with an application, the worst first',
    query: { app, attempt, limit },
    answers: findingAnswers,
    handle: ({ query }, { sql }) =>
      sql(
        `
        with ${chosen}
        select ${findingColumns}
        from   spark_findings f
        join   chosen using (app_id, attempt)
        order by f.severity, f.finding, f.value desc
        limit  $3`,
        [query['app'], query['attempt'], query['limit']],
      ),
  },
]

const leadsToApplication = {
  column: 'app_id',
  to: 'application',
  with: { app: 'app_id', attempt: 'attempt' },
}

export const charts: Chart[] = [
  {
    title: 'Applications',
    says: 'from the event logs of Spark, the newest first',
    route: 'applications?limit=100',
    draws: 'table',
    x: 'started_at',
    y: ['jobs'],
    asks: { id: 'Id or name', user: 'User' },
    leads: leadsToApplication,
    refreshSeconds: 5,
  },
]

export const views: View[] = [
  {
    name: 'application',
    title: 'One application',
    says: 'What its event log says. The newest, unless one is named.',
    asks: { app: 'Application', attempt: 'Attempt' },
    charts: [
      {
        title: 'The application',
        route: 'application',
        draws: 'table',
        x: 'what',
        y: ['value'],
        refreshSeconds: 5,
      },
      {
        title: 'How long its jobs take',
        says: 'along the time at which they ended',
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
        says: 'with the number that says so, and its formula',
        route: 'findings?limit=50',
        draws: 'table',
        x: 'finding',
        y: ['value'],
        refreshSeconds: 5,
      },
      {
        title: 'Jobs',
        says: 'the last first',
        route: 'application-jobs?limit=200',
        draws: 'table',
        x: 'job_id',
        y: ['seconds'],
        leads: { column: 'job_id', to: 'job', with: { job: 'job_id', app: 'app_id', attempt: 'attempt' } },
        refreshSeconds: 5,
      },
      {
        title: 'Stages',
        says: 'the last first',
        route: 'stages?limit=200',
        draws: 'table',
        x: 'stage',
        y: ['tasks'],
        refreshSeconds: 5,
      },
    ],
  },
]
