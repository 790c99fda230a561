/**
 * A pipeline as plain data: it survives `JSON.parse(JSON.stringify(plan))`. The builder makes it, and everything else
 * reads it: the engine, Spark, `explain`, the page.
 */
import { createHash } from 'node:crypto'
import type { Column } from './columns.ts'
import { type Aggregate, type Expression, replaced } from './expression.ts'

export interface Plan {
  format: 1
  name: string
  sources: Record<string, Source>
  /** In topological order: a step reads only sources and steps before it. */
  steps: Step[]
}

export type Source = FilesSource | TopicSource

/** A watched folder, or the files given to a bounded run in its place. */
export interface FilesSource {
  is: 'files'
  /** The folder to watch. Not part of the plan's identity: a pipeline may move. */
  folder: string
  format: FileFormat
  /** Refused when left out. */
  unknown?: UnknownColumns
  columns: SourceColumn[]
}

/** Text formats may be packed with gzip or zstd. Without a header, CSV fields are the columns in their order. */
export type FileFormat =
  | { is: 'csv'; delimiter: string; quote: string; header?: false }
  | { is: 'json lines' }
  | { is: 'parquet' }

/** What becomes of columns or keys of a file that the source does not name. */
export type UnknownColumns =
  /** A CSV or Parquet file is quarantined, a JSON line is a dead letter. */
  | { is: 'refuse' }
  /** They are left out, and the ledger says how many values. */
  | { is: 'count' }
  /** They are kept together as a JSON object in this column. */
  | { is: 'keep'; as: string }

/** A column read from the rows, unless it has an origin: then it says where the row came from. */
export interface SourceColumn extends Column {
  origin?: Origin
}

/** The columns as the steps behind a source know them. */
export function plainColumns(columns: readonly SourceColumn[]): Column[] {
  return columns.map(({ name, type, nullable }) => ({ name, type, nullable }))
}

/** The columns that the rows themselves have. */
export function columnsRead({ columns }: Pick<Source, 'columns'>): SourceColumn[] {
  return columns.filter(({ origin }) => origin === undefined)
}

/**
 * The path of the row's file; its physical line, or its number in a Parquet file; the batch it is read in. Of a topic:
 * the partition, the offset, the record's own time, its key, its headers.
 */
export type Origin = 'file' | 'line' | 'batch' | RecordOrigin
export type RecordOrigin = 'partition' | 'offset' | 'timestamp' | 'key' | 'headers'

/** A Kafka topic when brokers are set, else a local append-only log. */
export interface TopicSource {
  is: 'topic'
  topic: string
  /** What becomes of keys that the source does not name. Refused when left out. */
  unknown?: UnknownColumns
  /** Where to go on when the topic no longer has, or does not yet have, the record at the stored position. */
  whenLost: 'earliest' | 'latest' | 'fail'
  columns: SourceColumn[]
}

export type Step = ValidateStep | OperatorStep | SinkStep

export type OperatorStep = SelectStep | FilterStep | DedupStep | WindowStep | PairsStep | TotalStep | AnomaliesStep

/** Sinks are steps; what follows a sink takes the sink's input, never a read of its table. */
export type SinkStep = TableStep | TopicStep | FilesStep | EnqueueStep

interface StepBase {
  id: string
  /** Ids of the steps or sources this one reads. */
  from: string[]
  /** What comes out, in order. */
  columns: Column[]
}

/** Parses a source's texts into typed columns and checks rules; a row that fails becomes a dead letter. */
export interface ValidateStep extends StepBase {
  op: 'validate'
  /** Rules by column; a column without rules is only parsed. */
  rules: Record<string, Rule[]>
  /** Rules over the whole row, tried after every column has passed. */
  checks: RowCheck[]
  /** Where event time comes from, for pipelines that have it. Not part of the plan's identity, but for its column. */
  eventTime?: EventTime
}

export type Rule =
  /** A timestamp may also be written as milliseconds since 1970. */
  | { rule: 'or epoch milliseconds' }
  | { rule: 'not empty' }
  | { rule: 'one of'; values: string[] }
  /** Limits are text for decimals and timestamps, so that no digit is lost. */
  | { rule: 'at least'; value: string | number }
  | { rule: 'at most'; value: string | number }
  | { rule: 'length at most'; characters: number }

