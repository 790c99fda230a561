import { boolean, decimal, type Kind, timestamp } from '../plan/columns.ts'
import { define } from './define.ts'
import type { Like, Operand, Value } from './value.ts'

type Comparison = <K extends Kind>(left: Value<K>, right: Operand<Like<K>>) => Value<'boolean'>

export const equals = define<Comparison>({
  name: 'equals',
  says: 'Whether two values are equal; null when either is null.',
  args: ['same', 'same'],
  result: boolean,
  duckdb: ([a, b]) => `(${a} = ${b})`,
  examples: [
    { in: ['a', 'a'], out: true },
    { in: ['1.0', '1.00'], out: true, types: [decimal(3, 1), decimal(3, 2)] },
    { in: ['a', null], out: null, types: [{ is: 'text' }, { is: 'text' }] },
  ],
})

export const differsFrom = define<Comparison>({
  name: 'differsFrom',
  says: 'Whether two values are not equal; null when either is null.',
  args: ['same', 'same'],
  result: boolean,
  duckdb: ([a, b]) => `(${a} <> ${b})`,
  examples: [{ in: ['a', 'A'], out: true }],
})

export const lessThan = define<Comparison>({
  name: 'lessThan',
  says: 'Whether the first value comes before the second; texts in binary order.',
  args: ['same', 'same'],
  result: boolean,
  duckdb: ([a, b]) => `(${a} < ${b})`,
  examples: [
    { in: [1, 2], out: true },
    { in: ['B', 'a'], out: true },
  ],
})

export const atMost = define<Comparison>({
  name: 'atMost',
  says: 'Whether the first value is the second or comes before it.',
  args: ['same', 'same'],
  result: boolean,
  duckdb: ([a, b]) => `(${a} <= ${b})`,
  examples: [{ in: [2, 2], out: true }],
})

export const moreThan = define<Comparison>({
  name: 'moreThan',
  says: 'Whether the first value comes after the second; texts in binary order.',
  args: ['same', 'same'],
  result: boolean,
  duckdb: ([a, b]) => `(${a} > ${b})`,
  examples: [{ in: [1, 2], out: false }],
})

export const atLeast = define<Comparison>({
  name: 'atLeast',
  says: 'Whether the first value is the second or comes after it.',
  args: ['same', 'same'],
  result: boolean,
  duckdb: ([a, b]) => `(${a} >= ${b})`,
  examples: [
    {
      in: ['2026-01-01T00:00:00.000Z', '2025-12-31T23:59:59.000Z'],
      out: true,
      types: [timestamp, timestamp],
    },
  ],
})

export const isIn = define<<K extends Kind>(value: Value<K>, ...among: Operand<Like<K>>[]) => Value<'boolean'>>({
  name: 'isIn',
  says: 'Whether the value equals one of the others; null when it is null.',
  args: ['same', 'same'],
  variadic: true,
  result: boolean,
  duckdb: ([a, ...others]) => `(${a} in (${others.join(', ')}))`,
  examples: [
    { in: ['b', 'a', 'b'], out: true },
    { in: ['c', 'a', 'b'], out: false },
  ],
})
