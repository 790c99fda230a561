/** Sample jobs: each starts, runs its tasks, some of which fail, and ends. As messages, as a file, or straight into the table. */
import { type GenerateRequest, type GenerateSummary, MillraceError, type Generator as SampleGenerator } from 'millrace'
import { type Clock, portions, systemClock } from '../sample-pace.ts'
import { randomFrom } from '../sample-random.ts'
import { logsTopic, messageOf } from './topic.ts'

const eventsEveryMs = 50
const jobsAtOnce = 4
const mostTasks = 10
/** Of the tasks, so many fail; of the jobs, so many. */
const tasksFail = 0.1
const jobsFail = 0.15
/** Of the jobs, so many have an end that comes before that of their last task. */
const lateTasks = 0.1
const users = ['data_engineer_1', 'data_engineer_2', 'analyst_1', 'ml_service']
const eventsRemembered = 1000

type LogEvent = Record<string, unknown>

export const generator: SampleGenerator = {
  says: 'jobs of one to ten tasks, some of which fail',
  options: { jobs: { default: '10', says: 'so many jobs, when it is given no --count' } },
  bulk: true,
  run: (request) => generate(request),
}

/** Hands in the events asked for, until their number, the duration or the signal ends it. */
export async function generate(request: GenerateRequest, clock: Clock = systemClock): Promise<GenerateSummary> {
  const { bulk, to } = request
  const events = openEvents(request)
  const topic = request.topic(logsTopic)
  // a table is filled at once
  const pace =
    bulk === undefined ? request : { ...request, eventsPerSecond: undefined, count: request.count ?? most(request) }
  for await (const { events: wanted, firstMs, stepMs } of portions('spark-logs', pace, {
    clock,
    everyMs: eventsEveryMs,
  })) {
    const made = events.next(wanted, firstMs, stepMs)
    if (made.length > 0) {
      if (bulk !== undefined) await insert(bulk.sql, made)
      else {
        const key = (event: LogEvent) => String(event['job_id'] ?? '')
        const value = (event: LogEvent) => (to === undefined ? messageOf(JSON.stringify(event)) : JSON.stringify(event))
        await topic.append(made.map((event) => ({ key: key(event), value: value(event) })))
      }
    }
    if (events.over) break
  }
  await bulk?.enqueue('schedule_pending_analytics', [''])
  return { ...events.counts, files: 0 }
}

async function insert(sql: NonNullable<GenerateRequest['bulk']>['sql'], events: readonly LogEvent[]): Promise<void> {
  await sql(
    `
    insert into raw_logs (event, job_id, "user", timestamp, task_id, log)
    select (log ->> 'event')::event_type_enum, (log ->> 'job_id')::int, log ->> 'user', spark_log_time(log -> 'timestamp'),
           log ->> 'task_id', log
    from   jsonb_array_elements($1::jsonb) log
    on conflict do nothing`,
    [JSON.stringify(events)],
  )
}

const faults: ((event: LogEvent) => LogEvent)[] = [
  (event) => ({ ...event, event: 'SparkListenerEnvironmentUpdate' }),
  (event) => ({ ...event, timestamp: 'yesterday' }),
  ({ job_id, ...event }) => event,
  ({ task_id, ...event }) => ({ ...event, event: 'SparkListenerTaskEnd' }),
]

interface Job {
  id: number
  user: string
  tasks: number
  ended: number
  succeeds: boolean
  stage: 'new' | 'running' | 'ended'
}

function openEvents(request: GenerateRequest) {
  const { duplicatePercent, count, bulk, seed } = request
  // what is wrong in some way no table takes
  const badPercent = bulk === undefined ? request.badPercent : 0
  const random = randomFrom(seed)
  const below = (n: number) => Math.floor(random() * n)
  const most = count === undefined ? wholeOption(request, 'jobs') : Number.POSITIVE_INFINITY
  // of another seed, other jobs
  const firstJob = 1 + below(2_000_000) * 1000
  const open: Job[] = []
  const recent: LogEvent[] = []
  let begun = 0
  let good = 0
  const counts = { events: 0, bad: 0, duplicates: 0 }

  function newJob(): Job {
    const id = firstJob + begun++
    const tasks = 1 + below(mostTasks)
    return { id, user: users[below(users.length)] ?? '', tasks, ended: 0, succeeds: random() >= jobsFail, stage: 'new' }
  }

  function one(timeMs: number): LogEvent | undefined {
    while (open.length < jobsAtOnce && begun < most) open.push(newJob())
    const at = below(open.length)
    const job = open[at]
    if (job === undefined) return undefined
    const event = step(job, new Date(timeMs).toISOString())
    if (job.stage === 'ended' && job.ended === job.tasks) open.splice(at, 1)
    return event
  }

  function step(job: Job, timestamp: string): LogEvent {
    const about = { job_id: job.id, timestamp }
    if (job.stage === 'new') {
      job.stage = 'running'
      return { event: 'SparkListenerJobStart', ...about, user: job.user }
    }
    const left = job.tasks - job.ended
    const endsNow = job.stage === 'running' && (left === 0 || (left === 1 && random() < lateTasks))
    if (endsNow) {
      job.stage = 'ended'
      const job_result = job.succeeds ? 'JobSucceeded' : 'JobFailed'
      return { event: 'SparkListenerJobEnd', ...about, completion_time: timestamp, job_result }
    }
    job.ended++
    const task_id = `task_${String(job.ended).padStart(3, '0')}`
    const duration_ms = 100 + below(10_000)
    return { event: 'SparkListenerTaskEnd', ...about, task_id, duration_ms, successful: random() >= tasksFail }
  }

  function next(wanted: number, firstMs: number, stepMs: number): LogEvent[] {
    const made: LogEvent[] = []
    for (let i = 0; i < wanted; i++) {
      const chance = random() * 100
      const timeMs = firstMs + i * stepMs
      const again = recent[below(Math.min(good, eventsRemembered))]
      if (chance < badPercent) {
        const timestamp = new Date(timeMs).toISOString()
        const fault = faults[below(faults.length)]
        counts.bad++
        made.push(fault?.({ event: 'SparkListenerJobStart', job_id: firstJob, timestamp, user: 'nobody' }) ?? {})
      } else if (chance < badPercent + duplicatePercent && again !== undefined) {
        counts.duplicates++
        made.push(again)
      } else {
        const event = one(timeMs)
        if (event === undefined) break
        recent[good++ % eventsRemembered] = event
        made.push(event)
      }
    }
    counts.events += made.length
    return made
  }

  return {
    next,
    counts,
    get over() {
      return begun >= most && open.length === 0
    },
  }
}

// As many events as the jobs can have.
function most(request: GenerateRequest): number {
  return wholeOption(request, 'jobs') * (mostTasks + 2)
}

function wholeOption({ options }: GenerateRequest, name: string): number {
  const text = options[name] ?? generator.options?.[name]?.default ?? ''
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= 1 && value <= 1e6) return value
  throw new MillraceError('WRONG_USAGE', {
    at: `--${name}`,
    message: `"${text}" is not a whole number from 1 to 1,000,000`,
  })
}
