import assert from 'node:assert/strict'
import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Generated, openTestDuckdb, type TestDuckdb, testSeed } from '../../../test/duckdb.ts'
import { type Column, decimal, double, integer, json, text } from '../../plan/columns.ts'
import type { UnknownColumns } from '../../plan/plan.ts'
import { maxDepth } from '../json-scanner.ts'
import { JsonCutter, withoutExponent } from './cut-json.ts'
import { jsonSpool, readMalformedSql, readSpoolSql } from './read-spool.ts'

const db: TestDuckdb = await openTestDuckdb()
const folder = await mkdtempDisposable(join(tmpdir(), 'millrace-cut-'))
after(async () => {
  await db[Symbol.asyncDispose]()
  await folder.remove()
})

const columns: Column[] = [
  { name: 'id', type: text, nullable: false },
  { name: 'n', type: integer, nullable: true },
  { name: 'price', type: decimal(12, 2), nullable: true },
  { name: 'ratio', type: double, nullable: true },
  { name: 'extra', type: json, nullable: true },
]
const names = columns.map(({ name }) => name)

interface Case {
  rule: string
  input: string
  unknown?: UnknownColumns
  max?: number
  /** `line: field|field`, the columns in their order; nothing is written as `-`. */
  rows?: string[]
  /** `line: CODE column detail` */
  bad?: string[]
}

