/** Events posted over HTTP until they are durable, beside a question that the same server answers with nothing to do. */
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { openLocalTopics } from '../src/sources/topic/log/open.ts'
import { lastJson, type Running, runCommand, startCommand } from './command.ts'
import { highWaterMark } from './processes.ts'
import { machine, median, printTable, saveResult } from './report.ts'

const connections = 64
const topic = 'telemetra.events.chat'
/** What is posted, and how many events each request has. */
const kinds = { health: 0, one: 1, 'one with a key': 1, array: 1000, 'lines, gzip': 1000 } as const

type Kind = keyof typeof kinds

interface Posted {
  perSecond: number
  /** All that were answered, those of the warm-up too. */
  events: number
  p50: number
  p99: number
  most: number
}

export interface IngestOptions {
  root: string
  rounds: number
  seconds: number
  signal: AbortSignal
}

export async function benchIngest({ root, rounds, seconds, signal }: IngestOptions): Promise<void> {
  const here = join(root, 'bench')
  const room = join(here, '.cache', `ingest-${process.pid}`)
  const results: Record<Kind, Posted>[] = []
  let memoryMb = 0
  try {
    for (let round = 0; round < rounds; round++) {
      await rm(room, { recursive: true, force: true })
      await mkdir(room, { recursive: true })
      // nothing reads what is posted: what a pipeline takes is another bench
      const env = { MILLRACE_DATA: room, PORT: '0', INGEST_MAX_AHEAD: '1000000000' }
      const args = [join(root, 'src/cli/main.ts'), 'serve', 'telemetra', '--json']
      await using server = startCommand({ program: process.execPath, args, env, signal })
      const port = await portOf(room, server, signal)
      const posted: Partial<Record<Kind, Posted>> = {}
      for (const kind of kindsInTurn(round)) {
        const poster = [join(here, 'ingest-poster.ts'), String(port), String(connections), String(seconds), kind]
        posted[kind] = lastJson<Posted>(await runCommand({ program: process.execPath, args: poster, signal }))
      }
      memoryMb = Math.max(memoryMb, highWaterMark(server.pid))
      // as: each kind was posted
      results.push(posted as Record<Kind, Posted>)
      await verify(room, Object.values(posted))
    }
  } finally {
    await rm(room, { recursive: true, force: true })
  }
  print(results, memoryMb)
  await saveResult(here, 'ingest', { machine: machine(), connections, seconds, memoryMb, results })
}

// Each round begins with another, so that a slow minute falls on all.
function kindsInTurn(round: number): Kind[] {
  // as: the keys of the table above
  const all = Object.keys(kinds) as Kind[]
  return all.map((_, n) => all[(n + round) % all.length] ?? 'health')
}

export async function portOf(room: string, server: Running, signal: AbortSignal): Promise<number> {
  for (let tries = 0; tries < 600; tries++) {
    const written = await readFile(join(room, 'server.json'), 'utf8').catch(() => '{}')
    const { port } = JSON.parse(written) as { port?: number }
    if (port !== undefined) {
      const ready = await fetch(`http://127.0.0.1:${port}/health/ready`).catch(() => undefined)
      if (ready?.ok) return port
    }
    await pause(100, undefined, { signal })
  }
  throw new Error(`the server is not ready in a minute; it said:\n${server.said()}`)
}

/** What was answered is there, and nothing else. */
async function verify(room: string, posted: readonly Posted[]): Promise<void> {
  await using reader = await openLocalTopics(join(room, 'topics')).openReader(topic)
  const [ends] = await reader.partitions()
  const events = posted.reduce((sum, each) => sum + each.events, 0)
  if (ends?.end !== events) throw new Error(`${events} events were acknowledged, and the topic has ${ends?.end}`)
}

function print(results: readonly Record<Kind, Posted>[], memoryMb: number): void {
  const lines = Object.entries(kinds).map(([name, events]) => {
    // as: the keys of the same table
    const of = (value: (posted: Posted) => number): number => median(results.map((round) => value(round[name as Kind])))
    const perSecond = of((posted) => posted.perSecond)
    return [
      name,
      perSecond.toFixed(0),
      events === 0 ? '' : (events * perSecond).toFixed(0),
      of((posted) => posted.p50).toFixed(1),
      of((posted) => posted.p99).toFixed(1),
    ]
  })
  printTable([`${connections} connections`, 'requests/s', 'events/s', 'p50 ms', 'p99 ms'], lines)
  process.stdout.write(`\nthe server held ${memoryMb.toFixed(0)} MB at most\n`)
}
