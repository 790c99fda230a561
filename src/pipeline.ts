/**
 * The typed builder: column names and types flow from step to step, and what it makes is a plan, plain data.
 *
 *   pipeline('orders')
 *     .from(files('orders', { format: 'csv', columns: { id: text().notEmpty(), total: decimal(12, 2).atLeast(0) } }))
 *     .filter((row) => row.total.moreThan(10))
 *     .into(table('orders', { oncePer: 'id' }))
 */
import type { ColumnSpec } from './column-specs.ts'
import { type Duration, parseDuration } from './duration.ts'
import { MillraceError, nearest } from './errors.ts'
import type { Aggregated } from './functions/aggregate.ts'
import { isValue, type Row, type Value, valueOf } from './functions/value.ts'
import {
  boolean as booleanType,
  type Column,
  double as doubleType,
  type Kind,
  text as textType,
  timestamp as timestampType,
} from './plan/columns.ts'
import {
  type EventTime,
  type FileFormat,
  type Plan,
  plainColumns,
  type RowCheck,
  type Source,
  type SourceColumn,
  type Step,
  type TableMode,
  type UnknownColumns,
  type WindowStep,
} from './plan/plan.ts'

export * from './column-specs.ts'
export type { Duration } from './duration.ts'

/** Column names with the kinds the compiler checks. */
export type Columns = Record<string, Kind>

// ---- sources and sinks ---------------------------------------------------------------------------------------------

export interface SourceSpec<C extends Columns> {
  readonly source: Source
  readonly eventTime?: EventTime
  readonly columns: { readonly [Name in keyof C]: ColumnSpec<C[Name]> }
}

/** How the files are written. CSV and JSON lines may be packed with gzip or zstd. */
export type FormatOptions =
  | {
      format: 'csv'
      /** One character; a comma when left out. */
      delimiter?: string
      /** One character, doubled within a field; `"` when left out. */
      quote?: string
      /** `false`: there is no header, and the fields are the columns in their order. */
      header?: boolean
    }
  /** One object to a line; its keys are the columns, and what is nested in it is `json()`. */
  | { format: 'json lines' }
  | { format: 'parquet' }

/** When a row's event took place, and how far rows may come out of their order. */
export interface EventTimeOptions<C extends Columns> {
  /** A timestamp that every row has. */
  column: keyof C & string
  /** The watermark stays this far behind the latest event time of a partition: none when left out. */
  outOfOrder?: Duration
  /** An event time further ahead of the clock than this moves no watermark; its row counts. 5 minutes when left out. */
  futureSkew?: Duration
  /** A partition that is read to its end holds the others back for so long: 30 seconds when left out. */
  idleAfter?: Duration
  /** `follow the clock` closes the last windows of a stream that has ended. Otherwise they wait for more. */
  whenAllIdle?: 'wait' | 'follow the clock'
}

interface TimedOptions<C extends Columns> {
  columns: { [Name in keyof C]: ColumnSpec<C[Name]> }
  // the columns say what C is, whatever an event time that is shared with other sources knows of them
  eventTime?: EventTimeOptions<NoInfer<C>>
}

export interface FilesOptions<C extends Columns> extends TimedOptions<C> {
  /**
   * Columns of a file, or keys of a JSON line, that are not named here. `refuse`: such a file is quarantined, such a line
   * is a dead letter. `count`: they are left out, and counted in the ledger. `keepAs`: they are kept together in this
   * column, which is `json().optional()`. When left out, JSON lines count them and the others refuse them.
   */
  unknownColumns?: 'refuse' | 'count' | { keepAs: keyof C & string }
}

/** Files in a watched folder (relative to MILLRACE_DATA, or absolute), each read once, when it is complete. */
export function files<C extends Columns>(folder: string, options: FormatOptions & FilesOptions<C>): SourceSpec<C> {
  const { unknownColumns = options.format === 'json lines' ? 'count' : 'refuse' } = options
  const columns = columnsOfSpecs(options.columns)
  return {
    columns: options.columns,
    ...eventTimeOf(options),
    source: { is: 'files', folder, format: formatOf(options), ...unknownOf(unknownColumns), columns },
  }
}

