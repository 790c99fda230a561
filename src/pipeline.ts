/**
 * The typed builder: column names and types flow from step to step, and what it makes is a plan, plain data.
 *
 *   pipeline('orders')
 *     .from(files('orders', { format: 'csv', columns: { id: text().notEmpty(), total: decimal(12, 2).atLeast(0) } }))
 *     .filter((row) => row.total.moreThan(10))
 *     .into(table('orders', { oncePer: 'id' }))
 */
import { MillraceError, nearest } from './errors.ts'
import { isValue, type Row, type Value, valueOf } from './functions/value.ts'
import type { Column, ColumnType, Kind, ScalarKind } from './plan/columns.ts'
import {
  type FileFormat,
  type Origin,
  type Plan,
  plainColumns,
  type RowCheck,
  type Rule,
  type Source,
  type SourceColumn,
  type Step,
  type TableMode,
} from './plan/plan.ts'

/** Column names with the kinds the compiler checks. */
export type Columns = Record<string, Kind>

// ---- columns of a source -------------------------------------------------------------------------------------------

/** A column as a source should find it. A row that breaks a rule becomes a dead letter that names the rule. */
export interface ColumnSpec<K extends Kind = Kind> {
  readonly kind: K
  readonly type: ColumnType
  readonly nullable: boolean
  readonly rules: readonly Rule[]
  /** It is not read from the row, but says where the row came from. */
  readonly origin?: Origin
  /** The value may be absent: it is then null. In CSV an empty field is absent. */
  optional(): ColumnSpec<K>
}

export interface TextSpec extends ColumnSpec<'text'> {
  optional(): TextSpec
  notEmpty(): TextSpec
  /** At most this many characters (code points). */
  lengthAtMost(characters: number): TextSpec
}

export interface OrderedSpec<K extends 'integer' | 'decimal' | 'double' | 'timestamp'> extends ColumnSpec<K> {
  optional(): OrderedSpec<K>
  atLeast(limit: number | string): OrderedSpec<K>
  atMost(limit: number | string): OrderedSpec<K>
}

/** Text of any length. An empty text is a value; ask for `.notEmpty()` where it is not. */
export const text = (): TextSpec => textSpec([], false)

/** One of a few texts, to the letter. */
export const oneOf = (...values: string[]): TextSpec => textSpec([{ rule: 'one of', values }], false)

/** A whole number of 64 bits. */
export const integer = (): OrderedSpec<'integer'> => orderedSpec('integer', { is: 'integer' }, [], false)

/** An exact fraction of at most `precision` digits, `scale` of them after the point. More of them are an error, never rounded. */
export const decimal = (precision: number, scale: number): OrderedSpec<'decimal'> => {
  if (!(precision >= 1 && precision <= 38 && scale >= 0 && scale <= precision)) {
    throw new MillraceError('INVALID_PLAN', {
      message: `decimal(${precision}, ${scale}) is not possible`,
      hint: 'precision is 1 to 38, scale 0 to precision',
    })
  }
  return orderedSpec('decimal', { is: 'decimal', precision, scale }, [], false)
}

/** A 64-bit floating-point number, finite. */
export const double = (): OrderedSpec<'double'> => orderedSpec('double', { is: 'double' }, [], false)

/** ISO 8601 with date and time; without an offset it is UTC. Microseconds: Parquet's may be finer, and are cut to them. */
export const timestamp = (): OrderedSpec<'timestamp'> => orderedSpec('timestamp', { is: 'timestamp' }, [], false)

/** `true` or `false`. */
export const boolean = (): ColumnSpec<'boolean'> => plainSpec('boolean', { is: 'boolean' }, false)

/** Any JSON value. */
export const json = (): ColumnSpec<'json'> => plainSpec('json', { is: 'json' }, false)

/** The path of the file that the row was read from. */
export const sourceFile = (): ColumnSpec<'text'> => ({ ...plainSpec('text', { is: 'text' }, false), origin: 'file' })

