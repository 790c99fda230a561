/**
 * How files move from `done/` into the archive, all of them by one step after another: linked under a name that is free,
 * noted, removed where they were. Where a link cannot do, or the file is compressed, it is written beside the day folders
 * first, and that is linked. Every name on the way has the file's claim in it, so whoever was killed at any step is
 * followed by an attempt that goes on there, and knows its own work by its inode. Nothing is ever written over: a link is
 * refused where the name is taken.
 */
import { createReadStream, createWriteStream } from 'node:fs'
import { link, lstat, mkdir, open, readdir, rename, rm, rmdir, unlink, utimes } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip, createZstdCompress } from 'node:zlib'
import { failpoint } from '../failpoint.ts'
import type { StoredFile } from '../store/store.ts'
import type { Archive, Compression } from '../system.ts'
import { noteArchived } from './archive-records.ts'
import { doneFolder, nameFor } from './effects.ts'

export interface ArchiveTools {
  pipeline: string
  archive: Archive
  /** Where it is noted what was archived. */
  records: string
  /** A name that no other worker has, for what is half written. */
  worker: string
  signal: AbortSignal
}

/** What becomes the archived file: the one in `done/`, or what was written in its place. */
interface Body {
  file: StoredFile
  at: string
  /** What its name in the archive ends with, beside its own. */
  ending: string
  size: number
  mtimeNs: bigint
}

interface Placed extends Body {
  /** Its place below the archive's folder. */
  path: string
}

/** The folder in the archive for what is written in a file's place. */
export function writtenFolder({ archive, pipeline }: Pick<ArchiveTools, 'archive' | 'pipeline'>): string {
  return join(archive.folder, `.archiving-${pipeline}`)
}

/** The id of the file in whose place this was written; ids have no dot. */
export function idOfWritten(name: string): string {
  return name.split('.')[0] ?? name
}

/** Moves these files into the archive, or what is left of that. A file that is nowhere was removed by somebody. */
export async function archiveFiles(files: StoredFile[], tools: ArchiveTools, now: number): Promise<void> {
  const { archive, signal, records } = tools
  const written = await findWritten(tools)
  const days = new Set(files.map((file) => join(archive.folder, dayOf(file))))
  for (const day of days) await mkdir(day, { recursive: true })
  const lanes = archive.compress === undefined ? manyAtOnce : fewAtOnce
  const there = await each(files, signal, (file) => place(file, tools, written.get(file.id)), lanes)
  const placed = there.filter((file) => file !== undefined)
  // a power cut must find the names in the archive before it can miss the ones they replace
  for (const day of days) await syncFolder(day)
  await noteArchived(records, now, placed)
  await each(placed, signal, removeSource)
  await each(placed, signal, removeWritten)
  // and nobody looks here again, once the cursor has moved
  for (const done of new Set(placed.map(({ file }) => doneFolder(file)))) await syncFolder(done)
  await rmdir(writtenFolder(tools)).catch(() => {})
}

// By id: what an attempt before this one has written in full.
async function findWritten(tools: ArchiveTools): Promise<Map<string, string>> {
  const written = new Map<string, string>()
  const desk = writtenFolder(tools)
  for (const name of await readdir(desk).catch(whenMissing([]))) {
    // whoever wrote it was killed, or was replaced
    if (name.endsWith('.part')) await rm(join(desk, name), { force: true })
    else written.set(idOfWritten(name), name)
  }
  return written
}

// ---- the steps -----------------------------------------------------------------------------------------------------

async function place(file: StoredFile, tools: ArchiveTools, written: string | undefined): Promise<Placed | undefined> {
  const { archive } = tools
  if (written !== undefined) {
    const at = join(writtenFolder(tools), written)
    return await linkFree({ file, at, ending: written.slice(file.id.length), ...(await marksOf(at)) }, archive)
  }
  const body = { file, at: sourceOf(file), ending: '', size: file.size, mtimeNs: file.mtimeNs }
  if (archive.compress !== undefined) {
    if (!(await isSource(file))) return undefined
    // linked before somebody asked for compression, by one who was killed then: it stays as it is
    if (!(await isLinked(body, archive))) return await placeWritten(file, tools, archive.compress)
  }
  try {
    return await linkFree(body, archive)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return (await isSource(file)) ? await linkFree(body, archive) : undefined
    if (!cannotLink(error)) throw error
    return await placeWritten(file, tools, undefined)
  }
}

async function placeWritten(
  file: StoredFile,
  tools: ArchiveTools,
  compress: Compression | undefined,
): Promise<Placed | undefined> {
  const written = await write(file, tools, compress)
  return written && (await linkFree(written, tools.archive))
}

// In the file's place, compressed or just a copy. It gets its name when it is whole and on disk.
async function write(
  file: StoredFile,
  tools: ArchiveTools,
  compress: Compression | undefined,
): Promise<Body | undefined> {
  const source = sourceOf(file)
  const ending = compress === undefined ? '' : endings[compress]
  const at = join(writtenFolder(tools), `${file.id}${ending}`)
  const part = `${at}.${tools.worker}.part`
  await failpoint('archive write')
  await mkdir(writtenFolder(tools), { recursive: true })
  const { atime, mtime, mode } = await lstat(source)
  try {
    const to = createWriteStream(part, { mode, flush: true })
    await pipeline([createReadStream(source), ...compressors(compress), to], { signal: tools.signal })
    await utimes(part, atime, mtime)
    await failpoint('archive write')
    // refused when another worker has written it meanwhile: then that is it
    await link(part, at).catch(unlessCode('EEXIST', undefined))
    if (!(await isThere(source))) {
      // this worker was replaced and has just woken up: the file is in the archive
      await rm(at, { force: true })
      return undefined
    }
  } finally {
    await rm(part, { force: true })
  }
  return { file, at, ending, ...(await marksOf(at)) }
}

