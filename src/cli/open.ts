/** What most verbs need: the configuration, and a store, embedded or not. */
import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { systems } from '../../pipelines/index.ts'
import { isShared } from '../cache/open.ts'
import { type Config, loadConfig, type SettingSpec } from '../config.ts'
import { Duck, keptFolder, spoolFolder } from '../engine/duckdb.ts'
import { runsFolder, takesWholeKeys } from '../engine/keyed-run.ts'
import { planOf } from '../engine/system-run.ts'
import { MillraceError, messageOf, nearest } from '../errors.ts'
import { createLog, type Log } from '../log.ts'
import { codeOf } from '../store/connection.ts'
import { embeddedFolder } from '../store/embedded/folder.ts'
import { type EmbeddedPostgres, openEmbedded } from '../store/embedded/open.ts'
import type { MigrationFolder } from '../store/migrations.ts'
import { openPostgres, type PostgresStore } from '../store/postgres.ts'
import { tlsDisagreements } from '../store/tls.ts'
import type { System } from '../system.ts'
import { isModulePath, loadSystem, ownSystems } from './own-system.ts'
import { isAlive } from './server-file.ts'

/** The systems that ship, and those loaded from files so far. */
export function knownSystems(): System[] {
  return [...systems, ...ownSystems()]
}

/** The variables of all systems, for the configuration: load those of users before it is read. */
export function systemSettings(): Record<string, SettingSpec> {
  return Object.assign({}, ...knownSystems().map((system) => system.settings))
}

/** `given`: variables that the command line sets. */
export function readConfig({ quiet = false, given = {} }: { quiet?: boolean; given?: Record<string, string> } = {}): {
  config: Config
  log: Log
} {
  const loaded = loadConfig(systemSettings(), { ...process.env, ...given })
  const tls = loaded.database === undefined ? [] : tlsDisagreements(loaded.database.url)
  const config = { ...loaded, warnings: [...loaded.warnings, ...tls] }
  const log = createLog(config.logLevel)
  // quiet: who asks says the warnings in his own way
  if (!quiet) for (const warning of config.warnings) log.warn(warning)
  return { config, log }
}

/** The log of a command that prints its own answer: only what is wrong, unless everything was asked for. */
export function commandLog(config: Config): Log {
  return createLog(config.logLevel === 'info' ? 'warn' : config.logLevel)
}

/** A system by its name, or by the path of a module that exports it. */
export async function systemNamed(name: string | undefined): Promise<System> {
  if (name !== undefined && isModulePath(name)) return await loadSystem(name, systems)
  const found = knownSystems().find((system) => system.name === name)
  if (found) return found
  const names = systems.map((system) => system.name)
  const meant = name === undefined ? undefined : nearest(name, names)
  throw new MillraceError('UNKNOWN_PIPELINE', {
    message: name === undefined ? 'which pipeline?' : `there is no pipeline "${name}"`,
    hint: `${meant === undefined ? '' : `did you mean "${meant}"? `}there is ${names.join(', ')}; one of your own is named by its file, such as ./orders.ts`,
  })
}

/** Where Postgres is, for those who only ask it something. */
export interface OpenDatabase extends AsyncDisposable {
  url: string
  embedded: EmbeddedPostgres | undefined
}

/** The Postgres of the configuration: the embedded one is started or joined, and nothing is asked of any other yet. */
export async function openDatabase(config: Config, log: Log): Promise<OpenDatabase> {
  if (config.database !== undefined) {
    return { url: config.database.url, embedded: undefined, async [Symbol.asyncDispose]() {} }
  }
  const embedded = await openEmbedded({
    dataDirectory: config.dataDirectory,
    ...(config.postgresPort === 0 ? {} : { port: config.postgresPort }),
    log: (line) => log.debug(line),
  })
  return { url: embedded.url, embedded, [Symbol.asyncDispose]: () => embedded[Symbol.asyncDispose]() }
}

/** Whether the embedded Postgres was ever started on this data directory. */
export async function hasCluster({ dataDirectory }: Config): Promise<boolean> {
  const { cluster } = embeddedFolder(dataDirectory)
  return await stat(cluster).then(
    () => true,
    () => false,
  )
}

export interface OpenStore extends OpenDatabase {
  store: PostgresStore
}

/** How long a verb that only asks or changes something waits for a database that does not answer. */
export const shortWaitMs = 3000