export interface TopicOptions<C extends Columns> extends TimedOptions<C> {
  /** Keys of a message that are not named here, as those of a JSON line. They are counted when left out. */
  unknownColumns?: 'refuse' | 'count' | { keepAs: keyof C & string }
  /** Where to go on when retention has overtaken the pipeline, or the topic was made anew. `fail` when left out. */
  whenLost?: 'earliest' | 'latest' | 'fail'
}

/**
 * Messages of a topic, one JSON object each: a Kafka topic when KAFKA_BOOTSTRAP_SERVERS is set, else an append-only log
 * under MILLRACE_DATA. A new pipeline begins at the earliest message.
 */
export function topic<C extends Columns>(name: string, options: TopicOptions<C>): SourceSpec<C> {
  const { unknownColumns = 'count', whenLost = 'fail' } = options
  const columns = columnsOfSpecs(options.columns)
  return {
    columns: options.columns,
    ...eventTimeOf(options),
    source: { is: 'topic', topic: name, ...unknownOf(unknownColumns), whenLost, columns },
  }
}

function unknownOf(unknown: 'refuse' | 'count' | { keepAs: string }): { unknown?: UnknownColumns } {
  if (unknown === 'refuse') return {}
  return { unknown: unknown === 'count' ? { is: 'count' } : { is: 'keep', as: unknown.keepAs } }
}

function eventTimeOf<C extends Columns>({ eventTime }: TimedOptions<C>): { eventTime?: EventTime } {
  if (eventTime === undefined) return {}
  const { column, outOfOrder = 0, futureSkew = '5 minutes', idleAfter = '30 seconds', whenAllIdle = 'wait' } = eventTime
  return {
    eventTime: {
      column,
      outOfOrderMs: inMs(outOfOrder),
      futureSkewMs: inMs(futureSkew),
      idleAfterMs: inMs(idleAfter),
      whenAllIdle,
    },
  }
}

function inMs(duration: Duration): number {
  const ms = typeof duration === 'number' ? duration : parseDuration(duration)
  if (ms !== undefined && Number.isInteger(ms) && ms >= 0) return ms
  throw new MillraceError('INVALID_PLAN', {
    message: `${JSON.stringify(duration)} is no duration`,
    hint: 'write whole milliseconds, or a text such as "250 ms", "10 seconds" or "2 hours"',
  })
}

function formatOf(options: FormatOptions): FileFormat {
  switch (options.format) {
    case 'csv': {
      const { delimiter = ',', quote = '"', header = true } = options
      return { is: 'csv', delimiter, quote, ...(header ? {} : { header }) }
    }
    case 'json lines':
    case 'parquet':
      return { is: options.format }
  }
}

function columnsOfSpecs(specs: Record<string, ColumnSpec>): SourceColumn[] {
  return Object.entries(specs).map(([name, { type, nullable, origin }]) => ({
    name,
    type,
    nullable,
    ...(origin === undefined ? {} : { origin }),
  }))
}

/** A table in Postgres. `Key` are the columns its key needs. */
export interface TableSink<Key extends string> {
  readonly table: string
  readonly mode: TableMode
  readonly needs: readonly Key[]
}

/**
 * A table in Postgres, created when it is missing. `oncePer`: the first row of a key wins, over all time, and repeats are
 * counted as duplicates. `key`: a row replaces the one with its key. Neither: every row is added.
 */
export function table(name: string): TableSink<never>
export function table<const Key extends string>(
  name: string,
  options: { oncePer: Key | readonly Key[] } | { key: Key | readonly Key[] },
): TableSink<Key>
export function table<Key extends string>(
  name: string,
  options?: { oncePer: Key | readonly Key[] } | { key: Key | readonly Key[] },
): TableSink<Key> {
  if (options === undefined) return { table: name, mode: { is: 'append' }, needs: [] }
  const named = 'oncePer' in options ? options.oncePer : options.key
  const key = typeof named === 'string' ? [named] : [...named]
  return { table: name, mode: { is: 'oncePer' in options ? 'insert if new' : 'upsert', key }, needs: key }
}

