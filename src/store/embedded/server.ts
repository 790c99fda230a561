import { spawn } from 'node:child_process'
import { open, readdir, rename, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { diskFull, MillraceError, messageOf } from '../../errors.ts'
import { withoutTls } from '../tls.ts'
import { type Binaries, findBinaries } from './binaries.ts'
import { type EmbeddedFolder, endOfLog, hasCode, readLine, turnLog } from './folder.ts'
import { endOrphans, serverProcesses, signal } from './postmaster.ts'

/** What a client needs besides the address 127.0.0.1 and the user and database `millrace`. */
export interface Access {
  readonly port: number
  readonly password: string
}

type Answer =
  | { is: 'ready' }
  | { is: 'without database' }
  | { is: 'starting' }
  | { is: 'stopping' }
  | { is: 'silent' }
  | { is: 'refused'; because: string }

const silenceMs = 60_000
const sayEveryMs = 10_000

// They go into postgresql.conf, where a user may change them. What must hold is given at each start.
const settings = {
  shared_buffers: '256MB',
  max_connections: '100',
  max_wal_size: '4GB',
  checkpoint_timeout: '15min',
  timezone: 'UTC',
  log_timezone: 'UTC',
}

/** Makes the cluster beside its place and moves it there when it is whole, so that a killed `initdb` leaves no half of one. */
export async function makeCluster(folder: EmbeddedFolder): Promise<void> {
  // An `initdb` whose owner was killed may still be writing: this one has a folder to itself.
  const unfinished = `${folder.clusterInTheMaking}${process.pid}-${Date.now()}`
  const args = ['-D', unfinished, '-U', 'millrace', `--pwfile=${folder.password}`, '--auth=scram-sha-256']
  // Text sorts by its bytes, while upper and lower know all letters.
  args.push('--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8')
  const initdb = await launch(folder, await findBinaries(folder), 'initdb', [...args, ...options(settings)])
  const how = await initdb.ended
  if (how !== 'it ended with 0') throw await failed(folder, `initdb made no cluster: ${how}`, initdb)
  await rename(unfinished, folder.cluster)
}

/** Starts the server, of which nothing runs, and waits until it takes connections. */
export async function startServer(folder: EmbeddedFolder, access: Access, log: (line: string) => void): Promise<void> {
  const binaries = await findBinaries(folder)
  await checkMajor(folder, binaries.major)
  await endOrphans(folder.name)
  await removeUnfinished(folder)
  // Nobody runs this cluster, whoever has the pid in that file by now.
  await rm(join(folder.cluster, 'postmaster.pid'), { force: true })
  const vital = { cluster_name: folder.name, listen_addresses: '127.0.0.1', unix_socket_directories: '' }
  const args = ['-D', folder.cluster, ...options({ port: String(access.port), ...vital, logging_collector: 'off' })]
  const server = await launch(folder, binaries, 'postgres', args)
  if ((await awaitServer(folder, access, log, server)) === 'ready') server.letGo()
  else throw await failed(folder, `Postgres did not start: ${await server.ended}`, server)
}

/** Waits for a server that may still be recovering, or be on its way down, and answers whether there is one in the end. */
export async function awaitServer(
  folder: EmbeddedFolder,
  access: Access,
  log: (line: string) => void,
  started?: Launched,
): Promise<'ready' | 'none'> {
  let lastSignOfLife = performance.now()
  let lastSaid = lastSignOfLife
  let pauseMs = 15
  for (;;) {
    const answer = await ask(folder, access)
    if (answer.is === 'ready') return 'ready'
    const { postmaster } = await serverProcesses(folder.name)
    // One that was started just now cannot be seen in the instant in which it becomes Postgres.
    if (postmaster === undefined && started?.isRunning() !== true) return 'none'
    const now = performance.now()
    switch (answer.is) {
      case 'without database':
        await createDatabase(access)
        return 'ready'
      case 'starting':
        lastSignOfLife = now
        break
      case 'stopping':
        // Told to stop by somebody else, it may be waiting for its clients to leave: that wait ends here.
        if (postmaster !== undefined) signal(postmaster, 'SIGINT')
        break
      case 'silent':
        break
      case 'refused':
        throw await failed(folder, `the embedded Postgres refuses its own password file: ${answer.because}`)
    }
    if (now - lastSignOfLife > silenceMs) {
      throw await failed(folder, `the embedded Postgres does not answer on port ${access.port}`)
    }
    if (now - lastSaid > sayEveryMs) {
      log(`the embedded Postgres is ${answer.is}; still waiting`)
      lastSaid = now
    }
    await sleep(pauseMs)
    pauseMs = Math.min(pauseMs * 1.2, 250)
  }
}

/** Whether the server takes connections, and is the one of this folder. */
export async function isReady(folder: EmbeddedFolder, access: Access): Promise<boolean> {
  return (await ask(folder, access)).is === 'ready'
}

async function ask(folder: EmbeddedFolder, access: Access): Promise<Answer> {
  try {
    const [found] = await query<{ name: string; complete: boolean }>(
      access,
      `
      select current_setting('cluster_name') as name,
             exists (select from pg_database where datname = 'millrace') as complete`,
    )
    if (found?.name !== folder.name) return { is: 'refused', because: 'another server has the port' }
    return found.complete ? { is: 'ready' } : { is: 'without database' }
  } catch (error) {
    // All connections in use: by that it shows that it is up.
    if (hasCode(error, '53300')) return { is: 'ready' }
    if (hasCode(error, '57P03')) return { is: messageOf(error).includes('shutting down') ? 'stopping' : 'starting' }
    if (hasCode(error, '28P01', '28000')) return { is: 'refused', because: messageOf(error) }
    return { is: 'silent' }
  }
}

async function createDatabase(access: Access): Promise<void> {
  await query(access, 'create database millrace')
}

async function query<Row extends object>(access: Access, sql: string): Promise<Row[]> {
  const client = new Client({
    host: '127.0.0.1',
    ...access,
    user: 'millrace',
    database: 'postgres',
    ...withoutTls,
    connectionTimeoutMillis: 5_000,
    application_name: 'millrace embedded',
  })
  // A connection that breaks later than its query answered is no news here.
  client.on('error', () => {})
  try {
    await client.connect()
    return (await client.query<Row>(sql)).rows
  } finally {
    await client.end().catch(() => {})
  }
}

type Program = 'initdb' | 'postgres'

interface Launched {
  readonly ended: Promise<string>
  isRunning(): boolean
  wasKilled(): boolean
  /** Where its lines begin in the log. */
  readonly logFrom: number
  /** It may outlive this process, which no longer waits for it. */
  letGo(): void
}

async function launch(folder: EmbeddedFolder, binaries: Binaries, program: Program, args: string[]): Promise<Launched> {
  await turnLog(folder.serverLog)
  await using output = await open(folder.serverLog, 'a', 0o600)
  const { size } = await output.stat()
  const [command = '', ...rest] = [...binaries.runAs.prefix, binaries[program], ...args]
  const child = spawn(command, rest, {
    // A session of its own: Ctrl-C and a killed process group reach the owners only. An unfinished cluster may end with them.
    detached: program === 'postgres',
    stdio: ['ignore', output.fd, output.fd],
    cwd: '/',
    env: binaries.environment,
    ...binaries.runAs.user,
  })
  let running = true
  const ended = new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(`it cannot be run: ${error.message}`))
    child.on('exit', (code, killedBy) => resolve(`it ended with ${code ?? killedBy}`))
  }).finally(() => {
    running = false
  })
  return {
    ended,
    isRunning: () => running,
    wasKilled: () => child.signalCode !== null,
    logFrom: size,
    letGo: () => child.unref(),
  }
}

