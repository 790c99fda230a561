/**
 * The queue that tasks are run from: pg-boss, in a schema of its own. A key waits in it once, however often it is asked
 * for; what was run is gone from it, and what has failed for good stays until somebody runs it again or it is old.
 */
import { PgBoss } from 'pg-boss'
import { MillraceError, messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Client } from '../store/connection.ts'
import type { Sessions } from '../store/sessions.ts'
import type { Task } from '../system.ts'

export const queueSchema = 'millrace_tasks'

/** A run whose worker says nothing for so long is another worker's. */
const silentSeconds = 15
export const sayEveryMs = 4_000
const lookForSilentSeconds = 5

/** Of one run at most: whoever needs longer cuts his work into keys. */
const longestSeconds = 3_600

export const usualRetries = { times: 5, afterSeconds: 1 }
const longestPauseSeconds = 600

export interface QueuedKey {
  id: string
  key: string
  /** How often it has failed before, and after how many failures it is dead. */
  failures: number
  triesAgain: number
}

/** A task as it waits, runs, or is dead. */
export interface TaskView {
  id: string
  pipeline: string
  task: string
  key: string
  state: 'waiting' | 'running' | 'failed, tried again' | 'dead'
  /** How often it has failed. */
  failures: number
  asked_at: Date
  /** When it is tried next, of one that waits in the queue. */
  next_at: Date | null
  failed_at: Date | null
  /** What the last failure said. */
  why: string | null
}

export class TaskQueue implements AsyncDisposable {
  readonly #boss: PgBoss

  private constructor(boss: PgBoss) {
    this.#boss = boss
  }

  /** With `works`, it makes its tables, and sees to it that runs of workers that have ended are taken up again. */
  static async open(sessions: Sessions, { works, log }: { works: boolean; log: Log }): Promise<TaskQueue> {
    const boss = new PgBoss({
      db: { executeSql: (text, values) => sessions.query(text, values) },
      schema: queueSchema,
      migrate: works,
      supervise: works,
      schedule: false,
      superviseIntervalSeconds: lookForSilentSeconds,
      monitorIntervalSeconds: lookForSilentSeconds,
      flowIntervalSeconds: 3_600,
      reindexIntervalSeconds: 86_400,
    })
    boss.on('error', (error) => log.warn('the queue of tasks', { why: messageOf(error) }))
    await boss.start()
    return new TaskQueue(boss)
  }