/** Files in a folder. */
export interface FilesSink {
  readonly folder: string
  readonly format: FileFormat
  readonly landed: boolean
}

/**
 * A folder (relative to MILLRACE_DATA, or absolute) that gets one file a batch, `<day>/<pipeline>-<batch>`, when the batch
 * is committed: never half of one, never one of a batch that was not. `rows: 'landed'`: only those that the table before it
 * took, without repeats of earlier batches.
 */
export function folder(path: string, options: FormatOptions & { rows?: 'all' | 'landed' }): FilesSink {
  return { folder: path, format: formatOf(options), landed: options.rows === 'landed' }
}

// ---- the flow ------------------------------------------------------------------------------------------------------

type KindsOf<Shape extends Record<string, Value>> = { [Name in keyof Shape]: Shape[Name]['kind'] }

/** A pipeline so far, and the columns its rows have at this place. */
export interface Flow<C extends Columns> {
  /** The whole pipeline as plain data. */
  readonly plan: Plan

  /** A rule over the whole row: a row for which it is not true becomes a dead letter with this code. */
  check(
    code: string,
    where: (row: Row<C>) => Value<'boolean'>,
    options: { message: string; column?: keyof C & string },
  ): Flow<C>

  /** Keeps the rows for which this is true. */
  filter(where: (row: Row<C>) => Value<'boolean'>): Flow<C>

  /** The columns of the next step; `...row` keeps those that are there. */
  select<Shape extends Record<string, Value>>(shape: (row: Row<C>) => Shape): Flow<KindsOf<Shape>>

  /** Keeps the first row of each key, over all time. */
  dedup(...by: (keyof C & string)[]): Flow<C>

  /**
   * Gathers rows into windows of event time, by key: a row for each window of each key that has rows, with the columns of
   * the key, `window_start`, `window_end`, the aggregates, and `final`, which is true once the window is closed.
   */
  window<const By extends keyof C & string, Shape extends Record<string, Aggregated>>(
    windows: WindowOptions<By>,
    aggregates: (row: Row<C>) => Shape,
  ): WindowFlow<C, By, Shape>

  /**
   * Of each closed window: which of its values are far from what the windows of its key before it had. A value is judged
   * against the last `over` windows of its key that closed before it and have one; nothing is said before there are so
   * many, or while they are all the same.
   */
  anomalies<const By extends keyof C & string>(options: AnomalyOptions<C, By>): Flow<AnomalyColumns<C, By>>

  /** Writes the rows, and hands the same rows on. */
  into(sink: TableSink<keyof C & string> | FilesSink): Flow<C>

  /** A branch: takes the rows of this place, beside whatever follows. */
  also(branch: (flow: Flow<C>) => Flow<Columns>): Flow<C>
}

export interface WindowOptions<By extends string> {
  size: Duration
  /** How far each window begins after the one before it: its size when left out, so that windows do not overlap. */
  slide?: Duration
  by: By | readonly By[]
  /** Rows of which all windows are closed: kept in millrace.late_rows, dropped but counted, or a reason to stop. */
  late?: 'keep' | 'drop' | 'fail'
  /** Only closed windows, or open ones too, as they change, at most so often: every 250 ms when left out. */
  emit?: 'close' | { update: Duration }
}

type WindowColumns<C extends Columns, By extends keyof C, Shape extends Record<string, Aggregated>> = {
  [Name in By]: C[Name]
} & { window_start: 'timestamp'; window_end: 'timestamp' } & { [Name in keyof Shape]: Shape[Name]['kind'] } & {
  final: 'boolean'
}

