/** What the page shows of one job, be it of an event log or posted event by event. */
import type { Route, RouteTools, View } from 'millrace'
import { intOf } from './analytics.ts'
import { eventLogFollower } from './event-logs/follow.ts'
import { kept } from './event-logs/kept.ts'
import { findingAnswers, findingColumns, stageColumns } from './event-logs/results.ts'

type Row = Record<string, unknown>
type Query = Record<string, string | number>

const query = {
  job: {
    type: 'string',
    maxLength: 11,
    default: '',
    says: 'the number of the job; the one that ended last, when left out',
  },
  app: { type: 'string', maxLength: 300, default: '', says: 'its application, of a job of an event log' },
  attempt: { type: 'string', maxLength: 20, default: '', says: 'its attempt; without one, the newest' },
} as const
const limit = { type: 'integer', minimum: 1, maximum: 10_000, default: 200, says: 'so many at most' } as const

/** A job without an application was posted event by event. */
interface Job {
  job_id: number
  app_id: string | null
  attempt: string | null
}

// A number alone means a job that was posted, if there is one, and else the newest of that number in an event log.
async function jobOf({ sql }: RouteTools, { job, app, attempt }: Query): Promise<Job | undefined> {
  const number = intOf(String(job))
  if (job !== '' && number === undefined) return undefined
  const [found] = await sql(
    `
    select job_id, app_id, attempt
    from (
      (select job_id, null as app_id, null as attempt, end_time as at, 0 as place
       from   only job_analytics
       where  $2 = '' and ($1::int is null or job_id = $1)
       order by end_time desc, job_id desc
       limit  1)
      union all
      (select job_id, null, null, timestamp, 0
       from   raw_logs
       where  $2 = '' and job_id = $1
       limit  1)
      union all
      (select job_id, app_id, attempt, coalesce(ended_at, started_at), 1
       from   spark_jobs
       where  ($1::int is null or job_id = $1) and ($2 = '' or app_id = $2) and ($3 = '' or attempt = $3)
       order by coalesce(ended_at, started_at) desc nulls last, length(attempt) desc, attempt desc, job_id desc
       limit  1)
    ) known
    order by case when $1::int is not null then place end, at desc nulls last
    limit  1`,
    [number ?? null, app, attempt],
  )
  // as: the columns of the statement above
  return found as unknown as Job | undefined
}

// One of an event log.
async function loggedJobOf(tools: RouteTools, query: Query): Promise<Job | undefined> {
  const job = await jobOf(tools, query)
  return job?.app_id === null ? undefined : job
}

const stagesOf = 'app_id = $1 and attempt = $2 and job_ids @> to_jsonb($3::int)'

