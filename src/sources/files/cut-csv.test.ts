/** Every way in which a row of CSV can be written, whole or broken, and where one may be cut between two reads. */
import assert from 'node:assert/strict'
import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Generated, openTestDuckdb, type TestDuckdb, testSeed } from '../../../test/duckdb.ts'
import { type CsvPiece, csvPieces } from '../../../test/reference-files.ts'
import { CsvCutter, type CsvDialect } from './cut-csv.ts'
import { rawSql, readMalformedSql, readSpoolSql } from './read-spool.ts'

const db: TestDuckdb = await openTestDuckdb()
const folder = await mkdtempDisposable(join(tmpdir(), 'millrace-cut-'))
after(async () => {
  await db[Symbol.asyncDispose]()
  await folder.remove()
})

interface Settings {
  dialect: CsvDialect
  fields: number
  maxRowBytes: number
  file: number
}

const usual: Settings = { dialect: { delimiter: ',', quote: '"' }, fields: 3, maxRowBytes: 1_000_000, file: 0 }

// ---- rules, case by case -------------------------------------------------------------------------------------------

interface Case {
  rule: string
  input: string
  fields?: number
  max?: number
  delimiter?: string
  /** Good rows, `line: field|field`. */
  rows?: string[]
  /** Malformed rows, `line: CODE raw`. */
  bad?: string[]
}

