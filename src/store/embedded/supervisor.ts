/**
 * The program that stops the embedded Postgres after its last owner, also when that was killed. It stays resident, so it
 * imports as little as it can. Each owner holds the FIFO open for writing: its end says that there is none left.
 *
 * Owners open the FIFO under the lock, and the decision to stop falls under the lock too. So whoever opens it comes
 * either before the decision, and is seen, or after the server has stopped and this reader is closed, and sees that.
 */
import { closeSync, constants, existsSync, openSync, readSync } from 'node:fs'
import { Socket } from 'node:net'
import { embeddedFolder, hasCode } from './folder.ts'
import { withLock } from './lock.ts'
import { stopServer } from './postmaster.ts'

const dataDirectory = process.argv[2] ?? ''
const folder = embeddedFolder(dataDirectory)

// It ends soon after the owners do. Ended by itself it would leave a server behind that nobody stops.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => {})

say('watches the owners')
const presence = openReader()
for (;;) {
  const reader = await lookAround()
  if (reader === undefined) break
  await endOf(reader)
}
say('stopped')

async function lookAround(): Promise<number | undefined> {
  if (existsSync(dataDirectory)) return await withLock(folder.lock, Number.POSITIVE_INFINITY, decide)
  say('the folder is gone')
  return await decide()
}

async function decide(): Promise<number | undefined> {
  // Opened before it is looked at: the kernel reports the end only of what was open while there was a writer.
  const reader = openReader()
  if (reader !== undefined && hasWriters(reader)) return reader
  say('no owner is left')
  await stopServer(folder.name)
  // Closed before the lock is: the next owner must find nobody here, and start a supervisor of its own.
  for (const open of [reader, presence]) if (open !== undefined) closeSync(open)
  return undefined
}

function openReader(): number | undefined {
  try {
    return openSync(folder.owners, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined
    throw error
  }
}

// What is read are the bytes by which owners ask whether this program lives.
function hasWriters(reader: number): boolean {
  const bytes = Buffer.alloc(4096)
  for (;;) {
    try {
      if (readSync(reader, bytes) === 0) return false
    } catch (error) {
      if (hasCode(error, 'EAGAIN')) return true
      throw error
    }
  }
}

async function endOf(reader: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const socket = new Socket({ fd: reader, readable: true, writable: false })
    socket.on('error', (error) => say(error.message))
    socket.on('close', () => resolve())
    socket.resume()
  })
}

function say(line: string): void {
  console.log(`${new Date().toISOString()} [${process.pid}] ${line}`)
}
