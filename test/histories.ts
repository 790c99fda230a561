/**
 * Generated histories: files of random rows, cut into random batches, with a throw at any fail point and a new start
 * after it. However it went, tables, dead letters and books must be what the reference says of all rows at once.
 */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { Duck } from '../src/engine/duckdb.ts'
import { runPipeline } from '../src/engine/run.ts'
import { MillraceError } from '../src/errors.ts'
import { arm, failpoints, publishFailpoints } from '../src/failpoint.ts'
import { lower } from '../src/functions/text.ts'
import { createLog } from '../src/log.ts'
import { decimal, files, folder, integer, oneOf, pipeline, publish, table, text } from '../src/pipeline.ts'
import type { Plan } from '../src/plan/plan.ts'
import { openFilesReader } from '../src/sources/files/reader.ts'
import type { Limits } from '../src/sources/source.ts'
import { readHeaders } from '../src/sources/topic/headers.ts'
import { type MemoryTopics, memoryTopics } from '../src/sources/topic/memory.ts'
import { type MemoryDatabase, memoryDatabase, openMemoryStore } from '../src/store/memory.ts'
import type { Store } from '../src/store/store.ts'
import { type Constraint, type InputRow, reference } from './reference.ts'

/** Numbers from a seed: the same seed, the same history. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

export interface Bench extends AsyncDisposable {
  /** By turns one that keeps plans and one that does not: the same for all of a run. */
  readonly duck: Duck
  folder: string
  /** How many runs have had a spool in it. */
  drains: number
}

/** What many histories share: a DuckDB and a folder. */
export async function openBench(): Promise<Bench> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-histories-'))
  const [once, again] = [await open(folder, false), await open(folder, true)]
  const bench: Bench = {
    get duck() {
      return bench.drains % 2 === 0 ? once : again
    },
    folder,
    drains: 0,
    async [Symbol.asyncDispose]() {
      await once[Symbol.asyncDispose]()
      await again[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    },
  }
  return bench
}

async function open(folder: string, keepsPlans: boolean): Promise<Duck> {
  const temporary = join(folder, `duckdb-${keepsPlans}`)
  return await Duck.open({ folders: [join(folder, 'spool')], temporary, memoryLimitMb: 200, threads: 1, keepsPlans })
}

const source = (folder: string) =>
  files(folder, {
    format: 'csv',
    columns: {
      id: text().notEmpty(),
      kind: oneOf('view', 'buy', 'Return'),
      amount: integer().atLeast(0),
      price: decimal(6, 2).optional(),
      note: text().optional(),
    },
  })

const inLines = (folder: string) =>
  files(folder, {
    format: 'json lines',
    columns: {
      id: text().notEmpty(),
      kind: oneOf('view', 'buy', 'Return'),
      amount: integer().atLeast(0),
      price: decimal(6, 2).optional(),
      note: text().optional(),
    },
  })

/** Plans of every shape this engine runs. */
const plans: ((folder: string) => Plan)[] = [
  (raw) =>
    pipeline('lines')
      .from(inLines(raw))
      .into(table('lines', { oncePer: 'id' })).plan,
  (raw) =>
    pipeline('landed')
      .from(inLines(raw))
      .into(table('landed', { oncePer: ['id', 'kind'] }))
      .into(folder(join(raw, '..', 'out'), { format: 'json lines', rows: 'landed' })).plan,
  (raw) =>
    pipeline('tee')
      .from(source(raw))
      .filter((row) => row.amount.moreThan(1))
      .into(table('tee'))
      .into(folder(join(raw, '..', 'out'), { format: 'json lines' })).plan,
  (raw) =>
    pipeline('announced')
      .from(inLines(raw))
      .into(table('announced', { oncePer: 'id' }))
      .into(publish('out', { key: 'kind', rows: 'landed' })).plan,
  (raw) =>
    pipeline('sent')
      .from(source(raw))
      .dedup('id', 'note')
      .into(table('sent'))
      .into(publish('out', { key: ['id', 'kind'] })).plan,
  (folder) =>
    pipeline('once')
      .from(source(folder))
      .into(table('once', { oncePer: 'id' })).plan,
  (folder) =>
    pipeline('filtered')
      .from(source(folder))
      .filter((row) => row.amount.moreThan(2).or(row.note.isPresent()))
      .into(table('filtered', { oncePer: ['id', 'kind'] })).plan,
  (folder) => pipeline('deduped').from(source(folder)).dedup('id', 'note').into(table('deduped')).plan,
  (folder) =>
    pipeline('two-ways')
      .from(source(folder))
      .dedup('id')
      .also((flow) => flow.filter((row) => row.kind.equals('view')).into(table('views', { oncePer: 'note' })))
      .dedup('note')
      .into(table('others', { oncePer: 'kind' })).plan,
  (folder) =>
    pipeline('latest')
      .from(source(folder))
      .into(table('latest', { key: 'id' })).plan,
  (folder) =>
    pipeline('branches')
      .from(source(folder))
      .also((flow) => flow.filter((row) => row.kind.equals('buy')).into(table('bought', { oncePer: 'id' })))
      .filter((row) => row.amount.lessThan(5))
      .into(table('small', { oncePer: 'note' })).plan,
  (folder) =>
    pipeline('computed')
      .from(source(folder))
      .check('BUY_OF_NOTHING', (row) => row.kind.differsFrom('buy').or(row.amount.moreThan(0)), {
        message: 'a purchase has an amount',
        column: 'amount',
      })
      .dedup('id')
      .select((row) => ({ id: row.id, kind: lower(row.kind), more: row.amount.plus(1) }))
      .into(table('computed', { key: 'id' }))
      .into(table('everything')).plan,
]

