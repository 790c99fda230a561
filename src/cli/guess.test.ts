import assert from 'node:assert/strict'
import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { openTestDuckdb } from '../../test/duckdb.ts'
import { Duck } from '../engine/duckdb.ts'
import { type Guesses, guessColumns } from './guess.ts'
import { specText } from './guess-text.ts'
import { readSample, type Sample } from './sample.ts'

const folder = await mkdtempDisposable(join(tmpdir(), 'millrace-guess-'))
const spool = join(folder.path, 'spool')
const duck = await Duck.open({
  folders: [spool],
  temporary: join(folder.path, 'temporary'),
  memoryLimitMb: 256,
  threads: 2,
})
const session = await duck.connect()
const writer = await openTestDuckdb()
after(async () => {
  session.close()
  await duck[Symbol.asyncDispose]()
  await writer[Symbol.asyncDispose]()
  await folder.remove()
})

async function guessed(sample: string | Buffer): Promise<Guesses & { sample: Sample; specs: Record<string, string> }> {
  const path = join(folder.path, 'sample')
  await writeFile(path, sample)
  return await guessedOf(path)
}

async function guessedOf(path: string): Promise<Guesses & { sample: Sample; specs: Record<string, string> }> {
  const read = await readSample(path, session, spool)
  const guesses = await guessColumns(session, read)
  const specs = Object.fromEntries(guesses.columns.map((column) => [column.name, specText(column, guesses.key)]))
  return { ...guesses, sample: read, specs }
}

/** A file of one column `a`, without a header when it should have another. */
const ofValues = (...values: string[]): string => `a,b\n${values.map((value) => `${value},x\n`).join('')}`

const times = (n: number, row: (i: number) => string): string => Array.from({ length: n }, (_, i) => row(i)).join('')

// ---- one column ----------------------------------------------------------------------------------------------------

const values: { of: string; values: string[]; spec: string; because: RegExp }[] = [
  { of: 'whole numbers', values: ['1', '-20', '0'], spec: 'integer()', because: /^3 of 3 values are whole numbers$/ },
  {
    of: 'whole numbers with gaps',
    values: ['1', '', '3'],
    spec: 'integer().optional()',
    because: /2 of 2 values are whole numbers; 1 of 3 are empty/,
  },
  { of: 'nothing at all', values: ['', ''], spec: 'text().optional()', because: /no value in 2 rows/ },
  { of: 'numbers of 64 bits', values: ['9223372036854775807'], spec: 'integer()', because: /whole/ },
  { of: 'numbers of 20 digits', values: ['12345678901234567890', '1'], spec: 'text()', because: /not fit 64 bits/ },
  { of: 'numbers of 40 digits', values: ['1'.repeat(40)], spec: 'text()', because: /not fit 64 bits/ },
  { of: 'zip codes', values: ['01234', '56789'], spec: 'text()', because: /1 begin with 0 or \+/ },
  { of: 'phone numbers', values: ['+4930123', '4930124'], spec: 'text()', because: /1 begin with 0 or \+/ },
  { of: 'nothing but zeros', values: ['0', '0'], spec: 'integer()', because: /whole/ },
  { of: 'fractions', values: ['1.5', '20', '-3.25'], spec: 'decimal(12, 2)', because: /2 digits before .* 2 after/ },
  { of: 'fractions below one', values: ['0.5', '-0.25'], spec: 'decimal(12, 2)', because: /numbers/ },
  { of: 'fractions of three digits', values: ['1.123'], spec: 'decimal(12, 4)', because: /3 after/ },
  { of: 'large fractions', values: ['12345678901234.5'], spec: 'decimal(18, 2)', because: /14 digits before/ },
  { of: 'computed fractions', values: ['0.30000000000000004'], spec: 'double()', because: /up to 17 digits after/ },
  { of: 'exponents', values: ['1e5', '1.5'], spec: 'double()', because: /exponent/ },
  { of: 'numbers with a bare point', values: ['.5', '5.'], spec: 'double()', because: /numbers/ },
  { of: 'what computers call no number', values: ['NaN', '1.5'], spec: 'text()', because: /neither/ },
  { of: 'numbers with thousands', values: ['"1,234.5"'], spec: 'text()', because: /neither/ },
  { of: 'numbers with blanks', values: [' 1', '2'], spec: 'text()', because: /neither/ },
  {
    of: 'numbers with one exception',
    values: [...Array.from({ length: 19 }, (_, i) => String(i)), 'n/a'],
    spec: 'text()',
    because: /^19 of 20 values are whole numbers, but not "n\/a"$/,
  },
  { of: 'true and false', values: ['true', 'FALSE'], spec: 'boolean()', because: /2 of 2 values are true or false/ },
  { of: 'yes and no', values: ['yes', 'no'], spec: 'text()', because: /neither/ },
  { of: 'zero and one', values: ['0', '1'], spec: 'integer()', because: /whole/ },
  {
    of: 'moments',
    values: ['2026-01-31T12:00:00Z', '2026-01-31 12:00:00.5+02:00'],
    spec: 'timestamp()',
    because: /^2 of 2 values are dates and times$/,
  },
  {
    of: 'moments without an offset',
    values: ['2026-01-31T12:00', '2026-01-31T12:00:00Z'],
    spec: 'timestamp()',
    because: /; 1 without an offset are taken as UTC/,
  },
  { of: 'dates', values: ['2026-01-31', '2026-02-01'], spec: 'text()', because: /dates without a time/ },
  { of: 'days that are none', values: ['2026-02-30T00:00:00Z'], spec: 'text()', because: /neither/ },
  { of: 'dates of another order', values: ['31.01.2026'], spec: 'text()', because: /neither/ },
  { of: 'lists', values: ['"[1, 2]"', '{}'], spec: 'json()', because: /JSON/ },
  { of: 'lists that are broken', values: ['[1', '{}'], spec: 'text()', because: /neither/ },
  {
    of: 'a few words',
    values: Array.from({ length: 100 }, (_, i) => ['new', "it's", 'done'][i % 3] ?? ''),
    spec: `oneOf('done', 'it\\'s', 'new')`,
    because: /3 different values in 100/,
  },
  {
    of: 'a few words, and a rare one',
    values: Array.from({ length: 100 }, (_, i) => (i === 7 ? 'lost' : i % 2 ? 'new' : 'done')),
    spec: 'text()',
    because: /3 different values/,
  },
  {
    of: 'one word',
    values: Array.from({ length: 100 }, () => 'new'),
    spec: 'text()',
    because: /1 different value/,
  },
  {
    of: 'a few words in a few rows',
    values: Array.from({ length: 99 }, (_, i) => (i % 2 ? 'new' : 'done')),
    spec: 'text()',
    because: /2 different values/,
  },
  { of: 'line ends and quotes', values: ['"a\n""b"""', 'c'], spec: 'text()', because: /2 different values/ },
  { of: 'text of another language', values: ['größe', '大きさ'], spec: 'text()', because: /2 different values/ },
]