/** Windows, to which another source may be added. */
export interface WindowFlow<C extends Columns, By extends keyof C, Shape extends Record<string, Aggregated>>
  extends Flow<WindowColumns<C, By, Shape>> {
  /**
   * Adds the rows of another source to the same windows: a window has a row when either has rows; of the one that is
   * missing, counts are zero and other aggregates null. `through` prepares its rows.
   */
  alongside<D extends { [Name in By]: C[Name] }, More extends Record<string, Aggregated>>(
    source: SourceSpec<D>,
    aggregates: (row: Row<D>) => More,
  ): WindowFlow<C, By, Shape & More>
  alongside<D extends Columns, E extends { [Name in By]: C[Name] }, More extends Record<string, Aggregated>>(
    source: SourceSpec<D>,
    through: (flow: Flow<D>) => Flow<E>,
    aggregates: (row: Row<E>) => More,
  ): WindowFlow<C, By, Shape & More>
}

export interface AnomalyOptions<C extends Columns, By extends keyof C & string> {
  /** The columns to judge, and what a value far above, or far below, is called. */
  of: { [Name in keyof C & string]?: { spike?: string; drop?: string } }
  by: By | readonly By[]
  /** So many closed windows before it. */
  over: number
  /** So many deviations from their mean, or more. */
  threshold: number
}

type AnomalyColumns<C extends Columns, By extends keyof C> = { [Name in By]: C[Name] } & {
  window_start: 'timestamp'
  moment_type: 'text'
  value: 'double'
  mean: 'double'
  deviation: 'double'
  z_score: 'double'
}

/** Begins a pipeline. The name is how everything else calls it: letters, digits and hyphens. */
export function pipeline(name: string): { from<C extends Columns>(source: SourceSpec<C>): Flow<C> } {
  if (!/^[a-z][a-z0-9-]{0,62}$/.test(name)) {
    throw new MillraceError('INVALID_PLAN', {
      message: `"${name}" cannot be a pipeline's name`,
      hint: 'use lower-case letters, digits and hyphens, beginning with a letter',
    })
  }
  return {
    from<C extends Columns>(spec: SourceSpec<C>): Flow<C> {
      const { plan, validate } = withSource({ format: 1, name, sources: {}, steps: [] }, spec)
      return flow<C>(plan, validate.id, validate.columns)
    },
  }
}

// The plan with one more source, and the step that reads it.
function withSource(plan: Plan, { source, columns, eventTime }: SourceSpec<Columns>): { plan: Plan; validate: Step } {
  const rules = Object.fromEntries(
    Object.entries<ColumnSpec>(columns)
      .filter(([, column]) => column.rules.length > 0)
      .map(([column, { rules }]) => [column, [...rules]]),
  )
  const id = freshId(plan, source.is === 'topic' ? source.topic : source.is)
  const validate: Step = {
    id: freshId(plan, 'validate'),
    op: 'validate',
    from: [id],
    rules,
    checks: [],
    ...(eventTime === undefined ? {} : { eventTime }),
    columns: plainColumns(source.columns),
  }
  return { plan: { ...plan, sources: { ...plan.sources, [id]: source }, steps: [...plan.steps, validate] }, validate }
}

/** Where each flow stands in its plan. */
const places = new WeakMap<object, { at: string; columns: Column[] }>()

