import { boolean } from '../plan/columns.ts'
import { define } from './define.ts'
import type { Value } from './value.ts'

export const isNull = define<(value: Value) => Value<'boolean'>>({
  name: 'isNull',
  says: 'Whether the value is absent.',
  args: ['any'],
  result: boolean,
  nullable: () => false,
  duckdb: ([a]) => `(${a} is null)`,
  examples: [
    { in: ['x'], out: false },
    { in: [null], out: true, types: [{ is: 'text' }] },
  ],
})

export const isPresent = define<(value: Value) => Value<'boolean'>>({
  name: 'isPresent',
  says: 'Whether there is a value.',
  args: ['any'],
  result: boolean,
  nullable: () => false,
  duckdb: ([a]) => `(${a} is not null)`,
  examples: [
    { in: ['x'], out: true },
    { in: [null], out: false, types: [{ is: 'text' }] },
  ],
})
