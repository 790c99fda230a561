/**
 * The manifest of Spark's file sink: a log for each of its batches, and now and then one that has all before it. Only what
 * it names is written whole, and once; a folder may have files of batches that have failed.
 */
import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { MillraceError } from '../errors.ts'

const folderName = '_spark_metadata'

interface Log {
  number: number
  isCompact: boolean
}

/** Follows the manifest of a folder. Its files have an order that never changes. */
export class Manifest {
  readonly #folder: string
  /** The last log that was read, and how many files there are up to its end. */
  #log = -1
  #files = 0

  constructor(folder: string) {
    this.#folder = join(folder, folderName)
  }

  /** The names of files that have come since the last time, in order. */
  async more(): Promise<string[]> {
    const logs = (await logsIn(this.#folder)).filter(({ number }) => number > this.#log)
    const last = logs.at(-1)
    if (last === undefined) return []
    const more: string[] = []
    const compact = logs.findLast(({ isCompact }) => isCompact)
    let next = this.#log + 1
    if (compact !== undefined) {
      // it has what was read before, too
      const all = await this.#read(compact)
      more.push(...all.slice(this.#files))
      next = compact.number + 1
    }
    for (; next <= last.number; next++) more.push(...(await this.#read({ number: next, isCompact: false })))
    this.#log = last.number
    this.#files += more.length
    return more
  }

  async #read({ number, isCompact }: Log): Promise<string[]> {
    const path = join(this.#folder, `${number}${isCompact ? '.compact' : ''}`)
    const [version, ...lines] = (await readFile(path, 'utf8')).split('\n')
    if (version !== 'v1') throw unreadable(path, `its version is ${version}, and v1 is known`)
    return lines.filter((line) => line !== '').map((line) => nameOf(line, path))
  }
}

async function logsIn(folder: string): Promise<Log[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    // before the first batch there is none
    if (error.code === 'ENOENT') return []
    throw error
  })
  const logs = names.flatMap((name) => {
    const [, number, compact] = /^(\d+)(\.compact)?$/.exec(name) ?? []
    return number === undefined ? [] : [{ number: Number(number), isCompact: compact !== undefined }]
  })
  return logs.sort((a, b) => a.number - b.number)
}

function nameOf(line: string, log: string): string {
  const entry: unknown = JSON.parse(line)
  const isEntry = typeof entry === 'object' && entry !== null && 'path' in entry && 'action' in entry
  if (!isEntry || typeof entry.path !== 'string' || entry.action !== 'add')
    throw unreadable(log, `it has a line that is none of a file that was added: ${line.slice(0, 200)}`)
  // Spark may know the folder by another name
  return basename(entry.path)
}

function unreadable(path: string, why: string): MillraceError {
  return new MillraceError('SPARK_FAILED', { at: path, message: `the manifest of Spark cannot be read: ${why}` })
}
