import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Source } from '../plan/plan.ts'
import type { DeadLetter } from '../store/store.ts'
import { letterLines, listLines, spanOf } from './letters-text.ts'

const source: Source = {
  is: 'files',
  folder: '/in',
  format: { is: 'csv', delimiter: ',', quote: '"' },
  columns: ['id', 'name', 'price'].map((name) => ({ name, type: { is: 'text' }, nullable: false })),
}
const now = new Date('2026-01-31T12:00:00Z')
const letter: DeadLetter = {
  id: 7,
  pipeline: 'shop',
  batch: 3,
  source: 'files',
  place: '/in/a.csv',
  line: 12,
  stage: 'validate',
  code: 'BELOW_MINIMUM',
  columnName: 'price',
  message: '"-1" is below 0',
  raw: 'x1,"a, ""b""",-1',
  rawBytes: null,
  fields: { id: 'x1', name: 'a, "b"', price: '-1' },
  rejectedAt: new Date('2026-01-31T11:59:30Z'),
  settled: null,
  settledAt: null,
  settledBy: null,
}

test('an arrow points at the value that was wrong', () => {
  const lines = letterLines(letter, source, now, 80)
  const at = lines.indexOf('  x1,"a, ""b""",-1')
  assert.ok(at > 0, lines.join('\n'))
  assert.equal(lines[at + 1], '                ^^')
})

test('the place of a value is known by the values around it, or not at all', () => {
  const cases: [string, string, DeadLetter['fields'], [number, number] | undefined][] = [
    ['1,2,3', 'name', { id: '1', name: '2', price: '3' }, [2, 3]],
    // the file has its columns in another order
    ['3,1,2', 'price', { id: '1', name: '2', price: '3' }, [0, 1]],
    // twice the same value, and in another order: it may be either
    ['3,1,3', 'price', { id: '1', name: '3', price: '3' }, undefined],
    ['1,2,3', 'price', { id: '1', name: '2', price: 'edited' }, undefined],
    ['1,,3', 'name', { id: '1', name: null, price: '3' }, [2, 2]],
  ]
  for (const [raw, column, fields, span] of cases) {
    const found = spanOf(raw, column, fields, source)
    assert.deepEqual(found && [found.start, found.end], span, raw)
  }
})

test('a long row is shown around what was wrong', () => {
  const fields = { id: 'x'.repeat(300), name: 'n', price: '-1' }
  const lines = letterLines({ ...letter, raw: `${fields.id},n,-1`, fields }, source, now, 60)
  const at = lines.findIndex((line) => line.includes('^'))
  assert.match(lines[at - 1] ?? '', /^ {2}\.\.\.x+,n,-1$/)
  assert.equal((lines[at] ?? '').indexOf('^'), (lines[at - 1] ?? '').indexOf('-1'))
})

test('what a row brings along does not reach the terminal', () => {
  const hostile = {
    ...letter,
    raw: '\u001b[2Jx',
    message: '\u001b]0;owned\u0007',
    fields: { id: '\u001b[H' },
    place: 'a\r\n.csv',
  }
  for (const line of [...letterLines(hostile, source, now, 80), ...listLines([hostile], now, 80)]) {
    assert.doesNotMatch(line, /\p{Cc}/u)
  }
})

test('a list shows the state and the pipeline only where they differ', () => {
  assert.deepEqual(listLines([letter], now, 80), [
    'id   age  code           where     message',
    ' 7  30 s  BELOW_MINIMUM  a.csv:12  "-1" is below 0',
  ])
  const settled = { ...letter, id: 8, pipeline: 'other', settled: 'discarded' as const }
  assert.deepEqual(listLines([letter, settled], now, 50)[2], ' 8  30 s  discarded  other     BELOW_MINIMUM  a...')
})
