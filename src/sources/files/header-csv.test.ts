import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { type Header, matchHeader, maxColumns, maxHeaderBytes, readHeader } from './header-csv.ts'

const dialect = { delimiter: ',', quote: '"' }
const mark = '\ufeff'

const headers: { rule: string; input: string; delimiter?: string; names: string[]; bytes?: number; lines?: number }[] =
  [
    { rule: 'names up to LF', input: 'a,b,c\n1,2,3\n', names: ['a', 'b', 'c'], bytes: 6 },
    { rule: 'names up to CRLF', input: 'a,b,c\r\n1,2,3\r\n', names: ['a', 'b', 'c'], bytes: 7 },
    { rule: 'a header alone', input: 'a,b,c', names: ['a', 'b', 'c'], bytes: 5 },
    { rule: 'a header alone with a CR', input: 'a,b,c\r', names: ['a', 'b', 'c'], bytes: 6 },
    { rule: 'one column', input: 'a\n1\n', names: ['a'], bytes: 2 },
    { rule: 'a byte order mark is dropped', input: `${mark}a,b\n`, names: ['a', 'b'], bytes: 7 },
    { rule: 'a byte order mark before a quote', input: `${mark}"a",b\n`, names: ['a', 'b'], bytes: 9 },
    {
      rule: 'a second byte order mark is a part of the name',
      input: `${mark}${mark}a\n`,
      names: [`${mark}a`],
      bytes: 8,
    },
    { rule: 'quoted names', input: '"a","b,b","c""c"\r\n', names: ['a', 'b,b', 'c"c'], bytes: 18 },
    { rule: 'a line end in a name', input: '"a\r\nb\n",c\nd', names: ['a\r\nb\n', 'c'], bytes: 10, lines: 3 },
    { rule: 'blanks stay', input: ' a ,\tb\n', names: [' a ', '\tb'], bytes: 7 },
    { rule: 'a quote within a name is data', input: 'a"b, "c"\n', names: ['a"b', ' "c"'], bytes: 9 },
    { rule: 'empty names are names', input: ',a,\n', names: ['', 'a', ''], bytes: 4 },
    { rule: 'empty lines are passed over', input: '\n\r\na,b\n1,2\n', names: ['a', 'b'], bytes: 7, lines: 3 },
    { rule: 'names of several bytes a character', input: 'é,日本\n', names: ['é', '日本'], bytes: 10 },
    { rule: 'another delimiter', input: 'a;"b;b";c,c\n', delimiter: ';', names: ['a', 'b;b', 'c,c'], bytes: 12 },
    { rule: 'names cut by a lone CR only are one', input: 'a\rb\n', names: ['a\rb'], bytes: 4 },
  ]

test('a header is read up to the first byte after it', async (t) => {
  for (const { rule, input, delimiter = ',', names, bytes = input.length, lines = 1 } of headers) {
    await t.test(rule, () => {
      const whole = Buffer.from(input)
      const found = readHeader(whole, { delimiter, quote: '"' }, true)
      assert.deepEqual(found, { is: 'header', names, bytes, lines })
      // with fewer bytes it waits, and never reads another header
      for (let length = 0; length < whole.length; length++) {
        const early = readHeader(whole.subarray(0, length), { delimiter, quote: '"' }, false)
        if (early.is !== 'incomplete') assert.deepEqual(early, found)
        assert.ok(early.is === 'incomplete' || length >= bytes, `${length} bytes`)
      }
    })
  }
})

const unreadable: {
  rule: string
  input: Buffer | string
  code: Extract<Header, { is: 'bad' }>['code']
  complete?: boolean
}[] = [
  { rule: 'no bytes', input: '', code: 'EMPTY_FILE' },
  { rule: 'a byte order mark alone', input: mark, code: 'EMPTY_FILE' },
  { rule: 'empty lines alone', input: '\n\r\n\n', code: 'EMPTY_FILE' },
  { rule: 'a CR alone', input: '\r', code: 'EMPTY_FILE' },
  { rule: 'UTF-16, little end first', input: Buffer.from(`${mark}a,b\n`, 'utf16le'), code: 'UTF16' },
  { rule: 'UTF-16, big end first', input: Buffer.from(`${mark}a,b\n`, 'utf16le').swap16(), code: 'UTF16' },
  { rule: 'UTF-32, big end first', input: Buffer.from([0, 0, 0xfe, 0xff, 0, 0, 0, 0x61]), code: 'UTF16' },
  { rule: 'UTF-16 without a mark', input: Buffer.from('a,b\n', 'utf16le'), code: 'UTF16' },
  { rule: 'UTF-16 without a mark, big end first', input: Buffer.from('a,b\n', 'utf16le').swap16(), code: 'UTF16' },
  { rule: 'NULs alone', input: '\0\0\0\0\0', code: 'NOT_TEXT' },
  { rule: 'lines that end with CR alone', input: 'a,b\r1,2\r', code: 'CR_LINE_ENDS' },
  { rule: 'many of them', input: 'a,b\r'.repeat(maxHeaderBytes), code: 'CR_LINE_ENDS', complete: false },
  { rule: 'a NUL', input: 'a,\0b\n', code: 'NOT_TEXT' },
  { rule: 'a NUL, though more will come', input: 'a,\0b', code: 'NOT_TEXT', complete: false },
  { rule: 'Latin-1', input: Buffer.from('caf\xe9,b\n', 'latin1'), code: 'NOT_TEXT' },
  { rule: 'gzip', input: gzipSync('a,b\n1,2\n'), code: 'NOT_TEXT' },
  { rule: 'a character cut at the end of the file', input: Buffer.from('a,\xc3', 'latin1'), code: 'NOT_TEXT' },
  { rule: 'an unclosed quote', input: 'a,"b\n1,2\n', code: 'BAD_HEADER' },
  { rule: 'text after a closing quote', input: 'a,"b"c\n', code: 'BAD_HEADER' },
  { rule: 'text after a closing quote, though more will come', input: 'a,"b"c', code: 'BAD_HEADER', complete: false },
  { rule: 'a header that does not end', input: 'a'.repeat(maxHeaderBytes), code: 'HEADER_TOO_LONG', complete: false },
  { rule: 'a header that ends too late', input: `${'a'.repeat(maxHeaderBytes)}\n`, code: 'HEADER_TOO_LONG' },
  { rule: 'a quote that is not closed in time', input: `"${'a\n'.repeat(maxHeaderBytes)}`, code: 'HEADER_TOO_LONG' },
  { rule: 'a million columns', input: `${'a,'.repeat(1_000_000)}\n`, code: 'TOO_MANY_COLUMNS' },
  { rule: 'a column more than may be', input: `${'a,'.repeat(maxColumns)}a\n`, code: 'TOO_MANY_COLUMNS' },
]

