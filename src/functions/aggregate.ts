/**
 * What can be computed of many rows. One entry each: its meaning, its type, and the parts it is made of. Parts of panes
 * merge into those of windows, so that a row is looked at once, however many windows it is in.
 *
 * Numbers: values are rounded once, as they come in, to decimals, whose sums do not depend on their order. Means and
 * deviations come at the end from counts and sums, by one formula each, rounded to 9 decimals.
 */
import { MillraceError, nearest } from '../errors.ts'
import {
  type Column,
  type ColumnType,
  decimal,
  double,
  integer,
  isNumeric,
  json,
  type Kind,
  listOf,
  type NumericKind,
  text,
  typeName,
} from '../plan/columns.ts'
import type { Aggregate } from '../plan/expression.ts'
import { duckdbType } from './duckdb-type.ts'
import { typeOfExpression } from './type-of.ts'
import type { OrderedKind, Value } from './value.ts'

export interface AggregateEntry {
  /** One sentence: what it means, and what it is of no rows. */
  says: string
  /** The type of the result; throws WRONG_TYPE for what it cannot be asked of. */
  result(of: ColumnType | undefined): { type: ColumnType; nullable: boolean }
  parts: Parts
  /** A shorter way where all values, none of them a list, are there at once; null of none. */
  atOnce?(value: string): string
}

export type Parts =
  /** A few numbers, merged one by one. */
  | { is: 'numbers'; of(type: ColumnType): NumberPart[]; result(parts: string[], type: ColumnType): string }
  /** The different values, as hashes of 63 bits. */
  | { is: 'members' }
  /** How often each item comes; `result` is over `_item` and `_n`, and `none` what it is of no item. */
  | { is: 'items'; result(args: readonly number[]): string; none: string }

export interface NumberPart {
  name: string
  type: string
  /** SQL over the rows of a pane; `value` is null for the rows that do not count. */
  of(value: string): string
  merge: 'sum' | 'min' | 'max'
}

const countPart: NumberPart = { name: 'n', type: 'bigint', of: (value) => `count(${value})`, merge: 'sum' }

/** The decimal in which values of a type are added up. */
function sumType(type: ColumnType): ColumnType {
  if (type.is === 'integer') return decimal(38, 0)
  return type.is === 'decimal' ? decimal(38, type.scale) : decimal(38, 12)
}

const sumPart = (type: ColumnType): NumberPart => {
  const kept = duckdbType(sumType(type))
  return { name: 's', type: kept, of: (value) => `sum((${value})::${kept})`, merge: 'sum' }
}

// A long decimal is divided in two roundings by DuckDB; its text is read as the nearest double.
const asDouble = (sql: string): string => `(${sql})::varchar::double`

const numbersOnly = (name: string, of: ColumnType | undefined): ColumnType => {
  if (of !== undefined && isNumeric(of)) return of
  throw wrong(name, 'a number', of)
}

/** Decimals kept of the values of a deviation, so that the sum of their squares is exact. */
export function deviationDigits(type: ColumnType): number {
  if (type.is === 'integer') return 0
  return type.is === 'decimal' ? Math.min(type.scale, 6) : 6
}

/**
 * The population deviation (÷ n) from n, the sum S of values with so many decimals and the sum Q of their squares:
 * √(n·Q − S²) ÷ n. With S = n·m + r that is √((Q − m·S − r·m − r²÷n) ÷ n), of which all but the last term is a whole
 * number no larger than Q: nothing is lost where values are large and lie close together.
 */
export function deviationSql(n: string, s: string, q: string, digits: number): string {
  // the digits of a decimal without its point; to multiply it would ask for more digits than there are
  const whole = (value: string): string => `replace((${value})::varchar, '.', '')::hugeint`
  const [m, r] = [`(${whole(s)} // ${n})`, `(${whole(s)} % ${n})`]
  const variance = `((${whole(q)} - ${m} * ${whole(s)} - ${r} * ${m})::double - (${r} * ${r})::double / ${n}) / ${n}`
  return `round(sqrt(greatest(${variance}, 0)) / 1e${digits}, 9)`
}

// Along the values in their order: where the count passes the two middle places, which of an odd number are one.
const medianSql = `list_transform([list_reduce(
  list_prepend(
    {v: null::bigint, n: 0::hugeint, low: null::bigint, high: null::bigint},
    list_sort(list({v: _item::bigint, n: _n::hugeint, low: null::bigint, high: null::bigint}))
  ),
  lambda a, b: {
    v: b.v,
    n: a.n + b.n,
    low: case when a.n < (sum(_n) + 1) // 2 and a.n + b.n >= (sum(_n) + 1) // 2 then b.v else a.low end,
    high: case when a.n < (sum(_n) + 2) // 2 and a.n + b.n >= (sum(_n) + 2) // 2 then b.v else a.high end
  }
)], lambda found: (found.low::double + found.high::double) / 2)[1]`

