import assert from 'node:assert/strict'
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { openTestDuckdb } from '../../../test/duckdb.ts'
import { identifier } from '../../plan/identifier.ts'
import { CsvCutter } from './cut-csv.ts'
import { malformedLine, rawSql, readMalformedSql, readSpoolSql } from './read-spool.ts'

const dialect = { delimiter: ',', quote: '"' }
const db = await openTestDuckdb()
const folder = await mkdtempDisposable(join(tmpdir(), 'millrace-spool-'))
after(async () => {
  await db[Symbol.asyncDispose]()
  await folder.remove()
})

// Cuts an input into spool files of about `partBytes`.
async function spool(input: Buffer, fields: number, name: string, partBytes: number) {
  const parts: Buffer[][] = [[]]
  let longestRow = 0
  let bytes = 0
  const cutter = new CsvCutter({
    dialect,
    fields,
    maxRowBytes: 64_000_000,
    firstLine: 1,
    file: 0,
    rows: (chunk) => {
      if (bytes >= partBytes) parts.push([])
      bytes = bytes >= partBytes ? chunk.length : bytes + chunk.length
      parts.at(-1)?.push(Buffer.from(chunk))
    },
    malformed: (line) => assert.fail(String(line)),
  })
  for (let at = 0; at < input.length; at += 1_000_000) {
    const cut = cutter.push(input.subarray(at, at + 1_000_000), at + 1_000_000 >= input.length)
    longestRow = Math.max(longestRow, cut.longestRow)
  }
  const paths = parts.map((_, i) => join(folder.path, `${name}-${i}.csv`))
  for (const [i, path] of paths.entries()) await writeFile(path, Buffer.concat(parts[i] ?? []))
  return { paths, longestRow }
}