const bytes = (value: string): string => Buffer.from(value).toString('latin1')
const cases: Case[] = [
  {
    rule: 'values stand in the order of the columns',
    input: '{"price":1.50,"id":"a","n":3}\n',
    rows: ['1: a|3|1.50|-|-'],
  },
  { rule: 'the last line needs no line end', input: '{"id":"a"}', rows: ['1: a|-|-|-|-'] },
  {
    rule: 'a CR before the LF is blank',
    input: '{"id":"a"}\r\n{"id":"b"}\r\n',
    rows: ['1: a|-|-|-|-', '2: b|-|-|-|-'],
  },
  { rule: 'blank lines are no rows, but count', input: '\n \t\r\n{"id":"a"}\n\n', rows: ['3: a|-|-|-|-'] },
  { rule: 'blanks between tokens', input: ' { "id" : "a" , "n" :\t1 } \n', rows: ['1: a|1|-|-|-'] },
  { rule: 'null is nothing, an empty text is a text', input: '{"id":"","n":null}\n', rows: ['1: |-|-|-|-'] },
  { rule: 'an empty object has nothing', input: '{}\n{ }\n', rows: ['1: -|-|-|-|-', '2: -|-|-|-|-'] },
  { rule: 'delimiters and quotes in a text', input: '{"id":"a,b\\"c\\nd"}\n', rows: ['1: a,b"c\nd|-|-|-|-'] },
  {
    rule: 'escapes are read',
    input: '{"id":"\\u0041\\/\\\\\\ud83d\\ude00"}\n',
    rows: [`1: A/\\${bytes('😀')}|-|-|-|-`],
  },
  { rule: 'escapes in a key are read', input: '{"\\u0069d":"a"}\n', rows: ['1: a|-|-|-|-'] },
  { rule: 'characters of several bytes', input: bytes('{"id":"日本😀"}\n'), rows: [bytes('1: 日本😀|-|-|-|-')] },
  {
    rule: 'no digit of a number is lost',
    input: '{"n":9223372036854775807,"price":12345678901234567890.12,"ratio":0.1000000000000000055}\n',
    rows: ['1: -|9223372036854775807|12345678901234567890.12|0.1000000000000000055|-'],
  },
  {
    rule: 'numbers and words as texts',
    input: '{"id":12.0}\n{"id":true}\n',
    rows: ['1: 12.0|-|-|-|-', '2: true|-|-|-|-'],
  },
  { rule: 'a number as a text stays one', input: '{"n":"7"}\n', rows: ['1: -|7|-|-|-'] },
  {
    rule: 'exponents are written out',
    input: '{"n":1.5e3,"price":1E-2,"ratio":1e309}\n',
    rows: ['1: -|1500|0.01|1e309|-'],
  },
  {
    rule: 'an integer may have zeros after the point',
    input: '{"n":5.0}\n{"n":5.5}\n',
    rows: ['1: -|5|-|-|-', '2: -|5.5|-|-|-'],
  },
  {
    rule: 'what is nested stays JSON',
    input: '{"extra":{"a": [1,"x,\\""]}}\n',
    rows: ['1: -|-|-|-|{"a": [1,"x,\\""]}'],
  },
  {
    rule: 'a text in a JSON column stays JSON',
    input: '{"extra":"a\\n"}\n{"extra":"b"}\n{"extra":1}\n',
    rows: ['1: -|-|-|-|"a\\n"', '2: -|-|-|-|"b"', '3: -|-|-|-|1'],
  },
  {
    rule: 'an unknown key is refused',
    input: '{"id":"a","more":1}\n{"id":"b"}\n',
    rows: ['2: b|-|-|-|-'],
    bad: ['1: UNKNOWN_COLUMN more '],
  },
  {
    rule: 'an unknown key may have a name that no text in a database can have',
    input: '{"id":"a","x\\u0000":1}\n{"id":"b"}\n',
    rows: ['2: b|-|-|-|-'],
    bad: ['1: UNKNOWN_COLUMN x\ufffd '],
  },
  {
    rule: 'a key that cannot be kept is named',
    input: '{"id":"a","x\\u0000":1}\n{"id":"b","\\ud800":"\\u0000"}\n{"id":"c","id2":"\\u0000","x":1}\n',
    unknown: { is: 'keep', as: 'extra' },
    bad: ['1: NUL_BYTE x\ufffd ', '2: LONE_SURROGATE \ufffd ', '3: NUL_BYTE id2 '],
  },
  {
    rule: 'an unknown key is counted',
    input: '{"id":"a","more":"\\u0000"}\n',
    unknown: { is: 'count' },
    rows: ['1: a|-|-|-|-'],
  },
  {
    rule: 'unknown keys are kept together',
    input: '{"x":1,"id":"a","y\\"":{"z":[]}}\n{"id":"b"}\n',
    unknown: { is: 'keep', as: 'extra' },
    rows: ['1: a|-|-|-|{"x":1,"y\\"":{"z":[]}}', '2: b|-|-|-|-'],
  },
  {
    rule: 'nothing nested fits a text',
    input: '{"id":{}}\n{"id":[1]}\n',
    bad: ['1: WRONG_TYPE id ', '2: WRONG_TYPE id '],
  },
  {
    rule: 'a key comes once',
    input: '{"id":"a","id":"a"}\n{"id":null,"\\u0069d":"a"}\n',
    bad: ['1: DUPLICATE_KEY id ', '2: DUPLICATE_KEY id '],
  },
  {
    rule: 'a line that is no JSON is that, whatever else is wrong with it',
    input: '{"more":1,\n{"id":1,"id":1 x}\n{"id":{},"id":"\\u0000"}\n{"more":1,"id":{}}\n',
    bad: ['1: NOT_JSON  at byte 11', '2: NOT_JSON  at byte 16', '3: WRONG_TYPE id ', '4: UNKNOWN_COLUMN more '],
  },
  {
    rule: 'a line is an object',
    input: '[1]\n"a"\n1\nnull\n',
    bad: ['1: NOT_AN_OBJECT  ', '2: NOT_AN_OBJECT  ', '3: NOT_AN_OBJECT  ', '4: NOT_AN_OBJECT  '],
  },
  {
    rule: 'a NUL cannot be stored',
    input: '{"id":"\\u0000"}\n{"extra":{"a":["\\u0000"]}}\n{"extra":{"\\u0000":1}}\n',
    bad: ['1: NUL_BYTE id ', '2: NUL_BYTE extra ', '3: NUL_BYTE extra '],
  },
  {
    rule: 'half a character',
    input: '{"id":"\\ud83d"}\n{"id":"\\ude00\\ud83d"}\n{"extra":["\\ud800x"]}\n',
    bad: ['1: LONE_SURROGATE id ', '2: LONE_SURROGATE id ', '3: LONE_SURROGATE extra '],
  },
  {
    rule: 'bytes that are no UTF-8',
    input: '{"id":"\xff"}\n{"id":"a"}\n',
    rows: ['2: a|-|-|-|-'],
    bad: ['1: INVALID_UTF8  '],
  },
  {
    rule: 'only JSON is JSON',
    input: [
      '{"id":"a"',
      '{"id":"a"}}',
      '{"id":"a",}',
      "{'id':'a'}",
      '{"n":01}',
      '{"n":+1}',
      '{"n":.5}',
      '{"n":1.}',
      '{"n":0x10}',
      '{"ratio":NaN}',
      '{"id":"\t"}',
      '{"id":"\\x"}',
      '{"id":"\\u12g4"}',
      '{"id" "a"}',
      '{"extra":[1,]}',
      '{"extra":[}',
      '{"extra":{"a"}}',
      '{"id":tru}',
      '{id:"a"}',
      '{"id":"a" "n":1}',
      '',
      '{"n":-}',
      '{"n":1e}',
      '//',
      '{"id":"a\\',
    ].join('\n'),
    bad: [
      '1: NOT_JSON  at byte 10',
      '2: NOT_JSON  at byte 11',
      '3: NOT_JSON  at byte 11',
      '4: NOT_JSON  at byte 2',
      '5: NOT_JSON  at byte 7',
      '6: NOT_JSON  at byte 6',
      '7: NOT_JSON  at byte 6',
      '8: NOT_JSON  at byte 8',
      '9: NOT_JSON  at byte 7',
      '10: NOT_JSON  at byte 10',
      '11: NOT_JSON  at byte 8',
      '12: NOT_JSON  at byte 8',
      '13: NOT_JSON  at byte 8',
      '14: NOT_JSON  at byte 7',
      '15: NOT_JSON  at byte 13',
      '16: NOT_JSON  at byte 11',
      '17: NOT_JSON  at byte 14',
      '18: NOT_JSON  at byte 7',
      '19: NOT_JSON  at byte 2',
      '20: NOT_JSON  at byte 11',
      '22: NOT_JSON  at byte 7',
      '23: NOT_JSON  at byte 8',
      '24: NOT_JSON  at byte 1',
      '25: NOT_JSON  at byte 10',
    ],
  },
  {
    rule: 'a line of just the allowed bytes, and of one more',
    input: '{"id":"a"}\n{"id":"bb"}\n{"n":1}\n',
    max: 10,
    rows: ['1: a|-|-|-|-', '3: -|1|-|-|-'],
    bad: ['2: ROW_TOO_LONG  '],
  },
  {
    rule: 'nesting as deep as is allowed, and deeper',
    input: `{"extra":${'['.repeat(maxDepth)}${']'.repeat(maxDepth)}}\n{"extra":${'{"a":'.repeat(maxDepth + 1)}1${'}'.repeat(maxDepth + 1)}}\n`,
    rows: [`1: -|-|-|-|${'['.repeat(maxDepth)}${']'.repeat(maxDepth)}`],
    bad: ['2: TOO_DEEP  '],
  },
]