/** A row passes when `where` is true (not null). */
export interface RowCheck {
  code: string
  where: Expression
  message: string
  /** The column a person should look at. */
  column?: string
}

export interface EventTime {
  column: string
  outOfOrderMs: number
  futureSkewMs: number
  idleAfterMs: number
  whenAllIdle: 'wait' | 'follow the clock'
}

/** After everything: no event can come later. The last moment of JavaScript's clock, in milliseconds. */
export const endOfTime = 8_640_000_000_000_000

export interface SelectStep extends StepBase {
  op: 'select'
  /** One expression per output column, in order. */
  select: Record<string, Expression>
}

export interface FilterStep extends StepBase {
  op: 'filter'
  /** A row passes when this is true; false and null are filtered. */
  where: Expression
}

/** The first row of a key in arrival order wins. Without a horizon, over all time. */
export interface DedupStep extends StepBase {
  op: 'dedup'
  by: string[]
  horizonMs?: number
}

/**
 * Windows of event time, half-open, beginning at multiples of `slideMs` since 1970. What comes out: the columns of `by`,
 * `window_start`, `window_end`, the aggregates of each input in order, and `final`, which is true of a closed window.
 */
export interface WindowStep extends StepBase {
  op: 'window'
  /** Each input's aggregates by the name of their column. An input of which a window has no rows gives zeros or nulls. */
  inputs: { from: string; aggregates: Record<string, Aggregate> }[]
  by: string[]
  sizeMs: number
  slideMs: number
  late: 'keep' | 'drop' | 'fail'
  emit: { on: 'close' } | { on: 'update'; everyMs: number }
}

/**
 * Of the events of a key, in the order of event time: each open with the event after it, when that is a close. What comes
 * out: the columns of `by`, the other columns of the open (of a close without one: its own) but for the event time, and
 * `pair_id`, `opened_at`, `closed_at`, `outcome`, `seconds`. It is said at once, and taken back when other events show it
 * to be otherwise.
 */
export interface PairsStep extends StepBase {
  op: 'pairs'
  by: string[]
  open: Expression
  /** Without it every event that opens is closed by the next that does. */
  close?: Expression
  /** An open and its close are no further apart. */
  maxGapMs?: number
  /** An event is late when it is older than the newest of its key by more than this. */
  latenessMs: number
  late: 'keep' | 'drop' | 'fail'
}

/** What pairs add to the columns of their events. */
export const pairColumns: Column[] = [
  { name: 'pair_id', type: { is: 'text' }, nullable: false },
  { name: 'opened_at', type: { is: 'timestamp' }, nullable: true },
  { name: 'closed_at', type: { is: 'timestamp' }, nullable: true },
  { name: 'outcome', type: { is: 'text' }, nullable: false },
  { name: 'seconds', type: { is: 'decimal', precision: 18, scale: 6 }, nullable: true },
]

/** Aggregates of each key over all time: the columns of `by`, then the aggregates. */
export interface TotalStep extends StepBase {
  op: 'total'
  by: string[]
  aggregates: Record<string, Aggregate>
}

/**
 * Of each closed window: how far a value is from the mean of the `over` windows of its key that closed before it and had
 * one, in deviations (population). At `threshold` or beyond it is a row: `by`, `window_start`, `moment_type`, `value`,
 * `mean`, `deviation`, `z_score`.
 */
export interface AnomaliesStep extends StepBase {
  op: 'anomalies'
  /** The columns to judge, with the types of moment they make. */
  of: { column: string; spike?: string; drop?: string }[]
  by: string[]
  over: number
  threshold: number
}

export interface TableStep extends StepBase {
  op: 'table'
  table: string
  mode: TableMode
  /** A bounded run that nothing follows writes its rows as files. Not part of the plan's identity. */
  whenFinal?: 'files'
  /**
   * Caches keep what is told of a row under this and the value of its key, and forget it when the row changes. Not part of
   * the plan's identity.
   */
  cachedAs?: string
}

/** How rows meet the rows that are there. Keys name columns of the step's input. */
export type TableMode =
  | { is: 'append' }
  /** The first row of a key wins, over all time; a later one counts as a duplicate. */
  | { is: 'insert if new'; key: string[] }
  | { is: 'upsert'; key: string[] }

