/** A system beside itself: over the same files here and on Spark, each into a Postgres of its own. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../../src/config.ts'
import { Duck, spoolFolder } from '../../src/engine/duckdb.ts'
import { planOf, runSystem } from '../../src/engine/system-run.ts'
import { createLog } from '../../src/log.ts'
import { openTopics } from '../../src/sources/topic/open.ts'
import { runIntoParquet, runIntoTables, type SparkOutcome, type SparkRun } from '../../src/spark/run.ts'
import { openPostgres, type PostgresStore } from '../../src/store/postgres.ts'
import type { Verdicts } from '../../src/store/store.ts'
import type { System } from '../../src/system.ts'
import { type TestDatabase, testDatabase } from '../postgres.ts'

export type Row = Record<string, unknown>

export interface SparkWorld extends AsyncDisposable {
  folder: string
  /** Writes a file, and answers where it is. */
  file(name: string, content: string | Uint8Array): Promise<string>
  /** Without inputs over local topics. */
  here(inputs?: string[]): Promise<Verdicts>
  onSpark(inputs: string[], options?: Partial<SparkRun>): Promise<SparkOutcome>
  /** Into Parquet, in a folder. */
  asParquet(inputs: string[], folder: string): Promise<SparkOutcome>
  append(topic: string, values: readonly string[]): Promise<void>
  /** What a select finds in both databases; they are to be the same. */
  both(select: string): Promise<{ here: Row[]; onSpark: Row[] }>
  sql(select: string): Promise<Row[]>
  sparkDatabase: TestDatabase
}

export async function openSparkWorld(
  system: System,
  remote: string,
  settings: Record<string, string> = {},
): Promise<SparkWorld> {
  await using stack = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'millrace-beside-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const [own, spark] = [stack.use(await testDatabase()), stack.use(await testDatabase())]
  const config = loadConfig(system.settings, { MILLRACE_DATA: folder, ...settings }, folder)
  const openStore = async (database: TestDatabase): Promise<PostgresStore> =>
    await openPostgres({
      url: database.url,
      waitMs: 0,
      onWait: () => {},
      migrations: system.migrations ? [{ owner: system.name, folder: system.migrations }] : [],
    })
  const plan = planOf(system, config)
  const [ownClient, sparkClient] = [await own.connect(), await spark.connect()]
  const runOf = (inputs: string[], options: Partial<SparkRun>): SparkRun => ({
    plan,
    remote,
    inputs,
    again: false,
    final: true,
    signal: new AbortController().signal,
    ...options,
  })
  const kept = stack.move()
  return {
    folder,
    sparkDatabase: spark,
    async file(name, content) {
      const path = join(folder, name)
      await writeFile(path, content)
      return path
    },
    async here(inputs) {
      await using store = await openStore(own)
      await using duck = await Duck.open({
        folders: [spoolFolder(folder), folder],
        temporary: join(folder, 'duckdb'),
        memoryLimitMb: 256,
        threads: 2,
      })
      const { books } = await runSystem({
        system,
        config,
        store,
        duck,
        log: createLog('error', { write: () => {} }),
        signal: new AbortController().signal,
        bounded: { inputs, again: false, final: true },
      })
      return books
    },
    async onSpark(inputs, options = {}) {
      await using store = await openStore(spark)
      return await runIntoTables(runOf(inputs, options), {
        store,
        databaseUrl: spark.url,
        owner: `test:${process.pid}`,
      })
    },
    asParquet: async (inputs, into) => await runIntoParquet(runOf(inputs, {}), into),
    async append(topic, values) {
      await using topics = await openTopics(config)
      await using writer = await topics.openWriter(topic)
      await writer.append(values.map((value) => ({ value: Buffer.from(value) })))
    },
    both: async (select) => ({
      here: (await ownClient.query(select)).rows,
      onSpark: (await sparkClient.query(select)).rows,
    }),
    sql: async (select) => (await sparkClient.query(select)).rows,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  }
}