const cases: Case[] = [
  // line ends
  { rule: 'a row ends at LF', input: 'a,b,c\nd,e,f\n', rows: ['2: a|b|c', '3: d|e|f'] },
  { rule: 'the last row needs no line end', input: 'a,b,c\nd,e,f', rows: ['2: a|b|c', '3: d|e|f'] },
  { rule: 'a CR before the LF is dropped', input: 'a,b,c\r\nd,e,f\r\n', rows: ['2: a|b|c', '3: d|e|f'] },
  { rule: 'line ends may be mixed', input: 'a,b,c\r\nd,e,f\ng,h,i\r\n', rows: ['2: a|b|c', '3: d|e|f', '4: g|h|i'] },
  { rule: 'only one CR is dropped', input: 'a,b,c\r\r\n', rows: ['2: a|b|c\r'] },
  { rule: 'a CR at the end of input is dropped', input: 'a,b,c\r', rows: ['2: a|b|c'] },
  { rule: 'two CRs at the end of input are one too many', input: 'a,b,c\r\r', rows: ['2: a|b|c\r'] },
  { rule: 'a lone CR is data', input: 'a,b\rb,c\n\r,\r,x\n', rows: ['2: a|b\rb|c', '3: \r|\r|x'] },
  { rule: 'a file with CR line ends is one row', input: 'a,b,c\rd,e,f\r', bad: ['2: TOO_MANY_FIELDS a,b,c\rd,e,f'] },
  { rule: 'a CR after a quoted field belongs to the LF', input: 'a,b,"c"\r\nd,e,f\n', rows: ['2: a|b|c', '3: d|e|f'] },
  { rule: 'a CR after a quoted field may end the input', input: 'a,b,"c"\r', rows: ['2: a|b|c'] },
  { rule: 'an empty last field before CRLF', input: 'a,b,\r\n', rows: ['2: a|b|'] },
  { rule: 'an empty last field at the end of input', input: 'a,b,', rows: ['2: a|b|'] },

  // empty lines and input
  { rule: 'no bytes are no rows', input: '' },
  { rule: 'empty lines are no rows, but count', input: '\n\r\na,b,c\n\n\nd,e,f\n\n', rows: ['4: a|b|c', '7: d|e|f'] },
  { rule: 'a CR alone at the end of input is an empty line', input: 'a,b,c\n\r', rows: ['2: a|b|c'] },
  {
    rule: 'with one field an empty line is a row',
    input: 'a\n\n\r\nb',
    fields: 1,
    rows: ['2: a', '3: ', '4: ', '5: b'],
  },
  { rule: 'with one field there is no row after the last LF', input: '\n', fields: 1, rows: ['2: '] },
  { rule: 'with one field a CR at the end is a row', input: 'a\n\r', fields: 1, rows: ['2: a', '3: '] },
  { rule: 'blanks make no empty line', input: '  \n', bad: ['2: TOO_FEW_FIELDS   '] },
  { rule: 'delimiters alone are empty fields', input: ',,\n', rows: ['2: ||'] },

  // number of fields
  { rule: 'a field less', input: 'a,b\nd,e,f\n', rows: ['3: d|e|f'], bad: ['2: TOO_FEW_FIELDS a,b'] },
  { rule: 'a field more', input: 'a,b,c,d\nd,e,f\n', rows: ['3: d|e|f'], bad: ['2: TOO_MANY_FIELDS a,b,c,d'] },
  { rule: 'a delimiter at the end is a field more', input: 'a,b,c,\n', bad: ['2: TOO_MANY_FIELDS a,b,c,'] },
  { rule: 'a field less at the end of input', input: 'a,b', bad: ['2: TOO_FEW_FIELDS a,b'] },
  { rule: 'a field more at the end of input', input: 'a,b,c,d', bad: ['2: TOO_MANY_FIELDS a,b,c,d'] },
  {
    rule: 'the line end is no part of what is kept',
    input: 'a,b\r\na\n',
    bad: ['2: TOO_FEW_FIELDS a,b', '3: TOO_FEW_FIELDS a'],
  },
  {
    rule: 'with one field a delimiter is one too many',
    input: 'a,b\nc\n',
    fields: 1,
    rows: ['3: c'],
    bad: ['2: TOO_MANY_FIELDS a,b'],
  },
  {
    rule: 'too many fields is found before what follows',
    input: 'a,b,c,"d\ne,f,g\n',
    rows: ['3: e|f|g'],
    bad: ['2: TOO_MANY_FIELDS a,b,c,"d'],
  },

  // quotes
  { rule: 'a quoted field', input: '"a",b,"c"\n', rows: ['2: a|b|c'] },
  { rule: 'a delimiter in quotes is data', input: 'a,"b,b",c\n', rows: ['2: a|b,b|c'] },
  { rule: 'a doubled quote in quotes is a quote', input: 'a,"b""b",""""\n', rows: ['2: a|b"b|"'] },
  { rule: 'an empty quoted field is the empty text', input: '"","",""\n', rows: ['2: ||'] },
  { rule: 'with one field an empty quoted field is a row', input: '""\n', fields: 1, rows: ['2: '] },
  { rule: 'a quoted empty line has too few fields', input: '""\n', bad: ['2: TOO_FEW_FIELDS ""'] },
  {
    rule: 'an LF in quotes is data, and the lines count',
    input: 'a,"b\nb",c\nd,e,f\n',
    rows: ['2: a|b\nb|c', '4: d|e|f'],
  },
  { rule: 'a CRLF in quotes is data', input: 'a,"b\r\nb\r",c\r\nd,e,f\n', rows: ['2: a|b\r\nb\r|c', '4: d|e|f'] },
  { rule: 'empty lines in quotes are data', input: '"\n\n\n",b,c\nd,e,f\n', rows: ['2: \n\n\n|b|c', '6: d|e|f'] },
  { rule: 'a quoted field at the end of input', input: 'a,b,"c\nc"', rows: ['2: a|b|c\nc'] },
  { rule: 'a quote within an unquoted field is data', input: 'a,5" pipe,b\n', rows: ['2: a|5" pipe|b'] },
  {
    rule: 'doubled quotes within an unquoted field stay doubled',
    input: 'a,5"" pipe,b"\n',
    rows: ['2: a|5"" pipe|b"'],
  },
  { rule: 'a quote after a blank is data', input: 'a, "b",c\n', rows: ['2: a| "b"|c'] },
  { rule: 'a delimiter parts fields after a quote that is data', input: 'a, "b,c"\n', rows: ['2: a| "b|c"'] },
  { rule: 'a lone CR beside quoted fields', input: '"a",b\rb,"c""\r"\n', rows: ['2: a|b\rb|c"\r'] },
  { rule: 'a quote as data beside quoted fields', input: '"a,a",b"b,"c"\n', rows: ['2: a,a|b"b|c'] },
  {
    rule: 'text after a closing quote',
    input: 'a,"b"x,c\nd,e,f\n',
    rows: ['3: d|e|f'],
    bad: ['2: STRAY_QUOTE a,"b"x,c'],
  },
  { rule: 'a blank after a closing quote', input: 'a,"b" ,c\n', bad: ['2: STRAY_QUOTE a,"b" ,c'] },
  { rule: 'a lone CR after a closing quote', input: 'a,b,"c"\rx\n', bad: ['2: STRAY_QUOTE a,b,"c"\rx'] },
  {
    rule: 'a stray quote ends with its line',
    input: 'a,"b"x,"c\nd,e,f\n',
    rows: ['3: d|e|f'],
    bad: ['2: STRAY_QUOTE a,"b"x,"c'],
  },

  // unclosed quotes
  {
    rule: 'unclosed in the last line',
    input: 'a,b,c\nd,"e,f\n',
    rows: ['2: a|b|c'],
    bad: ['3: UNCLOSED_QUOTE d,"e,f'],
  },
  { rule: 'unclosed at the end of input', input: 'a,"', bad: ['2: UNCLOSED_QUOTE a,"'] },
  { rule: 'unclosed, ending in a doubled quote', input: 'a,"b""', bad: ['2: UNCLOSED_QUOTE a,"b""'] },
  {
    rule: 'good rows after an unclosed quote survive',
    input: 'a,"b,c\nd,e,f\ng,h,i\n',
    rows: ['3: d|e|f', '4: g|h|i'],
    bad: ['2: UNCLOSED_QUOTE a,"b,c'],
  },
  {
    rule: 'an unclosed quote met by a good quoted row',
    input: 'a,"b,c\nd,"e",f\n',
    rows: ['3: d|e|f'],
    bad: ['2: UNCLOSED_QUOTE a,"b,c'],
  },
  {
    rule: 'an unclosed quote that a later row closes, with a field less',
    input: 'a,"b\nc",d\n',
    rows: ['2: a|b\nc|d'],
  },
  {
    rule: 'an unclosed quote that makes too many fields',
    input: 'a,"b,c\nd,e",f,g\nh,i,j\n',
    rows: ['4: h|i|j'],
    bad: ['2: UNCLOSED_QUOTE a,"b,c', '3: TOO_MANY_FIELDS d,e",f,g'],
  },
  {
    rule: 'an unclosed quote that makes too few fields',
    input: '"a,b,c\nd,e,"\nh,i,j\n',
    rows: ['4: h|i|j'],
    bad: ['2: UNCLOSED_QUOTE "a,b,c', '3: UNCLOSED_QUOTE d,e,"'],
  },
  {
    rule: 'every line has an unclosed quote',
    input: '"a\n"b\n"c\n',
    bad: ['2: UNCLOSED_QUOTE "a', '3: UNCLOSED_QUOTE "b', '4: UNCLOSED_QUOTE "c'],
  },
  {
    rule: 'an unclosed quote before CRLF',
    input: 'a,"b,c\r\nd,e,f\r\n',
    rows: ['3: d|e|f'],
    bad: ['2: UNCLOSED_QUOTE a,"b,c'],
  },
  {
    rule: 'lines are counted over what was looked at twice',
    input: 'a,"b\n\n\nd,"e"x,f\ng,h,i',
    rows: ['6: g|h|i'],
    bad: ['2: UNCLOSED_QUOTE a,"b', '5: STRAY_QUOTE d,"e"x,f'],
  },

  // length
  { rule: 'a row of just the allowed bytes', input: 'a,b,c\n', max: 5, rows: ['2: a|b|c'] },
  {
    rule: 'a row of a byte more',
    input: 'a,b,cc\nd,e,f\n',
    max: 5,
    rows: ['3: d|e|f'],
    bad: ['2: ROW_TOO_LONG a,b,cc'],
  },
  { rule: 'a CR counts', input: 'a,b,c\r\nd,e,f\n', max: 5, rows: ['3: d|e|f'], bad: ['2: ROW_TOO_LONG a,b,c'] },
  { rule: 'a long row at the end of input', input: 'a,b,cc', max: 5, bad: ['2: ROW_TOO_LONG a,b,cc'] },
  {
    rule: 'a long quoted field of one line',
    input: '"aaaaaaaa",b,c\nd,e,f\n',
    max: 5,
    rows: ['3: d|e|f'],
    bad: ['2: ROW_TOO_LONG "aaaaaaaa",b,c'],
  },
  {
    rule: 'a quote not closed within the allowed bytes',
    input: '"a\nd,e,f\ng,h,i"\n',
    max: 8,
    rows: ['3: d|e|f', '4: g|h|i"'],
    bad: ['2: UNCLOSED_QUOTE "a'],
  },
  { rule: 'another reason found first', input: 'a,"b"xxxxxxxxx\n', max: 8, bad: ['2: STRAY_QUOTE a,"b"xxxxxxxxx'] },

  // text
  { rule: 'characters of several bytes', input: bytes('é,日本,😀\n'), rows: [`2: ${bytes('é|日本|😀')}`] },
  {
    rule: 'a byte that is no UTF-8',
    input: 'a,b\xff,c\nd,e,f\n',
    rows: ['3: d|e|f'],
    bad: ['2: INVALID_UTF8 a,b\xff,c'],
  },
  { rule: 'Latin-1 is no UTF-8', input: 'caf\xe9,b,c\n', bad: ['2: INVALID_UTF8 caf\xe9,b,c'] },
  { rule: 'a character cut by a delimiter', input: 'a,\xc3,c\n', bad: ['2: INVALID_UTF8 a,\xc3,c'] },
  { rule: 'an overlong character', input: '\xc0\xaf,b,c\n', bad: ['2: INVALID_UTF8 \xc0\xaf,b,c'] },
  { rule: 'a surrogate as UTF-8', input: '\xed\xa0\x80,b,c\n', bad: ['2: INVALID_UTF8 \xed\xa0\x80,b,c'] },
  { rule: 'a NUL', input: 'a,\0,c\nd,e,f\n', rows: ['3: d|e|f'], bad: ['2: NUL_BYTE a,\0,c'] },
  { rule: 'a NUL and a bad byte', input: 'a,\xff,\0\n', bad: ['2: NUL_BYTE a,\xff,\0'] },
  { rule: 'form is judged before text', input: 'a,\0\n', bad: ['2: TOO_FEW_FIELDS a,\0'] },
  {
    rule: 'a NUL in a row of two lines',
    input: 'a,"b\n\0",c\nd,e,f\n',
    rows: ['4: d|e|f'],
    bad: ['2: NUL_BYTE a,"b\n\0",c'],
  },
  {
    rule: 'a bad byte at the end of input',
    input: 'a,b,c\nd,e,\xc3',
    rows: ['2: a|b|c'],
    bad: ['3: INVALID_UTF8 d,e,\xc3'],
  },
  { rule: 'a byte order mark is data here', input: bytes('\ufeffa,b,c\n'), rows: [`2: ${bytes('\ufeffa')}|b|c`] },

  // what other readers take for something else
  { rule: 'blanks are data', input: ' a ,\tb, \n', rows: ['2:  a |\tb| '] },
  { rule: 'a backslash is data', input: 'a\\,b,\\.\n\\.,"\\",\\n\n', rows: ['2: a\\|b|\\.', '3: \\.|\\|\\n'] },
  { rule: 'what looks like a comment is data', input: '#a,b,c\n', rows: ['2: #a|b|c'] },
  { rule: 'what looks like a null is data', input: 'NULL,\\N,"NULL"\n', rows: ['2: NULL|\\N|NULL'] },
  { rule: 'another delimiter', input: 'a;"b;b";c,c\n', delimiter: ';', rows: ['2: a|b;b|c,c'] },
  { rule: 'a blank as delimiter', input: 'a  "b b"\n', delimiter: ' ', rows: ['2: a||b b'] },
  { rule: 'a tab as delimiter', input: 'a\t\t"b\tb"\n', delimiter: '\t', rows: ['2: a||b\tb'] },
]

