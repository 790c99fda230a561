import assert from 'node:assert/strict'
import { mkdir, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type Bench, openBench } from '../../test/histories.ts'
import { count } from '../functions/aggregate.ts'
import { createLog } from '../log.ts'
import { files, integer, pipeline, table, text, timestamp } from '../pipeline.ts'
import type { FilesSource, Plan } from '../plan/plan.ts'
import { openFilesReader } from '../sources/files/reader.ts'
import type { SourceReader } from '../sources/source.ts'
import { memoryDatabase, openMemoryStore } from '../store/memory.ts'
import type { Store } from '../store/store.ts'
import { Duck, type DuckSession } from './duckdb.ts'
import type { Progress } from './progress.ts'
import { runPipeline, type WorkerOptions } from './run.ts'

let bench: Bench
before(async () => {
  bench = await openBench()
})
after(async () => await bench[Symbol.asyncDispose]())

const header = 'id,amount\n'
const row = 'x,1\n'
const given: Record<string, string> = {
  'a.csv': `${header}${row.repeat(7)}`,
  'b.csv': `nothing,like,it\n${row.repeat(1000)}`,
  'c.csv': header,
  'd.csv': `${header}${row.repeat(20)}x,wrong\n`,
}

// A pipeline over a folder with these files, known to a store.
async function shop(name: string): Promise<{ folder: string; plan: Plan; store: Store; another: Store }> {
  const folder = join(bench.folder, name)
  await mkdir(folder, { recursive: true })
  const longAgo = new Date(0)
  for (const [file, content] of Object.entries(given)) {
    await writeFile(join(folder, file), content)
    await utimes(join(folder, file), longAgo, longAgo)
  }
  const source = files(folder, { format: 'csv', columns: { id: text(), amount: integer() } })
  const { plan } = pipeline(name).from(source).into(table('orders'))
  const database = memoryDatabase(Date.now)
  const store = openMemoryStore(database)
  await store.register(plan)
  return { folder, plan, store, another: openMemoryStore(database) }
}

interface Reading {
  plan: Plan
  store: Store
  spool: string
  session: DuckSession
  /** In place of the folder. */
  paths?: string[] | undefined
}

async function readerOf({ plan, store, spool, session, paths }: Reading): Promise<SourceReader> {
  return await openFilesReader({
    id: 'files',
    // as: the builder made it of files
    source: plan.sources['files'] as FilesSource,
    spool,
    sql: session,
    known: (ids) => store.files(plan.name, 'files', ids),
    onProblem: (problem) => assert.fail(String(problem)),
    ...(paths === undefined ? {} : { inputs: { paths, again: false } }),
  })
}

// What a bounded run says on its way, over the folder or over these paths.
async function progressOf(
  plan: Plan,
  store: Store,
  paths?: string[],
  around = (reader: SourceReader): SourceReader => reader,
  more: Partial<WorkerOptions> = {},
): Promise<Progress[]> {
  const spool = join(bench.folder, 'spool', plan.name)
  const said: Progress[] = []
  using session = await bench.duck.connect()
  await runPipeline({
    plan,
    store,
    duck: bench.duck,
    spool,
    openReader: async () => around(await readerOf({ plan, store, spool, session, paths })),
    effects: { quarantine: undefined, logs: join(bench.folder, 'logs') },
    limits: { rows: 5, bytes: 50 },
    intervalMs: 0,
    owner: 'one:1',
    kind: 'backfill',
    bounded: true,
    log: createLog('error'),
    signal: new AbortController().signal,
    onProgress: (progress) => said.push({ ...progress, books: { ...progress.books } }),
    ...more,
  })
  return said
}

