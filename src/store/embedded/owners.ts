/**
 * The owners' side of the FIFO by which the supervisor learns that the last owner has gone. All but `hasReader` is called
 * under the lock; see `supervisor.ts` for why that matters.
 */
import { execFile, spawn } from 'node:child_process'
import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { lstat, open, readlink, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { MillraceError, messageOf } from '../../errors.ts'
import { type EmbeddedFolder, endOfLog, hasCode, readLine, turnLog } from './folder.ts'

export interface Supervisor {
  /** How it ended, while it should be running. */
  ended: string | undefined
  readonly logFrom: number
}

/** Makes the FIFO once. It stays the same inode, so that owners count for every supervisor that comes. */
export async function makeFifo(path: string): Promise<void> {
  const there = await lstat(path).catch(() => undefined)
  if (there?.isFIFO()) return
  // A copied folder may have an ordinary file in its place.
  await rm(path, { force: true })
  try {
    await promisify(execFile)('mkfifo', ['-m', '600', path])
  } catch (cause) {
    throw new MillraceError('EMBEDDED_POSTGRES', {
      at: path,
      message: `a FIFO cannot be made: ${messageOf(cause)}`,
      hint: 'set MILLRACE_DATA to a folder on a local disk, or set DATABASE_URL',
      cause,
    })
  }
}

/** Becomes an owner if there is a supervisor. */
export async function joinSupervisor(folder: EmbeddedFolder): Promise<number | undefined> {
  const fifo = openWriter(folder.owners)
  if (fifo === undefined) return undefined
  const theirs = await readLine(folder.pidNamespace)
  if (theirs === (await pidNamespace())) return fifo
  closeSync(fifo)
  // Its processes cannot be seen from here: a second server would be started on the same files.
  throw new MillraceError('EMBEDDED_POSTGRES', {
    at: folder.root,
    message: 'the embedded Postgres of this folder runs in another container',
    hint: 'give each container a MILLRACE_DATA of its own, or set DATABASE_URL in both',
  })
}

/** Starts a supervisor in a session of its own, and does not wait for it. */
export async function startSupervisor(folder: EmbeddedFolder): Promise<Supervisor> {
  await writeFile(folder.pidNamespace, await pidNamespace())
  await turnLog(folder.supervisorLog)
  await using output = await open(folder.supervisorLog, 'a', 0o600)
  const supervisor: Supervisor = { ended: undefined, logFrom: (await output.stat()).size }
  // Beside this file in the sources and in the published package alike.
  const program = import.meta.filename.replace(/owners(\.\w+)$/, 'supervisor$1')
  const child = spawn(process.execPath, [program, dirname(folder.root)], {
    detached: true,
    stdio: ['ignore', output.fd, output.fd],
    cwd: '/',
    // Not this process's own: NODE_OPTIONS and a test runner's settings must not reach it.
    env: { PATH: process.env['PATH'] },
  })
  child.on('error', (error) => {
    supervisor.ended = error.message
  })
  child.on('exit', (code, killedBy) => {
    supervisor.ended = `it ended with ${code ?? killedBy}`
  })
  child.unref()
  return supervisor
}

/** Becomes the first owner under a supervisor that has just been started. */
export async function firstOwner(folder: EmbeddedFolder, supervisor: Supervisor): Promise<number> {
  const deadline = performance.now() + 30_000
  for (;;) {
    const fifo = openWriter(folder.owners)
    if (fifo !== undefined) return fifo
    if (supervisor.ended !== undefined || performance.now() > deadline) {
      throw new MillraceError('EMBEDDED_POSTGRES', {
        at: folder.root,
        message: `the supervisor of the embedded Postgres did not start: ${supervisor.ended ?? 'it does not answer'}\n${await endOfLog(folder.supervisorLog, supervisor.logFrom)}`,
        hint: `see ${folder.supervisorLog}; or set DATABASE_URL to use a server of your own`,
        retry: true,
      })
    }
    await sleep(5)
  }
}

/** Whether the supervisor lives: a byte to nobody is refused. */
export function hasReader(fifo: number): boolean {
  try {
    writeSync(fifo, '.')
    return true
  } catch (error) {
    if (hasCode(error, 'EPIPE')) return false
    // Full: it was stopped for long, but it is there.
    if (hasCode(error, 'EAGAIN')) return true
    throw error
  }
}

function openWriter(path: string): number | undefined {
  try {
    return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK)
  } catch (error) {
    if (hasCode(error, 'ENXIO')) return undefined
    throw error
  }
}

async function pidNamespace(): Promise<string> {
  return process.platform === 'linux' ? await readlink('/proc/self/ns/pid') : process.platform
}
