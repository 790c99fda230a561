import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  bytes,
  counted,
  cut,
  duration,
  labelledLines,
  padded,
  printable,
  shortNumber,
  tableLines,
  widthOf,
} from './text.ts'

test('what would move the cursor is written out', () => {
  assert.equal(printable('a\u001b[2Jb\r\n\tc'), 'a\\x1b[2Jb\\r\\n\\tc')
  assert.equal(printable('\u009b31m'), '\\x9b31m')
  assert.equal(printable('\u202egnp.exe'), '\\u202egnp.exe')
  assert.equal(printable('déjà vu ✓ 日本'), 'déjà vu ✓ 日本')
})

test('what cannot be seen is written out, and so are marks that would reach into other lines', () => {
  assert.equal(printable('\ufeffview\u200b\u00ad'), '\\ufeffview\\u200b\\xad')
  assert.equal(printable('\u{e0041}'), '\\u{e0041}')
  assert.equal(printable(`a${'\u0301'.repeat(6)}`), `a${'\u0301'.repeat(4)}\\u0301\\u0301`)
  assert.equal(printable('👩\u200d🚀 e\u0301 ❤\ufe0f'), '👩\u200d🚀 e\u0301 ❤\ufe0f')
})

test('a text has the width it takes on a terminal', () => {
  for (const [text, width] of [
    ['abc', 3],
    ['日本', 4],
    ['e\u0301', 1],
    ['🚀x', 3],
    ['', 0],
  ] as const) {
    assert.equal(widthOf(text), width, text)
  }
  assert.equal(padded('日', 4), '日  ')
  assert.equal(padded('7', 3, 'right'), '  7')
})

test('a text that is too long is cut with dots', () => {
  assert.equal(cut('abcdef', 6), 'abcdef')
  assert.equal(cut('abcdefg', 6), 'abc...')
  assert.equal(cut('日本語日本語', 6), '日...')
})

test('a table aligns its columns', () => {
  const lines = tableLines(
    [{ title: 'name' }, { title: 'n', to: 'right' }],
    [
      ['a', '1'],
      ['longer', '100'],
    ],
  )
  assert.deepEqual(lines, ['name      n', 'a         1', 'longer  100'])
  assert.deepEqual(
    labelledLines([
      ['a', 'x'],
      ['long', ''],
    ]),
    ['  a     x', '  long'],
  )
})

test('numbers, times and sizes are written as people read them', () => {
  const cases: [string, string][] = [
    [shortNumber(999_999), '999,999'],
    [shortNumber(1_234_567), '1.23M'],
    [shortNumber(999_999_999), '1.00G'],
    [counted(1, 'row'), '1 row'],
    [counted(2000, 'row'), '2,000 rows'],
    [duration(250), '250 ms'],
    [duration(61_000), '61 s'],
    [duration(3_600_000), '60 min'],
    [duration(3 * 3_600_000), '3 h 0 min'],
    [duration(3 * 86_400_000), '3 days'],
    [bytes(512), '512 bytes'],
    [bytes(1_500_000), '1.5 MB'],
  ]
  for (const [got, wanted] of cases) assert.equal(got, wanted)
})
