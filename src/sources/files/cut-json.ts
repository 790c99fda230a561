/**
 * Cuts the rows out of a JSON lines file's bytes: each line is one object, and becomes one line of CSV with the source's
 * columns in their order, so that everything behind reads one format. Values are copied as bytes, never made into
 * JavaScript values, so no digit of a number is lost.
 *
 * A line ends at LF; a CR before it is blank. Blank lines are no rows. An absent key and `null` are the same. A text stands as it is, a number with the
 * digits it was written with, `true` and `false` so; what is nested stays JSON. A key that names a column comes at most
 * once. Keys that name none are counted, refused, or kept together, as the source says. A line that is no JSON is NOT_JSON
 * whatever else is wrong with it; of other faults the first is told.
 *
 * The file is long because its parts share the line at hand.
 */
import { isUtf8 } from 'node:buffer'
import type { Column } from '../../plan/columns.ts'
import type { UnknownColumns } from '../../plan/plan.ts'
import {
  absent,
  BadJson,
  escapedText,
  exponent,
  fraction,
  isBlank,
  type JsonProblem,
  JsonScanner,
  type JsonText,
  nested,
  plainText,
  word,
} from '../json-scanner.ts'
import { type Cut, type CutterOptions, nothingCut, type RowCutter, RowWriter, writeNumber } from './cutter.ts'
import { rawKept } from './read-spool.ts'

export interface JsonCutterOptions extends CutterOptions {
  /** The columns read from keys, in the order of the spool. */
  columns: readonly Column[]
  unknown: UnknownColumns
  /** Of the columns, those that are looked at and left out of the spool. */
  unwritten?: readonly string[]
  /** Where in the file the first byte fed lies. */
  firstByte: number
}

/** Keys that name no column: as many are told apart, in counting them. */
const maxUnknownNames = 100

const LF = 10
const QUOTE = 34
const PLUS = 43
const COMMA = 44
const COLON = 58
const OPEN_OBJECT = 123
const CLOSE_OBJECT = 125

const prefixRoom = 64
/** Room is made for records of so many bytes. */
const recordsAtOnce = 1024 * 1024
/** Copying so few bytes one by one is faster than calling for it. */
const fewBytes = 40

export class JsonCutter implements RowCutter {
  readonly #options: JsonCutterOptions
  readonly #keys: Buffer[]
  readonly #byKey: Map<string, number>
  /** Where the keys that name no column are kept, if they are. */
  readonly #keepAt: number
  readonly #unwritten: Uint8Array
  /** The columns of which keys came next, after each column and at the beginning: the last one and the one before it. */
  readonly #next: Int32Array
  /** The column of the key before; -1 at the beginning of a line, and after a key that names none. */
  #before = -1
  readonly #kinds: Uint8Array
  readonly #from: Int32Array
  readonly #to: Int32Array
  readonly #unknown = new Map<string, number>()
  /** Those of the line at hand. */
  readonly #unknownHere: string[] = []
  /** Keys and values to keep together, as offsets. */
  #kept: number[] = []
  readonly #json = new JsonScanner()

  #cut = nothingCut()
  #line: number
  #file: number
  #offset: number
  readonly #maxRows: number
  /** Good and malformed ones: a whole number that stays small, which costs no memory to count. */
  #taken = 0
  #waiting = Buffer.alloc(0)
  #waitingLength = 0
  /** A line too long to be held: only its first bytes are kept. */
  #skipped: { head: Buffer; bytes: number } | undefined

  readonly #writer: RowWriter
  #pushed = 0

  /** The first fault of the line at hand, unless it is no JSON: that is thrown. */
  #fault: BadJson | undefined

  constructor(options: JsonCutterOptions) {
    this.#options = options
    this.#writer = new RowWriter(options)
    const { columns, unknown } = options
    const keep = unknown.is === 'keep' ? unknown.as : undefined
    this.#keepAt = columns.findIndex(({ name }) => name === keep)
    this.#unwritten = Uint8Array.from(columns, ({ name }) => (options.unwritten?.includes(name) ? 1 : 0))
    this.#keys = columns.map(({ name }) => Buffer.from(name))
    this.#next = new Int32Array(2 * columns.length + 2).fill(-1)
    // one character a byte, as keys are looked up
    this.#byKey = new Map(this.#keys.map((key, i) => [key.toString('latin1'), i]))
    if (keep !== undefined) this.#byKey.delete(Buffer.from(keep).toString('latin1'))
    this.#kinds = new Uint8Array(columns.length)
    this.#from = new Int32Array(columns.length)
    this.#to = new Int32Array(columns.length)
    this.#line = options.firstLine
    this.#file = options.file
    this.#offset = options.firstByte
    this.#maxRows = options.maxRows ?? Number.POSITIVE_INFINITY
  }

