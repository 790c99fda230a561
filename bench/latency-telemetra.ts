/** From a message of chat being posted to the row of its stream being visible, while a steady rate of others comes. */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { startCommand } from './command.ts'
import { portOf } from './ingest.ts'
import { type LatencyOptions, ledgerOf, orEnded, printLedger } from './latency.ts'
import { startPostgres } from './postgres.ts'
import { highWaterMark } from './processes.ts'
import { machine, percentile, printTable, saveResult } from './report.ts'

const postEveryMs = 50
const probeEveryMs = 150
const warmUpSeconds = 5
const pollMs = 2
const goals = { p50: 100, p99: 300 }

interface Probe {
  stream: string
  sentAt: number
  visibleAt?: number
}

function message(stream: string, n: number): string {
  const at = new Date().toISOString()
  return `{"stream_id":"${stream}","user_id":"user_${n % 5000}","username":"name ${n}","message":"how did he do that, number ${n}","timestamp":"${at}"}`
}

export async function benchTelemetraLatency(options: Omit<LatencyOptions, 'system'>): Promise<void> {
  const { root, rate, seconds, signal } = options
  const here = join(root, 'bench')
  const room = join(here, '.cache', `latency-telemetra-${process.pid}`)
  await mkdir(room, { recursive: true })
  try {
    await using postgres = await startPostgres(room, signal)
    const url = await postgres.fresh()
    const data = join(room, 'data')
    const args = [join(root, 'src/cli/main.ts'), 'start', 'telemetra', '--json']
    const env = { DATABASE_URL: url, MILLRACE_DATA: data, PORT: '0' }
    await using server = startCommand({ program: process.execPath, args, env, signal })
    const port = await portOf(data, server, signal)
    const address = `http://127.0.0.1:${port}/api/topics/telemetra.events.chat`
    const post = async (lines: string[]): Promise<void> => {
      const headers = { 'content-type': 'application/x-ndjson' }
      const answer = await fetch(address, { method: 'POST', headers, body: lines.join('\n'), signal })
      const said = await answer.text()
      if (answer.status !== 202) throw new Error(`${answer.status} ${said}`)
    }
    const ends = performance.now() + (warmUpSeconds + seconds) * 1000
    const posts: Promise<void>[] = []
    let behindMs = 0
    let sent = 0
    const load = async (): Promise<void> => {
      const each = Math.max(1, Math.round((rate * postEveryMs) / 1000))
      // by the clock: a slow answer does not lower the rate
      for (let due = performance.now(); due < ends; due += postEveryMs) {
        await pause(Math.max(0, due - performance.now()), undefined, { signal })
        behindMs = Math.max(behindMs, performance.now() - due)
        posts.push(post(Array.from({ length: each }, () => message(`stream_${sent % 20}`, sent++))))
      }
    }
    const probes: Probe[] = []
    const probe = async (): Promise<void> => {
      for (let due = performance.now(); due < ends; due += probeEveryMs) {
        await pause(Math.max(0, due - performance.now()), undefined, { signal })
        const stream = `probe-${probes.length}`
        const line = message(stream, probes.length)
        probes.push({ stream, sentAt: performance.now() })
        posts.push(post([line]))
      }
    }
    const watcher = new pg.Client({ connectionString: url })
    await watcher.connect()
    const watch = async (): Promise<void> => {
      for (;;) {
        const waiting = probes.filter(({ visibleAt }) => visibleAt === undefined)
        if (waiting.length === 0 && performance.now() > ends) return
        if (performance.now() > ends + 60_000)
          throw new Error(`${waiting.length} probes never became visible:\n${server.said()}`)
        const { rows } = await watcher.query<{ stream_id: string }>({
          name: 'visible',
          text: 'select distinct stream_id from chat_summary_minute where stream_id = any($1)',
          values: [waiting.map(({ stream }) => stream)],
        })
        const now = performance.now()
        const seen = new Set(rows.map(({ stream_id }) => stream_id))
        for (const one of waiting) if (seen.has(one.stream)) one.visibleAt = now
        await pause(pollMs, undefined, { signal })
      }
    }
    try {
      await orEnded(server, Promise.all([load(), probe(), watch()]))
      await Promise.all(posts)
    } finally {
      await watcher.end()
    }
    const counted = probes.slice((warmUpSeconds * 1000) / probeEveryMs)
    const waits = counted.map(({ sentAt, visibleAt }) => (visibleAt ?? Number.POSITIVE_INFINITY) - sentAt)
    const [p50, p99, most] = [percentile(waits, 0.5), percentile(waits, 0.99), Math.max(...waits)]
    const goal = (value: number, below: number): string => `goal < ${below}: ${value < below ? 'reached' : 'MISSED'}`
    process.stdout.write(`\ntelemetra: ${waits.length} probes beside ${rate} messages a second; posted to visible:\n\n`)
    printTable(
      ['', 'ms', ''],
      [
        ['p50', p50.toFixed(1), goal(p50, goals.p50)],
        ['p99', p99.toFixed(1), goal(p99, goals.p99)],
        ['most', most.toFixed(1), ''],
      ],
    )
    const memoryMb = highWaterMark(server.pid)
    process.stdout.write(
      `\n${sent} messages were posted, at most ${behindMs.toFixed(0)} ms behind their time; the server held ${memoryMb.toFixed(0)} MB at most\n`,
    )
    const ledger = await ledgerOf(url)
    if (ledger !== undefined) printLedger(ledger)
    await saveResult(here, `latency-telemetra-${rate}`, {
      machine: { postgres: postgres.version, ...machine() },
      goals,
      rate,
      sent,
      behindMs,
      memoryMb,
      ledger,
      p50,
      p99,
      most,
      latenciesMs: waits.map((wait) => Math.round(wait * 10) / 10),
    })
  } finally {
    await rm(room, { recursive: true, force: true })
  }
}
