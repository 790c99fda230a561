import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { agree, Generated, openTestDuckdb } from '../../test/duckdb.ts'
import { decimal, integer, listOf, text } from '../plan/columns.ts'
import { contains, lower, split, startsWith, substring, upper } from './text.ts'
import { type Row, valueOf } from './value.ts'

const db = await openTestDuckdb()
after(() => db[Symbol.asyncDispose]())
const made = new Generated()
const pieces = [
  'a',
  'b',
  'A',
  'É',
  'e\u0301',
  'ß',
  'İ',
  'ς',
  'Σ',
  '😂',
  '👍🏽',
  ' ',
  '  ',
  '\t',
  '\n',
  '\u00a0',
  '.',
  ',',
  "'",
  '_',
  '7',
  '%',
  '\\',
]
const textOf = () => made.text(pieces, 8)
const some = made.many(200, () => [textOf()])

test('lower and upper go letter by letter, for every letter of Unicode 15', async () => {
  const letters: string[][] = []
  for (let code = 1; code <= 0x10ffff; code++) {
    const letter = String.fromCodePoint(code)
    const hasCase = letter.toLowerCase() !== letter || letter.toUpperCase() !== letter
    if (hasCase && !casedLater.test(letter)) letters.push([letter])
  }
  assert.ok(letters.length > 2_700)
  await agree(db, 'lower', [text], letters, (letter) => lowerOf(letter))
  await agree(db, 'upper', [text], letters, (letter) => upperOf(letter))
})

test('a whole text goes to lower and upper case as its letters do', async () => {
  await agree(db, 'lower', [text], some, (a) => [...a].map(lowerOf).join(''))
  await agree(db, 'upper', [text], some, (a) => [...a].map(upperOf).join(''))
})

test('texts are measured, joined and trimmed by code points', async () => {
  await agree(db, 'textLength', [text], some, (a) => [...a].length)
  await agree(db, 'trim', [text], some, (a) => a.replace(/^[ \t\n\r]+|[ \t\n\r]+$/g, ''))
  const pairs = made.many(200, () => [textOf(), textOf()])
  await agree(db, 'concat', [text, text], pairs, (a, b) => a + b)
})

test('parts are found and replaced as JavaScript finds them', async () => {
  const pairs = made.many(200, () => [textOf(), made.text(pieces, 1)])
  await agree(db, 'startsWith', [text, text], pairs, (a, b) => a.startsWith(b))
  await agree(db, 'endsWith', [text, text], pairs, (a, b) => a.endsWith(b))
  await agree(db, 'contains', [text, text], pairs, (a, b) => a.includes(b))
  const triples = pairs.map(([a, b]) => [a, b, made.text(pieces, 2)])
  await agree(db, 'replaceText', [text, text, text], triples, (a, b, c) => (b === '' ? a : a.replaceAll(b, () => c)))
})

test('substring counts code points from 0, and takes any place', async () => {
  const place = () => made.oneOf<unknown>([made.whole(-3, 10), made.integer(), null])
  const rows = made.many(200, () => [textOf(), place(), place()])
  const clamped = (at: unknown) => Math.max(0, Number(at))
  await agree(db, 'substring', [text, integer, integer], rows, (a, start, end) =>
    start === null || end === null ? null : [...a].slice(clamped(start), clamped(end)).join(''),
  )
  const open = rows.map(([a, start]) => [a, start])
  await agree(db, 'substring', [text, integer], open, (a, start) =>
    start === null ? null : [...a].slice(clamped(start)).join(''),
  )
})

test('split keeps empty parts, and takes no separator for a pattern', async () => {
  for (const separator of [' ', '.', '\\', '😂', '  ', 'ab']) {
    await agree(db, 'split', [text], some, (a) => a.split(separator), [{ literal: separator, type: text }])
  }
})

test('the words of a text are the same by the short way and by the regular expression', async () => {
  const plain = made.many(200, () => [made.text(['Hello', "Don't", ' ', '  ', '_', '7', 'x'], 9)])
  for (const rows of [plain, some]) {
    await agree(
      db,
      'wordsOf',
      [text],
      rows,
      (a) =>
        [...a]
          .map(lowerOf)
          .join('')
          .match(/[\p{L}\p{M}\p{N}_']+/gu) ?? [],
    )
  }
})

const row: Row<{ name: 'text'; price: 'decimal'; tags: 'list of text' }> = {
  name: valueOf({ column: 'name' }, text, false),
  price: valueOf({ column: 'price' }, decimal(12, 2), false),
  tags: valueOf({ column: 'tags' }, listOf(text), false),
}

test('a number where a text belongs does not compile, and is refused at run time', () => {
  // @ts-expect-error a price has no lower case
  assert.throws(() => lower(row.price), {
    code: 'WRONG_TYPE',
    message: 'argument 1 of lower must be a text, but is the column "price" (decimal(12,2))',
  })
  // @ts-expect-error nor has a list of texts
  assert.throws(() => upper(row.tags), { code: 'WRONG_TYPE' })
  // @ts-expect-error a prefix is a text
  assert.throws(() => startsWith(row.name, 1), { code: 'WRONG_TYPE' })
})

test('a column that is not there does not compile, and is refused at run time', () => {
  // @ts-expect-error the column is called price
  assert.throws(() => contains(row.pricee, 'x'), {
    message: 'undefined is neither a value of the row nor a constant',
    hint: 'is a column or a function misspelt?',
  })
})

test('too few and too many arguments are refused', () => {
  // @ts-expect-error there is no text
  assert.throws(() => lower(), { message: 'lower takes 1 arguments, not 0' })
  // @ts-expect-error there is no fourth place
  assert.throws(() => substring(row.name, 1, 2, 3), { message: 'substring takes 2 to 3 arguments, not 4' })
})

test('a separator is a constant text that is not empty', () => {
  assert.throws(
    () => split(row.name, ''),
    /argument 2 of split must be a constant text that is not empty, but is the constant ""/,
  )
  // @ts-expect-error a column is no constant
  assert.throws(() => split(row.name, row.name), /argument 2 of split must be a constant text/)
})

// Letters that Unicode 16 and 17 gave another case to, which DuckDB does not know.
const casedLater =
  /[\u019b\u0264\u1c89\u1c8a\ua7cb-\ua7cf\ua7d2-\ua7d5\ua7da-\ua7dc\u{10d50}-\u{10d85}\u{16ea0}-\u{16ed3}]/u

// One letter for one, as Unicode maps them without regard to language; ß has a capital of its own.
function lowerOf(letter: string): string {
  return letter === 'İ' ? 'i' : letter.toLowerCase()
}

function upperOf(letter: string): string {
  if (letter === 'ß') return 'ẞ'
  const upper = [...letter.toUpperCase()]
  if (upper.length === 1) return upper.join('')
  // Greek letters with an iota below have one capital, which JavaScript takes apart.
  const capital = String.fromCodePoint(
    (letter.codePointAt(0) ?? 0) + (upper.length === 2 && /[\u1fb3\u1fc3\u1ff3]/.test(letter) ? 9 : 8),
  )
  return capital.toLowerCase() === letter ? capital : letter
}