function flow<C extends Columns>(plan: Plan, at: string, columns: Column[]): Flow<C> {
  const add = <Next extends Columns>(step: Step): Flow<Next> =>
    flow<Next>({ ...plan, steps: [...plan.steps, step] }, step.id, step.columns)
  // as: the columns in the plan are those the compiler has followed
  const row = (step: string) => rowOf(columns, `${plan.name} / ${step}`) as Row<C>

  const tableStep = ({ table, mode }: TableSink<string>): Step => ({
    id: freshId(plan, 'table'),
    op: 'table',
    from: [at],
    table,
    mode,
    columns,
  })
  const filesStep = ({ folder, format, landed }: FilesSink): Step => {
    const tables = plan.steps.filter((step) => step.op === 'table' && step.from.includes(at))
    const landedIn = tables.at(-1)?.id
    if (landed && landedIn === undefined) {
      throw new MillraceError('INVALID_PLAN', {
        at: plan.name,
        message: `the folder ${folder} takes landed rows, and no table stands directly before it`,
        hint: 'write into(table(...)) before it, or leave rows out',
      })
    }
    const id = freshId(plan, 'folder')
    return { id, op: 'files', from: [at], folder, format, ...(landed && landedIn ? { landedIn } : {}), columns }
  }

  const here: Flow<C> = {
    plan,

    check(code, where, options) {
      const validate = plan.steps.find((step) => step.id === at)
      if (validate?.op !== 'validate') {
        throw new MillraceError('INVALID_PLAN', {
          at: plan.name,
          message: `the check "${code}" stands after another step`,
          hint: 'checks belong directly after from(...); later, use filter',
        })
      }
      const check: RowCheck = { code, where: where(row(at)).expression, ...options }
      const checked = { ...validate, checks: [...validate.checks, check] }
      return flow<C>({ ...plan, steps: plan.steps.map((step) => (step === validate ? checked : step)) }, at, columns)
    },

    filter(where) {
      const id = freshId(plan, 'filter')
      return add<C>({ id, op: 'filter', from: [at], where: where(row(id)).expression, columns })
    },

    select(shape) {
      const id = freshId(plan, 'select')
      const values = Object.entries(shape(row(id)))
      for (const [name, value] of values) {
        if (isValue(value)) continue
        throw new MillraceError('WRONG_TYPE', {
          at: `${plan.name} / ${id}`,
          message: `"${name}" is not a value of the row`,
          hint: 'use columns of the row, functions of them, or constants through a function such as coalesce',
        })
      }
      return add({
        id,
        op: 'select',
        from: [at],
        select: Object.fromEntries(values.map(([name, value]) => [name, value.expression])),
        columns: values.map(([name, value]) => ({ name, type: value.type, nullable: value.nullable })),
      })
    },

    dedup(...by) {
      return add<C>({ id: freshId(plan, 'dedup'), op: 'dedup', from: [at], by, columns })
    },

    window<By extends keyof C & string, Shape extends Record<string, Aggregated>>(
      options: WindowOptions<By>,
      aggregates: (row: Row<C>) => Shape,
    ) {
      const { size, slide = size, by, late = 'keep', emit = { update: 250 } } = options
      const id = freshId(plan, 'window')
      const shape = aggregates(row(id))
      const keys: string[] = typeof by === 'string' ? [by] : [...by]
      const step: WindowStep = {
        id,
        op: 'window',
        from: [at],
        inputs: [{ from: at, aggregates: aggregatesOf(shape, `${plan.name} / ${id}`) }],
        by: keys,
        sizeMs: inMs(size),
        slideMs: inMs(slide),
        late,
        emit: emit === 'close' ? { on: 'close' } : { on: 'update', everyMs: inMs(emit.update) },
        columns: windowColumns(columns, keys, shape),
      }
      return windowFlow<C, By, Shape>(plan, step)
    },

    anomalies<By extends keyof C & string>({ of, by, over, threshold }: AnomalyOptions<C, By>) {
      const keys: string[] = typeof by === 'string' ? [by] : [...by]
      const judged = Object.entries<{ spike?: string; drop?: string } | undefined>(of)
      const made = (name: string, type: Column['type']): Column => ({ name, type, nullable: false })
      return add<AnomalyColumns<C, By>>({
        id: freshId(plan, 'anomalies'),
        op: 'anomalies',
        from: [at],
        of: judged.map(([column, moments]) => ({ column, ...moments })),
        by: keys,
        over,
        threshold,
        columns: [
          ...columns.filter(({ name }) => keys.includes(name)),
          made('window_start', timestampType),
          made('moment_type', textType),
          ...['value', 'mean', 'deviation', 'z_score'].map((name) => made(name, doubleType)),
        ],
      })
    },

    into(sink) {
      const step = 'table' in sink ? tableStep(sink) : filesStep(sink)
      return flow<C>({ ...plan, steps: [...plan.steps, step] }, at, columns)
    },

    also(branch) {
      const branched = branch(flow<C>(plan, at, columns))
      return flow<C>(branched.plan, at, columns)
    },
  }
  places.set(here, { at, columns })
  return here
}

