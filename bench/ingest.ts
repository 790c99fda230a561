/**
 * Events posted over HTTP until they are durable, beside FastAPI with SQLAlchemy that puts them into Postgres, and beside a
 * question that the same server answers with nothing to do.
 */
import { mkdir, readFile, rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { openLocalTopics } from '../src/sources/topic/log/open.ts'
import { freePort } from '../test/free-port.ts'
import { lastJson, type Running, runCommand, startCommand } from './command.ts'
import { type Postgres, query, startPostgres } from './postgres.ts'
import { highWaterMark } from './processes.ts'
import { machine, median, printTable, range, rotated, saveResult, say } from './report.ts'
import { rivalParts } from './rivals.ts'

const connections = 64
const topic = 'telemetra.events.chat'
/** What is posted, and how many events each request has. */
const kinds = { health: 0, one: 1, 'one with a key': 1, array: 1000, 'lines, gzip': 1000 } as const

type Kind = keyof typeof kinds

export interface Posted {
  perSecond: number
  /** All that were answered, those of the warm-up too. */
  events: number
  p50: number
  p99: number
  most: number
}

export const ingestPeers = ['millrace', 'fastapi'] as const
export type IngestPeer = (typeof ingestPeers)[number]

/** What a rival is posted, too. */
const shared: readonly Kind[] = ['health', 'one', 'array']

type Round = Partial<Record<Kind, Posted>>

export interface IngestOptions {
  root: string
  rounds: number
  seconds: number
  peers: readonly IngestPeer[]
  signal: AbortSignal
}

/** What the peers of a round have in common. */
interface Setting {
  root: string
  room: string
  postgres: Postgres
  post(port: number, kinds: readonly Kind[]): Promise<Round>
  signal: AbortSignal
}

export async function benchIngest({ root, rounds, seconds, peers, signal }: IngestOptions): Promise<void> {
  const here = join(root, 'bench')
  const room = join(here, '.cache', `ingest-${process.pid}`)
  const parts = await rivalParts(root, peers.includes('fastapi'), signal)
  for (const line of parts.absent) say(line)
  const { fastapi: python } = parts
  const taking = peers.filter((peer) => peer !== 'fastapi' || python !== undefined)
  const results: Partial<Record<IngestPeer, Round>>[] = []
  let memoryMb = 0
  try {
    await mkdir(room, { recursive: true })
    await using postgres = await startPostgres(room, signal)
    for (let round = 0; round < rounds; round++) {
      const posted: Partial<Record<IngestPeer, Round>> = {}
      const post = async (port: number, asked: readonly Kind[]): Promise<Round> => {
        const answers: Round = {}
        for (const kind of rotated(asked, round)) {
          const args = [join(here, 'ingest-poster.ts'), String(port), String(connections), String(seconds), kind]
          answers[kind] = lastJson<Posted>(await runCommand({ program: process.execPath, args, signal }))
        }
        return answers
      }
      const setting: Setting = { root, room, postgres, post, signal }
      // in turns, so that a slow minute falls on all
      for (const peer of rotated(taking, round)) {
        if (peer === 'fastapi') posted.fastapi = await fastapi(setting, python ?? '')
        else {
          const ran = await millrace(setting)
          posted.millrace = ran.round
          memoryMb = Math.max(memoryMb, ran.memoryMb)
        }
      }
      results.push(posted)
    }
  } finally {
    await rm(room, { recursive: true, force: true })
  }
  const ratios = Object.fromEntries(shared.map((kind) => [kind, ratiosOf(results, kind)]))
  print(results, ratios, memoryMb)
  await saveResult(here, 'ingest', { machine: machine(), connections, seconds, memoryMb, results, ratios })
}

async function millrace({ root, room, postgres, post, signal }: Setting): Promise<{ round: Round; memoryMb: number }> {
  const data = join(room, 'data')
  await rm(data, { recursive: true, force: true })
  // nothing reads what is posted: what a pipeline takes is another bench
  const env = {
    MILLRACE_DATA: data,
    DATABASE_URL: await postgres.fresh(),
    PORT: '0',
    INGEST_MAX_AHEAD: '1000000000',
  }
  const args = [join(root, 'src/cli/main.ts'), 'serve', 'telemetra', '--json']
  await using server = startCommand({ program: process.execPath, args, env, signal })
  // as: the keys of the table above
  const round = await post(await portOf(data, server, signal), Object.keys(kinds) as Kind[])
  const memoryMb = highWaterMark(server.pid)
  await using reader = await openLocalTopics(join(data, 'topics')).openReader(topic)
  const [ends] = await reader.partitions()
  verify('the topic', round, ends?.end ?? 0)
  return { round, memoryMb }
}

async function fastapi({ root, postgres, post, signal }: Setting, python: string): Promise<Round> {
  const url = await postgres.fresh()
  await query(url, chatEvents)
  const port = await freePort()
  const program = join(root, 'bench/rivals/fastapi_ingest.py')
  const args = [program, String(port), String(availableParallelism()), url]
  await using server = startCommand({ program: python, args, signal })
  await untilReady(`http://127.0.0.1:${port}/health/live`, server, signal)
  const round = await post(port, shared)
  const [row] = await query<{ rows: number }>(url, 'select count(*)::int as rows from chat_events')
  verify('its table', round, row?.rows ?? 0)
  return round
}

// As the program of the peer knows it.
const chatEvents = `
  create table chat_events (
    id         bigint generated always as identity primary key,
    event_id   text,
    stream_id  text not null,
    user_id    text not null,
    username   text,
    message    text not null,
    emotes     text[],
    timestamp  timestamptz not null
  )`

/** What was answered is there, and nothing else. */
function verify(where: string, round: Round, there: number): void {
  const events = Object.values(round).reduce((sum, each) => sum + each.events, 0)
  if (there !== events) throw new Error(`${events} events were acknowledged, and ${where} has ${there}`)
}

export async function portOf(room: string, server: Running, signal: AbortSignal): Promise<number> {
  const written = async () => {
    const file = await readFile(join(room, 'server.json'), 'utf8').catch(() => '{}')
    // as: what a server writes
    return (JSON.parse(file) as { port?: number }).port
  }
  return await until(server, signal, async () => {
    const port = await written()
    if (port !== undefined && (await answers(`http://127.0.0.1:${port}/health/ready`))) return port
    return undefined
  })
}

export async function untilReady(url: string, server: Running, signal: AbortSignal): Promise<void> {
  await until(server, signal, async () => ((await answers(url)) ? true : undefined))
}

async function answers(url: string): Promise<boolean> {
  return (await fetch(url).catch(() => undefined))?.ok === true
}

async function until<T>(server: Running, signal: AbortSignal, found: () => Promise<T | undefined>): Promise<T> {
  for (let tries = 0; tries < 600; tries++) {
    const it = await found()
    if (it !== undefined) return it
    await pause(100, undefined, { signal })
  }
  throw new Error(`the server is not ready in a minute; it said:\n${server.said()}`)
}

interface Ratio {
  requests: number
  spread: [number, number]
}

// Millrace's requests a second over the rival's, within a round.
function ratiosOf(results: readonly Partial<Record<IngestPeer, Round>>[], kind: Kind): Ratio | undefined {
  const each = results.flatMap(({ millrace, fastapi }) => {
    const [own, rival] = [millrace?.[kind]?.perSecond, fastapi?.[kind]?.perSecond]
    // it may not have answered any in so short a time
    return own === undefined || rival === undefined || rival === 0 ? [] : [own / rival]
  })
  return each.length === 0 ? undefined : { requests: median(each), spread: [Math.min(...each), Math.max(...each)] }
}

function print(
  results: readonly Partial<Record<IngestPeer, Round>>[],
  ratios: Record<string, Ratio | undefined>,
  memoryMb: number,
): void {
  const lines = ingestPeers.flatMap((peer) =>
    Object.entries(kinds).flatMap(([kind, events]) => {
      // as: the keys of the same table
      const posted = results.flatMap((round) => round[peer]?.[kind as Kind] ?? [])
      if (posted.length === 0) return []
      const of = (value: (posted: Posted) => number): number => median(posted.map(value))
      const perSecond = of((each) => each.perSecond)
      return [
        [
          `${peer}: ${kind}`,
          perSecond.toFixed(0),
          events === 0 ? '' : (events * perSecond).toFixed(0),
          of((each) => each.p50).toFixed(1),
          of((each) => each.p99).toFixed(1),
        ],
      ]
    }),
  )
  printTable([`${connections} connections`, 'requests/s', 'events/s', 'p50 ms', 'p99 ms'], lines)
  for (const [kind, ratio] of Object.entries(ratios)) {
    if (ratio === undefined) continue
    const goal = kind === 'one' ? '; the goal is 12' : ''
    process.stdout.write(
      `\n${kind}: ${ratio.requests.toFixed(1)} x FastAPI in the same round (${range(ratio.spread)}${goal})`,
    )
  }
  process.stdout.write(`\n\nMillrace's server held ${memoryMb.toFixed(0)} MB at most\n`)
}
