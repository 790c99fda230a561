import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { diskFull, MillraceError } from '../../errors.ts'
import { isNoRoom } from '../sqlite.ts'

const busy = 5

/**
 * Runs `work` while this caller alone holds the lock, in this process and among all others. The lock is an exclusive
 * transaction, so the kernel frees it when its holder dies in whatever way. It waits without blocking the event loop.
 */
export async function withLock<T>(path: string, waitMs: number, work: () => Promise<T>): Promise<T> {
  const database = open(path)
  try {
    const deadline = performance.now() + waitMs
    while (!taken(database, path)) {
      if (performance.now() > deadline) throw heldTooLong(path, waitMs)
      // Two that wait must not meet again and again: the pause is never the same twice.
      await sleep(10 + Math.random() * 20)
    }
    return await work()
  } finally {
    database.close()
  }
}

function open(path: string): DatabaseSync {
  try {
    return new DatabaseSync(path, { timeout: 0 })
  } catch (cause) {
    throw notLockable(path, cause)
  }
}

function taken(database: DatabaseSync, path: string): boolean {
  try {
    database.exec('begin exclusive')
    return true
  } catch (cause) {
    if (cause instanceof Error && 'errcode' in cause && cause.errcode === busy) return false
    throw notLockable(path, cause)
  }
}

function heldTooLong(path: string, waitMs: number): MillraceError {
  return new MillraceError('EMBEDDED_POSTGRES', {
    at: path,
    message: `another process has been starting or stopping the embedded Postgres for ${waitMs / 1000} s`,
    hint: 'try again in a moment; postgres/server.log beside the lock says what it is at',
    retry: true,
  })
}

function notLockable(path: string, cause: unknown): MillraceError {
  if (isNoRoom(cause, path)) return diskFull(path, cause)
  const why = cause instanceof Error ? cause.message : String(cause)
  return new MillraceError('EMBEDDED_POSTGRES', {
    at: path,
    message: `the lock of the embedded Postgres cannot be taken: ${why}`,
    hint: 'MILLRACE_DATA must be a folder on a local disk that this user may write to; else set DATABASE_URL',
    cause,
  })
}
