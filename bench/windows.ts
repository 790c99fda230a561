/** The windows of telemetra over messages that are in Kafka already, beside Spark and Flink: counted, and compared. */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Broker, noKafka, startBroker } from '../test/kafka-broker.ts'
import { lastJson, runCommand } from './command.ts'
import { type Cost, measured } from './cost.ts'
import { query, startPostgres } from './postgres.ts'
import { highWaterMark, residentOfTree } from './processes.ts'
import { machine, median, printTable, saveResult } from './report.ts'

/** `sixty`: Millrace, with windows ten times as long, so that each message is in 60 of them. */
export const windowPeers = ['millrace', 'sixty', 'spark', 'flink'] as const
export type WindowPeer = (typeof windowPeers)[number]

export interface WindowsOptions {
  root: string
  /** Messages of chat and viewers together. */
  rows: number
  rounds: number
  peers: readonly WindowPeer[]
  signal: AbortSignal
}

interface Run extends Cost {
  peer: WindowPeer
  round: number
  /** Without the start of the program, by its own clock. */
  workSeconds: number
  windows: number
  messages: number
  chatters: number
}

interface Place {
  root: string
  room: string
  url: string
  brokers: string
  rows: number
  signal: AbortSignal
}

export async function benchWindows({ root, rows, rounds, peers, signal }: WindowsOptions): Promise<void> {
  if (noKafka) throw new Error(noKafka)
  const here = join(root, 'bench')
  const room = join(here, '.cache', `run-${process.pid}`)
  await mkdir(room, { recursive: true })
  try {
    await using postgres = await startPostgres(room, signal)
    await using broker = await startBroker({ config: { 'num.partitions': 4 }, java: ['-Xmx1g'] })
    await fill(root, room, broker, rows, signal)
    const runs: Run[] = []
    for (let round = 1; round <= rounds; round++) {
      for (const peer of round % 2 === 1 ? peers : peers.toReversed()) {
        const url = await postgres.fresh()
        const place = { root, room: join(room, `${runs.length}`), url, brokers: broker.address(), rows, signal }
        await mkdir(place.room, { recursive: true })
        const run = await { millrace, sixty, spark, flink }[peer](place)
        runs.push({ peer, round, ...run })
        process.stderr.write(`round ${round}, ${peer}: ${run.workSeconds.toFixed(1)} s\n`)
      }
    }
    compare(runs)
    print(rows, runs)
    await saveResult(here, `windows-${rows}`, { machine: { postgres: postgres.version, ...machine() }, rows, runs })
  } finally {
    await rm(room, { recursive: true, force: true })
  }
}

async function fill(root: string, room: string, broker: Broker, rows: number, signal: AbortSignal): Promise<void> {
  const args = [join(root, 'src/cli/main.ts'), 'generate', 'telemetra', '--count', String(rows), '--seed', '1']
  const env = { KAFKA_BOOTSTRAP_SERVERS: broker.address(), MILLRACE_DATA: join(room, 'generator') }
  await runCommand({ program: process.execPath, args: [...args, '--streams', '20'], env, signal })
}

async function sixty(place: Place): Promise<Omit<Run, 'peer' | 'round'>> {
  return await millrace(place, { WINDOW_DURATION: '10 minutes' })
}

async function millrace(
  { root, room, url, brokers, rows, signal }: Place,
  settings: Record<string, string> = {},
): Promise<Omit<Run, 'peer' | 'round'>> {
  const args = [join(root, 'src/cli/main.ts'), 'run', 'telemetra', '--from-beginning', '--final', '--json']
  const env = { DATABASE_URL: url, KAFKA_BOOTSTRAP_SERVERS: brokers, MILLRACE_DATA: join(room, 'data'), ...settings }
  const { out, cost } = await measured({ program: process.execPath, args, env, signal }, highWaterMark)
  const said = lastJson<{ rows_in: number; dead: number; late: number; seconds: number }>(out)
  if (said.rows_in !== rows || said.dead + said.late > 0) throw new Error(`millrace read ${JSON.stringify(said)}`)
  return { ...cost, workSeconds: said.seconds, ...(await landed(url, 'chat_summary_minute')) }
}

async function spark({ root, room, url, brokers, signal }: Place): Promise<Omit<Run, 'peer' | 'round'>> {
  const [python, jars] = [process.env['MILLRACE_SPARK_PYTHON'], process.env['MILLRACE_SPARK_KAFKA_JARS']]
  if (python === undefined || jars === undefined) throw new Error('Spark is absent: .ci/setup --bench brings it')
  const args = [
    join(root, 'bench/rivals/spark_windows.py'),
    brokers,
    url,
    jars,
    room,
    join(root, 'pipelines/telemetra'),
  ]
  const { out, cost } = await measured({ program: python, args, signal }, residentOfTree)
  const said = lastJson<{ seconds: number }>(out)
  return { ...cost, workSeconds: said.seconds, ...(await landed(url, 'chat_summary_spark')) }
}

