/** Reading, validation, dedup and books without landing, beside a bare read of the same files by DuckDB. */
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type BatchTools, operateBatch, stageBatch } from '../src/engine/batch.ts'
import { Duck, type DuckSession } from '../src/engine/duckdb.ts'
import { decimal, files, oneOf, pipeline, table, text, timestamp } from '../src/pipeline.ts'
import type { FilesSource, Plan } from '../src/plan/plan.ts'
import { openFilesReader } from '../src/sources/files/reader.ts'
import { memoryDatabase, openMemoryStore } from '../src/store/memory.ts'
import { dataset } from './data.ts'
import { machine, median, printTable, saveResult } from './report.ts'

const formats = ['csv', 'json lines', 'parquet'] as const
type Format = (typeof formats)[number]

const memoryLimitMb = 512
const limits = { rows: 200_000, bytes: 64_000_000 }

type Results = Record<string, { bare: Run[]; texts: Run[]; millrace: Run[] }>

interface Run {
  wallMs: number
  processorMs: number
  rows: number
  /** Milliseconds by phase; Millrace's only. */
  phases: Record<string, number>
}

export async function benchRead({ root, rows, rounds }: { root: string; rows: number; rounds: number }): Promise<void> {
  const here = join(root, 'bench')
  const data = await dataset(join(here, '.cache'), rows)
  const results: Results = {}
  for (const format of formats) {
    const folder = await inFormat(data.raw, format)
    const paths = (await readdir(folder)).sort().map((name) => join(folder, name))
    const runs: Results[string] = { bare: [], texts: [], millrace: [] }
    results[format] = runs
    for (let round = 0; round <= rounds; round++) {
      const bare = await measured(() => bareRead(format, paths))
      const texts = await measured(() => millraceRead(format, folder, paths, 'texts'))
      const millrace = await measured(() => millraceRead(format, folder, paths, 'whole'))
      // the first round warms up
      if (round === 0) continue
      runs.bare.push(bare)
      runs.texts.push(texts)
      runs.millrace.push(millrace)
    }
  }
  print(results)
  await saveResult(here, `read-${rows}`, { machine: machine(), results })
}

async function measured(read: () => Promise<Pick<Run, 'rows' | 'phases'>>): Promise<Run> {
  const before = { clock: performance.now(), processor: process.cpuUsage() }
  const done = await read()
  const { user, system } = process.cpuUsage(before.processor)
  return { ...done, wallMs: performance.now() - before.clock, processorMs: (user + system) / 1000 }
}

// The same rows in another format, made once from the CSV files.
async function inFormat(raw: string, format: Format): Promise<string> {
  if (format === 'csv') return raw
  const folder = join(raw, '..', format === 'parquet' ? 'parquet' : 'jsonl')
  if ((await readdir(folder).catch(() => [])).length > 0) return folder
  const making = `${folder}.making`
  await rm(making, { recursive: true, force: true })
  await mkdir(making)
  await using duck = await openDuck([raw, making])
  using session = await duck.connect()
  for (const name of (await readdir(raw)).sort()) {
    const [to, as] =
      format === 'parquet'
        ? [name.replace('.csv', '.parquet'), 'format parquet']
        : [name.replace('.csv', '.jsonl'), 'format json']
    await session.run(`copy (from read_csv('${join(raw, name)}', all_varchar = true)) to '${join(making, to)}' (${as})`)
  }
  await import('node:fs/promises').then(({ rename }) => rename(making, folder))
  return folder
}

async function openDuck(folders: string[]): Promise<Duck> {
  return await Duck.open({ folders, temporary: join(folders[0] ?? '', '..', 'temporary'), memoryLimitMb, threads: 2 })
}

// What a user of DuckDB would write who trusts the files: typed columns, and lines that do not fit left out.
const typed = `{'event_id': 'varchar', 'user_id': 'varchar', 'event_type': 'varchar', 'product_id': 'varchar', 'price': 'decimal(12,2)', 'event_timestamp': 'timestamptz'}`

async function bareRead(format: Format, paths: string[]): Promise<Pick<Run, 'rows' | 'phases'>> {
  await using duck = await openDuck([join(paths[0] ?? '', '..')])
  using session = await duck.connect()
  const list = `[${paths.map((path) => `'${path}'`).join(', ')}]`
  const from = {
    csv: `read_csv(${list}, auto_detect = false, header = true, delim = ',', quote = '"', escape = '"', columns = ${typed}, ignore_errors = true)`,
    'json lines': `read_json(${list}, format = 'newline_delimited', columns = ${typed}, ignore_errors = true)`,
    parquet: `read_parquet(${list})`,
  }[format]
  const select =
    format === 'parquet'
      ? `select * replace (try_cast(price as decimal(12, 2)) as price, try_cast(event_timestamp as timestamptz) as event_timestamp) from ${from}`
      : `from ${from}`
  await session.run(`create table read as ${select}`)
  return { rows: await session.count('read'), phases: {} }
}

