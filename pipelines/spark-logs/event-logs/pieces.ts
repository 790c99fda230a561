/** Whole lines of a log, cut out of its unpacked bytes into files of a size that DuckDB reads in bounded memory. */
import { type FileHandle, open, rm } from 'node:fs/promises'
import { type FileEnd, type Stretch, unpacked } from './unpack.ts'

export interface Piece {
  path: string
  bytes: number
}

/** What is known of a stretch when all of it was read. */
export interface Read {
  end: FileEnd
  /** Unpacked bytes up to the end of the last whole line. */
  upTo: number
  /** Bytes after that: a line that is being written, or was cut. */
  rest: number
  /** Lines that were longer than any of Spark's, and left out. */
  tooLong: number
}

export const pieceBytes = 64 * 1024 * 1024
/** Short lines are as wide in DuckDB as long ones. */
const pieceLines = 100_000
export const longestLine = 16 * 1024 * 1024
const newline = 10

/**
 * Writes piece after piece, one ahead of whoever reads them; the reader removes what it has read. Answers at the end how
 * far it came. `takeRest`: nothing will follow, so that a last line without an end may be a whole one.
 */
export async function* pieces(
  stretch: Stretch,
  scratch: string,
  { takeRest, most = pieceBytes }: { takeRest: boolean; most?: number },
): AsyncGenerator<Piece, Read> {
  const source = unpacked(stretch)
  const read: Read = { end: 'whole', upTo: stretch.from, rest: 0, tooLong: 0 }
  let carried: Buffer = Buffer.alloc(0)
  let skipping = false
  let number = 0
  let ended = false

  async function next(): Promise<Piece | undefined> {
    if (ended) return undefined
    const path = `${scratch}/piece-${process.pid}-${number++}.jsonl`
    await using file = await open(path, 'w')
    let bytes = 0
    let lines = 0
    const write = async (chunk: Buffer): Promise<void> => {
      await writeAll(file, chunk)
      bytes += chunk.length
      read.upTo += chunk.length
    }
    while (bytes < most && lines < pieceLines) {
      const { value, done } = await source.next()
      if (done === true) {
        ended = true
        read.end = value
        if (takeRest && carried.length > 0 && !skipping && isWhole(carried)) {
          await write(carried)
          carried = Buffer.alloc(0)
        }
        read.rest = carried.length
        break
      }
      const end = value.lastIndexOf(newline) + 1
      if (end === 0) {
        carried = Buffer.concat([carried, value])
        if (carried.length > longestLine) {
          read.upTo += carried.length
          if (!skipping) read.tooLong++
          skipping = true
          carried = Buffer.alloc(0)
        }
        continue
      }
      let start = 0
      if (skipping) {
        start = value.indexOf(newline) + 1
        read.upTo += carried.length + start
        skipping = false
      } else if (carried.length > 0) await write(carried)
      await write(value.subarray(start, end))
      lines += linesIn(value)
      carried = Buffer.from(value.subarray(end))
    }
    if (bytes > 0) return { path, bytes }
    await rm(path, { force: true })
    return undefined
  }

  let ahead = next()
  try {
    for (;;) {
      const piece = await ahead
      if (piece === undefined) break
      ahead = next()
      // it is waited for a little later, and must not be called unhandled until then
      ahead.catch(() => {})
      yield piece
    }
    return read
  } finally {
    const left = await ahead.catch(() => undefined)
    if (left !== undefined) await rm(left.path, { force: true })
  }
}

function linesIn(chunk: Buffer): number {
  let lines = 0
  for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, at + 1)) lines++
  return lines
}

async function writeAll(file: FileHandle, chunk: Buffer): Promise<void> {
  for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at)).bytesWritten
}

function isWhole(line: Buffer): boolean {
  try {
    JSON.parse(line.toString('utf8'))
    return true
  } catch {
    return false
  }
}
