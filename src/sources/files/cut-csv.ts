/**
 * Cuts the rows out of a CSV file's bytes, so that DuckDB is only shown rows it reads without an error, and every
 * other row is known by its physical line and its bytes. Good rows are copied, never made into strings.
 *
 * A row ends at LF; a CR before it, outside quotes, belongs to the line end (so does a CR that ends the input). A quote
 * opens a field only as its first byte; elsewhere in an unquoted field it is data, as is a lone CR. Empty lines are no
 * rows, unless rows have one field.
 *
 * A row is malformed at the first byte that breaks a rule. Then only its first line is given up, and cutting goes on at
 * the next line, so that an unclosed quote never takes its neighbours with it: if the rule broke on a later line, the
 * reason is UNCLOSED_QUOTE. Looking ahead ends at a quote that stands wrong, at one delimiter too many, or after
 * `maxRowBytes`, and what was seen is remembered (`Ahead`), so that the time grows with the bytes whatever they are.
 * A row of good form whose bytes are no text (a NUL, invalid UTF-8) is malformed whole.
 *
 * The file is long because it is one state machine: its parts share the row at hand.
 */
import { isUtf8 } from 'node:buffer'
import { MillraceError } from '../../errors.ts'
import { type Cut, type CutterOptions, nothingCut, type RowCutter, RowWriter, writeNumber } from './cutter.ts'
import { rawKept } from './read-spool.ts'

/** How the fields of a file are parted: each is one ASCII character. */
export interface CsvDialect {
  delimiter: string
  quote: string
}

/** Why a row could not be cut: the codes its dead letter can have. */
export const malformedCodes = [
  'TOO_FEW_FIELDS',
  'TOO_MANY_FIELDS',
  'UNCLOSED_QUOTE',
  'STRAY_QUOTE',
  'INVALID_UTF8',
  'NUL_BYTE',
  'ROW_TOO_LONG',
] as const

export type MalformedCode = (typeof malformedCodes)[number]

export interface CsvCutterOptions extends CutterOptions {
  dialect: CsvDialect
  /** How many fields a row has. */
  fields: number
}

const LF = 10
const CR = 13
const ZERO = 48
// file, line, three delimiters and a line end
const prefixRoom = 40

type Verdict = 'row' | 'empty line' | 'look again' | 'incomplete' | MalformedCode

/**
 * Bytes looked at for a row of several lines that was given up. All line ends in them are within quotes, so a later row
 * that reaches one of them within quotes takes the same way, and need not go it again.
 */
interface Ahead {
  from: number
  to: number
  inQuotes: boolean
  fieldStart: number
  /** Where the delimiters stand; those before `next` have been passed. */
  delimiters: number[]
  next: number
}

export class CsvCutter implements RowCutter {
  readonly #options: CsvCutterOptions
  readonly #delimiter: number
  readonly #quote: number
  // 1 for the bytes an unquoted field can end at or must be looked at for
  readonly #special = new Uint8Array(256)
  #cut = nothingCut()
  #line: number
  #left: number

  // bytes fed earlier whose row has not ended
  #kept = Buffer.alloc(0)
  #keptLength = 0
  // a malformed line that goes on in the next chunk: only its first bytes are kept
  #skipped: SkippedLine | undefined
  // up to #checked it is known whether the bytes are text; a row that begins before #suspect is checked by itself
  #checked = 0
  #suspect = 0

  // the row at hand, as far as it has been looked at; offsets count from the first byte that is kept
  #start = 0
  #at = 0
  #fieldStart = 0
  #delimiters = 0
  #inQuotes = false
  #firstLineEnd = -1
  #innerLines = 0
  #quotedFields: number[] = []
  // DuckDB reads it as it stands: no lone CR, no quote within an unquoted field
  #plain = true
  #ahead: Ahead = nothingAhead()
  // a part of the row was passed over, since it is known from #ahead
  #jumped = false

