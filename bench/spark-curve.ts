/**
 * Where one machine is outgrown: flyers over more and more events on the local engine, on Spark in one process, and on a
 * standalone cluster of Spark, all on the same processors.
 */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { TestCluster } from '../test/spark/cluster.ts'
import { noSpark, TestSpark } from '../test/spark/server.ts'
import { lastJson } from './command.ts'
import { type Cost, measured } from './cost.ts'
import { flyerEvents } from './flyers-data.ts'
import { sessionsIn } from './flyers-peers.ts'
import { startPostgres } from './postgres.ts'
import { highWaterMark, Peak, processorSeconds, residentOfTree } from './processes.ts'
import { machine, printTable, saveResult, say, thousands } from './report.ts'

export const curveEngines = ['local', 'spark', 'cluster'] as const
export type CurveEngine = (typeof curveEngines)[number]

export interface CurveBench {
  root: string
  /** Events of each point of the curve. */
  rows: readonly number[]
  engines: readonly CurveEngine[]
  signal: AbortSignal
}

interface Point extends Cost {
  rows: number
  engine: CurveEngine
  /** Of Postgres or of Spark: what works beside the command. */
  serverSeconds: number
  serverMb: number
}

/** Dollars for a virtual processor and hour: those of CloudSort's machines in 2022 (97 dollars, 5,378 s, 40 of 16). */
const dollarsAnHour = 97 / ((5378 / 3600) * 640)

const says: Record<CurveEngine, string> = {
  local: 'the local engine',
  spark: 'Spark, local[2]',
  cluster: 'Spark, 2 executors',
}

export async function benchSparkCurve({ root, rows, engines, signal }: CurveBench): Promise<void> {
  if (noSpark !== false) throw new Error(noSpark)
  const room = join(root, 'bench/.cache', `run-${process.pid}`)
  const points: Point[] = []
  try {
    for (const count of rows) {
      const input = await flyerEvents(root, count, 'parquet', signal)
      let first: string | undefined
      for (const engine of engines) {
        const scratch = join(room, `${engine}-${count}`)
        await mkdir(scratch, { recursive: true })
        const cost = await runOn(engine, { root, rows: count, input, scratch, signal })
        const found = JSON.stringify(await sessionsIn(scratch, 'out/flyer_sessions'))
        first ??= found
        if (found !== first) throw new Error(`${says[engine]} has ${found}, and the first had ${first}`)
        await rm(scratch, { recursive: true, force: true })
        points.push({ rows: count, engine, ...cost })
        say(`${thousands(count)} events, ${says[engine]}: ${cost.wallSeconds.toFixed(1)} s`)
        // at once, for the next point may take hours, or not fit
        await saveResult(join(root, 'bench'), 'spark-curve', { machine: machine(), dollarsAnHour, points })
      }
      say(`every engine has, of ${thousands(count)} events: ${first}`)
    }
  } finally {
    await rm(room, { recursive: true, force: true })
  }
  printPoints(points)
}

interface Setting {
  root: string
  rows: number
  input: string
  scratch: string
  signal: AbortSignal
}

type Beside = Pick<Point, 'serverSeconds' | 'serverMb'>

// The command as a user gives it, on a server that has just been started; its start is left out.
async function runOn(engine: CurveEngine, { root, rows, input, scratch, signal }: Setting): Promise<Cost & Beside> {
  const args = [join(root, 'src/cli/main.ts'), 'run', 'flyers', '--input', input, '--final', '--json']
  args.push('--output', join(scratch, 'out'))
  const settings = { MILLRACE_DATA: join(scratch, 'data'), FLYERS_SESSIONS: 'files' }
  const run = async (pids: readonly number[], more: string[], env: NodeJS.ProcessEnv): Promise<Cost & Beside> => {
    const used = (): number => pids.reduce((sum, pid) => sum + processorSeconds(pid), 0)
    const before = used()
    using memory = new Peak(() => pids.reduce((sum, pid) => sum + residentOfTree(pid), 0))
    const command = { program: process.execPath, args: [...args, ...more], env: { ...settings, ...env }, signal }
    const { out, cost } = await measured(command, highWaterMark)
    const books = lastJson<{ rows_in: number; dead: number; late: number; duplicates: number }>(out)
    if (books.rows_in !== rows || books.dead + books.late + books.duplicates > 0)
      throw new Error(`the books of ${says[engine]} are ${JSON.stringify(books)}`)
    return { ...cost, serverSeconds: used() - before, serverMb: Math.round(memory.most) }
  }
  if (engine === 'local') {
    await using postgres = await startPostgres(join(scratch, 'postgres'), signal)
    return await run([postgres.pid], [], { DATABASE_URL: await postgres.fresh() })
  }
  // as for something large: more pieces than processors, so that one fits into memory; Spark joins small ones
  const larger = {
    'spark.sql.shuffle.partitions': '64',
    'spark.executor.extraJavaOptions': '',
    'spark.driver.extraJavaOptions': '',
  }
  const onSpark = async (pids: readonly number[], remote: string): Promise<Cost & Beside> =>
    await run(pids, ['--engine', 'spark'], { SPARK_REMOTE: remote })
  if (engine === 'spark') {
    await using spark = await TestSpark.start({ ...larger, 'spark.driver.memory': '4g' })
    return await onSpark(spark.pid === undefined ? [] : [spark.pid], spark.remote)
  }
  await using cluster = await TestCluster.start({ ...larger, 'spark.driver.memory': '1g' }, 2048)
  return await onSpark(cluster.pids, cluster.remote)
}

function printPoints(points: readonly Point[]): void {
  printTable(
    ['', 'seconds', 's a million', 'processor s', 'µs an event', 'dollars a million', 'MB', 'MB beside'],
    points.map((point) => {
      const { rows, engine, wallSeconds, serverMb, memoryMb } = point
      const seconds = point.processorSeconds + point.serverSeconds
      const million = (all: number): number => (all / rows) * 1e6
      return [
        `${thousands(rows)}: ${says[engine]}`,
        wallSeconds.toFixed(1),
        million(wallSeconds).toFixed(2),
        seconds.toFixed(1),
        million(seconds).toFixed(1),
        million((seconds / 3600) * dollarsAnHour).toFixed(5),
        String(memoryMb),
        String(serverMb),
      ]
    }),
  )
}