test('each rule holds, however the bytes are fed, and DuckDB reads the same', async (t) => {
  for (const { rule, input, fields = 3, max = 1_000_000, delimiter = ',', rows = [], bad = [] } of cases) {
    await t.test(rule, async () => {
      const settings = { dialect: { delimiter, quote: '"' }, fields, maxRowBytes: max, file: 0 }
      const pieces = reference(input, settings)
      assert.deepEqual(shown(pieces), { rows, bad }, 'the reference says otherwise')
      const whole = cutIn(input, [input.length], settings)
      for (let at = 0; at <= input.length; at++) assert.deepEqual(cutIn(input, [at], settings), whole, `cut at ${at}`)
      assert.deepEqual(cutIn(input, everyByte(input), settings), whole, 'fed byte by byte')
      assert.deepEqual(await read([{ ...whole, settings }]), [asRead(pieces)])
    })
  }
})

function shown(pieces: CsvPiece[]): { rows: string[]; bad: string[] } {
  return {
    rows: pieces.flatMap((p) => (p.is === 'row' ? [`${p.line}: ${p.fields.join('|')}`] : [])),
    bad: pieces.flatMap((p) => (p.is === 'malformed' ? [`${p.line}: ${p.code} ${p.raw}`] : [])),
  }
}

test('a malformed row keeps the first 64 KiB, whole characters only, and says so', async () => {
  for (const [raw, kept] of [
    ['x'.repeat(65_536), 65_536],
    ['x'.repeat(65_537), 65_536],
    [`x${bytes('😀').repeat(20_000)}`, 65_533],
    ['\xff'.repeat(70_000), 65_536],
  ] as const) {
    for (const step of [raw.length + 1, 1000]) {
      const input = `${raw}\na,b,c\n`
      const settings = { ...usual, file: 7 }
      const cut = cutIn(input, steps(input, step), settings)
      const [found] = await read([{ ...cut, settings }])
      const line = found?.malformed[0] ?? []
      assert.equal(cut.rows, 1)
      const mark = kept < raw.length ? ` [cut: the first ${kept} of ${raw.length} bytes]` : ''
      const text = raw.startsWith('\xff') ? '\\xff'.repeat(kept) : raw.slice(0, kept)
      assert.deepEqual(line.slice(0, 2), [2, 'TOO_FEW_FIELDS'])
      assert.equal(line[2], text + mark)
      assert.equal(line[3], raw.startsWith('\xff') ? 'ff'.repeat(kept) : '')
    }
  }
})

