/**
 * Generated histories: rows of random streams come to a pipeline in any cut into batches, with a throw at any fail point
 * and a new worker after it, with a database that fails, with idle and stalled partitions. What must come of it is the
 * affair of those who call.
 */
import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { runPipeline, type WorkerOptions } from '../src/engine/run.ts'
import { eventTimes } from '../src/engine/watermark.ts'
import { MillraceError } from '../src/errors.ts'
import { arm, failpoints } from '../src/failpoint.ts'
import { createLog } from '../src/log.ts'
import type { Column } from '../src/plan/columns.ts'
import type { Plan } from '../src/plan/plan.ts'
import { type MemoryDatabase, memoryDatabase, openMemoryStore } from '../src/store/memory.ts'
import type { LedgerLine, Store } from '../src/store/store.ts'
import { type Bench, randomFrom } from './histories.ts'
import { type Ground, type Intake, memoryIntake } from './intake.ts'
import type { FedRange, Feed } from './memory-source.ts'
import { type OutputRow, type Value, validate } from './reference.ts'
import { microseconds } from './reference-times.ts'
import { type Moment, referenceWatermarks } from './reference-watermarks.ts'
import { type ArrivedRow, noBooks, type WindowsResult } from './reference-windows.ts'
import { type Chance, chanceFrom } from './window-plans.ts'

/** A plan, and the rows that its sources may have. */
export interface HistoryShape {
  plan: Plan
  /** How far event time goes from one arrival to the next, about. */
  sizeMs: number
  /** A row of a source when the stream has come to `progressMs` and the clock to `nowMs`. */
  fieldsOf(source: string, progressMs: number, nowMs: number, chance: Chance): Record<string, string | null>
}

/** One worker's time: what arrives in it, and how it ends. */
export interface Stretch {
  mode: 'stream' | 'bounded' | 'final'
  /** Rows by feed, and how far the clock goes before them. */
  arrivals: { rows: [Feed, Record<string, string | null>][]; passesMs: number; stalls: boolean }[]
  throws: string | undefined
  /** The worker is stopped before it has handed on all that has changed. */
  hurries: boolean
  /**
   * The database fails once: at which commit, and whether it had it by then, or at which of the effects that follow one while
   * the next is under way. The worker tries again by itself.
   */
  fails: { at: number; when: 'before' | 'after' | 'following' } | undefined
}

/** What a commit was told, and by whom; the last attempt of a number is the one that may have come to be. */
interface Attempt {
  is: 'attempt'
  batch: number
  nowMs: number
  mode: Stretch['mode']
  lags: FedRange['lags']
}

/** A history as it goes. */
export interface World extends Ground {
  shape: HistoryShape
  intake: Intake
  database: MemoryDatabase
  clock: { nowMs: number }
  log: (Attempt | { is: 'begins'; nowMs: number })[]
  mode: Stretch['mode']
  /** Bounded runs judge all rows of a key together. */
  keyed?: WorkerOptions['keyed']
}

/** Runs the history of a seed and lets it be judged; the error names the seed. */
export async function playHistory(
  bench: Bench,
  seed: number,
  shapeOf: (chance: Chance) => HistoryShape,
  judge: (world: World) => Promise<void>,
  openIntake: (ground: Ground) => Promise<Intake> = memoryIntake,
): Promise<void> {
  const chance = chanceFrom(randomFrom(seed))
  const shape = shapeOf(chance)
  const { plan } = shape
  const told: string[] = [`seed ${seed}`]
  const clock = { nowMs: 0 }
  const feeds = Object.keys(plan.sources).flatMap((source) =>
    Array.from(
      { length: chance.pick([1, 1, 2, 3]) },
      (_, i): Feed => ({
        source,
        partition: String(i),
        rows: [],
        stalled: false,
      }),
    ),
  )
  const database = memoryDatabase(Date.now)
  try {
    await using intake = await openIntake({ bench, chance, plan, feeds })
    const world: World = { bench, chance, shape, plan, intake, database, feeds, clock, log: [], mode: 'stream' }
    for (const stretch of stretchesOf(world)) {
      told.push(`${stretch.mode}${stretch.throws === undefined ? '' : ` with ${stretch.throws}`}`)
      if (stretch.fails !== undefined) told.push(`a commit that fails ${stretch.fails.when}`)
      world.mode = stretch.mode
      if (stretch.mode !== 'stream') for (const arrival of stretch.arrivals.splice(0)) await arrive(world, arrival)
      arm(stretch.throws)
      const ended = await work(world, stretch).then(
        () => true,
        (error: unknown) => {
          if (!(error instanceof MillraceError && error.code === 'FAILPOINT')) throw error
        },
      )
      arm(undefined)
      if (ended === undefined) await work(world, stretch)
    }
    await judge(world)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new Error(`a history went wrong: ${told.join(', ')}\n${why}`, { cause: error })
  } finally {
    arm(undefined)
  }
}

