/** Events in CSV files into one indexed table: Millrace beside the limit of Postgres and beside Spark. */
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { dataset, type Expected } from './data.ts'
import { type Landed, landWith, type PeerName, peerNames, type Setting, says, verify } from './peers.ts'
import { type Postgres, startPostgres, targetTable } from './postgres.ts'
import { Peak, processorSeconds, residentOfPostgres } from './processes.ts'
import { machine, median, printTable, range, rotated, saveResult, say, thousands } from './report.ts'
import { rivalParts } from './rivals.ts'

export interface FilesOptions {
  root: string
  rows: number
  rounds: number
  peers: PeerName[]
  signal: AbortSignal
}

/** What one peer did in one round. */
interface Run extends Landed {
  peer: PeerName
  round: number
  postgresMb: number
  postgresProcessorSeconds: number
}

export async function benchFiles({ root, rows, rounds, peers, signal }: FilesOptions): Promise<void> {
  const here = join(root, 'bench')
  const cache = join(here, '.cache')
  const room = join(cache, `run-${process.pid}`)
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
        const setting = { root, data, url, scratch, table, spark: parts.spark, signal }
        const run = await runPeer(peer, round, postgres, setting)
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

async function runPeer(peer: PeerName, round: number, postgres: Postgres, setting: Setting): Promise<Run> {
  const prepared = { ...setting, signal: AbortSignal.any([setting.signal, timeLimit(setting.data.expected)]) }
  using postgresPeak = new Peak(() => residentOfPostgres(postgres.pid))
  const before = processorSeconds(postgres.pid)
  const run = await landWith(peer, prepared)
  const postgresProcessorSeconds = processorSeconds(postgres.pid) - before
  const postgresMb = Math.round(postgresPeak.most)
  await verify(peer, setting)
  return { peer, round, ...run, postgresMb, postgresProcessorSeconds }
}

/** Even a slow machine lands 5,000 rows a second. */
function timeLimit({ rows }: Expected): AbortSignal {
  return AbortSignal.timeout((120 + rows / 5_000) * 1000)
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