  get line(): number {
    return this.#line
  }

  /** How many rows had each key that names no column. */
  get unknown(): ReadonlyMap<string, number> {
    return this.#unknown
  }

  push(chunk: Buffer, last: boolean): Cut {
    this.#cut = nothingCut()
    let bytes = chunk
    if (this.#waitingLength > 0) {
      this.#keep(chunk)
      bytes = this.#waiting.subarray(0, this.#waitingLength)
      this.#waitingLength = 0
    }
    this.#pushed = bytes.length
    this.#writer.longestRow = 0
    let at = this.#skipped === undefined ? 0 : this.#skip(bytes, last)
    // a line end parts no character, so whole lines can be checked at once
    const whole = last ? bytes.length : bytes.lastIndexOf(LF) + 1
    const suspect = whole > at && !isUtf8(bytes.subarray(at, whole))
    while (at < bytes.length && this.#taken < this.#maxRows) {
      let end = bytes.indexOf(LF, at)
      if (end < 0) {
        if (!last) break
        end = bytes.length
      }
      this.#takeLine(bytes, at, end, suspect)
      const next = Math.min(end + 1, bytes.length)
      this.#settle(next - at)
      at = next
    }
    if (this.#taken < this.#maxRows && at < bytes.length) this.#wait(bytes.subarray(at))
    this.#writer.flush()
    this.#cut.longestRow = this.#writer.longestRow
    this.#cut.full = this.#taken >= this.#maxRows
    return this.#cut
  }

  /**
   * Cuts one record that stands alone, such as a message of a topic: no line ends it. Answers whether it is a row. `flush`
   * hands over what was cut.
   */
  record(bytes: Buffer, from: number, end: number, file: number, line: number): boolean {
    this.#file = file
    this.#writer.file = file
    this.#line = line
    this.#pushed = recordsAtOnce
    this.#json.watchAscii()
    const { rows, malformed } = this.#cut
    this.#takeLine(bytes, from, end, false)
    if (this.#cut.rows > rows) return true
    if (this.#cut.malformed === malformed) this.#malformed('NOT_JSON', bytes.subarray(from, end), end - from)
    return false
  }

  /** A record that is malformed for another reason. */
  refuse(code: 'NO_VALUE' | 'ROW_TOO_LONG', raw: Buffer, file: number, line: number): void {
    this.#writer.file = file
    this.#line = line
    this.#malformed(code, raw, raw.length)
  }

  flush(): void {
    this.#writer.flush()
  }

  get longestRow(): number {
    return this.#writer.longestRow
  }

  // ---- lines -------------------------------------------------------------------------------------------------------

  #takeLine(bytes: Buffer, from: number, end: number, suspect: boolean): void {
    let at = from
    while (at < end && isBlank[bytes[at] as number] === 1) at++
    if (at === end) return
    if (end - from > this.#options.maxRowBytes) {
      this.#malformed('ROW_TOO_LONG', bytes.subarray(from, Math.min(end, from + rawKept + 1)), end - from)
      return
    }
    if (suspect && !isUtf8(bytes.subarray(from, end))) {
      this.#malformed('INVALID_UTF8', bytes.subarray(from, end), end - from)
      return
    }
    this.#json.isAscii = true
    try {
      this.#scanObject(bytes, at, end)
      if (this.#fault !== undefined) throw this.#fault
      if (!this.#json.isAscii && !isUtf8(bytes.subarray(from, end))) throw new BadJson('INVALID_UTF8', from)
      this.#writeRow(bytes, from, end)
      this.#countUnknown()
      this.#cut.rows++
      this.#taken++
    } catch (problem) {
      if (!(problem instanceof BadJson)) throw problem
      // whatever else is wrong with it: what follows a fault was not looked at
      const isText = !this.#json.watchesAscii || isUtf8(bytes.subarray(from, end))
      const { code, column } = isText ? problem : new BadJson('INVALID_UTF8', from)
      const detail = code === 'NOT_JSON' ? `at byte ${Math.min(problem.at, end) - from + 1}` : ''
      this.#malformed(code, bytes.subarray(from, end), end - from, column, detail)
    }
  }

  #settle(bytes: number): void {
    this.#cut.consumed += bytes
    this.#offset += bytes
    this.#line++
  }

  // Keeps the line that has not ended, unless it is too long already.
  #wait(rest: Buffer): void {
    if (rest.length > this.#options.maxRowBytes) {
      this.#skipped = { head: Buffer.from(rest.subarray(0, rawKept + 1)), bytes: rest.length }
      return
    }
    if (rest.buffer === this.#waiting.buffer) {
      rest.copy(this.#waiting)
      this.#waitingLength = rest.length
    } else this.#keep(rest)
  }

  #keep(bytes: Buffer): void {
    const length = this.#waitingLength + bytes.length
    if (length > this.#waiting.length) {
      const larger = Buffer.allocUnsafeSlow(2 * length)
      this.#waiting.copy(larger, 0, 0, this.#waitingLength)
      this.#waiting = larger
    }
    bytes.copy(this.#waiting, this.#waitingLength)
    this.#waitingLength = length
  }

  // Passes over the rest of a line that is too long; answers where the next one begins.
  #skip(bytes: Buffer, last: boolean): number {
    const line = this.#skipped
    if (line === undefined) return 0
    const end = bytes.indexOf(LF)
    line.bytes += end < 0 ? bytes.length : end
    if (end < 0 && !last) return bytes.length
    this.#malformed('ROW_TOO_LONG', line.head, line.bytes)
    this.#settle(line.bytes + (end < 0 ? 0 : 1))
    this.#skipped = undefined
    return end < 0 ? bytes.length : end + 1
  }

  // ---- one object --------------------------------------------------------------------------------------------------

  #scanObject(bytes: Buffer, from: number, end: number): void {
    this.#kinds.fill(absent)
    // cutting a list short is slow even when it is empty
    if (this.#kept.length > 0) this.#kept.length = 0
    if (this.#unknownHere.length > 0) this.#unknownHere.length = 0
    this.#fault = undefined
    this.#before = -1
    if (bytes[from] !== OPEN_OBJECT) {
      // a line that is JSON, but no object, has a reason of its own
      this.#json.value(bytes, from, end)
      this.#nothingAfter(bytes, end)
      throw new BadJson('NOT_AN_OBJECT', from)
    }
    let at = from + 1
    while (at < end && isBlank[bytes[at] as number] === 1) at++
    if (at >= end) throw new BadJson('NOT_JSON', end)
    if (bytes[at] === CLOSE_OBJECT) this.#json.at = at + 1
    else {
      for (;;) {
        at = this.#scanMember(bytes, at, end)
        if (at >= end) throw new BadJson('NOT_JSON', end)
        if (bytes[at] === CLOSE_OBJECT) break
        if (bytes[at] !== COMMA) throw new BadJson('NOT_JSON', at)
        at++
        while (at < end && isBlank[bytes[at] as number] === 1) at++
      }
      this.#json.at = at + 1
    }
    this.#nothingAfter(bytes, end)
  }

  #nothingAfter(bytes: Buffer, end: number): void {
    let at = this.#json.at
    while (at < end && isBlank[bytes[at] as number] === 1) at++
    if (at < end) throw new BadJson('NOT_JSON', at)
  }

  // A key, its value and the blanks around them; answers where what follows stands.
  #scanMember(bytes: Buffer, from: number, end: number): number {
    const json = this.#json
    if (bytes[from] !== QUOTE || from >= end) throw new BadJson('NOT_JSON', from)
    json.badText = undefined
    json.string(bytes, from, end)
    const badKey = json.badText
    const keyEnd = json.at
    const column = this.#columnOf(bytes, from + 1, keyEnd - 1)
    let at = keyEnd
    while (at < end && isBlank[bytes[at] as number] === 1) at++
    if (bytes[at] !== COLON || at >= end) throw new BadJson('NOT_JSON', at)
    at++
    while (at < end && isBlank[bytes[at] as number] === 1) at++
    json.value(bytes, at, end)
    if (column >= 0) this.#note(column, at)
    else this.#noteUnknown(bytes, from, keyEnd, at, badKey)
    let next = json.at
    while (next < end && isBlank[bytes[next] as number] === 1) next++
    return next
  }

  #note(column: number, from: number): void {
    const name = this.#options.columns[column]?.name ?? ''
    const isText = this.#options.columns[column]?.type.is === 'text'
    if (this.#kinds[column] !== absent) this.#fault ??= new BadJson('DUPLICATE_KEY', from, name)
    else if (this.#json.badText !== undefined) this.#fault ??= new BadJson(this.#json.badText, from, name)
    else if (this.#json.kind === nested && isText) this.#fault ??= new BadJson('WRONG_TYPE', from, name)
    // a null counts as given, so that a second one is noticed, and is written as nothing
    this.#kinds[column] = this.#json.kind
    this.#from[column] = from
    this.#to[column] = this.#json.at
  }

  #noteUnknown(bytes: Buffer, keyFrom: number, keyEnd: number, valueFrom: number, badKey: JsonText | undefined): void {
    const { unknown } = this.#options
    const name = decoded(bytes, keyFrom, keyEnd).slice(0, 200)
    if (unknown.is === 'refuse') this.#fault ??= new BadJson('UNKNOWN_COLUMN', keyFrom, name)
    this.#unknownHere.push(name)
    if (unknown.is !== 'keep') return
    const badText = badKey ?? this.#json.badText
    if (badText !== undefined) this.#fault ??= new BadJson(badText, valueFrom, name)
    this.#kept.push(keyFrom, keyEnd, valueFrom, this.#json.at)
  }

  #countUnknown(): void {
    for (const name of this.#unknownHere) {
      const seen = this.#unknown.get(name)
      if (seen !== undefined || this.#unknown.size < maxUnknownNames) this.#unknown.set(name, (seen ?? 0) + 1)
    }
  }

  // Keys mostly come in one order, of which some are left out: what came after a key comes after it again.
  #columnOf(bytes: Buffer, from: number, to: number): number {
    const at = 2 * (this.#before + 1)
    let column = this.#next[at] as number
    if (column < 0 || !this.#isKey(column, bytes, from, to)) {
      const other = this.#next[at + 1] as number
      const known = other >= 0 && this.#isKey(other, bytes, from, to)
      this.#next[at + 1] = column
      column = known ? other : this.#lookUp(bytes, from, to)
      this.#next[at] = column
    }
    this.#before = column
    return column
  }

  #isKey(column: number, bytes: Buffer, from: number, to: number): boolean {
    const name = this.#keys[column] as Buffer
    if (name.length !== to - from) return false
    let i = 0
    while (i < name.length && name[i] === bytes[from + i]) i++
    return i === name.length
  }

  #lookUp(bytes: Buffer, from: number, to: number): number {
    const text = bytes.toString('latin1', from, to)
    const plain = text.includes('\\') ? Buffer.from(decoded(bytes, from - 1, to + 1)).toString('latin1') : text
    return this.#byKey.get(plain) ?? -1
  }

