/** What it costs to go through Millrace: flyers on Spark, beside the same SQL sent by hand to the same Connect server. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { flyers } from '../pipelines/flyers/pipeline.ts'
import { loadConfig } from '../src/config.ts'
import { planOf } from '../src/engine/system-run.ts'
import { sparkName } from '../src/functions/spark-type.ts'
import type { Plan } from '../src/plan/plan.ts'
import { SparkSession } from '../src/spark/connect.ts'
import { openParquet } from '../src/spark/inputs.ts'
import { sparkPlan, textsName } from '../src/spark/plan-sql.ts'
import { keepSql, letGoSql, sessionSettings } from '../src/spark/settings.ts'
import { linesColumns, textsSql, typedColumns } from '../src/spark/source-sql.ts'
import { noSpark, TestSpark } from '../test/spark/server.ts'
import { lastJson } from './command.ts'
import { type Cost, measured } from './cost.ts'
import { flyerEvents } from './flyers-data.ts'
import { highWaterMark, processorSeconds } from './processes.ts'
import { machine, median, printTable, range, rotated, saveResult, say, thousands } from './report.ts'

export interface OverheadBench {
  root: string
  rows: number
  rounds: number
  signal: AbortSignal
}

/** `by hand` sends all statements of a run; `no books` only those that make the tables. */
const peers = ['millrace', 'by hand', 'no books'] as const
type Peer = (typeof peers)[number]

interface Run extends Cost {
  peer: Peer
  round: number
  /** Processor time of the server for it. */
  serverSeconds: number
}