test('a field of 20 MB is a row, and too long for a smaller limit', async () => {
  const long = `a,"${'x,\n""\r'.repeat(4_000_000)}",c\nd,e,f\n`
  const settings = { ...usual, maxRowBytes: 32_000_000 }
  const cut = cutIn(long, steps(long, 1_000_003), settings)
  assert.deepEqual([cut.rows, cut.malformed, cut.line], [2, 0, 4_000_004])
  const path = join(folder.path, 'long.csv')
  await writeFile(path, cut.spool)
  const sql = readSpoolSql([path], ['a', 'b', 'c'], { dialect: usual.dialect, mark: '_quoted' }, cut)
  const { rows } = await db.query(`select _line, length(b), md5(b) = md5(repeat(e'x,\\n"\\r', 4000000)) from ${sql}`)
  assert.deepEqual(rows, [
    [2, 20_000_000, true],
    [4_000_003, 1, false],
  ])

  const short = cutIn(`${'y'.repeat(20_000_000)}\na,b,c\n`, [], { ...usual, maxRowBytes: 1_000_000 })
  assert.deepEqual([short.rows, short.malformed], [1, 1])
})

test('a megabyte of unclosed quotes takes a second, not minutes', () => {
  for (const line of ['"\n', 'a,"b\n', 'a,"b""\n', '"a"",b\n', 'a,b","c\n', '"",","\n', 'x","z\n']) {
    const input = Buffer.from(line.repeat(1_000_000 / line.length))
    const cutter = new CsvCutter({ ...usual, fields: 20_000, firstLine: 1, rows: () => {}, malformed: () => {} })
    const before = process.cpuUsage()
    for (let at = 0; at < input.length; at += 100_000) {
      cutter.push(input.subarray(at, at + 100_000), at + 100_000 >= input.length)
    }
    const seconds = process.cpuUsage(before).user / 1e6
    // without `Ahead` the last lines take half a minute
    assert.ok(seconds < 5, `${JSON.stringify(line)}: ${seconds} s`)
  }
})