export const aggregates: Record<Aggregate['aggregate'], AggregateEntry> = {
  count: {
    says: 'How many rows there are, or how many have a value; 0 of none.',
    result: () => ({ type: integer, nullable: false }),
    parts: { is: 'numbers', of: () => [countPart], result: ([n]) => `coalesce(${n}, 0)::bigint` },
  },
  sum: {
    says: 'The sum of the values: exact for whole numbers and decimals, of doubles with 12 decimals. Null of no value.',
    result: (of) => ({ type: sumType(numbersOnly('sum', of)), nullable: true }),
    parts: { is: 'numbers', of: (type) => [sumPart(type)], result: ([s]) => `${s}` },
  },
  min: {
    says: 'The smallest value; null of none.',
    result: (of) => ({ type: ordered('min', of), nullable: true }),
    parts: { is: 'numbers', of: (type) => [extreme(type, 'min')], result: ([v]) => `${v}` },
  },
  max: {
    says: 'The largest value; null of none.',
    result: (of) => ({ type: ordered('max', of), nullable: true }),
    parts: { is: 'numbers', of: (type) => [extreme(type, 'max')], result: ([v]) => `${v}` },
  },
  mean: {
    says: 'The mean of the values, rounded to 9 decimals; null of none.',
    result: (of) => {
      numbersOnly('mean', of)
      return { type: double, nullable: true }
    },
    parts: {
      is: 'numbers',
      of: (type) => [countPart, sumPart(type)],
      result: ([n, s]) => `case when ${n} > 0 then round(${asDouble(`${s}`)} / ${n}, 9) end`,
    },
  },
  deviation: {
    says: 'The population standard deviation (÷ n) of the values, taken with up to 6 decimals, rounded to 9; null of none.',
    result: (of) => {
      numbersOnly('deviation', of)
      return { type: double, nullable: true }
    },
    parts: {
      is: 'numbers',
      of: (type) => {
        const digits = deviationDigits(type)
        // 38 digits: with fewer on both sides, DuckDB's product has no more than 18
        const kept = (value: string) => `(${value})::decimal(38,${digits})`
        const squared = (value: string) => `(${kept(value)} * ${kept(value)})::decimal(38,${2 * digits})`
        return [
          countPart,
          { name: 's', type: `decimal(38,${digits})`, of: (value) => `sum(${kept(value)})`, merge: 'sum' },
          { name: 'q', type: `decimal(38,${2 * digits})`, of: (value) => `sum(${squared(value)})`, merge: 'sum' },
        ]
      },
      result: ([n, s, q], type) =>
        `case when ${n} > 0 then ${deviationSql(`${n}`, `${s}`, `${q}`, deviationDigits(type))} end`,
    },
  },
  countDistinct: {
    says: 'How many different values there are, exactly; 0 of none.',
    result: (of) => {
      ordered('countDistinct', of)
      return { type: integer, nullable: false }
    },
    parts: { is: 'members' },
    atOnce: (value) => `count(distinct ${value})`,
  },
  top: {
    says: 'The values that come most often, the most frequent first, ties in binary text order; empty of none.',
    result: (of) => {
      items('top', of)
      return { type: listOf(text), nullable: false }
    },
    parts: {
      is: 'items',
      result: ([most = 1]) => `(list(_item order by _n desc, _item))[1:${most}]`,
      none: '[]',
    },
  },
  median: {
    says: 'The middle value of whole numbers, or the mean of the two in the middle; exact; null of none.',
    result: (of) => {
      if (of?.is !== 'integer') throw wrong('median', 'a whole number', of)
      return { type: double, nullable: true }
    },
    parts: {
      is: 'items',
      result: () => medianSql,
      none: 'null',
    },
    atOnce: (value) =>
      `(quantile_disc(${value}, 0.5)::double + quantile_disc(${value}, 0.5 order by ${value} desc)::double) / 2`,
  },
  counts: {
    says: 'How often each value comes, as a JSON object; empty of none.',
    result: (of) => {
      items('counts', of)
      return { type: json, nullable: false }
    },
    parts: { is: 'items', result: () => 'json_group_object(_item, _n)', none: `'{}'` },
  },
}

/**
 * The type of an aggregate over rows with these columns, and `largestValue`. It may come from plain JSON, so its shape is
 * checked as well.
 */
export function typeOfAggregate(
  asked: Aggregate,
  columns: readonly Column[],
): { type: ColumnType; nullable: boolean; largest: number | undefined } {
  const { aggregate, of: value, args } = asked
  if (!Object.hasOwn(aggregates, aggregate)) {
    const names = Object.keys(aggregates)
    const meant = nearest(aggregate, names)
    throw new MillraceError('UNKNOWN_FUNCTION', {
      message: `there is no aggregate "${aggregate}"`,
      hint: `${meant === undefined ? '' : `did you mean "${meant}"? `}there are ${names.join(', ')}`,
    })
  }
  if (aggregate === 'top') checkMost(args?.[0] ?? Number.NaN)
  const type = value === undefined ? undefined : typeOfExpression(value, columns).type
  const { result } = aggregates[aggregate]
  return { ...result(type), largest: type === undefined ? undefined : largestValue(asked, type) }
}

function checkMost(most: number): void {
  if (Number.isInteger(most) && most >= 1 && most <= 1000) return
  throw new MillraceError('INVALID_PLAN', { message: `top takes 1 to 1,000 values, not ${most}` })
}