/** Each row as a message, a JSON object of its columns: at least once, in order, with an id by which repeats are known. */
export interface TopicStep extends StepBase {
  op: 'topic'
  topic: string
  /** Columns whose text is the message's key; of several, a JSON list of their texts. None: messages have no key. */
  key: string[]
  /** Only the rows that this table, a step before it, has taken. */
  landedIn?: string
}

/** One file a batch, which appears when the batch is committed. */
export interface FilesStep extends StepBase {
  op: 'files'
  folder: string
  format: FileFormat
  /** Only the rows that this table, a step before it, has taken. */
  landedIn?: string
}

export interface EnqueueStep extends StepBase {
  op: 'enqueue'
  task: string
  key: string
  when?: Expression
}

export const sinkOps = ['table', 'topic', 'files', 'enqueue'] as const

export function isSink(step: Step): step is SinkStep {
  return (sinkOps as readonly string[]).includes(step.op)
}

/** Steps whose rows are no longer those that came in: what follows them has nothing to say of an input row. */
export function makesRows(step: Step): boolean {
  return step.op === 'window' || step.op === 'pairs' || step.op === 'total' || step.op === 'anomalies'
}

/** Whether the rows that reach a step are those that came in. */
export function takesInputRows(plan: Plan, step: Step): boolean {
  const before = plan.steps.filter(({ id }) => step.from.includes(id))
  return before.every((each) => !makesRows(each) && takesInputRows(plan, each))
}

/** Whether rows of a step may be taken back. */
export function isChanging(plan: Plan, id: string): boolean {
  const step = plan.steps.find((candidate) => candidate.id === id)
  if (step === undefined) return false
  return step.op === 'pairs' || step.op === 'total' || step.from.some((from) => isChanging(plan, from))
}

/** Whether the rows of a step carry the event time they came with. */
export function isTimed(plan: Plan, id: string): boolean {
  const step = plan.steps.find((candidate) => candidate.id === id)
  if (step === undefined || makesRows(step)) return false
  return step.op === 'validate' ? step.eventTime !== undefined : isTimed(plan, step.from[0] ?? '')
}

/** What a column of a step is, over those of validation, whatever selects made of those before it. */
export function atValidation(plan: Plan, id: string, column: string): Expression {
  const step = plan.steps.find((candidate) => candidate.id === id)
  if (step === undefined || step.op === 'validate') return { column }
  const from = step.from[0] ?? ''
  const is = step.op === 'select' ? (step.select[column] ?? { column }) : { column }
  return replaced(is, (name) => atValidation(plan, from, name))
}

/** Whether a column has the event time, as it was read. */
export function isEventTime(plan: Plan, id: string, column: string): boolean {
  const is = atValidation(plan, id, column)
  return 'column' in is && plan.steps.some((step) => step.op === 'validate' && step.eventTime?.column === is.column)
}

/**
 * The part of a plan that stored state depends on, with its keys in a fixed order: everything but where files lie,
 * thresholds, and how often something is emitted.
 */
export function identityOf(plan: Plan): unknown {
  return sorted({
    ...plan,
    sources: Object.fromEntries(
      Object.entries(plan.sources).map(([id, source]) => [
        id,
        source.is === 'files' ? { ...source, folder: '' } : source,
      ]),
    ),
    steps: plan.steps.map(stepIdentity),
  })
}

function stepIdentity(step: Step): unknown {
  switch (step.op) {
    case 'validate':
      return { ...step, ...(step.eventTime ? { eventTime: step.eventTime.column } : {}) }
    case 'window':
      return { ...step, emit: step.emit.on }
    case 'anomalies':
      return { ...step, threshold: 0 }
    case 'files':
      return { ...step, folder: '' }
    case 'table': {
      const { whenFinal, cachedAs, ...own } = step
      return own
    }
    case 'select':
    case 'filter':
    case 'dedup':
    case 'pairs':
    case 'total':
    case 'topic':
    case 'enqueue':
      return step
  }
}

// Columns keep their order, for they are arrays; only the keys of objects are sorted.
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sorted(inner)]),
  )
}

/** Sixteen hexadecimal digits that change when the meaning of stored state would. */
export function planHash(plan: Plan): string {
  return createHash('sha256')
    .update(JSON.stringify(identityOf(plan)))
    .digest('hex')
    .slice(0, 16)
}
