/** The peers of the flyers bench: each lands the same two tables and the same sessions, and is compared with the others. */
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Duck } from '../src/engine/duckdb.ts'
import { lastJson } from './command.ts'
import { type Cost, measured } from './cost.ts'
import { query } from './postgres.ts'
import { highWaterMark, residentOfTree } from './processes.ts'
import type { RivalParts } from './rivals.ts'

export const flyerPeers = ['millrace', 'spark', 'duckdb'] as const
export type FlyerPeer = (typeof flyerPeers)[number]

export interface FlyerSetting {
  root: string
  input: string
  rows: number
  url: string
  scratch: string
  spark: RivalParts['spark']
  signal: AbortSignal
}

export interface FlyerCost extends Cost {
  /** Without the start of the program, by its own clock. */
  workSeconds: number
  more: object
}

const sessionsOf = (scratch: string): string => join(scratch, 'sessions')

/** Lands the tables in an empty database, and sessions in files, the peer's own way. */
export async function landFlyers(peer: FlyerPeer, setting: FlyerSetting): Promise<FlyerCost> {
  switch (peer) {
    case 'millrace':
      return await millrace(setting)
    case 'spark':
      return await spark(setting)
    case 'duckdb':
      return await duckdb(setting)
  }
}

async function millrace({ root, input, rows, url, scratch, signal }: FlyerSetting): Promise<FlyerCost> {
  const run = [join(root, 'src/cli/main.ts'), 'run', 'flyers', '--input', input]
  const args = [...run, '--final', '--output', sessionsOf(scratch), '--json']
  const env = { DATABASE_URL: url, MILLRACE_DATA: join(scratch, 'data') }
  const { out, cost } = await measured({ program: process.execPath, args, env, signal }, highWaterMark)
  const said = lastJson<{ rows_in: number; dead: number; late: number; duplicates: number; seconds: number }>(out)
  const { rows_in, dead, late, duplicates, seconds } = said
  if (rows_in !== rows || dead + late + duplicates > 0) throw new Error(`Millrace's books are ${JSON.stringify(said)}`)
  return { ...cost, workSeconds: seconds, more: said }
}

async function spark({ root, input, rows, url, scratch, spark: parts, signal }: FlyerSetting): Promise<FlyerCost> {
  if (parts === undefined) throw new Error('Spark is absent')
  await makeTables(root, url)
  const args = [join(root, 'bench/rivals/spark_flyers.py'), input, url, parts.jar, scratch, sessionsOf(scratch)]
  const { out, cost } = await measured({ program: parts.python, args, signal }, residentOfTree)
  const said = lastJson<{ rows: number; bad: number; seconds: number }>(out)
  if (said.rows !== rows || said.bad > 0) throw new Error(`Spark has read ${JSON.stringify(said)}`)
  return { ...cost, workSeconds: said.seconds, more: said }
}

async function duckdb({ root, input, url, scratch, signal }: FlyerSetting): Promise<FlyerCost> {
  await makeTables(root, url)
  await mkdir(sessionsOf(scratch))
  const sessions = join(sessionsOf(scratch), 'sessions.parquet')
  const args = [join(root, 'bench/rivals/duckdb-flyers.ts'), input, url, scratch, sessions]
  const { out, cost } = await measured({ program: process.execPath, args, signal }, residentOfTree)
  const said = lastJson<{ seconds: number }>(out)
  return { ...cost, workSeconds: said.seconds, more: said }
}

// Those that ship: the same columns, keys and indexes for all.
async function makeTables(root: string, url: string): Promise<void> {
  await query(url, await readFile(join(root, 'pipelines/flyers/migrations/0001_flyers.sql'), 'utf8'))
}

// ---- what has landed -----------------------------------------------------------------------------------------------

interface Day extends Record<string, unknown> {
  key: string
  counts: string
  /** Doubles, which may differ in their last digits by the order in which they were summed. */
  measures: (number | null)[]
}

export interface Results {
  users: Record<string, unknown>
  sessions: Record<string, unknown>
  days: Day[]
}

/** What a peer has landed: a digest of readers and of sessions, and every row of the report for merchants. */
export async function resultsOf({ url, scratch }: FlyerSetting): Promise<Results> {
  const [users = {}] = await query(
    url,
    `select count(*)::text as readers,
            sum(sessions)::text as sessions,
            sum(total_seconds)::text as seconds,
            sum(avg_hours)::text as hours,
            sum(hashtextextended(concat_ws('|', user_id, total_seconds, sessions), 0)::numeric)::text as digest
     from   flyer_time_per_user`,
  )
  const days = await query<Day>(
    url,
    `select concat_ws('|', merchant_id, flyer_id, day) as key,
            concat_ws('|', opens, readers, sessions, expired) as counts,
            array[mean_minutes, median_minutes, expired_share] as measures
     from   merchant_flyer_daily
     order by merchant_id collate "C", flyer_id collate "C", day`,
  )
  return { users, sessions: await sessionsIn(scratch, 'sessions'), days }
}

/** A digest of the sessions that lie as Parquet in a folder of the scratch. */
export async function sessionsIn(scratch: string, folder: string): Promise<Record<string, unknown>> {
  await using duck = await Duck.open({
    folders: [scratch],
    temporary: join(scratch, 'reading'),
    memoryLimitMb: 1024,
    threads: 2,
  })
  using session = await duck.connect()
  const [found = {}] = await session.rows(`
select
  count(*)::varchar as rows,
  count(*) filter (where outcome = 'paired')::varchar as paired,
  count(*) filter (where outcome = 'expired')::varchar as expired,
  count(*) filter (where outcome = 'replaced')::varchar as replaced,
  count(*) filter (where outcome = 'orphan')::varchar as orphans,
  sum(hash(user_id, flyer_id, merchant_id, epoch_us(opened_at), epoch_us(closed_at), outcome, (seconds * 1000000)::bigint))::varchar as digest
from read_parquet('${join(scratch, folder)}/**/*.parquet')`)
  return found
}

/** Peers that have landed different results have measured nothing: the bench ends with an error. */
export function compareResults(peer: string, found: Results, other: string, expected: Results): void {
  const differ = (what: string, own: unknown, its: unknown): never => {
    throw new Error(`${what}: ${peer} has ${JSON.stringify(own)}, ${other} ${JSON.stringify(its)}`)
  }
  for (const what of ['users', 'sessions'] as const) {
    if (JSON.stringify(found[what]) !== JSON.stringify(expected[what])) differ(what, found[what], expected[what])
  }
  if (found.days.length !== expected.days.length) differ('days of flyers', found.days.length, expected.days.length)
  for (const [at, day] of found.days.entries()) {
    const its = expected.days[at]
    if (its === undefined || !isSameDay(day, its)) differ('a day of a flyer', day, its)
  }
}

function isSameDay(a: Day, b: Day): boolean {
  if (a.key !== b.key || a.counts !== b.counts) return false
  return a.measures.every((value, at) => {
    const other = b.measures[at] ?? null
    if (value === null || other === null) return value === other
    return Math.abs(value - other) <= 1e-9 * Math.max(1, Math.abs(value))
  })
}
