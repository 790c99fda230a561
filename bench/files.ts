/** Events in CSV files into one indexed table: Millrace beside the limit of Postgres and beside Spark. */
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Command, lastJson, startCommand } from './command.ts'
import { type Dataset, dataset, type Expected } from './data.ts'
import { type Postgres, query, startPostgres, targetTable } from './postgres.ts'
import { highWaterMark, Peak, processorSeconds, residentOfPostgres, residentOfTree } from './processes.ts'
import { machine, median, printTable, saveResult } from './report.ts'
import { rivalParts } from './rivals.ts'

const columns = 'event_id, user_id, event_type, product_id, price, event_timestamp'
export const peerNames = ['limit', 'copy', 'spark', 'millrace'] as const
export type PeerName = (typeof peerNames)[number]

const says: Record<PeerName, string> = {
  limit: 'psql \\copy to staging + insert',
  copy: 'psql \\copy, no dedup',
  spark: 'Spark, local[2]',
  millrace: 'Millrace',
}

export interface FilesOptions {
  root: string
  rows: number
  rounds: number
  peers: PeerName[]
  signal: AbortSignal
}

/** What one peer did in one round. */
interface Run {
  peer: PeerName
  round: number
  /** The whole command, from its start to its end. */
  wallSeconds: number
  /** Without the start of the program, by its own clock; psql starts at once. */
  workSeconds: number
  memoryMb: number
  postgresMb: number
  /** Processor time, which a busy machine stretches less than it does the clock's. */
  processorSeconds: number
  postgresProcessorSeconds: number
  more?: object
}

interface Setting {
  root: string
  data: Dataset
  postgres: Postgres
  url: string
  scratch: string
  table: string
  spark: { python: string; jar: string } | undefined
  signal: AbortSignal
}

export async function benchFiles({ root, rows, rounds, peers, signal }: FilesOptions): Promise<void> {
  const here = join(root, 'bench')
  const cache = join(here, '.cache')
  const room = join(cache, `run-${process.pid}`)
  await mkdir(room, { recursive: true })
  const parts = await rivalParts(root, peers.includes('spark'), signal)
  const taking = peers.filter((peer) => peer !== 'spark' || parts.spark !== undefined)
  const data = await dataset(cache, rows)
  const table = await targetTable(root)
  const runs: Run[] = []
  try {
    await using postgres = await startPostgres(room, signal)
    say(`${data.expected.rows} events in 100 files, ${data.expected.landed} to land; Postgres ${postgres.version}`)
    for (let round = 0; round < rounds; round++) {
      // Each round begins with another peer, so that none always follows the same one.
      for (const peer of rotated(taking, round)) {
        const scratch = join(room, `${peer}-${round}`)
        await mkdir(scratch, { recursive: true })
        const url = await postgres.fresh()
        const run = await runPeer(peer, round, {
          root,
          data,
          postgres,
          url,
          scratch,
          table,
          spark: parts.spark,
          signal,
        })
        await rm(scratch, { recursive: true, force: true })
        runs.push(run)
        say(`round ${round + 1}: ${says[peer]} ${run.wallSeconds.toFixed(2)} s`)
      }
    }
    const result = summary(runs, data.expected, { postgres: postgres.version, ...machine() })
    print(result, parts.absent)
    await printGrowth(here, result)
    await saveResult(here, `files-${rows}`, result)
  } finally {
    await rm(room, { recursive: true, force: true })
  }
}

async function runPeer(peer: PeerName, round: number, setting: Setting): Promise<Run> {
  const prepared = { ...setting, signal: AbortSignal.any([setting.signal, timeLimit(setting.data.expected)]) }
  using postgresPeak = new Peak(() => residentOfPostgres(setting.postgres.pid))
  const before = processorSeconds(setting.postgres.pid)
  const run = await landWith(peer, prepared)
  const postgresProcessorSeconds = processorSeconds(setting.postgres.pid) - before
  const postgresMb = Math.round(postgresPeak.most)
  await verify(peer, setting)
  return { peer, round, ...run, postgresMb, postgresProcessorSeconds }
}

/** Even a slow machine lands 5,000 rows a second. */
function timeLimit({ rows }: Expected): AbortSignal {
  return AbortSignal.timeout((120 + rows / 5_000) * 1000)
}

type Landed = Omit<Run, 'peer' | 'round' | 'postgresMb' | 'postgresProcessorSeconds'>

