/** Spark's names for the types of columns, and how a value gets from one type to another without losing a digit. */
import { type ColumnType, sameType } from '../plan/columns.ts'
import { commonOf } from './duckdb-type.ts'

export function sparkType(type: ColumnType): string {
  switch (type.is) {
    case 'text':
    case 'json':
      return 'string'
    case 'integer':
      return 'bigint'
    case 'decimal':
      return `decimal(${type.precision},${type.scale})`
    case 'list':
      return `array<${sparkType(type.of)}>`
    case 'boolean':
    case 'double':
    case 'timestamp':
      return type.is
  }
}

/** The SQL of a value as another type that can hold it. */
export function sparkCast(to: ColumnType, sql: string, from: ColumnType): string {
  return sameType(from, to) ? sql : `cast(${sql} as ${sparkType(to)})`
}

/** The SQL of each value as the type that holds them all. */
export function sparkAlike(args: string[], types: ColumnType[]): string[] {
  const common = commonOf(types)
  return args.map((arg, i) => sparkCast(common, arg, types[i] ?? common))
}

/** The same of values to be compared: Spark would make its own choice between a long integer and a fraction. */
export const sparkComparable = sparkAlike

/** Whether a text is of a form from its first character to its last, a line end at its end included. */
export function sparkMatches(sql: string, pattern: string): string {
  return `(${sql} rlike ${sparkText(`^(?:${pattern})\\z`)})`
}

/** A text constant: unlike in DuckDB and Postgres, a backslash in it says what the next character means. */
export function sparkText(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}

/** A name, in backticks where it needs them. */
export function sparkName(...path: string[]): string {
  return path
    .map((name) =>
      /^[a-z_][a-z0-9_]*$/.test(name) && !reserved.has(name) ? name : `\`${name.replaceAll('`', '``')}\``,
    )
    .join('.')
}

// Words that would be read as something else where a column stands; quoting one too many does no harm.
const reserved = new Set(
  `all and anti any array as asc at between both by case cast column create cross cube current_date current_time
  current_timestamp current_user date desc describe distinct div drop else end escape except exists extract false filter first
  for from full function grant group grouping having if in inner insert intersect interval into is join last lateral
  leading left like limit local map minus natural not null offset on only or order outer over overlaps partition position
  range replace right rlike row rows select semi session_user set setminus some struct sum table tablesample then time
  timestamp to trailing trim true union unique unknown unpivot update user using values variant when where window with
  within`
    .split(/\s+/)
    .filter(Boolean),
)

/**
 * A double rounded to so many decimals, halves away from 0, as scaling by a power of ten gives it. Spark's own `round`
 * goes by the shortest digits of the number instead.
 */
export function sparkRound(sql: string, places: number): string {
  const size = `abs((${sql}) * 1e${places}D)`
  // above 2^52 there are no fractions
  const whole = `(cast(floor(${size}) as double) + case when ${size} - floor(${size}) >= 0.5D then 1D else 0D end)`
  const rounded = `sign((${sql})) * ${whole} / 1e${places}D`
  const large = `when ${size} < double('infinity') then (${sql}) * 1e${places}D / 1e${places}D`
  return `(case when ${size} < 4503599627370496D then ${rounded} ${large} else ${sql} end + 0D)`
}