test('rows with quotes and line ends in them are read right across many buffers and files', async () => {
  const hostile = ['"', '""', '",', ',"', '","', '"\n', '\n"', '\n', ',', '\r\n', 'x", "y', '1,2,3']
  const count = 150_000
  const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`
  const rows = Array.from({ length: count }, (_, i) => {
    const text = `${hostile[i % 12] ?? ''}${i}${hostile[(i * 7) % 11] ?? ''}`
    return `${i},${quoted(text)},${quoted(text.repeat(1 + (i % 5)))},plain ${i}\n`
  })
  const { paths, longestRow } = await spool(Buffer.from(rows.join('')), 4, 'hostile', 5_000_000)
  assert.ok(paths.length > 2)
  const expected = `list_value(${hostile.map((text) => `'${text}'`).join(', ')})`
  const { rows: found } = await db.query(`
    with read as (select * from ${readSpoolSql(paths, ['i', 'a', 'b', 'c'], { dialect, mark: '_quoted' }, { longestRow })}),
    wanted as (select *, ${expected} as h, i::integer as n from read)
    select count(*), count(distinct i), sum(n::bigint),
      count(*) filter (a = h[n % 12 + 1] || i || coalesce(h[(n * 7) % 11 + 1], '')),
      count(*) filter (b = repeat(a, 1 + n % 5)),
      count(*) filter (c = 'plain ' || i)
    from wanted`)
  assert.deepEqual(found, [[count, count, (count * (count - 1)) / 2, count, count, count]])
})

test('a row in the middle of others may be as long as a row may be', async () => {
  const small = 'a,b,c\n'.repeat(1000)
  for (const size of [100, 4_194_303, 30_000_000]) {
    const { paths, longestRow } = await spool(Buffer.from(`${small}${'x'.repeat(size)},"",\n${small}`), 3, 'long', 1e9)
    assert.equal(longestRow, Math.max('0,1001,01,,"",\n'.length + size, '0,1000,,a,b,c\n'.length))
    const { rows } = await db.query(`
      select count(*), sum(length(a)), max(length(a)), count(*) filter (b = ''), count(*) filter (c is null)
      from ${readSpoolSql(paths, ['a', 'b', 'c'], { dialect, mark: '_quoted' }, { longestRow })}`)
    assert.deepEqual(rows, [[2001, 2000 + size, size, 1, 0]])
  }
})

test('the text a row was cut from comes back, with all columns or names that need quoting', async () => {
  const input = 'a,"b ""x""","","line\nend"\n,,,\n"",5" pipe, "c",\rd\n'
  const { paths, longestRow } = await spool(Buffer.from(input), 4, 'raw', 1e9)
  const columns = ['order', 'it\'s "odd"', 'C', 'é']
  const { rows } = await db.query(`
    with nullable as (
      select _line, _quoted, ${columns.map((name) => `nullif(${identifier(name)}, '') as ${identifier(name)}`).join(', ')}
      from ${readSpoolSql(paths, columns, { dialect, mark: '_quoted' }, { longestRow })}
    )
    select ${rawSql(columns, dialect, 's')} from nullable s order by _line`)
  assert.deepEqual(rows.flat(), ['a,"b ""x""","","line\nend"', ',,,', '"",5" pipe, "c",\rd'])
})

test('a row may have thousands of columns', async () => {
  const columns = Array.from({ length: 2000 }, (_, i) => `c${i}`)
  const input = [columns, columns.map((name) => `"${name}"`), columns.map(() => '')].map((row) => `${row.join(',')}\n`)
  const { paths, longestRow } = await spool(Buffer.from(input.join('')), columns.length, 'wide', 1e9)
  const { rows } = await db.query(
    `select ${rawSql(columns, dialect, 's')} || e'\\n', c0, c1999
    from ${readSpoolSql(paths, columns, { dialect, mark: '_quoted' }, { longestRow })} s
    order by _line`,
  )
  assert.deepEqual(rows, [
    [input[0], 'c0', 'c1999'],
    [input[1], 'c0', 'c1999'],
    [input[2], '', ''],
  ])
})

test('no field is null, whatever columns are read', async () => {
  const { paths, longestRow } = await spool(Buffer.from(',"",x\nNULL,"\n",\n,,\\N\n'), 3, 'null', 1e9)
  const all: Record<string, string[]> = {
    a: ['', 'NULL', ''],
    b: ['', '\n', ''],
    c: ['x', '', '\\N'],
    _quoted: ['01', '01', ''],
  }
  const names = Object.keys(all)
  for (let set = 1; set < 2 ** names.length; set++) {
    const some = names.filter((_, i) => set & (1 << i)).reverse()
    const { rows } = await db.query(
      `select ${some.join(', ')} from ${readSpoolSql(paths, ['a', 'b', 'c'], { dialect, mark: '_quoted' }, { longestRow })} order by _line`,
    )
    assert.deepEqual(
      rows,
      [0, 1, 2].map((row) => some.map((name) => all[name]?.[row])),
    )
  }
})

test('a folder that looks like a partition adds no column, and an empty file no row', async () => {
  await mkdir(join(folder.path, "year=2026 it's"))
  const paths = ['a.csv', 'b.csv'].map((name) => join(folder.path, "year=2026 it's", name))
  await writeFile(paths[0] ?? '', '0,7,,x\n')
  await writeFile(paths[1] ?? '', '')
  for (const some of [paths, paths.slice(1)]) {
    const { types, rows } = await db.query(
      `from ${readSpoolSql(some, ['a'], { dialect, mark: '_quoted' }, { longestRow: 10 })}`,
    )
    assert.deepEqual(types, ['integer', 'bigint', 'varchar', 'varchar'])
    assert.deepEqual(rows, some === paths ? [[0, 7, '', 'x']] : [])
  }
})

test('a path that DuckDB would read as a pattern is refused', () => {
  for (const path of ['/data/a*.csv', '/d?ta/a.csv', '/[data]/a.csv']) {
    assert.throws(() => readSpoolSql([path], ['a'], { dialect, mark: '_quoted' }, { longestRow: 10 }), {
      code: 'INVALID_SETTING',
      at: path,
    })
    assert.throws(() => readMalformedSql([path]), { code: 'INVALID_SETTING' })
  }
})

test('malformed lines of the greatest length are read', async () => {
  const path = join(folder.path, 'malformed.csv')
  const raws = [Buffer.alloc(70_000), Buffer.alloc(70_000, '"'), Buffer.alloc(70_000, '"\n')]
  await writeFile(path, raws.map((raw, i) => malformedLine(1, { line: i, code: 'NUL_BYTE' }, raw, 2 ** 40)).join(''))
  const { rows } = await db.query(
    `select _line, length(raw), length(hex) from ${readMalformedSql([path])} order by _line`,
  )
  const mark = ' [cut: the first 65536 of 1099511627776 bytes]'.length
  assert.deepEqual(rows, [
    [0, 4 * 65_536 + mark, 2 * 65_536],
    [1, 65_536 + mark, 0],
    [2, 65_536 + mark, 0],
  ])
})
