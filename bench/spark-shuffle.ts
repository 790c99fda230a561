/**
 * What a bounded run of flyers moves on Spark, for each event: bytes read, shuffled and written, and processor time, by
 * Spark's own event log. docs/explanation/a-trillion-events.md is computed from it.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventLogIn, type StageWork, stagesIn } from '../test/spark/event-log.ts'
import { noSpark, TestSpark } from '../test/spark/server.ts'
import { runCommand } from './command.ts'
import { type FlyerFormat, flyerEvents } from './flyers-data.ts'
import { machine, printTable, saveResult, say, thousands } from './report.ts'

export interface ShuffleBench {
  root: string
  rows: number
  format: FlyerFormat
  signal: AbortSignal
}

export async function benchSparkShuffle({ root, rows, format, signal }: ShuffleBench): Promise<void> {
  if (noSpark !== false) throw new Error(noSpark)
  const input = await flyerEvents(root, rows, format, signal)
  const folder = await mkdtemp(join(tmpdir(), 'millrace-shuffle-'))
  try {
    const log = join(folder, 'log')
    await mkdir(log)
    await using spark = await TestSpark.start(eventLogIn(log))
    say(`${thousands(rows)} events on Spark`)
    const started = performance.now()
    const books = await runCommand({
      program: process.execPath,
      args: [
        ...[join(root, 'src/cli/main.ts'), 'run', 'flyers', '--engine', 'spark', '--final', '--json'],
        ...['--input', input, '--output', join(folder, 'out')],
      ],
      env: { SPARK_REMOTE: spark.remote, MILLRACE_DATA: join(folder, 'data'), FLYERS_SESSIONS: 'files' },
      signal,
    })
    const seconds = (performance.now() - started) / 1000
    const stages = await stagesIn(log)
    const all = stages.reduce(added)
    const each = (total: number): string => (total / rows).toFixed(1)
    printTable(
      ['stage', 'tasks', 'rows read', 'bytes read', 'rows shuffled', 'bytes shuffled', 'bytes written', 'cpu ms'],
      [...stages.filter(({ runMs }) => runMs >= 50).map((of) => figures(String(of.stage), of)), figures('all', all)],
    )
    say(
      `for each event: ${each(all.bytesRead)} bytes read, ${each(all.shuffleBytes)} shuffled, ${each(all.bytesWritten)} written, ${((all.cpuMs * 1000) / rows).toFixed(1)} µs of a processor; ${seconds.toFixed(1)} s`,
    )
    const result = { machine: machine(), rows, format, seconds, books: JSON.parse(books), all, stages }
    await saveResult(join(root, 'bench'), 'spark-shuffle', result)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function figures(name: string, of: StageWork): string[] {
  const numbers = [of.tasks, of.rowsRead, of.bytesRead, of.shuffleRows, of.shuffleBytes, of.bytesWritten, of.cpuMs]
  return [name, ...numbers.map((number) => thousands(Math.round(number)))]
}

function added(one: StageWork, other: StageWork): StageWork {
  const sum = { ...one }
  // as: its keys are those of a stage, all of them numbers
  for (const key of Object.keys(one) as (keyof StageWork)[]) sum[key] = one[key] + other[key]
  return sum
}
