/** Files as the reader finds, claims and cuts them: one folder's life, with every way in which it can change meanwhile. */
import assert from 'node:assert/strict'
import { closeSync, openSync, writeSync } from 'node:fs'
import { appendFile, mkdir, mkdtempDisposable, readdir, readFile, unlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { openTestDuckdb } from '../../../test/duckdb.ts'
import { Duck, type DuckSession } from '../../engine/duckdb.ts'
import { batchNumber, decimal, files, integer, json, lineNumber, sourceFile, text } from '../../pipeline.ts'
import type { FilesSource } from '../../plan/plan.ts'
import type { StoredFile } from '../../store/store.ts'
import { settleMs } from './claims.ts'
import { openFilesReader } from './reader.ts'

const folder = await mkdtempDisposable(join(tmpdir(), 'millrace-reader-'))
const spool = join(folder.path, 'spool')
const duck = await Duck.open({
  folders: [spool],
  temporary: join(folder.path, 'temporary'),
  memoryLimitMb: 96,
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

const columns = { id: text().notEmpty(), n: integer().optional(), price: decimal(12, 2) }
const csv = sourceOf(files('in', { format: 'csv', columns }))
const jsonLines = sourceOf(files('in', { format: 'json lines', columns }))
const parquet = sourceOf(files('in', { format: 'parquet', columns }))

function sourceOf({ source }: { source: unknown }): FilesSource {
  // as: files() makes a source of files
  return source as FilesSource
}

interface Found {
  /** `<file>:<line> <columns>`, and `<- <raw>` where it was asked for. */
  rows: string[]
  /** `<file>:<line> <code> <raw>` */
  malformed: string[]
  /** `<file> <code>` */
  quarantined: string[]
  ranges: number
  unknown: Record<string, number>
}

/** Everything a reader makes of these files, in portions of so many rows. */
async function readAll(
  source: FilesSource,
  paths: string[],
  {
    rows = 1000,
    bytes = 1e9,
    raw = false,
    setAside = false,
    apart = (share: number): ReturnType<Duck['apart']> => duck.apart(share),
  } = {},
): Promise<Found> {
  const found: Found = { rows: [], malformed: [], quarantined: [], ranges: 0, unknown: {} }
  const stored = new Map<string, StoredFile>()
  await using reader = await openFilesReader({
    id: 'files',
    source,
    inputs: { paths, again: false },
    spool,
    sql: session,
    apart,
    known: async (ids) => new Map([...stored].filter(([id]) => ids.includes(id))),
    onProblem: (problem) => {
      throw problem
    },
  })
  for (;;) {
    // the first range alone
    const range = await reader.next({ rows, bytes, ...(setAside && found.ranges === 0 ? { setAside } : {}) })
    if (range === undefined) break
    found.ranges++
    assert.ok(found.ranges < 200, 'it does not end')
    await session.run(`create or replace table staged as ${range.select(found.ranges)}`)
    assert.equal(await session.count('staged'), range.rows, 'a range has the rows it says')
    await range.fetchRaw?.(session, 'staged', 'select _row from staged')
    const names = source.columns.map(({ name }) => `coalesce(s."${name}", '-')`)
    const text = `concat_ws(' ', parse_filename(${range.where.place}) || ':' || ${range.where.line}, ${names.join(', ')}${raw ? `, '<-', ${range.where.rawText}` : ''})`
    found.rows.push(
      ...(await texts(session, `select ${text} as text from staged s ${range.where.join} order by s._row`)),
    )
    if (range.malformedSelect !== undefined) {
      const bad = `select concat_ws(' ', parse_filename(place) || ':' || line, code, raw) as text from (${range.malformedSelect}) order by place, line`
      found.malformed.push(...(await texts(session, bad)))
    }
    for (const file of range.files) {
      if (file.state === 'quarantined') found.quarantined.push(`${file.path.split('/').at(-1)} ${file.code}`)
      stored.set(file.id, { ...file, batch: found.ranges })
    }
    // as: the files reader says it
    for (const { unknown_columns = {} } of range.ranges as { unknown_columns?: Record<string, number> }[]) {
      for (const [name, count] of Object.entries(unknown_columns))
        found.unknown[name] = (found.unknown[name] ?? 0) + count
    }
    await session.run('drop table staged')
    await range.release()
    // what is committed is the only memory
    if (found.ranges % 3 === 0) await reader.rewind()
  }
  assert.deepEqual(await readdir(spool), [], 'the spool is left clean')
  return found
}

async function texts(from: DuckSession, sql: string): Promise<string[]> {
  return (await from.rows<{ text: string }>(sql)).map(({ text: value }) => value)
}

async function given(name: string, content: string | Buffer): Promise<string> {
  const path = join(folder.path, name)
  await writeFile(path, content)
  return path
}

async function parquetFile(name: string, select: string, options = ''): Promise<string> {
  const path = join(folder.path, name)
  await writer.run(`copy (${select}) to '${path}' (format parquet ${options})`)
  return path
}

test('the three formats give the same rows', async () => {
  const expected = (name: string, first: number) => [`${name}:${first} a 1 1.50`, `${name}:${first + 1} b - 20.00`]
  const found = [
    await readAll(csv, [await given('same.csv', 'price,id,n\n1.50,a,1\n20.00,b,\n')]),
    await readAll(jsonLines, [
      await given('same.jsonl', '{"price":1.50,"id":"a","n":1}\n{"id":"b","price":"20.00"}\n'),
    ]),
    await readAll(parquet, [
      await parquetFile(
        'same.parquet',
        "select 1.5::decimal(5,2) as price, 'a' as id, 1 as n union all select 20, 'b', null",
      ),
    ]),
  ]
  assert.deepEqual(
    found.map(({ rows }) => rows),
    [expected('same.csv', 2), expected('same.jsonl', 1), expected('same.parquet', 1)],
  )
})

test('a row that takes too much memory is set aside, or its file if the row is not a long one', async () => {
  const long = 'x'.repeat(100_000)
  const next = await given('next.csv', 'id,n,price\nb,2,2.00\n')
  const found = await readAll(
    csv,
    [await given('long.csv', `id,n,price\n\r\n\n"${long}\n",1,1.00\nc,3,3.00\n`), next],
    {
      rows: 1,
      raw: true,
      setAside: true,
    },
  )
  assert.deepEqual(found.rows, ['long.csv:6 c 3 3.00 <- c,3,3.00', 'next.csv:2 b 2 2.00 <- b,2,2.00'])
  assert.deepEqual(
    found.malformed.map((row) => row.replace(/x+/, 'xx')),
    ['long.csv:4 ROW_TOO_LONG "xx [cut: the first 65536 of 100010 bytes]'],
  )
  const inJson = await given('long.jsonl', `{"id":"${long}","n":1,"price":1}\n{"id":"b","n":2,"price":2}\n`)
  const lines = await readAll(jsonLines, [inJson], { rows: 1, raw: true, setAside: true })
  assert.deepEqual([lines.rows.length, lines.malformed.length, lines.quarantined], [1, 1, []])
  const short = await readAll(csv, [await given('a-wide.csv', 'id,n,price\na,1,1.00\n'), next], {
    rows: 1,
    setAside: true,
  })
  assert.deepEqual([short.rows, short.quarantined], [['next.csv:2 b 2 2.00'], ['a-wide.csv NEEDS_MORE_MEMORY']])
  const whole = await parquetFile('whole-row.parquet', "select 'a' as id, 1 as n, 1.0 as price")
  assert.deepEqual((await readAll(parquet, [whole], { setAside: true })).quarantined, [
    'whole-row.parquet NEEDS_MORE_MEMORY',
  ])
})

test('a Parquet file that holds one long text many times is read in small portions', async () => {
  const bomb = await parquetFile(
    'bomb.parquet',
    "select i::varchar || repeat('x', 100000) as id, 1 as n, 1.0 as price from range(40) r(i)",
  )
  const found = await readAll(parquet, [bomb], { bytes: 1_000_000 })
  assert.deepEqual([found.rows.length, found.ranges], [40, 4])
})

test('a file is read in portions of any size, and goes on where it is committed', async () => {
  const lines = Array.from({ length: 47 }, (_, i) => ({ id: `id-${i}`, n: i, price: `${i}.25` }))
  const inCsv = `id,n,price\n${lines.map(({ id, n, price }) => `${id},${n},${price}`).join('\n')}\n`
  const inJson = lines.map((line) => JSON.stringify(line)).join('\n')
  const cases: [FilesSource, string][] = [
    [csv, await given('portions.csv', inCsv)],
    [csv, await given('portions.csv.gz', gzipSync(inCsv))],
    [csv, await given('portions.csv.zst', zstdCompressSync(inCsv))],
    [jsonLines, await given('portions.jsonl', inJson)],
    [jsonLines, await given('portions.jsonl.gz', gzipSync(inJson))],
    [
      parquet,
      await parquetFile(
        'portions.parquet',
        "select 'id-' || i as id, i as n, i || '.25' as price from range(47) r(i) order by i",
        ', row_group_size 10',
      ),
    ],
  ]
  for (const [source, path] of cases) {
    const whole = await readAll(source, [path])
    assert.equal(whole.rows.length, 47, path)
    for (const rows of [1, 5, 10, 46, 47]) {
      const found = await readAll(source, [path], { rows })
      assert.equal(found.ranges, Math.ceil(47 / rows), path)
      assert.deepEqual(found.rows, whole.rows, path)
    }
    assert.deepEqual((await readAll(source, [path], { bytes: 100 })).rows, whole.rows, path)
  }
})

test('a packed file is read whole or not at all', async () => {
  const content = `id,n,price\n${'a,1,1.00\n'.repeat(50_000)}`
  for (const [name, packed] of [
    ['gz', gzipSync(content)],
    ['zst', zstdCompressSync(content)],
  ] as const) {
    const broken = Buffer.from(packed)
    broken[packed.length >> 1] = (broken[packed.length >> 1] ?? 0) ^ 0xff
    const paths = [
      await given(`1-whole.csv.${name}`, packed),
      await given(`2-cut.csv.${name}`, packed.subarray(0, packed.length - 9)),
      await given(`3-broken.csv.${name}`, broken),
      await given(
        `4-several.csv.${name}`,
        Buffer.concat([packed, name === 'gz' ? gzipSync('b,2,2.00\n') : zstdCompressSync('b,2,2.00\n')]),
      ),
      await given(`5-followed.csv.${name}`, Buffer.concat([packed, Buffer.from('more')])),
      await given(`6-only-begun.csv.${name}`, packed.subarray(0, 5)),
    ]
    const found = await readAll(csv, paths, { rows: 1_000_000 })
    assert.equal(found.rows.length, 100_001)
    assert.equal(found.rows.at(-1), `4-several.csv.${name}:50002 b 2 2.00`)
    assert.deepEqual(found.quarantined, [
      `2-cut.csv.${name} CUT_SHORT`,
      `3-broken.csv.${name} NOT_PACKED_RIGHT`,
      `5-followed.csv.${name} NOT_PACKED_RIGHT`,
      `6-only-begun.csv.${name} CUT_SHORT`,
    ])
  }
})

test('a gzip file may be padded with zeros, and nothing follows them', async () => {
  const packed = gzipSync('id,n,price\na,1,1.00\n')
  const zeros = Buffer.alloc(200_000)
  const found = await readAll(csv, [
    await given('1-padded.csv.gz', Buffer.concat([packed, zeros])),
    await given('2-followed.csv.gz', Buffer.concat([packed, zeros, gzipSync('b,2,2.00\n')])),
    await given('3-followed.csv.gz', Buffer.concat([packed, Buffer.alloc(1), gzipSync('b,2,2.00\n')])),
  ])
  assert.deepEqual(found.rows, ['1-padded.csv.gz:2 a 1 1.00'])
  assert.deepEqual(found.quarantined, ['2-followed.csv.gz NOT_PACKED_RIGHT', '3-followed.csv.gz NOT_PACKED_RIGHT'])
})

test('a column may have the name of one that a reader of DuckDB adds by itself', async () => {
  const added = ['file_row_number', 'filename', 'FILE_INDEX', 'rowid']
  const columns = Object.fromEntries(added.map((name) => [name, text()]))
  const rows = Array.from({ length: 5 }, (_, i) => added.map((name) => `${name}-${i}`))
  const selects = rows.map((row) => `select ${row.map((value, i) => `'${value}' as ${added[i]}`).join(', ')}`)
  const paths = {
    csv: await given('added.csv', [added, ...rows].map((row) => `${row.join(',')}\n`).join('')),
    'json lines': await given('added.jsonl', selects.map((_, i) => jsonOf(added, rows[i])).join('')),
    parquet: await parquetFile('added.parquet', selects.join(' union all ')),
  }
  for (const format of ['csv', 'json lines', 'parquet'] as const) {
    const found = await readAll(sourceOf(files('in', { format, columns })), [paths[format]], { rows: 2 })
    const told = found.rows.map((row) => row.replace(/^\S+ /, ''))
    assert.deepEqual([told, found.quarantined], [rows.map((row) => row.join(' ')), []], format)
  }
})

function jsonOf(names: string[], values: string[] = []): string {
  return `${JSON.stringify(Object.fromEntries(names.map((name, i) => [name, values[i]])))}\n`
}

test('what is read apart takes a quarter of the memory more, and all of it only for a file that needs it', async () => {
  const limits: string[] = []
  const apart = async (share: number): ReturnType<Duck['apart']> => {
    const opened = await duck.apart(share)
    const [row] = await opened.rows<{ mb: string }>(
      `select regexp_replace(current_setting('memory_limit'), '[.].*', '') as mb`,
    )
    limits.push(row?.mb ?? '')
    return opened
  }
  const select = 'select uuid()::varchar as id, i as n, 1.0 as price from range(250_000) t(i)'
  const small = await parquetFile('small-share.parquet', `${select} limit 10`)
  const large = await parquetFile('large-share.parquet', select, ', row_group_size 250_000')
  assert.deepEqual((await readAll(parquet, [small], { apart })).quarantined, [])
  assert.deepEqual((await readAll(parquet, [large], { apart, rows: 50_000 })).quarantined, [])
  assert.deepEqual(limits, ['22', '22', '91'], 'in MiB')
})

test('what people send in place of text is called by its name', async () => {
  const workbook = await given('workbook.csv', Buffer.from('504b030414000600', 'hex'))
  const found = await readAll(csv, [workbook, await given('xz.csv', Buffer.from('fd377a585a000004', 'hex'))])
  assert.deepEqual(found.quarantined, ['workbook.csv NOT_TEXT', 'xz.csv NOT_TEXT'])
  assert.deepEqual((await readAll(jsonLines, [workbook])).quarantined, ['workbook.csv NOT_TEXT'])
})

test('what unpacks to far more than its size is refused', async () => {
  const bomb = gzipSync(Buffer.alloc(300 * 2 ** 20))
  assert.ok(bomb.length < 1_000_000)
  const found = await readAll(csv, [await given('bomb.csv.gz', bomb)])
  assert.deepEqual(found, { ...found, rows: [], quarantined: ['bomb.csv.gz UNPACKS_TOO_LARGE'] })
})

test('columns that the source does not name are refused, counted or kept', async () => {
  const paths = {
    csv: await given('more.csv', 'x,id,"y ""z""",n,price\n1,a,"q,r",1,1.00\n,b,,2,2.00\n'),
    jsonLines: await given('more.jsonl', '{"x":1,"id":"a","y":["q"],"n":1,"price":1}\n{"id":"b","price":2}\n'),
    parquet: await parquetFile('more.parquet', "select 1 as x, 'a' as id, ['q'] as y, 1 as n, 1.0 as price"),
  }
  const kept = { ...columns, more: json().optional() }
  for (const [format, path, refused, counted, rows] of [
    [
      'csv',
      paths.csv,
      { quarantined: ['more.csv HEADER_MISMATCH'] },
      { x: 2, 'y "z"': 2 },
      ['more.csv:2 a 1 1.00 {"x":"1","y \\"z\\"":"q,r"}', 'more.csv:3 b 2 2.00 {"x":"","y \\"z\\"":""}'],
    ],
    [
      'json lines',
      paths.jsonLines,
      { malformed: ['more.jsonl:1 UNKNOWN_COLUMN {"x":1,"id":"a","y":["q"],"n":1,"price":1}'] },
      { x: 1, y: 1 },
      ['more.jsonl:1 a 1 1 {"x":1,"y":["q"]}', 'more.jsonl:2 b - 2 -'],
    ],
    [
      'parquet',
      paths.parquet,
      { quarantined: ['more.parquet HEADER_MISMATCH'] },
      { x: 1, y: 1 },
      ['more.parquet:1 a 1 1.0 {"x":1,"y":["q"]}'],
    ],
  ] as const) {
    const refusing = await readAll(sourceOf(files('in', { format, columns, unknownColumns: 'refuse' })), [path])
    assert.deepEqual(refusing, { ...refusing, ...refused }, format)
    const counting = await readAll(sourceOf(files('in', { format, columns, unknownColumns: 'count' })), [path], {
      raw: true,
    })
    assert.deepEqual(counting.unknown, counted, format)
    assert.equal(counting.rows.length, rows.length, format)
    const keeping = await readAll(
      sourceOf(files('in', { format, columns: kept, unknownColumns: { keepAs: 'more' } })),
      [path],
    )
    assert.deepEqual(keeping.rows, rows, format)
  }
})

test('a row knows where it came from', async () => {
  const origins = { ...columns, from: sourceFile(), at: lineNumber(), batch: batchNumber() }
  const one = await given('origin 1.csv', 'id,n,price\na,1,1.00\nb,2,2.00\n')
  const two = await given("origin '2'.csv", 'id,n,price\n\nc,3,3.00\n')
  const found = await readAll(sourceOf(files('in', { format: 'csv', columns: origins })), [one, two], { rows: 2 })
  assert.deepEqual(found.rows, [
    `origin '2'.csv:3 c 3 3.00 ${two} 3 1`,
    `origin 1.csv:2 a 1 1.00 ${one} 2 1`,
    `origin 1.csv:3 b 2 2.00 ${one} 3 2`,
  ])
})

test('without a header the fields are the columns in their order', async () => {
  const bare = sourceOf(files('in', { format: 'csv', columns, header: false, delimiter: ';', quote: "'" }))
  const found = await readAll(bare, [await given('bare.csv', "\ufeffa;1;1.00\n'b;b';2;2.00\n")], { raw: true })
  assert.deepEqual(found.rows, ['bare.csv:1 a 1 1.00 <- a;1;1.00', "bare.csv:2 b;b 2 2.00 <- 'b;b';2;2.00"])
})

test('the text of a row is that of its file', async () => {
  const lines = Array.from(
    { length: 300 },
    (_, i) => `{"n": ${i}, "id":"${'é"'.replace('"', '\\"').repeat(i)}",  "price":1.00}`,
  )
  for (const [name, pack] of [
    ['raw.jsonl', (content: string) => Buffer.from(content)],
    ['raw.jsonl.gz', (content: string) => gzipSync(content)],
  ] as const) {
    const found = await readAll(jsonLines, [await given(name, pack(lines.join('\r\n')))], { rows: 70, raw: true })
    assert.deepEqual(
      found.rows.map((row) => row.slice(row.indexOf(' <- ') + 4)),
      lines,
    )
  }
  const fields = await readAll(
    parquet,
    [await parquetFile('raw.parquet', `select 'a"b' as id, null::int as n, 1.5 as price`)],
    { raw: true },
  )
  assert.deepEqual(fields.rows, ['raw.parquet:1 a"b - 1.5 <- {"id":"a\\"b","n":null,"price":"1.5"}'])
})

test('a file that is no JSON lines, or no Parquet, is quarantined whole', async () => {
  const array = `[\n${Array.from({ length: 200 }, (_, i) => `  {"id":"${i}"},`).join('\n')}\n]`
  const pretty = await readAll(jsonLines, [
    await given('array.json', array),
    await given('junk.jsonl', Buffer.alloc(5000, '\u0001\n')),
  ])
  assert.deepEqual(pretty.quarantined, ['array.json NOT_JSON_LINES', 'junk.jsonl NOT_JSON_LINES'])
  for (const document of ['[{"id":"a"}]', ' [\r\n{"id":"a"},\n{"id":"b"}\n]', '\ufeff{\n "id": "a"\n}\n', '[]']) {
    const found = await readAll(jsonLines, [await given('document.jsonl', document)])
    assert.deepEqual(found.quarantined, ['document.jsonl NOT_JSON_LINES'], document)
  }
  const logged = await given('logged.jsonl', '[info] starting\n{"id":"a","price":1}\n')
  assert.deepEqual((await readAll(jsonLines, [logged])).rows, ['logged.jsonl:2 a - 1'])
  const few = await readAll(jsonLines, [await given('few.jsonl', 'x\n{"id":"a"}\n')])
  assert.deepEqual([few.quarantined, few.malformed.length, few.rows.length], [[], 1, 1])
  const whole = await parquetFile('whole.parquet', "select 'a' as id, 1 as n, 1.0 as price from range(1000)")
  const bytes = await readFile(whole)
  const damaged = Buffer.from(bytes)
  damaged.fill(0x7f, 4, 200)
  const found = await readAll(parquet, [
    await given('cut.parquet', bytes.subarray(0, -10)),
    await given('text.parquet', 'id,n,price\n'),
    await given('tiny.parquet', 'PAR1'),
    await given('damaged.parquet', damaged),
    await parquetFile('types.parquet', "select {'a': 1} as id, 1 as n, 1.0 as price"),
    await parquetFile('bytes.parquet', "select 'a'::blob as id, 1 as n, 1.0 as price"),
    await parquetFile('names.parquet', "select 'a' as id, 1 as n, 1.0 as prise"),
    await parquetFile('nul.parquet', "select chr(0) as id, 1 as n, 1.0 as price union all select 'b', 2, 2.0"),
  ])
  assert.deepEqual(found.quarantined.sort(), [
    'bytes.parquet WRONG_TYPE',
    'cut.parquet NOT_PARQUET',
    'damaged.parquet FILE_UNREADABLE',
    'names.parquet HEADER_MISMATCH',
    'text.parquet NOT_PARQUET',
    'tiny.parquet NOT_PARQUET',
    'types.parquet WRONG_TYPE',
  ])
  assert.deepEqual(found.malformed, ['nul.parquet:1 NUL_BYTE {"id":"\\u0000","n":"1","price":"1.0"}'])
  assert.deepEqual(found.rows, ['nul.parquet:2 b 2 2.0'])
})

test('no cut into batches changes whether a file is JSON lines', async () => {
  // though an object follows
  const late = await given('late.jsonl', `${'1\n'.repeat(100)}{"id":"a"}\n`)
  for (const rows of [1, 7, 1000])
    assert.deepEqual((await readAll(jsonLines, [late], { rows })).quarantined, ['late.jsonl NOT_JSON_LINES'])
  const refusing = sourceOf(files('in', { format: 'json lines', columns, unknownColumns: 'refuse' }))
  const refused = await readAll(refusing, [await given('refused.jsonl', '{"x":1}\n'.repeat(200))])
  assert.deepEqual([refused.quarantined, refused.malformed.length], [[], 200], 'objects, though none of them fits')
})

test('a Parquet file that is damaged further on lands no row before', async () => {
  const rows = "select 'id-' || i as id, i as n, i || '.25' as price from range(6000) r(i)"
  const path = await parquetFile('damaged-late.parquet', rows, ', row_group_size 2048, compression uncompressed')
  const bytes = await readFile(path)
  assert.equal((await readAll(parquet, [path], { rows: 100 })).rows.length, 6000)
  const at = bytes.indexOf('id-5000')
  await writeFile(path, Buffer.concat([bytes.subarray(0, at - 4), Buffer.alloc(8, 0xff), bytes.subarray(at + 4)]))
  const found = await readAll(parquet, [path], { rows: 100 })
  assert.deepEqual([found.rows, found.quarantined], [[], ['damaged-late.parquet FILE_UNREADABLE']])
})

test('a changed byte at the end of a Parquet file costs that file, and no DuckDB', async () => {
  const path = await parquetFile('changed.parquet', "select 'a' as id, 1 as n, 1.0 as price from range(7)")
  const bytes = await readFile(path)
  const paths: string[] = []
  for (let at = bytes.length - 8 - bytes.readUInt32LE(bytes.length - 8); at < bytes.length - 4; at++) {
    const changed = Buffer.from(bytes)
    changed[at] = (bytes[at] ?? 0) ^ 2
    paths.push(await given(`changed-${at}.parquet`, changed))
  }
  const found = await readAll(parquet, paths, { rows: 5000 })
  assert.equal(found.rows.length + found.malformed.length, 7 * (paths.length - found.quarantined.length))
})

test('a file that grows after a part of it was read is quarantined, and its neighbours land', async () => {
  const growing = await given('growing.csv', 'id,n,price\na,1,1.00\nb,2,2.00\nc,3,3.00\n')
  const stored = new Map<string, StoredFile>()
  const quarantined: string[] = []
  await using reader = await openFilesReader({
    id: 'files',
    source: csv,
    inputs: { paths: [growing, await given('h-neighbour.csv', 'id,n,price\nd,4,4.00\n')], again: false },
    spool,
    sql: session,
    apart: (share) => duck.apart(share),
    known: async () => stored,
    onProblem: (problem) => {
      throw problem
    },
  })
  let rows = 0
  for (
    let range = await reader.next({ rows: 2, bytes: 1e6 });
    range !== undefined;
    range = await reader.next({ rows: 2, bytes: 1e6 })
  ) {
    rows += range.rows
    quarantined.push(...range.files.filter(({ state }) => state === 'quarantined').map(({ code = '' }) => code))
    await range.release()
    if (rows === 2) await appendFile(growing, 'e,5,5.00\n')
  }
  assert.deepEqual([rows, quarantined], [3, ['FILE_CHANGED']])
})

test('a file that somebody still writes holds up none of those after it, and is read when it has come to rest', async () => {
  const raw = join(folder.path, 'growing')
  await mkdir(raw)
  for (const name of ['a.csv', 'b.csv', 'c.csv']) {
    await writeFile(join(raw, name), 'id,n,price\na,1,1.00\n')
    await utimes(join(raw, name), 1, 1)
  }
  let now = Date.now()
  await using reader = await openFilesReader({
    id: 'files',
    source: { ...csv, folder: raw },
    spool,
    sql: session,
    apart: (share) => duck.apart(share),
    known: async () => new Map(),
    onProblem: (problem) => {
      throw problem
    },
    now: () => now,
  })
  const read = async (): Promise<string[]> => {
    const range = await reader.next({ rows: 1e6, bytes: 1e9 })
    await range?.release()
    return range?.files.map(({ path, rowsDone }) => `${basename(path)} ${rowsDone}`) ?? []
  }
  const growing = openSync(join(raw, 'a.csv'), 'a')
  let rows = 1
  let writing = true
  const writer = (async () => {
    for (; writing; rows++) {
      writeSync(growing, 'b,2,2.00\n')
      await setImmediate()
    }
  })()
  assert.deepEqual(await read(), ['b.csv 1', 'c.csv 1'])
  assert.ok(reader.unsettled)
  assert.deepEqual(await read(), [])
  writing = false
  await writer
  closeSync(growing)
  now += 2 * settleMs
  assert.deepEqual(await read(), [`a.csv ${rows}`])
  assert.deepEqual([await read(), reader.unsettled], [[], false])
})

test('the text of a row whose file is gone is not taken from another file', async () => {
  for (const then of [unlink, (path: string) => writeFile(path, '{"id":"z","n":9,"price":9}\n{}\n')]) {
    const path = await given('fleeting.jsonl', '{"id":"a","n":1,"price":1}\n')
    await using reader = await openFilesReader({
      id: 'files',
      source: jsonLines,
      inputs: { paths: [path], again: false },
      spool,
      sql: session,
      apart: (share) => duck.apart(share),
      known: async () => new Map(),
      onProblem: (problem) => {
        throw problem
      },
    })
    const range = await reader.next({ rows: 10, bytes: 1e6 })
    assert.ok(range)
    await then(path)
    await session.run(`create or replace table staged as ${range.select(1)}`)
    await range.fetchRaw?.(session, 'staged', 'select _row from staged')
    const found = await texts(session, `select ${range.where.rawText} as text from staged s ${range.where.join}`)
    assert.deepEqual(found, ['[the file is gone, or has changed]'])
    await range.release()
  }
})

test('of long rows a range takes few, and one beyond 32 MiB is malformed', async () => {
  const row = (i: number, bytes: number) => `${'x'.repeat(bytes)},${i},1.00\n`
  const path = await given(
    'long.csv',
    `id,n,price\n${[1, 2, 3, 4, 5, 6].map((i) => row(i, 1_500_000)).join('')}${row(7, 33_600_000)}${row(8, 1)}`,
  )
  const found = await readAll(csv, [path])
  assert.deepEqual([found.rows.length, found.malformed.length], [7, 1])
  assert.match(found.malformed[0] ?? '', /^long.csv:8 ROW_TOO_LONG/)
  assert.ok(found.ranges >= 2, 'the rows came in several ranges')
})

test('what is to be read again is read again also after the run has gone back to what is stored', async () => {
  const paths = [
    await given('again-a.csv', 'id,n,price\na,1,1.00\n'),
    await given('again-b.csv', 'id,n,price\nb,1,1.00\n'),
  ]
  const batches = new Map(paths.map((path) => [path, 1]))
  await using reader = await openFilesReader({
    id: 'files',
    source: csv,
    inputs: { paths, again: true },
    spool,
    sql: session,
    known: async (ids) => {
      // as: of what is stored, only this is asked
      const stored = ids.map(
        (id) => ({ id, state: 'done', size: 0, mtimeNs: 0n, batch: batches.get(id) }) as StoredFile,
      )
      return new Map(stored.map((file) => [file.id, file]))
    },
    onProblem: (problem) => assert.equal(problem.code, 'FILE_CHANGED'),
  })
  const one = { rows: 1, bytes: 1e9 }
  const read = async () => {
    const range = await reader.next(one)
    await range?.release()
    return range?.files.map(({ path }) => basename(path))
  }
  assert.deepEqual(await read(), ['again-a.csv'])
  await reader.rewind()
  assert.deepEqual(await read(), ['again-a.csv'], 'nothing was committed')
  batches.set(paths[0] ?? '', 2)
  await reader.rewind()
  assert.deepEqual(await read(), ['again-b.csv'], 'the first one was')
})
