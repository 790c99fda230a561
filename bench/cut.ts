/**
 * How fast rows are cut out of CSV, alone and with DuckDB reading what was cut, beside DuckDB reading the same file by
 * itself. `node bench/cut.ts [megabytes]`; the best of five rounds in which all take their turn. The processor's time, of
 * all threads, says more than the clock when the machine has other work.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { mkdtempDisposable, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CsvCutter } from '../src/sources/files/cut-csv.ts'
import { readSpoolSql } from '../src/sources/files/read-spool.ts'
import { openTestDuckdb } from '../test/duckdb.ts'

const dialect = { delimiter: ',', quote: '"' }
const columns = ['event_id', 'user_id', 'event_type', 'product_id', 'price', 'event_timestamp']
const chunkBytes = 1024 * 1024
const partBytes = 8 * 1024 * 1024
const rounds = 5

const megabytes = Number(process.argv[2] ?? 100)
await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-bench-'))
await using db = await openTestDuckdb()

const kinds = [
  { name: 'no quotes', row: (i: number) => row(i, 'view', '') },
  { name: 'one field in quotes', row: (i: number) => row(i, '"view, ""again"""', '') },
  { name: 'all fields in quotes', row: (i: number) => row(i, 'view', '"') },
  { name: '1 % malformed', row: (i: number) => (i % 100 === 0 ? `${i},broken` : row(i, 'view', '')) },
]
for (const kind of kinds) await measure(kind.name, kind.row)

function row(i: number, eventType: string, quote: string): string {
  const id = Math.imul(i, 2654435761).toString(16).replace('-', 'f').padStart(8, '0')
  const seconds = String(i % 60).padStart(2, '0')
  const fields = [
    `${id}-0000-4000-8000-000000000000`,
    `user_${i % 5000}`,
    eventType,
    `product_${i % 997}`,
    String((i % 10_000) / 100),
    `2026-01-01T00:00:${seconds}.000Z`,
  ]
  return fields.map((field) => quote + field + quote).join(',')
}

// Apart, so that a million texts are not there to be collected while something is measured.
async function generate(path: string, makeRow: (i: number) => string): Promise<number> {
  const lines: string[] = []
  for (let bytes = 0; bytes < megabytes * 1_000_000; ) {
    const line = `${makeRow(lines.length)}\n`
    bytes += line.length
    lines.push(line)
  }
  await writeFile(path, lines.join(''))
  return lines.length
}

async function measure(name: string, makeRow: (i: number) => string): Promise<void> {
  const path = join(folder.path, 'input.csv')
  const count = await generate(path, makeRow)
  const { size } = await stat(path)

  const types = columns.map((column) => `${column}: 'varchar'`).join(', ')
  const ways: Record<string, () => Promise<number>> = {
    'DuckDB alone, rejects stored': () =>
      load(`read_csv('${path}', auto_detect = false, header = false, delim = ',', quote = '"', escape = '"',
        columns = {${types}}, store_rejects = true)`),
    cut: async () => cut(path, () => {}).rows,
    'cut and write': async () => spool(path).rows,
    'cut, write, DuckDB reads': async () => {
      const { paths, longestRow } = spool(path)
      return load(readSpoolSql(paths, columns, { dialect, mark: '_quoted' }, { longestRow }))
    },
  }
  const best = new Map<string, { milliseconds: number; busy: number; rows: number }>()
  for (let round = 0; round < rounds; round++) {
    for (const [way, run] of Object.entries(ways)) {
      const before = { clock: performance.now(), processor: process.cpuUsage() }
      const rows = await run()
      const { user, system } = process.cpuUsage(before.processor)
      const milliseconds = performance.now() - before.clock
      const busy = (user + system) / 1000
      const sofar = best.get(way) ?? { milliseconds, busy, rows }
      best.set(way, {
        milliseconds: Math.min(milliseconds, sofar.milliseconds),
        busy: Math.min(busy, sofar.busy),
        rows,
      })
    }
  }
  const alone = best.get('DuckDB alone, rejects stored') ?? { milliseconds: Number.NaN, busy: Number.NaN }
  console.log(`\n${name}: ${Math.round(size / 1e6)} MB, ${Math.round(size / count)} bytes a row`)
  console.log(`  ${''.padEnd(30)}     clock      MB/s  ratio   processor  ratio       rows`)
  for (const [way, { milliseconds, busy, rows }] of best) {
    const speed = String(Math.round(size / milliseconds / 1000)).padStart(9)
    const clock = `${milliseconds.toFixed(0).padStart(7)} ms ${speed}  ${(milliseconds / alone.milliseconds).toFixed(2).padStart(5)}`
    const processor = `${busy.toFixed(0).padStart(8)} ms  ${(busy / alone.busy).toFixed(2).padStart(5)}`
    console.log(`  ${way.padEnd(30)}${clock} ${processor} ${String(rows).padStart(10)}`)
  }
}

// Malformed rows are cut, but not written: few are read, and by another statement.
function cut(path: string, rows: (bytes: Buffer) => void): { rows: number; longestRow: number } {
  const cutter = new CsvCutter({
    dialect,
    fields: columns.length,
    maxRowBytes: 32_000_000,
    firstLine: 1,
    file: 0,
    rows,
    malformed: () => {},
  })
  const file = openSync(path, 'r')
  const total = { rows: 0, longestRow: 0 }
  const chunk = Buffer.allocUnsafeSlow(chunkBytes)
  for (let read = chunkBytes; read > 0; ) {
    read = readSync(file, chunk)
    const now = cutter.push(chunk.subarray(0, read), read === 0)
    total.rows += now.rows
    total.longestRow = Math.max(total.longestRow, now.longestRow)
  }
  closeSync(file)
  return total
}

function spool(path: string): { rows: number; longestRow: number; paths: string[] } {
  const paths: string[] = []
  let file = -1
  let written = partBytes
  const total = cut(path, (bytes) => {
    if (written >= partBytes) {
      if (file >= 0) closeSync(file)
      const part = join(folder.path, `part-${paths.length}.csv`)
      paths.push(part)
      file = openSync(part, 'w')
      written = 0
    }
    written += writeSync(file, bytes)
  })
  closeSync(file)
  return { ...total, paths }
}

async function load(relation: string): Promise<number> {
  await db.run(`create or replace temp table loaded as select * from ${relation}`)
  const { rows } = await db.query('select count(*) from loaded')
  return Number(rows[0]?.[0])
}