function windowFlow<C extends Columns, By extends keyof C & string, Shape extends Record<string, Aggregated>>(
  before: Plan,
  step: WindowStep,
): WindowFlow<C, By, Shape> {
  const plan = { ...before, steps: [...before.steps, step] }
  return {
    ...flow<WindowColumns<C, By, Shape>>(plan, step.id, step.columns),

    // any: which forms there are, and what they answer, is declared in WindowFlow
    // biome-ignore lint/suspicious/noExplicitAny: see the line above
    alongside(source: SourceSpec<any>, ...rest: any[]): any {
      const [through, aggregates] = rest.length === 1 ? [(same: unknown) => same, rest[0]] : rest
      const added = withSource(before, source)
      const prepared = through(flow<Columns>(added.plan, added.validate.id, added.validate.columns))
      const place = places.get(prepared)
      const at = `${before.name} / ${step.id}`
      if (place === undefined)
        throw new MillraceError('INVALID_PLAN', { at, message: 'alongside takes a flow of rows' })
      const shape: Record<string, Aggregated> = aggregates(rowOf(place.columns, at))
      const final = step.columns.at(-1)
      return windowFlow(prepared.plan, {
        ...step,
        // a branch of the other source may have windows of its own, and stands before this one
        id: freshId(prepared.plan, 'window'),
        from: [...step.from, place.at],
        inputs: [...step.inputs, { from: place.at, aggregates: aggregatesOf(shape, at) }],
        columns: [...step.columns.slice(0, -1), ...aggregateColumns(shape), ...(final ? [final] : [])],
      })
    },
  }
}

function windowColumns(input: Column[], by: string[], shape: Record<string, Aggregated>): Column[] {
  const made = (name: string, type: Column['type']): Column => ({ name, type, nullable: false })
  return [
    ...by.flatMap((name) => input.filter((column) => column.name === name)),
    made('window_start', timestampType),
    made('window_end', timestampType),
    ...aggregateColumns(shape),
    made('final', booleanType),
  ]
}

function aggregateColumns(shape: Record<string, Aggregated>): Column[] {
  return Object.entries(shape).map(([name, { type, nullable }]) => ({ name, type, nullable }))
}

function aggregatesOf(shape: Record<string, Aggregated>, at: string): WindowStep['inputs'][number]['aggregates'] {
  return Object.fromEntries(
    Object.entries(shape).map(([name, made]) => {
      if (typeof made === 'object' && made !== null && 'aggregate' in made) return [name, made.aggregate]
      throw new MillraceError('WRONG_TYPE', {
        at,
        message: `"${name}" is no aggregate`,
        hint: 'use count(), sum(row.x), mean(row.x), countDistinct(row.x), top(5, row.x) and the like',
      })
    }),
  )
}

function freshId(plan: Plan, op: string): string {
  const taken = new Set([...plan.steps.map((step) => step.id), ...Object.keys(plan.sources)])
  if (!taken.has(op)) return op
  let n = 2
  while (taken.has(`${op}-${n}`)) n++
  return `${op}-${n}`
}

// A name that is not there fails here with the sentence that a plan from plain data gets at check.
function rowOf(columns: Column[], at: string): Record<string, Value> {
  const values = Object.fromEntries(
    columns.map(({ name, type, nullable }) => [name, valueOf({ column: name }, type, nullable)]),
  )
  return new Proxy(values, {
    get(target, name) {
      if (typeof name === 'symbol' || Object.hasOwn(target, name)) return Reflect.get(target, name)
      const names = columns.map((column) => column.name)
      const meant = nearest(name, names)
      throw new MillraceError('UNKNOWN_COLUMN', {
        at,
        message: `there is no column "${name}"`,
        hint: `${meant === undefined ? '' : `did you mean "${meant}"? `}the columns here are ${names.join(', ')}`,
      })
    },
  })
}
