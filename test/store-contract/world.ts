/** What every scenario of the store's contract stands on: a pipeline, a worker, and batches that are right by default. */
import assert from 'node:assert/strict'
import { type Column, integer, text } from '../../src/plan/columns.ts'
import type { Plan, Step, TableMode, TableStep } from '../../src/plan/plan.ts'
import type {
  BatchCommit,
  CommitOutcome,
  CsvRows,
  Lease,
  LeaseAnswer,
  LeaseRequest,
  NewDeadLetter,
  RefusedRow,
  SinkOutcome,
  SinkRows,
  Store,
} from '../../src/store/store.ts'
import { deadLetterColumns, RowsRefused } from '../../src/store/store.ts'

export interface OpenedStore {
  store: Store
  /** Every row of a target table, each value as text. */
  rowsOf(table: string): Promise<Record<string, string | null>[]>
  /** Of every late row: step, place, milliseconds, text and batch. */
  lateRows(): Promise<(string | null)[][]>
  /** Of every task that is asked for: its name, key and batch. */
  requests(): Promise<(string | number)[][]>
  /** A second opening of the same data, as another worker would. The scenario closes it. */
  again(): Promise<Store>
  /** Lets the lease of a living owner run out, as if its process were stopped or cut off. */
  expire(pipeline: string): Promise<void>
  /** Closes `store` and clears up. */
  close(): Promise<void>
}

export interface World extends OpenedStore {
  /** A folder that goes with the scenario. */
  folder: string
  file(columns: string[], rows: (string | null)[][]): Promise<CsvRows>
}

/** Declares a test that has a store of its own. */
export type Scenario = (sentence: string, run: (world: World) => Promise<void>) => void

// ---- a pipeline ----------------------------------------------------------------------------------------------------

export const id: Column = { name: 'id', type: text, nullable: false }
export const city: Column = { name: 'city', type: text, nullable: true }
export const amount: Column = { name: 'amount', type: integer, nullable: false }

/** A table sink with the columns id, city (nullable) and amount. */
export function sink(mode: TableMode, table = 'orders', columns = [id, city, amount]): TableStep {
  return { id: table, op: 'table', from: ['validate'], table, mode, columns }
}

export const appended = sink({ is: 'append' })
export const oncePerId = sink({ is: 'insert if new', key: ['id'] })
export const latestPerId = sink({ is: 'upsert', key: ['id'] })

export function planOf(sinks: Step[], name = 'shop'): Plan {
  return {
    format: 1,
    name,
    sources: {
      files: {
        is: 'files',
        folder: 'in',
        format: { is: 'csv', delimiter: ',', quote: '"' },
        columns: [id, city, amount],
      },
    },
    steps: [
      { id: 'validate', op: 'validate', from: ['files'], rules: {}, checks: [], columns: [id, city, amount] },
      ...sinks,
    ],
  }
}

// ---- a worker ------------------------------------------------------------------------------------------------------

/** One who asks for a lease; nothing happens when it is wanted or lost, unless the scenario says so. */
export function request(owner: string, asks: Partial<LeaseRequest> = {}): LeaseRequest {
  return { pipeline: 'shop', owner, borrow: false, onWanted: () => {}, onLost: () => {}, ...asks }
}

export function taken(answer: LeaseAnswer): Lease {
  assert.equal(answer.is, 'taken', `the lease was not taken: ${JSON.stringify(answer)}`)
  // as: the line above has seen to it
  return (answer as Extract<LeaseAnswer, { is: 'taken' }>).lease
}

export interface Worker {
  lease: Lease
  /** Commits the next batch, or the one whose number is given. */
  commit(parts?: Partial<BatchCommit>): Promise<CommitOutcome & { sinks: SinkOutcome[] }>
}

/** Registers the pipeline and takes its lease. */
export async function work(
  store: Store,
  sinks: TableStep[] = [oncePerId],
  asks: Partial<LeaseRequest> = {},
): Promise<Worker> {
  const pipeline = asks.pipeline ?? 'shop'
  await store.register(planOf(sinks, pipeline))
  const lease = taken(await store.lease(request('one:1', { pipeline, ...asks })))
  return {
    lease,
    async commit(parts = {}) {
      const batch = parts.batch ?? (await store.committed(pipeline)).batch + 1
      let landed: SinkOutcome[] = []
      const whole = batchOf({ pipeline, epoch: lease.epoch, ...parts, batch })
      const outcome = await store.commit({
        ...whole,
        books: async (outcomes) => {
          landed = outcomes
          return await whole.books(outcomes)
        },
      })
      return { ...outcome, sinks: landed }
    },
  }
}