test('a file that cannot be read is refused with a reason', async (t) => {
  for (const { rule, input, code, complete = true } of unreadable) {
    await t.test(rule, () => {
      const found = readHeader(Buffer.from(input), dialect, complete)
      assert.equal(found.is === 'bad' ? found.code : found.is, code)
    })
  }
  const most = readHeader(Buffer.from(`${'a,'.repeat(maxColumns - 1)}a\n`), dialect, true)
  assert.equal(most.is === 'header' && most.names.length, maxColumns)
})

test('columns may stand in any order', () => {
  assert.deepEqual(matchHeader(['c', 'a', 'b'], needed('a', 'b', 'c')), { is: 'match', unknown: [] })
  assert.deepEqual(matchHeader(['a'], needed('a')), { is: 'match', unknown: [] })
})

test('a header that differs is told apart by missing, unknown and repeated names', () => {
  const mismatch = (names: string[], expected: string[]) => {
    const found = matchHeader(names, needed(...expected))
    assert.ok(found.is === 'mismatch')
    return found
  }
  assert.deepEqual(mismatch(['a', 'usr_id', 'c'], ['a', 'user_id', 'b', 'c']), {
    is: 'mismatch',
    missing: ['user_id', 'b'],
    unknown: ['usr_id'],
    repeated: [],
    message: 'the header lacks "user_id", "b"; "usr_id" is not expected; is "usr_id" meant to be "user_id"?',
  })
  assert.deepEqual(mismatch(['a', 'a', 'x', 'x', 'b'], ['a', 'b']), {
    is: 'mismatch',
    missing: [],
    unknown: ['x'],
    repeated: ['a', 'x'],
    message: '"x" is not expected; "a", "x" stand more than once',
  })
  const messages: [string[], string[], string][] = [
    [['A'], ['a'], 'the header lacks "a"; "A" is not expected; is "A" meant to be "a"?'],
    [['b'], ['a'], 'the header lacks "a"; "b" is not expected'],
    [['a', ''], ['a'], 'a column without a name is not expected'],
    [['\ufeffid'], ['id'], 'the header lacks "id"; "\\ufeffid" is not expected; is "\\ufeffid" meant to be "id"?'],
    [['id;price'], ['id', 'n'], 'the header lacks "id", "n"; "id;price" is not expected; its names are parted by ";"'],
  ]
  for (const [names, expected, message] of messages) assert.equal(mismatch(names, expected).message, message)
  const many = mismatch(
    Array.from({ length: 10_000 }, (_, i) => `x${i}`),
    ['a'],
  )
  assert.match(many.message, /"x4" and 9995 more are not expected/)
  assert.ok(mismatch(['y'.repeat(100_000)], ['a']).message.length < 300)
})

test('a column that may be absent in a row may be absent in a file, and others may be let in', () => {
  const expected = [...needed('a'), { name: 'b', nullable: true }]
  assert.deepEqual(matchHeader(['a'], expected), { is: 'match', unknown: [] })
  assert.equal(matchHeader(['b'], expected).is, 'mismatch')
  assert.equal(matchHeader(['a', 'x'], expected).is, 'mismatch')
  assert.deepEqual(matchHeader(['x', 'a', 'y'], expected, { is: 'count' }), { is: 'match', unknown: ['x', 'y'] })
  assert.deepEqual(matchHeader(['x', 'a'], expected, { is: 'keep', as: 'more' }), { is: 'match', unknown: ['x'] })
  assert.equal(matchHeader(['x', 'a', 'x'], expected, { is: 'count' }).is, 'mismatch')
})

function needed(...names: string[]): { name: string; nullable: boolean }[] {
  return names.map((name) => ({ name, nullable: false }))
}