function options(values: Record<string, string>): string[] {
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

async function removeUnfinished(folder: EmbeddedFolder): Promise<void> {
  const begin = basename(folder.clusterInTheMaking)
  for (const entry of await readdir(folder.root)) {
    // What an orphaned `initdb` is still writing to goes at a later start.
    if (entry.startsWith(begin)) await rm(join(folder.root, entry), { recursive: true, force: true }).catch(() => {})
  }
}

async function checkMajor(folder: EmbeddedFolder, major: string): Promise<void> {
  const made = await readLine(join(folder.cluster, 'PG_VERSION'))
  if (made === major) return
  throw new MillraceError('EMBEDDED_POSTGRES', {
    at: folder.cluster,
    message: `the cluster was made by Postgres ${made ?? 'of an unknown version'}, and this Millrace brings Postgres ${major}`,
    hint: 'dump it with the Millrace that made it (`pg_dump`), move the folder away, start, and restore; or set DATABASE_URL',
  })
}

/** Whether a server could listen on this loopback port. */
export async function isPortFree(port: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
  })
}

async function failed(folder: EmbeddedFolder, message: string, launched?: Launched): Promise<MillraceError> {
  const log = await endOfLog(folder.serverLog, launched?.logFrom)
  if (/No space left on device|Disk quota exceeded/.test(log)) return diskFull(folder.cluster, new Error(log))
  return new MillraceError('EMBEDDED_POSTGRES', {
    at: folder.root,
    message: log === '' ? message : `${message}\n${log}`,
    hint: `see ${folder.serverLog}; or set DATABASE_URL to use a server of your own`,
    retry: launched?.wasKilled() ?? false,
  })
}
