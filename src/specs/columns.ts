/** The columns of a source as a user writes them: a type, whether it may be absent, and the rules a value must keep. */
import { MillraceError } from '../errors.ts'
import type { ColumnType, Kind, ScalarKind } from '../plan/columns.ts'
import type { Origin, Rule } from '../plan/plan.ts'

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

export interface TimestampSpec extends OrderedSpec<'timestamp'> {
  optional(): TimestampSpec
  atLeast(limit: number | string): TimestampSpec
  atMost(limit: number | string): TimestampSpec
  /** Whole numbers are taken too, as milliseconds since 1970. */
  orEpochMilliseconds(): TimestampSpec
}

/** ISO 8601 with date and time; without an offset it is UTC. Microseconds: Parquet's may be finer, and are cut to them. */
export const timestamp = (): TimestampSpec => timestampSpec([], false)

/** `true` or `false`. */
export const boolean = (): ColumnSpec<'boolean'> => plainSpec('boolean', { is: 'boolean' }, false)

/** A list of texts: in JSON an array of strings. */
export const list = (of: TextSpec): ColumnSpec<'list of text'> => {
  if (of.rules.length > 0 || of.nullable) {
    throw new MillraceError('NOT_SUPPORTED', { message: 'the items of a list have no rules: write list(text())' })
  }
  return listSpec(false)
}

/** Any JSON value. */
export const json = (): ColumnSpec<'json'> => plainSpec('json', { is: 'json' }, false)

/** The path of the file that the row was read from. */
export const sourceFile = (): ColumnSpec<'text'> => ({ ...plainSpec('text', { is: 'text' }, false), origin: 'file' })

/** The physical line on which the row starts, the header being 1; in a Parquet file the number of the row, from 1. */
export const lineNumber = (): ColumnSpec<'integer'> => ({
  ...plainSpec('integer', { is: 'integer' }, false),
  origin: 'line',
})

/** The number of the topic's partition that the row was read from. */
export const partitionNumber = (): ColumnSpec<'integer'> => ({
  ...plainSpec('integer', { is: 'integer' }, false),
  origin: 'partition',
})

/** The offset of the row in its partition of the topic. */
export const recordOffset = (): ColumnSpec<'integer'> => ({
  ...plainSpec('integer', { is: 'integer' }, false),
  origin: 'offset',
})

/** When the record was produced, or when the broker got it, as the topic is set. */
export const recordTime = (): ColumnSpec<'timestamp'> => ({
  ...plainSpec('timestamp', { is: 'timestamp' }, false),
  origin: 'timestamp',
})

/** The key of the record as text; null when it has none. */
export const recordKey = (): ColumnSpec<'text'> => ({ ...plainSpec('text', { is: 'text' }, true), origin: 'key' })

/** The headers of the record as a JSON object of texts; of one name the last counts. */
export const recordHeaders = (): ColumnSpec<'json'> => ({
  ...plainSpec('json', { is: 'json' }, false),
  origin: 'headers',
})

/** The number of the batch that reads the row. */
export const batchNumber = (): ColumnSpec<'integer'> => ({
  ...plainSpec('integer', { is: 'integer' }, false),
  origin: 'batch',
})

function plainSpec<K extends ScalarKind>(kind: K, type: ColumnType, nullable: boolean): ColumnSpec<K> {
  return { kind, type, nullable, rules: [], optional: () => plainSpec(kind, type, true) }
}

function listSpec(nullable: boolean): ColumnSpec<'list of text'> {
  const type: ColumnType = { is: 'list', of: { is: 'text' } }
  return { kind: 'list of text', type, nullable, rules: [], optional: () => listSpec(true) }
}

function timestampSpec(rules: Rule[], nullable: boolean): TimestampSpec {
  const limit = (value: number | string): string => new Date(value).toISOString()
  return {
    kind: 'timestamp',
    type: { is: 'timestamp' },
    nullable,
    rules,
    optional: () => timestampSpec(rules, true),
    atLeast: (value) => timestampSpec([...rules, { rule: 'at least', value: limit(value) }], nullable),
    atMost: (value) => timestampSpec([...rules, { rule: 'at most', value: limit(value) }], nullable),
    orEpochMilliseconds: () => timestampSpec([...rules, { rule: 'or epoch milliseconds' }], nullable),
  }
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

function orderedSpec<K extends 'integer' | 'decimal' | 'double'>(
  kind: K,
  type: ColumnType,
  rules: Rule[],
  nullable: boolean,
): OrderedSpec<K> {
  const limit = (value: number | string): string | number => {
    return kind === 'decimal' ? String(value) : Number(value)
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