/** The physical line on which the row starts, the header being 1; in a Parquet file the number of the row, from 1. */
export const lineNumber = (): ColumnSpec<'integer'> => ({
  ...plainSpec('integer', { is: 'integer' }, false),
  origin: 'line',
})

/** The number of the batch that reads the row. */
export const batchNumber = (): ColumnSpec<'integer'> => ({
  ...plainSpec('integer', { is: 'integer' }, false),
  origin: 'batch',
})

function plainSpec<K extends ScalarKind>(kind: K, type: ColumnType, nullable: boolean): ColumnSpec<K> {
  return { kind, type, nullable, rules: [], optional: () => plainSpec(kind, type, true) }
}

function textSpec(rules: Rule[], nullable: boolean): TextSpec {
  return {
    kind: 'text',
    type: { is: 'text' },
    nullable,
    rules,
    optional: () => textSpec(rules, true),
    notEmpty: () => textSpec([...rules, { rule: 'not empty' }], nullable),
    lengthAtMost: (characters) => textSpec([...rules, { rule: 'length at most', characters }], nullable),
  }
}

function orderedSpec<K extends 'integer' | 'decimal' | 'double' | 'timestamp'>(
  kind: K,
  type: ColumnType,
  rules: Rule[],
  nullable: boolean,
): OrderedSpec<K> {
  const limit = (value: number | string): string | number => {
    if (kind === 'decimal') return String(value)
    return kind === 'timestamp' ? new Date(value).toISOString() : Number(value)
  }
  return {
    kind,
    type,
    nullable,
    rules,
    optional: () => orderedSpec(kind, type, rules, true),
    atLeast: (value) => orderedSpec(kind, type, [...rules, { rule: 'at least', value: limit(value) }], nullable),
    atMost: (value) => orderedSpec(kind, type, [...rules, { rule: 'at most', value: limit(value) }], nullable),
  }
}

// ---- sources and sinks ---------------------------------------------------------------------------------------------

export interface SourceSpec<C extends Columns> {
  readonly source: Source
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

export interface FilesOptions<C extends Columns> {
  columns: { [Name in keyof C]: ColumnSpec<C[Name]> }
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
  return {
    columns: options.columns,
    source: {
      is: 'files',
      folder,
      format: formatOf(options),
      ...(unknownColumns === 'refuse'
        ? {}
        : { unknown: unknownColumns === 'count' ? { is: 'count' } : { is: 'keep', as: unknownColumns.keepAs } }),
      columns: columnsOfSpecs(options.columns),
    },
  }
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

  /** Writes the rows, and hands the same rows on. */
  into(sink: TableSink<keyof C & string> | FilesSink): Flow<C>

  /** A branch: takes the rows of this place, beside whatever follows. */
  also(branch: (flow: Flow<C>) => Flow<Columns>): Flow<C>
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
      const rules = Object.fromEntries(
        Object.entries<ColumnSpec>(spec.columns)
          .filter(([, column]) => column.rules.length > 0)
          .map(([column, { rules }]) => [column, [...rules]]),
      )
      const validate: Step = {
        id: 'validate',
        op: 'validate',
        from: [spec.source.is],
        rules,
        checks: [],
        columns: plainColumns(spec.source.columns),
      }
      const plan: Plan = { format: 1, name, sources: { [spec.source.is]: spec.source }, steps: [validate] }
      return flow<C>(plan, validate.id, validate.columns)
    },
  }
}

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

  return {
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

    into(sink) {
      const step = 'table' in sink ? tableStep(sink) : filesStep(sink)
      return flow<C>({ ...plan, steps: [...plan.steps, step] }, at, columns)
    },

    also(branch) {
      const branched = branch(flow<C>(plan, at, columns))
      return flow<C>(branched.plan, at, columns)
    },
  }
}

function freshId(plan: Plan, op: string): string {
  const taken = new Set(plan.steps.map((step) => step.id))
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