test('each rule holds, however the bytes are fed', async (t) => {
  for (const { rule, input, rows = [], bad = [], ...settings } of cases) {
    await t.test(rule, async () => {
      const whole = cut(input, [], settings)
      assert.deepEqual(await shown(whole), { rows, bad })
      for (let at = 0; at <= Math.min(input.length, 300); at++)
        assert.deepEqual(cut(input, [at], settings), whole, `cut at ${at}`)
      assert.deepEqual(
        cut(
          input,
          Array.from({ length: input.length }, (_, i) => i),
          settings,
        ),
        whole,
        'fed byte by byte',
      )
    })
  }
})

test('the span of a row is where its text lies in the file', async () => {
  const input = '\n{"id":"a"}\r\n{"id":"b"}\n[\n {"n":1} '
  const { spool, longestRow } = cut(input, [], {})
  const { rows } = await db.query(`select _span from ${await spoolSql(spool, longestRow)} order by _line`)
  const texts = rows.map(([span]) => {
    const [from = 0, length = 0] = String(span).split('+').map(Number)
    return input.slice(from, from + length)
  })
  assert.deepEqual(texts, ['{"id":"a"}\r', '{"id":"b"}', ' {"n":1} '])
})

test('unknown keys are counted by name, up to a hundred names', () => {
  const lost = cut('{"x":1}\n{"x":1,"y":1\n', [], { unknown: { is: 'count' } })
  assert.deepEqual([...lost.unknown], [['x', 1]], 'a line that is no row counts nothing')
  const many = Array.from({ length: 300 }, (_, i) => `"k${i}":1`).join(',')
  const { unknown } = cut(`{"x":1}\n{"x":2,"id":"a","y":3}\n{${many}}\n`, [], { unknown: { is: 'count' } })
  assert.equal(unknown.get('x'), 2)
  assert.equal(unknown.get('y'), 1)
  assert.equal(unknown.size, 100)
})

