/** Everything the memory store keeps, in plain maps and arrays that several openings may share, as workers share Postgres. */
import type { Plan } from '../../plan/plan.ts'
import type { Row } from '../csv-rows.ts'
import type { DeadLetter, LedgerLine, OutboxMessage, Position, StoredFile } from '../store.ts'
import { expire, type LeaseState } from './leases.ts'
import type { Table } from './tables.ts'

export interface MemoryDatabase {
  /** The database's clock, in milliseconds. */
  readonly now: () => number
  readonly pipelines: Map<string, StoredPipeline>
  readonly tables: Map<string, Table>
  readonly deadLetters: DeadLetter[]
  readonly lateRows: (Row & { pipeline: string; batch: string })[]
  /** Ends when the commits under way have ended: the next one waits, as it would for the rows of a database. */
  turn: Promise<unknown>
  /** Lets the lease of a pipeline run out, as that of a stopped worker would. */
  expire(pipeline: string): void
  /** The rows of a target table, in the order they came. */
  rowsOf(table: string): Row[]
}

export interface StoredPipeline {
  plan: Plan
  /** The number of the last committed batch. */
  batch: number
  lease: LeaseState
  /** By source and partition. */
  positions: Map<string, Position>
  /** By source and id. */
  files: Map<string, StoredFile>
  ledger: LedgerLine[]
  effects: Map<string, number>
  /** By step. */
  dedupKeys: Map<string, Set<string>>
  watermark: number | undefined
  /** By step, key and pane. */
  paneNumbers: Map<string, Row>
  paneSets: Row[]
  /** By step, key and item. */
  keyed: Map<string, Row>
  /** In the order in which they are published. */
  outbox: OutboxMessage[]
  /** Tasks that batches have asked for. */
  requests: { task: string; key: string; batch: number }[]
}

export function memoryDatabase(now: () => number): MemoryDatabase {
  const pipelines = new Map<string, StoredPipeline>()
  const tables = new Map<string, Table>()
  return {
    now,
    pipelines,
    tables,
    deadLetters: [],
    lateRows: [],
    turn: Promise.resolve(),
    expire(pipeline) {
      const stored = pipelines.get(pipeline)
      if (stored) expire(stored.lease)
    },
    rowsOf(name) {
      const { columns, rows } = tables.get(name) ?? { columns: [], rows: [] }
      // a row that was there before a column has null in it
      return rows.map((row) => Object.fromEntries(columns.map((column) => [column.name, row[column.name] ?? null])))
    },
  }
}

/** The key of a thing that two names tell apart. */
export function pair(first: string, second: string): string {
  return JSON.stringify([first, second])
}
