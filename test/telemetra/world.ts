/** telemetra in this process, on local topics and a Postgres of its own. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { telemetra } from '../../pipelines/telemetra/pipeline.ts'
import { loadConfig } from '../../src/config.ts'
import { Duck, spoolFolder } from '../../src/engine/duckdb.ts'
import type { Progress } from '../../src/engine/progress.ts'
import { runSystem } from '../../src/engine/system-run.ts'
import { createLog } from '../../src/log.ts'
import { openTopics } from '../../src/sources/topic/open.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import { testDatabase } from '../postgres.ts'

export type Value = string | Uint8Array | null | object
export type Row = Record<string, unknown>

export interface World extends AsyncDisposable {
  folder: string
  /** Appends messages; objects become JSON. */
  chat(...values: Value[]): Promise<void>
  viewers(...values: Value[]): Promise<void>
  append(topic: string, values: readonly Value[]): Promise<void>
  /** A worker of its own reads what is there, and ends. */
  run(options?: { final?: boolean; settings?: Record<string, string> }): Promise<Progress>
  /** A worker that goes on until it is stopped. */
  work(): { stop(): Promise<void> }
  sql(statement: string, values?: unknown[]): Promise<Row[]>
  /** Writes a file, and answers where it is. */
  file(name: string, content: string): Promise<string>
}

export async function openWorld(settings: Record<string, string> = {}): Promise<World> {
  await using stack = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'millrace-telemetra-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const database = stack.use(await testDatabase())
  const configOf = (more: Record<string, string>) =>
    loadConfig(telemetra.settings, { DATABASE_URL: database.url, MILLRACE_DATA: folder, ...settings, ...more }, folder)
  const openStore = () =>
    openPostgres({
      url: database.url,
      waitMs: 0,
      onWait: () => {},
      migrations: telemetra.migrations ? [{ owner: telemetra.name, folder: telemetra.migrations }] : [],
    })
  // its tables are there before the first run
  await (await openStore())[Symbol.asyncDispose]()
  const client = await database.connect()
  let workers = 0

  // Nothing of the worker before is known but what is stored.
  async function worker(more: Record<string, string>, bounded: { final: boolean } | undefined, signal: AbortSignal) {
    const config = configOf(more)
    await using store = await openStore()
    await using duck = await Duck.open({
      folders: [spoolFolder(folder)],
      temporary: join(folder, 'duckdb', String(++workers)),
      memoryLimitMb: 256,
      threads: 2,
    })
    return await runSystem({
      system: telemetra,
      config,
      store,
      duck,
      log: createLog('error', { write: () => {} }),
      signal,
      ...(bounded === undefined ? {} : { bounded: { inputs: undefined, again: false, final: bounded.final } }),
    })
  }

  async function append(topic: string, values: readonly Value[]): Promise<void> {
    await using topics = await openTopics(configOf({}))
    await using writer = await topics.openWriter(topic)
    await writer.append(
      values.map((value) => ({
        value:
          value === null
            ? null
            : Buffer.from(
                value instanceof Uint8Array ? value : typeof value === 'string' ? value : JSON.stringify(value),
              ),
      })),
    )
  }

  const opened = stack.move()
  return {
    folder,
    chat: (...values) => append('telemetra.events.chat', values),
    viewers: (...values) => append('telemetra.events.viewer', values),
    append,
    run: ({ final = false, settings: more = {} } = {}) => worker(more, { final }, new AbortController().signal),
    work() {
      const stop = new AbortController()
      const running = worker({}, undefined, stop.signal)
      return {
        async stop() {
          stop.abort()
          await running
        },
      }
    },
    sql: async (statement, values) => (await client.query(statement, values)).rows,
    async file(name, content) {
      await writeFile(join(folder, name), content)
      return join(folder, name)
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}
