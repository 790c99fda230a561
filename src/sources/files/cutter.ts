/** What cutters of all text formats share: what they promise, and how rows get into the spool. */
import { malformedLine } from './read-spool.ts'

/** Cuts one range of one file. When `push` returns, all rows up to `consumed` have reached the sinks. */
export interface RowCutter {
  /** Feeds the next bytes of the file; `last` says that no more will come. An incomplete row waits for more. */
  push(chunk: Buffer, last: boolean): Cut
  /** The physical line of the first byte that is not consumed. */
  readonly line: number
}

/** What one push has cut. */
export interface Cut {
  rows: number
  malformed: number
  /** Bytes settled, in this push and waiting before it: up to the end of a row, never part of one. */
  consumed: number
  /** The most bytes one row takes in the spool. */
  longestRow: number
  /** `maxRows` is reached: nothing more will be cut. */
  full: boolean
}

/** Takes bytes over until the next push: then the cutter may write over them. */
export type ByteSink = (bytes: Buffer) => void

export interface CutterOptions {
  /** The most bytes of a row, its LF not counted. */
  maxRowBytes: number
  /** The physical line of the first byte fed. */
  firstLine: number
  /** The number of the file in its batch. */
  file: number
  /** Gets the good rows, as `readSpoolSql` reads them. */
  rows: ByteSink
  /** Gets the malformed rows, as `readMalformedSql` reads them. */
  malformed: ByteSink
  /** Stop after so many rows, good and malformed. */
  maxRows?: number
  /** Where rows are written before they are handed over: at least so many bytes, which nobody else has. */
  room?: (bytes: number) => Buffer<ArrayBuffer>
}

export interface Malformed {
  line: number
  code: string
  /** The column a person should look at, and what more is known. */
  column?: string
  detail?: string
}

export function nothingCut(): Cut {
  return { rows: 0, malformed: 0, consumed: 0, longestRow: 0, full: false }
}

const spoolChunk = 2 * 1024 * 1024
const ZERO = 48

/**
 * Rows on their way into the spool. A row is written straight into `out`, from `at` on: ask for room first, then say
 * where it ended. One buffer serves push after push; more are made only for what does not fit.
 */
export class RowWriter {
  out = Buffer.alloc(0)
  at = 0
  longestRow = 0
  file: number
  readonly #rows: ByteSink
  readonly #malformed: ByteSink
  readonly #room: (bytes: number) => Buffer<ArrayBuffer>
  #malformedOut = ''

  constructor({ file, rows, malformed, room = Buffer.allocUnsafeSlow }: CutterOptions) {
    this.file = file
    this.#rows = rows
    this.#malformed = malformed
    this.#room = room
  }

  /** Makes room for a row of at most so many bytes; `pushed` is the size of the input at hand. */
  reserve(bytes: number, pushed: number): void {
    if (this.at + bytes <= this.out.length) return
    this.#flushRows()
    this.out = this.#room(Math.max(Math.min(spoolChunk, 2 * pushed), bytes))
  }

  /** The row in `out` ends before `to`. */
  wrote(to: number): void {
    if (to - this.at > this.longestRow) this.longestRow = to - this.at
    this.at = to
  }

  /** A malformed row: of `raw`, the first bytes are enough when `length` counts all. */
  malformed(row: Malformed, raw: Buffer, length: number): void {
    this.#malformedOut += malformedLine(this.file, row, raw, length)
    if (this.#malformedOut.length > spoolChunk) this.#flushMalformed()
  }

  /** Hands over everything that was written. */
  flush(): void {
    this.#flushRows()
    this.#flushMalformed()
  }

  #flushRows(): void {
    if (this.at > 0) this.#rows(this.out.subarray(0, this.at))
    this.at = 0
  }

  #flushMalformed(): void {
    if (this.#malformedOut !== '') this.#malformed(Buffer.from(this.#malformedOut))
    this.#malformedOut = ''
  }
}

/** Writes a whole number of at most 53 bits as digits, and answers where they end. */
export function writeNumber(out: Buffer, from: number, value: number): number {
  if (value >= 1e9) return from + out.write(String(value), from, 'latin1')
  let digits = 1
  for (let power = 10; power <= value; power *= 10) digits++
  let rest = value
  for (let at = from + digits - 1; at >= from; at--) {
    // whole numbers of 32 bits divide fastest
    const tens = (rest / 10) | 0
    out[at] = ZERO + rest - tens * 10
    rest = tens
  }
  return from + digits
}