  readonly #writer: RowWriter
  #pushed = 0
  #rewritten = Buffer.alloc(0)

  constructor(options: CsvCutterOptions) {
    checkDialect(options.dialect)
    this.#options = options
    this.#writer = new RowWriter(options)
    this.#delimiter = options.dialect.delimiter.charCodeAt(0)
    this.#quote = options.dialect.quote.charCodeAt(0)
    for (const byte of [this.#delimiter, this.#quote, LF, CR]) this.#special[byte] = 1
    this.#line = options.firstLine
    this.#left = options.maxRows ?? Number.POSITIVE_INFINITY
  }

  get line(): number {
    return this.#line
  }

  push(chunk: Buffer, last: boolean): Cut {
    this.#cut = nothingCut()
    this.#cut.full = this.#left <= 0
    if (this.#cut.full) return this.#cut
    let bytes = this.#skipped === undefined ? chunk : this.#skip(this.#skipped, chunk, last)
    if (this.#keptLength > 0) bytes = this.#join(bytes)
    this.#checkText(bytes, last)
    this.#pushed = bytes.length
    this.#writer.longestRow = 0
    while (this.#start < bytes.length && this.#left > 0) {
      const verdict = this.#scan(bytes, last)
      if (verdict === 'incomplete') break
      if (verdict === 'row') this.#takeRow(bytes)
      else if (verdict === 'empty line') this.#next(bytes, this.#at)
      else if (verdict === 'look again') {
        this.#ahead = nothingAhead()
        this.#begin(this.#start)
      } else this.#takeMalformed(bytes, verdict, last)
    }
    this.#keepRest(bytes)
    this.#writer.flush()
    this.#cut.longestRow = this.#writer.longestRow
    this.#cut.full = this.#left <= 0
    return this.#cut
  }

  // Looks at the row at hand until it ends (#at is its LF, or the end of input), breaks a rule, or the bytes run out.
  #scan(bytes: Buffer, last: boolean): Verdict {
    const special = this.#special
    const delimiter = this.#delimiter
    const fields = this.#options.fields
    const end = bytes.length
    // one byte more than a row may have, to see whether it ends there
    const limit = this.#start + this.#options.maxRowBytes + 1
    const stop = Math.min(end, limit)
    let at = this.#at
    let verdict: Verdict = 'incomplete'

    for (;;) {
      if (this.#inQuotes) {
        at = this.#scanQuoted(bytes, at, stop)
        if (this.#delimiters >= fields) {
          verdict = this.#broken('TOO_MANY_FIELDS')
          break
        }
        if (!this.#inQuotes) continue
      } else {
        // as number: below stop there is a byte
        while (at < stop && special[bytes[at] as number] === 0) at++
      }
      if (at >= limit) {
        verdict = this.#broken('ROW_TOO_LONG')
        break
      }
      if (at >= end) {
        if (last) verdict = this.#inQuotes ? this.#broken('UNCLOSED_QUOTE') : this.#rowEnds(bytes, end)
        break
      }
      const byte = bytes[at]
      if (this.#inQuotes) {
        const quote = this.#judgeQuote(bytes, at, last)
        if (quote === 'incomplete') break
        if (quote === 'stray') {
          verdict = this.#broken('STRAY_QUOTE')
          break
        }
        this.#inQuotes = quote === 'doubled'
        at += quote === 'doubled' ? 2 : 1
      } else if (byte === delimiter) {
        if (this.#delimiters + 1 === fields) {
          verdict = this.#broken('TOO_MANY_FIELDS')
          break
        }
        this.#delimiters++
        if (this.#firstLineEnd >= 0) this.#ahead.delimiters.push(at)
        this.#fieldStart = ++at
      } else if (byte === LF) {
        verdict = this.#rowEnds(bytes, at)
        break
      } else if (byte === CR) {
        if (at + 1 === end && !last) break
        if (at + 1 < end && bytes[at + 1] !== LF) this.#plain = false
        at++
      } else {
        if (at === this.#fieldStart) {
          this.#inQuotes = true
          this.#quotedFields.push(this.#delimiters)
        } else this.#plain = false
        at++
      }
    }
    this.#at = at
    if (this.#firstLineEnd >= 0 && verdict === 'UNCLOSED_QUOTE') this.#rememberAhead()
    return verdict
  }

  // The next quote, counting the lines on the way; or where #ahead ends, if the way there is known.
  #scanQuoted(bytes: Buffer, from: number, stop: number): number {
    const quote = this.#quote
    let at = from
    while (at < stop) {
      const byte = bytes[at]
      if (byte === quote) break
      if (byte === LF) {
        this.#innerLines++
        if (this.#firstLineEnd < 0) {
          this.#firstLineEnd = at
          if (this.#jump(at)) at = this.#ahead.to - 1
          if (!this.#inQuotes) return at + 1
        }
      }
      at++
    }
    return at
  }

  // At the first line end of a row, in quotes.
  #jump(lineEnd: number): boolean {
    const ahead = this.#ahead
    if (lineEnd < ahead.from || lineEnd >= ahead.to) {
      this.#ahead = nothingAhead()
      return false
    }
    while ((ahead.delimiters[ahead.next] ?? lineEnd) < lineEnd) ahead.next++
    if (ahead.next > 1000 && 2 * ahead.next > ahead.delimiters.length) {
      ahead.delimiters = ahead.delimiters.slice(ahead.next)
      ahead.next = 0
    }
    this.#delimiters += ahead.delimiters.length - ahead.next
    this.#inQuotes = ahead.inQuotes
    this.#fieldStart = ahead.fieldStart
    this.#jumped = true
    return true
  }

  #rememberAhead(): void {
    this.#ahead.from = this.#firstLineEnd
    this.#ahead.to = this.#at
    this.#ahead.inQuotes = this.#inQuotes
    this.#ahead.fieldStart = this.#fieldStart
  }

  // What a quote within a quoted field is, by what follows it.
  #judgeQuote(bytes: Buffer, at: number, last: boolean): 'doubled' | 'closing' | 'stray' | 'incomplete' {
    let next = at + 1
    if (bytes[next] === this.#quote) return 'doubled'
    if (bytes[next] === this.#delimiter) return 'closing'
    if (bytes[next] === CR) next++
    if (next === bytes.length) return last ? 'closing' : 'incomplete'
    return bytes[next] === LF ? 'closing' : 'stray'
  }

  #rowEnds(bytes: Buffer, end: number): Verdict {
    const { fields } = this.#options
    if (fields > 1 && this.#withoutCr(bytes, end) === this.#start) return 'empty line'
    if (this.#delimiters + 1 < fields) return this.#broken('TOO_FEW_FIELDS')
    if (this.#jumped) return 'look again'
    if (this.#start < this.#suspect) {
      const row = bytes.subarray(this.#start, end)
      if (row.includes(0)) return 'NUL_BYTE'
      if (!isUtf8(row)) return 'INVALID_UTF8'
    }
    return 'row'
  }

  // A row that breaks a rule on a later line than its first has a quote that should have been closed.
  #broken(code: MalformedCode): MalformedCode {
    return this.#firstLineEnd < 0 ? code : 'UNCLOSED_QUOTE'
  }

  #withoutCr(bytes: Buffer, end: number): number {
    return end > this.#start && bytes[end - 1] === CR ? end - 1 : end
  }

  #takeRow(bytes: Buffer): void {
    const end = this.#withoutCr(bytes, this.#at)
    if (this.#plain) this.#writeRow(bytes, this.#start, end)
    else {
      const row = this.#rewrite(bytes.subarray(this.#start, end))
      this.#writeRow(row, 0, row.length)
    }
    this.#cut.rows++
    this.#left--
    this.#next(bytes, this.#at)
  }

  #writeRow(row: Buffer, from: number, to: number): void {
    const writer = this.#writer
    // in the longest prefix there is a digit for each field
    writer.reserve(prefixRoom + this.#options.fields + to - from, this.#pushed)
    const { out } = writer
    let at = this.#writePrefix(out, writer.at)
    row.copy(out, at, from, to)
    at += to - from
    out[at++] = LF
    writer.wrote(at)
  }

  // file, line, and a digit for each field up to the last quoted one: 1 for quoted. With it `rawSql` restores the row.
  #writePrefix(out: Buffer, from: number): number {
    let at = writeNumber(out, from, this.#options.file)
    out[at++] = this.#delimiter
    at = writeNumber(out, at, this.#line)
    out[at++] = this.#delimiter
    const first = at
    for (const field of this.#quotedFields) {
      while (at < first + field) out[at++] = ZERO
      out[at++] = ZERO + 1
    }
    out[at++] = this.#delimiter
    return at
  }

  // The row with each field in quotes that holds a lone CR or a quote as data: DuckDB fails on the one, and takes the
  // other for an opening quote when only blanks stand before it.
  #rewrite(row: Buffer): Buffer {
    const most = 2 * (row.length + this.#options.fields)
    if (this.#rewritten.length < most) this.#rewritten = Buffer.allocUnsafeSlow(2 * most)
    const out = this.#rewritten
    const quote = this.#quote
    const quoted = new Set(this.#quotedFields)
    let to = 0
    let at = 0
    for (let field = 0; ; field++) {
      const from = at
      if (quoted.has(field)) {
        at++
        while (row[at] !== quote || row[at + 1] === quote) at += row[at] === quote ? 2 : 1
        to += row.copy(out, to, from, ++at)
      } else {
        const delimiter = row.indexOf(this.#delimiter, at)
        at = delimiter < 0 ? row.length : delimiter
        to = this.#writeUnquoted(row.subarray(from, at), out, to)
      }
      if (at === row.length) return out.subarray(0, to)
      out[to++] = this.#delimiter
      at++
    }
  }

  #writeUnquoted(field: Buffer, out: Buffer, from: number): number {
    if (!field.includes(this.#quote) && !field.includes(CR)) return from + field.copy(out, from)
    let to = from
    out[to++] = this.#quote
    for (const byte of field) {
      if (byte === this.#quote) out[to++] = byte
      out[to++] = byte
    }
    out[to++] = this.#quote
    return to
  }

  #takeMalformed(bytes: Buffer, code: MalformedCode, last: boolean): void {
    const whole = code === 'NUL_BYTE' || code === 'INVALID_UTF8'
    let end = this.#at
    if (!whole) {
      this.#innerLines = 0
      end = this.#firstLineEnd < 0 ? bytes.indexOf(LF, this.#at) : this.#firstLineEnd
      if (end < 0) end = bytes.length
      if (end === bytes.length && !last) {
        this.#skipped = { code, head: Buffer.alloc(0), bytes: 0, endsInCr: false }
        extend(this.#skipped, bytes.subarray(this.#start))
        this.#begin(bytes.length)
        return
      }
    }
    const raw = bytes.subarray(this.#start, this.#withoutCr(bytes, end))
    this.#writeMalformed(code, raw, raw.length)
    this.#next(bytes, end)
  }

  // Passes over the rest of a malformed line; gives back what follows it.
  #skip(line: SkippedLine, chunk: Buffer, last: boolean): Buffer {
    const lineEnd = chunk.indexOf(LF)
    extend(line, lineEnd < 0 ? chunk : chunk.subarray(0, lineEnd))
    if (lineEnd < 0 && !last) return chunk.subarray(chunk.length)
    const length = line.endsInCr ? line.bytes - 1 : line.bytes
    this.#writeMalformed(line.code, line.head.subarray(0, length), length)
    this.#cut.consumed += line.bytes + (lineEnd < 0 ? 0 : 1)
    this.#line++
    this.#skipped = undefined
    return lineEnd < 0 ? chunk.subarray(chunk.length) : chunk.subarray(lineEnd + 1)
  }

  #writeMalformed(code: MalformedCode, raw: Buffer, length: number): void {
    this.#writer.malformed({ line: this.#line, code }, raw, length)
    this.#cut.malformed++
    this.#left--
  }

  // The row that ended at `end` (its LF, or the end of input) is settled.
  #next(bytes: Buffer, end: number): void {
    const start = Math.min(end + 1, bytes.length)
    this.#cut.consumed += start - this.#start
    this.#line += this.#innerLines + 1
    this.#begin(start)
  }

  #begin(start: number): void {
    this.#start = start
    this.#at = start
    this.#fieldStart = start
    this.#delimiters = 0
    this.#inQuotes = false
    this.#firstLineEnd = -1
    this.#innerLines = 0
    this.#plain = true
    this.#jumped = false
    if (this.#quotedFields.length > 0) this.#quotedFields = []
  }

  #join(chunk: Buffer): Buffer {
    this.#keep(chunk)
    return this.#kept.subarray(0, this.#keptLength)
  }

  #keep(bytes: Buffer): void {
    const length = this.#keptLength + bytes.length
    if (length > this.#kept.length) {
      const larger = Buffer.allocUnsafeSlow(2 * length)
      this.#kept.copy(larger, 0, 0, this.#keptLength)
      this.#kept = larger
    }
    bytes.copy(this.#kept, this.#keptLength)
    this.#keptLength = length
  }

  // Keeps the row that has not ended, so that it begins at 0.
  #keepRest(bytes: Buffer): void {
    const start = this.#start
    if (start > 0 || this.#keptLength === 0) {
      this.#keptLength = 0
      this.#keep(bytes.subarray(start))
    }
    this.#start = 0
    this.#at -= start
    this.#fieldStart -= start
    if (this.#firstLineEnd >= 0) this.#firstLineEnd -= start
    this.#checked = Math.max(0, this.#checked - start)
    this.#suspect = Math.max(0, this.#suspect - start)
    const ahead = this.#ahead
    ahead.from -= start
    ahead.to -= start
    ahead.fieldStart -= start
    for (const [i, at] of ahead.delimiters.entries()) ahead.delimiters[i] = at - start
  }

  // A line end parts no character, so whole lines can be checked at once.
  #checkText(bytes: Buffer, last: boolean): void {
    const to = last ? bytes.length : bytes.lastIndexOf(LF) + 1
    if (to <= this.#checked) return
    const lines = bytes.subarray(this.#checked, to)
    if (lines.includes(0) || !isUtf8(lines)) this.#suspect = to
    this.#checked = to
  }
}

/** Refuses a dialect that rows cannot be cut by. */
export function checkDialect({ delimiter, quote }: CsvDialect): void {
  // digits stand in the spool's own fields
  const usable = /^[^\0\n\r0-9\u0080-\uffff]$/
  if (usable.test(delimiter) && usable.test(quote) && delimiter !== quote) return
  throw new MillraceError('INVALID_SETTING', {
    message: `the delimiter ${JSON.stringify(delimiter)} and the quote ${JSON.stringify(quote)} do not part fields`,
    hint: 'each is one ASCII character, no digit and no line end, and they differ',
  })
}

function nothingAhead(): Ahead {
  return { from: 0, to: 0, inQuotes: false, fieldStart: 0, delimiters: [], next: 0 }
}

interface SkippedLine {
  code: MalformedCode
  head: Buffer
  bytes: number
  endsInCr: boolean
}

function extend(line: SkippedLine, bytes: Buffer): void {
  if (bytes.length === 0) return
  line.bytes += bytes.length
  line.endsInCr = bytes[bytes.length - 1] === CR
  // one byte more than is kept tells whether a character is cut
  const missing = rawKept + 1 - line.head.length
  if (missing > 0) line.head = Buffer.concat([line.head, bytes.subarray(0, missing)])
}
