/** `POST /api/process` of flyers at a steady rate, each answered after the commit of its event: with all readers, and with its own. */
import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { startCommand } from './command.ts'
import { portOf } from './ingest.ts'
import { startPostgres, writeOut } from './postgres.ts'
import { highWaterMark } from './processes.ts'
import { machine, percentile, printTable, saveResult } from './report.ts'

export interface ProcessOptions {
  root: string
  /** Posts a second. */
  rate: number
  seconds: number
  /** Readers that are there before. */
  users: number
  signal: AbortSignal
}

interface Figures {
  asks: string
  posts: number
  p50: number
  p99: number
  most: number
}

const goalMs = 200

export async function benchProcess({ root, rate, seconds, users, signal }: ProcessOptions): Promise<void> {
  const here = join(root, 'bench')
  const room = join(here, '.cache', `process-${process.pid}`)
  await mkdir(room, { recursive: true })
  const figures: Figures[] = []
  let memoryMb = 0
  try {
    await using postgres = await startPostgres(join(room, 'postgres'), signal)
    const url = await postgres.fresh()
    const env = { MILLRACE_DATA: join(room, 'data'), PORT: '0', DATABASE_URL: url }
    const args = [join(root, 'src/cli/main.ts'), 'start', 'flyers']
    await using server = startCommand({ program: process.execPath, args, env, signal })
    const port = await portOf(join(room, 'data'), server, signal)
    const agent = new Agent({ keepAlive: true })
    await fill(port, users, agent)
    await writeOut(url, signal)
    const queries = users > 10_000 ? ['?users=posted'] : ['', '?users=posted']
    for (const query of queries) {
      await steady({ port, agent, query, rate, seconds: 3, users, signal })
      const took = await steady({ port, agent, query, rate, seconds, users, signal })
      figures.push({
        asks: query === '' ? 'all readers' : 'its own reader',
        posts: took.length,
        p50: percentile(took, 0.5),
        p99: percentile(took, 0.99),
        most: took.reduce((a, b) => Math.max(a, b), 0),
      })
    }
    memoryMb = highWaterMark(server.pid)
    agent.destroy()
  } finally {
    await rm(room, { recursive: true, force: true })
  }
  printTable(
    [`${rate} posts/s, ${users} readers`, 'posts', 'p50 ms', 'p99 ms', 'most ms', ''],
    figures.map(({ asks, posts, p50, p99, most }) => [
      asks,
      String(posts),
      p50.toFixed(0),
      p99.toFixed(0),
      most.toFixed(0),
      p99 < goalMs ? `p99 below ${goalMs}: reached` : `p99 below ${goalMs}: MISSED`,
    ]),
  )
  process.stdout.write(`\nthe server held ${memoryMb.toFixed(0)} MB at most\n`)
  await saveResult(here, `process-${users}`, { machine: machine(), rate, seconds, users, memoryMb, figures })
}

function event(user: number, kind: string, at: number): string {
  return `{"timestamp":"${new Date(at).toISOString()}","user_id":"user-${user}","event":"${kind}","flyer_id":"flyer-${user % 50}","merchant_id":"merchant-1"}`
}

// A session of each reader, so that there is an average to tell.
async function fill(port: number, users: number, agent: Agent): Promise<void> {
  const at = Date.now() - 7_200_000
  for (let first = 0; first < users; first += 20_000) {
    const lines: string[] = []
    for (let user = first; user < Math.min(users, first + 20_000); user++)
      lines.push(event(user, 'flyer_open', at), event(user, 'flyer_close', at + 60_000))
    await post(port, agent, '?users=posted', lines.join('\n'), 'application/x-ndjson')
  }
}

interface Steady extends Pick<ProcessOptions, 'rate' | 'seconds' | 'users' | 'signal'> {
  port: number
  agent: Agent
  query: string
}

/** Posts by the clock, whether the one before is answered or not; milliseconds of each. */
async function steady({ port, agent, query, rate, seconds, users, signal }: Steady): Promise<number[]> {
  const took: number[] = []
  const posts: Promise<void>[] = []
  const began = performance.now()
  for (let n = 0; n < rate * seconds; n++) {
    const due = began + (n * 1000) / rate
    const wait = due - performance.now()
    if (wait > 0) await pause(wait, undefined, { signal })
    const body = event(randomBytes(4).readUInt32LE() % users, n % 2 === 0 ? 'flyer_open' : 'flyer_close', Date.now())
    posts.push(
      post(port, agent, query, body, 'application/json').then(() => {
        // from when it should have been sent
        took.push(performance.now() - due)
      }),
    )
  }
  await Promise.all(posts)
  return took
}

function post(port: number, agent: Agent, query: string, body: string, type: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': type, 'content-length': Buffer.byteLength(body) }
    const asked = request(
      { host: '127.0.0.1', port, path: `/api/process${query}`, method: 'POST', agent, headers },
      (response) => {
        let text = ''
        response.on('data', (part) => {
          if (text.length < 500) text += part
        })
        response.on('error', reject)
        response.on('end', () => {
          if (response.statusCode === 200) resolve()
          else reject(new Error(`${response.statusCode}: ${text}`))
        })
      },
    )
    asked.on('error', reject)
    asked.end(body)
  })
}
