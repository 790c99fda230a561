import { boolean, decimal, integer, type Kind, listOf, text } from '../plan/columns.ts'
import { define } from './define.ts'
import { alike, castTo, commonOf, comparable } from './duckdb-type.ts'
import { sparkAlike, sparkComparable, sparkType } from './spark-type.ts'
import type { Comparand, Operand, Value } from './value.ts'

export const isNull = define<(value: Value) => Value<'boolean'>>({
  name: 'isNull',
  says: 'Whether the value is absent.',
  args: ['any'],
  result: boolean,
  nullable: () => false,
  duckdb: ([a]) => `(${a} is null)`,
  spark: ([a]) => `(${a} is null)`,
  examples: [
    { in: ['x'], out: false },
    { in: [''], out: false },
    { in: [null], out: true, types: [text] },
  ],
})

export const isPresent = define<(value: Value) => Value<'boolean'>>({
  name: 'isPresent',
  says: 'Whether there is a value.',
  args: ['any'],
  result: boolean,
  nullable: () => false,
  duckdb: ([a]) => `(${a} is not null)`,
  spark: ([a]) => `(${a} is not null)`,
  examples: [
    { in: ['x'], out: true },
    { in: [[]], out: true, types: [listOf(text)] },
    { in: [null], out: false, types: [text] },
  ],
})

export const coalesce = define<<K extends Kind>(first: Value<K>, ...others: Operand<NoInfer<K>>[]) => Value<K>>({
  name: 'coalesce',
  says: 'The first of the values that is not null; null when all are.',
  args: ['alike', 'alike'],
  variadic: true,
  result: commonOf,
  nullable: (args) => args.every(Boolean),
  duckdb: (args, types) => `coalesce(${alike(args, types).join(', ')})`,
  spark: (args, types) => `coalesce(${sparkAlike(args, types).join(', ')})`,
  examples: [
    { in: [null, 'a', 'b'], out: 'a', types: [text, text, text] },
    { in: ['', 'a'], out: '' },
    { in: [null, '0.5'], out: '0.5', types: [integer, decimal(2, 1)] },
    { in: [null, []], out: [], types: [listOf(text), listOf(text)] },
    { in: [null, null], out: null, types: [integer, integer] },
  ],
})

export const nullIf = define<<K extends Kind>(value: Value<K>, other: Comparand<K>) => Value<K>>({
  name: 'nullIf',
  says: 'Null when the value equals the other, else the value.',
  args: ['same', 'same'],
  result: ([type = text]) => type,
  nullable: () => true,
  duckdb: (args, types) => {
    const [value, other] = comparable(args, types)
    return `(case when ${value} = ${other} then ${castTo(types[0] ?? text, 'null', text)} else ${args[0]} end)`
  },
  spark: (args, types) => {
    const [value, other] = sparkComparable(args, types)
    return `(case when ${value} = ${other} then cast(null as ${sparkType(types[0] ?? text)}) else ${args[0]} end)`
  },
  examples: [
    { in: ['', ''], out: null },
    { in: ['a', ''], out: 'a' },
    { in: ['0.00', 0], out: null, types: [decimal(3, 2), integer] },
    { in: ['a', null], out: 'a', types: [text, text] },
  ],
})