test('cutting stops at the row asked for, and another cutter goes on from there', () => {
  const input = 'a,b,c\nd,"e\ne",f\nx\n\n"u,\ng,h,i\n'
  const whole = cutIn(input, [], usual)
  for (const maxRows of [1, 2, 3]) assert.deepEqual(cutInPortions(input, usual, maxRows), whole)
})

test('lines are counted beyond 32 bits', () => {
  for (const firstLine of [9, 99, 999_999_998, 999_999_999, 2 ** 32, 10 ** 15]) {
    let spool = ''
    const rows = (chunk: Buffer) => {
      spool += chunk
    }
    const cutter = new CsvCutter({ ...usual, file: 12, firstLine, rows, malformed: () => {} })
    cutter.push(Buffer.from('a,b,c\na,b,c\n'), true)
    assert.equal(spool, `12,${firstLine},,a,b,c\n12,${firstLine + 1},,a,b,c\n`)
  }
})

test('a dialect that cannot part fields is refused', () => {
  for (const [delimiter, quote] of [
    ['', '"'],
    [',', ''],
    [',', ','],
    ['\n', '"'],
    ['1', '"'],
    [', ', '"'],
    ['é', '"'],
    [',', '\0'],
  ] as const) {
    const options = { ...usual, dialect: { delimiter, quote }, firstLine: 1, rows: () => {}, malformed: () => {} }
    assert.throws(() => new CsvCutter(options), { code: 'INVALID_SETTING' })
  }
})

