/** Rows of one file into a table, to a local topic through the outbox, and both: what publishing costs beside a table. */
import { createWriteStream } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline as pump } from 'node:stream/promises'
import { decimal, files, pipeline, publish, table, text, timestamp } from '../src/index.ts'
import type { Plan } from '../src/plan/plan.ts'
import { lastJson, startCommand } from './command.ts'
import { query, startPostgres } from './postgres.ts'
import { Peak, processorSeconds } from './processes.ts'
import { machine, median, printTable, saveResult } from './report.ts'

const sinks = ['table', 'topic', 'both'] as const
type Sinks = (typeof sinks)[number]

interface Run {
  into: Sinks
  round: number
  seconds: number
  /** Of Millrace, and of the server. */
  processorSeconds: number
  serverSeconds: number
}

export interface PublishOptions {
  root: string
  rows: number
  rounds: number
  signal: AbortSignal
}

export async function benchPublish({ root, rows, rounds, signal }: PublishOptions): Promise<void> {
  const here = join(root, 'bench')
  const room = join(here, '.cache', `run-${process.pid}`)
  await mkdir(room, { recursive: true })
  try {
    await pump(Readable.from(linesOf(rows)), createWriteStream(join(room, 'orders.csv')))
    await using postgres = await startPostgres(room, signal)
    const runs: Run[] = []
    for (let round = 1; round <= rounds; round++) {
      for (const into of round % 2 === 1 ? sinks : sinks.toReversed()) {
        const url = await postgres.fresh()
        const module = join(room, `${into}.mjs`)
        await writeFile(module, `export default ${JSON.stringify({ plan: planOf(into) })}`)
        const args = [join(root, 'src/cli/main.ts'), 'run', module, '--input', join(room, 'orders.csv'), '--json']
        const env = { DATABASE_URL: url, MILLRACE_DATA: join(room, `data-${runs.length}`) }
        const before = processorSeconds(postgres.pid)
        let used = 0
        await using running = startCommand({ program: process.execPath, args, env, signal })
        using _ = new Peak(() => {
          used = Math.max(used, processorSeconds(running.pid))
          return 0
        })
        const said = lastJson<{ written: number; seconds: number }>(await running.ended)
        if (said.written !== rows) throw new Error(`${into}: ${said.written} of ${rows} rows were written`)
        const [left] = await query<{ n: number }>(url, 'select count(*)::int as n from millrace.outbox')
        if (left?.n !== 0) throw new Error(`${into}: ${left?.n} messages were not published`)
        const serverSeconds = processorSeconds(postgres.pid) - before
        runs.push({ into, round, seconds: said.seconds, processorSeconds: used, serverSeconds })
        process.stderr.write(`round ${round}, ${into}: ${said.seconds.toFixed(1)} s\n`)
        await rm(env.MILLRACE_DATA, { recursive: true, force: true })
      }
    }
    print(rows, runs)
    await saveResult(here, `publish-${rows}`, { machine: { postgres: postgres.version, ...machine() }, rows, runs })
  } finally {
    await rm(room, { recursive: true, force: true })
  }
}

function planOf(into: Sinks): Plan {
  const orders = pipeline(`orders-${into}`).from(
    files('orders', {
      format: 'csv',
      columns: { order_id: text(), customer: text(), total: decimal(12, 2), at: timestamp() },
    }),
  )
  const landed = into === 'topic' ? orders : orders.into(table('orders'))
  return (into === 'table' ? landed : landed.into(publish('orders', { key: 'customer' }))).plan
}

function* linesOf(rows: number): Generator<string> {
  yield 'order_id,customer,total,at\n'
  for (let n = 0; n < rows; n += 1000) {
    const lines = Array.from({ length: Math.min(1000, rows - n) }, (_, i) => {
      const at = new Date(Date.UTC(2026, 0, 1) + (n + i) * 100).toISOString()
      return `order-${n + i},customer-${((n + i) * 7919) % 10_000},${((n + i) % 50_000) / 100},${at}\n`
    })
    yield lines.join('')
  }
}

function print(rows: number, runs: Run[]): void {
  const each = (run: Run): string[] => [
    run.seconds.toFixed(1),
    Math.round(rows / run.seconds).toLocaleString('en'),
    run.processorSeconds.toFixed(1),
    run.serverSeconds.toFixed(1),
  ]
  printTable(
    ['', 's', 'rows/s', 'processor s', 'Postgres processor s'],
    runs.map((run) => [`round ${run.round}, into ${run.into}`, ...each(run)]),
  )
  const ratio = (into: Sinks, figure: (run: Run) => number): string => {
    const rounds = [...Map.groupBy(runs, ({ round }) => round).values()]
    const figureOf = (round: Run[], of: Sinks): number => figure(round.find((run) => run.into === of) ?? fail())
    return median(rounds.map((round) => figureOf(round, into) / figureOf(round, 'table'))).toFixed(2)
  }
  const work = (run: Run): number => run.processorSeconds + run.serverSeconds
  for (const into of ['topic', 'both'] as const) {
    process.stdout.write(
      `\ninto ${into}: ${ratio(into, ({ seconds }) => seconds)} times the seconds of the table alone, ` +
        `${ratio(into, work)} times the processor time`,
    )
  }
  process.stdout.write('\n')
}

function fail(): never {
  throw new Error('a round lacks a run')
}
