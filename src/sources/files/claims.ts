/**
 * Files on their way in. A watched folder's file is taken by renaming it to `.claimed/<id>/<its name>` in the same
 * folder: nobody finds it half read, its name is kept whatever it is, and ids sort in the order of the claims. Bytes of a
 * name that are no text are written out in it, so that everything behind here can say the name.
 */
import type { BigIntStats, Dirent, Stats } from 'node:fs'
import { glob, lstat, mkdir, opendir, readdir, rename, rmdir, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { MillraceError } from '../../errors.ts'
import type { Content } from './content.ts'
import { fittingName, nameOf } from './names.ts'

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
 * nothing has changed for a while. The status changes with the content, and only its time cannot be set.
 */
export function isComplete({ mtimeNs, ctimeNs }: Pick<BigIntStats, 'mtimeNs' | 'ctimeNs'>, now: number): boolean {
  const movedIn = ctimeNs >= mtimeNs + 10_000_000n
  return movedIn || now - Number(ctimeNs / 1_000_000n) >= settleMs
}

export function claimedFolder(folder: string): string {
  return join(folder, '.claimed')
}

/** What lies in a folder, in the order of the names; hidden names are not looked at. */
export interface Listing {
  files: FileName[]
  /** What is no regular file, and what it is: it is left alone. */
  others: { name: string; is: string }[]
}

export interface FileName {
  /** As people read it. */
  name: string
  /** The name on the disk, where it is no text. */
  bytes?: Buffer
}

export async function listFolder(folder: string): Promise<Listing> {
  const listing: Listing = { files: [], others: [] }
  for (const entry of await readdir(folder, { withFileTypes: true, encoding: 'buffer' })) {
    const name = nameOf(entry.name)
    if (name.name.startsWith('.')) continue
    if (entry.isFile()) listing.files.push(name)
    // where files go when they are done
    else if (name.name !== 'done') listing.others.push({ name: name.name, is: kindOf(entry) })
  }
  return { files: listing.files.sort(byName), others: listing.others.sort(byName) }
}

/** As `listFolder`, but of files only how many: nothing is held of them, for there may be very many. */
export async function countFolder(folder: string): Promise<{ files: number; others: Listing['others'] }> {
  let files = 0
  const others: Listing['others'] = []
  for await (const entry of await opendir(folder, { bufferSize: 1024 })) {
    if (entry.name.startsWith('.')) continue
    if (entry.isFile()) files++
    else if (entry.name !== 'done') others.push({ name: entry.name, is: kindOf(entry) })
  }
  return { files, others: others.sort(byName) }
}

function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : 1
}

/** What something is that is no regular file. */
export function kindOf(entry: Dirent<Buffer> | Dirent | Stats | BigIntStats): string {
  if (entry.isDirectory()) return 'a folder'
  if (entry.isSymbolicLink()) return 'a symbolic link'
  if (entry.isFIFO()) return 'a FIFO'
  return entry.isSocket() ? 'a socket' : 'a device'
}

export type Taking =
  | { is: 'claimed'; claim: Claim }
  | { is: 'not complete' }
  | { is: 'gone' }
  | { is: 'refused'; why: string }

/** Where a listed file is on the disk. */
export function pathIn(folder: string, { name, bytes }: FileName): string | Buffer {
  return bytes === undefined ? join(folder, name) : Buffer.concat([Buffer.from(join(folder, '/')), bytes])
}

/** Takes a file of a watched folder. */
export async function claimFile(folder: string, file: FileName, id: string, now: number): Promise<Taking> {
  const { name } = file
  const found = pathIn(folder, file)
  const stats = await lstat(found, { bigint: true }).catch(() => undefined)
  if (stats === undefined || !stats.isFile()) return { is: 'gone' }
  if (!isComplete(stats, now)) return { is: 'not complete' }
  const home = join(claimedFolder(folder), id)
  const at = join(home, fittingName(name))
  // its parent is there, unless somebody tidied up
  await mkdir(home).catch(() => mkdir(home, { recursive: true }))
  try {
    await rename(found, at)
  } catch (error) {
    await rmdir(home).catch(() => {})
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ENOENT') return { is: 'gone' }
    // somebody else's file in a folder that lets only owners move them, or a file that is a mount
    if (code === 'EACCES' || code === 'EPERM' || code === 'EBUSY' || code === 'EXDEV') {
      return { is: 'refused', why: `it cannot be moved (${code})` }
    }
    throw error
  }
  // a rename changes the status, not the content; what counts from here on is what was there before it
  return { is: 'claimed', claim: claimOf(id, at, join(folder, basename(at)), stats) }
}

/** The ids of the claims in a folder, in their order. */
export async function claimIds(folder: string): Promise<string[]> {
  return (await readdir(claimedFolder(folder)).catch(() => [])).sort()
}

/** The files of these claims that are still there. */
export async function readClaims(folder: string, ids: readonly string[]): Promise<Claim[]> {
  const claims: Claim[] = []
  for (const id of ids) {
    const home = join(claimedFolder(folder), id)
    const [name] = await readdir(home).catch(() => [])
    if (name === undefined) {
      // the rename never came, or the file has been moved on
      await rmdir(home).catch(() => {})
      continue
    }
    const at = join(home, name)
    const stats = await lstat(at, { bigint: true }).catch(() => undefined)
    if (stats !== undefined) claims.push(claimOf(id, at, join(folder, name), stats))
  }
  return claims
}

/** Claims for the files of a bounded run: they stay where they are, and are known by their path. */
export async function claimInputs(
  inputs: string[],
  onLeftAlone: (path: string, why: string) => void,
): Promise<Claim[]> {
  const paths = new Set<string>()
  for (const input of inputs) {
    const found = await expand(input, onLeftAlone)
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
  for (const path of [...paths].sort()) {
    const stats = await stat(path, { bigint: true }).catch(() => undefined)
    if (stats?.isFile()) claims.push({ ...claimOf(path, path, path, stats), arrivedAt })
    else onLeftAlone(path, stats === undefined ? 'it is gone' : `it is ${kindOf(stats)}`)
  }
  return claims
}

// A name that is there is that file, even when it could be read as a glob; a link that was named is followed.
async function expand(input: string, onLeftAlone: (path: string, why: string) => void): Promise<string[]> {
  const path = resolve(input)
  const stats = await stat(path).catch(() => undefined)
  if (stats?.isDirectory()) {
    const { files, others } = await listFolder(path)
    for (const { name, is } of others) onLeftAlone(join(path, name), `it is ${is}`)
    for (const { name, bytes } of files) {
      if (bytes !== undefined) onLeftAlone(join(path, name), 'its name is no UTF-8')
    }
    return files.filter(({ bytes }) => bytes === undefined).map(({ name }) => join(path, name))
  }
  if (stats?.isFile()) return [path]
  if (stats !== undefined) {
    throw new MillraceError('NO_INPUT', {
      message: `"${input}" is ${kindOf(stats)}, and only regular files are read`,
      hint: 'write what comes out of it into a file first',
    })
  }
  const found: string[] = []
  for await (const match of glob(input)) {
    const isFile = await stat(match).then(
      (each) => each.isFile(),
      () => false,
    )
    if (isFile && !basename(match).startsWith('.')) found.push(resolve(match))
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
    arrivedAt: new Date(Number(stats.ctimeNs / 1_000_000n)),
    bytesDone: 0,
    linesDone: 0,
    rowsDone: 0,
  }
}