test('what was seen before is remembered from batch to batch, though all of a key is judged at once', async () => {
  const folder = join(bench.folder, 'doors')
  await mkdir(folder, { recursive: true })
  const columns = { id: text(), at: timestamp(), who: text(), event: text() }
  const { plan } = pipeline('doors')
    .from(files(folder, { format: 'csv', columns, eventTime: { column: 'at' } }))
    .dedup('id')
    .pairs({
      by: ['who'],
      open: (row) => row.event.equals('in'),
      close: (row) => row.event.equals('out'),
      lateness: '1 hour',
    })
    .total('who', () => ({ n: count() }))
    .into(table('visits', { key: 'who' }))
  const at = (n: number): string => new Date(n * 60_000).toISOString()
  const lines = Array.from({ length: 60 }, (_, n) => `${n},${at(n)},w${n % 7},${n % 14 < 7 ? 'in' : 'out'}`)
  // each comes again in the batch after it
  const twice = lines.flatMap((line, n) => (n >= 5 ? [line, lines[n - 5]] : [line]))
  const path = join(folder, 'a.csv')
  await writeFile(path, `id,at,who,event\n${twice.join('\n')}\n`)
  const database = memoryDatabase(Date.now)
  const store = openMemoryStore(database)
  await store.register(plan)
  const runs = join(bench.folder, 'spool', 'runs of doors')
  const said = await progressOf(plan, store, [path], undefined, {
    final: true,
    keyed: { folder: runs, request: 'a.csv', rows: 6 },
  })
  assert.deepEqual(said.at(-1)?.books.duplicates, 55)
  assert.equal(said.at(-1)?.books.written, 60)
  assert.ok((await store.ledger(plan.name, {})).some(({ ranges }) => JSON.stringify(ranges).includes('"bucket"')))
  assert.deepEqual(
    database
      .rowsOf('visits')
      .map(({ who, n }) => `${who} ${n}`)
      .sort(),
    Array.from({ length: 7 }, (_, n) => `w${n} ${n < 4 ? 5 : 4}`),
  )
})

for (const [of, names] of [
  ['the folder', undefined],
  ['some files', ['a.csv', 'd.csv']],
] as const) {
  test(`a bounded run over ${of} knows before its first batch how many bytes there are, and ends with all of them`, async () => {
    const { folder, plan, store } = await shop(of.replace(' ', '-'))
    const said = await progressOf(
      plan,
      store,
      names?.map((name) => join(folder, name)),
    )
    const total = (names ?? Object.keys(given)).reduce((sum, name) => sum + (given[name] ?? '').length, 0)
    const first = said.findIndex(({ batches }) => batches > 0)
    assert.deepEqual([said[first - 1]?.bytesDone, said[first - 1]?.bytesTotal], [0, total])
    assert.ok(said.slice(first).every(({ bytesTotal }) => bytesTotal === total))
    const done = said.map(({ bytesDone }) => bytesDone)
    assert.deepEqual(
      done,
      done.toSorted((a, b) => a - b),
    )
    assert.ok(new Set(done).size > 3, 'it took several batches')
    assert.equal(done.at(-1), total)
  })
}

test('a bounded run that has to wait for the lease says whose it is', async () => {
  const { plan, store, another } = await shop('waiting')
  const answer = await another.lease({
    pipeline: plan.name,
    owner: 'two:2',
    borrow: false,
    onWanted: () => void (answer.is === 'taken' && answer.lease.release()),
    onLost: () => {},
  })
  assert.equal(answer.is, 'taken')
  const states = (await progressOf(plan, store)).map(({ state }) => state)
  assert.deepEqual(states.slice(0, 2), [{ is: 'standing by', owner: 'two:2' }, { is: 'running' }])
})

test('a run that the database has no connection left for tries again from its first step on', async () => {
  const { plan, store } = await shop('no-connection-left')
  let asked = 0
  const register = store.register.bind(store)
  store.register = async (registered) => {
    if (asked++ === 0) throw Object.assign(new Error('sorry, too many clients already'), { code: '53300' })
    await register(registered)
  }
  const states = (await progressOf(plan, store)).map(({ state }) => state)
  assert.partialDeepStrictEqual(states[0], { is: 'retrying', why: 'sorry, too many clients already' })
  assert.partialDeepStrictEqual(states.at(-1), { is: 'stopped', why: 'nothing left to read' })
})

