/**
 * Files on their way in. A watched folder's file is taken by renaming it to `.claimed/<id>/<its name>` in the same
 * folder: nobody finds it half read, its name is kept whatever it is, and ids sort in the order of the claims.
 */
import type { BigIntStats } from 'node:fs'
import { glob, lstat, mkdir, readdir, rename, rmdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { MillraceError } from '../../errors.ts'
import type { Content } from './content.ts'

/** A file taken, and how far it has been read. */
export interface Claim {
  id: string
  /** Where its bytes are. */
  at: string
  /** Where it was found: what people see. */
  path: string
  size: number
  mtimeNs: bigint
  inode: bigint
  arrivedAt: Date
  bytesDone: number
  linesDone: number
  rowsDone: number
  /** Its bytes, unpacked; known from the first reading on. */
  content?: Content
}

/** How long a file must lie unchanged before it counts as complete, unless it was moved in. */
export const settleMs = 1000

/**
 * A file is complete when its status changed after its content did (it was moved in, or its times were set), or when
 * nothing has changed for a while.
 */
export function isComplete(stats: Pick<BigIntStats, 'mtimeNs' | 'ctimeNs'>, now: number): boolean {
  const movedIn = stats.ctimeNs >= stats.mtimeNs + 10_000_000n
  const latest = Number((stats.mtimeNs > stats.ctimeNs ? stats.mtimeNs : stats.ctimeNs) / 1_000_000n)
  return movedIn || now - latest >= settleMs
}

export function claimedFolder(folder: string): string {
  return join(folder, '.claimed')
}

/** The names of regular files in a folder, in order; hidden ones are left alone. */
export async function listFolder(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && !entry.name.startsWith('.'))
    .map((entry) => entry.name)
    .sort()
}

/** Takes a file of a watched folder. Undefined when it is not complete yet, or gone. */
export async function claimFile(
  folder: string,
  name: string,
  id: string,
  now: number,
): Promise<Claim | 'not yet' | undefined> {
  const path = join(folder, name)
  const stats = await lstat(path, { bigint: true }).catch(() => undefined)
  if (stats === undefined || !stats.isFile()) return undefined
  if (!isComplete(stats, now)) return 'not yet'
  const home = join(claimedFolder(folder), id)
  const at = join(home, name)
  await mkdir(home, { recursive: true })
  try {
    await rename(path, at)
  } catch (error) {
    await rmdir(home).catch(() => {})
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
  // a rename changes the status, not the content; what counts from here on is what was there before it
  return claimOf(id, at, path, stats)
}

/** The files that were claimed and are still there, in the order of their claims. */
export async function listClaims(folder: string): Promise<Claim[]> {
  const home = claimedFolder(folder)
  const ids = await readdir(home).catch(() => [])
  const claims: Claim[] = []
  for (const id of ids.sort()) {
    const [name] = await readdir(join(home, id)).catch(() => [])
    if (name === undefined) {
      // the rename never came, or the file has been moved on
      await rmdir(join(home, id)).catch(() => {})
      continue
    }
    const at = join(home, id, name)
    const stats = await lstat(at, { bigint: true }).catch(() => undefined)
    if (stats?.isFile()) claims.push(claimOf(id, at, join(folder, name), stats))
  }
  return claims
}

/** Claims for the files of a bounded run: they stay where they are, and are known by their path. */
export async function claimInputs(inputs: string[]): Promise<Claim[]> {
  const paths = new Set<string>()
  for (const input of inputs) {
    const found = await expand(input)
    if (found.length === 0) {
      throw new MillraceError('NO_INPUT', {
        message: `"${input}" names no file`,
        hint: 'give a file, a folder, or a glob in quotes',
      })
    }
    for (const path of found) paths.add(path)
  }
  const claims: Claim[] = []
  // they arrive when they are given, however old they are
  const arrivedAt = new Date()
  for (const path of [...paths].sort())
    claims.push({ ...claimOf(path, path, path, await lstat(path, { bigint: true })), arrivedAt })
  return claims
}

// A name that is there is that file, even when it could be read as a glob.
async function expand(input: string): Promise<string[]> {
  const path = resolve(input)
  const stats = await lstat(path).catch(() => undefined)
  if (stats?.isDirectory()) return (await listFolder(path)).map((name) => join(path, name))
  if (stats?.isFile()) return [path]
  const found: string[] = []
  for await (const match of glob(input)) {
    if ((await lstat(match)).isFile() && !basename(match).startsWith('.')) found.push(resolve(match))
  }
  return found
}

/** Empties a claim's folder once its file has gone. */
export async function dropClaim(at: string): Promise<void> {
  await rmdir(dirname(at)).catch(() => {})
}

function claimOf(id: string, at: string, path: string, stats: BigIntStats): Claim {
  return {
    id,
    at,
    path,
    size: Number(stats.size),
    mtimeNs: stats.mtimeNs,
    inode: stats.ino,
    // when it came to be here: moving a file in changes its status, not its content
    arrivedAt: new Date(Number((stats.ctimeNs > stats.mtimeNs ? stats.ctimeNs : stats.mtimeNs) / 1_000_000n)),
    bytesDone: 0,
    linesDone: 0,
    rowsDone: 0,
  }
}