test('a column is taken for what all its values are, and says on what the guess stands', async () => {
  for (const { of, values: column, spec, because } of values) {
    const { specs, columns } = await guessed(ofValues(...column))
    assert.equal(specs['a'], spec, of)
    assert.match(columns[0]?.because ?? '', because, of)
  }
})

// ---- whole files ---------------------------------------------------------------------------------------------------

const wide = Array.from({ length: 1600 }, (_, i) => `c${i}`)

const samples: { of: string; sample: string | Buffer; specs: Record<string, string>; delimiter?: string }[] = [
  { of: 'a mark of UTF-8', sample: '\uFEFFid\n1\n', specs: { id: 'integer()' } },
  { of: 'CRLF', sample: 'a,b\r\n1,x\r\n', specs: { a: 'integer()', b: 'text()' } },
  { of: 'semicolons', sample: 'a;b\n1;2,5\n', specs: { a: 'integer()', b: 'text()' }, delimiter: ';' },
  { of: 'tabs', sample: 'a\tb\n1\tx\n', specs: { a: 'integer()', b: 'text()' }, delimiter: '\t' },
  { of: 'bars', sample: 'a|b\n1|x,y;z\n', specs: { a: 'integer()', b: 'text()' }, delimiter: '|' },
  { of: 'quoted names', sample: '"a","b"\n"1","x"\n', specs: { a: 'integer()', b: 'text()' } },
  { of: 'one column', sample: 'a\n1\n\n3\n', specs: { a: 'integer().optional()' } },
  { of: 'a header only', sample: 'a,b\n', specs: { a: 'text().optional()', b: 'text().optional()' } },
  {
    of: 'names that SQL and JavaScript have',
    sample: 'select,class\n1,x\n',
    specs: { select: 'integer()', class: 'text()' },
  },
  {
    of: 'names that the guessing has',
    sample: 'value,n,kind\n1,x,true\n',
    specs: { value: 'integer()', n: 'text()', kind: 'boolean()' },
  },
  {
    of: 'as many columns as a table can have',
    sample: `${wide}\n${wide.map((_, i) => i)}\n`,
    specs: Object.fromEntries(wide.map((name) => [name, 'integer()'])),
  },
  { of: 'gzip', sample: gzipSync('a,b\n1,x\n'), specs: { a: 'integer()', b: 'text()' } },
  { of: 'zstd', sample: zstdCompressSync('a,b\n1,x\n'), specs: { a: 'integer()', b: 'text()' } },
]