export const jobRoutes: Route[] = [
  {
    name: 'job',
    says: 'What is known of a job, a line for each fact',
    query,
    answers: { what: 'text', value: 'text' },
    async handle({ query }, tools) {
      const job = await jobOf(tools, query)
      if (job === undefined) return []
      return job.app_id === null ? await postedFacts(tools, job) : await loggedFacts(tools, job)
    },
  },
  {
    name: 'job-stages',
    says: 'The stages of a job of an event log, and how the times of their tasks are distributed',
    query: { ...query, limit },
    answers: {
      stage: 'text',
      status: 'text',
      name: 'text',
      tasks: 'integer',
      failed_tasks: 'integer',
      least_seconds: 'number',
      p25_seconds: 'number',
      median_seconds: 'number',
      p75_seconds: 'number',
      longest_seconds: 'number',
      read_mb: 'number',
      spilled_mb: 'number',
      gc_seconds: 'number',
      failure: 'text',
    },
    async handle({ query }, tools) {
      const job = await loggedJobOf(tools, query)
      if (job === undefined) return []
      const stages = await tools.sql(
        `
        select ${stageColumns},
               round((input_bytes + shuffle_local_bytes + shuffle_remote_bytes) / 1e6, 1)::float8 as read_mb
        from   spark_stages s
        where  ${stagesOf}
        order by stage_id desc, stage_attempt desc
        limit  $4`,
        [job.app_id, job.attempt, job.job_id, query['limit']],
      )
      const times = await ofTasks(
        tools,
        job,
        (tasks) => `
          select stage_id || '.' || stage_attempt as stage, min(ms) / 1000 as least_seconds,
            quantile_disc(ms, 0.25) / 1000 as p25_seconds, quantile_disc(ms, 0.5) / 1000 as median_seconds,
            quantile_disc(ms, 0.75) / 1000 as p75_seconds, max(ms) / 1000 as longest_seconds
          from   ${tasks}
          group by 1`,
      )
      const byStage = new Map(times.map((row) => [row['stage'], row]))
      return stages.map((row) => ({ ...row, ...byStage.get(row['stage']) }))
    },
  },
  {
    name: 'job-tasks',
    says: 'How many tasks of a job of an event log took how long',
    query,
    answers: { took: 'text', tasks: 'integer' },
    async handle({ query }, tools) {
      const job = await loggedJobOf(tools, query)
      if (job === undefined) return []
      const counts = await ofTasks(
        tools,
        job,
        (tasks) => `
          select list_max(list_filter([${bounds.join(', ')}], lambda b: b <= greatest(ms, 0))) as least, count(*)::integer as tasks
          from   ${tasks}
          group by 1`,
      )
      return histogram(new Map(counts.map(({ least, tasks }) => [Number(least), Number(tasks)])))
    },
  },
  {
    name: 'job-findings',
    says: 'What is wrong with a job of an event log, or with its stages',
    query: { ...query, limit },
    answers: findingAnswers,
    async handle({ query }, tools) {
      const job = await loggedJobOf(tools, query)
      if (job === undefined) return []
      return await tools.sql(
        `
        select ${findingColumns}
        from   spark_findings f
        where  app_id = $1 and attempt = $2
        and    (about = 'job ' || $3::int
                or about in (select 'stage ' || stage_id || '.' || stage_attempt from spark_stages where ${stagesOf})
                -- failures name the stages in which they were
                or finding = 'root_cause' and exists (
                  select from spark_stages where ${stagesOf} and evidence -> 'stages' @> to_jsonb(stage_id)))
        order by f.severity, f.finding, f.value desc
        limit  $4`,
        [job.app_id, job.attempt, job.job_id, query['limit']],
      )
    },
  },
  {
    name: 'job-events',
    says: 'The events of a job that was posted event by event, in the order of their times',
    query: { ...query, limit },
    answers: {
      timestamp: 'timestamp',
      event: 'text',
      user: 'text',
      task_id: 'text',
      successful: 'text',
      duration_ms: 'number',
      status: 'text',
    },
    async handle({ query }, tools) {
      const job = await jobOf(tools, query)
      if (job === undefined || job.app_id !== null) return []
      return await tools.sql(
        `
        select timestamp, event::text, "user", task_id, coalesce(log ->> 'successful', log ->> 'job_result') as successful,
               case when jsonb_typeof(log -> 'duration_ms') = 'number' then (log ->> 'duration_ms')::float8 end as duration_ms,
               status::text
        from   raw_logs
        where  job_id = $1
        order by timestamp, event, task_id
        limit  $2`,
        [job.job_id, query['limit']],
      )
    },
  },
]

// Tasks that have ended, each once, with the milliseconds they took.
async function ofTasks(tools: RouteTools, job: Job, select: (tasks: string) => string): Promise<Row[]> {
  const stages = await tools.sql(`select stage_id, stage_attempt from spark_stages where ${stagesOf}`, [
    job.app_id,
    job.attempt,
    job.job_id,
  ])
  const from = await kept(tools, 'tasks', job.app_id, job.attempt)
  if (from === undefined || stages.length === 0) return []
  const wanted = stages.map(({ stage_id, stage_attempt }) => `(${stage_id}, ${stage_attempt})`).join(', ')
  return await tools.files(eventLogFollower.name, (folder) =>
    select(`(
      select distinct stage_id, stage_attempt, task_id, (finished_ms - launched_ms)::double as ms
      from   ${from(folder)}
      where  ended and reason <> 'Resubmitted' and finished_ms is not null and (stage_id, stage_attempt) in (${wanted})
    )`),
  )
}

/** In milliseconds: a bar is from one to the next. */
const bounds = [0, ...Array.from({ length: 8 }, (_, power) => [1, 2, 5].map((n) => n * 10 ** power)).flat()]