  // ---- the row, as CSV ---------------------------------------------------------------------------------------------

  #writeRow(bytes: Buffer, from: number, end: number): void {
    const { columns } = this.#options
    // quotes may double every byte of what is nested; each field has a delimiter and two quotes
    // an exponent written out takes up to 170 bytes
    const room = prefixRoom + 200 * columns.length + 2 * (end - from) + (this.#kept.length > 0 ? end - from : 0)
    const writer = this.#writer
    writer.reserve(room, this.#pushed)
    const { out } = writer
    let to = writeNumber(out, writer.at, this.#file)
    out[to++] = COMMA
    to = writeNumber(out, to, this.#line)
    out[to++] = COMMA
    to = writeNumber(out, to, this.#offset)
    out[to++] = PLUS
    to = writeNumber(out, to, end - from)
    for (let column = 0; column < columns.length; column++) {
      if (this.#unwritten[column] === 1) continue
      out[to++] = COMMA
      if (column === this.#keepAt) to = this.#writeKept(bytes, out, to)
      else if (this.#kinds[column] !== absent) to = this.#writeValue(bytes, column, out, to)
    }
    out[to++] = LF
    writer.wrote(to)
  }

  #writeValue(bytes: Buffer, column: number, out: Buffer, to: number): number {
    const from = this.#from[column] as number
    const end = this.#to[column] as number
    switch (this.#kinds[column]) {
      case plainText:
        // its own quotes are those of CSV; a JSON column keeps them as a part of the value
        if (this.#options.columns[column]?.type.is !== 'json') return copyBytes(bytes, from, end, out, to)
        return writeQuoted(bytes, from, end, out, to)
      case escapedText:
        if (this.#options.columns[column]?.type.is === 'json') return writeQuoted(bytes, from, end, out, to)
        return writeQuotedText(Buffer.from(decoded(bytes, from, end)), out, to)
      case nested:
        return writeQuoted(bytes, from, end, out, to)
      case fraction:
      case exponent: {
        const type = this.#options.columns[column]?.type.is
        const asWritten = type === 'decimal' ? this.#kinds[column] === fraction : type !== 'integer'
        if (asWritten) return copyBytes(bytes, from, end, out, to)
        const text = bytes.toString('latin1', from, end)
        return to + out.write(withoutExponent(text, type === 'integer'), to, 'latin1')
      }
      case word:
        if (bytes[from] === 110) return to
        return copyBytes(bytes, from, end, out, to)
      default:
        return copyBytes(bytes, from, end, out, to)
    }
  }

  // The keys that name no column, as one object; nothing when there are none.
  #writeKept(bytes: Buffer, out: Buffer, from: number): number {
    const kept = this.#kept
    if (kept.length === 0) return from
    const members: string[] = []
    for (let i = 0; i < kept.length; i += 4) {
      members.push(
        `${bytes.toString('latin1', kept[i], kept[i + 1])}:${bytes.toString('latin1', kept[i + 2], kept[i + 3])}`,
      )
    }
    return writeQuotedText(Buffer.from(`{${members.join(',')}}`, 'latin1'), out, from)
  }

  #malformed(
    code: JsonProblem | 'ROW_TOO_LONG' | 'NO_VALUE',
    raw: Buffer,
    length: number,
    column = '',
    detail = '',
  ): void {
    const cr = raw.length === length && raw[length - 1] === 13 ? 1 : 0
    this.#writer.malformed({ line: this.#line, code, column, detail }, raw.subarray(0, raw.length - cr), length - cr)
    this.#cut.malformed++
    this.#taken++
  }
}

// The text of a JSON string that has been scanned, quotes included.
function decoded(bytes: Buffer, from: number, to: number): string {
  // as: a JSON string is a string
  return JSON.parse(bytes.toString('utf8', from, to)) as string
}

function copyBytes(bytes: Buffer, from: number, end: number, out: Buffer, to: number): number {
  const length = end - from
  if (length > fewBytes) {
    bytes.copy(out, to, from, end)
    return to + length
  }
  for (let i = 0; i < length; i++) out[to + i] = bytes[from + i] as number
  return to + length
}

function writeQuotedText(text: Buffer, out: Buffer, to: number): number {
  return writeQuoted(text, 0, text.length, out, to)
}

// Of bytes where they lie: a view of each value would be as much for the collector as the rest of a record.
function writeQuoted(bytes: Buffer, from: number, end: number, out: Buffer, at: number): number {
  let to = at
  out[to++] = QUOTE
  for (let i = from; i < end; i++) {
    const byte = bytes[i] as number
    if (byte === QUOTE) out[to++] = QUOTE
    out[to++] = byte
  }
  out[to++] = QUOTE
  return to
}

/**
 * The same number without an exponent, and, as an integer, without a fraction of zeros: `1.5e3` is `1500`. One whose
 * digits would not fit any column stays as it is, and is refused by validation.
 */
export function withoutExponent(text: string, integer: boolean): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? []
  const move = Number(exponent)
  if (Math.abs(move) > 60 || text.length > 100) return text
  const digits = whole + fraction
  const point = whole.length + move
  const padded = point <= 0 ? '0'.repeat(1 - point) + digits : digits.padEnd(point, '0')
  const at = Math.max(1, point)
  const left = padded.slice(0, at).replace(/^0+(?=\d)/, '')
  // an exponent leaves zeros that nobody wrote
  const right = move === 0 && !integer ? padded.slice(at) : padded.slice(at).replace(/0+$/, '')
  return `${sign}${left}${right === '' ? '' : `.${right}`}`
}