export async function benchSparkOverhead({ root, rows, rounds, signal }: OverheadBench): Promise<void> {
  if (noSpark !== false) throw new Error(noSpark)
  const input = await flyerEvents(root, rows, 'parquet', signal)
  const folder = await mkdtemp(join(tmpdir(), 'millrace-overhead-'))
  const settings = { FLYERS_SESSIONS: 'files' }
  const plan = planOf(flyers, loadConfig(flyers.settings, settings, folder))
  const runs: Run[] = []
  try {
    await using spark = await TestSpark.start({ 'spark.driver.memory': '4g' })
    const { remote } = spark
    const serverSeconds = (): number => (spark.pid === undefined ? 0 : processorSeconds(spark.pid))
    let first: object | undefined
    // the first of all is slower, whoever it is: the server has compiled nothing
    for (let round = -1; round < rounds; round++) {
      for (const peer of round < 0 ? (['by hand'] as const) : rotated(peers, round)) {
        const out = join(folder, 'out')
        const before = serverSeconds()
        const took = await cost(peer, { root, plan, remote, input, out, folder, settings, signal })
        const run = { peer, round, ...took, serverSeconds: serverSeconds() - before }
        const results = await resultsOf(remote, plan, out)
        first ??= results
        if (JSON.stringify(results) !== JSON.stringify(first))
          throw new Error(`${peer} has ${JSON.stringify(results)}, and the first had ${JSON.stringify(first)}`)
        await rm(out, { recursive: true, force: true })
        say(`${round < 0 ? 'warming up' : `round ${round + 1}`}: ${peer} ${run.wallSeconds.toFixed(2)} s`)
        if (round >= 0) runs.push(run)
      }
    }
    say(`every peer has, of ${thousands(rows)} events: ${JSON.stringify(first)}`)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  printTable(
    ['peer', 's', 'spread', 's a million', 'processor s', 'of Spark', 'MB'],
    peers.map((peer) => {
      const own = runs.filter((run) => run.peer === peer)
      const middle = (of: (run: Run) => number): number => median(own.map(of))
      const spread = range([Math.min(...own.map(wall)), Math.max(...own.map(wall))])
      const million = ((middle(wall) / rows) * 1e6).toFixed(2)
      const times = [middle((run) => run.processorSeconds), middle((run) => run.serverSeconds)]
      const memory = String(middle(({ memoryMb }) => memoryMb))
      return [peer, middle(wall).toFixed(2), spread, million, ...times.map((time) => time.toFixed(2)), memory]
    }),
  )
  const ratios = (['by hand', 'no books'] as const).flatMap((peer) => [
    ratioTo(peer, 'by the clock', wall, runs),
    ratioTo(peer, 'by processor time', (run) => run.processorSeconds + run.serverSeconds, runs),
  ])
  for (const { peer, what, middle, spread } of ratios) {
    const goal = peer === 'by hand' && what === 'by the clock' ? '; goal from 20 M on: below 1.1' : ''
    process.stdout.write(`Millrace / ${peer}, ${what}: ${middle.toFixed(3)} (${spread})${goal}\n`)
  }
  const facts = { machine: machine(), rows, rounds, ratios, runs }
  await saveResult(join(root, 'bench'), `spark-overhead-${rows}`, facts)
}

const wall = (run: Run): number => run.wallSeconds

interface Setting {
  root: string
  plan: Plan
  remote: string
  input: string
  out: string
  folder: string
  settings: Record<string, string>
  signal: AbortSignal
}

// Of the whole command, from its start to its end.
async function cost(peer: Peer, setting: Setting): Promise<Cost> {
  const { root, plan, remote, input, out, folder, settings, signal } = setting
  await mkdir(out, { recursive: true })
  if (peer === 'millrace') {
    const args = [
      ...[join(root, 'src/cli/main.ts'), 'run', 'flyers', '--engine', 'spark', '--final', '--json'],
      ...['--input', input, '--output', out],
    ]
    const env = { ...settings, SPARK_REMOTE: remote, MILLRACE_DATA: join(folder, 'data') }
    return (await measured({ program: process.execPath, args, env, signal }, highWaterMark)).cost
  }
  const path = join(folder, 'statements.json')
  await writeFile(path, JSON.stringify(await statements(plan, remote, input, out, peer === 'by hand')))
  const args = [join(root, 'bench/rivals/spark-by-hand.ts'), remote, path]
  const ran = await measured({ program: process.execPath, args, signal }, highWaterMark)
  lastJson<{ seconds: number }>(ran.out)
  return ran.cost
}

// What `explain --engine spark` prints, over this file; the questions by which books are kept only where they are asked.
async function statements(plan: Plan, remote: string, input: string, out: string, books: boolean): Promise<string[]> {
  const view = (name: string, select: string): string => `create or replace temporary view ${name} as\n${select}`
  const said = Object.entries(sessionSettings).map(([name, value]) => `set ${name} = ${value}`)
  const typed = new Map<string, ReadonlySet<string>>()
  await using session = await SparkSession.open({ remote })
  for (const [id, source] of Object.entries(plan.sources)) {
    const opened = await openParquet(session, source, { source: id, format: { is: 'parquet' }, paths: [input] })
    typed.set(id, typedColumns(source, [opened]))
    const lines = sparkName(`${id} lines`)
    said.push(view(lines, `select ${linesColumns(opened).join(', ')} from parquet.\`${input}\``))
    said.push(view(textsName(id), textsSql(source, opened, lines, '1', typed.get(id))))
  }
  const { views, counts, tables } = sparkPlan(plan, typed)
  for (const { name, select, kept } of views) said.push(view(name, select), ...(kept ? [keepSql(name)] : []))
  if (books) said.push(...counts.map(({ select }) => select))
  for (const { step, select } of tables)
    said.push(`insert overwrite directory '${join(out, step.table)}' using parquet\n${select}`)
  return [...said, ...views.filter(({ kept }) => kept).map(({ name }) => letGoSql(name))]
}

// Of each table its rows, and a sum over hashes of them.
async function resultsOf(remote: string, plan: Plan, out: string): Promise<object> {
  await using session = await SparkSession.open({ remote })
  const results: Record<string, string> = {}
  for (const { step } of sparkPlan(plan).tables) {
    const columns = step.columns.map(({ name }) => sparkName(name)).join(', ')
    const [row] = await session.rows<{ said: string }>(
      `select concat(count(*), ' rows, ', bit_xor(xxhash64(${columns}))) as said from parquet.\`${join(out, step.table)}\``,
    )
    results[step.table] = row?.said ?? ''
  }
  return results
}

interface Ratio {
  peer: Peer
  what: string
  middle: number
  spread: string
}

// Within each round, and the median of that.
function ratioTo(peer: Peer, what: string, of: (run: Run) => number, runs: readonly Run[]): Ratio {
  const all = runs.flatMap((run) => {
    const other = runs.find(({ round, peer: who }) => round === run.round && who === peer)
    return run.peer === 'millrace' && other !== undefined ? [of(run) / of(other)] : []
  })
  return { peer, what, middle: median(all), spread: range([Math.min(...all), Math.max(...all)]) }
}
