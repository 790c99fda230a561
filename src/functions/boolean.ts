import { boolean } from '../plan/columns.ts'
import { define } from './define.ts'
import type { Operand, Value } from './value.ts'

type Logic = (...values: Operand<'boolean'>[]) => Value<'boolean'>

export const and = define<Logic>({
  name: 'and',
  says: 'True when all are true; false when any is false, even beside a null; else null.',
  args: ['boolean'],
  variadic: true,
  result: boolean,
  duckdb: (args) => (args.length === 0 ? 'true' : `(${args.join(' and ')})`),
  spark: (args) => (args.length === 0 ? 'true' : `(${args.join(' and ')})`),
  examples: [
    { in: [true, true], out: true },
    { in: [false, null], out: false, types: [boolean, boolean] },
    { in: [true, null], out: null, types: [boolean, boolean] },
    { in: [], out: true },
  ],
})

export const or = define<Logic>({
  name: 'or',
  says: 'True when any is true, even beside a null; false when all are false; else null.',
  args: ['boolean'],
  variadic: true,
  result: boolean,
  duckdb: (args) => (args.length === 0 ? 'false' : `(${args.join(' or ')})`),
  spark: (args) => (args.length === 0 ? 'false' : `(${args.join(' or ')})`),
  examples: [
    { in: [true, null], out: true, types: [boolean, boolean] },
    { in: [false, false], out: false },
    { in: [false, null], out: null, types: [boolean, boolean] },
    { in: [], out: false },
  ],
})

export const not = define<(value: Operand<'boolean'>) => Value<'boolean'>>({
  name: 'not',
  says: 'True for false, false for true, null for null.',
  args: ['boolean'],
  result: boolean,
  duckdb: ([a]) => `(not ${a})`,
  spark: ([a]) => `(not ${a})`,
  examples: [
    { in: [true], out: false },
    { in: [null], out: null, types: [boolean] },
  ],
})
