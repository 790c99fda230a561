import { asDecimal, type ColumnType, commonType, decimal, double, type NumericKind } from '../plan/columns.ts'
import { define } from './define.ts'
import type { Value, Wider } from './value.ts'

type Arithmetic = <A extends NumericKind, B extends NumericKind = A>(
  left: Value<A>,
  right: Value<B> | number,
) => Value<Wider<A, B>>

export const plus = define<Arithmetic>({
  name: 'plus',
  says: 'The sum of two numbers.',
  args: ['number', 'number'],
  result: (types) => sumType(types),
  duckdb: ([a, b]) => `(${a} + ${b})`,
  examples: [
    { in: [1, 2], out: 3 },
    { in: ['1.10', '2.205'], out: '3.305', types: [decimal(12, 2), decimal(12, 3)] },
    { in: [0.5, 0.25], out: 0.75, types: [double, double] },
  ],
})

export const minus = define<Arithmetic>({
  name: 'minus',
  says: 'The first number less the second.',
  args: ['number', 'number'],
  result: (types) => sumType(types),
  duckdb: ([a, b]) => `(${a} - ${b})`,
  examples: [
    { in: [1, 2], out: -1 },
    { in: ['1.10', '2.2'], out: '-1.10', types: [decimal(12, 2), decimal(12, 1)] },
  ],
})

export const times = define<Arithmetic>({
  name: 'times',
  says: 'The product of two numbers.',
  args: ['number', 'number'],
  result: (types) => productType(types),
  duckdb: ([a, b]) => `(${a} * ${b})`,
  examples: [
    { in: [3, -2], out: -6 },
    { in: ['1.10', '0.5'], out: '0.550', types: [decimal(12, 2), decimal(2, 1)] },
  ],
})

export const dividedBy = define<(left: Value<NumericKind>, right: Value<NumericKind> | number) => Value<'double'>>({
  name: 'dividedBy',
  says: 'The first number divided by the second, as a double; null when the second is 0.',
  args: ['number', 'number'],
  result: double,
  nullable: () => true,
  duckdb: ([a, b]) => `(${a}::double / nullif(${b}::double, 0))`,
  examples: [
    { in: [1, 4], out: 0.25 },
    { in: [1, 0], out: null },
    { in: ['1.50', 2], out: 0.75, types: [decimal(12, 2), { is: 'integer' }] },
  ],
})

// One digit more before the point: a carry fits.
function sumType([left, right]: ColumnType[]): ColumnType {
  if (left === undefined || right === undefined) return double
  const common = commonType(left, right) ?? double
  return common.is === 'decimal' ? decimal(Math.min(38, common.precision + 1), common.scale) : common
}

function productType([left, right]: ColumnType[]): ColumnType {
  if (left === undefined || right === undefined) return double
  if (left.is === 'double' || right.is === 'double') return double
  if (left.is === 'integer' && right.is === 'integer') return left
  const [a, b] = [asDecimal(left), asDecimal(right)]
  return decimal(Math.min(38, a.precision + b.precision), Math.min(38, a.scale + b.scale))
}
