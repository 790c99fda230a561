/**
 * Runs tasks, beside the pipelines: what was asked for is moved into the queue in a transaction of its own, taken from
 * there by key, and run in one more transaction. A worker that dies leaves its keys to the others.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { MillraceError, messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import { noteDrop } from '../store/cache-drops.ts'
import { isTransient } from '../store/connection.ts'
import type { PostgresStore } from '../store/postgres.ts'
import { requestTask } from '../store/requests.ts'
import type { Sessions } from '../store/sessions.ts'
import type { Schedule, SettingValues, System, Task } from '../system.ts'
import { type QueuedKey, queueOf, sayEveryMs, TaskQueue } from './queue.ts'

/** Whoever brings tasks: a system, or Millrace itself. */
export type TaskOwner = Pick<System, 'name' | 'tasks' | 'schedules'>

export interface TaskRunnerOptions {
  owners: readonly TaskOwner[]
  settings: SettingValues
  store: PostgresStore
  log: Log
  signal: AbortSignal
  /** Told what stands in the way of all tasks, and when it is gone. */
  onFault?(why: string | undefined): void
}

/** So many runs at a time, each with a session; two more for the queue. */
const runsAtOnce = 4
/** What no notification has told of is looked for: retries, and what came while nobody listened. */
const lookEveryMs = 1_000
/** What is asked for by batches that follow each other closely is taken together. */
const restMs = 50
const movedAtOnce = 10_000
const backOff = { firstMs: 200, mostMs: 10_000 }

/** Until it is told to stop. What it has begun it ends. */
export async function runTasks(options: TaskRunnerOptions): Promise<void> {
  await using sessions = options.store.sessions(runsAtOnce + 2)
  const runner = new Runner(options, sessions)
  await runner.run()
}

interface KnownTask {
  pipeline: string
  name: string
  queue: string
  task: Task
}

class Runner {
  readonly #options: TaskRunnerOptions
  readonly #sessions: Sessions
  readonly #tasks: KnownTask[]
  readonly #schedules: { pipeline: string; schedule: Schedule }[]
  readonly #running = new Set<Promise<void>>()
  #queue: TaskQueue | undefined
  #woken = false
  #wake: () => void = () => {}

