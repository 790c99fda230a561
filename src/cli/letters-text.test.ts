import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Source } from '../plan/plan.ts'
import type { DeadLetter } from '../store/store.ts'
import { letterLines, letterTable } from './letters-text.ts'

const source: Source = {
  is: 'files',
  folder: '/in',
  format: { is: 'csv', delimiter: ',', quote: '"' },
  columns: ['id', 'name', 'price'].map((name) => ({ name, type: { is: 'text' }, nullable: false })),
}
const now = new Date('2026-01-31T12:00:00Z')
const letter: DeadLetter = {
  id: 7,
  revision: 0,
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
  fields: { price: '', name: null, id: 'x1' },
  rejectedAt: new Date('2026-01-31T11:59:30Z'),
  settled: null,
  settledAt: null,
  settledBy: null,
}

test('a letter is shown with its row, what was wrong in it, and its values in the order of the plan', () => {
  assert.deepEqual(letterLines(letter, source, now, 80), [
    'dead letter 7',
    '  what      BELOW_MINIMUM in price: "-1" is below 0',
    '  where     /in/a.csv:12',
    '  pipeline  shop, batch 3, step validate',
    '  when      2026-01-31T11:59:30.000Z, 30 s ago',
    '  state     open',
    '',
    '  x1,"a, ""b""",-1',
    '                ^^',
    '',
    '    id     x1',
    '    name   (nothing)',
    '  > price  (empty)',
  ])
})

test('a value of a million characters is cut', () => {
  const fields = { id: 'x'.repeat(1_000_000), name: 'n', price: '1' }
  for (const line of letterLines({ ...letter, raw: `${fields.id},n,1`, fields }, source, now, 60)) {
    assert.ok(line.length <= 60, line.slice(0, 100))
  }
})

test('what a row brings along does not reach the terminal', () => {
  const hostile = {
    ...letter,
    raw: '\u001b[2Jx\n\u009b31m',
    message: '\u001b]0;owned\u0007',
    fields: { id: '\u001b[H', name: '\u202egnp.exe' },
    place: 'a\r\n.csv',
  }
  for (const line of [...letterLines(hostile, source, now, 80), ...table([hostile])]) {
    assert.doesNotMatch(line, /[\p{Cc}\p{Cf}]/u)
  }
})

test('a list shows the state and the pipeline where they differ, and its pages stand in the same columns', () => {
  assert.deepEqual(table([letter]), [
    'id   age  code           column  where     message',
    ' 7  30 s  BELOW_MINIMUM  price   a.csv:12  "-1" is below 0',
  ])
  const settled = { ...letter, id: 8, pipeline: 'else', settled: 'replayed' as const, columnName: null }
  const print = letterTable({ states: true, pipelines: true, now, width: 66 })
  assert.deepEqual(
    [...print([settled]), ...print([letter])],
    [
      'id   age  state     pipeline  code           column  where     ...',
      ' 8  30 s  replayed  else      BELOW_MINIMUM          a.csv:12  ...',
      ' 7  30 s  open      shop      BELOW_MINIMUM  price   a.csv:12  ...',
    ],
  )
})

function table(letters: DeadLetter[]): string[] {
  return letterTable({ states: false, pipelines: false, now, width: 80 })(letters)
}
