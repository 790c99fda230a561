import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { agree, Generated, openTestDuckdb } from '../../test/duckdb.ts'
import { boolean, decimal, integer, json, text } from '../plan/columns.ts'
import { when } from './conditional.ts'
import { coalesce, nullIf } from './null.ts'
import { type Value, valueOf } from './value.ts'

const db = await openTestDuckdb()
after(() => db[Symbol.asyncDispose]())
const made = new Generated()
const truth = () => made.oneOf([true, false, null])
const word = () => made.oneOf(['a', 'b', '', null])

test('booleans follow the logic of true, false and null', async () => {
  const rows = made.many(200, () => [truth(), truth(), truth()])
  const types = [boolean, boolean, boolean]
  const and = (...all: unknown[]) => (all.includes(false) ? false : all.includes(null) ? null : true)
  const or = (...all: unknown[]) => (all.includes(true) ? true : all.includes(null) ? null : false)
  await agree(db, 'and', types, rows, and)
  await agree(db, 'or', types, rows, or)
  await agree(
    db,
    'not',
    [boolean],
    rows.map(([a]) => [a]),
    (a) => (a === null ? null : !a),
  )
})

test('when takes the second value only where the condition is true', async () => {
  const rows = made.many(200, () => [truth(), word(), word()])
  await agree(db, 'when', [boolean, text, text], rows, (condition, then, otherwise) =>
    condition === true ? then : otherwise,
  )
  const open = rows.map(([condition, then]) => [condition, then])
  await agree(db, 'when', [boolean, text], open, (condition, then) => (condition === true ? then : null))
})

test('coalesce takes the first value there is, and nullIf takes one away', async () => {
  const rows = made.many(200, () => [word(), word(), word()])
  await agree(db, 'coalesce', [text, text, text], rows, (...values) => values.find((value) => value !== null) ?? null)
  const pairs = rows.map(([a, b]) => [a, b])
  await agree(db, 'nullIf', [text, text], pairs, (a, b) => (a === b ? null : a))
  await agree(
    db,
    'isNull',
    [text],
    rows.map(([a]) => [a]),
    (a) => a === null,
  )
})

const late: Value<'boolean'> = valueOf({ column: 'late' }, boolean, false)
const price: Value<'decimal'> = valueOf({ column: 'price' }, decimal(12, 2), false)
const n: Value<'integer'> = valueOf({ column: 'n' }, integer, true)
const name: Value<'text'> = valueOf({ column: 'name' }, text, false)
const payload: Value<'json'> = valueOf({ column: 'payload' }, json, true)

test('the kind of a conditional follows from its values', () => {
  const word: Value<'text'> = when(late, 'late', 'on time')
  const one: Value<'integer'> = when(late, 1, 0)
  const share: Value<'double'> = when(late, 0.5, 1)
  const paid: Value<'decimal'> = when(late, 0, price)
  const maybe: Value<'decimal'> = when(late, price)
  assert.deepEqual(
    [word, one, share, paid, maybe].map(({ type, nullable }) => [type.is, nullable]),
    [
      ['text', false],
      ['integer', false],
      ['double', false],
      ['decimal', false],
      ['decimal', true],
    ],
  )
  // @ts-expect-error the two sides are of different kinds
  assert.throws(() => when(late, price, 'none'), { code: 'WRONG_TYPE' })
  // @ts-expect-error a number is no condition
  assert.throws(() => when(n, 1, 0), /argument 1 of when must be a boolean/)
})

test('coalesce is null only where all of its values can be', () => {
  assert.equal(coalesce(n, 0).nullable, false)
  assert.equal(coalesce(n, n).nullable, true)
  assert.equal(nullIf(price, 0).nullable, true)
  assert.deepEqual(coalesce(payload, payload).type, json)
  // @ts-expect-error a text does not stand in for a number
  assert.throws(() => coalesce(n, name), { code: 'WRONG_TYPE' })
})
