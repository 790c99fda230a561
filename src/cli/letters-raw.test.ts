import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Source } from '../plan/plan.ts'
import { faultOf } from '../sources/letter-fault.ts'
import type { DeadLetter } from '../store/store.ts'
import { rawLines } from './letters-raw.ts'
import { widthOf } from './text.ts'

const source: Source = {
  is: 'files',
  folder: '/in',
  format: { is: 'csv', delimiter: ',', quote: '"' },
  columns: ['id', 'name', 'price'].map((name) => ({ name, type: { is: 'text' }, nullable: false })),
}

function letterOf(parts: Partial<DeadLetter>): DeadLetter {
  return {
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
    raw: 'x1,n,-1',
    rawBytes: null,
    fields: { id: 'x1', name: 'n', price: '-1' },
    rejectedAt: new Date('2026-01-31T11:59:30Z'),
    settled: null,
    settledAt: null,
    settledBy: null,
    ...parts,
  }
}

function shown(parts: Partial<DeadLetter>, width = 80): string[] {
  return rawLines(letterOf(parts), source, width)
}

test('an arrow points at the value that was wrong', () => {
  assert.deepEqual(shown({ raw: 'x1,"a, ""b""",-1', fields: { id: 'x1', name: 'a, "b"', price: '-1' } }), [
    '  x1,"a, ""b""",-1',
    '                ^^',
  ])
  assert.deepEqual(shown({ raw: 'x1,n,', fields: { id: 'x1', name: 'n', price: null } }), ['  x1,n,', '       ^'])
})

test('the arrow stands right also after wide characters, marks, and characters that are written out', () => {
  for (const name of ['日本', 'e\u0301', '🚀', '\u001b[2J', '\t', '\ufeff', '\u{e0041}']) {
    const [row = '', arrow = ''] = shown({ raw: `x1,${name},-1`, fields: { id: 'x1', name, price: '-1' } })
    assert.equal(arrow.indexOf('^'), widthOf(row.slice(0, row.indexOf('-1'))), row)
    assert.equal(arrow.trim(), '^^', row)
  }
})

test('a row of several lines is shown as it stands in the file, with its line numbers', () => {
  const fields = { id: 'x1', name: 'a\nb', price: '-1' }
  assert.deepEqual(shown({ raw: 'x1,"a\nb",-1', line: 9, fields }), ['   9 | x1,"a', '  10 | b",-1', '     |    ^^'])
  const inName = { columnName: 'name', fields: { ...fields, name: 'a\r\nb' } }
  assert.deepEqual(shown({ raw: 'x1,"a\r\nb",-1', line: null, ...inName }), [
    '  1 | x1,"a\\r',
    '    |    ^^^^',
    '  2 | b",-1',
    '    | ^^',
  ])
})

test('of a row of thousands of lines those around what was wrong are shown', () => {
  const name = Array.from({ length: 5000 }, (_, i) => `line ${i}`).join('\n')
  const end = shown({ raw: `x1,"${name}",-1`, fields: { id: 'x1', name, price: '-1' } })
  assert.deepEqual(end, [
    '       | ...',
    '  5009 | line 4997',
    '  5010 | line 4998',
    '  5011 | line 4999",-1',
    '       |            ^^',
  ])
  const start = shown({ raw: `-1,"${name}",x1`, fields: { id: '-1', name, price: 'x1' }, columnName: 'id' })
  assert.equal(start.length, 14)
  assert.deepEqual(start.slice(0, 2), ['  12 | -1,"line 0', '     | ^^'])
  assert.equal(start.at(-1), '     | ... and 4,988 more lines')
})

test('a long line is shown around what was wrong', () => {
  for (const [id, width] of [
    ['x'.repeat(300), 60],
    ['日'.repeat(300), 60],
    ['\u001b'.repeat(300), 60],
    ['x'.repeat(300), 20],
    ['x'.repeat(25), 60],
  ] as const) {
    const lines = shown({ raw: `${id},n,-1`, fields: { id, name: 'n', price: '-1' } }, width)
    const [row = '', arrow = ''] = lines
    assert.equal(arrow.indexOf('^'), widthOf(row.slice(0, row.indexOf('-1'))), row)
    for (const line of lines) assert.ok(widthOf(line) <= Math.max(width, 34), line)
  }
  const [row = '', arrow = ''] = shown(
    { raw: `x1,n,${'9'.repeat(500)}`, fields: { id: 'x1', name: 'n', price: '1' } },
    60,
  )
  assert.match(row, /^ {2}x1,n,9+\.\.\.$/)
  assert.match(arrow, /^ {7}\^{53}$/)
})

test('a line of a million characters without anything to point at is cut', () => {
  const [row = '', ...others] = shown({ raw: 'x'.repeat(1_000_000), columnName: null, fields: null })
  assert.equal(row.length, 80)
  assert.deepEqual(others, [])
})

test('the place of a value is known by the values beside it, or not at all', () => {
  const cases: [string, string, DeadLetter['fields'], [number, number] | undefined][] = [
    ['1,2,3', 'name', { id: '1', name: '2', price: '3' }, [2, 3]],
    // the file has its columns in another order
    ['3,1,2', 'price', { id: '1', name: '2', price: '3' }, [0, 1]],
    // it was edited, and the others were not
    ['1,2,3', 'price', { id: '1', name: '2', price: 'edited' }, [4, 5]],
    ['3,1,2', 'price', { id: '1', name: '2', price: 'edited' }, [0, 1]],
    // another was edited: the order of the plan, unless a value that stands elsewhere says otherwise
    ['1,2,3', 'price', { id: '1', name: 'edited', price: '3' }, [4, 5]],
    ['3,1,2', 'price', { id: '1', name: 'edited', price: '3' }, undefined],
    ['1,2,3', 'price', { id: 'edited', name: 'edited too', price: '3' }, undefined],
    // twice the same value: the order of the plan decides where the others fit it
    ['1,3,3', 'price', { id: '1', name: '3', price: '3' }, [4, 5]],
    ['3,1,3', 'price', { id: '1', name: '3', price: '3' }, undefined],
    ['1,,3', 'name', { id: '1', name: null, price: '3' }, [2, 2]],
    ['1,2', 'price', { id: '1', name: '2', price: '3' }, undefined],
  ]
  for (const [raw, columnName, fields, span] of cases) {
    const found = faultOf(letterOf({ raw, columnName, fields }), source)
    assert.deepEqual(found && [found.start, found.end], span, `${raw} ${columnName}`)
  }
})

test('of a row with too few or too many fields, the end or what is too much is pointed at', () => {
  const malformed = { columnName: null, fields: null }
  assert.deepEqual(shown({ ...malformed, code: 'TOO_FEW_FIELDS', raw: 'x1,n' }), ['  x1,n', '      ^'])
  assert.deepEqual(shown({ ...malformed, code: 'TOO_MANY_FIELDS', raw: 'x1,n,1,web,2' }), [
    '  x1,n,1,web,2',
    '         ^^^^^',
  ])
  assert.deepEqual(shown({ ...malformed, code: 'STRAY_QUOTE', raw: 'x1,"n"n,1' }), ['  x1,"n"n,1'])
})
