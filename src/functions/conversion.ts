/** Conversions are strict: what is not wholly a value of the other type is null, never a near miss. */
import { MillraceError } from '../errors.ts'
import { boolean, type ColumnType, decimal, double, integer, json, text, timestamp } from '../plan/columns.ts'
import { type ConstantArgument, define } from './define.ts'
import { castTo, duckdbType } from './duckdb-type.ts'
import { sparkCast, sparkMatches, sparkType } from './spark-type.ts'
import { firstMoment, lastMoment, timestampPattern } from './timestamp-text.ts'
import type { Operand, Value } from './value.ts'

type DecimalType = ColumnType & { is: 'decimal' }

const upTo38: ConstantArgument = {
  constant: 'integer',
  must: 'be a whole number from 0 to 38',
  allows: (digits) => Number(digits) >= 0 && Number(digits) <= 38,
}

export const toText = define<
  (value: Value<'text' | 'integer' | 'decimal' | 'boolean' | 'timestamp' | 'json'>) => Value<'text'>
>({
  name: 'toText',
  says: 'The value as text: all decimals of a decimal, true or false, a timestamp as ISO 8601 in UTC with six digits of a second; not for doubles, of which engines write the digits differently.',
  args: [{ anyOf: ['text', 'integer', 'decimal', 'boolean', 'timestamp', 'json'] }],
  result: text,
  duckdb: ([a = ''], [type = text]) => {
    if (type.is === 'timestamp') return `strftime(make_timestamp(epoch_us(${a})), '%Y-%m-%dT%H:%M:%S.%fZ')`
    const plain = castTo(text, a, type)
    if (type.is !== 'decimal' || type.scale < type.precision) return plain
    // DuckDB leaves out the 0 before the point where there is never another digit.
    return `(case when ${a} < 0 then '-0' || substring(${plain}, 2) else '0' || ${plain} end)`
  },
  spark: ([a = ''], [type = text]) =>
    type.is === 'timestamp' ? `date_format(${a}, 'yyyy-MM-dd\\'T\\'HH:mm:ss.SSSSSS\\'Z\\'')` : sparkCast(text, a, type),
  examples: [
    { in: [-5], out: '-5' },
    { in: ['1.50'], out: '1.50', types: [decimal(3, 2)] },
    { in: ['-0.05'], out: '-0.05', types: [decimal(2, 2)] },
    { in: [true], out: 'true' },
    { in: ['2026-01-31T12:00:00.5+01:00'], out: '2026-01-31T11:00:00.500000Z', types: [timestamp] },
    { in: ['0987-06-05T00:00:00Z'], out: '0987-06-05T00:00:00.000000Z', types: [timestamp] },
    { in: ['{"a": 1}'], out: '{"a": 1}', types: [json] },
    { in: [null], out: null, types: [integer] },
  ],
})

export const toInteger = define<(value: Value<'text' | 'integer' | 'decimal' | 'double'>) => Value<'integer'>>({
  name: 'toInteger',
  says: 'The whole number that a text writes in digits, or that a number is; null when it is not whole (round it first) or has more than 64 bits.',
  args: [{ anyOf: ['text', 'integer', 'decimal', 'double'] }],
  result: integer,
  nullable: () => true,
  duckdb: ([a], [type = text]) => {
    if (type.is === 'integer') return `${a}`
    const whole = type.is === 'text' ? `regexp_full_match(${a}, '[+-]?[0-9]+')` : `${a} = trunc(${a})`
    return `(case when ${whole} then try_cast(${a} as bigint) end)`
  },
  spark: ([a], [type = text]) => {
    if (type.is === 'integer') return `${a}`
    if (type.is === 'text')
      return `(case when ${sparkMatches(`${a}`, '[+-]?[0-9]+')} then try_cast(${a} as bigint) end)`
    if (type.is === 'decimal') return `(case when ${a} = floor(${a}) then try_cast(${a} as bigint) end)`
    // 2^63 itself would become the largest integer
    return `(case when ${a} >= -9223372036854775808D and ${a} < 9223372036854775808D and ${a} = rint(${a}) then cast(${a} as bigint) end)`
  },
  examples: [
    { in: ['-12'], out: -12 },
    { in: ['1.5'], out: null },
    { in: [' 1'], out: null },
    { in: ['0x1F'], out: null },
    { in: [''], out: null },
    { in: ['9223372036854775808'], out: null },
    { in: [2], out: 2, types: [double] },
    { in: [2.5], out: null },
    { in: ['3.00'], out: 3, types: [decimal(3, 2)] },
  ],
})

