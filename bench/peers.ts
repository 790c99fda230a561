/** The peers of the files bench: each lands the same rows in the same table, and is checked. */
import { join } from 'node:path'
import { lastJson } from './command.ts'
import { type Cost, measured } from './cost.ts'
import type { Dataset } from './data.ts'
import { query } from './postgres.ts'
import { highWaterMark, residentOfTree } from './processes.ts'

export const peerNames = ['limit', 'copy', 'spark', 'millrace'] as const
export type PeerName = (typeof peerNames)[number]

export const says: Record<PeerName, string> = {
  limit: 'psql \\copy to staging + insert',
  copy: 'psql \\copy, no dedup',
  spark: 'Spark, local[2]',
  millrace: 'Millrace',
}

export interface Setting {
  root: string
  data: Dataset
  url: string
  scratch: string
  table: string
  spark: { python: string; jar: string } | undefined
  signal: AbortSignal
}

/** What it cost a peer to land the rows. */
export interface Landed extends Cost {
  /** Without the start of the program, by its own clock; psql starts at once. */
  workSeconds: number
  more?: object
}

/** Lands the rows in an empty database, the peer's own way. */
export async function landWith(peer: PeerName, setting: Setting): Promise<Landed> {
  switch (peer) {
    case 'limit':
      return await copyAndMerge(setting)
    case 'copy':
      return await copyStraight(setting)
    case 'spark':
      return await spark(setting)
    case 'millrace':
      return await millrace(setting)
  }
}

const columns = 'event_id, user_id, event_type, product_id, price, event_timestamp'
const staging = `create unlogged table staging as select ${columns} from user_events with no data`

async function copyAndMerge({ table, url, data, signal }: Setting): Promise<Landed> {
  await query(url, table)
  await query(url, staging)
  const merge = `insert into user_events (${columns}) select ${columns} from staging on conflict do nothing`
  return await psql(url, [`\\copy staging (${columns}) from '${data.clean}' csv header`, merge], signal)
}

async function copyStraight({ table, url, data, signal }: Setting): Promise<Landed> {
  await query(url, table)
  return await psql(url, [`\\copy user_events (${columns}) from '${data.clean}' csv header`], signal)
}

async function psql(url: string, statements: string[], signal: AbortSignal): Promise<Landed> {
  const args = ['-X', '-q', '-v', 'ON_ERROR_STOP=1', ...statements.flatMap((text) => ['-c', text]), url]
  const { cost } = await measured({ program: 'psql', args, signal }, highWaterMark)
  return { ...cost, workSeconds: cost.wallSeconds }
}

interface SparkSaid {
  seconds: number
  session_seconds: number
  batches: number
  phases: object
  version: string
}

async function spark({ root, table, url, data, scratch, spark: parts, signal }: Setting): Promise<Landed> {
  if (parts === undefined) throw new Error('Spark is absent')
  await query(url, table)
  await query(url, staging)
  const rejected = columns.replaceAll(/\w+/g, (name) => `${name} text`)
  await query(url, `create table rejected (${rejected}, reason text, file text)`)
  const args = [join(root, 'bench/rivals/spark_files.py'), data.raw, url, parts.jar, scratch]
  const { out, cost } = await measured({ program: parts.python, args, signal }, residentOfTree)
  const said = lastJson<SparkSaid>(out)
  const [letters] = await query<{ n: number }>(url, 'select count(*)::int as n from rejected')
  same('spark', 'rows in its table of bad rows', letters?.n, data.expected.invalid)
  return { ...cost, workSeconds: said.seconds, more: said }
}

/** The contract of `millrace run --json`: its last line on stdout. */
interface Books {
  pipeline: string
  rows_in: number
  written: number
  filtered: number
  duplicates: number
  late: number
  dead: number
  batches: number
  seconds: number
}

async function millrace({ root, url, data, scratch, signal }: Setting): Promise<Landed> {
  const args = [join(root, 'src/cli/main.ts'), 'run', 'shop-events', '--input', data.raw, '--json']
  const env = { DATABASE_URL: url, MILLRACE_DATA: join(scratch, 'data') }
  const { out, cost } = await measured({ program: process.execPath, args, env, signal }, highWaterMark)
  const books = lastJson<Books>(out)
  const { expected } = data
  same('millrace', 'rows_in', books.rows_in, expected.rows)
  same('millrace', 'written', books.written, expected.landed)
  same('millrace', 'duplicates', books.duplicates, expected.duplicates)
  same('millrace', 'dead', books.dead, expected.invalid)
  const [letters] = await query<{ n: number }>(url, 'select count(*)::int as n from millrace.dead_letters')
  same('millrace', 'dead letters', letters?.n, expected.invalid)
  return { ...cost, workSeconds: books.seconds, more: books }
}

/** A peer that landed other rows than the others has measured nothing: the bench ends with an error. */
export async function verify(peer: PeerName, { url, data }: Setting): Promise<void> {
  const [found] = await query<Record<'rows' | 'ids' | 'heads' | 'tails' | 'cents', string>>(
    url,
    `select count(*) as rows,
            count(distinct event_id) as ids,
            sum(('x' || left(event_id, 6))::bit(24)::int) as heads,
            sum(('x' || right(event_id, 6))::bit(24)::int) as tails,
            sum((price * 100)::bigint) as cents
     from   user_events`,
  )
  const { expected } = data
  same(peer, 'rows in user_events', Number(found?.rows), expected.landed)
  same(peer, 'distinct ids', Number(found?.ids), expected.landed)
  same(peer, 'sum over the heads of the ids', Number(found?.heads), expected.idHeads)
  same(peer, 'sum over the tails of the ids', Number(found?.tails), expected.idTails)
  // Spark's dropDuplicates keeps any row of an id; the others keep the first.
  if (peer !== 'spark') same(peer, 'sum of prices in cents', Number(found?.cents), expected.cents)
}

function same(peer: PeerName, what: string, found: number | undefined, expected: number): void {
  if (found !== expected) throw new Error(`${says[peer]} landed wrong rows: ${what} is ${found}, not ${expected}`)
}
