/** From a file's arrival to its rows being visible in Postgres, at 1,000 events a second in small files. */
import { mkdir, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { type Running, startCommand } from './command.ts'
import { goodRow, header, lineOf } from './data.ts'
import { query, startPostgres } from './postgres.ts'
import { highWaterMark } from './processes.ts'
import { machine, percentile, printTable, saveResult } from './report.ts'

const everyMs = 100
const rowsPerFile = 100
const warmUpSeconds = 5
const pollMs = 2
const seed = 7

export interface LatencyOptions {
  root: string
  seconds: number
  signal: AbortSignal
}

export interface Dropped {
  /** The id of the file's last row: when it is visible, so is the file. */
  lastId: string
  arrivedAt: number
  /** How long after its time it was dropped: what the bench itself was behind. */
  behindMs: number
  visibleAt?: number
}

export async function benchLatency({ root, seconds, signal }: LatencyOptions): Promise<void> {
  const here = join(root, 'bench')
  const room = join(here, '.cache', `run-${process.pid}`)
  const folder = join(room, 'shop-events')
  await mkdir(join(folder, 'raw'), { recursive: true })
  await mkdir(join(room, 'writing'))
  try {
    await using postgres = await startPostgres(room, signal)
    const url = await postgres.fresh()
    const env = { DATABASE_URL: url, SHOP_EVENTS_DIR: folder, MILLRACE_DATA: join(room, 'data') }
    const args = [join(root, 'src/cli/main.ts'), 'work', 'shop-events']
    await using worker = startCommand({ program: process.execPath, args, env, signal })
    await firstFile(url, room, folder, worker, signal)
    const files = await dropAndWatch(url, room, folder, seconds, worker, signal)
    const memoryMb = highWaterMark(worker.pid)
    await stop(worker)
    await verify(url, 1 + files.length)
    const measured = latencies(files)
    const ledger = await ledgerOf(url)
    const result = {
      machine: { postgres: postgres.version, ...machine() },
      events: measured.length * rowsPerFile,
      files: measured.length,
      p50: percentile(measured, 0.5),
      p99: percentile(measured, 0.99),
      most: Math.max(...measured),
      behindMs: Math.max(...files.map((file) => file.behindMs)),
      memoryMb,
      ledger,
      latenciesMs: measured.map((one) => Math.round(one * 10) / 10),
    }
    print(result)
    await saveResult(here, 'latency', result)
  } finally {
    await rm(room, { recursive: true, force: true })
  }
}

/** The worker is ready when it has landed a file. */
async function firstFile(
  url: string,
  room: string,
  folder: string,
  worker: Running,
  signal: AbortSignal,
): Promise<void> {
  const file = await drop(room, folder, 0)
  const until = performance.now() + 60_000
  for (;;) {
    const seen = await query(url, `select 1 from user_events where event_id = '${file.lastId}'`).catch(() => [])
    if (seen.length > 0) return
    if (performance.now() > until) throw new Error(`the worker landed nothing in 60 s; it said:\n${worker.said()}`)
    await orEnded(worker, pause(50, undefined, { signal }))
  }
}

/** Drops files by the clock, and watches when their rows become visible. */
export async function dropAndWatch(
  url: string,
  room: string,
  folder: string,
  seconds: number,
  worker: Running,
  signal: AbortSignal,
): Promise<Dropped[]> {
  const files: Dropped[] = []
  const total = ((warmUpSeconds + seconds) * 1000) / everyMs
  const watcher = new pg.Client({ connectionString: url })
  await watcher.connect()
  try {
    const dropAll = async () => {
      const started = performance.now()
      for (let at = 0; at < total; at++) {
        // By the clock, not by the last file: a slow write does not lower the rate.
        const due = started + at * everyMs
        await pause(Math.max(0, due - performance.now()), undefined, { signal })
        files.push(await drop(room, folder, at + 1, due))
      }
    }
    const watchAll = async () => {
      const until = performance.now() + (warmUpSeconds + seconds + 60) * 1000
      for (;;) {
        const waiting = files.filter((file) => file.visibleAt === undefined)
        if (waiting.length === 0 && files.length === total) return
        if (performance.now() > until)
          throw new Error(`${waiting.length} files never became visible:\n${worker.said()}`)
        const ids = waiting.map((file) => file.lastId)
        const { rows } = await watcher.query<{ event_id: string }>({
          name: 'visible',
          text: 'select event_id from user_events where event_id = any($1)',
          values: [ids],
        })
        const now = performance.now()
        const seen = new Set(rows.map((row) => row.event_id))
        for (const file of waiting) if (seen.has(file.lastId)) file.visibleAt = now
        await pause(pollMs, undefined, { signal })
      }
    }
    await orEnded(worker, Promise.all([dropAll(), watchAll()]))
  } finally {
    await watcher.end()
  }
  return files
}

/** Writes a file aside and moves it in, as a careful sender does; its clock starts just before the move. */
async function drop(room: string, folder: string, number: number, due = performance.now()): Promise<Dropped> {
  const name = `events-${String(number).padStart(6, '0')}.csv`
  const aside = join(room, 'writing', name)
  const rows = Array.from({ length: rowsPerFile }, (_, at) => goodRow(seed, number * rowsPerFile + at, Date.now()))
  await writeFile(aside, header + rows.map(lineOf).join(''))
  const before = Date.now() / 1000 - 1
  await utimes(aside, before, before)
  const arrivedAt = performance.now()
  await rename(aside, join(folder, 'raw', name))
  return { lastId: rows.at(-1)?.id ?? '', arrivedAt, behindMs: arrivedAt - due }
}

/** What is waited for cannot come once the worker has ended. */
export async function orEnded<T>(worker: Running, wait: Promise<T>): Promise<T> {
  const ended = worker.ended.then(() => {
    throw new Error(`the worker ended too early; it said:\n${worker.said()}`)
  })
  return await Promise.race([wait, ended])
}

/** Asks a worker to stop, and sees that it does. */
export async function stop(worker: Running): Promise<void> {
  worker.child.kill('SIGTERM')
  const inTime = await Promise.race([worker.ended.then(() => true), pause(20_000, false, { ref: false })])
  if (!inTime) worker.child.kill('SIGKILL')
  if (!inTime) throw new Error('the worker did not stop within 20 s of SIGTERM')
}

async function verify(url: string, files: number): Promise<void> {
  const [found] = await query<{ n: number }>(url, 'select count(distinct event_id)::int as n from user_events')
  if (found?.n !== files * rowsPerFile) throw new Error(`${found?.n} rows were landed, not ${files * rowsPerFile}`)
}

/** Of the files after the warm-up. */
export function latencies(files: Dropped[]): number[] {
  return files.slice((warmUpSeconds * 1000) / everyMs).map((file) => (file.visibleAt ?? 0) - file.arrivedAt)
}

interface Ledger extends pg.QueryResultRow {
  batches: number
  rows_in: number
  dead: number
  rows_per_batch: number
  batch_p50_ms: number
  batch_p99_ms: number
}

/** The worker's own books: how many batches it made of the files, and how long they took from start to commit. */
async function ledgerOf(url: string): Promise<Ledger | undefined> {
  const [there] = await query<{ there: boolean }>(url, `select to_regclass('millrace.batches') is not null as there`)
  if (there?.there !== true) return undefined
  const [ledger] = await query<Ledger>(
    url,
    `with timed as (
       select *, 1000 * extract(epoch from committed_at - started_at)::float8 as ms
       from   millrace.batches
     )
     select count(*)::int as batches,
            sum(rows_in)::int as rows_in,
            sum(dead)::int as dead,
            round(avg(rows_in))::int as rows_per_batch,
            percentile_cont(0.5) within group (order by ms) as batch_p50_ms,
            percentile_cont(0.99) within group (order by ms) as batch_p99_ms
     from   timed`,
  )
  return ledger
}

interface Result {
  events: number
  files: number
  p50: number
  p99: number
  most: number
  behindMs: number
  memoryMb: number
  ledger: Ledger | undefined
}

function print({ events, files, p50, p99, most, behindMs, memoryMb, ledger }: Result): void {
  const goal = (value: number, below: number) => `goal < ${below}: ${value < below ? 'reached' : 'MISSED'}`
  process.stdout.write(`\n${events} events in ${files} files, one every ${everyMs} ms; arrival to visible:\n\n`)
  printTable(
    ['', 'ms', ''],
    [
      ['p50', p50.toFixed(1), goal(p50, 150)],
      ['p99', p99.toFixed(1), goal(p99, 500)],
      ['most', most.toFixed(1), ''],
    ],
  )
  process.stdout.write(
    `\nthe files came at most ${behindMs.toFixed(0)} ms behind their time; the worker held ${memoryMb.toFixed(0)} MB at most\n`,
  )
  if (ledger === undefined) return
  const { batches, rows_in, rows_per_batch, batch_p50_ms, batch_p99_ms } = ledger
  process.stdout.write(
    `its ledger: ${batches} batches of ${rows_per_batch} rows, ${rows_in} in all; ` +
      `start to commit p50 ${batch_p50_ms.toFixed(1)} ms, p99 ${batch_p99_ms.toFixed(1)} ms\n`,
  )
}
