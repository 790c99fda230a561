/** Whole lines of a log, cut out of its unpacked bytes into files of a size that DuckDB reads in bounded memory. */
import { type FileHandle, open, rm } from 'node:fs/promises'
import { TaskCutter } from './cut-tasks.ts'
import { Bytes } from './scan.ts'
import { addTrimmed, isOfNoTask, isOfNoUse } from './trim.ts'
import { type FileEnd, type Stretch, unpacked } from './unpack.ts'

export interface Piece {
  /** Tasks as rows of CSV, where there are any. */
  tasks: string | undefined
  /** Lines that are of no task, where there are any. */
  events: Lines | undefined
  /** Lines of which it is not known what they are, where there are any. */
  others: Lines | undefined
  /** Of which this is made. */
  lines: number
  /** Of its files. */
  bytes: number
}

export interface Lines {
  path: string
  lines: number
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

/** What DuckDB holds of a piece before it is packed. */
export const pieceBytes = 32 * 1024 * 1024
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
  const buffers: Buffers = { tasks: new TaskCutter(), events: new Bytes(), others: new Bytes() }
  let carried: Buffer = Buffer.alloc(0)
  let skipping = false
  let number = 0
  let ended = false

  async function next(): Promise<Piece | undefined> {
    if (ended) return undefined
    await using piece = new PieceFiles(`${scratch}/piece-${process.pid}-${number++}`, buffers)
    const write = async (chunk: Buffer): Promise<void> => {
      await piece.add(chunk)
      read.upTo += chunk.length
    }
    while (!piece.isFull(most)) {
      const { value, done } = await source.next()
      if (done === true) {
        ended = true
        read.end = value
        if (takeRest && carried.length > 0 && !skipping && isWhole(carried)) {
          await piece.add(Buffer.concat([carried, Buffer.of(newline)]))
          read.upTo += carried.length
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
      } else if (carried.length > 0) {
        start = value.indexOf(newline) + 1
        await write(Buffer.concat([carried, value.subarray(0, start)]))
      }
      await write(value.subarray(start, end))
      carried = Buffer.from(value.subarray(end))
    }
    return await piece.done()
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
    if (left !== undefined) await removePiece(left)
  }
}

export async function removePiece({ tasks, events, others }: Piece): Promise<void> {
  for (const path of [tasks, events?.path, others?.path]) if (path !== undefined) await rm(path, { force: true })
}

/** What is used for one piece after the other. */
interface Buffers {
  tasks: TaskCutter
  events: Bytes
  others: Bytes
}

/** The files of a piece, while it is written. */
class PieceFiles implements AsyncDisposable {
  readonly #cutter: TaskCutter
  readonly #tasks: LineFile
  readonly #events: LineFile
  readonly #others: LineFile
  #lines = 0

  constructor(path: string, { tasks, events, others }: Buffers) {
    this.#cutter = tasks
    this.#tasks = new LineFile(`${path}-tasks.csv`, tasks.rows)
    this.#events = new LineFile(`${path}-events.jsonl`, events)
    this.#others = new LineFile(`${path}-others.jsonl`, others)
  }

  isFull(most: number): boolean {
    const [tasks, events, others] = [this.#tasks, this.#events, this.#others]
    return tasks.bytes + events.bytes + others.bytes >= most || events.lines + others.lines >= pieceLines
  }

  /** Adds whole lines. */
  async add(chunk: Buffer): Promise<void> {
    const [tasks, events, others] = [this.#tasks, this.#events, this.#others]
    for (let at = 0; at < chunk.length; ) {
      const end = chunk.indexOf(newline, at)
      if (end > at) {
        this.#lines++
        if (this.#cutter.take(chunk, at, end)) tasks.lines++
        else if (isOfNoUse(chunk, at, end)) {
          // its line counts
        } else if (isOfNoTask(chunk, at)) {
          addTrimmed(events.waiting, chunk, at, end)
          events.lines++
        } else {
          others.waiting.add(chunk, at, end + 1)
          others.lines++
        }
      }
      at = end + 1
    }
    for (const file of [tasks, events, others]) await file.flush()
  }

  async done(): Promise<Piece | undefined> {
    const linesOf = ({ path, lines }: LineFile): Lines | undefined => (lines > 0 ? { path, lines } : undefined)
    const [tasks, events, others] = [this.#tasks, this.#events, this.#others].map(linesOf)
    await this[Symbol.asyncDispose]()
    const bytes = this.#tasks.bytes + this.#events.bytes + this.#others.bytes
    return this.#lines === 0 ? undefined : { tasks: tasks?.path, events, others, lines: this.#lines, bytes }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const file of [this.#tasks, this.#events, this.#others]) await file[Symbol.asyncDispose]()
  }
}

/** A file that is made when it has a line. */
class LineFile implements AsyncDisposable {
  readonly path: string
  readonly waiting: Bytes
  lines = 0
  bytes = 0
  #file: FileHandle | undefined

  constructor(path: string, waiting: Bytes) {
    this.path = path
    this.waiting = waiting
  }

  async flush(): Promise<void> {
    const { buffer, used } = this.waiting
    if (used === 0) return
    this.#file ??= await open(this.path, 'w')
    for (let at = 0; at < used; ) at += (await this.#file.write(buffer, at, used - at)).bytesWritten
    this.bytes += used
    this.waiting.used = 0
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file?.close()
    this.#file = undefined
  }
}

function isWhole(line: Buffer): boolean {
  try {
    JSON.parse(line.toString('utf8'))
    return true
  } catch {
    return false
  }
}