  async prepare(queue: string, { retries = usualRetries }: Pick<Task, 'retries'>): Promise<void> {
    const options = {
      retryLimit: retries.times,
      retryDelay: retries.afterSeconds,
      retryBackoff: true,
      retryDelayMax: longestPauseSeconds,
      expireInSeconds: longestSeconds,
      heartbeatSeconds: silentSeconds,
      // nothing that was asked for is forgotten, however long no worker runs it
      retentionSeconds: 50 * 365 * 86_400,
      // retention sees to what has failed
      deleteAfterSeconds: 0,
    }
    if ((await this.#boss.getQueue(queue)) === null)
      await this.#boss.createQueue(queue, { policy: 'short', ...options })
    await this.#boss.updateQueue(queue, options)
  }

  /** Puts keys into a queue, in a transaction; one that waits there already stays as it is. */
  async put(queue: string, keys: readonly string[], client: Client): Promise<void> {
    const db = { executeSql: (text: string, values?: unknown[]) => client.query(text, values) }
    const jobs = keys.map((key) => ({ singletonKey: key, data: { key } }))
    await this.#boss.insert(queue, jobs, { db })
  }

  /** Takes keys that are due, to run them. */
  async take(queue: string, atMost: number): Promise<QueuedKey[]> {
    const jobs = await this.#boss.fetch<{ key: string }>(queue, { batchSize: atMost, includeMetadata: true })
    return jobs.map(({ id, data, retryCount, retryLimit }) => ({
      id,
      key: data.key,
      failures: retryCount,
      triesAgain: retryLimit,
    }))
  }

  /** Says that they are still being run. */
  async keep(queue: string, ids: string[]): Promise<void> {
    await this.#boss.touch(queue, ids)
  }

  async done(queue: string, ids: string[]): Promise<void> {
    await this.#boss.deleteJob(queue, ids)
  }

  async failed(queue: string, id: string, why: string): Promise<void> {
    await this.#boss.fail(queue, id, { why })
  }

  /** Runs a dead task again; one that is not dead stays as it is. */
  async again(queue: string, id: string): Promise<void> {
    await this.#boss.retry(queue, id)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#boss.stop({ graceful: false })
  }
}

export function queueOf(pipeline: string, task: string): string {
  return `${pipeline}/${task}`
}

const states: Record<string, TaskView['state']> = {
  created: 'waiting',
  retry: 'failed, tried again',
  active: 'running',
  failed: 'dead',
}

export interface TaskFilter {
  pipeline?: string
  dead?: boolean
  limit: number
}

/** Reads, as a store does. */
export type Select = (sql: string, values?: unknown[]) => Promise<Record<string, unknown>[]>

/** The tasks that are there: dead ones first, then the oldest, and at the end what no worker has taken into the queue yet. */
export async function listTasks(select: Select, filter: TaskFilter): Promise<TaskView[]> {
  const queued = (await isThere(select)) ? await listQueued(select, filter) : []
  const more = filter.dead === true ? 0 : filter.limit - queued.length
  return more > 0 ? [...queued, ...(await listAsked(select, filter, more))] : queued
}

async function listAsked(select: Select, { pipeline }: TaskFilter, limit: number): Promise<TaskView[]> {
  const rows = await select(
    `
    select min(id) as id, pipeline, task, key, min(requested_at) as requested_at
    from  (select *
           from   millrace.task_requests
           where  $1::text is null or pipeline = $1
           order by id
           limit  ${requestsLookedAt}) asked
    group by pipeline, task, key
    order by min(id)
    limit  $2`,
    [pipeline ?? null, limit],
  )
  return rows.map((row) => ({
    id: `asked-${row['id']}`,
    pipeline: String(row['pipeline']),
    task: String(row['task']),
    key: String(row['key']),
    state: 'waiting',
    failures: 0,
    // as: the columns of the statement above
    asked_at: row['requested_at'] as Date,
    next_at: null,
    failed_at: null,
    why: null,
  }))
}

// Where no worker takes them there may be millions, each key often.
const requestsLookedAt = 10_000

async function listQueued(select: Select, { pipeline, dead, limit }: TaskFilter): Promise<TaskView[]> {
  const rows = await select(
    `
    select id, name, data ->> 'key' as key, state::text, retry_count, created_on, start_after, completed_on,
           output ->> 'why' as why
    from   ${queueSchema}.job
    where  state in ('created', 'retry', 'active', 'failed')
    and    ($1::text is null or split_part(name, '/', 1) = $1)
    and    (not $2 or state = 'failed')
    order by state = 'failed' desc, created_on, id
    limit  $3`,
    [pipeline ?? null, dead === true, limit],
  )
  return rows.map(viewOf)
}

export interface TaskCount {
  pipeline: string
  task: string
  waiting: number
  running: number
  retrying: number
  dead: number
}

/** How many there are, by task. */
export async function countTasks(select: Select): Promise<TaskCount[]> {
  if (!(await isThere(select))) return []
  const rows = await select(`
    select split_part(name, '/', 1) as pipeline, split_part(name, '/', 2) as task,
           (count(*) filter (where state = 'created'))::int as waiting,
           (count(*) filter (where state = 'active'))::int as running,
           (count(*) filter (where state = 'retry'))::int as retrying,
           (count(*) filter (where state = 'failed'))::int as dead
    from   ${queueSchema}.job
    group by name
    order by name`)
  // as: the columns of the statement above
  return rows as unknown as TaskCount[]
}

/** How many there are, by task, those among them that are not in the queue yet. */
export async function tasksByState(select: Select): Promise<(TaskCount & { asked: number })[]> {
  const rows = await select('select pipeline, task, count(*)::int as asked from millrace.task_requests group by 1, 2')
  const asked = new Map(rows.map((row) => [`${row['pipeline']}/${row['task']}`, Number(row['asked'])]))
  const queued = (await countTasks(select)).map((counts) => {
    const name = `${counts.pipeline}/${counts.task}`
    const own = { ...counts, asked: asked.get(name) ?? 0 }
    asked.delete(name)
    return own
  })
  const others = [...asked].map(([name, n]) => {
    const [pipeline = '', task = ''] = name.split('/')
    return { pipeline, task, waiting: 0, running: 0, retrying: 0, dead: 0, asked: n }
  })
  return [...queued, ...others]
}

/** The queue of a task that is dead. */
export async function queueOfDead(select: Select, id: string): Promise<string> {
  const known = (await isThere(select))
    ? await select(`select name from ${queueSchema}.job where id::text = $1 and state = 'failed'`, [id])
    : []
  const name = known[0]?.['name']
  if (typeof name === 'string') return name
  throw new MillraceError('NO_SUCH_TASK', {
    message: `there is no dead task ${id}`,
    hint: '`millrace tasks list` shows those that are dead',
  })
}

// No worker has run on this database yet.
async function isThere(select: Select): Promise<boolean> {
  const [row] = await select('select to_regclass($1) is not null as there', [`${queueSchema}.job`])
  return row?.['there'] === true
}

function viewOf(row: Record<string, unknown>): TaskView {
  const [pipeline = '', task = ''] = String(row['name']).split('/')
  const state = states[String(row['state'])] ?? 'waiting'
  // as: the columns of the statement above
  return {
    id: String(row['id']),
    pipeline,
    task,
    key: String(row['key'] ?? ''),
    state,
    failures: Number(row['retry_count']) + (state === 'dead' ? 1 : 0),
    asked_at: row['created_on'] as Date,
    next_at: state === 'waiting' || state === 'failed, tried again' ? (row['start_after'] as Date) : null,
    failed_at: row['completed_on'] as Date | null,
    why: row['why'] === null ? null : String(row['why']),
  }
}
