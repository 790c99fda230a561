/** What an open page costs the engine: the same files with a page looking on and without one, in turns. */
import { cp, mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { startCommand } from './command.ts'
import { dataset } from './data.ts'
import { orEnded, stop } from './latency.ts'
import { query, startPostgres } from './postgres.ts'
import { processorSeconds } from './processes.ts'
import { machine, median, printTable, saveResult } from './report.ts'

export interface OpenPageOptions {
  root: string
  rows: number
  rounds: number
  signal: AbortSignal
}

interface Run {
  round: number
  open: boolean
  seconds: number
  processorSeconds: number
}

export async function benchOpenPage({ root, rows, rounds, signal }: OpenPageOptions): Promise<void> {
  const here = join(root, 'bench')
  const data = await dataset(join(here, '.cache'), rows)
  const room = join(here, '.cache', `run-${process.pid}`)
  await mkdir(room, { recursive: true })
  try {
    await using postgres = await startPostgres(room, signal)
    const runs: Run[] = []
    for (let round = 1; round <= rounds; round++) {
      for (const open of round % 2 === 1 ? [false, true] : [true, false]) {
        const url = await postgres.fresh()
        const run = await runOnce({ root, room: join(room, `${runs.length}`), url, raw: data.raw, rows, open, signal })
        runs.push({ round, open, ...run })
        process.stderr.write(`round ${round}, page ${open ? 'open' : 'closed'}: ${run.seconds.toFixed(2)} s\n`)
      }
    }
    print(runs)
    await saveResult(here, `open-page-${rows}`, { machine: { postgres: postgres.version, ...machine() }, rows, runs })
  } finally {
    await rm(room, { recursive: true, force: true })
  }
}

interface Place {
  root: string
  room: string
  url: string
  raw: string
  rows: number
  open: boolean
  signal: AbortSignal
}

async function runOnce({ root, room, url, raw, rows, open, signal }: Place): Promise<Omit<Run, 'round' | 'open'>> {
  const folder = join(room, 'shop-events')
  await mkdir(join(folder, 'raw'), { recursive: true })
  await cp(raw, join(room, 'aside'), { recursive: true })
  const env = { DATABASE_URL: url, SHOP_EVENTS_DIR: folder, MILLRACE_DATA: join(room, 'data'), PORT: '0' }
  const args = [join(root, 'src/cli/main.ts'), 'start', 'shop-events', '--json']
  await using worker = startCommand({ program: process.execPath, args, env, signal })
  const server = await orEnded(worker, addressOf(join(room, 'data'), signal))
  const done = new AbortController()
  const looking = open ? look(server, done.signal) : Promise.resolve()
  const usedBefore = processorSeconds(worker.pid)
  const began = performance.now()
  for (const name of await readdir(join(room, 'aside')))
    await rename(join(room, 'aside', name), join(folder, 'raw', name))
  await orEnded(worker, allIn(url, rows, signal))
  const seconds = (performance.now() - began) / 1000
  const used = processorSeconds(worker.pid) - usedBefore
  done.abort()
  await looking
  await stop(worker)
  await rm(room, { recursive: true, force: true })
  return { seconds, processorSeconds: used }
}

// `start` writes where its server is.
async function addressOf(data: string, signal: AbortSignal): Promise<string> {
  for (;;) {
    const text = await readFile(join(data, 'server.json'), 'utf8').catch(() => undefined)
    if (text !== undefined) {
      const { host, port } = JSON.parse(text)
      const url = `http://${host}:${port}`
      const ready = await fetch(`${url}/health/ready`).catch(() => undefined)
      if (ready?.status === 200) return url
    }
    await pause(50, undefined, { signal })
  }
}

async function allIn(url: string, rows: number, signal: AbortSignal): Promise<void> {
  for (;;) {
    const [found] = await query<{ rows: number }>(
      url,
      'select coalesce(sum(rows_in), 0)::int as rows from millrace.batches',
    )
    if ((found?.rows ?? 0) >= rows) return
    await pause(20, undefined, { signal })
  }
}

// As a page does it: the events with the rows of one pipeline, and what a pipeline's view reads anew.
async function look(server: string, signal: AbortSignal): Promise<void> {
  const quietly = (error: unknown): void => {
    if (!signal.aborted) throw error
  }
  const events = async (): Promise<void> => {
    const answer = await fetch(`${server}/api/events?rows=shop-events`, { signal })
    for await (const _ of answer.body ?? []) if (signal.aborted) return
  }
  const views = async (): Promise<void> => {
    while (!signal.aborted) {
      for (const path of ['/api/pipelines/shop-events', '/api/pipelines/shop-events/batches', '/api/dead-letters'])
        await (await fetch(`${server}${path}`, { signal })).arrayBuffer()
      await pause(2000, undefined, { signal })
    }
  }
  await Promise.all([events().catch(quietly), views().catch(quietly)])
}

function print(runs: Run[]): void {
  printTable(
    ['', 'seconds', 'processor s'],
    runs.map((run) => [
      `round ${run.round}, page ${run.open ? 'open' : 'closed'}`,
      run.seconds.toFixed(2),
      run.processorSeconds.toFixed(2),
    ]),
  )
  const over = (of: (run: Run) => number): number =>
    median(
      runs
        .filter(({ open }) => open)
        .map((run) => of(run) / of(runs.find(({ round, open }) => round === run.round && !open) ?? run)),
    )
  const percent = (ratio: number): string => `${ratio < 1 ? '' : '+'}${(100 * (ratio - 1)).toFixed(1)} %`
  process.stdout.write(
    `\nan open page costs (median of the rounds): ${percent(over((run) => run.seconds))} of the time (goal < 2 %), ` +
      `${percent(over((run) => run.processorSeconds))} of processor time\n`,
  )
}