test('cutting stops at the row asked for, and another cutter goes on from there', () => {
  const input = '{"id":"a"}\nx\n\n{"id":"b"}\n{"id":"c"}\n'
  const whole = cut(input, [], {})
  for (const maxRows of [1, 2, 3]) {
    const parts: Buffer[] = []
    let malformed = ''
    let at = 0
    let line = 1
    for (let turns = 0; at < input.length; turns++) {
      assert.ok(turns < 10)
      const part = cut(input.slice(at), [], { maxRows, firstLine: line, firstByte: at })
      parts.push(part.spool)
      malformed += part.malformed
      at += part.consumed
      line = part.line
    }
    assert.equal(Buffer.concat(parts).toString(), whole.spool.toString())
    assert.equal(malformed, whole.malformed)
  }
})

test('an exponent moves the point and nothing else', () => {
  for (const [given, decimals, whole] of [
    ['1e3', '1000', '1000'],
    ['1.25e1', '12.5', '12.5'],
    ['1.250e1', '12.5', '12.5'],
    ['-0.00125e3', '-1.25', '-1.25'],
    ['5e-3', '0.005', '0.005'],
    ['-1e-0', '-1', '-1'],
    ['0e0', '0', '0'],
    ['1.50', '1.50', '1.5'],
    ['1.00', '1.00', '1'],
    ['1e999', '1e999', '1e999'],
    ['123.456e2', '12345.6', '12345.6'],
    ['100e-2', '1', '1'],
  ] as const) {
    assert.equal(withoutExponent(given, false), decimals, given)
    assert.equal(withoutExponent(given, true), whole, given)
  }
})

test('generated lines, broken or not, are judged as JSON.parse judges them, and keep their values', async () => {
  const made = new Generated()
  const count = Number(process.env['FUZZ_CASES'] ?? 4000)
  for (let batch = 0; batch < count / 200; batch++) {
    const lines = made.many(200, () => generatedLine(made))
    const input = bytes(lines.join('\n'))
    const splits = made.many(made.whole(0, 5), () => made.whole(0, input.length)).sort((a, b) => a - b)
    const found = cut(input, splits, { unknown: { is: 'count' } })
    const hint = `seed ${testSeed}, batch ${batch}`
    assert.deepEqual(cut(input, [], { unknown: { is: 'count' } }), found, hint)
    const { rows, bad } = await shown(found)
    // what is nested keeps its blanks, which JSON.parse forgets
    const withoutBlanks = (row: string) => row.replaceAll(/[ \t\r]/g, '')
    const expected = lines.map((line, i) => judged(line, i + 1))
    assert.deepEqual(
      rows.map(withoutBlanks),
      expected.flatMap((line) => (line?.is === 'row' ? [withoutBlanks(bytes(line.text))] : [])),
      hint,
    )
    assert.deepEqual(
      bad.map((line) => line.split(' ').slice(0, 2).join(' ')),
      expected.flatMap((line) => (line?.is === 'bad' ? [line.text] : [])),
      hint,
    )
  }
})