test('a batch is let go though what follows the one before it fails while it is committed', async () => {
  const { plan, store } = await shop('follows')
  // small batches share rooms, and are let go while the next one is worked on
  bench.drains = 1
  assert.ok(bench.duck.keepsPlans)
  const committed = Promise.withResolvers<void>()
  const commit = store.commit.bind(store)
  store.commit = async (batch) => {
    const outcome = await commit(batch)
    if (batch.batch === 2) committed.resolve()
    return outcome
  }
  const advance = store.advanceEffect.bind(store)
  let fails = true
  store.advanceEffect = async (name, effect, batch) => {
    if (fails) {
      await committed.promise
      fails = false
      throw Object.assign(new Error('the connection is lost'), { code: '08006' })
    }
    await advance(name, effect, batch)
  }
  const held = new Set<object>()
  const said = await progressOf(plan, store, undefined, (reader) => ({
    next: async (limits) => {
      const range = await reader.next(limits)
      if (range === undefined) return undefined
      held.add(range)
      const release = async (): Promise<void> => {
        assert.ok(held.delete(range), 'it is let go once')
        await range.release()
      }
      return { ...range, release }
    },
    lags: () => reader.lags(),
    get unsettled() {
      return reader.unsettled
    },
    wait: (signal) => reader.wait(signal),
    rewind: () => reader.rewind(),
    [Symbol.asyncDispose]: () => reader[Symbol.asyncDispose](),
  }))
  assert.ok(said.some(({ state }) => state.is === 'retrying' && state.why === 'the connection is lost'))
  assert.ok(said.at(-1)?.batches ?? 0 > 2)
  assert.equal(held.size, 0)
})

test('a reader that hears of the stop before the worker does ends it as if it had read nothing more', async () => {
  const { plan, store, another } = await shop('told-to-stop')
  const stop = new AbortController()
  const said: Progress[] = []
  const progress = await runPipeline({
    plan,
    store,
    duck: bench.duck,
    spool: join(bench.folder, 'spool', plan.name),
    openReader: async (): Promise<SourceReader> => ({
      async next() {
        stop.abort('SIGTERM')
        throw stop.signal.reason
      },
      lags: () => new Map(),
      unsettled: false,
      async wait() {},
      async rewind() {},
      async [Symbol.asyncDispose]() {},
    }),
    effects: { quarantine: undefined, logs: join(bench.folder, 'logs') },
    limits: { rows: 5, bytes: 50 },
    intervalMs: 0,
    owner: 'one:1',
    kind: 'stream',
    bounded: false,
    log: createLog('error'),
    signal: stop.signal,
    onProgress: (now) => said.push({ ...now }),
  })
  assert.equal(progress.batches, 0)
  assert.deepEqual(said.at(-1)?.state, { is: 'stopped', why: 'told to stop' })
  const asked = { pipeline: plan.name, owner: 'two:2', borrow: false, onWanted: () => {}, onLost: () => {} }
  const answer = await another.lease(asked)
  assert.equal(answer.is, 'taken', 'the lease was given back')
})

test('a worker that has no memory to keep tables of small batches goes on without them', async () => {
  const folder = join(bench.folder, 'wide')
  await mkdir(folder, { recursive: true })
  const names = Array.from({ length: 120 }, (_, i) => `c${i}`)
  await writeFile(
    join(folder, 'a.csv'),
    `${names.join(',')},room,at\n${`${names.map((_, i) => i).join(',')},a,2026-01-01T00:00:00Z\n`.repeat(40)}`,
  )
  await utimes(join(folder, 'a.csv'), new Date(0), new Date(0))
  // what is kept of open windows stays from batch to batch, and so do tables that are emptied
  const columns = { ...Object.fromEntries(names.map((name) => [name, integer()])), room: text(), at: timestamp() }
  const { plan } = pipeline('wide')
    .from(files(folder, { format: 'csv', columns, eventTime: { column: 'at', outOfOrder: '1 minute' } }))
    .also((flow) => flow.into(table('wide')))
    .window({ size: '1 minute', by: 'room', emit: 'close' }, () => ({ rows: count() }))
    .into(table('counted', { key: ['room', 'window_start'] }))
  const database = memoryDatabase(Date.now)
  const store = openMemoryStore(database)
  await store.register(plan)
  const spool = join(bench.folder, 'spool', plan.name)
  const temporary = join(bench.folder, 'little')
  await using duck = await Duck.open({ folders: [spool], temporary, memoryLimitMb: 52, threads: 1, keepsPlans: true })
  using session = await duck.connect()
  const said: string[] = []
  await runPipeline({
    plan,
    store,
    duck,
    spool,
    openReader: () => readerOf({ plan, store, spool, session }),
    effects: { quarantine: undefined, logs: join(bench.folder, 'logs') },
    limits: { rows: 2, bytes: 2000 },
    intervalMs: 0,
    owner: 'one:1',
    kind: 'backfill',
    bounded: true,
    log: createLog('warn', { write: (line) => said.push(line), readable: false }),
    signal: new AbortController().signal,
  })
  assert.equal(database.tables.get('wide')?.rows.length, 40)
  assert.match(said.join('\n'), /"by":"keeping no tables"/)
})
