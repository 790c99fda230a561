/** Events of Spark jobs, one a request, answered when they are in raw_logs, beside FastAPI that puts them there. */
import { mkdir, readFile, rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { freePort } from '../test/free-port.ts'
import { lastJson, runCommand, startCommand } from './command.ts'
import { type IngestOptions, type Posted, portOf, untilReady } from './ingest.ts'
import { type Postgres, query, startPostgres } from './postgres.ts'
import { machine, median, printTable, range, rotated, saveResult, say } from './report.ts'
import { rivalParts } from './rivals.ts'

const connections = 64
const committed = 'job log'
const durable = 'job log, wait=0'

interface Round {
  fastapi?: Posted
  committed?: Posted
  durable?: Posted
}

interface Setting {
  root: string
  room: string
  postgres: Postgres
  post(port: number, kind: string): Promise<Posted>
  signal: AbortSignal
}

export async function benchSparkLogsIngest({ root, rounds, seconds, peers, signal }: IngestOptions): Promise<void> {
  const here = join(root, 'bench')
  const room = join(here, '.cache', `spark-logs-ingest-${process.pid}`)
  const parts = await rivalParts(root, peers.includes('fastapi'), signal)
  for (const line of parts.absent) say(line)
  const taking = peers.filter((peer) => peer !== 'fastapi' || parts.fastapi !== undefined)
  const results: Round[] = []
  try {
    await mkdir(room, { recursive: true })
    await using postgres = await startPostgres(room, signal)
    const post = async (port: number, kind: string): Promise<Posted> => {
      const args = [join(here, 'ingest-poster.ts'), String(port), String(connections), String(seconds), kind]
      return lastJson<Posted>(await runCommand({ program: process.execPath, args, signal }))
    }
    const setting: Setting = { root, room, postgres, post, signal }
    for (let round = 0; round < rounds; round++) {
      const result: Round = {}
      for (const peer of rotated(taking, round)) {
        if (peer === 'fastapi') result.fastapi = await fastapi(setting, parts.fastapi ?? '')
        else Object.assign(result, await millrace(setting))
      }
      results.push(result)
    }
  } finally {
    await rm(room, { recursive: true, force: true })
  }
  print(results)
  await saveResult(here, 'spark-logs-ingest', { machine: machine(), connections, seconds, results })
}

async function millrace({ root, room, postgres, post, signal }: Setting): Promise<Round> {
  const data = join(room, 'data')
  await rm(data, { recursive: true, force: true })
  const url = await postgres.fresh()
  const env = { MILLRACE_DATA: data, DATABASE_URL: url, PORT: '0', INGEST_MAX_AHEAD: '1000000000' }
  const args = [join(root, 'src/cli/main.ts'), 'start', 'spark-logs', '--json']
  await using server = startCommand({ program: process.execPath, args, env, signal })
  const port = await portOf(data, server, signal)
  const afterCommit = await post(port, committed)
  await verify('Millrace', url, afterCommit.events)
  const onceDurable = await post(port, durable)
  // the pipeline takes them as fast as it can
  const all = afterCommit.events + onceDurable.events
  for (let seconds = 0; seconds < 600 && (await rowsIn(url)) < all; seconds++) await pause(1000, undefined, { signal })
  await verify('Millrace', url, all)
  return { committed: afterCommit, durable: onceDurable }
}

async function fastapi({ root, postgres, post, signal }: Setting, python: string): Promise<Posted> {
  const url = await postgres.fresh()
  await query(url, await readFile(join(root, 'pipelines/spark-logs/migrations/0001_spark_logs.sql'), 'utf8'))
  const port = await freePort()
  const args = [join(root, 'bench/rivals/fastapi_logs.py'), String(port), String(availableParallelism()), url]
  await using server = startCommand({ program: python, args, signal })
  await untilReady(`http://127.0.0.1:${port}/health/live`, server, signal)
  const posted = await post(port, committed)
  await verify('FastAPI', url, posted.events)
  return posted
}

async function rowsIn(url: string): Promise<number> {
  const [row] = await query<{ rows: number }>(url, 'select count(*)::int as rows from raw_logs')
  return row?.rows ?? 0
}

/** What was answered is there, and nothing else. */
async function verify(who: string, url: string, events: number): Promise<void> {
  const rows = await rowsIn(url)
  if (rows !== events) throw new Error(`${events} events were acknowledged by ${who}, and raw_logs has ${rows}`)
}

function print(results: readonly Round[]): void {
  const lines = (['fastapi', 'committed', 'durable'] as const).flatMap((name) => {
    const posted = results.flatMap((round) => round[name] ?? [])
    if (posted.length === 0) return []
    const of = (value: (posted: Posted) => number): string => median(posted.map(value)).toFixed(1)
    const title = name === 'fastapi' ? 'fastapi' : `millrace: ${name === 'committed' ? committed : durable}`
    return [[title, of((each) => each.perSecond), of((each) => each.p50), of((each) => each.p99)]]
  })
  printTable([`${connections} connections`, 'requests/s', 'p50 ms', 'p99 ms'], lines)
  for (const [name, goal] of [
    ['committed', 4],
    ['durable', 12],
  ] as const) {
    const ratios = results.flatMap((round) =>
      round.fastapi === undefined || round[name] === undefined ? [] : [round[name].perSecond / round.fastapi.perSecond],
    )
    if (ratios.length === 0) continue
    const spread = range([Math.min(...ratios), Math.max(...ratios)])
    process.stdout.write(
      `\n${name}: ${median(ratios).toFixed(1)} x FastAPI in the same round (${spread}; the goal is ${goal})`,
    )
  }
  process.stdout.write('\n')
}