/** A batch of nothing but what is given, with books that balance. */
export function batchOf(parts: Partial<BatchCommit> & Pick<BatchCommit, 'batch'>): BatchCommit {
  const sinks = parts.sinks ?? []
  const lettersGiven = parts.deadLetters?.rows ?? 0
  return {
    pipeline: 'shop',
    epoch: 1,
    kind: 'stream',
    startedAt: new Date('2026-01-01T00:00:00.123Z'),
    sinks,
    deadLetters: undefined,
    dedupKeys: undefined,
    files: [],
    positions: [],
    filesQuarantined: 0,
    ranges: [],
    settles: [],
    phases: {},
    stepRows: {},
    books: async (outcomes) => {
      const rowsIn = sum(sinks.map(({ rows, fresh }) => rows.rows + (fresh?.rows ?? 0))) + lettersGiven
      const duplicates = sum(outcomes.map((outcome) => outcome.duplicates))
      const dead = lettersGiven
      return { rowsIn, written: rowsIn - duplicates - dead, filtered: 0, duplicates, late: 0, dead }
    },
    ...parts,
  }
}

function sum(counts: number[]): number {
  return counts.reduce((total, count) => total + count, 0)
}

export const noBooks = { rowsIn: 0, written: 0, filtered: 0, duplicates: 0, late: 0, dead: 0 }

/** Rows on their way into a sink, each as id, city and amount. */
export async function into(
  world: World,
  step: TableStep,
  rows: (string | null)[][],
  options: Partial<SinkRows> = {},
): Promise<SinkRows> {
  return {
    step,
    rows: await world.file(
      step.columns.map(({ name }) => name),
      rows,
    ),
    ordinals: true,
    ...options,
  }
}

/** Rows of which the first `fresh` are likely new. */
export async function freshInto(
  world: World,
  step: TableStep,
  rows: (string | null)[][],
  fresh: number,
): Promise<SinkRows> {
  const { rows: likelyNew } = await into(world, step, rows.slice(0, fresh))
  return await into(world, step, rows.slice(fresh), { fresh: likelyNew })
}

/** What a sink is said to have taken. */
export function outcome(parts: Partial<SinkOutcome>): SinkOutcome {
  return {
    step: 'orders',
    inserted: 0,
    updated: 0,
    deleted: 0,
    duplicates: 0,
    duplicateOrdinals: [],
    ...parts,
  }
}

/** In what order a store finds duplicates is its own affair. */
export function ordered(outcome: SinkOutcome): SinkOutcome {
  return { ...outcome, duplicateOrdinals: outcome.duplicateOrdinals.toSorted((a, b) => a - b) }
}

/** The rows that the database refuses of a batch, as step, ordinal and code, in order. */
export async function refusedOf(commit: Promise<unknown>): Promise<RefusedRow[]> {
  const error = await commit.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (error instanceof RowsRefused) {
    return error.rows.toSorted((a, b) => a.step.localeCompare(b.step) || a.ordinal - b.ordinal)
  }
  if (error === undefined) return []
  throw error
}

/** A dead letter as the engine makes it of a row that does not parse. */
export type Letter = NewDeadLetter & { rawBytes?: Buffer }

export function letterOf(parts: Partial<Letter> = {}): Letter {
  return {
    source: 'files',
    place: 'in/a.csv',
    line: 2,
    stage: 'validate',
    code: 'WRONG_TYPE',
    columnName: 'amount',
    message: '"x" is not a whole number',
    raw: 'a1,Graz,x',
    fields: { id: 'a1', city: 'Graz', amount: 'x' },
    ...parts,
  }
}

/** Dead letters as the engine hands them over. */
export async function letterFile(world: World, letters: Letter[]): Promise<CsvRows> {
  const rows = letters.map((letter) => [
    letter.source,
    letter.place,
    letter.line === null ? null : String(letter.line),
    letter.stage,
    letter.code,
    letter.columnName,
    letter.message,
    letter.raw,
    letter.rawBytes ? `\\x${letter.rawBytes.toString('hex')}` : null,
    letter.fields === null ? null : JSON.stringify(letter.fields),
  ])
  return await world.file([...deadLetterColumns], rows)
}

/** The rows of a table with the columns id, city and amount, in a fixed order. */
export async function contents(world: World, table = 'orders'): Promise<(string | null | undefined)[][]> {
  const rows = await world.rowsOf(table)
  return inOrder(rows.map((row) => [row['id'], row['city'], row['amount']]))
}

/** The same rows in a fixed order, for those who promise none. */
export function inOrder<T>(rows: T[]): T[] {
  return rows
    .map((row) => ({ row, text: JSON.stringify(row) }))
    .toSorted((a, b) => (a.text < b.text ? -1 : 1))
    .map(({ row }) => row)
}

/** What is promised comes without anybody doing anything more: within a renewal of the lease and some. */
export async function soon<T>(promise: Promise<T>, what: string): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error(`it takes too long until ${what}`)), 5000)
  return await Promise.race([promise, late.promise]).finally(() => clearTimeout(timer))
}