/**
 * A row with a value of this size or more is a dead letter, since a million of them might be too much for the 38 digits
 * of their sum, or of that of their squares. Undefined where every value of the type fits.
 */
export function largestValue({ aggregate }: Aggregate, type: ColumnType): number | undefined {
  const spare = 6
  const room = largestDigits(aggregate, type, spare)
  const digits = type.is === 'decimal' ? type.precision - type.scale : type.is === 'double' ? 309 : 19
  return room !== undefined && digits > room ? 10 ** room : undefined
}

function largestDigits(aggregate: Aggregate['aggregate'], type: ColumnType, spare: number): number | undefined {
  switch (aggregate) {
    case 'sum':
    case 'mean': {
      const kept = sumType(type)
      return kept.is === 'decimal' ? kept.precision - kept.scale - spare : undefined
    }
    case 'deviation':
      return (38 - spare) / 2 - deviationDigits(type)
    case 'count':
    case 'min':
    case 'max':
    case 'countDistinct':
    case 'top':
    case 'median':
    case 'counts':
      return undefined
  }
}

function extreme(type: ColumnType, merge: 'min' | 'max'): NumberPart {
  return { name: 'v', type: duckdbType(type), of: (value) => `${merge}(${value})`, merge }
}

function ordered(name: string, of: ColumnType | undefined): ColumnType {
  if (of !== undefined && of.is !== 'json' && of.is !== 'list') return of
  throw wrong(name, 'a value that has an order', of)
}

function items(name: string, of: ColumnType | undefined): void {
  if (of?.is === 'text' || (of?.is === 'list' && of.of.is === 'text')) return
  throw wrong(name, 'a text or a list of texts', of)
}

function wrong(name: string, wanted: string, of: ColumnType | undefined): MillraceError {
  const given = of === undefined ? 'nothing' : `a ${typeName(of)}`
  return new MillraceError('WRONG_TYPE', { message: `${name} is asked of ${wanted}, and was given ${given}` })
}

// ---- as a user of the builder writes them --------------------------------------------------------------------------

/** An aggregate in a pipeline being written. */
export interface Aggregated<K extends Kind = Kind> {
  readonly kind: K
  readonly aggregate: Aggregate
  readonly type: ColumnType
  readonly nullable: boolean
  /** Only of the rows for which this is true. */
  where(condition: Value<'boolean'>): Aggregated<K>
}

function aggregated<K extends Kind>(aggregate: Aggregate, of: Value | undefined, kind: K): Aggregated<K> {
  const { type, nullable } = aggregates[aggregate.aggregate].result(of?.type)
  return {
    kind,
    aggregate,
    type,
    nullable,
    where: (condition) => aggregated({ ...aggregate, where: condition.expression }, of, kind),
  }
}

const of = (value: Value): Pick<Aggregate, 'of'> => ({ of: value.expression })

/** How many rows; of a value, how many rows have one. */
export const count = (value?: Value): Aggregated<'integer'> =>
  aggregated({ aggregate: 'count', ...(value === undefined ? {} : of(value)) }, value, 'integer')

/** The sum of the values. */
export const sum = (value: Value<NumericKind>): Aggregated<'decimal'> =>
  aggregated({ aggregate: 'sum', ...of(value) }, value, 'decimal')

/** The smallest value. */
export const min = <K extends OrderedKind>(value: Value<K>): Aggregated<K> =>
  aggregated({ aggregate: 'min', ...of(value) }, value, value.kind)

/** The largest value. */
export const max = <K extends OrderedKind>(value: Value<K>): Aggregated<K> =>
  aggregated({ aggregate: 'max', ...of(value) }, value, value.kind)

/** The mean of the values, rounded to 9 decimals. */
export const mean = (value: Value<NumericKind>): Aggregated<'double'> =>
  aggregated({ aggregate: 'mean', ...of(value) }, value, 'double')

/** The population standard deviation of the values. */
export const deviation = (value: Value<NumericKind>): Aggregated<'double'> =>
  aggregated({ aggregate: 'deviation', ...of(value) }, value, 'double')

/** How many different values there are, exactly. */
export const countDistinct = (value: Value<OrderedKind>): Aggregated<'integer'> =>
  aggregated({ aggregate: 'countDistinct', ...of(value) }, value, 'integer')

/** The `most` values that come most often; of a list, each of its items counts. */
export const top = (most: number, value: Value<'text'> | Value<'list of text'>): Aggregated<'list of text'> => {
  checkMost(most)
  return aggregated({ aggregate: 'top', args: [most], ...of(value) }, value, 'list of text')
}

/** The middle value of whole numbers, or the mean of the two in the middle; exact. */
export const median = (value: Value<'integer'>): Aggregated<'double'> =>
  aggregated({ aggregate: 'median', ...of(value) }, value, 'double')

/** How often each value comes, as a JSON object; of a list, each of its items counts. */
export const counts = (value: Value<'text'> | Value<'list of text'>): Aggregated<'json'> =>
  aggregated({ aggregate: 'counts', ...of(value) }, value, 'json')
