/**
 * Arithmetic is exact on integers and decimals. What does not fit in 64 bits, or in 38 digits, is null: one row too
 * large never stops the others. Doubles follow IEEE 754.
 */
import { MillraceError } from '../errors.ts'
import { asDecimal, type ColumnType, commonType, decimal, double, integer, type NumericKind } from '../plan/columns.ts'
import { define } from './define.ts'
import { alike, castTo, duckdbType } from './duckdb-type.ts'
import { sparkAlike, sparkCast, sparkType } from './spark-type.ts'
import type { Value, Wider } from './value.ts'

type Arithmetic = <A extends NumericKind, B extends NumericKind = A>(
  left: Value<A>,
  right: Value<B> | number,
) => Value<Wider<A, B>>

export const plus = define<Arithmetic>({
  name: 'plus',
  says: 'The sum of two numbers; null when it has more than 64 bits or 38 digits.',
  args: ['number', 'number'],
  result: sumType,
  nullable: (args, types) => args.some(Boolean) || overflows(digitsOfSum(types), sumType(types)),
  duckdb: (args, types) => sum('+', args, types),
  spark: (args, types) => sparkSum('try_add', args, types),
  examples: [
    { in: [1, 2], out: 3 },
    { in: ['1.10', '2.205'], out: '3.305', types: [decimal(12, 2), decimal(12, 3)] },
    { in: [0.5, 0.25], out: 0.75, types: [double, double] },
    { in: ['9223372036854775807', 1], out: null, types: [integer, integer] },
    { in: ['9999999999999999.99', '0.01'], out: '10000000000000000.00', types: [decimal(18, 2), decimal(18, 2)] },
    { in: [1, null], out: null, types: [integer, integer] },
  ],
})

export const minus = define<Arithmetic>({
  name: 'minus',
  says: 'The first number less the second; null when the result has more than 64 bits or 38 digits.',
  args: ['number', 'number'],
  result: sumType,
  nullable: (args, types) => args.some(Boolean) || overflows(digitsOfSum(types), sumType(types)),
  duckdb: (args, types) => sum('-', args, types),
  spark: (args, types) => sparkSum('try_subtract', args, types),
  examples: [
    { in: [1, 2], out: -1 },
    { in: ['1.10', '2.2'], out: '-1.10', types: [decimal(12, 2), decimal(12, 1)] },
    { in: ['0.3', 0.25], out: 0.04999999999999999, types: [decimal(2, 1), double] },
    { in: ['-9223372036854775808', 1], out: null, types: [integer, integer] },
  ],
})

export const times = define<Arithmetic>({
  name: 'times',
  says: 'The product of two numbers; null when it has more than 64 bits or 38 digits.',
  args: ['number', 'number'],
  result: productType,
  nullable: (args, types) => args.some(Boolean) || overflows(digitsOfProduct(types), productType(types)),
  duckdb: ([a = '', b = ''], types) => product([a, b], types),
  spark: (args, types) => {
    const type = productType(types)
    if (type.is !== 'decimal') return sparkNumber('try_multiply', '*', sparkAlike(args, types), type)
    return `cast(try_multiply(${sparkDecimals(args, types).join(', ')}) as ${sparkType(type)})`
  },
  examples: [
    { in: [3, -2], out: -6 },
    { in: ['1.10', '0.5'], out: '0.550', types: [decimal(12, 2), decimal(2, 1)] },
    {
      in: ['9999999999.99', '9999999999.99'],
      out: '99999999999800000000.0001',
      types: [decimal(12, 2), decimal(12, 2)],
    },
    { in: ['4611686018427387904', 2], out: null, types: [integer, integer] },
  ],
})

export const dividedBy = define<(left: Value<NumericKind>, right: Value<NumericKind> | number) => Value<'double'>>({
  name: 'dividedBy',
  says: 'The first number divided by the second, as a double; null when the second is 0.',
  args: ['number', 'number'],
  result: double,
  nullable: () => true,
  duckdb: ([a = '', b = ''], [left = double, right = double]) =>
    `(${castTo(double, a, left)} / nullif(${castTo(double, b, right)}, 0))`,
  spark: ([a = '', b = ''], [left = double, right = double]) =>
    `(${sparkCast(double, a, left)} / nullif(${sparkCast(double, b, right)}, 0D))`,
  examples: [
    { in: [1, 4], out: 0.25 },
    { in: [1, 0], out: null },
    { in: ['1.50', 2], out: 0.75, types: [decimal(12, 2), integer] },
  ],
})

export const wholeDivision = define<(left: Value<'integer'>, right: Value<'integer'> | number) => Value<'integer'>>({
  name: 'wholeDivision',
  says: 'How many times the second integer goes into the first, rounded towards 0; null when the second is 0.',
  args: ['integer', 'integer'],
  result: integer,
  nullable: () => true,
  duckdb: ([a, b]) => `try(${a} // nullif(${b}, 0))`,
  spark: ([a, b]) => `(case when ${b} = -1 then try_subtract(0L, ${a}) when ${b} <> 0 then ${a} div ${b} end)`,
  examples: [
    { in: [7, 2], out: 3 },
    { in: [-7, 2], out: -3 },
    { in: [7, 0], out: null },
    { in: ['-9223372036854775808', -1], out: null, types: [integer, integer] },
  ],
})

