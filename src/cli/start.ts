import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { systems } from '../../pipelines/index.ts'
import { isShared, openCache } from '../cache/open.ts'
import type { Config } from '../config.ts'
import { runSystem } from '../engine/system-run.ts'
import { MillraceError, messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import { buildPageIfStale, pageFolder } from '../page/build.ts'
import { type Board, newBoard, note, notReady, refresh } from '../server/board.ts'
import { openServer, type Server, type ServerOptions } from '../server/server.ts'
import { newToken, openTokenFile } from '../server/tokens.ts'
import { filesSources } from '../sources/files/waiting.ts'
import type { System } from '../system.ts'
import { ownTasks } from '../tasks/own.ts'
import { withReplays } from '../tasks/replay.ts'
import { runTasks } from '../tasks/runner.ts'
import { runGenerator } from './generate.ts'
import { keepPostgresUp } from './keep-postgres-up.ts'
import { logAbove } from './log-above.ts'
import { type OpenStore, openDuck, openStore, readConfig, systemNamed } from './open.ts'
import { findServer, removeServerFile, urlOf, writeServerFile } from './server-file.ts'
import { type OpenStreams, streamsOnSpark } from './spark-run.ts'
import { topicsOf } from './standing.ts'
import { liveSummary } from './summary.ts'
import { labelledLines } from './text.ts'
import { type Call, jsonOption, textsOption, type Verb } from './verb.ts'

export const start: Verb = {
  says: 'Runs everything in one process: server, and the pipelines named, or all that ship.',
  usage: '[pipeline...] [--demo] [--json]',
  options: {
    demo: { type: 'boolean', says: 'also feed the pipelines gently with sample data' },
    json: { type: 'boolean', says: 'say where it runs as JSON, and show no live summary' },
  },
  examples: [
    'millrace start',
    'millrace start --demo',
    'millrace start shop-events ./orders.ts',
    'PORT=5050 millrace start',
  ],
  async run(call) {
    return await runAll(call, {
      chosen: await systemsNamed(call.words),
      serve: true,
      work: true,
      demo: call.options['demo'] === true,
    })
  },
}

export const work: Verb = {
  says: 'Runs pipelines without a server; another worker of the same pipeline stands by.',
  usage: '[pipeline...] [--engine duckdb|spark] [--input DIR...] [--json]',
  options: {
    engine: {
      type: 'string',
      says: 'duckdb, here, which is what it does anyway; or spark: it reads, validates and filters, at SPARK_REMOTE, and the rest is done here',
      takes: ['duckdb', 'spark'],
    },
    input: {
      type: 'string',
      multiple: true,
      says: 'with spark: a folder of JSON lines that is read in place of the topic, or a pattern that ends with .parquet; of several topics, as topic=folder',
      takes: 'a path',
    },
    ...jsonOption,
  },
  examples: [
    'millrace work',
    'millrace work shop-events',
    'millrace work ./orders.ts',
    'millrace work telemetra --engine spark',
    'millrace work flyers --engine spark --input /logs/flyers',
  ],
  async run(call) {
    const chosen = await systemsNamed(call.words)
    const engine = call.options['engine'] ?? 'duckdb'
    const inputs = textsOption(call.options, 'input')
    const only = { chosen, serve: false, work: true, demo: false }
    if (engine === 'spark')
      return await runAll(call, { ...only, streams: await streamsOnSpark(chosen, readConfig().config, inputs) })
    if (engine !== 'duckdb')
      throw new MillraceError('WRONG_USAGE', { at: '--engine', message: `"${engine}" is not duckdb or spark` })
    if (inputs.length > 0)
      throw new MillraceError('WRONG_USAGE', {
        at: '--input',
        message: 'a worker reads what its pipeline says; only on Spark it is told of folders',
        hint: 'add --engine spark, or read files once with millrace run',
      })
    return await runAll(call, only)
  },
}

export const serve: Verb = {
  says: 'Runs the server alone, for pipelines that others work on.',
  usage: '[pipeline...] [--json]',
  options: { ...jsonOption },
  examples: ['millrace serve', 'millrace serve ./orders.ts'],
  run: async (call) =>
    await runAll(call, { chosen: await systemsNamed(call.words), serve: true, work: false, demo: false }),
}

async function systemsNamed(words: string[]): Promise<readonly System[]> {
  const named: System[] = []
  for (const word of words) named.push(await systemNamed(word))
  return words.length === 0 ? systems : named
}

interface Chosen {
  chosen: readonly System[]
  serve: boolean
  /** Runs the pipelines, too. */
  work: boolean
  demo: boolean
  /** Its workers take up what Spark makes of their sources. */
  streams?: OpenStreams
}

async function runAll({ signal, out, options }: Call, { chosen, serve, work, demo, streams }: Chosen): Promise<number> {
  const { config, log: plainLog } = readConfig()
  const json = options['json'] === true
  const live = serve && !json && process.stdout.isTTY === true && process.env['TERM'] !== 'dumb'
  const board = newBoard(chosen, config, new Date(), work)
  await mkdir(config.dataDirectory, { recursive: true })
  await using cache = openCache(config, plainLog)
  // The server comes first: a taken port is told at once, and health answers while the database is waited for.
  await using server = serve ? await serverOf({ board, config, log: plainLog, signal, cache }) : undefined
  using summary = live ? liveSummary(board, process.stdout) : undefined
  const log = summary === undefined ? plainLog : logAbove(config, (line) => summary.print(line))
  if (summary === undefined) log.info('configuration', { settings: given(config), data: config.dataDirectory })

  let failed = false
  const stop = new AbortController()
  onAbort(signal, () => {
    board.phase = 'stopping'
    stop.abort(signal.reason)
  })
  try {
    await using opened = await openStore(config, log, {
      signal,
      onWait: (why) => {
        if (summary === undefined) log.warn('waiting for Postgres', { why })
        board.waitingFor = why
      },
    })
    board.store = opened.store
    board.waitingFor = undefined
    const lines = json
      ? [JSON.stringify(addresses(opened, server, config))]
      : whereToLook(opened, server, config, board, demo, streams !== undefined)
    for (const line of lines) summary === undefined ? out(line) : summary.print(line)
    await using duck = await openDuck(config, chosen, streams === undefined ? {} : { also: [config.spark.checkpoints] })
    board.duck = duck
    await using heard = opened.store.sessions(1)
    // who neither asks nor can forget for others hears nothing
    await using _drops = serve || isShared(config) ? cache.follow(heard) : undefined
    const tools = { config, log, store: opened.store, duck, signal: stop.signal }
    const pipelines = [...(work ? board.lines.values() : [])].map(async (line) => {
      try {
        await runSystem({
          ...tools,
          system: line.system,
          ...(streams === undefined ? {} : { openElsewhere: await streams(line.system, log) }),
          onProgress: (now) => {
            note(board, line, now)
            server?.meter.note(line.system.name, now)
          },
          rest: (ms, sinceMs) => board.rest(line.system.name, ms, sinceMs, stop.signal),
          watch: {
            wanted: () => board.wantsRows(line.system.name),
            rows: (landed) => board.onRows({ pipeline: line.system.name, ...landed }),
          },
        })
      } catch (error) {
        failed = true
        line.progress = { ...line.progress, state: { is: 'stopped', why: messageOf(error) } }
        log.error('a pipeline stopped', { pipeline: line.system.name, why: messageOf(error) })
        // without a server nobody would see that nothing runs any more
        if (!serve) throw error
      }
    })
    const tasks = work ? [runTasks({ ...tools, ...tasksOf(chosen, board, tools) })] : []
    const feeds = demo ? chosen.map((system) => feed(system, config, stop.signal, log)) : []
    const up = keepPostgresUp(opened, log, (why) => {
      board.postgresFault = why
      for (const line of board.lines.values()) note(board, line)
    })
    onAbort(stop.signal, () => up[Symbol.dispose]())
    // not waited for at the end: it asks a database that may not answer
    void keepFresh(board, stop.signal)
    try {
      await (serve ? stopped(stop.signal) : Promise.all([...pipelines, ...tasks]))
    } finally {
      stop.abort()
      await Promise.allSettled([...pipelines, ...tasks, ...feeds])
      closeInTime(failed ? 1 : 0, () => {
        summary?.[Symbol.dispose]()
        if (server !== undefined) removeServerFile(config.dataDirectory)
      })
      await Promise.race([refresh(board), sleep(500, undefined, { ref: false })])
      board.store = undefined
      board.duck = undefined
      board.phase = 'stopped'
    }
  } catch (error) {
    board.phase = 'stopped'
    // told to stop while it still waited for the database
    if (!signal.aborted) throw error
  }
  return failed ? 1 : 0
}

function tasksOf(chosen: readonly System[], board: Board, tools: Parameters<typeof withReplays>[1]) {
  const onFault = (why: string | undefined) => {
    board.tasksFault = why
  }
  const { config } = tools
  const owners = [...chosen.map((system) => withReplays(system, tools)), ownTasks(config)]
  return { owners, settings: config.settings, onFault }
}

async function serverOf(desk: ServerOptions['desk']): Promise<Server> {
  const { board, config, log } = desk
  const { host, port, dataDirectory } = config
  const another = findServer(dataDirectory)
  const own = config.tokensFile === undefined ? undefined : newToken('this machine', 'admin', new Date())
  // the pipelines are worth more than the page: without it they run all the same
  await buildPageIfStale(log).catch((error: unknown) => log.error('no new page', { why: messageOf(error) }))
  const server = await openServer({
    host,
    port,
    desk,
    ...(existsSync(pageFolder) ? { page: pageFolder } : {}),
    notReady: () => notReady(board),
    ...(config.tokensFile === undefined
      ? {}
      : {
          tokens: openTokenFile(config.tokensFile, own?.kept, (error) =>
            desk.log.error('the tokens cannot be read', { why: messageOf(error) }),
          ),
        }),
  }).catch((error: unknown) => {
    if (!(error instanceof MillraceError) || error.code !== 'PORT_TAKEN' || another?.port !== port) throw error
    throw new MillraceError('PORT_TAKEN', {
      message: `port ${port} is in use by Millrace itself, which runs on this data directory already (pid ${another.pid})`,
      hint: '`millrace status` shows what it does; stop it first, or choose another port with PORT',
      cause: error,
    })
  })
  await writeServerFile(dataDirectory, {
    pid: process.pid,
    host,
    port: server.port,
    ...(own ? { token: own.token } : {}),
  })
  return {
    port: server.port,
    meter: server.meter,
    async [Symbol.asyncDispose]() {
      removeServerFile(dataDirectory)
      await server[Symbol.asyncDispose]()
    },
  }
}

// ---- what is said --------------------------------------------------------------------------------------------------

function given(config: Config): Record<string, string> {
  return Object.fromEntries(
    config.resolved.filter(({ from }) => from !== 'default').map(({ name, value }) => [name, value]),
  )
}

function addresses(
  opened: OpenStore,
  server: Server | undefined,
  { host, dataDirectory }: Config,
): Record<string, unknown> {
  return {
    pid: process.pid,
    server: server === undefined ? null : urlOf({ host, port: server.port }),
    // the password of a database that is not ours does not belong on a screen
    database: opened.embedded === undefined ? null : opened.url,
    data: dataDirectory,
  }
}

function whereToLook(
  opened: OpenStore,
  server: Server | undefined,
  config: Config,
  board: Board,
  demo: boolean,
  onSpark: boolean,
): string[] {
  const pairs: [string, string][] = []
  if (server !== undefined) pairs.push(['page', urlOf({ host: config.host, port: server.port })])
  if (opened.embedded === undefined) pairs.push(['database', `as ${config.database?.from} says`])
  else pairs.push(['psql', `psql "${opened.url}"`])
  for (const { plan } of board.lines.values()) {
    for (const { folder } of filesSources(plan)) pairs.push([plan.name, `reads files dropped into ${folder}`])
    const topics = topicsOf(plan)
    if (onSpark) pairs.push([plan.name, `takes up what Spark reads for it: ${topics.join(', ')}`])
    else if (topics.length > 0) pairs.push([plan.name, `reads ${topics.join(', ')}${config.kafka ? ' of Kafka' : ''}`])
  }
  if (demo) pairs.push(['demo', 'sample data comes in at 10 events a second, 2 % of it wrong'])
  return ['Millrace is running', ...labelledLines(pairs), '']
}

// ---- until it is told to stop --------------------------------------------------------------------------------------

const closeMs = 3_000

// All is done, but a question that the database does not answer would keep its connection open.
function closeInTime(exitCode: number, last: () => void): void {
  setTimeout(() => {
    last()
    process.exit(exitCode)
  }, closeMs).unref()
}

function onAbort(signal: AbortSignal, act: () => void): void {
  if (signal.aborted) act()
  else signal.addEventListener('abort', act, { once: true })
}

function stopped(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => onAbort(signal, resolve))
}

async function keepFresh(board: Board, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await refresh(board)
    await sleep(2000, undefined, { signal }).catch(() => {})
  }
}

async function feed(system: System, config: Config, signal: AbortSignal, log: Log): Promise<void> {
  if (system.generate === undefined) return
  try {
    // some make so many things and end
    while (!signal.aborted) {
      await runGenerator(system, config, { eventsPerSecond: 10, badPercent: 2, duplicatePercent: 1 }, signal)
      await sleep(1000, undefined, { signal }).catch(() => {})
    }
  } catch (error) {
    log.warn('the demo feed stopped', { pipeline: system.name, why: messageOf(error) })
  }
}