// ---- what happens --------------------------------------------------------------------------------------------------

function stretchesOf({ chance, shape, feeds, clock }: World): Stretch[] {
  const { pick, maybe, upTo } = chance
  const progress = { ms: pick([0, 0, Date.UTC(2026, 0, 1), -123_456_789_123, 1e12]) + upTo(shape.sizeMs) }
  clock.nowMs = progress.ms + upTo(2) * shape.sizeMs
  const stretches: Stretch[] = []
  const count = 1 + upTo(2)
  for (let i = 0; i < count; i++) {
    const last = i === count - 1
    const arrivals: Stretch['arrivals'] = []
    for (let left = upTo(2); left >= 0; left--) {
      progress.ms += upTo(2 * shape.sizeMs)
      const passesMs = maybe(0.2) ? pick([1, 30_000, 30_001]) : 0
      const rows = Array.from({ length: upTo(9) }, (): [Feed, Record<string, string | null>] => {
        const feed = pick(feeds)
        return [feed, shape.fieldsOf(feed.source, progress.ms, Math.max(clock.nowMs, progress.ms), chance)]
      })
      arrivals.push({ rows, passesMs: Math.max(passesMs, progress.ms - clock.nowMs), stalls: maybe(0.1) })
      clock.nowMs = Math.max(clock.nowMs + passesMs, progress.ms)
    }
    const mode = last && maybe(0.4) ? 'final' : pick(['stream', 'stream', 'bounded'] as const)
    stretches.push({
      mode,
      arrivals,
      throws: maybe(0.6) ? `${pick(failpoints)}@${1 + upTo(3)}=throw` : undefined,
      hurries: !last && maybe(0.4),
      fails: maybe(0.09) ? { at: 1 + upTo(3), when: pick(['before', 'after', 'following']) } : undefined,
    })
  }
  if (stretches.at(-1)?.mode === 'final' && maybe(0.2)) {
    const rows = feeds.map((feed): [Feed, Record<string, string | null>] => [
      feed,
      shape.fieldsOf(feed.source, progress.ms, clock.nowMs, chance),
    ])
    stretches.push({
      mode: 'stream',
      arrivals: [{ rows, passesMs: 0, stalls: false }],
      throws: undefined,
      hurries: false,
      fails: undefined,
    })
  }
  clock.nowMs = progress.ms - upTo(2) * shape.sizeMs
  return stretches
}

export async function arrive(
  { chance, clock, feeds, intake }: World,
  { rows, passesMs, stalls }: Stretch['arrivals'][number],
): Promise<void> {
  clock.nowMs += passesMs
  for (const feed of feeds) feed.stalled = stalls && chance.maybe(0.5)
  for (const [feed, fields] of rows) await intake.add(feed, fields)
}

/** Runs a worker, until a fail point or the end of the stretch. */
export async function work(world: World, stretch: Stretch): Promise<void> {
  const { bench, plan, intake, database, feeds, clock, chance, mode } = world
  await using store = watched(world, stretch, openMemoryStore(database))
  await store.register(plan)
  const spool = join(bench.folder, 'spool', plan.name, `${++bench.drains}`)
  const controller = new AbortController()
  const rests = stretch.hurries
    ? []
    : [
        () => {
          for (const feed of feeds) feed.stalled = false
        },
        () => {
          clock.nowMs += 1000
        },
      ]
  if (mode !== 'stream') for (const feed of feeds) feed.stalled = false
  try {
    await runPipeline({
      plan,
      store,
      duck: bench.duck,
      spool,
      openReader: () =>
        intake.openReader({
          store,
          spool,
          bounded: mode !== 'stream',
          async onIdle() {
            const next = stretch.arrivals.shift()
            const rest = next === undefined ? rests.shift() : () => arrive(world, next)
            if (rest === undefined) controller.abort()
            else await rest()
          },
        }),
      effects: { quarantine: undefined, logs: join(bench.folder, 'logs') },
      limits: { rows: 1 + chance.upTo(chance.pick([5, 20, 40])), bytes: 1e6 },
      intervalMs: 0,
      owner: 'test:1',
      kind: mode === 'stream' ? 'stream' : 'backfill',
      bounded: mode !== 'stream',
      final: mode === 'final',
      ...(world.keyed !== undefined && mode !== 'stream' ? { keyed: world.keyed } : {}),
      now: () => clock.nowMs,
      log: createLog('error', { write: () => {} }),
      signal: controller.signal,
    })
  } finally {
    await rm(join(bench.folder, 'spool', plan.name), { recursive: true, force: true })
  }
}

