/** Time spent on flyers, of a file of events: sessions and two tables, beside Spark and beside DuckDB by hand. */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type FlyerFormat, flyerEvents } from './flyers-data.ts'
import {
  compareResults,
  type FlyerCost,
  type FlyerPeer,
  type FlyerSetting,
  flyerPeers,
  landFlyers,
  type Results,
  resultsOf,
} from './flyers-peers.ts'
import { type Postgres, startPostgres } from './postgres.ts'
import { Peak, processorSeconds, residentOfPostgres } from './processes.ts'
import { machine, median, printTable, range, rotated, saveResult, say, thousands } from './report.ts'
import { rivalParts } from './rivals.ts'

export interface FlyersOptions {
  root: string
  /** Events of a file; several make a curve. */
  rows: readonly number[]
  rounds: number
  format: FlyerFormat
  peers: readonly FlyerPeer[]
  signal: AbortSignal
}

/** What one peer did in one round over one file. */
interface Run extends FlyerCost {
  rows: number
  round: number
  peer: FlyerPeer
  postgresMb: number
  postgresProcessorSeconds: number
}

interface Ratio {
  rows: number
  name: string
  median: number
  spread: [number, number]
  goal?: string
  reached?: boolean
}

export async function benchFlyers({ root, rows, rounds, format, peers, signal }: FlyersOptions): Promise<void> {
  const here = join(root, 'bench')
  const room = join(here, '.cache', `run-${process.pid}`)
  const parts = await rivalParts(root, peers.includes('spark'), signal)
  const taking = peers.filter((peer) => peer !== 'spark' || parts.spark !== undefined)
  const runs: Run[] = []
  try {
    await using postgres = await startPostgres(room, signal)
    for (const count of rows) {
      const input = await flyerEvents(root, count, format, signal)
      say(`${thousands(count)} events in ${input}; Postgres ${postgres.version}`)
      let first: { peer: FlyerPeer; results: Results } | undefined
      for (let round = 0; round < rounds; round++) {
        // Each round begins with another peer, so that none always follows the same one.
        for (const peer of rotated(taking, round)) {
          const scratch = join(room, `${peer}-${count}-${round}`)
          await mkdir(scratch, { recursive: true })
          const url = await postgres.fresh()
          const setting = { root, input, rows: count, url, scratch, spark: parts.spark, signal: bounded(signal, count) }
          const run = { rows: count, round, peer, ...(await runPeer(peer, postgres, setting)) }
          const results = await resultsOf(setting)
          first ??= { peer, results }
          compareResults(peer, results, first.peer, first.results)
          await rm(scratch, { recursive: true, force: true })
          runs.push(run)
          say(`round ${round + 1}: ${says[peer]} ${run.wallSeconds.toFixed(2)} s`)
        }
      }
      say(`every peer has: ${JSON.stringify({ ...first?.results, days: first?.results.days.length })}`)
      const own = runs.filter((run) => run.rows === count)
      const facts = { machine: { postgres: postgres.version, ...machine() }, format, rows: count, rounds }
      // at once, for the next point of a curve may take hours, or not fit
      await saveResult(here, `flyers-${format}-${count}`, { ...facts, ratios: ratiosOf(own), runs: own })
    }
  } finally {
    await rm(room, { recursive: true, force: true })
  }
  printRuns(rows, runs)
  printRatios(rows.flatMap((count) => ratiosOf(runs.filter((run) => run.rows === count))))
  for (const line of parts.absent) process.stdout.write(`${line}\n`)
}

const says: Record<FlyerPeer, string> = {
  millrace: 'Millrace',
  spark: 'Spark, local[2]',
  duckdb: 'DuckDB by hand + COPY',
}

/** Even a slow machine counts 5,000 events a second. */
function bounded(signal: AbortSignal, rows: number): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout((300 + rows / 5_000) * 1000)])
}

async function runPeer(
  peer: FlyerPeer,
  postgres: Postgres,
  setting: FlyerSetting,
): Promise<Omit<Run, 'rows' | 'round' | 'peer'>> {
  using postgresPeak = new Peak(() => residentOfPostgres(postgres.pid))
  const before = processorSeconds(postgres.pid)
  const cost = await landFlyers(peer, setting)
  const postgresProcessorSeconds = processorSeconds(postgres.pid) - before
  return { ...cost, postgresMb: Math.round(postgresPeak.most), postgresProcessorSeconds }
}

