/** A server that takes events, and, where a test asks for it, a database and a worker of the pipeline that reads them. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isShared, openCache } from '../../src/cache/open.ts'
import { type Config, loadConfig } from '../../src/config.ts'
import { Duck, spoolFolder } from '../../src/engine/duckdb.ts'
import { runSystem } from '../../src/engine/system-run.ts'
import { createLog } from '../../src/log.ts'
import { type Board, newBoard, note } from '../../src/server/board.ts'
import { openServer, type ServerOptions } from '../../src/server/server.ts'
import { openLocalTopics } from '../../src/sources/topic/log/open.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import type { System } from '../../src/system.ts'
import { runTasks } from '../../src/tasks/runner.ts'
import { testDatabase } from '../postgres.ts'
import { type ReadRecord, readAll } from '../topic-contract/world.ts'
import { clicks, clicksTopic } from './clicks.ts'

export interface IngestWorld extends AsyncDisposable {
  url: string
  port: number
  config: Config
  board: Board
  /** Where the topics lie. */
  topics: string
  /** What the topic holds. */
  records(): Promise<ReadRecord[]>
  /** Runs the pipeline until it is disposed of; as another process, if the server is not told of what it does. */
  work(options?: { told: boolean }): AsyncDisposable
}

interface WorldOptions extends Pick<ServerOptions, 'tokens'> {
  env?: Record<string, string>
  /** One that was there before, and stays. */
  folder?: string
  database?: boolean
  /** The one that runs; clicks when left out. */
  system?: System
}

export async function ingestWorld(options: WorldOptions = {}): Promise<IngestWorld> {
  const { env = {}, database = false, tokens, system = clicks } = options
  await using stack = new AsyncDisposableStack()
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'millrace-ingest-')))
  if (options.folder === undefined) stack.defer(() => rm(folder, { recursive: true, force: true }))
  const config = loadConfig(system.settings, { MILLRACE_DATA: folder, INGEST_DISK_RESERVE: '0', ...env }, folder)
  const board = newBoard([system], config, new Date())
  const log = createLog('error', { write: () => {} })
  const stop = new AbortController()
  const cache = stack.use(openCache(config, log))
  const desk = { board, config, log, signal: stop.signal, cache }
  if (database) {
    const { url } = stack.use(await testDatabase())
    const migrations = system.migrations ? [{ owner: system.name, folder: system.migrations }] : []
    const store = stack.use(
      await openPostgres({ url, waitMs: 0, onWait: () => {}, migrations, sharedCache: isShared(config) }),
    )
    const duck = stack.use(
      await Duck.open({
        folders: [spoolFolder(folder)],
        temporary: join(folder, 'duckdb'),
        memoryLimitMb: 256,
        threads: 2,
      }),
    )
    await store.register(system.plan(config.settings))
    const heard = stack.use(store.sessions(1))
    stack.use(cache.follow(heard))
    Object.assign(board, { store, duck })
  }
  const server = stack.use(
    await openServer({
      host: '127.0.0.1',
      port: 0,
      desk,
      notReady: async () => undefined,
      ...(tokens === undefined ? {} : { tokens }),
    }),
  )
  const owned = stack.move()
  const topics = join(folder, 'topics')
  return {
    url: `http://127.0.0.1:${server.port}`,
    port: server.port,
    config,
    board,
    topics,
    records: () => readAll(openLocalTopics(topics), clicksTopic),
    work({ told } = { told: true }) {
      const { store, duck, lines } = board
      const line = lines.get(system.name)
      if (store === undefined || duck === undefined || line === undefined) throw new Error('there is no database')
      const end = new AbortController()
      const running = runSystem({
        system,
        config,
        store,
        duck,
        log,
        signal: end.signal,
        ...(told ? { onProgress: (progress) => note(board, line, progress) } : {}),
      })
      running.catch(() => {})
      const tasks = runTasks({ owners: [system], settings: config.settings, store, log, signal: end.signal })
      return {
        async [Symbol.asyncDispose]() {
          end.abort()
          await running
          await tasks
        },
      }
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      await owned.disposeAsync()
    },
  }
}

// biome-ignore lint/suspicious/noExplicitAny: what an answer holds, each test says
export type Told = any

export interface Answer {
  status: number
  body: Told
  headers: Headers
}

/** Posts a body, as JSON unless it is told otherwise. */
export async function post(
  url: string,
  body: string | Buffer | object,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const bytes = Buffer.isBuffer(body) ? new Uint8Array(body) : typeof body === 'string' ? body : JSON.stringify(body)
  const answer = await fetch(url, {
    method: 'POST',
    body: bytes,
    headers: { 'content-type': 'application/json', ...headers },
  })
  const text = await answer.text()
  return { status: answer.status, body: text === '' ? undefined : JSON.parse(text), headers: answer.headers }
}
