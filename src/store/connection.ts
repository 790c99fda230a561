/** How Postgres is reached: addresses, TLS, waiting for a server that starts, and what its errors mean. */
import { readFileSync } from 'node:fs'
import { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { MillraceError, messageOf } from '../errors.ts'

// 64-bit integers are counts and positions here, far below 2^53.
pg.types.setTypeParser(pg.types.builtins.INT8, Number)

export type Client = pg.Client

/** Settings for `pg` from a URL and the PGSSL* variables, with the meaning that libpq gives to `sslmode`. */
export function clientConfig(
  url: string,
  environment: Record<string, string | undefined> = process.env,
): pg.ClientConfig {
  const parsed = new URL(url)
  const parameter = (name: string, variable: string): string | undefined => {
    const value = parsed.searchParams.get(name) ?? environment[variable]
    parsed.searchParams.delete(name)
    return value || undefined
  }
  const mode = parameter('sslmode', 'PGSSLMODE') ?? 'prefer'
  const rootCert = parameter('sslrootcert', 'PGSSLROOTCERT')
  const cert = parameter('sslcert', 'PGSSLCERT')
  const key = parameter('sslkey', 'PGSSLKEY')
  return {
    connectionString: parsed.href,
    keepAlive: true,
    connectionTimeoutMillis: 10_000,
    application_name: 'millrace',
    ...tls(mode, { rootCert, cert, key }),
  }
}

// prefer means no TLS to `pg`, which cannot ask and go on without; require encrypts and does not ask who is there,
// unless a root certificate says who may be.
function tls(
  mode: string,
  files: { rootCert: string | undefined; cert: string | undefined; key: string | undefined },
): Pick<pg.ClientConfig, 'ssl'> {
  const material = {
    ...(files.rootCert && files.rootCert !== 'system' ? { ca: readPem('sslrootcert', files.rootCert) } : {}),
    ...(files.cert ? { cert: readPem('sslcert', files.cert) } : {}),
    ...(files.key ? { key: readPem('sslkey', files.key) } : {}),
  }
  switch (mode) {
    case 'disable':
    case 'allow':
    case 'prefer':
      return { ssl: false }
    case 'require':
      return files.rootCert
        ? { ssl: { ...material, checkServerIdentity: () => undefined } }
        : { ssl: { ...material, rejectUnauthorized: false } }
    case 'verify-ca':
      return { ssl: { ...material, checkServerIdentity: () => undefined } }
    case 'verify-full':
      return { ssl: material }
    default:
      throw new MillraceError('INVALID_SETTING', {
        at: 'sslmode',
        message: `"${mode}" is not disable, allow, prefer, require, verify-ca or verify-full`,
      })
  }
}

function readPem(name: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new MillraceError('INVALID_SETTING', { at: name, message: `"${path}" cannot be read`, cause: error })
  }
}

const sockets = new WeakMap<Client, Socket>()

export async function connect(config: pg.ClientConfig): Promise<Client> {
  const socket = new Socket()
  const client = new pg.Client({ ...config, stream: () => socket })
  sockets.set(client, socket)
  // A session that dies while nothing runs on it must not end the process; the next statement reports it.
  client.on('error', () => {})
  try {
    await client.connect()
    return client
  } catch (error) {
    await client.end().catch(() => {})
    throw error
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
  config: pg.ClientConfig,
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
    if (/^(08|40|53|57P)/.test(code)) return true
    if (/^E[A-Z]+$/.test(code)) return true
  }
  return (
    error instanceof Error &&
    /terminated|timeout expired|read timeout|Connection ended|not queryable|connection error/i.test(error.message)
  )
}

/** A row that the database cannot take: out of range, against a constraint, too large for an index. */
export function isRowFault(error: unknown): boolean {
  return /^(22|23|54)/.test(codeOf(error) ?? '')
}
