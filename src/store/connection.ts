/** How Postgres is reached: addresses, TLS, waiting for a server that starts, and what its errors mean. */
import { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { MillraceError, messageOf } from '../errors.ts'
import { type TlsSettings, tlsFault, tlsSettings, wantsPlain, withoutTls } from './tls.ts'

// 64-bit integers are counts and positions here, far below 2^53.
pg.types.setTypeParser(pg.types.builtins.INT8, Number)

export type Client = pg.Client

/** What answers a question: a session, or a pool of them. */
export type Queries = Pick<Client, 'query'>

/** How a server is reached. */
export type ServerConfig = pg.ClientConfig & TlsSettings

const preparedNames = new Map<string, string>()

/** A question that comes again, about as many rows each time: a session plans it once. */
export function prepared(text: string, values: unknown[] = []): { name: string; text: string; values: unknown[] } {
  const name = preparedNames.get(text) ?? `millrace ${preparedNames.size + 1}`
  preparedNames.set(text, name)
  return { name, text, values }
}

/** Settings for `pg` from a URL and the PGSSL* variables. */
export function clientConfig(url: string, environment: Record<string, string | undefined> = process.env): ServerConfig {
  const parsed = new URL(url)
  // as JDBC says it, and libpq reads it
  if (parsed.searchParams.get('ssl') === 'true' && !parsed.searchParams.has('sslmode')) {
    parsed.searchParams.set('sslmode', 'require')
  }
  parsed.searchParams.delete('ssl')
  const tls = tlsSettings((name, variable) => {
    const value = parsed.searchParams.get(name) ?? environment[variable]
    parsed.searchParams.delete(name)
    return value || undefined
  })
  return {
    connectionString: parsed.href,
    keepAlive: true,
    // a session that has nothing to do for minutes is forgotten by many a firewall, and the next statement would hang
    keepAliveInitialDelayMillis: 30_000,
    connectionTimeoutMillis: 10_000,
    application_name: 'millrace',
    ...tls,
  }
}

const sockets = new WeakMap<Client, Socket>()
const reached = new WeakMap<Client, ServerConfig>()

export async function connect(config: ServerConfig): Promise<Client> {
  if (!config.plainToo) return await connectAs(config)
  try {
    return await connectAs({ ...config, plainToo: false })
  } catch (error) {
    if (!wantsPlain(error)) throw error
    return await connectAs({ ...config, ...withoutTls })
  }
}

/** How a session reached its server: with TLS or without, where either would do. */
export function configOf(client: Client): ServerConfig {
  const config = reached.get(client)
  if (config === undefined) throw new Error('the session was opened elsewhere')
  return config
}

async function connectAs(config: ServerConfig): Promise<Client> {
  const socket = new Socket()
  const client = new pg.Client({ ...config, stream: () => socket })
  sockets.set(client, socket)
  reached.set(client, config)
  // A session that dies while nothing runs on it must not end the process; the next statement reports it.
  client.on('error', () => {})
  try {
    await client.connect()
    await leaveOwnSchema(client)
    return client
  } catch (error) {
    await client.end().catch(() => {})
    throw error
  }
}

/**
 * To a user who is called millrace, a table without a schema would be one of Millrace's own schema: made there, or taken
 * for one of the tables there. All others have theirs where the search path says, and so has this one.
 */
export const outOfOwnSchema = `
select set_config('search_path', coalesce(nullif(others, ''), 'public'), false)
from   regexp_replace(current_setting('search_path'), '"\\$user"(, *|$)', '') others
where  current_user = 'millrace'`

export async function leaveOwnSchema(client: Queries): Promise<void> {
  await client.query(outOfOwnSchema)
}

/** Sessions for questions, opened when there are some: they end when there have been none for a while. */
export function openPool(config: ServerConfig, more: pg.PoolConfig): pg.Pool {
  const pool = new pg.Pool({
    ...config,
    idleTimeoutMillis: 30_000,
    allowExitOnIdle: true,
    onConnect: leaveOwnSchema,
    ...more,
  })
  pool.on('error', () => {})
  // a session that breaks while it is lent out must not end the process either
  pool.on('connect', (client) => client.on('error', () => {}))
  return pool
}

export async function inTransaction<T>(
  pool: pg.Pool,
  work: (client: Client) => Promise<T>,
  begin: 'begin' | 'begin read only' = 'begin',
): Promise<T> {
  const client = await pool.connect()
  let broken: Error | undefined
  try {
    await client.query(begin)
    // as: a pool's client is a client that goes back to the pool
    const result = await work(client as unknown as Client)
    await client.query('commit')
    return result
  } catch (error) {
    await client.query('rollback').catch((rollback: Error) => {
      broken = rollback
    })
    throw error
  } finally {
    client.release(broken)
  }
}

/** Ends a session without a word to the server, which may not be listening; what waits for an answer fails. */
export function breakOff(client: Client): void {
  sockets.get(client)?.destroy()
}

/** Ends sessions; one whose server does not react is broken off. */
export async function hangUp(...clients: Client[]): Promise<void> {
  await Promise.race([Promise.allSettled(clients.map((client) => client.end())), sleep(500, undefined, { ref: false })])
  for (const client of clients) breakOff(client)
}

/** Connects, waiting up to `waitMs` for a server that does not answer or is starting; a refusal is not waited for. */
export async function connectPatiently(
  config: ServerConfig,
  wait: { waitMs: number; onWait: (why: string) => void; signal?: AbortSignal | undefined },
): Promise<Client> {
  const deadline = Date.now() + wait.waitMs
  for (;;) {
    try {
      return await connect(config)
    } catch (error) {
      if (!isTransient(error) || wait.signal?.aborted || Date.now() >= deadline) {
        throw new MillraceError('DATABASE_UNREACHABLE', {
          message: messageOf(error) || String(error),
          at: placeOf(config),
          hint: 'is Postgres running there, and do user, password and sslmode fit? `millrace doctor` looks closer',
          ...tlsFault(error),
          retry: isTransient(error),
          cause: error,
        })
      }
      wait.onWait(messageOf(error) || String(error))
      await sleep(
        Math.min(2000, Math.max(0, deadline - Date.now())),
        undefined,
        wait.signal ? { signal: wait.signal } : {},
      ).catch(() => {})
    }
  }
}

/** `host:port/database`, without user or password. */
export function placeOf(config: pg.ClientConfig): string {
  const { hostname, port, pathname } = new URL(config.connectionString ?? 'postgresql://?')
  return `${hostname}:${port || 5432}${pathname}`
}

/** The SQLSTATE of a Postgres error, or the code of a network error. */
export function codeOf(error: unknown): string | undefined {
  if (error instanceof MillraceError) return error.cause === undefined ? undefined : codeOf(error.cause)
  if (error instanceof AggregateError) return codeOf(error.errors[0])
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/** A failing database, not a failing row: trying again can help. */
export function isTransient(error: unknown): boolean {
  if (error instanceof MillraceError) return error.retry
  const code = codeOf(error)
  if (code !== undefined) {
    // 25P, 55P, 57: somebody's time limit for statements, locks or idle transactions, or an administrator's hand
    if (/^(08|40|53|57|25P|55P)/.test(code)) return true
    // a handshake that failed fails again
    if (/^E[A-Z]+$/.test(code) && code !== 'EPROTO') return true
  }
  return (
    error instanceof Error &&
    /terminated|timeout expired|timeout exceeded|read timeout|Connection ended|not queryable|connection error/i.test(
      error.message,
    )
  )
}

/**
 * A row that the database cannot take: out of range, against a constraint, too large for an index. Or (21000) two that it
 * cannot take at once, because their keys differ for us and not for a collation of the table.
 */
export function isRowFault(error: unknown): boolean {
  return /^(21000|22|23|54)/.test(codeOf(error) ?? '')
}