/** Opens the store of the configuration, waiting for a database that does not answer, and brings its schema up to date. */
export async function openStore(
  config: Config,
  log: Log,
  options: { waitMs?: number; signal?: AbortSignal; onWait?: (why: string) => void } = {},
): Promise<OpenStore> {
  const database = await openDatabase(config, log)
  const { url, embedded } = database
  try {
    const store = await openPostgres({
      url,
      waitMs: Math.min(options.waitMs ?? config.startupWaitMs, config.startupWaitMs),
      onWait: options.onWait ?? ((why) => log.warn('waiting for Postgres', { why })),
      migrations: systemMigrations(),
      sharedCache: isShared(config),
      ...(options.signal ? { signal: options.signal } : {}),
    })
    return {
      store,
      url,
      embedded,
      async [Symbol.asyncDispose]() {
        await store[Symbol.asyncDispose]()
        await database[Symbol.asyncDispose]()
      },
    }
  } catch (error) {
    await database[Symbol.asyncDispose]()
    throw error
  }
}

/** The migrations of all systems, beside Millrace's own. */
export function systemMigrations(): MigrationFolder[] {
  return knownSystems().flatMap(({ name, migrations }) => (migrations ? [{ owner: name, folder: migrations }] : []))
}

// A Parquet file is read by row groups, which are larger than a batch has to be.
const parquetMemoryMb = 512
// A batch of a bounded run that pairs is as large as this lets it be.
const wholeKeysMemoryMb = 1024
// DuckDB holds blocks of memory for each column, however short its values are.
const columnMemoryMb = 1
// A worker keeps the tables and plans of its small batches.
const roomsMemoryMb = 64

/**
 * DuckDB for these pipelines in this process, with a spool it alone may touch. A bounded run has two threads, unless its
 * batches keep both cores busy already. What a worker takes as it comes are batches of a few rows, whose statements take up
 * to twice as long when two threads share them.
 */
export async function openDuck(
  config: Config,
  pipelines: readonly System[] = [],
  { bounded = false, also = [] }: { bounded?: boolean; also?: string[] } = {},
): Promise<Duck> {
  const spool = spoolFolder(config.dataDirectory)
  await clearTemporary(join(config.dataDirectory, 'duckdb'))
  return await Duck.open({
    folders: [spool, runsFolder(config.dataDirectory), keptFolder(config.dataDirectory), ...also],
    temporary: join(config.dataDirectory, 'duckdb', String(process.pid)),
    memoryLimitMb: memoryLimitFor(config, pipelines, bounded),
    threads: bounded && !overlap(config, pipelines) ? 2 : 1,
    keepsPlans: !bounded,
  })
}

// Of topics one batch is read while the next one is checked and windows are made of a third. A statement that waits for
// a second thread spins: with two, a run of telemetra's took 20 % more of the processor, and no less time.
function overlap(config: Config, pipelines: readonly System[]): boolean {
  const sources = pipelines.flatMap((system) => Object.values(planOf(system, config).sources))
  return sources.length > 0 && sources.every((source) => source.is === 'topic')
}

function memoryLimitFor(config: Config, pipelines: readonly System[], bounded: boolean): number {
  if (config.resolved.some(({ name, from }) => name === 'MEMORY_LIMIT' && from !== 'default'))
    return config.memoryLimitMb
  const plans = pipelines.map((system) => planOf(system, config))
  const whole = bounded && plans.some(takesWholeKeys) ? [wholeKeysMemoryMb] : []
  const needs = plans
    .flatMap(({ sources }) => Object.values(sources))
    .map((source) =>
      Math.max(
        source.is === 'files' && source.format.is === 'parquet' ? parquetMemoryMb : 0,
        columnMemoryMb * source.columns.length,
      ),
    )
  const rooms = bounded ? 0 : roomsMemoryMb * plans.length
  return Math.max(config.memoryLimitMb + rooms, ...needs, ...whole)
}

/** Whatever was thrown, as a person should read it: only a fault of ours shows where it happened. */
export function sentenceOf(error: unknown): string {
  if (error instanceof MillraceError) return String(error)
  const code = codeOf(error)
  if (code !== undefined && !code.startsWith('ERR_')) return `${code}: ${messageOf(error) || 'no connection'}`
  return (error instanceof Error && error.stack) || String(error)
}

// What DuckDB had put on disk for a process that was killed.
async function clearTemporary(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    if (!isAlive(Number(name))) await rm(join(folder, name), { recursive: true, force: true })
  }
}