function planFor(format: Format, folder: string): Plan {
  const columns = {
    event_id: text().notEmpty(),
    user_id: text().notEmpty(),
    event_type: oneOf('view', 'add_to_cart', 'purchase'),
    product_id: text().notEmpty(),
    price: decimal(12, 2).atLeast(0),
    event_timestamp: timestamp(),
  }
  return pipeline('read')
    .from(files(folder, { format, columns }))
    .into(table('read', { oncePer: 'event_id' })).plan
}

async function millraceRead(
  format: Format,
  folder: string,
  paths: string[],
  how: 'texts' | 'whole',
): Promise<Pick<Run, 'rows' | 'phases'>> {
  const plan = planFor(format, folder)
  const spool = join(folder, '..', 'spool')
  await using duck = await openDuck([spool])
  using session = await duck.connect()
  using reading: DuckSession = await duck.connect()
  const store = openMemoryStore(memoryDatabase(Date.now))
  const tools: BatchTools = { plan, store, session, spool, filters: new Map() }
  await using reader = await openFilesReader({
    id: 'files',
    // as: planFor says so
    source: plan.sources['files'] as FilesSource,
    inputs: { paths, again: false },
    spool,
    sql: reading,
    apart: (share) => duck.apart(share),
    known: async () => new Map(),
    onProblem: (problem) => {
      throw problem
    },
  })
  const phases: Record<string, number> = {}
  let rows = 0
  for (let number = 1; ; number++) {
    const range = await reader.next(limits)
    if (range === undefined) break
    if (how === 'texts') {
      await session.run(`create or replace table texts as\n${range.select(number)}`)
      rows += range.rows
      await range.release()
      continue
    }
    const batch = await stageBatch(tools, number, range, new Date())
    await operateBatch(tools, batch)
    for (const [phase, ms] of Object.entries(batch.phases)) phases[phase] = (phases[phase] ?? 0) + ms
    rows += batch.counted?.verdicts?.rowsIn ?? 0
    await batch.release()
  }
  return { rows, phases }
}

function without(run: Run, ...phases: string[]): number {
  return phases.reduce((ms, phase) => ms - (run.phases[phase] ?? 0), run.wallMs)
}

function print(results: Results): void {
  const head = [
    '',
    'rows',
    'DuckDB alone ms',
    'as texts ms',
    'whole ms',
    'processor ms',
    'whole / DuckDB',
    'of processor',
    'checks / DuckDB',
    'with dead letters',
    'phases ms',
  ]
  const lines = Object.entries(results).map(([format, { bare, texts, millrace }]) => {
    const of = (runs: Run[], value: (run: Run) => number) => median(runs.map(value))
    const ratio = (value: (run: Run, i: number) => number, over: (run: Run) => number) =>
      median(millrace.map((run, i) => value(run, i) / over(bare[i] as Run))).toFixed(2)
    const phases = Object.keys(millrace[0]?.phases ?? {}).map(
      (phase) => `${phase} ${Math.round(of(millrace, (run) => run.phases[phase] ?? 0))}`,
    )
    return [
      format,
      String(millrace[0]?.rows ?? 0),
      of(bare, (run) => run.wallMs).toFixed(0),
      of(texts, (run) => run.wallMs).toFixed(0),
      of(millrace, (run) => run.wallMs).toFixed(0),
      of(millrace, (run) => run.processorMs).toFixed(0),
      ratio(
        (run) => run.wallMs,
        (run) => run.wallMs,
      ),
      ratio(
        (run) => run.processorMs,
        (run) => run.processorMs,
      ),
      ratio(
        (run, i) => without(run, 'print', 'letters') - (texts[i] as Run).wallMs,
        (run) => run.wallMs,
      ),
      ratio(
        (run, i) => without(run, 'print') - (texts[i] as Run).wallMs,
        (run) => run.wallMs,
      ),
      phases.join(', '),
    ]
  })
  printTable(head, lines)
  process.stdout.write(
    '\nchecks: validation, dedup and books, which is the whole without reading the rows as texts, without dead letters (2 % of ' +
      'the rows) and without printing for Postgres; goal: at most 1.5 times what DuckDB alone takes to read the files\n',
  )
}