// ---- figures -------------------------------------------------------------------------------------------------------

interface Comparison {
  name: string
  upper: FlyerPeer
  lower: FlyerPeer
  of: (run: Run) => number
  goal?: { at: 'least' | 'most'; value: number }
}

const wall = (run: Run): number => run.wallSeconds
const work = (run: Run): number => run.workSeconds
const processor = (run: Run): number => run.processorSeconds + run.postgresProcessorSeconds

function comparisons(rows: number): Comparison[] {
  const isLarge = rows >= 20_000_000
  const spark = { upper: 'spark', lower: 'millrace' } as const
  const duckdb = { upper: 'millrace', lower: 'duckdb' } as const
  return [
    { ...spark, name: 'whole command', of: wall, goal: { at: 'least', value: isLarge ? 2 : 3 } },
    { ...spark, name: 'work only', of: work },
    { ...spark, name: 'processor time', of: processor },
    { ...duckdb, name: 'whole command', of: wall, ...(isLarge ? { goal: { at: 'most', value: 2 } } : {}) },
    { ...duckdb, name: 'work only', of: work },
    { ...duckdb, name: 'processor time', of: processor },
  ]
}

// Within each round, and the median of that.
function ratiosOf(own: Run[]): Ratio[] {
  const rows = own[0]?.rows ?? 0
  return comparisons(rows).flatMap(({ name, upper, lower, of, goal }) => {
    const found = own.flatMap((run) => {
      const other = own.find(({ round, peer }) => round === run.round && peer === lower)
      return run.peer === upper && other !== undefined ? [of(run) / of(other)] : []
    })
    if (found.length === 0) return []
    const middle = median(found)
    const ratio: Ratio = {
      rows,
      name: `${says[upper]} over ${says[lower]}, ${name}`,
      median: middle,
      spread: [Math.min(...found), Math.max(...found)],
    }
    if (goal === undefined) return [ratio]
    const reached = goal.at === 'least' ? middle >= goal.value : middle <= goal.value
    return [{ ...ratio, goal: `at ${goal.at} ${goal.value}`, reached }]
  })
}

function printRuns(rows: readonly number[], runs: Run[]): void {
  process.stdout.write('\n')
  const head = ['seconds', 'spread', 's a million', 'work only', 's a million', 'processor s', 'Postgres', 'memory MB']
  const lines = rows.flatMap((count) =>
    flyerPeers.flatMap((peer) => {
      const own = runs.filter((run) => run.rows === count && run.peer === peer)
      if (own.length === 0) return []
      const middle = (figure: (run: Run) => number): number => median(own.map(figure))
      const walls = own.map(wall)
      const [whole, workOnly] = [median(walls), middle(work)]
      return [
        [
          `${thousands(count)}: ${says[peer]}`,
          whole.toFixed(2),
          range([Math.min(...walls), Math.max(...walls)]),
          ((whole / count) * 1e6).toFixed(3),
          workOnly.toFixed(2),
          ((workOnly / count) * 1e6).toFixed(3),
          middle((run) => run.processorSeconds).toFixed(1),
          middle((run) => run.postgresProcessorSeconds).toFixed(1),
          String(Math.max(...own.map((run) => run.memoryMb))),
          String(Math.max(...own.map((run) => run.postgresMb))),
        ],
      ]
    }),
  )
  printTable(['', ...head, 'Postgres'], lines)
  const most = Math.max(0, ...runs.filter((run) => run.peer === 'millrace').map((run) => run.memoryMb))
  if (most > 0) process.stdout.write(`\nMillrace held at most ${most} MB (goal 2000 at 100,000,000 events)\n`)
}

function printRatios(ratios: Ratio[]): void {
  if (ratios.length === 0) return
  process.stdout.write('\n')
  printTable(
    ['', 'median', 'spread', ''],
    ratios.map(({ rows, name, median: middle, spread, goal, reached }) => [
      `${thousands(rows)}: ${name}`,
      middle.toFixed(2),
      range(spread),
      goal === undefined ? '' : `goal ${goal}: ${reached ? 'reached' : 'MISSED'}`,
    ]),
  )
}