export const toDecimal = define<
  (value: Value<'text' | 'integer' | 'decimal' | 'double'>, precision: number, scale: number) => Value<'decimal'>
>({
  name: 'toDecimal',
  says: 'The number as a decimal of so many digits in all and after the point, further decimals rounded halves away from 0; null when it does not fit or the text is no number.',
  args: [
    { anyOf: ['text', 'integer', 'decimal', 'double'] },
    {
      ...upTo38,
      must: 'be a whole number from 1 to 38',
      allows: (digits) => Number(digits) >= 1 && Number(digits) <= 38,
    },
    upTo38,
  ],
  result: (_, constants) => decimalType(constants),
  nullable: () => true,
  duckdb: ([a = ''], [type = text], constants) => decimalFrom(a, type, decimalType(constants)),
  spark: ([a = ''], [type = text], constants) => {
    const cast = `try_cast(${a} as ${sparkType(decimalType(constants))})`
    return type.is === 'text'
      ? `(case when ${sparkMatches(a, '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)')} then ${cast} end)`
      : cast
  },
  examples: [
    { in: ['12.345', 12, 2], out: '12.35' },
    { in: ['-12.345', 12, 2], out: '-12.35' },
    { in: ['12.3', 38, 4], out: '12.3000' },
    { in: ['100', 4, 2], out: null },
    { in: ['1e3', 12, 2], out: null },
    { in: ['', 12, 2], out: null },
    { in: [1.005, 12, 2], out: '1.01' },
    { in: [9e-10, 12, 2], out: '0.00' },
    { in: [7, 12, 2], out: '7.00' },
  ],
})

export const toDouble = define<(value: Value<'text' | 'integer' | 'decimal' | 'double'>) => Value<'double'>>({
  name: 'toDouble',
  says: 'The double nearest to the number; null when a text is no number, or one too large for a double.',
  args: [{ anyOf: ['text', 'integer', 'decimal', 'double'] }],
  result: double,
  nullable: (args, [type = text]) => type.is === 'text' || args.some(Boolean),
  duckdb: ([a = ''], [type = text]) => {
    if (type.is !== 'text') return castTo(double, a, type)
    const number = '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?'
    return `(case when regexp_full_match(${a}, '${number}') and isfinite(try_cast(${a} as double)) then try_cast(${a} as double) end)`
  },
  spark: ([a = ''], [type = text]) => {
    if (type.is !== 'text') return sparkCast(double, a, type)
    const number = '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?'
    return `(case when ${sparkMatches(a, number)} and abs(try_cast(${a} as double)) < double('infinity') then try_cast(${a} as double) end)`
  },
  examples: [
    { in: ['1.5e3'], out: 1500 },
    { in: ['abc'], out: null },
    { in: ['NaN'], out: null },
    { in: ['1e999'], out: null },
    { in: ['0.1234567890123456789'], out: 0.12345678901234568, types: [decimal(19, 19)] },
    { in: [3], out: 3 },
  ],
})

export const toBoolean = define<(value: Operand<'text'>) => Value<'boolean'>>({
  name: 'toBoolean',
  says: 'True for the text true and false for the text false, in upper or lower case; null for any other.',
  args: ['text'],
  result: boolean,
  nullable: () => true,
  duckdb: ([a]) => `(case lower(${a}) when 'true' then true when 'false' then false end)`,
  spark: ([a]) => `(case lower(${a}) when 'true' then true when 'false' then false end)`,
  examples: [
    { in: ['True'], out: true },
    { in: ['false'], out: false },
    { in: ['1'], out: null },
    { in: [''], out: null },
  ],
})

