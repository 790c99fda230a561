/**
 * The typed builder: column names and types flow from step to step, and what it makes is a plan, plain data.
 *
 *   pipeline('orders')
 *     .from(files('orders', { format: 'csv', columns: { id: text().notEmpty(), total: decimal(12, 2).atLeast(0) } }))
 *     .filter((row) => row.total.moreThan(10))
 *     .into(table('orders', { oncePer: 'id' }))
 */

import { type Duration, milliseconds } from './duration.ts'
import { MillraceError, nearest } from './errors.ts'
import type { Aggregated } from './functions/aggregate.ts'
import { isValue, type Row, type Value, valueOf } from './functions/value.ts'
import {
  boolean as booleanType,
  type Column,
  double as doubleType,
  text as textType,
  timestamp as timestampType,
} from './plan/columns.ts'
import { type Plan, pairColumns, plainColumns, type RowCheck, type Step, type WindowStep } from './plan/plan.ts'
import type { ColumnSpec } from './specs/columns.ts'
import type { FilesSink, TableSink, TopicSink } from './specs/sinks.ts'
import type { Columns, SourceSpec } from './specs/sources.ts'

export type { Duration } from './duration.ts'
export * from './specs/columns.ts'
export type { FormatOptions } from './specs/file-formats.ts'
export * from './specs/sinks.ts'
export * from './specs/sources.ts'

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
   * Pairs the events of each key in the order of event time, in whatever order they come: an open with the event after it,
   * when that is a close within `maxGap`. Each open makes one row, and so does a close without an open; a row that later
   * events show to be otherwise is taken back. The columns: the key, `carry`, `pair_id`, `opened_at`, `closed_at`,
   * `outcome` (`open`, `paired`, `replaced` by a second open, `expired`, or `orphan`: a close without an open), `seconds`.
   */
  pairs<const By extends keyof C & string, const Carry extends keyof C & string = never>(
    options: PairsOptions<C, By, Carry>,
  ): Flow<PairColumns<C, By, Carry>>

  /**
   * Aggregates of each key over all time, said anew whenever they change: counts, sums, means, medians, and how often each
   * value comes. Rows that are taken back are taken out of them.
   */
  total<const By extends keyof C & string, Shape extends Record<string, Aggregated>>(
    by: By | readonly By[],
    aggregates: (row: Row<C>) => Shape,
  ): Flow<{ [Name in By]: C[Name] } & { [Name in keyof Shape]: Shape[Name]['kind'] }>

  /**
   * Of each closed window: which of its values are far from what the windows of its key before it had. A value is judged
   * against the last `over` windows of its key that closed before it and have one; nothing is said before there are so
   * many, or while they are all the same.
   */
  anomalies<const By extends keyof C & string>(options: AnomalyOptions<C, By>): Flow<AnomalyColumns<C, By>>

  /** Writes the rows, and hands the same rows on. */
  into(sink: TableSink<keyof C & string> | FilesSink | TopicSink<keyof C & string>): Flow<C>

  /**
   * Asks, in the transaction of each batch, for a task of the system: once for each value of a column, which is the task's
   * key, of the rows for which `when` is true.
   */
  enqueue(task: string, options: { key: keyof C & string; when?: (row: Row<C>) => Value<'boolean'> }): Flow<C>

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

export interface PairsOptions<C extends Columns, By extends keyof C & string, Carry extends keyof C & string> {
  by: By | readonly By[]
  /** Which events open. */
  open: (row: Row<C>) => Value<'boolean'>
  /** Which events close; without it, every event that opens is closed by the next one that does. */
  close?: (row: Row<C>) => Value<'boolean'>
  /** An open and its close are no further apart; without it there is no limit. */
  maxGap?: Duration
  /** An event is late when it is older than the newest of its own key by more than this: 24 hours when left out. */
  lateness?: Duration
  /** Other columns of the open that its row keeps; of a close without an open, its own. */
  carry?: readonly Carry[]
  /** Late events: kept in millrace.late_rows, dropped but counted, or a reason to stop. */
  late?: 'keep' | 'drop' | 'fail'
}

