/** Pipelines of windows over rows that a test writes down, batch by batch, on the memory store. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { runPipeline } from '../src/engine/run.ts'
import { createLog } from '../src/log.ts'
import type { Plan } from '../src/plan/plan.ts'
import { type MemoryDatabase, memoryDatabase, openMemoryStore } from '../src/store/memory.ts'
import type { LedgerLine } from '../src/store/store.ts'
import type { Bench } from './histories.ts'
import { type Feed, type Fields, openMemoryReader } from './memory-source.ts'

/** The rows of one run, by source. Each run reads them all and then moves the watermark to what they say. */
export type Given = Record<string, Fields[]>

export interface Ran {
  database: MemoryDatabase
  ledger: LedgerLine[]
  /** The columns of a table's rows, in the order they came. */
  rows(table: string, ...columns: string[]): (string | null)[][]
}

export interface RunOptions {
  /** Nothing follows the last run. */
  final?: boolean
  /** Rows in a batch. */
  rows?: number
  now?: () => number
}

/** Bounded runs, one after another, each by a worker of its own. */
export async function runWindows(bench: Bench, plan: Plan, given: Given[], options: RunOptions = {}): Promise<Ran> {
  const database = memoryDatabase(Date.now)
  const feeds = Object.keys(plan.sources).map((source): Feed => ({ source, partition: '0', rows: [], stalled: false }))
  for (const [i, rows] of given.entries()) {
    for (const feed of feeds) feed.rows.push(...(rows[feed.source] ?? []))
    const final = options.final === true && i === given.length - 1
    await runOnce(bench, plan, database, feeds, { ...options, final })
  }
  await using store = openMemoryStore(database)
  return {
    database,
    ledger: await store.ledger(plan.name, {}),
    rows: (table, ...columns) => database.rowsOf(table).map((row) => columns.map((column) => row[column] ?? null)),
  }
}

async function runOnce(
  bench: Bench,
  plan: Plan,
  database: MemoryDatabase,
  feeds: Feed[],
  { final = false, rows = 1000, now = Date.now }: RunOptions,
): Promise<void> {
  await using store = openMemoryStore(database)
  await store.register(plan)
  const spool = join(bench.folder, 'spool', plan.name, `${++bench.drains}`)
  try {
    await runPipeline({
      plan,
      store,
      duck: bench.duck,
      spool,
      openReader: async () => openMemoryReader({ plan, feeds, store, random: () => 0, onIdle: async () => {} }),
      effects: { quarantine: undefined, logs: join(bench.folder, 'logs') },
      limits: { rows, bytes: 1e6 },
      intervalMs: 0,
      owner: 'test:1',
      kind: 'backfill',
      bounded: true,
      final,
      now,
      log: createLog('error', { write: () => {} }),
      signal: new AbortController().signal,
    })
  } finally {
    await rm(join(bench.folder, 'spool', plan.name), { recursive: true, force: true })
  }
}
