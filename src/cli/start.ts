import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systems } from '../../pipelines/index.ts'
import type { Config } from '../config.ts'
import type { Progress } from '../engine/run.ts'
import { messageOf } from '../errors.ts'
import { createLog, type Log } from '../log.ts'
import { openServer } from '../server/server.ts'
import type { System } from '../system.ts'
import { type OpenStore, openDuck, openStore, readConfig, systemNamed } from './open.ts'
import { runGenerator } from './generate.ts'
import { liveSummary } from './summary.ts'
import type { Call, Verb } from './verb.ts'
import { runSystem } from './worker.ts'

export const start: Verb = {
  says: 'Runs everything in one process: server, and all pipelines.',
  usage: '[--demo]',
  options: { demo: { type: 'boolean', says: 'also feed the pipelines gently with sample data' } },
  examples: ['millrace start', 'millrace start --demo'],
  run: (call) => runAll(call, { chosen: systems, serve: true, demo: call.options['demo'] === true }),
}

export const work: Verb = {
  says: 'Runs pipelines without a server; another worker of the same pipeline stands by.',
  usage: '[pipeline...]',
  options: {},
  examples: ['millrace work', 'millrace work shop-events'],
  run: (call) =>
    runAll(call, { chosen: call.words.length === 0 ? systems : call.words.map(systemNamed), serve: false, demo: false }),
}

interface Chosen {
  chosen: readonly System[]
  serve: boolean
  demo: boolean
}

async function runAll({ signal, out }: Call, { chosen, serve, demo }: Chosen): Promise<number> {
  const { config, log: quietLog } = readConfig()
  const live = serve && process.stdout.isTTY === true
  // the summary owns the terminal; what matters of the log stands in it
  const log: Log = live ? createLog('warn') : quietLog
  log.info('configuration', { settings: Object.fromEntries(config.resolved.filter(({ from }) => from !== 'default').map(({ name, value }) => [name, value])), data: config.dataDirectory })
  await using opened = await openStore(config, log, { signal })
  await using duck = await openDuck(config)
  const progress = new Map<string, Progress>()
  const stop = new AbortController()
  signal.addEventListener('abort', () => stop.abort(signal.reason))
  await using server = serve ? await openServer({ host: config.host, port: config.port, log, notReady: () => notReady(opened, progress, chosen), pipelines: () => describePipelines(opened, progress) }) : undefined
  if (server) await writeServerFile(config, server.port)
  using summary = live ? liveSummary({ progress, config, url: opened.url, port: server?.port ?? config.port, out: process.stdout }) : undefined
  if (server && !live) {
    out(`Millrace is running: http://${config.host}:${server.port}/api/pipelines`)
    out(`psql ${opened.url}`)
  }
  const pipelines = chosen.map((system) =>
    runSystem({
      system,
      config,
      store: opened.store,
      duck,
      log,
      signal: stop.signal,
      onProgress: (now) => {
        progress.set(system.name, now)
        summary?.changed()
      },
    }).catch((error: unknown) => {
      log.error('a pipeline stopped', { pipeline: system.name, why: messageOf(error) })
      // without a server nobody would see that nothing runs any more
      if (!serve) throw error
      return undefined
    }),
  )
  const keeper = keepPostgresUp(opened, stop.signal, log)
  const feeders = demo ? chosen.map((system) => feed(system, config, stop.signal, log)) : []
  try {
    await (serve ? Promise.all([...pipelines, stopped(stop.signal)]) : Promise.all(pipelines))
  } finally {
    stop.abort()
    await Promise.allSettled([...pipelines, ...feeders, keeper])
  }
  return 0
}

function stopped(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve())
  })
}

// The embedded server may be killed by whoever; as long as this process lives, it is started again.
async function keepPostgresUp({ embedded }: OpenStore, signal: AbortSignal, log: Log): Promise<void> {
  if (embedded === undefined) return
  while (!signal.aborted) {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, 1000)
      signal.addEventListener('abort', () => {
        clearTimeout(timer)
        resolve()
      })
    })
    if (signal.aborted) return
    await embedded.ensureUp().catch((error: unknown) => log.warn('the embedded Postgres does not come up', { why: messageOf(error) }))
  }
}

async function feed(system: System, config: Config, signal: AbortSignal, log: Log): Promise<void> {
  if (system.generate === undefined) return
  try {
    await runGenerator(system, config, { eventsPerSecond: 10, badPercent: 2, duplicatePercent: 1 }, signal)
  } catch (error) {
    log.warn('the demo feed stopped', { pipeline: system.name, why: messageOf(error) })
  }
}

async function notReady(opened: OpenStore, progress: Map<string, Progress>, chosen: readonly System[]): Promise<string | undefined> {
  try {
    await opened.store.select('select 1')
  } catch (error) {
    return `the database does not answer: ${messageOf(error)}`
  }
  for (const { name } of chosen) {
    const state = progress.get(name)?.state
    if (state === undefined || state.is === 'starting') return `${name} is starting`
    if (state.is === 'retrying') return `${name} is retrying: ${state.why}`
    if (state.is === 'stopped') return `${name} has stopped: ${state.why}`
  }
  return undefined
}

async function describePipelines(opened: OpenStore, progress: Map<string, Progress>): Promise<unknown[]> {
  const stored = await opened.store.status()
  return stored.map((status) => ({
    pipeline: status.pipeline,
    owner: status.owner,
    lent_by: status.lentBy,
    epoch: status.epoch,
    state: progress.get(status.pipeline)?.state ?? null,
    batch: status.batch,
    last_committed_at: status.lastCommittedAt,
    books: {
      rows_in: status.rowsIn,
      written: status.written,
      filtered: status.filtered,
      duplicates: status.duplicates,
      late: status.late,
      dead: status.dead,
    },
    files_quarantined: status.filesQuarantined,
    dead_letters_open: status.deadLettersOpen,
    retries: progress.get(status.pipeline)?.retries ?? 0,
  }))
}

// How other processes of this data directory find the server.
async function writeServerFile(config: Config, port: number): Promise<void> {
  await writeFile(join(config.dataDirectory, 'server.json'), `${JSON.stringify({ pid: process.pid, host: config.host, port })}\n`)
}