export const toTimestamp = define<(value: Operand<'text'>) => Value<'timestamp'>>({
  name: 'toTimestamp',
  says: 'The moment that an ISO 8601 text names, UTC when it has no offset; null when it names none, or one outside the years 0001 to 9999.',
  args: ['text'],
  result: timestamp,
  nullable: () => true,
  duckdb: ([a]) => {
    const moment = `try_cast(${a} as timestamptz)`
    return (
      `(case when regexp_full_match(${a}, '${timestampPattern}') ` +
      `and epoch_us(${moment}) between ${firstMoment} and ${lastMoment} then ${moment} end)`
    )
  },
  spark: ([a = '']) => {
    const moment = `try_cast(${a} as timestamp)`
    return (
      `(case when ${sparkMatches(a, timestampPattern)} ` +
      `and unix_micros(${moment}) between ${firstMoment} and ${lastMoment} then ${moment} end)`
    )
  },
  examples: [
    { in: ['2026-01-31T12:00:00Z'], out: '2026-01-31T12:00:00.000Z' },
    { in: ['2026-01-31 12:00:00.123456789+05:30'], out: '2026-01-31T06:30:00.123456Z' },
    { in: ['2026-01-31T12:00:00'], out: '2026-01-31T12:00:00.000Z' },
    { in: ['2026-01-31'], out: '2026-01-31T00:00:00.000Z' },
    { in: ['2026-02-30'], out: null },
    { in: ['2026-01-31T24:00:00Z'], out: null },
    { in: ['2026-01-31T23:59:60Z'], out: null },
    { in: ['0000-12-31T00:00:00Z'], out: null },
    { in: ['31.01.2026'], out: null },
  ],
})

function decimalType(constants: readonly unknown[]): DecimalType {
  const [precision, scale] = [Number(constants[1]), Number(constants[2])]
  if (scale > precision) {
    throw new MillraceError('WRONG_TYPE', {
      message: `a decimal of ${precision} digits in all cannot have ${scale} after the point`,
      hint: `give the digits in all first: toDecimal(value, ${Math.max(precision, scale)}, ${Math.min(precision, scale)})`,
    })
  }
  return { is: 'decimal', precision, scale }
}

function decimalFrom(sql: string, from: ColumnType, to: DecimalType): string {
  if (from.is === 'text') {
    return `(case when regexp_full_match(${sql}, '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)') then ${readDecimal(sql, to)} end)`
  }
  return from.is === 'double' ? readDouble(sql, to) : `try_cast(${sql} as ${duckdbType(to)})`
}

// A double by its shortest digits, as 1.005 is meant: its binary value lies below. Below 0.0001 these have an exponent,
// which DuckDB rounds wrongly ('9e-10' to one decimal is 0.1), so the zeros are written out.
function readDouble(sql: string, to: DecimalType): string {
  const size = `abs(${sql})::varchar`
  const digits = `replace(split_part(${size}, 'e-', 1), '.', '')`
  const zeros = `repeat('0', split_part(${size}, 'e-', 2)::integer - 1)`
  const tiny = `(case when ${sql} < 0 then '-0.' else '0.' end || ${zeros} || ${digits})`
  const cast = to.scale <= 12 ? `::${duckdbType(decimal(18, to.scale))}::${duckdbType(to)}` : `::${duckdbType(to)}`
  return `(case when ${sql} <> 0 and abs(${sql}) < 0.0001 then ${tiny}${cast} else ${readDecimal(`${sql}::varchar`, to)} end)`
}

// DuckDB reads a text into more than 18 digits a hundred times slower: most texts fit in 18.
function readDecimal(sql: string, to: DecimalType): string {
  const long = `try_cast(${sql} as ${duckdbType(to)})`
  if (to.precision <= 18 || to.scale > 12) return long
  return `coalesce(try_cast(${sql} as ${duckdbType(decimal(18, to.scale))})::${duckdbType(to)}, ${long})`
}