// ---- against the reference, and through DuckDB ------------------------------------------------------------------

test('generated inputs, fed in any pieces, are cut as the reference cuts them, and DuckDB reads the same', async () => {
  const count = Number(process.env['FUZZ_CASES'] ?? 4000)
  const made = new Generated()
  for (let batch = 0; batch < count / 100; batch++) {
    const settings = {
      dialect: made.oneOf<CsvDialect>([
        { delimiter: ',', quote: '"' },
        { delimiter: ';', quote: "'" },
        { delimiter: '\t', quote: '"' },
        { delimiter: ' ', quote: '"' },
        { delimiter: '|', quote: '~' },
      ]),
      fields: made.whole(1, 6),
      maxRowBytes: made.oneOf([3, 7, 20, 1000]),
    }
    const cuts = made
      .many(100, () => generatedInput(made, settings))
      .map((input, file) => {
        const pieces = reference(input, { ...settings, file })
        const cut = cutIn(input, [], { ...settings, file })
        const splits = made.many(made.whole(1, 4), () => made.whole(0, input.length))
        const hint = `seed ${testSeed}, batch ${batch}, file ${file}: ${JSON.stringify({ input, ...settings })}`
        assert.deepEqual(
          cutIn(
            input,
            splits.sort((a, b) => a - b),
            { ...settings, file },
          ),
          cut,
          hint,
        )
        assert.deepEqual(cutIn(input, everyByte(input), { ...settings, file }), cut, hint)
        assert.deepEqual(cutInPortions(input, { ...settings, file }, made.whole(1, 3)), cut, hint)
        assert.equal(cut.rows, pieces.filter(({ is }) => is === 'row').length, hint)
        assert.equal(cut.malformed, pieces.length - cut.rows, hint)
        return { input, hint, pieces, ...cut, settings: { ...settings, file } }
      })
    const found = await read(cuts)
    for (const [file, cut] of cuts.entries()) assert.deepEqual(found[file], asRead(cut.pieces), cut.hint)
  }
})

