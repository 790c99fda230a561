/** The part of spark-logs that reads event logs, over a Postgres of its own and a folder of logs. */
import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline, type System, table, text, topic } from 'millrace'
import { sparkLogs } from '../../pipelines/spark-logs/pipeline.ts'
import { openCache } from '../../src/cache/open.ts'
import { type Config, loadConfig } from '../../src/config.ts'
import { Duck, keptFolder, spoolFolder } from '../../src/engine/duckdb.ts'
import { runFollowers } from '../../src/engine/follow.ts'
import { createLog } from '../../src/log.ts'
import { newBoard } from '../../src/server/board.ts'
import { openServer } from '../../src/server/server.ts'
import { openPostgres, type PostgresStore } from '../../src/store/postgres.ts'
import { testDatabase } from '../postgres.ts'

export const samples = join(import.meta.dirname, 'logs')

export type Row = Record<string, unknown>

/** A pipeline that has nothing to do, for a system must have one. */
const idle = pipeline('spark-logs')
  .from(topic('spark-logs.nothing', { columns: { id: text() } }))
  .into(table('spark_logs_nothing', { oncePer: 'id' })).plan

/** Without its pipeline: nothing here comes through a topic. */
export const system: System = { ...sparkLogs, plan: () => idle }

export interface Posted {
  status: number
  headers: Headers
  body: Row
}

export interface World extends AsyncDisposable {
  /** The folder in which logs lie. */
  logs: string
  config: Config
  store: PostgresStore
  databaseUrl: string
  /** Puts a log of the samples there. */
  put(...names: string[]): Promise<void>
  /** Reads all that is new. */
  follow(): Promise<void>
  sql(statement: string, values?: unknown[]): Promise<Row[]>
  /** What a server answers. */
  get(path: string): Promise<{ status: number; type: string; body: unknown; text: string }>
  /** Posts lines to it. */
  post(path: string, body: string | Uint8Array, headers?: Record<string, string>): Promise<Posted>
}

export async function openWorld(settings: Record<string, string> = {}): Promise<World> {
  await using stack = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'millrace-event-logs-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const logs = join(folder, 'logs')
  await mkdir(logs)
  const database = stack.use(await testDatabase())
  const config = loadConfig(
    system.settings,
    { DATABASE_URL: database.url, MILLRACE_DATA: join(folder, 'data'), SPARK_EVENT_LOG_DIR: logs, ...settings },
    folder,
  )
  const store = stack.use(
    await openPostgres({
      url: database.url,
      waitMs: 0,
      onWait: () => {},
      migrations: [{ owner: system.name, folder: new URL('../../pipelines/spark-logs/migrations/', import.meta.url) }],
    }),
  )
  const { signal } = new AbortController()
  const log = createLog('error', { write: () => {} })
  let server: Promise<{ port: number }> | undefined
  async function serve(): Promise<{ port: number }> {
    const duck = owned.use(
      await Duck.open({
        folders: [spoolFolder(config.dataDirectory), keptFolder(config.dataDirectory)],
        temporary: join(folder, 'duckdb'),
        memoryLimitMb: 96,
        threads: 2,
      }),
    )
    const board = newBoard([system], config, new Date())
    Object.assign(board, { store, duck })
    return owned.use(
      await openServer({
        host: '127.0.0.1',
        port: 0,
        desk: { board, config, log, signal, cache: owned.use(openCache(config, log)) },
        notReady: async () => undefined,
      }),
    )
  }
  const owned = stack.move()
  return {
    logs,
    config,
    store,
    databaseUrl: database.url,
    async put(...names) {
      for (const name of names) await cp(join(samples, name), join(logs, name), { recursive: true })
    },
    follow: () => runFollowers({ system, config, store, log, signal, bounded: {} }),
    sql: (statement, values = []) => store.select(statement, values),
    async get(path) {
      server ??= serve()
      const { port } = await server
      const response = await fetch(`http://127.0.0.1:${port}${path}`)
      const text = await response.text()
      const type = response.headers.get('content-type') ?? ''
      return { status: response.status, type, text, body: type.includes('json') ? JSON.parse(text) : undefined }
    },
    async post(path, body, headers = {}) {
      server ??= serve()
      const { port } = await server
      const sent = typeof body === 'string' ? body : new Uint8Array(body)
      const response = await fetch(`http://127.0.0.1:${port}${path}`, {
        method: 'POST',
        body: sent,
        headers: { 'content-type': 'application/x-ndjson', ...headers },
      })
      // as: whatever it is, each test says
      return { status: response.status, headers: response.headers, body: (await response.json()) as Row }
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
