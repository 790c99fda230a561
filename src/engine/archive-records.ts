/**
 * What was archived, and when: a line of JSON for each file, in a file a day. Only what is noted here is ever deleted from
 * an archive, and only while it is as it was noted.
 */
import { appendFile, lstat, mkdir, open, readdir, realpath, rm, rmdir, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'

export interface Archived {
  /** Its place below the archive's folder. */
  path: string
  size: number
  mtimeNs: bigint
}

export interface Keeping {
  /** The archive. */
  folder: string
  records: string
  keepMs: number
  /** By file of records: the bytes of it that have been dealt with, so that a second look begins there. */
  read: Map<string, number>
  signal: AbortSignal
}

const dayMs = 86_400_000

/** Notes that these files are in the archive now. A file may be noted twice. */
export async function noteArchived(records: string, now: number, files: Archived[]): Promise<void> {
  if (files.length === 0) return
  const lines = files.map(({ path, size, mtimeNs }) =>
    JSON.stringify({ at: now, path, size, mtime_ns: String(mtimeNs) }),
  )
  await mkdir(records, { recursive: true })
  const day = new Date(now).toISOString().slice(0, 10)
  // the line end before it ends what a killed process has left of a line
  await appendFile(join(records, `${day}.jsonl`), `\n${lines.join('\n')}\n`, { flush: true })
}

/** Deletes what has been kept for long enough, and the day folders that are empty then. Answers how many files. */
export async function deleteExpired(keeping: Keeping, now: number): Promise<number> {
  const { records, keepMs, read, signal } = keeping
  const days = new Map<string, boolean>()
  let deleted = 0
  for (const name of (await readdir(records).catch(whenMissing([]))).sort()) {
    const day = Date.parse(name.slice(0, 10))
    if (Number.isNaN(day) || day + keepMs > now) continue
    const path = join(records, name)
    let younger = false
    for await (const { text, end } of linesFrom(path, read.get(path) ?? 0)) {
      signal.throwIfAborted()
      const noted = parse(text)
      // noted one after another: those after it are younger still
      younger = noted !== undefined && noted.at + keepMs > now
      if (younger) break
      if (noted !== undefined && (await deleteFile(keeping.folder, noted, days))) deleted++
      read.set(path, end)
    }
    if (younger || day + dayMs + keepMs > now) continue
    await rm(path, { force: true })
    read.delete(path)
  }
  for (const day of days.keys()) await removeEmpty(keeping.folder, day)
  return deleted
}

interface Noted extends Archived {
  at: number
}

// Undefined for what a killed process has left of a line, and for anything that is not a file of a day folder.
function parse(text: string): Noted | undefined {
  try {
    const { at, path, size, mtime_ns } = JSON.parse(text)
    if (!/^\d{4}\/\d\d\/\d\d\/[^/]+$/.test(path) || typeof at !== 'number') return undefined
    return { at, path, size, mtimeNs: BigInt(mtime_ns) }
  } catch {
    return undefined
  }
}

async function deleteFile(folder: string, noted: Noted, days: Map<string, boolean>): Promise<boolean> {
  const path = join(folder, noted.path)
  const day = dirname(noted.path)
  if (!days.has(day)) days.set(day, await isInside(folder, day))
  if (days.get(day) !== true) return false
  const stats = await lstat(path, { bigint: true }).catch(whenMissing(undefined))
  // moved away, or changed: somebody else's by now
  if (!stats?.isFile() || Number(stats.size) !== noted.size || stats.mtimeNs !== noted.mtimeNs) return false
  await unlink(path)
  return true
}

// A day folder that is a link to another place is not the archive's.
async function isInside(folder: string, day: string): Promise<boolean> {
  const real = await realpath(join(folder, day)).catch(whenMissing(undefined))
  return real !== undefined && real === join(await realpath(folder), day)
}

// The day's folder, then the month's and the year's, as far as there is nothing in them.
async function removeEmpty(folder: string, day: string): Promise<void> {
  for (let path = day; path !== '.'; path = dirname(path)) {
    const removed = await rmdir(join(folder, path)).then(
      () => true,
      () => false,
    )
    if (!removed) return
  }
}

const chunkBytes = 65_536

// The whole lines from this byte on, each with the byte after it.
async function* linesFrom(path: string, start: number): AsyncGenerator<{ text: string; end: number }> {
  const handle = await open(path, 'r')
  try {
    const buffer = Buffer.alloc(chunkBytes)
    for (let at = start; ; ) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, at)
      const chunk = buffer.subarray(0, bytesRead)
      let from = 0
      for (let to = chunk.indexOf(10); to >= 0; to = chunk.indexOf(10, from)) {
        yield { text: chunk.toString('utf8', from, to), end: at + to + 1 }
        from = to + 1
      }
      if (from === 0) return
      at += from
    }
  } finally {
    await handle.close()
  }
}

function whenMissing<T>(answer: T): (error: unknown) => T {
  return (error) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return answer
    throw error
  }
}
