import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decimal, double, integer, listOf, text, timestamp } from '../plan/columns.ts'
import { plainDigits } from './constant.ts'
import { sql } from './sql.ts'
import { constant, type Value, valueOf } from './value.ts'

const literal = (value: unknown, beside?: Value['type']) => constant(value, beside).expression

test('a number alone is an integer when it is whole, else a double', () => {
  assert.deepEqual(literal(3), { literal: 3, type: integer })
  assert.deepEqual(literal(0.5), { literal: 0.5, type: double })
  assert.deepEqual(literal(5n), { literal: 5, type: integer })
  assert.deepEqual(literal(2n ** 62n), { literal: '4611686018427387904', type: integer })
})

test('a number beside a decimal keeps every digit it shows', () => {
  assert.deepEqual(literal(1e-7, decimal(12, 2)), { literal: '0.0000001', type: decimal(8, 7) })
  assert.deepEqual(literal('12.50', decimal(12, 2)), { literal: '12.50', type: decimal(4, 2) })
  assert.deepEqual(literal(10n ** 20n, decimal(38, 2)), { literal: `1${'0'.repeat(20)}`, type: decimal(21, 0) })
})

test('digits are written without an exponent', () => {
  const cases = {
    '1.5e-9': '0.0000000015',
    '-1e-7': '-0.0000001',
    '1.25e+21': '1250000000000000000000',
    '0': '0',
    '-12.5': '-12.5',
  }
  for (const [number, digits] of Object.entries(cases)) assert.equal(plainDigits(Number(number)), digits)
  assert.equal(plainDigits(1.23456789012345e-7), '0.000000123456789012345')
})

test('a timestamp keeps its microseconds and is UTC without an offset', () => {
  const at = (value: unknown) => literal(value, timestamp)
  assert.deepEqual(at('2026-01-31T12:00:00.123456+01:00'), { literal: '2026-01-31T11:00:00.123456Z', type: timestamp })
  assert.deepEqual(at('2026-01-31'), { literal: '2026-01-31T00:00:00.000Z', type: timestamp })
  assert.deepEqual(literal(new Date(0)), { literal: '1970-01-01T00:00:00.000Z', type: timestamp })
  assert.throws(() => at('March 7'), { code: 'WRONG_TYPE', message: '"March 7" is not a timestamp' })
  assert.throws(() => literal(new Date(Number.NaN)), { code: 'WRONG_TYPE' })
})

test('a list takes the type that holds all of its elements', () => {
  assert.deepEqual(literal([1, 0.5]), { literal: [1, 0.5], type: listOf(double) })
  assert.deepEqual(literal([]), { literal: [], type: listOf(text) })
  assert.throws(() => literal([1, 'a']), { message: 'a list cannot hold the constant "a" (text) beside a integer' })
})

test('what no engine can hold is refused', () => {
  const refused = { code: 'WRONG_TYPE' } as const
  for (const value of ['a\0b', '\ud800', Number.NaN, Number.POSITIVE_INFINITY, 2n ** 63n, undefined, null, {}]) {
    assert.throws(() => literal(value), refused, String(value))
  }
  assert.throws(() => literal(2 ** 53, integer), { message: '9007199254740992 may have lost digits on its way here' })
  assert.throws(() => literal(0.5, integer), { message: '0.5 is not a whole number, but stands beside an integer' })
  assert.throws(() => literal('abc', decimal(12, 2)), { message: '"abc" is not a decimal' })
})

test('SQL of one’s own has the type it is given, and may be null', () => {
  const shout: Value<'text'> = sql('upper(name)', 'text')
  const tags: Value<'list of text'> = sql("string_split(name, ' ')", 'list of text')
  const half: Value<'decimal'> = sql<'decimal'>('price / 2', decimal(12, 2))
  assert.deepEqual(
    [shout, tags, half].map(({ type, nullable }) => [type, nullable]),
    [
      [text, true],
      [listOf(text), true],
      [decimal(12, 2), true],
    ],
  )
  assert.deepEqual(shout.expression, { sql: 'upper(name)', type: text })
  // @ts-expect-error a decimal has to say its digits
  assert.throws(() => sql('price', 'decimal'), { code: 'INVALID_PLAN' })
  // @ts-expect-error there is no such kind
  assert.throws(() => sql('price', 'money'), { code: 'INVALID_PLAN' })
  assert.throws(() => sql('  ', 'text'), { code: 'WRONG_TYPE' })
})

test('a value prints as what it is, without its methods', () => {
  assert.deepEqual(Object.keys(valueOf({ column: 'a' }, text, false)), ['kind', 'expression', 'type', 'nullable'])
})