const endings: Record<Compression, string> = { gzip: '.gz', zstd: '.zst' }

function compressors(compress: Compression | undefined): NodeJS.ReadWriteStream[] {
  switch (compress) {
    case undefined:
      return []
    case 'gzip':
      return [createGzip()]
    case 'zstd':
      return [createZstdCompress()]
  }
}

async function linkFree(body: Body, archive: Archive): Promise<Placed> {
  await failpoint('archive link')
  for (const path of placesOf(body)) {
    const target = join(archive.folder, path)
    const linked = await link(body.at, target).then(() => true, unlessCode('EEXIST', false))
    if (!linked && !(await isSameInode(body.at, target))) continue
    await failpoint('archive link')
    return { ...body, path }
  }
  throw new Error('the places never end')
}

async function isLinked(body: Body, archive: Archive): Promise<boolean> {
  const [first, second] = placesOf(body)
  for (const path of [first, second])
    if (path !== undefined && (await isSameInode(body.at, join(archive.folder, path)))) return true
  return false
}

// The file's own name, then those with its claim. The day is that of arrival, and not of archiving: it is stored, so
// whoever goes on after a kill at midnight looks in the same place.
function* placesOf({ file, ending }: Body): Generator<string> {
  const day = dayOf(file)
  const own = `${basename(file.path)}${ending}`
  if (Buffer.byteLength(own) <= 255) yield join(day, own)
  yield join(day, `${nameFor(file)}${ending}`)
  for (let n = 2; ; n++) yield join(day, `${nameFor({ ...file, id: `${file.id}-${n}` })}${ending}`)
}

async function removeSource({ file }: Placed): Promise<void> {
  await failpoint('archive remove source')
  await unlink(sourceOf(file)).catch(whenMissing(undefined))
  await failpoint('archive remove source')
}

async function removeWritten({ file, at }: Placed): Promise<void> {
  if (at === sourceOf(file)) return
  await failpoint('archive remove temp')
  await unlink(at).catch(whenMissing(undefined))
  await failpoint('archive remove temp')
}

// ---- files ---------------------------------------------------------------------------------------------------------

// A name with the claim in it is never another file's, also when the worker that unlinks it has slept since it looked.
function sourceOf(file: StoredFile): string {
  return join(doneFolder(file), nameFor(file))
}

// Whether the file is in `done/`; one that came there before its pipeline had an archive has its plain name still.
async function isSource(file: StoredFile): Promise<boolean> {
  if (await isThere(sourceOf(file))) return true
  const plain = join(doneFolder(file), basename(file.path))
  const stats = await lstat(plain, { bigint: true }).catch(whenMissing(undefined))
  // the inode says nothing: that of a file that was removed is soon another's
  const same = stats !== undefined && Number(stats.size) === file.size && stats.mtimeNs === file.mtimeNs
  return same && (await rename(plain, sourceOf(file)).then(() => true, whenMissing(false)))
}

function dayOf({ arrivedAt }: StoredFile): string {
  return join(...arrivedAt.toISOString().slice(0, 10).split('-'))
}

async function marksOf(path: string): Promise<Pick<Body, 'size' | 'mtimeNs'>> {
  const { size, mtimeNs } = await lstat(path, { bigint: true })
  return { size: Number(size), mtimeNs }
}

async function isSameInode(one: string, other: string): Promise<boolean> {
  const [a, b] = [
    await lstat(one, { bigint: true }),
    await lstat(other, { bigint: true }).catch(whenMissing(undefined)),
  ]
  return a.ino === b?.ino && a.dev === b.dev
}

async function isThere(path: string): Promise<boolean> {
  return await lstat(path).then(() => true, whenMissing(false))
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

// Another file system; or the file is another user's, and the kernel does not let us link it.
function cannotLink(error: unknown): boolean {
  return ['EXDEV', 'EPERM', 'EACCES', 'ENOTSUP', 'EMLINK'].includes(codeOf(error))
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}

/** Takes one code of a failing file system as this answer. */
function unlessCode<T>(code: string, answer: T): (error: unknown) => T {
  return (error) => {
    if (codeOf(error) === code) return answer
    throw error
  }
}

function whenMissing<T>(answer: T): (error: unknown) => T {
  return unlessCode('ENOENT', answer)
}

/** Of small steps; of those that compress there are fewer, for they share their threads with the reader. */
const [manyAtOnce, fewAtOnce] = [16, 2]

// Several at a time, in any order; after a failure none is begun, and those begun have ended.
async function each<T, R>(
  things: T[],
  signal: AbortSignal,
  act: (thing: T) => Promise<R>,
  atOnce = manyAtOnce,
): Promise<R[]> {
  const results: R[] = []
  const rest = things.entries()
  let failed = false
  const lane = async (): Promise<void> => {
    for (const [i, thing] of rest) {
      if (failed) return
      try {
        signal.throwIfAborted()
        results[i] = await act(thing)
      } catch (error) {
        failed = true
        throw error
      }
    }
  }
  const ends = await Promise.allSettled(Array.from({ length: atOnce }, lane))
  for (const end of ends) if (end.status === 'rejected') throw end.reason
  return results
}
