import assert from 'node:assert/strict'
import { tmpdir } from 'node:os'
import { describe, test } from 'node:test'
import { eventually } from '../../test/crash/process.ts'
import { testDatabase } from '../../test/postgres.ts'
import { openCache } from '../cache/open.ts'
import { loadConfig } from '../config.ts'
import { createLog } from '../log.ts'
import { openPostgres, type PostgresStore } from '../store/postgres.ts'
import type { Task, TaskTools } from '../system.ts'
import { listTasks, queueSchema, TaskQueue, tasksByState } from './queue.ts'
import { retryTasks } from './retry.ts'
import { runTasks, type TaskOwner } from './runner.ts'

interface World extends AsyncDisposable {
  store: PostgresStore
  /** Runs these until it is disposed of. */
  work(owner: TaskOwner): AsyncDisposable
  ask(task: string, ...keys: string[]): Promise<void>
  tasks(): ReturnType<typeof listTasks>
  /** Nothing waits or runs. */
  done(): Promise<void>
}

const log = createLog('error', { write: () => {} })

async function openWorld(): Promise<World> {
  await using stack = new AsyncDisposableStack()
  const { url } = stack.use(await testDatabase())
  const store = stack.use(await openPostgres({ url, waitMs: 0, onWait: () => {}, migrations: [] }))
  {
    await using sessions = store.sessions(1)
    await sessions.query('create table results (key text, run text)')
  }
  const select = (sql: string, values?: unknown[]) => store.select(sql, values)
  const owned = stack.move()
  return {
    store,
    work(owner) {
      const end = new AbortController()
      const running = runTasks({ owners: [owner], settings: {}, store, log, signal: end.signal })
      return {
        async [Symbol.asyncDispose]() {
          end.abort()
          await running
        },
      }
    },
    ask: (task, ...keys) => store.requestTask('shop', task, keys),
    tasks: () => listTasks(select, { limit: 1000 }),
    async done() {
      await eventually(
        async () => {
          const [queue] = await select('select to_regclass($1) is not null as there', [`${queueSchema}.job`])
          // in one question: a task that ends between two may have asked for another
          const jobs = `union all select 1 from ${queueSchema}.job where state in ('created', 'active', 'retry')`
          const left = await select(`select 1 from millrace.task_requests ${queue?.['there'] === true ? jobs : ''}`)
          return left.length === 0
        },
        { what: () => 'every task is done or dead' },
      )
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

const shop = (tasks: Record<string, Partial<Task>>, more: Partial<TaskOwner> = {}): TaskOwner => ({
  name: 'shop',
  tasks: Object.fromEntries(
    Object.entries(tasks).map(([name, task]) => [name, { says: '', run: async () => {}, ...task }]),
  ),
  ...more,
})

const write = (sql: TaskTools['sql'], keys: string[], run: string) =>
  sql('insert into results select key, $2 from unnest($1::text[]) key', [keys, run])

async function results({ store }: World): Promise<string[]> {
  const rows = await store.select('select key, run from results order by key, run')
  return rows.map(({ key, run }) => `${key} ${run}`)
}

describe('tasks', { concurrency: 1 }, () => {
  test('a key that is asked for many times before it runs is run once, and then it is gone', async () => {
    await using world = await openWorld()
    for (let i = 0; i < 5; i++) await world.ask('sum', 'a', 'b')
    await using _worker = world.work(
      shop({ sum: { run: async ({ keys }, { sql }) => void (await write(sql, keys, 'ran')) } }),
    )
    await world.done()
    assert.deepEqual(await results(world), ['a ran', 'b ran'])
    assert.deepEqual(await world.tasks(), [])
  })

  test('a key that is asked for while it runs is run again, and never twice at a time', async () => {
    await using world = await openWorld()
    let running = 0
    let runs = 0
    const sum: Partial<Task> = {
      async run({ keys }, { sql }) {
        assert.equal(++running, 1)
        if (++runs === 1) await world.ask('sum', 'a')
        // long enough for another run to begin, if it could
        await sql('select pg_sleep(0.1)')
        await write(sql, keys, String(runs))
        running--
      },
    }
    await using _one = world.work(shop({ sum }))
    await using _other = world.work(shop({ sum }))
    await world.ask('sum', 'a')
    await eventually(async () => runs === 2, { what: () => 'it runs twice' })
    await world.done()
    assert.deepEqual(await results(world), ['a 1', 'a 2'])
  })

  test('what fails is rolled back, tried again, and dead in the end; then it waits until it is told to run', async () => {
    await using world = await openWorld()
    let broken = true
    let runs = 0
    const sum: Partial<Task> = {
      retries: { times: 1, afterSeconds: 1 },
      async run({ keys }, { sql }) {
        runs++
        await write(sql, keys, 'ran')
        if (broken) throw new Error('the shelf is empty')
      },
    }
    await world.ask('sum', 'a')
    const states = () => tasksByState((sql, values) => world.store.select(sql, values))
    const none = { pipeline: 'shop', task: 'sum', asked: 0, waiting: 0, running: 0, retrying: 0, dead: 0 }
    assert.deepEqual(await states(), [{ ...none, asked: 1 }])
    // once, though it is asked for twice, and before any worker has made a queue
    await world.ask('sum', 'a')
    const asked = (await world.tasks()).map(({ pipeline, task, key, state }) => [pipeline, task, key, state])
    assert.deepEqual(asked, [['shop', 'sum', 'a', 'waiting']])
    await using _worker = world.work(shop({ sum }))
    const [dead] = await eventually(
      async () => {
        const found = await world.tasks()
        return found[0]?.state === 'dead' && found
      },
      { what: () => 'it is dead' },
    )
    assert.ok(dead !== undefined)
    assert.deepEqual(await states(), [{ ...none, dead: 1 }])
    const { pipeline, task, key, failures, why, next_at } = dead
    assert.deepEqual(
      { pipeline, task, key, failures, why, next_at },
      { pipeline: 'shop', task: 'sum', key: 'a', failures: 2, why: 'the shelf is empty', next_at: null },
    )
    assert.equal(runs, 2)
    assert.deepEqual(await results(world), [])
    await assert.rejects(() => retryTasks(world.store, ['no-such'], log), /NO_SUCH_TASK|no dead task/)
    broken = false
    await retryTasks(world.store, [dead.id], log)
    await eventually(async () => (await world.tasks()).length === 0, { what: () => 'it is done' })
    assert.deepEqual(await results(world), ['a ran'])
  })

  test('one key that fails does not hold up those that were taken with it', async () => {
    await using world = await openWorld()
    await world.ask('sum', 'a', 'bad', 'c')
    const sum: Partial<Task> = {
      atOnce: 10,
      retries: { times: 0, afterSeconds: 1 },
      async run({ keys }, { sql }) {
        await write(sql, keys, String(keys.length))
        if (keys.includes('bad')) throw new Error('bad')
      },
    }
    await using _worker = world.work(shop({ sum }))
    await world.done()
    assert.deepEqual(await results(world), ['a 1', 'c 1'])
    assert.deepEqual(
      (await world.tasks()).map(({ key, state }) => [key, state]),
      [['bad', 'dead']],
    )
  })

  test('what a run asks for comes with its commit, and not without it', async () => {
    await using world = await openWorld()
    const owner = shop({
      first: {
        retries: { times: 0, afterSeconds: 1 },
        async run({ keys }, { enqueue }) {
          await enqueue('second', keys)
          if (keys.includes('bad')) throw new Error('bad')
        },
      },
      second: { run: async ({ keys }, { sql }) => void (await write(sql, keys, 'second')) },
    })
    await world.ask('first', 'good', 'bad')
    await using _worker = world.work(owner)
    await world.done()
    assert.deepEqual(await results(world), ['good second'])
  })

  test('a schedule asks for its task again and again, and once for two workers', async () => {
    await using world = await openWorld()
    const owner = shop(
      { tick: { run: async ({ keys }, { sql }) => void (await write(sql, keys, 'tick')) } },
      { schedules: [{ task: 'tick', everyMs: () => 3_600_000, atStart: false }] },
    )
    await using _one = world.work(owner)
    await using _other = world.work(owner)
    await eventually(async () => (await world.store.select('select from millrace.schedules')).length === 1, {
      what: () => 'the schedule is noted',
    })
    await using sessions = world.store.sessions(1)
    for (let due = 1; due <= 3; due++) {
      await sessions.query(`update millrace.schedules set due_at = now()`)
      await eventually(async () => (await results(world)).length === due, { what: () => `tick ${due}` })
      await world.done()
    }
    assert.deepEqual(await results(world), [' tick', ' tick', ' tick'])
  })

  test("a run whose worker has fallen silent is another worker's", async () => {
    await using world = await openWorld()
    const ran: Partial<Task> = { run: async ({ keys }, { sql }) => void (await write(sql, keys, 'ran')) }
    {
      // makes the queue
      await using _worker = world.work(shop({ sum: ran }))
      await world.ask('sum', 'first')
      await eventually(async () => (await results(world)).length === 1, { what: () => 'the first has run' })
    }
    await using sessions = world.store.sessions(2)
    {
      await using queue = await TaskQueue.open(sessions, { works: false, log })
      await sessions.transaction(async (client) => await queue.put('shop/sum', ['a'], client))
      assert.deepEqual(
        (await queue.take('shop/sum', 10)).map(({ key }) => key),
        ['a'],
      )
    }
    await sessions.query(`update millrace_tasks.job set heartbeat_on = now() - interval '1 minute'`)
    await using _other = world.work(shop({ sum: ran }))
    await eventually(async () => (await results(world)).length === 2, { what: () => 'it is taken up' })
    assert.deepEqual(await results(world), ['a ran', 'first ran'])
  })

  test('caches of other processes hear what a run drops, when it has committed', async () => {
    await using world = await openWorld()
    await using sessions = world.store.sessions(1)
    await using cache = openCache(loadConfig({}, {}, tmpdir()), log)
    await using _following = cache.follow(sessions)
    let made = 0
    const ask = async () => await cache.through('a', async () => ++made)
    await eventually(
      async () => {
        const before = made
        await ask()
        return made === before
      },
      { what: () => 'it hears, and keeps' },
    )
    const kept = await ask()
    let fails = true
    const sum: Partial<Task> = {
      retries: { times: 0, afterSeconds: 1 },
      async run(_, { drop }) {
        await drop(['a'])
        if (fails) throw new Error('no')
      },
    }
    await using _worker = world.work(shop({ sum }))
    await world.ask('sum', 'x')
    await eventually(async () => (await world.tasks())[0]?.state === 'dead', { what: () => 'it is dead' })
    assert.equal(await ask(), kept)
    fails = false
    await world.ask('sum', 'y')
    await eventually(async () => (await ask()) !== kept, { what: () => 'it is made anew' })
    // so many keys that no notification holds them: all are dropped
    const many = {
      sum: {
        run: async (_: unknown, { drop }: TaskTools) => await drop(Array.from({ length: 2000 }, (_, i) => `key ${i}`)),
      },
    }
    await using _many = world.work({ ...shop(many), name: 'other' })
    const before = await ask()
    await world.store.requestTask('other', 'sum', ['z'])
    await eventually(async () => (await ask()) !== before, { what: () => 'it is made anew' })
  })

  test('tasks that this process does not know are left to others', async () => {
    await using world = await openWorld()
    await using _worker = world.work(shop({ known: {} }))
    await world.ask('strange', 'a')
    await world.ask('known', 'a')
    await eventually(
      async () => (await world.store.select(`select from millrace.task_requests where task = 'known'`)).length === 0,
      { what: () => 'the known one has gone' },
    )
    assert.equal((await world.store.select(`select from millrace.task_requests where task = 'strange'`)).length, 1)
  })
})