test('a sample may be written in many ways', async () => {
  for (const { of, sample, specs, delimiter = ',' } of samples) {
    const found = await guessed(sample)
    assert.deepEqual(found.specs, specs, of)
    assert.deepEqual(found.sample.format, { is: 'csv', delimiter, quote: '"' }, of)
    assert.equal(found.sample.malformed, 0, of)
  }
})

test('rows that cannot be read are counted, and do not disturb the others', async () => {
  const sample = Buffer.concat([Buffer.from('a,b\n1,x\n2\n3,'), Buffer.from([0xff]), Buffer.from('\n4,"y"z\n5,z\n')])
  const { specs, sample: read } = await guessed(sample)
  assert.deepEqual(specs, { a: 'integer()', b: 'text()' })
  assert.deepEqual([read.rows, read.malformed], [2, 3])
  assert.match(read.fault ?? '', /^line 3: the row has fewer fields/)
})

test('of a large sample the beginning is read, in whole rows', async () => {
  const rows = 110_000
  const { specs, sample } = await guessed(`id,s\n${times(rows, (i) => `${i},"${'x'.repeat(90)}"\n`)}`)
  assert.deepEqual(specs, { id: 'integer()', s: 'text()' })
  assert.equal(sample.whole, false)
  assert.equal(sample.malformed, 0)
  assert.ok(sample.rows > 100_000 && sample.rows < rows, String(sample.rows))
})

test('JSON lines say themselves what is a text and what a number', async () => {
  const { specs, sample, columns } = await guessed(
    times(
      100,
      (i) =>
        `{"id": "e${i}", "n": ${i}, "price": ${i}.50, "zip": "1${i}", "big": 123456789012345678901, "at": "2026-01-31T12:00:00Z", "ok": true,` +
        ` "tags": [1], "none": null, "mixed": ${i % 2 ? '"x"' : '1'}${i % 4 ? '' : ', "late": "x"'}, "user-id": 1}\n`,
    ),
  )
  assert.deepEqual(sample.format, { is: 'json lines' })
  assert.deepEqual(specs, {
    id: 'text().notEmpty()',
    n: 'integer()',
    price: 'decimal(12, 2)',
    zip: 'text()',
    big: 'text()',
    at: 'timestamp()',
    ok: 'boolean()',
    tags: 'json()',
    none: 'text().optional()',
    mixed: 'text()',
    late: 'text().optional()',
  })
  assert.deepEqual(sample.leftOut, [`"user-id" cannot be a column's name`])
  assert.match(columns.find(({ name }) => name === 'zip')?.because ?? '', /the file has them as texts/)
})

test('Parquet says itself what its columns are', async () => {
  const path = join(folder.path, 'sample.parquet')
  await writer.run(`copy (
    select i as id, i * 1.5::double as d, (i * 1.25)::decimal(10, 2) as m, i % 2 = 0 as b, '0' || i as zip, [i] as list,
           timestamp '2026-01-01' + interval (i) minute as at, date '2026-01-01' as day, {'a': i} as inner_values
    from range(100) r(i)) to '${path}' (format parquet)`)
  const { specs, sample, key } = await guessedOf(path)
  assert.deepEqual(sample.format, { is: 'parquet' })
  assert.equal(key, 'id')
  assert.deepEqual(specs, {
    id: 'integer()',
    d: 'double()',
    m: 'decimal(12, 2)',
    b: 'boolean()',
    zip: 'text()',
    list: 'json()',
    at: 'timestamp()',
    day: 'text()',
    inner_values: 'json()',
  })
})

// ---- the key -------------------------------------------------------------------------------------------------------

