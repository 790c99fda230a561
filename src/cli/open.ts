/** What most verbs need: the configuration, and a store, embedded or not. */
import { hostname } from 'node:os'
import { join } from 'node:path'
import { systems } from '../../pipelines/index.ts'
import { type Config, loadConfig, type SettingSpec } from '../config.ts'
import { Duck, spoolFolder } from '../engine/duckdb.ts'
import { MillraceError, nearest } from '../errors.ts'
import { createLog, type Log } from '../log.ts'
import type { Plan } from '../plan/plan.ts'
import { type EmbeddedPostgres, openEmbedded } from '../store/embedded.ts'
import { openPostgres, type PostgresStore } from '../store/postgres.ts'
import type { System } from '../system.ts'

/** The variables of all systems, for the configuration. */
export function systemSettings(): Record<string, SettingSpec> {
  return Object.assign({}, ...systems.map((system) => system.settings))
}

export function readConfig(): { config: Config; log: Log } {
  const config = loadConfig(systemSettings())
  const log = createLog(config.logLevel)
  for (const warning of config.warnings) log.warn(warning)
  return { config, log }
}

export function systemNamed(name: string | undefined): System {
  const found = systems.find((system) => system.name === name)
  if (found) return found
  const names = systems.map((system) => system.name)
  const meant = name === undefined ? undefined : nearest(name, names)
  throw new MillraceError('UNKNOWN_PIPELINE', {
    message: name === undefined ? 'which pipeline?' : `there is no pipeline "${name}"`,
    hint: `${meant === undefined ? '' : `did you mean "${meant}"? `}there is ${names.join(', ')}`,
  })
}

export interface OpenStore extends AsyncDisposable {
  store: PostgresStore
  /** Where psql and others find the same database. */
  url: string
  embedded: EmbeddedPostgres | undefined
}

/** Opens the store of the configuration: the embedded Postgres is started or joined, another one waited for. */
export async function openStore(config: Config, log: Log, options: { waitMs?: number; signal?: AbortSignal } = {}): Promise<OpenStore> {
  const embedded =
    config.database === undefined
      ? await openEmbedded({
          dataDirectory: config.dataDirectory,
          ...(config.postgresPort === 0 ? {} : { port: config.postgresPort }),
          log: (line) => log.debug(line),
        })
      : undefined
  const url = config.database?.url ?? embedded?.url ?? ''
  try {
    const store = await openPostgres({
      url,
      waitMs: options.waitMs ?? config.startupWaitMs,
      onWait: (why) => log.warn('waiting for Postgres', { why }),
      migrations: systems.flatMap(({ name, migrations }) => (migrations ? [{ owner: name, folder: migrations }] : [])),
      ...(options.signal ? { signal: options.signal } : {}),
    })
    return {
      store,
      url,
      embedded,
      async [Symbol.asyncDispose]() {
        await store[Symbol.asyncDispose]()
        await embedded?.[Symbol.asyncDispose]()
      },
    }
  } catch (error) {
    await embedded?.[Symbol.asyncDispose]()
    throw error
  }
}

/** DuckDB for this process: two threads, and a spool it alone may touch. */
export async function openDuck(config: Config): Promise<Duck> {
  const spool = spoolFolder(config.dataDirectory)
  return await Duck.open({
    folders: [spool],
    temporary: join(config.dataDirectory, 'duckdb', String(process.pid)),
    memoryLimitMb: config.memoryLimitMb,
    threads: 2,
  })
}

export function planOf(system: System, config: Config): Plan {
  return system.plan(config.settings)
}

/** Who owns a lease, as status shows it: two workers of one process are two owners. */
export function ownerName(): string {
  return `${hostname()}:${process.pid}`
}