/** Runs the history of a seed and compares it with the reference; the error names the seed. */
export async function checkHistory(bench: Bench, seed: number): Promise<void> {
  const random = randomFrom(seed)
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T
  const upTo = (n: number): number => Math.floor(random() * (n + 1))
  const folder = join(bench.folder, `history-${seed}`)
  const raw = join(folder, 'raw')
  await mkdir(join(folder, 'temp'), { recursive: true })
  await mkdir(raw, { recursive: true })
  const plan = pick(plans)(raw)
  const database = memoryDatabase(Date.now)
  const topics = memoryTopics(Date.now)
  const constraints = constraintsFor(plan, pick)
  const openStore = async () => {
    const store = openMemoryStore(database)
    await store.register(plan)
    for (const [name, takes] of Object.entries(constraints)) {
      const stored = database.tables.get(name)
      const fault = { sqlState: '23514', message: `a row of "${name}" violates a check constraint` }
      if (stored !== undefined) stored.check = (row) => (takes(row) ? undefined : fault)
    }
    return store
  }
  const limits = () => ({ rows: 1 + Math.floor(random() * 20), bytes: 1 + Math.floor(random() * 1000) })
  const told: string[] = [`seed ${seed}`, plan.name, `constraints on ${Object.keys(constraints).join() || 'nothing'}`]
  const input: InputRow[] = []
  try {
    let fileNumber = 0
    const waves = 1 + upTo(2)
    for (let wave = 0; wave < waves; wave++) {
      for (let i = upTo(4); i >= 0; i--) {
        const name = `${String(++fileNumber).padStart(3, '0')}.csv`
        input.push(...(await dropFile(plan, folder, name, random)))
      }
      const throws = upTo(2)
      for (let i = 0; i < throws; i++) {
        const setting = `${pick([...failpoints, ...publishFailpoints])}@${1 + upTo(3)}=throw`
        told.push(setting)
        arm(setting)
        await drain(bench, plan, openStore, folder, limits(), topics).catch((error: unknown) => {
          if (!(error instanceof MillraceError && error.code === 'FAILPOINT')) throw error
        })
        arm(undefined)
      }
      await drain(bench, plan, openStore, folder, limits(), topics)
    }
    await compare(plan, input, database, folder, constraints, topics)
  } catch (error) {
    throw new Error(
      `a history went wrong: ${told.join(', ')}\n${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    )
  } finally {
    arm(undefined)
    await rm(folder, { recursive: true, force: true })
  }
}

/** Runs a pipeline until nothing is left in its folder. */
export async function drain(
  bench: Bench,
  plan: Plan,
  openStore: () => Promise<Store>,
  folder: string,
  limits: Limits,
  topics = memoryTopics(Date.now),
): Promise<void> {
  await using store = await openStore()
  await store.register(plan)
  const [[id, from] = []] = Object.entries(plan.sources)
  if (id === undefined || from?.is !== 'files') throw new Error('the plan reads no files')
  const spool = join(bench.folder, 'spool', plan.name, `${++bench.drains}`)
  using session = await bench.duck.connect()
  await runPipeline({
    plan,
    store,
    duck: bench.duck,
    spool,
    openReader: () =>
      openFilesReader({
        id,
        source: from,
        spool,
        sql: session,
        apart: (share) => bench.duck.apart(share),
        known: (ids) => store.files(plan.name, id, ids),
        onProblem: (problem) => {
          throw problem
        },
      }),
    effects: { quarantine: join(folder, 'error'), logs: join(folder, 'logs') },
    publish: { openWriter: (topic) => topics.openWriter(topic), mostRows: 3, patienceMs: 60_000 },
    limits,
    intervalMs: 0,
    owner: 'test:1',
    kind: 'stream',
    bounded: true,
    log: createLog('error', { write: () => {} }),
    signal: new AbortController().signal,
  })
}

// What only the database knows of some of the tables: they do not take every row that validation lets through.
function constraintsFor(plan: Plan, pick: <T>(values: readonly T[]) => T): Record<string, Constraint> {
  const takes: Constraint[] = [
    ({ price }) => Number(price) < 100,
    ({ amount, more }) => Number(amount ?? more) !== 2,
    ({ kind }) => kind !== 'view',
    ({ id, note }) => id !== 'a' || note !== 'n',
  ]
  // files beside a table are compared with it
  if (plan.steps.some(({ op, ...step }) => (op === 'files' || op === 'topic') && !('landedIn' in step))) return {}
  // which row has passed a dedup step is known of those rows alone that the database has heard of
  if (isUpsert(plan) && plan.steps.some(({ op }) => op === 'dedup')) return {}
  const tables = plan.steps.filter((step) => step.op === 'table' && pick([true, false]))
  return Object.fromEntries(tables.map((step) => [step.op === 'table' ? step.table : '', pick(takes)]))
}

function isUpsert(plan: Plan): boolean {
  return plan.steps.some((step) => step.op === 'table' && step.mode.is === 'upsert')
}

// ---- input ---------------------------------------------------------------------------------------------------------

async function dropFile(plan: Plan, folder: string, name: string, random: () => number): Promise<InputRow[]> {
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T
  const columns = pick([
    ['id', 'kind', 'amount', 'price', 'note'],
    ['note', 'amount', 'id', 'price', 'kind'],
  ] as const)
  const rows: InputRow[] = []
  const [from] = Object.values(plan.sources)
  const inJson = from?.is === 'files' && from.format.is === 'json lines'
  const lines: string[] = inJson ? [] : [columns.join(',')]
  let line = inJson ? 1 : 2
  for (let i = Math.floor(random() * 12); i > 0; i--) {
    const fields: Record<string, string> = {
      id: pick(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'Ä', '']),
      kind: pick(['view', 'view', 'view', 'buy', 'Return', 'steal']),
      amount: pick(['0', '1', '2', '3', '7', '+4', '-1', 'x', '', '1.5']),
      price: pick(['1.50', '', '0', '9999.99', '10000', '1.234', '-0', 'NaN']),
      note: pick(['', '', 'n', 'm', 'a "quoted" one', 'two\nlines', 'comma, in it', "it's", '\\.', 'NULL']),
    }
    const text = inJson
      ? JSON.stringify(Object.fromEntries(columns.flatMap((column) => jsonMember(column, fields[column] ?? ''))))
      : columns.map((column) => csvField(fields[column] ?? '')).join(',')
    // what is empty is a text only where a text must be
    const given = Object.entries(fields).map(([column, value]) =>
      value === '' && column !== 'id' && column !== 'kind' ? [column, null] : [column, value],
    )
    rows.push({ place: join(folder, 'raw', name), line, fields: Object.fromEntries(given) })
    lines.push(text)
    line += text.split('\n').length
  }
  const temporary = join(folder, 'temp', name)
  const content = `${lines.join('\n')}\n`
  await writeFile(temporary, pick([content, content, gzipSync(content), zstdCompressSync(content)]))
  const before = new Date(Date.now() - 1000)
  await utimes(temporary, before, before)
  await rename(temporary, join(folder, 'raw', name))
  return rows
}

function jsonMember(column: string, text: string): [string, unknown][] {
  if (text === '' && column !== 'id' && column !== 'kind') return []
  return [[column, /^(0|[1-9][0-9]*)(\.[0-9]+)?$/.test(text) && column !== 'note' ? Number(text) : text]]
}

function csvField(value: string): string {
  return /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value
}

// ---- comparison ----------------------------------------------------------------------------------------------------

async function compare(
  plan: Plan,
  input: InputRow[],
  database: MemoryDatabase,
  folder: string,
  constraints: Record<string, Constraint>,
  topics: MemoryTopics,
): Promise<void> {
  const expected = reference(plan, input, constraints)
  for (const step of plan.steps) {
    if (step.op !== 'table') continue
    const stored = (database.tables.get(step.table)?.rows ?? []).map(inOrder)
    const wanted = (expected.tables[step.table] ?? []).map((row) =>
      inOrder(
        Object.fromEntries(Object.entries(row).map(([name, value]) => [name, value === null ? null : String(value)])),
      ),
    )
    assert.deepEqual(stored.sort(), wanted.sort(), `table ${step.table}`)
    // the step after it publishes the same rows, or writes files of them
    if (plan.steps.some(({ op, from }) => op === 'topic' && from.join() === step.from.join()))
      assert.deepEqual(publishedRows(topics).sort(), stored.map(withoutZeros).sort(), 'published messages')
    const files = plan.steps.find(({ op, from }) => op === 'files' && from.join() === step.from.join())
    if (files === undefined) continue
    const written = await writtenRows(join(folder, 'out'))
    assert.deepEqual(written.sort(), stored.map(withoutZeros).sort(), 'written files')
  }
  await using store = openMemoryStore(database)
  const letters = (await store.deadLetters({ pipeline: plan.name })).map(
    ({ place, line, code, columnName }) => `${place}:${line} ${code} ${columnName}`,
  )
  const wanted = expected.deadLetters.map(({ place, line, code, column }) => `${place}:${line} ${code} ${column}`)
  // of a row that a later one of its batch replaces, nobody hears what the database would have said
  const mayBeReplaced = isUpsert(plan) && Object.keys(constraints).length > 0
  if (mayBeReplaced)
    assert.deepEqual(
      letters.filter((letter) => !wanted.includes(letter)),
      [],
      'dead letters',
    )
  else assert.deepEqual(letters.sort(), wanted.sort(), 'dead letters')

  const ledger = await store.ledger(plan.name, {})
  const sum = (count: (line: (typeof ledger)[number]) => number): number =>
    ledger.reduce((total, line) => total + count(line), 0)
  const unheard = mayBeReplaced ? wanted.length - letters.length : 0
  assert.deepEqual(
    {
      rowsIn: sum((line) => line.rowsIn),
      written: sum((line) => line.written),
      filtered: sum((line) => line.filtered),
      duplicates: sum((line) => line.duplicates),
      dead: sum((line) => line.dead),
    },
    { ...expected.books, written: expected.books.written + unheard, dead: expected.books.dead - unheard },
    'books',
  )
  const done = await readdir(join(folder, 'raw', 'done')).catch(() => [])
  assert.deepEqual(done.sort(), [...new Set(await namesOf(database, plan))].sort(), 'files that are done')
  assert.deepEqual(await readdir(join(folder, 'raw', '.claimed')), [], 'claims')
}

async function writtenRows(out: string): Promise<string[]> {
  const rows: string[] = []
  for (const day of (await readdir(out).catch(() => [])).filter((name) => name !== '.pending')) {
    for (const name of await readdir(join(out, day))) {
      for (const line of (await readFile(join(out, day, name), 'utf8')).trimEnd().split('\n')) {
        // as: each line is an object
        const row = JSON.parse(line) as Record<string, unknown>
        rows.push(textOf(row))
      }
    }
  }
  assert.deepEqual(await readdir(join(out, '.pending')).catch(() => []), [], 'files never published')
  return rows
}

// Without repeats, each of which is what the first was.
function publishedRows(topics: MemoryTopics): string[] {
  const first = new Map<string, string>()
  for (const { bytes, at } of topics.recordsOf('out')) {
    const id = String(readHeaders(bytes, at)[0]?.[1])
    // as: each message is an object
    const row = JSON.parse(bytes.toString('utf8', at.valueFrom, at.valueTo)) as Record<string, unknown>
    const text = textOf(row)
    assert.equal(text, first.get(id) ?? text, `a repeat of ${id}`)
    first.set(id, text)
  }
  return [...first.values()]
}

function textOf(row: Record<string, unknown>): string {
  const texts = Object.entries(row).map(([column, value]) => [column, value === null ? null : String(value)])
  return inOrder(Object.fromEntries(texts))
}

// A decimal in JSON is a number, which has no zeros at its end.
function withoutZeros(row: string): string {
  return row.replace(/\["price","([0-9.]+)"\]/, (_, digits) => `["price","${Number(digits)}"]`)
}

async function namesOf(database: MemoryDatabase, plan: Plan): Promise<string[]> {
  return [...(database.pipelines.get(plan.name)?.files.values() ?? [])].map(({ path }) => path.split('/').at(-1) ?? '')
}

function inOrder(row: Record<string, string | null>): string {
  return JSON.stringify(Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1)))
}