// The store, with a record of what it was asked.
function watched({ log, clock, feeds, intake, mode }: World, stretch: Stretch, store: Store): Store {
  let commits = 0
  const lease: Store['lease'] = async (request) => {
    const answer = await store.lease(request)
    log.push({ is: 'begins', nowMs: clock.nowMs })
    return answer
  }
  const commit: Store['commit'] = async (batch) => {
    const said = (batch.ranges as Partial<FedRange>).lags ?? intake.told()
    const lags = said ?? leftOf(feeds, await store.committed(batch.pipeline))
    log.push({ is: 'attempt', batch: batch.batch, nowMs: clock.nowMs, mode, lags })
    commits++
    const fails = commits === stretch.fails?.at ? stretch.fails.when : undefined
    if (fails === 'before') throw connectionLost()
    const outcome = await store.commit(batch)
    if (fails === 'after') throw connectionLost()
    return outcome
  }
  let effects = 0
  const advanceEffect: Store['advanceEffect'] = async (...effect) => {
    effects++
    if (stretch.fails?.when === 'following' && effects === stretch.fails.at) {
      // the next batch is committed by then, or not
      await pause(10)
      throw connectionLost()
    }
    await store.advanceEffect(...effect)
  }
  return new Proxy(store, {
    get(target, name) {
      if (name === 'advanceEffect') return advanceEffect
      if (name === 'commit') return commit
      if (name === 'lease') return lease
      const found: unknown = Reflect.get(target, name)
      return typeof found === 'function' ? found.bind(target) : found
    },
  })
}

function connectionLost(): Error {
  return Object.assign(new Error('the connection is lost'), { code: '08006' })
}

function leftOf(feeds: Feed[], { positions }: Awaited<ReturnType<Store['committed']>>): FedRange['lags'] {
  return feeds.map(({ source, partition, rows }) => {
    const at = positions.find((each) => each.source === source && each.partition === partition)?.position ?? 0
    return { source, partition, rows: rows.length - at }
  })
}

// ---- what must be of every history ---------------------------------------------------------------------------------

/** What a history has come to. */
export interface Outcome {
  ledger: LedgerLine[]
  rows: ArrivedRow[]
  watermarks: (number | undefined)[]
  /** Where the watermark is. */
  watermark: number | undefined
  /** Where it would go now. */
  furthest: number | undefined
  /** By which watermark the rows of each batch are judged. */
  judgedBy: Map<number, number | undefined>
}

/** Everything is read, and the watermark has gone where it must. */
export async function outcomeOf(world: World): Promise<Outcome> {
  const { plan, database, feeds } = world
  await using store = openMemoryStore(database)
  const ledger = await store.ledger(plan.name, {})
  const committed = await store.committed(plan.name)
  const rows = ledger.flatMap((line) => rowsOf(line, feeds))
  assert.deepEqual(
    leftOf(feeds, committed).filter((left) => left.rows > 0),
    [],
    'rows that nobody has read',
  )
  for (const { source, partition, rows: fed } of feeds) {
    const read = rows.filter((row) => row.source === source && row.partition === partition)
    assert.deepEqual(
      read.map(({ line }) => line),
      [...fed.keys()],
      `rows of ${source}/${partition}, each once and in their order`,
    )
  }

  // where event time went, batch by batch
  const times = eventTimes(plan)
  const story = storyOf(world, ledger)
  const watermarks = referenceWatermarks(times, story)
  assert.deepEqual(
    ledger.map(({ batch, watermark }) => [batch, watermark]),
    ledger.map(({ batch }, i) => [batch, watermarks[i]]),
    'watermarks by batch',
  )
  const watermark = watermarks.at(-1)
  assert.equal(committed.watermark, watermark, 'the watermark that is stored')
  const end: Moment = {
    is: 'batch',
    nowMs: world.clock.nowMs,
    rows: [],
    lags: leftOf(feeds, committed),
    heardOf: [...times.keys()],
    kind: kindOf(world.mode, false),
  }
  const furthest = referenceWatermarks(times, [...story, end]).at(-1)

  const judgedBy = new Map(ledger.map(({ batch }, i) => [batch, watermarks[i - 1]]))
  return { ledger, rows, watermarks, watermark, furthest, judgedBy }
}

/** Tables have the rows that they must. */
export function compareTables({ plan, database }: World, expected: WindowsResult): void {
  for (const step of plan.steps) {
    if (step.op !== 'table') continue
    const stored = database.rowsOf(step.table).map((row) => canonicalRow(step.columns, row))
    const wanted = (expected.tables[step.table] ?? []).map((row) => canonicalRow(step.columns, row))
    assert.deepEqual(stored.sort(), wanted.sort(), `table ${step.table}`)
  }
}

