import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parseCsv, printCsv } from './csv-rows.ts'

describe('row files', () => {
  const cases: { says: string; text: string; rows: (string | null)[][] }[] = [
    { says: 'nothing is no row', text: '', rows: [] },
    { says: 'an empty field is null, a quoted one an empty text', text: 'a,,""\n', rows: [['a', null, '']] },
    { says: 'an empty line is a row of one null', text: '\n\n', rows: [[null], [null]] },
    { says: 'a last comma begins a field', text: 'a,\n', rows: [['a', null]] },
    {
      says: 'quotes hold commas, line ends and quotes',
      text: '"a,b","c\nd\r\n","e""f"""\n',
      rows: [['a,b', 'c\nd\r\n', 'e"f"']],
    },
    {
      says: 'the last line need not end',
      text: '1,2\n3,"x"',
      rows: [
        ['1', '2'],
        ['3', 'x'],
      ],
    },
  ]
  for (const { says, text, rows } of cases) test(says, () => assert.deepEqual(parseCsv(text), rows))

  test('what is printed is read back', () => {
    const rows = [
      ['', null, '"', ',', '\n'],
      ['\\.', '\\N', 'null', ' ', '🐎\u0000'],
      [null, null, null, null, null],
    ]
    assert.deepEqual(parseCsv(printCsv(rows)), rows)
  })

  test('a quote that is not closed is an error, not a row', () => {
    assert.throws(() => parseCsv('a\n"b\n'), { code: 'DATABASE_REFUSED' })
  })
})
