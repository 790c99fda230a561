import { randomBytes, randomInt } from 'node:crypto'
import { closeSync } from 'node:fs'
import { mkdir, open, realpath, rename, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { MillraceError, messageOf } from '../../errors.ts'
import { type EmbeddedFolder, embeddedFolder, readLine } from './folder.ts'
import { withLock } from './lock.ts'
import { firstOwner, hasReader, joinSupervisor, makeFifo, startSupervisor } from './owners.ts'
import { type Access, awaitServer, isPortFree, isReady, makeCluster, startServer } from './server.ts'

export interface EmbeddedPostgres extends AsyncDisposable {
  /** Where pg clients connect: a `postgresql://` URL with user, password, host 127.0.0.1, port and database `millrace`. */
  readonly url: string
  readonly port: number
  /** Whether this call started the server; otherwise it joined a running one. */
  readonly started: boolean
  /**
   * Makes sure that the server is up and will stop with its last owner, after either was killed; cheap when all is well.
   * Read `url` again afterwards: another owner may have started the server on another port.
   */
  ensureUp(): Promise<void>
}

export interface EmbeddedOptions {
  /** MILLRACE_DATA: all of it lies in the folder `postgres` there. */
  dataDirectory: string
  /** The port to start the server on, instead of the one it first took; a running server keeps its own. */
  port?: number
  log: (line: string) => void
}

/**
 * Starts the Postgres of a data directory, or joins it when another process has. It runs until its last owner has closed
 * it or died.
 *
 *     await using postgres = await openEmbedded({ dataDirectory: 'data', log: console.log })
 */
export async function openEmbedded(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  if (process.platform === 'win32') {
    throw new MillraceError('EMBEDDED_POSTGRES', {
      message: 'there is no embedded Postgres on Windows',
      hint: 'set DATABASE_URL to a Postgres 15 or newer, or run Millrace in WSL',
    })
  }
  const folder = await prepare(options.dataDirectory)
  return new Owner(folder, options, await bringUp(folder, options))
}

/** What somebody who does not own it may read of a running server; undefined when there is none. */
export async function findEmbedded(dataDirectory: string): Promise<{ url: string; port: number } | undefined> {
  const real = await realpath(resolve(dataDirectory)).catch(() => undefined)
  if (real === undefined) return undefined
  const folder = embeddedFolder(real)
  const password = await readLine(folder.password)
  const port = await keptPort(folder)
  if (password === undefined || port === undefined) return undefined
  return (await isReady(folder, { port, password })) ? { url: urlOf({ port, password }), port } : undefined
}

interface Server {
  readonly access: Access
  readonly started: boolean
}

interface Ownership extends Server {
  /** The owners' FIFO, open for writing: holding it is what keeps the server running. */
  readonly fifo: number
}

class Owner implements EmbeddedPostgres {
  readonly started: boolean
  readonly #folder: EmbeddedFolder
  readonly #options: EmbeddedOptions
  #ownership: Ownership | undefined
  #access: Access
  #ensuring: Promise<void> | undefined

  constructor(folder: EmbeddedFolder, options: EmbeddedOptions, ownership: Ownership) {
    this.#folder = folder
    this.#options = options
    this.#ownership = ownership
    this.#access = ownership.access
    this.started = ownership.started
  }

  get url(): string {
    return urlOf(this.#access)
  }

  get port(): number {
    return this.#access.port
  }

  async ensureUp(): Promise<void> {
    this.#ensuring ??= this.#ensure().finally(() => {
      this.#ensuring = undefined
    })
    await this.#ensuring
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#ensuring?.catch(() => {})
    if (this.#ownership !== undefined) closeSync(this.#ownership.fifo)
    this.#ownership = undefined
  }

  async #ensure(): Promise<void> {
    const before = this.#ownership
    if (before === undefined) {
      throw new MillraceError('EMBEDDED_POSTGRES', {
        message: 'the embedded Postgres has been closed',
        hint: 'open it again',
      })
    }
    if (hasReader(before.fifo) && (await isReady(this.#folder, before.access))) return
    this.#ownership = await bringUp(this.#folder, this.#options)
    this.#access = this.#ownership.access
    closeSync(before.fifo)
  }
}

async function prepare(dataDirectory: string): Promise<EmbeddedFolder> {
  try {
    await mkdir(dataDirectory, { recursive: true })
    const folder = embeddedFolder(await realpath(resolve(dataDirectory)))
    await mkdir(folder.root, { recursive: true, mode: 0o700 })
    return folder
  } catch (cause) {
    throw new MillraceError('EMBEDDED_POSTGRES', {
      at: dataDirectory,
      message: `there can be no embedded Postgres here: ${messageOf(cause)}`,
      hint: 'set MILLRACE_DATA to a folder that this user may write to, or set DATABASE_URL',
      cause,
    })
  }
}

const lockWaitMs = 60_000

async function bringUp(folder: EmbeddedFolder, options: EmbeddedOptions): Promise<Ownership> {
  return await withLock(folder.lock, lockWaitMs, async () => {
    await makeFifo(folder.owners)
    const joined = await joinSupervisor(folder)
    // It is started before the server, so that an owner who is killed here leaves no server that nobody stops.
    const supervisor = joined ?? (await startSupervisor(folder))
    try {
      const server = await bringServerUp(folder, options)
      const fifo = typeof supervisor === 'number' ? supervisor : await firstOwner(folder, supervisor)
      return { fifo, ...server }
    } catch (error) {
      if (joined !== undefined) closeSync(joined)
      throw error
    }
  })
}

async function bringServerUp(folder: EmbeddedFolder, { port: wanted, log }: EmbeddedOptions): Promise<Server> {
  const password = await keptPassword(folder)
  const kept = await keptPort(folder)
  const isNew = await stat(folder.cluster).then(
    () => false,
    () => true,
  )
  if (!isNew && kept !== undefined) {
    const access = { port: kept, password }
    if ((await awaitServer(folder, access, log)) === 'ready') {
      log(`joined the embedded Postgres on 127.0.0.1:${kept}`)
      if (wanted !== undefined && wanted !== kept) log(`it runs on port ${kept}; port ${wanted} is for its next start`)
      return { access, started: false }
    }
  }
  const begin = performance.now()
  const port = wanted ?? kept ?? (await choosePort())
  await checkPort(port)
  if (isNew) {
    log(`making the embedded Postgres in ${folder.root}`)
    await makeCluster(folder)
  }
  // Written before the start: whoever joins must find the port of a server whose starter was killed.
  await writeWhole(folder.port, String(port), 0o644)
  await startServer(folder, { port, password }, log)
  log(`started the embedded Postgres on 127.0.0.1:${port} in ${Math.round(performance.now() - begin)} ms`)
  return { access: { port, password }, started: true }
}

async function keptPassword(folder: EmbeddedFolder): Promise<string> {
  const kept = await readLine(folder.password)
  if (kept !== undefined) return kept
  const password = randomBytes(24).toString('base64url')
  await writeWhole(folder.password, password, 0o600)
  return password
}

async function keptPort(folder: EmbeddedFolder): Promise<number | undefined> {
  const port = Number(await readLine(folder.port))
  return port > 0 ? port : undefined
}

// Below the ports that the system gives to outgoing connections, which would take a kept port now and then.
async function choosePort(): Promise<number> {
  for (;;) {
    const port = randomInt(15_000, 32_000)
    if (await isPortFree(port)) return port
  }
}

async function checkPort(port: number): Promise<void> {
  if (await isPortFree(port)) return
  throw new MillraceError('EMBEDDED_POSTGRES', {
    at: `127.0.0.1:${port}`,
    message: `port ${port}, which is the embedded Postgres's, is taken by another program`,
    hint: 'stop that program, or set POSTGRES_PORT to a free port, or set DATABASE_URL to use a server of your own',
    retry: true,
  })
}

// After a power cut there is the whole file or none.
async function writeWhole(path: string, line: string, mode: number): Promise<void> {
  const unfinished = `${path}.new`
  {
    await using file = await open(unfinished, 'w', mode)
    await file.writeFile(`${line}\n`)
    await file.sync()
  }
  await rename(unfinished, path)
}

function urlOf({ port, password }: Access): string {
  // it listens on this machine alone and has no TLS, whatever PGSSLMODE asks of other servers
  return `postgresql://millrace:${password}@127.0.0.1:${port}/millrace?sslmode=disable`
}