async function flink({ root, room, url, brokers, signal }: Place): Promise<Omit<Run, 'peer' | 'round'>> {
  const home = process.env['MILLRACE_FLINK']
  if (home === undefined) throw new Error('Flink is absent: .ci/setup --bench brings it')
  // what it serializes by reflection
  const opened = ['util', 'lang', 'net', 'time', 'nio', 'util.concurrent', 'text'].map(
    (name) => `--add-opens=java.base/java.${name}=ALL-UNNAMED`,
  )
  const { host, pathname, username } = new URL(url)
  const jdbc = `jdbc:postgresql://${host}${pathname}?user=${username}&reWriteBatchedInserts=true`
  const quiet = '-Dorg.slf4j.simpleLogger.defaultLogLevel=error'
  const program = ['-Xmx4g', ...opened, quiet, '-cp', `${home}:${home}/*`, 'Windows']
  const args = [...program, brokers, jdbc, room, join(root, 'pipelines/telemetra')]
  const { out, cost } = await measured({ program: 'java', args, signal }, residentOfTree)
  const said = lastJson<{ seconds: number }>(out)
  return { ...cost, workSeconds: said.seconds, ...(await landed(url, 'chat_summary_flink')) }
}

type Landed = Pick<Run, 'windows' | 'messages' | 'chatters'>

async function landed(url: string, table: string): Promise<Landed> {
  const [found] = await query<Landed>(
    url,
    `select
  count(*)::int as windows,
  coalesce(sum(chat_count), 0)::float8 as messages,
  coalesce(sum(unique_chatters), 0)::float8 as chatters
from ${table}
where chat_count > 0`,
  )
  return found ?? { windows: 0, messages: 0, chatters: 0 }
}

// Every message is in as many windows with one as with the others. Spark's chatters are an estimate.
function compare(all: Run[]): void {
  const wide = all.filter(({ peer }) => peer === 'sixty')
  const runs = all.filter(({ peer }) => peer !== 'sixty')
  const [first] = runs
  for (const { messages } of wide) {
    if (first === undefined || messages === 10 * first.messages) continue
    throw new Error(`messages are not in ten times as many windows: ${JSON.stringify(all)}`)
  }
  const exact = runs.filter(({ peer }) => peer !== 'spark')
  for (const { peer, windows, messages, chatters } of runs) {
    const sameChatters = peer === 'spark' || chatters === exact[0]?.chatters
    if (windows === first?.windows && messages === first.messages && sameChatters) continue
    throw new Error(`${peer} has other windows than ${first?.peer}: ${JSON.stringify(runs)}`)
  }
}

function print(rows: number, runs: Run[]): void {
  printTable(
    ['', 'work s', 'messages/s', 'whole s', 'processor s', 'memory MB'],
    runs.map((run) => [
      `round ${run.round}, ${run.peer}`,
      run.workSeconds.toFixed(1),
      Math.round(rows / run.workSeconds).toLocaleString('en'),
      run.wallSeconds.toFixed(1),
      run.processorSeconds.toFixed(1),
      run.memoryMb.toFixed(0),
    ]),
  )
  const of = (peer: WindowPeer, figure: (run: Run) => number): number =>
    median(runs.filter((run) => run.peer === peer).map(figure))
  const has = (peer: WindowPeer): boolean => runs.some((run) => run.peer === peer)
  if (has('millrace') && has('sixty')) {
    const ratio = of('sixty', (run) => run.workSeconds) / of('millrace', (run) => run.workSeconds)
    process.stdout.write(
      `\nwith each message in 60 windows in place of 6: ${ratio.toFixed(2)} times as long (goal below 1.3)\n`,
    )
  }
  const goals = { spark: 'goal 4, aim 5', flink: 'goal 2' }
  for (const peer of ['spark', 'flink'] as const) {
    if (!has(peer) || !has('millrace')) continue
    const ratio = (figure: (run: Run) => number): string => (of(peer, figure) / of('millrace', figure)).toFixed(2)
    process.stdout.write(
      `\nMillrace is ${ratio((run) => run.workSeconds)} times as fast as ${peer} by work only, ` +
        `${ratio((run) => run.wallSeconds)} times by the whole command (${goals[peer]})\n`,
    )
  }
}