// JSON.parse is the judge; `source` gives the digits of a number.
function judged(line: string, number: number): { is: 'row' | 'bad'; text: string } | undefined {
  if (/^[ \t\r]*$/.test(line)) return undefined
  const sources = new Map<unknown, Map<string, string>>()
  let value: unknown
  try {
    value = JSON.parse(line, function (this: unknown, key: string, inner: unknown, { source }: { source?: string }) {
      if (source !== undefined) sources.set(this, (sources.get(this) ?? new Map()).set(key, source))
      return inner
    } as (this: unknown, key: string, value: unknown) => unknown)
  } catch {
    return { is: 'bad', text: `${number}: NOT_JSON` }
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return { is: 'bad', text: `${number}: NOT_AN_OBJECT` }
  const row = value as Record<string, unknown>
  const fields = columns.map(({ name, type }) => {
    const field = row[name]
    if (field === null || field === undefined) return '-'
    const source = sources.get(value)?.get(name) ?? ''
    if (type.is === 'json') return typeof field === 'object' ? JSON.stringify(field) : source
    if (typeof field === 'number' && (type.is === 'integer' || type.is === 'decimal'))
      return withoutExponent(source, type.is === 'integer')
    return typeof field === 'string' ? field : source
  })
  return { is: 'row', text: `${number}: ${fields.join('|')}` }
}

function generatedLine(made: Generated): string {
  const blank = () => made.oneOf(['', '', '', ' ', '\t', '  '])
  const string = () => made.oneOf(['"a"', '""', '"x,y"', '"\\""', '"\\u00e9"', '"é😀"', '"\\n"', '"\\\\"', '"a/b"'])
  const number = () =>
    made.oneOf(['0', '-1', '12.50', '1e2', '9007199254740993', '-0.5', '1E-3', '123456789012345678901234567890'])
  const nested = () => made.oneOf(['{"a":1}', '[1,2]', '[]', '{}', '[["x"],null]', '{"b":{"c":"d"}}'])
  const value: Record<string, () => string> = {
    id: () => made.oneOf([string, number, () => 'true', () => 'null'])(),
    n: number,
    price: () => made.oneOf([number, string])(),
    ratio: number,
    extra: () => made.oneOf([string, number, nested, () => 'false'])(),
    unknown: () => made.oneOf([string, number, nested])(),
  }
  const keys = Object.keys(value).filter(() => made.whole(0, 2) > 0)
  const members = keys.map((key) => `${blank()}"${key}"${blank()}:${blank()}${value[key]?.()}${blank()}`)
  const line = `${blank()}{${members.join(',') || blank()}}${blank()}`
  if (made.whole(0, 3) > 0) return line
  const at = made.whole(0, line.length)
  const noise = made.oneOf(['"', ',', '{', '}', '[', ']', ':', '\\', '0', 'e', '-', '.', ' ', 'n', '\r'])
  // no half of a character is left behind
  return made
    .oneOf([
      `${line.slice(0, at)}${noise}${line.slice(at)}`,
      `${line.slice(0, at)}${line.slice(at + 1)}`,
      line.slice(0, at),
    ])
    .toWellFormed()
    .replaceAll('\ufffd', '?')
}

interface Settings {
  unknown?: UnknownColumns
  max?: number
  maxRows?: number
  firstLine?: number
  firstByte?: number
}

interface Found {
  spool: Buffer
  malformed: string
  longestRow: number
  consumed: number
  line: number
  unknown: Map<string, number>
}

function cut(
  input: string,
  splits: number[],
  { unknown = { is: 'refuse' }, max = 1_000_000, maxRows, firstLine = 1, firstByte = 0 }: Settings,
): Found {
  const spool: Buffer[] = []
  const malformed: Buffer[] = []
  const cutter = new JsonCutter({
    columns,
    unknown,
    maxRowBytes: max,
    firstLine,
    firstByte,
    file: 0,
    rows: (chunk) => spool.push(Buffer.from(chunk)),
    malformed: (chunk) => malformed.push(Buffer.from(chunk)),
    ...(maxRows === undefined ? {} : { maxRows }),
  })
  const all = Buffer.from(input, 'latin1')
  let longestRow = 0
  let consumed = 0
  let rows = 0
  const ends = [...splits, all.length]
  for (const [i, end] of ends.entries()) {
    const now = cutter.push(all.subarray(ends[i - 1] ?? 0, end), i === ends.length - 1)
    longestRow = Math.max(longestRow, now.longestRow)
    consumed += now.consumed
    rows += now.rows
  }
  assert.equal(spool.reduce((sum, chunk) => sum + chunk.filter((byte) => byte === 10).length, 0) >= rows, true)
  return {
    spool: Buffer.concat(spool),
    malformed: Buffer.concat(malformed).toString(),
    longestRow,
    consumed,
    line: cutter.line,
    unknown: new Map(cutter.unknown),
  }
}

let written = 0
async function spoolSql(spool: Buffer, longestRow: number): Promise<string> {
  const path = join(folder.path, `${++written}.csv`)
  await writeFile(path, spool)
  return readSpoolSql([path], names, jsonSpool, { longestRow: Math.max(1, longestRow) })
}

async function shown({ spool, malformed, longestRow }: Found): Promise<{ rows: string[]; bad: string[] }> {
  const { rows } = await db.query(
    `select _line, ${names.join(', ')} from ${await spoolSql(spool, longestRow)} order by _line`,
  )
  const path = join(folder.path, `${++written}-malformed.csv`)
  await writeFile(path, malformed)
  const bad = await db.query(`select _line, code, column_name, detail from ${readMalformedSql([path])} order by _line`)
  return {
    rows: rows.map(
      ([line, ...fields]) =>
        `${line}: ${fields.map((field) => (field === null ? '-' : bytes(String(field)))).join('|')}`,
    ),
    bad: bad.rows.map(([line, code, column, detail]) => `${line}: ${code} ${column ?? ''} ${detail ?? ''}`),
  }
}