export const modulo = define<Arithmetic>({
  name: 'modulo',
  says: 'What is left of the first number after division by the second, with the sign of the first; null when the second is 0.',
  args: ['number', 'number'],
  result: commonNumber,
  nullable: () => true,
  duckdb: (args, types) => {
    const [a, b] = alike(args, types)
    // The least integer has no counterpart above 0, so that DuckDB fails on its division by -1.
    if (commonNumber(types).is === 'integer')
      return `(case when ${b} = -1 then ${a} * 0 else ${a} % nullif(${b}, 0) end)`
    return `(${a} % nullif(${b}, 0))`
  },
  spark: (args, types) => {
    const [a, b] = sparkAlike(args, types)
    return `cast(case when ${b} <> 0 then ${a} % ${b} end as ${sparkType(commonNumber(types))})`
  },
  examples: [
    { in: [7, 3], out: 1 },
    { in: [-7, 3], out: -1 },
    { in: [7, -3], out: 1 },
    { in: ['5.5', 2], out: '1.5', types: [decimal(2, 1), integer] },
    { in: [7, 0], out: null },
    { in: ['-9223372036854775808', -1], out: 0, types: [integer, integer] },
  ],
})

// One digit more before the point: a carry fits.
function sumType(types: ColumnType[]): ColumnType {
  const common = commonNumber(types)
  return common.is === 'decimal' ? decimal(Math.min(38, digitsOfSum(types)), common.scale) : common
}

function digitsOfSum([left = double, right = double]: ColumnType[]): number {
  const [a, b] = [asDecimal(left), asDecimal(right)]
  return Math.max(a.precision - a.scale, b.precision - b.scale) + Math.max(a.scale, b.scale) + 1
}

function sum(sign: '+' | '-', args: string[], types: ColumnType[]): string {
  const type = sumType(types)
  if (type.is !== 'decimal') {
    const sql = `(${alike(args, types).join(` ${sign} `)})`
    return type.is === 'integer' ? `try${sql}` : sql
  }
  const [a = '', b] = args
  const sql = widens(type.precision, types)
    ? `(${a}::${duckdbType(type)} ${sign} ${b})::${duckdbType(type)}`
    : `(${a} ${sign} ${b})`
  return overflows(digitsOfSum(types), type) ? `try(${sql})` : sql
}

function productType(types: ColumnType[]): ColumnType {
  const common = commonNumber(types)
  if (common.is !== 'decimal') return common
  const [a, b] = decimals(types)
  if (a.scale + b.scale > 38) {
    throw new MillraceError('WRONG_TYPE', {
      message: `a product of ${a.scale} and ${b.scale} decimals needs more than 38`,
      hint: 'convert one of them first: toDecimal with fewer digits, or toDouble',
    })
  }
  return decimal(Math.min(38, a.precision + b.precision), a.scale + b.scale)
}

function digitsOfProduct(types: ColumnType[]): number {
  const [a, b] = decimals(types)
  return a.precision + b.precision
}

function product(args: [string, string], types: ColumnType[]): string {
  const type = productType(types)
  if (type.is !== 'decimal') {
    const sql = `(${alike(args, types).join(' * ')})`
    return type.is === 'integer' ? `try${sql}` : sql
  }
  const [left] = decimals(types)
  const [a, b] = args
  const sql = widens(type.precision, types)
    ? `(${a}::${duckdbType(decimal(19, left.scale))} * ${b})::${duckdbType(type)}`
    : `(${a} * ${b})`
  return overflows(digitsOfProduct(types), type) ? `try(${sql})` : sql
}

function commonNumber([left = double, right = double]: ColumnType[]): ColumnType {
  return commonType(left, right) ?? double
}

function decimals([left = double, right = double]: ColumnType[]): [
  ReturnType<typeof asDecimal>,
  ReturnType<typeof asDecimal>,
] {
  return [asDecimal(left), asDecimal(right)]
}

// DuckDB does not go past 18 digits by itself when both sides have no more, and fails when the result does.
function widens(precision: number, types: ColumnType[]): boolean {
  return precision > 18 && types.every((type) => asDecimal(type).precision <= 18)
}

function overflows(digits: number, type: ColumnType): boolean {
  return type.is === 'integer' || (type.is === 'decimal' && digits > 38)
}

function sparkSum(call: 'try_add' | 'try_subtract', args: string[], types: ColumnType[]): string {
  const type = sumType(types)
  if (type.is !== 'decimal') return sparkNumber(call, call === 'try_add' ? '+' : '-', sparkAlike(args, types), type)
  return `cast(${call}(${sparkDecimals(args, types).join(', ')}) as ${sparkType(type)})`
}

function sparkNumber(call: string, sign: string, args: string[], type: ColumnType): string {
  return type.is === 'integer' ? `${call}(${args.join(', ')})` : `(${args.join(` ${sign} `)})`
}

// An integer as a decimal of just its digits: Spark finds the digits of a result by those of what goes into it.
function sparkDecimals(args: string[], types: ColumnType[]): string[] {
  return args.map((arg, i) => (types[i]?.is === 'integer' ? `cast(${arg} as decimal(19,0))` : arg))
}
