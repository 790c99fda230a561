/** What lies in a folder of event logs: each log is one attempt of one application, in one file or a folder of them. */
import { type Dirent, type Stats, statSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Codec } from './unpack.ts'

export interface EventLog {
  appId: string
  /** Empty where a cluster numbers none. */
  attempt: string
  /** Where it lies: the file, or the folder of its files. */
  path: string
  /** Spark has not closed it: it grows, or whoever wrote it was killed. */
  inProgress: boolean
  /** In the order in which they were written. */
  files: LogFile[]
  /** What tells whether anything has changed since it was last read. */
  mark: string
}

export interface LogFile {
  /** What tells it from the others of its log, whatever it is renamed to when it is closed. */
  key: string
  path: string
  codec: Codec
  bytes: number
  modifiedMs: number
}

export interface FoundLogs {
  logs: EventLog[]
  /** What looks like a log, and cannot be read. */
  leftAlone: { path: string; why: string }[]
}

const codecs: Record<string, Codec> = { zstd: 'zstd', zst: 'zstd', gz: 'gzip', gzip: 'gzip', lz4: 'lz4' }
const otherCodecs = ['snappy', 'lzf']
const rollingFolder = 'eventlog_v2_'
const looksLikeLog = /^(app|local|spark)/
/** What tells the file of posted lines from the others of a log. */
export const postedKey = 'posted'

export async function findLogs(folder: string): Promise<FoundLogs> {
  const found: FoundLogs = { logs: [], leftAlone: [] }
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    // it may be made later
    if (error.code === 'ENOENT') return [] as Dirent[]
    throw error
  })
  for (const entry of entries) {
    const path = join(folder, entry.name)
    if (entry.name.startsWith('.')) continue
    if (entry.isDirectory()) {
      if (entry.name.startsWith(rollingFolder)) await addRolling(found, path, entry.name.slice(rollingFolder.length))
    } else if (entry.isFile()) addFile(found, path, entry.name)
  }
  found.logs.sort((a, b) => (a.path < b.path ? -1 : 1))
  return found
}

interface NamedLog {
  id: string
  codec: Codec | undefined
  codecName: string
  inProgress: boolean
}

/** `<id>[.codec][.inprogress]`; an id may have a dot, but none that a codec could be. */
export function parsedName(name: string): NamedLog {
  const inProgress = name.endsWith('.inprogress')
  const closed = inProgress ? name.slice(0, -'.inprogress'.length) : name
  const dot = closed.lastIndexOf('.')
  const codecName = dot < 0 ? '' : closed.slice(dot + 1)
  const isCodec = codecName in codecs || otherCodecs.includes(codecName)
  return {
    id: isCodec ? closed.slice(0, dot) : closed,
    codec: isCodec ? codecs[codecName] : 'plain',
    codecName,
    inProgress,
  }
}

/** The name of a file for an attempt of an application; undefined where that would be read as something else. */
export function nameOfLog(appId: string, attempt: string): string | undefined {
  if (!/^[A-Za-z0-9_.-]*$/.test(appId) || !/^[A-Za-z0-9-]*$/.test(attempt)) return undefined
  const name = attempt === '' ? appId : `${appId}_${attempt}`
  const { id, codec, inProgress } = parsedName(name)
  const read = parsedId(id)
  const isSame = codec === 'plain' && !inProgress && read.appId === appId && read.attempt === attempt
  return isSame && looksLikeLog.test(name) ? name : undefined
}

/**
 * Logs of which lines were posted: they are files of the same kind in another folder. Of an attempt that has a log in both,
 * the lines of both are read, and those that are in both count once.
 */
export async function withPosted(found: FoundLogs, folder: string): Promise<FoundLogs> {
  const posted = await findLogs(folder)
  for (const log of posted.logs) {
    const files = log.files.map((file) => ({ ...file, key: postedKey }))
    const same = found.logs.filter(({ appId, attempt }) => appId === log.appId && attempt === log.attempt)
    for (const other of same) {
      other.files.unshift(...files)
      other.mark += ` ${markOf(files, true)}`
    }
    if (same.length === 0) found.logs.push({ ...log, files })
  }
  return found
}

/** Applications of YARN are called `application_<time>_<number>`: what follows is the attempt. */
export function parsedId(id: string): { appId: string; attempt: string } {
  const parts = /^(application_\d+_\d+|[^_]+)(?:_(.+))?$/.exec(id)
  return { appId: parts?.[1] ?? id, attempt: parts?.[2] ?? '' }
}

function addFile({ logs, leftAlone }: FoundLogs, path: string, name: string): void {
  const { id, codec, codecName, inProgress } = parsedName(name)
  if (!looksLikeLog.test(id)) return
  if (codec === undefined) {
    leftAlone.push({ path, why: `packed with ${codecName}; plain, zstd, gzip and lz4 can be read` })
    return
  }
  const stats = statOf(path)
  if (stats === undefined) return
  const files = [{ key: '1', path, codec, bytes: stats.size, modifiedMs: stats.mtimeMs }]
  logs.push({ ...parsedId(id), path, inProgress, files, mark: markOf(files, inProgress) })
}

async function addRolling({ logs, leftAlone }: FoundLogs, path: string, id: string): Promise<void> {
  const files: (LogFile & { number: number; compact: boolean })[] = []
  let inProgress = false
  for (const name of await readdir(path)) {
    if (name.startsWith('appstatus_')) inProgress = name.endsWith('.inprogress')
    const [, number, rest = ''] = /^events_(\d+)_(.+)$/.exec(name) ?? []
    if (number === undefined) continue
    const compact = rest.endsWith('.compact')
    const { codec, codecName } = parsedName(compact ? rest.slice(0, -'.compact'.length) : rest)
    if (codec === undefined) {
      leftAlone.push({
        path: join(path, name),
        why: `packed with ${codecName}; plain, zstd, gzip and lz4 can be read`,
      })
      continue
    }
    const stats = statOf(join(path, name))
    if (stats === undefined) continue
    const key = compact ? `${number} compact` : number
    const [bytes, modifiedMs] = [stats.size, stats.mtimeMs]
    files.push({ key, path: join(path, name), codec, bytes, modifiedMs, number: Number(number), compact })
  }
  if (files.length === 0) return
  files.sort((a, b) => a.number - b.number || Number(a.compact) - Number(b.compact))
  const plain = files.map(({ number, compact, ...file }) => file)
  logs.push({ ...parsedId(id), path, inProgress, files: plain, mark: markOf(plain, inProgress) })
}

// It may be renamed or removed at any time.
function statOf(path: string): Stats | undefined {
  return statSync(path, { throwIfNoEntry: false })
}

function markOf(files: LogFile[], inProgress: boolean): string {
  const each = files.map(({ key, bytes, modifiedMs }) => `${key}:${bytes}:${Math.round(modifiedMs)}`)
  return `${inProgress ? 'open' : 'closed'} ${each.join(' ')}`
}
