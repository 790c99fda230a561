import { type ColumnType, decimal, double, integer, type NumericKind } from '../plan/columns.ts'
import { type ConstantArgument, define } from './define.ts'
import { duckdbType } from './duckdb-type.ts'
import { sparkRound, sparkType } from './spark-type.ts'
import type { Value } from './value.ts'

type OfOneNumber = <K extends NumericKind>(value: Value<K>) => Value<K>

const digits: ConstantArgument = {
  constant: 'integer',
  must: 'be a whole number from 0 to 15',
  allows: (value) => Number(value) >= 0 && Number(value) <= 15,
}

export const negate = define<OfOneNumber>({
  name: 'negate',
  says: 'The number with the other sign; null for the least integer, whose counterpart has more than 64 bits.',
  args: ['number'],
  result: ofFirst,
  nullable: (args, types) => args.some(Boolean) || ofFirst(types).is === 'integer',
  duckdb: ([a], types) => (ofFirst(types).is === 'integer' ? `try(-${a})` : `(-${a})`),
  spark: ([a], types) => (ofFirst(types).is === 'integer' ? `try_subtract(0L, ${a})` : `(-${a})`),
  examples: [
    { in: [3], out: -3 },
    { in: ['-1.50'], out: '1.50', types: [decimal(3, 2)] },
    { in: ['-9223372036854775808'], out: null, types: [integer] },
  ],
})

export const absolute = define<OfOneNumber>({
  name: 'absolute',
  says: 'The number without its sign; null for the least integer, whose counterpart has more than 64 bits.',
  args: ['number'],
  result: ofFirst,
  nullable: (args, types) => args.some(Boolean) || ofFirst(types).is === 'integer',
  duckdb: ([a], types) => (ofFirst(types).is === 'integer' ? `try(abs(${a}))` : `abs(${a})`),
  spark: ([a], types) =>
    ofFirst(types).is === 'integer' ? `(case when ${a} < 0 then try_subtract(0L, ${a}) else ${a} end)` : `abs(${a})`,
  examples: [
    { in: [-3], out: 3 },
    { in: ['-1.50'], out: '1.50', types: [decimal(3, 2)] },
    { in: [-0.5], out: 0.5 },
    { in: ['-9223372036854775808'], out: null, types: [integer] },
  ],
})

export const round = define<<K extends NumericKind>(value: Value<K>, digits?: number) => Value<K>>({
  name: 'round',
  says: 'The number rounded to so many decimals (0 when not given), halves away from 0; exact on decimals, on doubles what scaling by a power of ten gives.',
  args: ['number', digits],
  optional: 1,
  result: (types, [, places]) => roundedType(ofFirst(types), Number(places ?? 0)),
  duckdb: ([a], types, [, places]) => rounded(`${a}`, ofFirst(types), Number(places ?? 0)),
  spark: ([a], types, [, places]) => {
    const type = ofFirst(types)
    if (type.is === 'double') return sparkRound(`${a}`, Number(places ?? 0))
    const result = roundedType(type, Number(places ?? 0))
    return result === type ? `${a}` : `cast(round(${a}, ${Number(places ?? 0)}) as ${sparkType(result)})`
  },
  examples: [
    { in: ['2.345', 2], out: '2.35', types: [decimal(4, 3), integer] },
    { in: ['-2.345', 2], out: '-2.35', types: [decimal(4, 3), integer] },
    { in: ['9.99', 1], out: '10.0', types: [decimal(3, 2), integer] },
    { in: ['2.5', 4], out: '2.5', types: [decimal(2, 1), integer] },
    { in: [2.5], out: 3, types: [double] },
    { in: [-2.5], out: -3, types: [double] },
    { in: [1.005, 2], out: 1 },
    { in: [1234.5678, 2], out: 1234.57 },
  ],
})

export const floor = define<OfOneNumber>({
  name: 'floor',
  says: 'The largest whole number that is not above this one, in the type of the number.',
  args: ['number'],
  result: wholeType,
  duckdb: ([a], types) => whole('floor', `${a}`, ofFirst(types)),
  spark: ([a], types) => sparkWhole('floor', `${a}`, ofFirst(types)),
  examples: [
    { in: ['-1.5'], out: '-2', types: [decimal(2, 1)] },
    { in: [1.9], out: 1 },
    { in: [-1.1], out: -2 },
    { in: [7], out: 7 },
  ],
})

export const ceiling = define<OfOneNumber>({
  name: 'ceiling',
  says: 'The least whole number that is not below this one, in the type of the number.',
  args: ['number'],
  result: wholeType,
  duckdb: ([a], types) => whole('ceil', `${a}`, ofFirst(types)),
  spark: ([a], types) => sparkWhole('ceil', `${a}`, ofFirst(types)),
  examples: [
    { in: ['9.1'], out: '10', types: [decimal(2, 1)] },
    { in: [-1.9], out: -1 },
    { in: [-0.5], out: 0 },
    { in: [7], out: 7 },
  ],
})

function ofFirst([type = double]: ColumnType[]): ColumnType {
  return type
}

// One digit more before the point: 9.9 becomes 10.
function roundedType(type: ColumnType, places: number): ColumnType {
  if (type.is !== 'decimal' || places >= type.scale) return type
  return decimal(type.precision - type.scale + places + 1, places)
}

function wholeType(types: ColumnType[]): ColumnType {
  return roundedType(ofFirst(types), 0)
}

function rounded(sql: string, type: ColumnType, places: number): string {
  if (type.is === 'double') return `(round(${sql}, ${places}) + 0.0)`
  const result = roundedType(type, places)
  return result === type ? sql : `round(${sql}, ${places})::${duckdbType(result)}`
}

// Adding 0 turns the -0 of IEEE 754 into 0.
function whole(call: 'floor' | 'ceil', sql: string, type: ColumnType): string {
  if (type.is === 'double') return `(${call}(${sql}) + 0.0)`
  const result = roundedType(type, 0)
  return result === type ? sql : `${call}(${sql})::${duckdbType(result)}`
}

// Spark's whole numbers of doubles are integers of 64 bits; above 2^52 there are no fractions.
function sparkWhole(call: 'floor' | 'ceil', sql: string, type: ColumnType): string {
  if (type.is === 'double')
    return `(case when abs(${sql}) < 4503599627370496D then cast(${call}(${sql}) as double) else ${sql} end + 0D)`
  const result = roundedType(type, 0)
  return result === type ? sql : `cast(${call}(${sql}) as ${sparkType(result)})`
}