async function landWith(peer: PeerName, setting: Setting): Promise<Landed> {
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

/** Runs a peer's command: what it wrote, and what it cost. */
async function measured(command: Command, memoryOf: (pid: number) => number) {
  const started = performance.now()
  await using running = startCommand(command)
  using memory = new Peak(() => memoryOf(running.pid))
  using processor = new Peak(() => processorSeconds(running.pid))
  const out = await running.ended
  const wallSeconds = (performance.now() - started) / 1000
  return { out, cost: { wallSeconds, memoryMb: Math.round(memory.most), processorSeconds: processor.most } }
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
async function verify(peer: PeerName, { url, data }: Setting): Promise<void> {
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

interface Summary {
  machine: object
  expected: Expected
  rounds: number
  peers: Partial<Record<PeerName, Figures>>
  ratios: Record<string, Ratio>
  runs: Run[]
}

interface Figures {
  wallSeconds: number
  workSeconds: number
  spread: [number, number]
  /** Rows landed a second of the whole command, and of its work alone. */
  rowsPerSecond: number
  workRowsPerSecond: number
  memoryMb: number
  postgresMb: number
  processorSeconds: number
  postgresProcessorSeconds: number
}

/** Median over the rounds of the peer's seconds over Millrace's, and their spread. */
interface Ratio {
  median: number
  spread: [number, number]
  goal?: number
}

function summary(runs: Run[], expected: Expected, machineFacts: object): Summary {
  const peers: Summary['peers'] = {}
  for (const peer of new Set(runs.map((run) => run.peer))) {
    const own = runs.filter((run) => run.peer === peer)
    const walls = own.map((run) => run.wallSeconds)
    const work = median(own.map((run) => run.workSeconds))
    peers[peer] = {
      wallSeconds: median(walls),
      workSeconds: work,
      spread: [Math.min(...walls), Math.max(...walls)],
      rowsPerSecond: Math.round(expected.landed / median(walls)),
      workRowsPerSecond: Math.round(expected.landed / work),
      memoryMb: Math.max(...own.map((run) => run.memoryMb)),
      postgresMb: Math.max(...own.map((run) => run.postgresMb)),
      processorSeconds: median(own.map((run) => run.processorSeconds)),
      postgresProcessorSeconds: median(own.map((run) => run.postgresProcessorSeconds)),
    }
  }
  const ratios: Summary['ratios'] = {}
  const compare = (name: string, peer: PeerName, seconds: (run: Run) => number, goal?: number) => {
    const ratio = ratioOf(runs, peer, seconds)
    if (ratio !== undefined) ratios[name] = goal === undefined ? ratio : { ...ratio, goal }
  }
  const wall = (run: Run) => run.wallSeconds
  const work = (run: Run) => run.workSeconds
  const processor = (run: Run) => run.processorSeconds + run.postgresProcessorSeconds
  compare('speed over the staging limit, whole command', 'limit', wall, 0.9)
  compare('speed over the staging limit, work only', 'limit', work)
  compare('processor time, the staging limit over it', 'limit', processor)
  compare('speed over a straight copy, whole command', 'copy', wall)
  compare('speed over Spark, work only', 'spark', work, 2)
  compare('speed over Spark, whole command', 'spark', wall)
  compare('processor time, Spark over it', 'spark', processor)
  const rounds = new Set(runs.map((run) => run.round)).size
  return { machine: machineFacts, expected, rounds, peers, ratios, runs }
}

function ratioOf(runs: Run[], peer: PeerName, seconds: (run: Run) => number): Ratio | undefined {
  const ours = new Map(runs.filter((run) => run.peer === 'millrace').map((run) => [run.round, seconds(run)]))
  const ratios = runs.flatMap((run) => {
    const own = ours.get(run.round)
    return run.peer === peer && own !== undefined ? [seconds(run) / own] : []
  })
  if (ratios.length === 0) return undefined
  return { median: median(ratios), spread: [Math.min(...ratios), Math.max(...ratios)] }
}

function print(result: Summary, absent: string[]): void {
  process.stdout.write('\n')
  printTable(
    ['', 'seconds', 'spread', 'rows/s', 'work only', 'rows/s', 'processor s', 'Postgres', 'memory MB', 'Postgres'],
    peerNames.flatMap((peer) => {
      const figures = result.peers[peer]
      if (figures === undefined) return []
      return [
        [
          says[peer],
          figures.wallSeconds.toFixed(2),
          range(figures.spread),
          thousands(figures.rowsPerSecond),
          figures.workSeconds.toFixed(2),
          thousands(figures.workRowsPerSecond),
          figures.processorSeconds.toFixed(1),
          figures.postgresProcessorSeconds.toFixed(1),
          String(figures.memoryMb),
          String(figures.postgresMb),
        ],
      ]
    }),
  )
  process.stdout.write('\n')
  const ratios = Object.entries(result.ratios).map(([name, { median: middle, spread, goal }]) => [
    `Millrace: ${name}`,
    middle.toFixed(2),
    range(spread),
    goal === undefined ? '' : `goal ${goal}: ${middle >= goal ? 'reached' : 'MISSED'}`,
  ])
  const own = result.peers.millrace
  if (own !== undefined) {
    ratios.push([
      'Millrace: memory, MB',
      String(own.memoryMb),
      '',
      `goal 500: ${own.memoryMb <= 500 ? 'reached' : 'MISSED'}`,
    ])
  }
  if (ratios.length > 0) printTable(['', 'median', 'spread', ''], ratios)
  for (const line of absent) process.stdout.write(`${line}\n`)
}

/** Beside the result over another number of rows, if there is one: memory must not grow with the input. */
async function printGrowth(here: string, result: Summary): Promise<void> {
  const other = result.expected.rows === 1_000_000 ? 10_000_000 : 1_000_000
  const saved = await readFile(join(here, 'out', `files-${other}.json`), 'utf8').catch(() => undefined)
  if (saved === undefined || result.peers.millrace === undefined) return
  // as: this file wrote it
  const before = (JSON.parse(saved) as Summary).peers.millrace
  if (before === undefined) return
  process.stdout.write(
    `\nMillrace's memory: ${result.peers.millrace.memoryMb} MB over ${thousands(result.expected.rows)} rows, ` +
      `${before.memoryMb} MB over ${thousands(other)} (an earlier run)\n`,
  )
}

function range([least, most]: [number, number]): string {
  return `${least.toFixed(2)}-${most.toFixed(2)}`
}

function rotated<T>(list: readonly T[], by: number): T[] {
  const at = by % Math.max(1, list.length)
  return [...list.slice(at), ...list.slice(0, at)]
}

function thousands(count: number): string {
  return count.toLocaleString('en-US')
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}