/** Late rows, dead letters and books are what they must be. */
export function compareRows({ plan, database }: World, ledger: LedgerLine[], expected: WindowsResult): void {
  const keeps = new Set(
    plan.steps.flatMap((step) =>
      (step.op === 'window' || step.op === 'pairs') && step.late === 'keep' ? [step.id] : [],
    ),
  )
  assert.deepEqual(
    database.lateRows
      .map((row) =>
        [row['step'], placeText(row['place'] ?? ''), row['event_time'], row['window_start'], row['late_by_ms']].join(
          ' | ',
        ),
      )
      .sort(),
    expected.lateRows
      .filter(({ step }) => keeps.has(step))
      .map((row) => [row.step, `${row.place}:${row.line}`, row.eventTime, row.windowStart, row.lateByMs].join(' | '))
      .sort(),
    'late rows',
  )
  assert.deepEqual(
    database.deadLetters
      .map(({ place, line, code }) => `${placeText(line === null ? place : `${place}:${line}`)} ${code}`)
      .sort(),
    expected.deadLetters.map(({ place, line, code }) => `${place}:${line} ${code}`).sort(),
    'dead letters',
  )
  assert.deepEqual(
    ledger.map(({ batch, rowsIn, written, filtered, duplicates, late, dead }) => {
      return { batch, rowsIn, written, filtered, duplicates, late, dead }
    }),
    ledger.map(({ batch }) => ({ batch, ...(expected.books.get(batch) ?? noBooks()) })),
    'books by batch',
  )
}

// A message has its offset in its place.
function placeText(place: string): string {
  return place.replace(/[/:](\d+)$/, ':$1')
}

function storyOf({ plan, feeds, log }: World, ledger: LedgerLine[]): Moment[] {
  return log.flatMap((entry, i): Moment[] => {
    if (entry.is === 'begins') return [entry]
    const line = ledger.find(({ batch }) => batch === entry.batch)
    const again = log.slice(i + 1).some((later) => later.is === 'attempt' && later.batch === entry.batch)
    if (line === undefined || again) return []
    const rows = rowsOf(line, feeds).flatMap((row) => {
      const step = plan.steps.find((each) => each.op === 'validate' && each.from[0] === row.source)
      if (step?.op !== 'validate') return []
      const checked = validate(step, row)
      if ('code' in checked) return []
      const timeUs = microseconds(String(checked.values[step.eventTime?.column ?? '']))
      return [{ source: row.source, partition: row.partition, timeUs }]
    })
    return [
      {
        is: 'batch',
        nowMs: entry.nowMs,
        rows,
        lags: entry.lags,
        // each of them has partitions
        heardOf: entry.lags.map(({ source }) => source),
        kind: kindOf(entry.mode, line.rowsIn > 0),
      },
    ]
  })
}

function kindOf(mode: Stretch['mode'], reads: boolean): 'stream' | 'reads' | 'ends' | 'final' {
  if (mode === 'stream') return 'stream'
  if (reads) return 'reads'
  return mode === 'final' ? 'final' : 'ends'
}

/** The rows of a batch, as its reader told them. */
export function rowsOf({ batch, ranges }: LedgerLine, feeds: Feed[]): ArrivedRow[] {
  // as: what the reader said; nothing of a batch without rows
  const { source = '', rows = [] } = ranges as Partial<FedRange>
  return rows.map(({ partition, offset }) => {
    const feed = feeds.find((each) => each.source === source && each.partition === partition)
    return { source, partition, place: `${source}/${partition}`, line: offset, fields: feed?.rows[offset] ?? {}, batch }
  })
}

// ---- values --------------------------------------------------------------------------------------------------------

/** One text for what is the same, however it is written. */
export function canonicalRow(columns: Column[], row: OutputRow | Record<string, string | null>): string {
  return columns.map((column) => `${column.name}=${canonical(column, row[column.name] ?? null)}`).join(' ')
}

function canonical({ type }: Column, value: Value): string {
  if (value === null) return 'null'
  const text = String(value)
  switch (type.is) {
    case 'double':
      return String(Number(text) + 0)
    case 'list':
      return text.startsWith('{') ? JSON.stringify(itemsOf(text)) : JSON.stringify(JSON.parse(text))
    case 'json':
      return JSON.stringify(entriesOf(text).sort(([a], [b]) => (a < b ? -1 : 1)))
    default:
      return JSON.stringify(text)
  }
}

// Of an object of numbers. The V8 of Node 26.10 loses keys with escapes of some objects, when it has parsed one like them with these
// in another order: so each key is parsed alone.
function entriesOf(text: string): [string, number][] {
  const entry = /("(?:[^"\\]|\\.)*"): ?(-?\d+)/g
  assert.match(text.replace(entry, ''), /^\{[, ]*\}$/, `${text} is no object of numbers`)
  return [...text.matchAll(entry)].map(([, key = '', number]) => [JSON.parse(key), Number(number)])
}

// {"a","b"} as Postgres reads it.
function itemsOf(text: string): string[] {
  return [...text.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, item = '']) => item.replace(/\\(.)/g, '$1'))
}