  constructor(options: TaskRunnerOptions, sessions: Sessions) {
    this.#options = options
    this.#sessions = sessions
    this.#tasks = options.owners.flatMap(({ name: pipeline, tasks = {} }) =>
      Object.entries(tasks).map(([name, task]) => ({ pipeline, name, queue: queueOf(pipeline, name), task })),
    )
    this.#schedules = options.owners.flatMap(({ name: pipeline, schedules = [] }) =>
      schedules.map((schedule) => ({ pipeline, schedule })),
    )
  }

  async run(): Promise<void> {
    const { signal, log, onFault } = this.#options
    const nudge = () => this.#nudge()
    this.#sessions.listen({ channel: 'millrace_tasks', onMessage: nudge, onOpen: nudge })
    signal.addEventListener('abort', nudge, { once: true })
    let tries = 0
    while (!signal.aborted) {
      try {
        await this.#open()
        await this.#work(() => {
          if (tries > 0) onFault?.(undefined)
          tries = 0
        })
      } catch (error) {
        // it is tried for as long as the process lives: tasks stop no pipeline, and wait in the database meanwhile
        const nextInMs = Math.min(backOff.mostMs, backOff.firstMs * 2 ** Math.min(tries++, 10))
        onFault?.(messageOf(error))
        log.warn('tasks wait', { why: messageOf(error), next_in_ms: nextInMs })
        await sleep(nextInMs, undefined, { signal }).catch(() => {})
      }
    }
    await Promise.all(this.#running)
    await this.#queue?.[Symbol.asyncDispose]()
  }

  async #open(): Promise<void> {
    if (this.#queue !== undefined) return
    const queue = await TaskQueue.open(this.#sessions, { works: true, log: this.#options.log })
    try {
      for (const { queue: name, task } of this.#tasks) await queue.prepare(name, task)
      await this.#begin()
    } catch (error) {
      await queue[Symbol.asyncDispose]()
      throw error
    }
    this.#queue = queue
  }

  async #work(onRound: () => void): Promise<void> {
    const { signal } = this.#options
    while (!signal.aborted) {
      this.#woken = false
      const begun = performance.now()
      await this.#askWhatIsDue()
      await this.#move()
      await this.#start()
      onRound()
      await this.#nudgeOr(lookEveryMs)
      const rest = restMs - (performance.now() - begun)
      // where keys are left a run that has ended makes room for the next
      if (rest > 0 && this.#running.size < runsAtOnce) await sleep(rest, undefined, { signal }).catch(() => {})
    }
  }

  #nudge(): void {
    this.#woken = true
    this.#wake()
  }

  async #nudgeOr(ms: number): Promise<void> {
    if (this.#woken) return
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#wake = resolve
    const timer = setTimeout(resolve, ms)
    await promise
    clearTimeout(timer)
  }

  // ---- what is asked for -------------------------------------------------------------------------------------------

  async #begin(): Promise<void> {
    const { settings } = this.#options
    for (const { pipeline, schedule } of this.#schedules) {
      const { task, everyMs, atStart = false } = schedule
      await this.#sessions.query(
        `
        insert into millrace.schedules (pipeline, task, due_at)
        values ($1, $2, now() + $3 * interval '1 millisecond')
        on conflict (pipeline, task) do update
        -- it may be due more often than when it was noted
        set    due_at = least(millrace.schedules.due_at, excluded.due_at)
        where  millrace.schedules.due_at > excluded.due_at`,
        [pipeline, task, everyMs(settings)],
      )
      if (atStart) await requestTask(this.#sessions, pipeline, task, [''])
    }
  }

  // Whoever moves a schedule on asks for its task, in one statement.
  async #askWhatIsDue(): Promise<void> {
    const { settings } = this.#options
    if (this.#schedules.length === 0) return
    await this.#sessions.query(
      `
      with due as (
        update millrace.schedules s
        set    due_at = now() + each.ms * interval '1 millisecond'
        from   unnest($1::text[], $2::text[], $3::float8[]) each(pipeline, task, ms)
        where  s.pipeline = each.pipeline and s.task = each.task and s.due_at <= now()
        returning s.pipeline, s.task
      )
      insert into millrace.task_requests (pipeline, task, key)
      select pipeline, task, ''
      from   due`,
      [
        this.#schedules.map(({ pipeline }) => pipeline),
        this.#schedules.map(({ schedule }) => schedule.task),
        this.#schedules.map(({ schedule }) => schedule.everyMs(settings)),
      ],
    )
  }

  async #move(): Promise<void> {
    const queue = this.#queue
    for (let moved = movedAtOnce; queue !== undefined && moved === movedAtOnce; ) {
      moved = await this.#sessions.transaction(async (client) => {
        const { rows } = await client.query<{ pipeline: string; task: string; key: string }>(
          `
          delete from millrace.task_requests
          where  id in (select id
                        from   millrace.task_requests
                        -- tasks that this process does not know are another worker's
                        where  (pipeline, task) in (select * from unnest($1::text[], $2::text[]))
                        order by id
                        limit  ${movedAtOnce}
                        for update skip locked)
          returning pipeline, task, key`,
          [this.#tasks.map(({ pipeline }) => pipeline), this.#tasks.map(({ name }) => name)],
        )
        const byQueue = Map.groupBy(rows, ({ pipeline, task }) => queueOf(pipeline, task))
        for (const [name, those] of byQueue) await queue.put(name, [...new Set(those.map(({ key }) => key))], client)
        return rows.length
      })
    }
  }

  // ---- what is run -------------------------------------------------------------------------------------------------

  async #start(): Promise<void> {
    const queue = this.#queue
    if (queue === undefined) return
    for (const known of this.#tasks) {
      while (this.#running.size < runsAtOnce && !this.#options.signal.aborted) {
        const keys = await queue.take(known.queue, known.task.atOnce ?? 1)
        if (keys.length === 0) break
        const run = this.#run(queue, known, keys).finally(() => {
          this.#running.delete(run)
          this.#nudge()
        })
        this.#running.add(run)
      }
    }
  }

  async #run(queue: TaskQueue, known: KnownTask, keys: QueuedKey[]): Promise<void> {
    const { log } = this.#options
    const { pipeline, name } = known
    const ids = keys.map(({ id }) => id)
    const say = setInterval(() => {
      // without it another worker takes the keys, and runs them once more
      queue.keep(known.queue, ids).catch((error: unknown) => {
        log.warn('a task could not say that it runs', { pipeline, task: name, why: messageOf(error) })
      })
    }, sayEveryMs)
    try {
      const failure = await this.#attempt(known, keys)
      if (failure === undefined) await queue.done(known.queue, ids)
      // one of them may be at fault: each has its own try
      else if (keys.length > 1) for (const key of keys) await this.#run(queue, known, [key])
      else await this.#note(queue, known, keys[0], failure.error)
    } catch (error) {
      log.warn('it is not known whether a task has run, and it is run again', {
        pipeline,
        task: name,
        why: messageOf(error),
      })
    } finally {
      clearInterval(say)
    }
  }

  async #note(queue: TaskQueue, known: KnownTask, key: QueuedKey | undefined, error: unknown): Promise<void> {
    if (key === undefined) return
    const { log, signal } = this.#options
    // a database that failed says nothing of the key: whoever looks for silent runs takes it up again
    if (isTransient(error) && !signal.aborted) throw error
    await queue.failed(known.queue, key.id, messageOf(error))
    const about = { pipeline: known.pipeline, task: known.name, key: key.key, why: messageOf(error) }
    if (key.failures < key.triesAgain) log.warn('a task failed, and is tried again', about)
    else log.error('a task is dead: `millrace tasks retry` runs it again', about)
  }

  async #attempt({ pipeline, name, task }: KnownTask, keys: QueuedKey[]): Promise<{ error: unknown } | undefined> {
    const { settings, signal, store, owners } = this.#options
    const names = keys.map(({ key }) => key).sort()
    const tasks = owners.find((owner) => owner.name === pipeline)?.tasks ?? {}
    try {
      await this.#sessions.transaction(async (client) => {
        await client.query(`set local timezone to 'UTC'`)
        // in one order, so that two workers do not wait for each other
        await client.query(`select pg_advisory_xact_lock(hashtextextended(key, 0)) from unnest($1::text[]) key`, [
          names.map((key) => `${pipeline}/${name}/${key}`),
        ])
        await task.run(
          { keys: names, settings },
          {
            sql: async (statement, values) => (await client.query(statement, values)).rows,
            async enqueue(asked, forKeys) {
              if (!Object.hasOwn(tasks, asked)) throw unknownTask(pipeline, asked)
              await requestTask(client, pipeline, asked, forKeys)
            },
            drop: async (dropped) => await noteDrop(client, { prefix: '', keys: dropped }, store.sharedCache),
            signal,
          },
        )
      })
    } catch (error) {
      return { error }
    }
    return undefined
  }
}

function unknownTask(pipeline: string, name: string): MillraceError {
  return new MillraceError('NO_SUCH_TASK', { at: pipeline, message: `the system has no task "${name}"` })
}