type PairColumns<C extends Columns, By extends keyof C, Carry extends keyof C> = { [Name in By | Carry]: C[Name] } & {
  pair_id: 'text'
  opened_at: 'timestamp'
  closed_at: 'timestamp'
  outcome: 'text'
  seconds: 'decimal'
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

  const tableStep = ({ table, mode, whenFinal, cachedAs }: TableSink<string>): Step => ({
    id: freshId(plan, 'table'),
    op: 'table',
    from: [at],
    table,
    mode,
    ...(whenFinal ? { whenFinal } : {}),
    ...(cachedAs === undefined ? {} : { cachedAs }),
    columns,
  })
  // The table whose rows a sink takes, when it takes landed rows alone.
  const landedIn = (landed: boolean, sink: string): { landedIn?: string } => {
    if (!landed) return {}
    const table = plan.steps.findLast((step) => step.op === 'table' && step.from.includes(at))
    if (table !== undefined) return { landedIn: table.id }
    throw new MillraceError('INVALID_PLAN', {
      at: plan.name,
      message: `the ${sink} takes landed rows, and no table stands directly before it`,
      hint: 'write into(table(...)) before it, or leave rows out',
    })
  }
  const filesStep = ({ folder, format, landed }: FilesSink): Step => ({
    id: freshId(plan, 'folder'),
    op: 'files',
    from: [at],
    folder,
    format,
    ...landedIn(landed, `folder ${folder}`),
    columns,
  })
  const topicStep = ({ topic, key, landed }: TopicSink<string>): Step => ({
    id: freshId(plan, 'publish'),
    op: 'topic',
    from: [at],
    topic,
    key: [...key],
    ...landedIn(landed, `topic ${topic}`),
    columns,
  })

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
        sizeMs: milliseconds(size),
        slideMs: milliseconds(slide),
        late,
        emit: emit === 'close' ? { on: 'close' } : { on: 'update', everyMs: milliseconds(emit.update) },
        columns: windowColumns(columns, keys, shape),
      }
      return windowFlow<C, By, Shape>(plan, step)
    },

    pairs<By extends keyof C & string, Carry extends keyof C & string>(options: PairsOptions<C, By, Carry>) {
      const { by, open, close, maxGap, lateness = '24 hours', carry = [], late = 'keep' } = options
      const id = freshId(plan, 'pairs')
      const keys: string[] = typeof by === 'string' ? [by] : [...by]
      const kept = [...keys, ...carry].flatMap((name) => columns.filter((column) => column.name === name))
      return add<PairColumns<C, By, Carry>>({
        id,
        op: 'pairs',
        from: [at],
        by: keys,
        open: open(row(id)).expression,
        ...(close === undefined ? {} : { close: close(row(id)).expression }),
        ...(maxGap === undefined ? {} : { maxGapMs: milliseconds(maxGap) }),
        latenessMs: milliseconds(lateness),
        late,
        columns: [...kept, ...pairColumns],
      })
    },

    total<By extends keyof C & string, Shape extends Record<string, Aggregated>>(
      by: By | readonly By[],
      aggregates: (row: Row<C>) => Shape,
    ) {
      const id = freshId(plan, 'total')
      const keys: string[] = typeof by === 'string' ? [by] : [...by]
      const shape = aggregates(row(id))
      return add<{ [Name in By]: C[Name] } & { [Name in keyof Shape]: Shape[Name]['kind'] }>({
        id,
        op: 'total',
        from: [at],
        by: keys,
        aggregates: aggregatesOf(shape, `${plan.name} / ${id}`),
        columns: [
          ...keys.flatMap((name) => columns.filter((column) => column.name === name)),
          ...aggregateColumns(shape),
        ],
      })
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
      const step = 'table' in sink ? tableStep(sink) : 'topic' in sink ? topicStep(sink) : filesStep(sink)
      return flow<C>({ ...plan, steps: [...plan.steps, step] }, at, columns)
    },

    enqueue(task, { key, when }) {
      const id = freshId(plan, 'enqueue')
      const asked = when === undefined ? {} : { when: when(row(id)).expression }
      const step: Step = { id, op: 'enqueue', from: [at], task, key, ...asked, columns }
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
