/** A server over a Postgres of its own, with some batches of shop-events in it. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systems } from '../pipelines/index.ts'
import { openCache } from '../src/cache/open.ts'
import { type Config, loadConfig } from '../src/config.ts'
import { Duck, spoolFolder } from '../src/engine/duckdb.ts'
import { runSystem } from '../src/engine/system-run.ts'
import { createLog } from '../src/log.ts'
import { type Board, newBoard, note } from '../src/server/board.ts'
import { openServer, type Server } from '../src/server/server.ts'
import { openPostgres, type PostgresStore } from '../src/store/postgres.ts'
import { type TestDatabase, testDatabase } from './postgres.ts'

export interface Served extends AsyncDisposable {
  url: string
  server: Server
  board: Board
  config: Config
  store: PostgresStore
  duck: Duck
  folder: string
  /** To its database. */
  connect: TestDatabase['connect']
}

const header = 'event_id,user_id,event_type,product_id,price,event_timestamp'
const rows = [
  'e1,u1,view,p1,1.50,2026-01-31T12:00:00Z',
  'e2,u1,purchase,p1,2.50,2026-01-31T12:00:01Z',
  'e3,u2,view,=cmd,-1,2026-01-31T12:00:02Z',
  'e4,u2,steal,p1,1,2026-01-31T12:00:03Z',
  'e5,<img src=x>,view,p1,x,2026-01-31T12:00:04Z',
  'e6,u3,purchase,=HYPERLINK("x"),3.00,2026-01-31T12:00:05Z',
]

/** Each of three batches has three good rows and three bad ones. */
export async function openServed(options: { page?: string } = {}): Promise<Served> {
  await using stack = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'millrace-server-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const database = stack.use(await testDatabase())
  const settings = Object.assign({}, ...systems.map((system) => system.settings))
  const config = loadConfig(
    settings,
    { DATABASE_URL: database.url, MILLRACE_DATA: folder, INGEST_WAIT: '20 ms' },
    folder,
  )
  const migrations = systems.flatMap(({ name, migrations }) =>
    migrations ? [{ owner: name, folder: migrations }] : [],
  )
  const store = stack.use(await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations }))
  const duck = stack.use(
    await Duck.open({
      folders: [spoolFolder(folder)],
      temporary: join(folder, 'duckdb'),
      memoryLimitMb: 256,
      threads: 2,
    }),
  )
  const board = newBoard(systems, config, new Date())
  Object.assign(board, { store, duck })
  const log = createLog('error', { write: () => {} })
  const { signal } = new AbortController()
  const desk = { board, config, log, signal, cache: openCache(config, log) }
  const server = stack.use(
    await openServer({ host: '127.0.0.1', port: 0, desk, notReady: async () => undefined, ...options }),
  )
  for (let n = 1; n <= 3; n++) {
    const input = join(folder, `part-${n}.csv`)
    const own = rows.map((row) =>
      row
        .replace(/^e/, `f${n}-`)
        .replace('"x"', '""x""')
        .replace(/(=HYPER[^,]*)/, '"$1"'),
    )
    await writeFile(input, `${[header, ...own].join('\n')}\n`)
    for (const line of board.lines.values()) {
      const inputs = line.system.name === 'shop-events' ? [input] : undefined
      await runSystem({
        system: line.system,
        config,
        store,
        duck,
        log,
        signal,
        bounded: { inputs, again: false },
        onProgress: (progress) => {
          note(board, line, progress)
          server.meter.note(line.system.name, progress)
        },
      })
    }
  }
  const owned = stack.move()
  return {
    url: `http://127.0.0.1:${server.port}`,
    server,
    board,
    config,
    store,
    duck,
    folder,
    connect: () => database.connect(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