function generatedInput(
  made: Generated,
  { dialect: { delimiter: d, quote: q }, fields }: Omit<Settings, 'file'>,
): string {
  const noise = [
    q,
    q,
    d,
    d,
    '\n',
    '\n',
    '\r',
    '\r\n',
    'a',
    'b',
    ' ',
    q + q,
    d + q,
    q + d,
    `${q}\n`,
    bytes('é'),
    bytes('😀'),
    '\0',
    '\xff',
    '\xc3',
  ]
  const field = () =>
    made.oneOf([
      '',
      'x',
      'NULL',
      '\\N',
      ' y',
      '#',
      `${q}${q}`,
      `${q}z${q}`,
      `${q}${d}${q}`,
      `${q}\n${q}`,
      `${q}${q}${q}${q}`,
      `${q}\r\n${q}`,
      ` ${q}`,
      `m${q}`,
      '\r',
      bytes('日'),
      made.text(noise, 3),
    ])
  const row = () =>
    made.many(made.whole(0, 9) > 0 ? fields : made.whole(1, 6), field).join(d) + made.oneOf(['\n', '\n', '\r\n', ''])
  return made.oneOf([() => made.text(noise, 30), () => made.many(made.whole(0, 8), row).join('')])()
}

// ---- the reference, and texts with one character a byte -------------------------------------------------------------

function reference(input: string, settings: Settings): CsvPiece[] {
  return csvPieces(input, settings, 2)
}

function isText(raw: string): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(raw, 'latin1'))
    return true
  } catch {
    return false
  }
}

function bytes(text: string): string {
  return Buffer.from(text).toString('latin1')
}

// ---- running the cutter, and reading what it wrote ------------------------------------------------------------------

interface Written {
  rows: number
  malformed: number
  line: number
  longestRow: number
  spool: Buffer
  malformedSpool: string
}

// Cuts the input, fed in pieces that end at these places.
function cutIn(input: string, places: number[], { dialect, fields, maxRowBytes, file }: Settings): Written {
  const spool: Buffer[] = []
  const malformedSpool: Buffer[] = []
  const cutter = new CsvCutter({
    dialect,
    fields,
    maxRowBytes,
    file,
    firstLine: 2,
    rows: (chunk) => spool.push(Buffer.from(chunk)),
    malformed: (chunk) => malformedSpool.push(chunk),
  })
  const written = { rows: 0, malformed: 0, longestRow: 0 }
  const all = Buffer.from(input, 'latin1')
  let consumed = 0
  let from = 0
  for (const to of [...places, input.length]) {
    const last = to === input.length
    // the caller may use its buffer again
    const chunk = Buffer.from(all.subarray(from, to))
    const cut = cutter.push(chunk, last)
    chunk.fill('!')
    written.rows += cut.rows
    written.malformed += cut.malformed
    written.longestRow = Math.max(written.longestRow, cut.longestRow)
    consumed += cut.consumed
    assert.ok(consumed === 0 || consumed === input.length || input[consumed - 1] === '\n')
    assert.ok(consumed <= to)
    from = to
    if (last) break
  }
  assert.equal(consumed, input.length)
  return {
    ...written,
    line: cutter.line,
    spool: Buffer.concat(spool),
    malformedSpool: String(Buffer.concat(malformedSpool)),
  }
}