test('a column that is unique is the key, when it is called so or the rows are many', async () => {
  const cases: { of: string; sample: string; key: string | undefined }[] = [
    { of: 'a name', sample: 'total,order_id\n1,7\n2,8\n', key: 'order_id' },
    { of: 'a name in capitals within', sample: 'total,orderId\n1,7\n2,8\n', key: 'orderId' },
    { of: 'a word that only ends so', sample: 'paid,n\n1,1\n2,1\n', key: undefined },
    { of: 'few rows', sample: 'n,m\n1,1\n2,1\n', key: undefined },
    { of: 'many rows', sample: `m,n\n${times(100, (i) => `1,${i}\n`)}`, key: 'n' },
    { of: 'a repeat', sample: 'id,n\n1,7\n1,8\n', key: undefined },
    { of: 'a gap', sample: 'id,n\n1,7\n,8\n', key: undefined },
    { of: 'one row', sample: 'id,n\n1,7\n', key: undefined },
    { of: 'fractions', sample: `a_id\n${times(200, (i) => `${i}.5\n`)}`, key: undefined },
    {
      of: 'texts too long for an index',
      sample: `a_id\n${times(5, (i) => `${i}${'x'.repeat(300)}\n`)}`,
      key: undefined,
    },
  ]
  for (const { of, sample, key } of cases) assert.equal((await guessed(sample)).key, key, of)
})

// ---- no columns ----------------------------------------------------------------------------------------------------

const tooMany = (n: number): string => `${Array.from({ length: n }, (_, i) => `c${i}`)}\n`

const faults: { of: string; sample: string | Buffer; message: RegExp; hint?: RegExp }[] = [
  { of: 'an empty file', sample: '', message: /the file is empty/ },
  { of: 'empty lines', sample: '\n\r\n', message: /the file is empty/ },
  { of: 'bytes that are no text', sample: Buffer.from([1, 0, 2, 255]), message: /does not begin with UTF-8 text/ },
  { of: 'UTF-16', sample: Buffer.from('\uFEFFa,b\n1,2\n', 'utf16le'), message: /UTF-16/ },
  { of: 'a name of invalid UTF-8', sample: Buffer.from([97, 44, 255, 10]), message: /UTF-8/ },
  {
    of: 'no header',
    sample: '1,ann,2026-01-01\n',
    message: /seems to begin with a row.*"1" cannot be a col/,
    hint: /column_1,ann,column_3$/,
  },
  { of: 'blanks in a name', sample: 'Order ID,n\n1,2\n', message: /"Order ID" cannot/, hint: /would do: order_id,n$/ },
  { of: 'accents in names', sample: 'größe,naïve\n', message: /"größe" cannot/, hint: /gro_e,naive$/ },
  { of: 'an underscore before a name', sample: '_id,id\n', message: /"_id" begins with _/, hint: /would do: id,id_2$/ },
  { of: 'a name twice', sample: 'id,n,id\n', message: /"id" stands there more than once/, hint: /id,n,id_2$/ },
  {
    of: 'a name twice but for case',
    sample: 'id,ID\n',
    message: /"ID" and "id" are equal but for case/,
    hint: /id,ID_2$/,
  },
  { of: 'a name too long', sample: `${'x'.repeat(64)},n\n`, message: /"x{60}\.\.\." cannot/, hint: /x{60},n$/ },
  { of: 'a name missing', sample: 'a,,c\n', message: /"" cannot/, hint: /a,column_2,c$/ },
  { of: 'many bad names', sample: '1,2,3,4,5,6,7\n', message: /"5" cannot be a column's name; and 2 more/ },
  { of: 'more columns than a table has', sample: tooMany(1601), message: /it has 1601 columns.*1600 at most/ },
  { of: '10,000 columns', sample: tooMany(10_000), message: /it has 10000 columns/ },
  { of: 'more columns than a file may have', sample: tooMany(10_001), message: /more than 10,000 columns/ },
  { of: 'no row like the header', sample: 'a,b\n1\n2\n', message: /no row can be read; line 2: .* fewer fields/ },
  { of: 'a JSON list', sample: '[{"a": 1}]', message: /one JSON list/, hint: /jq/ },
  { of: 'JSON over several lines', sample: '{\n  "a": 1\n}\n', message: /no line is a JSON object/ },
  { of: 'JSON whose keys cannot be columns', sample: '{"a-b": 1}\n', message: /"a-b" cannot/ },
]

test('a sample without columns says what is wrong, and what would do', async () => {
  for (const { of, sample, message, hint } of faults) {
    await assert.rejects(guessed(sample), { code: 'NO_COLUMNS', message, ...(hint && { hint }), at: /sample$/ }, of)
  }
})

test('a sample that cannot be read at all is told of', async () => {
  await assert.rejects(guessedOf(join(folder.path, 'nowhere')), { code: 'NO_INPUT', message: /no such file/ })
  await assert.rejects(guessedOf(folder.path), { code: 'NO_INPUT', message: /not a file/ })
  await assert.rejects(guessed(gzipSync(tooMany(500)).subarray(0, 100)), { code: 'FILE_UNREADABLE' })
})
