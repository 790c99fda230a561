/** What a test sees of a pipeline, beside the rows of its tables. */
import type { Verdicts } from '../store/store.ts'
import type { TestValue } from './typed-rows.ts'

/** Every row that came in has one verdict: `rowsIn` is the sum of the others. */
export interface Books extends Verdicts {
  /** How many batches were committed. */
  batches: number
}

/** A row that broke a rule. */
export interface DeadLetter {
  source: string
  /** The file, or `topic/partition/offset`. */
  place: string
  line: number | null
  stage: string
  code: string
  column: string | null
  message: string
  raw: string
  /** What could be read of it, by column. */
  fields: Record<string, string | null> | null
}

/** A row that came when nothing could be made of it: all of its windows were closed, or its key had gone on. */
export interface LateRow {
  /** The step that it was too late for. */
  step: string
  place: string
  eventTime: string
  /** The last window that it belongs to; of pairs there is none. */
  windowStart: string | null
  lateByMs: number
  raw: string
}

/** A file that could not be read. */
export interface Quarantined {
  file: string
  code: string
  message: string
}

export interface WrittenFile {
  /** In its folder: `2026-01-01/orders-1.csv`. */
  name: string
  content: Buffer
}

/** A message that was published to a topic. */
export interface Published {
  key: string | null
  /** The row, as JSON has it: a moment is a text, and so is a decimal of more than 15 digits. */
  value: Record<string, TestValue>
  /** `millrace-id` is the same when a message comes twice. */
  headers: Record<string, string>
}