// Cuts so many rows, then goes on behind them with another cutter.
function cutInPortions(input: string, { dialect, fields, maxRowBytes, file }: Settings, maxRows: number): Written {
  const spool: Buffer[] = []
  const malformedSpool: Buffer[] = []
  const written = { rows: 0, malformed: 0, longestRow: 0, line: 2 }
  for (let at = 0; ; ) {
    const cutter = new CsvCutter({
      dialect,
      fields,
      maxRowBytes,
      file,
      maxRows,
      firstLine: written.line,
      rows: (chunk) => spool.push(Buffer.from(chunk)),
      malformed: (chunk) => malformedSpool.push(chunk),
    })
    const cut = cutter.push(Buffer.from(input.slice(at), 'latin1'), true)
    assert.ok(cut.rows + cut.malformed <= maxRows)
    written.rows += cut.rows
    written.malformed += cut.malformed
    written.longestRow = Math.max(written.longestRow, cut.longestRow)
    written.line = cutter.line
    at += cut.consumed
    if (!cut.full) break
  }
  return { ...written, spool: Buffer.concat(spool), malformedSpool: String(Buffer.concat(malformedSpool)) }
}

function everyByte(input: string): number[] {
  return Array.from({ length: Math.max(0, input.length - 1) }, (_, i) => i + 1)
}

function steps(input: string, size: number): number[] {
  return Array.from({ length: Math.floor(input.length / size) }, (_, i) => (i + 1) * size)
}

interface Read {
  /** Line, fields, and the text they were cut from; texts with one character a byte. */
  rows: unknown[][]
  /** Line, code, text and hex. */
  malformed: unknown[][]
}

// What DuckDB reads from these cuts of one dialect, written to one file as the cuts of a batch are.
async function read(cuts: (Written & { settings: Settings })[]): Promise<Read[]> {
  const { dialect, fields } = cuts[0]?.settings ?? usual
  const columns = Array.from({ length: fields }, (_, i) => `c${i}`)
  const paths = [join(folder.path, 'rows.csv'), join(folder.path, 'malformed.csv')] as const
  await writeFile(paths[0], Buffer.concat(cuts.map(({ spool }) => spool)))
  await writeFile(paths[1], cuts.map(({ malformedSpool }) => malformedSpool).join(''))
  const longestRow = Math.max(...cuts.map((cut) => cut.longestRow))
  const rows = await db.query(`
    select _file, _line, ${columns.map((name) => `hex(${name})`).join(', ')}, hex(${rawSql(columns, dialect, 's')})
    from ${readSpoolSql([paths[0]], columns, { dialect, mark: '_quoted' }, { longestRow })} s
    order by _file, _line`)
  const malformed = await db.query(
    `select _file, _line, code, hex(raw), hex from ${readMalformedSql([paths[1]])} order by _file, _line`,
  )
  const of = (file: number, found: unknown[][], isHex: (at: number) => boolean) =>
    found
      .filter((row) => row[0] === file)
      .map((row) =>
        row.map((cell, at) => (isHex(at) ? Buffer.from(String(cell), 'hex').toString('latin1') : cell)).slice(1),
      )
  return cuts.map(({ settings: { file } }) => ({
    rows: of(file, rows.rows, (at) => at >= 2),
    malformed: of(file, malformed.rows, (at) => at === 3),
  }))
}

function asRead(pieces: CsvPiece[]): Read {
  return {
    rows: pieces.flatMap((p) => (p.is === 'row' ? [[p.line, ...p.fields, p.raw]] : [])),
    malformed: pieces.flatMap((p) => {
      if (p.is === 'row') return []
      const good = isText(p.raw) && !p.raw.includes('\0')
      return [[p.line, p.code, good ? p.raw : escaped(p.raw), good ? '' : Buffer.from(p.raw, 'latin1').toString('hex')]]
    }),
  }
}

// Takes the longest character that is text, else escapes a byte.
function escaped(raw: string): string {
  if (raw === '') return ''
  for (const length of [1, 2, 3, 4]) {
    const start = raw.slice(0, length)
    if (!start.includes('\0') && isText(start)) return start + escaped(raw.slice(length))
  }
  return `\\x${raw.charCodeAt(0).toString(16).padStart(2, '0')}${escaped(raw.slice(1))}`
}
