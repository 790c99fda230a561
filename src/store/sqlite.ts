/** What SQLite's errors mean. */
import { statfsSync } from 'node:fs'
import { dirname } from 'node:path'

const full = 13
const leastRoom = 1_000_000

/** Whether a disk without room is behind an error: of some of its files SQLite says only that they cannot be opened or written. */
export function isNoRoom(error: unknown, path: string): boolean {
  if (!(error instanceof Error) || !('errcode' in error)) return false
  const { bavail, bsize, ffree } = statfsSync(dirname(path))
  return error.errcode === full || bavail * bsize < leastRoom || ffree === 0
}
