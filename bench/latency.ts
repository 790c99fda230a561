/** From a file's arrival to its rows being visible in Postgres, at a steady rate in small files. */
import { mkdir, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { type Running, startCommand } from './command.ts'
import { goodRow, header, lineOf, type Row } from './data.ts'
import { query, startPostgres } from './postgres.ts'
import { highWaterMark } from './processes.ts'
import { machine, percentile, printTable, saveResult } from './report.ts'

const everyMs = 100
const warmUpSeconds = 5
const pollMs = 2
const seed = 7

/** What the bench knows of a system: where its files go, how a row looks, and what it is to be held against. */
export const systems = {
  'shop-events': {
    folder: 'SHOP_EVENTS_DIR',
    input: 'raw',
    table: 'user_events',
    header,
    line: lineOf,
    goals: { p50: 150, p99: 500 },
  },
  'user-activity': {
    folder: 'USER_ACTIVITY_DIR',
    input: 'input',
    table: 'user_activity',
    header: 'event_id,user_id,event_type,product_id,product_name,category,price,quantity,event_time\n',
    line: ({ id, user, type, product, price, time }: Row) => {
      const [kind, quantity] = type === 'purchase' ? ['purchase', '2'] : ['view', '']
      return `${id},u${user},${kind},p${product},"Lamp, ${product}",home,${price},${quantity},${time}\n`
    },
    goals: { p50: 500, p99: 1000 },
  },
} as const

export const latencySystems = Object.keys(systems)

type Measured = (typeof systems)[keyof typeof systems]

export interface LatencyOptions {
  root: string
  system: string
  /** Events a second. */
  rate: number
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

export async function benchLatency({ root, system, rate, seconds, signal }: LatencyOptions): Promise<void> {
  // as: the command line lets no other name through
  const measured = systems[system as keyof typeof systems]
  const rowsPerFile = Math.max(1, Math.round((rate * everyMs) / 1000))
  const here = join(root, 'bench')
  const room = join(here, '.cache', `run-${process.pid}`)
  const folder = join(room, system)
  await mkdir(join(folder, measured.input), { recursive: true })
  await mkdir(join(room, 'writing'))
  try {
    await using postgres = await startPostgres(room, signal)
    const url = await postgres.fresh()
    const env = { DATABASE_URL: url, [measured.folder]: folder, MILLRACE_DATA: join(room, 'data') }
    const args = [join(root, 'src/cli/main.ts'), 'work', system]
    await using worker = startCommand({ program: process.execPath, args, env, signal })
    const drop = dropper(measured, rowsPerFile, room, folder)
    await firstFile(url, measured.table, drop, worker, signal)
    const files = await dropAndWatch(url, measured.table, drop, seconds, worker, signal)
    const memoryMb = highWaterMark(worker.pid)
    await stop(worker)
    await verify(url, measured.table, (1 + files.length) * rowsPerFile)
    const waits = latencies(files)
    const ledger = await ledgerOf(url)
    const result = {
      machine: { postgres: postgres.version, ...machine() },
      system,
      goals: measured.goals,
      events: waits.length * rowsPerFile,
      files: waits.length,
      p50: percentile(waits, 0.5),
      p99: percentile(waits, 0.99),
      most: Math.max(...waits),
      behindMs: Math.max(...files.map((file) => file.behindMs)),
      memoryMb,
      ledger,
      latenciesMs: waits.map((one) => Math.round(one * 10) / 10),
    }
    print(result)
    await saveResult(here, `latency-${system}-${rate}`, result)
  } finally {
    await rm(room, { recursive: true, force: true })
  }
}

/** The worker is ready when it has landed a file. */
async function firstFile(url: string, table: string, drop: Drop, worker: Running, signal: AbortSignal): Promise<void> {
  const file = await drop(0)
  const until = performance.now() + 60_000
  for (;;) {
    const seen = await query(url, `select 1 from ${table} where event_id = '${file.lastId}'`).catch(() => [])
    if (seen.length > 0) return
    if (performance.now() > until) throw new Error(`the worker landed nothing in 60 s; it said:\n${worker.said()}`)
    await orEnded(worker, pause(50, undefined, { signal }))
  }
}

/** Drops files by the clock, and watches when their rows become visible. */
export async function dropAndWatch(
  url: string,
  table: string,
  drop: Drop,
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
        files.push(await drop(at + 1, due))
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
          text: `select event_id from ${table} where event_id = any($1)`,
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

type Drop = (number: number, due?: number) => Promise<Dropped>

/** Writes files aside and moves them in, as a careful sender does; the clock of one starts just before the move. */
export function dropper({ header, line, input }: Measured, rowsPerFile: number, room: string, folder: string): Drop {
  return async (number, due = performance.now()) => {
    const name = `events-${String(number).padStart(6, '0')}.csv`
    const aside = join(room, 'writing', name)
    const rows = Array.from({ length: rowsPerFile }, (_, at) => goodRow(seed, number * rowsPerFile + at, Date.now()))
    await writeFile(aside, header + rows.map(line).join(''))
    const before = Date.now() / 1000 - 1
    await utimes(aside, before, before)
    const arrivedAt = performance.now()
    await rename(aside, join(folder, input, name))
    return { lastId: rows.at(-1)?.id ?? '', arrivedAt, behindMs: arrivedAt - due }
  }
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

async function verify(url: string, table: string, rows: number): Promise<void> {
  const [found] = await query<{ n: number }>(url, `select count(distinct event_id)::int as n from ${table}`)
  if (found?.n !== rows) throw new Error(`${found?.n} rows were landed, not ${rows}`)
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
export async function ledgerOf(url: string): Promise<Ledger | undefined> {
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
  system: string
  goals: { p50: number; p99: number }
  events: number
  files: number
  p50: number
  p99: number
  most: number
  behindMs: number
  memoryMb: number
  ledger: Ledger | undefined
}

function print({ system, goals, events, files, p50, p99, most, behindMs, memoryMb, ledger }: Result): void {
  const goal = (value: number, below: number) => `goal < ${below}: ${value < below ? 'reached' : 'MISSED'}`
  process.stdout.write(
    `\n${system}: ${events} events in ${files} files, one every ${everyMs} ms; arrival to visible:\n\n`,
  )
  printTable(
    ['', 'ms', ''],
    [
      ['p50', p50.toFixed(1), goal(p50, goals.p50)],
      ['p99', p99.toFixed(1), goal(p99, goals.p99)],
      ['most', most.toFixed(1), ''],
    ],
  )
  process.stdout.write(
    `\nthe files came at most ${behindMs.toFixed(0)} ms behind their time; the worker held ${memoryMb.toFixed(0)} MB at most\n`,
  )
  if (ledger !== undefined) printLedger(ledger)
}

export function printLedger({ batches, rows_in, rows_per_batch, batch_p50_ms, batch_p99_ms }: Ledger): void {
  process.stdout.write(
    `its ledger: ${batches} batches of ${rows_per_batch} rows, ${rows_in} in all; ` +
      `start to commit p50 ${batch_p50_ms.toFixed(1)} ms, p99 ${batch_p99_ms.toFixed(1)} ms\n`,
  )
}
