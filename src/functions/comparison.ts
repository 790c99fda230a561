import { boolean, decimal, double, integer, type Kind, text, timestamp } from '../plan/columns.ts'
import { define } from './define.ts'
import { alike, commonOf, comparable } from './duckdb-type.ts'
import { sparkAlike, sparkComparable } from './spark-type.ts'
import type { Comparand, Operand, OrderedKind, Value } from './value.ts'

type Equality = <K extends Kind>(left: Value<K>, right: Comparand<K>) => Value<'boolean'>
type Ordering = <K extends OrderedKind>(left: Value<K>, right: Comparand<K>) => Value<'boolean'>
type Choice = <K extends OrderedKind>(first: Value<K>, ...others: Operand<NoInfer<K>>[]) => Value<K>

export const equals = define<Equality>({
  name: 'equals',
  says: 'Whether two values are equal; null when either is null.',
  args: ['same', 'same'],
  result: boolean,
  duckdb: (args, types) => `(${comparable(args, types).join(' = ')})`,
  spark: (args, types) => `(${sparkComparable(args, types).join(' = ')})`,
  examples: [
    { in: ['a', 'a'], out: true },
    { in: ['é', 'e\u0301'], out: false },
    { in: ['1.0', '1.00'], out: true, types: [decimal(3, 1), decimal(3, 2)] },
    { in: ['a', null], out: null, types: [text, text] },
  ],
})

export const differsFrom = define<Equality>({
  name: 'differsFrom',
  says: 'Whether two values are not equal; null when either is null.',
  args: ['same', 'same'],
  result: boolean,
  duckdb: (args, types) => `(${comparable(args, types).join(' <> ')})`,
  spark: (args, types) => `(${sparkComparable(args, types).join(' <> ')})`,
  examples: [
    { in: ['a', 'A'], out: true },
    { in: [null, null], out: null, types: [integer, integer] },
  ],
})

export const lessThan = define<Ordering>({
  name: 'lessThan',
  says: 'Whether the first value comes before the second; texts in binary order, false before true; null when either is null.',
  args: ['ordered', 'ordered'],
  result: boolean,
  duckdb: (args, types) => `(${comparable(args, types).join(' < ')})`,
  spark: (args, types) => `(${sparkComparable(args, types).join(' < ')})`,
  examples: [
    { in: [1, 2], out: true },
    { in: ['B', 'a'], out: true },
    { in: ['z', 'é'], out: true },
  ],
})

export const atMost = define<Ordering>({
  name: 'atMost',
  says: 'Whether the first value is the second or comes before it; null when either is null.',
  args: ['ordered', 'ordered'],
  result: boolean,
  duckdb: (args, types) => `(${comparable(args, types).join(' <= ')})`,
  spark: (args, types) => `(${sparkComparable(args, types).join(' <= ')})`,
  examples: [
    { in: [2, 2], out: true },
    { in: ['2.01', 2], out: false, types: [decimal(3, 2), integer] },
  ],
})

export const moreThan = define<Ordering>({
  name: 'moreThan',
  says: 'Whether the first value comes after the second; texts in binary order, false before true; null when either is null.',
  args: ['ordered', 'ordered'],
  result: boolean,
  duckdb: (args, types) => `(${comparable(args, types).join(' > ')})`,
  spark: (args, types) => `(${sparkComparable(args, types).join(' > ')})`,
  examples: [
    { in: [1, 2], out: false },
    { in: ['0.12345678901234567890', 0.12], out: true, types: [decimal(20, 20), double] },
  ],
})

export const atLeast = define<Ordering>({
  name: 'atLeast',
  says: 'Whether the first value is the second or comes after it; null when either is null.',
  args: ['ordered', 'ordered'],
  result: boolean,
  duckdb: (args, types) => `(${comparable(args, types).join(' >= ')})`,
  spark: (args, types) => `(${sparkComparable(args, types).join(' >= ')})`,
  examples: [
    {
      in: ['2026-01-01T00:00:00.000Z', '2025-12-31T23:59:59.000Z'],
      out: true,
      types: [timestamp, timestamp],
    },
    { in: ['', ''], out: true },
  ],
})

export const between = define<
  <K extends OrderedKind>(value: Value<K>, low: Comparand<K>, high: Comparand<K>) => Value<'boolean'>
>({
  name: 'between',
  says: 'Whether the value lies between two others or is one of them; a null is neither inside nor outside.',
  args: ['ordered', 'ordered', 'ordered'],
  result: boolean,
  duckdb: (args, types) => {
    const [value, low, high] = comparable(args, types)
    return `(${value} between ${low} and ${high})`
  },
  spark: (args, types) => {
    const [value, low, high] = sparkComparable(args, types)
    return `(${value} between ${low} and ${high})`
  },
  examples: [
    { in: [2, 1, 2], out: true },
    { in: [1, 2, 0], out: false },
    { in: [1, 0, null], out: null, types: [integer, integer, integer] },
    { in: [1, 2, null], out: false, types: [integer, integer, integer] },
  ],
})

export const isIn = define<<K extends Kind>(value: Value<K>, ...among: Comparand<K>[]) => Value<'boolean'>>({
  name: 'isIn',
  says: 'Whether the value equals one of the others; null when it is null, or when it equals none and one of them is null.',
  args: ['same', 'same'],
  variadic: true,
  result: boolean,
  duckdb: (args, types) => {
    const [value, ...among] = comparable(args, types)
    return among.length === 0 ? `(${value} <> ${value})` : `(${value} in (${among.join(', ')}))`
  },
  spark: (args, types) => {
    const [value, ...among] = sparkComparable(args, types)
    return among.length === 0 ? `(${value} <> ${value})` : `(${value} in (${among.join(', ')}))`
  },
  examples: [
    { in: ['b', 'a', 'b'], out: true },
    { in: ['c', 'a', 'b'], out: false },
    { in: ['c', 'a', null], out: null, types: [text, text, text] },
    { in: ['c'], out: false },
  ],
})

export const least = define<Choice>({
  name: 'least',
  says: 'The value that comes first; nulls are passed over, and only nulls give null.',
  args: ['ordered', 'ordered'],
  variadic: true,
  result: commonOf,
  nullable: (args) => args.every(Boolean),
  duckdb: (args, types) => `least(${alike(args, types).join(', ')})`,
  spark: (args, types) => extreme('least', sparkAlike(args, types)),
  examples: [
    { in: [3, 1, 2], out: 1 },
    { in: ['b', 'B'], out: 'B' },
    { in: [1, '0.5'], out: '0.5', types: [integer, decimal(2, 1)] },
    { in: [null, 2], out: 2, types: [integer, integer] },
    { in: [null, null], out: null, types: [text, text] },
  ],
})

export const greatest = define<Choice>({
  name: 'greatest',
  says: 'The value that comes last; nulls are passed over, and only nulls give null.',
  args: ['ordered', 'ordered'],
  variadic: true,
  result: commonOf,
  nullable: (args) => args.every(Boolean),
  duckdb: (args, types) => `greatest(${alike(args, types).join(', ')})`,
  spark: (args, types) => extreme('greatest', sparkAlike(args, types)),
  examples: [
    { in: [3, 1, 2], out: 3 },
    { in: [-1, '-0.5'], out: '-0.5', types: [integer, decimal(2, 1)] },
    { in: [null, 2], out: 2, types: [integer, integer] },
  ],
})

// Spark asks for two at least.
function extreme(call: 'least' | 'greatest', values: string[]): string {
  return values.length === 1 ? values.join() : `${call}(${values.join(', ')})`
}
