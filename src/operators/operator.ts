/**
 * What a step can do. An operator says which columns come out and prints its SQL; the engine decides when it runs.
 * Every relation of a batch has a column `_row`, the row's place in arrival order.
 */
import type { Column } from '../plan/columns.ts'
import type { OperatorStep, ValidateStep } from '../plan/plan.ts'
import type { KeptPart } from './keyed.ts'

/** Resident state is in memory and bounded by what is open; fetched state is read from the store for a batch's keys. */
export type StateKind = 'none' | 'resident' | 'fetched'

/** A relation and the select that makes it. A view is not computed until something reads it. */
export interface Relation {
  name: string
  as: 'table' | 'view'
  select: string
  /** A simpler select that says the same of a batch in which that table, made before it, has no rows. */
  unless?: { empty: string; select: string }
  /** In this batch it has no rows: the select says its columns. */
  empty?: boolean
  /** What is read from the store once it is made. */
  fetches?: KeptPart[]
}

export interface OperatorNames {
  input: string
  out: string
  inputColumns: Column[]
  /** Rows carry their event time as `_time`. */
  timed?: boolean
  /** Rows may be taken back: `_change` is 1 or -1. */
  changing?: boolean
  /** There are few rows. */
  few?: boolean
  /** Columns that the input has not, for no step reads them. */
  lacks?: readonly string[]
}

export interface Operator<S extends OperatorStep | ValidateStep> {
  /** One sentence for `explain`. */
  says(step: S): string
  state: StateKind
  /** The verdict of a row that comes in and does not go on. */
  verdict: 'dead' | 'filtered' | 'duplicates' | 'late' | undefined
  /** Relations in order; the last one is the step's output and is called `out`. */
  relations(step: S, names: OperatorNames): Relation[]
}

/** The name of a relation that belongs to a step's output: `filter` and `rows` make `filter_rows`. */
export function beside(name: string, suffix: string): string {
  return name.endsWith('"') ? `${name.slice(0, -1)}_${suffix}"` : `${name}_${suffix}`
}

/** How a batch stands in event time. */
export interface Moments {
  /** The watermark by which its rows are judged, and the one to which it moves it; milliseconds. */
  before: number | undefined
  after: number | undefined
  /** A table of one row that says them, as `before_us` and `after_us`, in place of the numbers. */
  clock?: string
}

/** One of them in microseconds, as SQL. */
export function momentOf(moments: Moments, which: 'before' | 'after'): string | undefined {
  const ms = moments[which]
  if (ms === undefined) return undefined
  return moments.clock === undefined ? us(ms) : `(select ${which}_us from ${moments.clock})`
}

/** Milliseconds as microseconds, in SQL. */
export function us(ms: number): string {
  return String(BigInt(Math.round(ms)) * 1000n)
}
