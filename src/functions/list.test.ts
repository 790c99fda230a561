import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { agree, Generated, openTestDuckdb } from '../../test/duckdb.ts'
import { decimal, double, integer, listOf as listType, text } from '../plan/columns.ts'
import { countIn, listContains, listDistinct, listGet, listJoin, listOf } from './list.ts'
import { type Value, valueOf } from './value.ts'

const db = await openTestDuckdb()
after(() => db[Symbol.asyncDispose]())
const made = new Generated()
const word = () => made.oneOf(['a', 'b', 'B', 'é', "it's", '', '😂', null])
const wordList = () => made.many(made.whole(0, 5), word)
const texts = listType(text)
const lists = made.many(200, () => [wordList()])
const distinct = (list: unknown[]) => [...new Set(list.filter((item) => item !== null))]

test('lists of texts are measured, joined and freed of repeats', async () => {
  await agree(db, 'listLength', [texts], lists, (list) => list.length)
  const joined = (list: unknown[]) => list.filter((item) => item !== null).join(', ')
  await agree(db, 'listJoin', [texts], lists, joined, [{ literal: ', ', type: text }])
  const byBytes = (a: unknown, b: unknown) => Buffer.compare(Buffer.from(String(a)), Buffer.from(String(b)))
  await agree(db, 'listDistinct', [texts], lists, (list) => distinct(list).sort(byBytes))
})

test('lists of integers keep their order of numbers', async () => {
  const rows = made.many(200, () => [made.many(made.whole(0, 5), () => made.oneOf([null, made.whole(-3, 30)]))])
  const sorted = (list: number[]) => distinct(list).sort((a, b) => Number(a) - Number(b))
  await agree(db, 'listDistinct', [listType(integer)], rows, sorted)
})

test('elements are found by value and by place', async () => {
  const wanted = made.many(200, () => [wordList(), word()])
  await agree(db, 'listContains', [texts, text], wanted, (list, value) =>
    value === null ? null : list.includes(value),
  )
  const placed = made.many(200, () => [wordList(), made.oneOf<unknown>([made.whole(-2, 6), made.integer(), null])])
  await agree(db, 'listGet', [texts, integer], placed, (list, place) =>
    place === null ? null : (list[Number(place)] ?? null),
  )
})

test('a list of numbers contains any number of the same value', async () => {
  const rows = made.many(200, () => [made.many(3, () => made.decimal(4, 2)), made.whole(-20, 20)])
  const contains = (list: string[], value: number) => list.some((item) => Number(item) === value)
  await agree(db, 'listContains', [listType(decimal(4, 2)), integer], rows, contains)
  const long = made.many(200, () => {
    const digits = made.decimal(38, 20)
    return [['0.00000000000000000000', digits], Number(digits)]
  })
  await agree(db, 'listContains', [listType(decimal(38, 20)), double], long, () => true)
})

test('words are counted and kept against any set of constants', async () => {
  for (const words of [[], ['a'], ["it's", 'é', '', 'a', 'a']]) {
    const constants = [{ literal: words, type: texts }]
    const kept = (list: string[]) => list.filter((item) => words.includes(item))
    await agree(db, 'keepOnly', [texts], lists, kept, constants)
    await agree(db, 'countIn', [texts], lists, (list) => kept(list).length, constants)
  }
})

test('a list is made of values of one kind', async () => {
  const rows = made.many(200, () => [word(), word(), word()])
  await agree(db, 'listOf', [text, text, text], rows, (...values) => values)
})

const tags: Value<'list of text'> = valueOf({ column: 'tags' }, texts, false)
const name: Value<'text'> = valueOf({ column: 'name' }, text, false)
const n: Value<'integer'> = valueOf({ column: 'n' }, integer, false)

test('the kind of an element follows from the kind of the list', () => {
  const first: Value<'text'> = listGet(tags, 0)
  const pair: Value<'list of integer'> = listOf(n, 1)
  assert.deepEqual([first.type, pair.type], [text, listType(integer)])
  // @ts-expect-error the element is a text
  const wrong: Value<'integer'> = listGet(tags, 0)
  assert.equal(wrong.kind, 'text')
})

test('an element of another kind does not compile, and is refused at run time', () => {
  // @ts-expect-error a list of texts holds no number
  assert.throws(() => listContains(tags, 1), /listContains cannot take the constant 1 \(integer\) together with a text/)
  // @ts-expect-error a list has elements of one kind
  assert.throws(() => listOf(n, name), { code: 'WRONG_TYPE' })
  // @ts-expect-error only texts are joined
  assert.throws(() => listJoin(listOf(n), ','), { code: 'WRONG_TYPE' })
  // @ts-expect-error words are constants
  assert.throws(() => countIn(tags, tags), { code: 'WRONG_TYPE' })
  const ratios: Value<'list of double'> = valueOf({ column: 'ratios' }, listType(double), false)
  // @ts-expect-error engines tell NaN from NaN in different ways
  assert.throws(() => listDistinct(ratios), { message: 'listDistinct does not take a list of double' })
  assert.throws(() => listOf(tags as unknown as Value<'text'>), /there are no lists of lists/)
})
