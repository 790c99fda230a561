/** `GET /analytics/jobs/:job_id` and `GET /analytics/summary`. */
import type { GetRoute, RouteAnswer, RouteProblem, RouteTools } from 'millrace'
import { summaryKey } from './event-logs/summaries.ts'

/** The key of an answer in the cache. */
export const jobPrefix = 'job_analytics:'
export const jobKey = (job: number): string => `${jobPrefix}${job}`

const retryAfterSeconds = '1'

const jobSchema = {
  type: 'object',
  properties: {
    job_id: { type: 'integer' },
    user: { type: 'string' },
    start_time: { type: 'string', format: 'date-time' },
    end_time: { type: 'string', format: 'date-time' },
    duration_seconds: { type: 'integer' },
    task_count: { type: 'integer' },
    failed_tasks: { type: 'integer' },
    success_rate: { type: 'number' },
    app_id: { type: 'string', description: 'the application, of a job of an event log' },
    attempt: { type: 'string', description: 'its attempt, of a job of an event log' },
  },
}

const jobColumns = 'job_id, "user", start_time, end_time, duration_seconds, task_count, failed_tasks, success_rate'

/** Jobs of both kinds. Those of event logs are numbered from 0 in each application, so that they are named by it, too. */
export const allJobs = `(
  select ${jobColumns}, null as app_id, null as attempt from only job_analytics
  union all
  select ${jobColumns}, app_id, attempt from spark_job_analytics
) jobs`

/** Of a job whose events were posted one by one there is no application to name. */
function named({ app_id, attempt, ...job }: Record<string, unknown>): Record<string, unknown> {
  return app_id === null ? job : { ...job, app_id, attempt }
}

export const jobRoute: GetRoute = {
  path: '/analytics/jobs/:job_id',
  says: 'The analytics of a job',
  params: { job_id: 'the number of the job' },
  query: {
    app_id: {
      type: 'string',
      maxLength: 200,
      default: '',
      says: 'the application whose job is meant, of jobs of event logs: their numbers begin at 0 in each',
    },
    attempt: { type: 'string', maxLength: 20, default: '', says: 'of the application; the newest, when left out' },
  },
  answers: {
    200: { says: 'As they were computed last.', schema: jobSchema },
    202: { says: 'They are not computed yet: ask again. `known` says whether there is any event of the job.' },
  },
  async handle({ params, query }, { sql, cache, enqueue }) {
    const job = intOf(params['job_id'] ?? '')
    if (job === undefined) return { problem: wrong(`"${params['job_id']}" is no number of a job`) }
    if (query['app_id'] !== '') return await jobOfLog(sql, job, String(query['app_id']), String(query['attempt']))
    const found = await cache.through(jobKey(job), async () => {
      const [row] = await sql(`select ${jobColumns} from only job_analytics where job_id = $1`, [job])
      return row
    })
    if (found !== undefined) return { body: found }
    await enqueue('compute_job_analytics', [String(job)])
    const [log] = await sql('select from raw_logs where job_id = $1 limit 1', [job])
    return pending({ job_id: job }, log !== undefined)
  },
}

function pending(job: object, known: boolean): RouteAnswer {
  return {
    status: 202,
    headers: { 'retry-after': retryAfterSeconds },
    body: { ...job, status: 'pending', known },
  }
}

// It is computed when its log is read, and not because somebody asks.
async function jobOfLog(sql: RouteTools['sql'], job: number, app: string, attempt: string): Promise<RouteAnswer> {
  const [found] = await sql(
    `
    select ${jobColumns}, app_id, attempt
    from   spark_job_analytics
    where  app_id = $1 and job_id = $2 and ($3 = '' or attempt = $3)
    order by length(attempt) desc, attempt desc
    limit  1`,
    [app, job, attempt],
  )
  if (found !== undefined) return { body: found }
  const [known] = await sql('select from spark_jobs where app_id = $1 and job_id = $2 limit 1', [app, job])
  return pending({ job_id: job, app_id: app }, known !== undefined)
}

export const summaryRoute: GetRoute = {
  path: '/analytics/summary',
  says: 'The jobs that ended on a day (UTC), and their totals',
  query: { date: { type: 'string', maxLength: 40, default: '', says: 'the day, as YYYY-MM-DD' } },
  answers: {
    200: {
      says: 'By the time of their end, then by number; none on a day on which none ended.',
      schema: {
        type: 'object',
        properties: {
          date: { type: 'string', format: 'date' },
          jobs: { type: 'array', items: jobSchema },
          totals: { type: 'object' },
        },
      },
    },
  },
  async handle({ query }, { sql, cache }) {
    const date = String(query['date'])
    if (!isDay(date)) return { problem: wrong(`"${date}" is no day`, 'give one as ?date=2024-03-30') }
    const body = await cache.through(summaryKey(date), async () => {
      const jobs = await sql(
        `
        select ${jobColumns}, app_id, attempt
        from   ${allJobs}
        where  end_time >= $1::timestamp at time zone 'UTC'
        and    end_time < ($1::timestamp + interval '1 day') at time zone 'UTC'
        order by end_time, job_id, app_id nulls first, attempt`,
        [date],
      )
      return { date, jobs: jobs.map(named), totals: totalsOf(jobs) }
    })
    return { body }
  },
}

// Of all tasks; of jobs without any, as of each job: those that succeeded.
function totalsOf(jobs: Record<string, unknown>[]): Record<string, number> {
  const sum = (column: string) => jobs.reduce((total, job) => total + Number(job[column]), 0)
  const tasks = sum('task_count')
  const failed = sum('failed_tasks')
  const rate = tasks > 0 ? (tasks - failed) / tasks : jobs.length > 0 ? sum('success_rate') / jobs.length : 0
  return {
    jobs: jobs.length,
    task_count: tasks,
    failed_tasks: failed,
    success_rate: rate,
    duration_seconds: sum('duration_seconds'),
  }
}

/** A whole number that a Postgres int can hold. */
export function intOf(text: string): number | undefined {
  const value = /^[+-]?\d{1,10}$/.test(text) ? Number(text) : Number.NaN
  return value >= -2_147_483_648 && value <= 2_147_483_647 ? value : undefined
}

export function isDay(text: string): boolean {
  if (!/^\d{4}-\d\d-\d\d$/.test(text) || text < '0001') return false
  const day = new Date(`${text}T00:00:00Z`)
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(text)
}

function wrong(detail: string, hint?: string): RouteProblem {
  return { status: 422, code: 'WRONG_PARAMETER', detail, ...(hint === undefined ? {} : { hint }) }
}
