/** What a worker says of itself: its state, its books, and some of the rows it lands. */
import type { Verdicts } from '../store/store.ts'
import type { ArchiverState } from './archive.ts'
import type { PublisherState } from './publisher.ts'

/** What a worker is doing, in words for status and page. */
export type WorkerState =
  | { is: 'starting' }
  | { is: 'running' }
  | { is: 'standing by'; owner: string }
  | { is: 'lending'; to: string }
  | { is: 'retrying'; why: string; tries: number; nextInMs: number }
  | { is: 'stopped'; why: string }

export interface Progress {
  state: WorkerState
  /** Sums of this worker's batches since it started. */
  books: Verdicts
  batches: number
  filesQuarantined: number
  /** Input that is committed, and all there was when a bounded run began; undefined where nobody knows. */
  bytesDone: number
  bytesTotal: number | undefined
  lastBatch: number
  lastCommittedAt: Date | undefined
  /** Of the last batch: milliseconds by phase, and from the arrival of its oldest input to its commit. */
  lastPhases?: Record<string, number>
  lastLatencyMs?: number
  retries: number
  /** The folder of the files that a final run writes in place of tables, when it has written some. */
  files?: string
  /** Of a pipeline that archives its files. */
  archiver?: ArchiverState
  /** Of a pipeline that publishes to topics. */
  publisher?: PublisherState
}

/** Before the first batch. */
export function noProgress(): Progress {
  return {
    state: { is: 'starting' },
    books: { rowsIn: 0, written: 0, filtered: 0, duplicates: 0, late: 0, dead: 0 },
    batches: 0,
    filesQuarantined: 0,
    bytesDone: 0,
    bytesTotal: undefined,
    lastBatch: 0,
    lastCommittedAt: undefined,
    retries: 0,
  }
}

/** Some rows of a committed batch on their way into a table, as texts. */
export interface LandedRows {
  step: string
  table: string
  columns: string[]
  rows: (string | null)[][]
}