// With the empty ones between others, so that the picture has the shape of what it shows.
function histogram(counts: Map<number, number>): Row[] {
  const places = [...counts.keys()].map((least) => bounds.indexOf(least))
  const shown = bounds.slice(Math.min(...places, bounds.length), Math.max(...places, -1) + 1)
  return shown.map((least) => ({ took: spanOf(least), tasks: counts.get(least) ?? 0 }))
}

function spanOf(least: number): string {
  const next = bounds[bounds.indexOf(least) + 1]
  if (next === undefined) return `${least / 1000} s and more`
  return least < 1000 && next <= 1000 ? `${least} to ${next} ms` : `${least / 1000} to ${next / 1000} s`
}

async function postedFacts({ sql }: RouteTools, { job_id }: Job): Promise<Row[]> {
  return await sql(
    `
    select fact.what, fact.value
    from   (select count(*) as events, count(*) filter (where status = 'pending') as pending from raw_logs where job_id = $1) e
    left join only job_analytics j on j.job_id = $1
    cross join lateral (values
      ('job', $1::int::text),
      ('user', j."user"),
      ('state', case when j.job_id is null then 'not computed: its start or its end is not there'
                     when e.pending > 0 then 'is computed again' else 'computed' end),
      ('started', to_char(j.start_time at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')),
      ('ended', to_char(j.end_time at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')),
      ('took', j.duration_seconds || ' s'),
      ('tasks', j.task_count || ', ' || j.failed_tasks || ' failed'),
      ('tasks that did well', round((100 * j.success_rate)::numeric, 2) || ' %'),
      ('events', e.events || ', ' || e.pending || ' pending')
    ) fact(what, value)
    where  fact.value is not null`,
    [job_id],
  )
}

async function loggedFacts({ sql }: RouteTools, { app_id, attempt, job_id }: Job): Promise<Row[]> {
  return await sql(
    `
    select fact.what, fact.value
    from   spark_jobs j
    cross join lateral (values
      ('job', job_id || ' of ' || app_id || case when attempt = '' then '' else ', attempt ' || attempt end),
      ('name', name),
      ('description', description),
      ('group', job_group),
      ('user', "user"),
      ('status', status),
      ('error', left(error, 1000)),
      ('started', to_char(started_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS')),
      ('ended', to_char(ended_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS')),
      ('took', round(duration_ms / 1000.0, 3) || ' s'),
      ('stages', completed_stages || ' complete, ' || failed_stages || ' failed, ' || skipped_stages || ' skipped, '
                 || active_stages || ' run'),
      ('tasks', completed_tasks || ' did well, ' || failed_tasks || ' failed, ' || killed_tasks || ' were killed, '
                || skipped_tasks || ' skipped'),
      ('tasks that did well', round((100 * success_rate)::numeric, 2) || ' %'),
      ('time of tasks for nothing', round(retried_ms / 1000.0, 1) || ' s'),
      ('tasks that ended after it', nullif(late_tasks, 0)::text)
    ) fact(what, value)
    where  app_id = $1 and attempt = $2 and job_id = $3 and fact.value is not null`,
    [app_id, attempt, job_id],
  )
}

export const jobView: View = {
  name: 'job',
  title: 'One job',
  says: 'By its number, and its application if it is of an event log. The one that ended last, unless one is named.',
  asks: { job: 'Job', app: 'Application', attempt: 'Attempt' },
  charts: [
    { title: 'The job', route: 'job', draws: 'table', x: 'what', y: ['value'], refreshSeconds: 5 },
    {
      title: 'How long its tasks took',
      says: 'that ended, of a job of an event log',
      route: 'job-tasks',
      draws: 'bars',
      x: 'took',
      y: ['tasks'],
      unit: 'tasks',
      refreshSeconds: 5,
    },
    {
      title: 'What is wrong',
      says: 'with it and its stages, of a job of an event log',
      route: 'job-findings',
      draws: 'table',
      x: 'finding',
      y: ['value'],
      refreshSeconds: 5,
    },
    {
      title: 'Its stages',
      says: 'of a job of an event log: the last first, and how the times of their tasks are distributed',
      route: 'job-stages',
      draws: 'table',
      x: 'stage',
      y: ['tasks'],
      refreshSeconds: 5,
    },
    {
      title: 'Its events',
      says: 'of a job that was posted event by event',
      route: 'job-events',
      draws: 'table',
      x: 'timestamp',
      y: ['duration_ms'],
      refreshSeconds: 5,
    },
  ],
}
