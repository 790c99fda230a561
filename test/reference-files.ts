/**
 * What a file of a source holds, read slowly and obviously: whole, over strings with one character a byte, with no
 * chunks, no spool and no DuckDB. The readers are judged by it.
 */
import { crc32, inflateRawSync, zstdDecompressSync } from 'node:zlib'
import type { FilesSource, SourceColumn, UnknownColumns } from '../src/plan/plan.ts'

/** Texts hold one character a byte. A field is null where the row has nothing for its column. */
export type Piece =
  | { is: 'row'; line: number; fields: Record<string, string | null>; raw: string }
  | { is: 'malformed'; line: number; code: string; column: string | null; raw: string }

export type Reading = { is: 'read'; pieces: Piece[] } | { is: 'quarantined'; codes: string[] }

export interface Dialect {
  delimiter: string
  quote: string
}

const longestRow = 32 * 1024 * 1024

/** What must come of a file of text, packed or not. */
export function readText(bytes: Buffer, source: FilesSource): Reading {
  const content = unpack(bytes)
  if (Array.isArray(content)) return quarantined(...content)
  const text = content.toString('latin1')
  // a mark, or two letters with their NULs
  const utf16 = /^(\xff\xfe|\xfe\xff|\0\0\xfe\xff|[^\0]\0[^\0]\0|\0[^\0]\0[^\0])/
  if (utf16.test(text)) return quarantined('UTF16')
  const body = text.replace(/^\xef\xbb\xbf/, '')
  switch (source.format.is) {
    case 'csv':
      return readCsv(body, source, source.format, source.format.header !== false)
    case 'json lines':
      return readJsonLines(body, source)
    case 'parquet':
      throw new Error('Parquet is no text')
  }
}

function quarantined(...codes: string[]): Reading {
  return { is: 'quarantined', codes }
}

function readColumns(source: FilesSource): SourceColumn[] {
  return source.columns.filter(({ origin }) => origin === undefined)
}

// ---- packing -------------------------------------------------------------------------------------------------------

const cutShort = ['CUT_SHORT']
const notPackedRight = ['NOT_PACKED_RIGHT']

// The content, or why there is none.
function unpack(bytes: Buffer): Buffer | string[] {
  const magic = bytes.toString('hex', 0, 4)
  if (magic.startsWith('1f8b')) return gunzip(bytes)
  if (magic !== '28b52ffd' && !/^5.2a4d18$/.test(magic)) return bytes
  try {
    return zstdDecompressSync(bytes, { rejectGarbageAfterEnd: true })
  } catch (error) {
    return endsEarly(error) ? cutShort : notPackedRight
  }
}

function endsEarly(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'Z_BUF_ERROR'
}

// Member after member; after the last there may be NULs, with which tapes and disks are padded.
function gunzip(bytes: Buffer): Buffer | string[] {
  const members: Buffer[] = []
  let rest = bytes
  while (rest.length > 0) {
    if (members.length > 0 && rest[0] === 0) {
      if (rest.some((byte) => byte !== 0)) return notPackedRight
      break
    }
    const start = gzipHeader(rest)
    if (typeof start !== 'number') return start
    try {
      // as: what `info` gives is declared nowhere
      const { buffer, engine } = inflateRawSync(rest.subarray(start), { info: true }) as unknown as {
        buffer: Buffer
        engine: { bytesWritten: number }
      }
      const end = start + engine.bytesWritten
      // what there is of the sum at the end may be wrong, too
      if (rest.length < end + 8) return [...cutShort, ...notPackedRight]
      const right = rest.readUInt32LE(end) === crc32(buffer) && rest.readUInt32LE(end + 4) === buffer.length
      if (!right) return notPackedRight
      members.push(buffer)
      rest = rest.subarray(end + 8)
    } catch (error) {
      return endsEarly(error) ? cutShort : notPackedRight
    }
  }
  return Buffer.concat(members)
}

// Where the packed data begins: after ten bytes, and a name, a comment and more if the fourth says so.
function gzipHeader(bytes: Buffer): number | string[] {
  const text = bytes.toString('latin1')
  // so few bytes may be the beginning of a member, or not
  if (text.length < 4) return [...cutShort, ...notPackedRight]
  if (!'\x1f\x8b\x08'.startsWith(text.slice(0, 3))) return notPackedRight
  const flags = text.charCodeAt(3)
  if (flags & 0xe0) return notPackedRight
  let at = 10
  if (flags & 4) at += 2 + text.charCodeAt(10) + 256 * text.charCodeAt(11)
  for (const flag of [8, 16]) {
    if (flags & flag) at = text.includes('\0', at) ? text.indexOf('\0', at) + 1 : text.length
  }
  if (flags & 2 && text.length >= at + 2) {
    if ((crc32(bytes.subarray(0, at)) & 0xffff) !== bytes.readUInt16LE(at)) return notPackedRight
    at += 2
  }
  return at < text.length ? at : cutShort
}

// ---- CSV -----------------------------------------------------------------------------------------------------------

function readCsv(text: string, source: FilesSource, dialect: Dialect, header: boolean): Reading {
  const columns = readColumns(source)
  if (!header) {
    const names = columns.map(({ name }) => name)
    return { is: 'read', pieces: namedPieces(csvPieces(text, { dialect, fields: names.length }, 1), names, source) }
  }
  const begin = /^(\r?\n)*/.exec(text)?.[0].length ?? 0
  const row = splitRow(text, begin, dialect, Number.POSITIVE_INFINITY)
  const end = Math.min(row.end + 1, text.length)
  // what was understood before the fault, and only that, must be text
  const understood = row.problem === undefined ? text.slice(begin, end) : text.slice(begin, row.fieldStart)
  if (understood.includes('\0') || !isText(understood)) return quarantined('NOT_TEXT')
  if (!text.includes('\n') && /\r./s.test(text)) return quarantined('CR_LINE_ENDS')
  if (row.problem !== undefined) return quarantined('BAD_HEADER')
  const names = row.fields.map(fromBytes)
  if (names.length === 1 && names[0] === '' && end === text.length) return quarantined('EMPTY_FILE')
  if (!fits(names, source)) return quarantined('HEADER_MISMATCH')
  const lines = text.slice(0, row.end).split('\n').length
  const pieces = csvPieces(text.slice(end), { dialect, fields: names.length }, lines + 1)
  return { is: 'read', pieces: namedPieces(pieces, names, source) }
}

/** Whether a file with these columns may be read at all. */
export function fits(names: string[], source: FilesSource): boolean {
  const { unknown = { is: 'refuse' } } = source
  const own = readColumns(source).filter(({ name }) => !(unknown.is === 'keep' && unknown.as === name))
  const lacks = own.some(({ name, nullable }) => !nullable && !names.includes(name))
  const repeats = new Set(names).size < names.length
  const hasMore = names.some((name) => !own.some((column) => column.name === name))
  return !lacks && !repeats && !(hasMore && unknown.is === 'refuse')
}

// An empty field is a text only where a text must be; everywhere else it is nothing.
function namedPieces(pieces: CsvPiece[], names: string[], source: FilesSource): Piece[] {
  const columns = readColumns(source)
  const keep = source.unknown?.is === 'keep' ? source.unknown.as : undefined
  return pieces.map((piece) => {
    if (piece.is === 'malformed') return { ...piece, column: null }
    const given = new Map(names.map((name, i) => [name, fromBytes(piece.fields[i] ?? '')]))
    const more = names.filter((name) => !columns.some((column) => column.name === name) || name === keep)
    const fields = columns.map(({ name, type, nullable }): [string, string | null] => {
      if (name === keep) {
        const members = more.map((other) => `${JSON.stringify(other)}:${JSON.stringify(given.get(other))}`)
        return [name, members.length === 0 ? null : `{${members.join()}}`]
      }
      const value = given.get(name) ?? ''
      return [name, value === '' && (nullable || type.is !== 'text') ? null : value]
    })
    return { ...piece, fields: Object.fromEntries(fields) }
  })
}

export type CsvPiece =
  | { is: 'row'; line: number; fields: string[]; raw: string }
  | { is: 'malformed'; line: number; code: string; raw: string }

/** The rows of CSV without its header, of which this is the first line; texts hold one character a byte. */
export function csvPieces(
  input: string,
  { dialect, fields, maxRowBytes = longestRow }: { dialect: Dialect; fields: number; maxRowBytes?: number },
  firstLine: number,
): CsvPiece[] {
  const pieces: CsvPiece[] = []
  let line = firstLine
  for (let at = 0; at < input.length; ) {
    const lineEnd = input.includes('\n', at) ? input.indexOf('\n', at) : input.length
    const itsLine = input.slice(at, lineEnd).replace(/\r$/, '')
    const row = splitRow(input, at, dialect, fields)
    const tooLong = row.end > at + maxRowBytes
    const problem = tooLong ? 'ROW_TOO_LONG' : row.problem
    const brokeAt = tooLong ? at + maxRowBytes + 1 : row.end
    if (fields > 1 && itsLine === '') {
      at = lineEnd + 1
      line++
    } else if (problem !== undefined) {
      pieces.push({ is: 'malformed', line, code: lineEnd < brokeAt ? 'UNCLOSED_QUOTE' : problem, raw: itsLine })
      at = lineEnd + 1
      line++
    } else {
      const raw = input.slice(at, row.end).replace(/\r$/, '')
      if (raw.includes('\0')) pieces.push({ is: 'malformed', line, code: 'NUL_BYTE', raw })
      else if (!isText(raw)) pieces.push({ is: 'malformed', line, code: 'INVALID_UTF8', raw })
      else pieces.push({ is: 'row', line, fields: row.fields, raw })
      line += input.slice(at, row.end).split('\n').length
      at = row.end + 1
    }
  }
  return pieces
}

interface SplitRow {
  fields: string[]
  /** At the line end, or where the row breaks a rule; then `fieldStart` is where the broken field begins. */
  end: number
  fieldStart: number
  problem?: string
}

function splitRow(input: string, at: number, { delimiter, quote }: Dialect, expected: number): SplitRow {
  const fields: string[] = []
  const least = Number.isFinite(expected) ? expected : 0
  for (let from = at; ; from++) {
    const fieldStart = from
    if (input[from] === quote) {
      let close = from + 1
      while (close < input.length && (input[close] !== quote || input[close + 1] === quote)) {
        close += input[close] === quote ? 2 : 1
      }
      if (close >= input.length) return { fields, end: input.length, fieldStart, problem: 'UNCLOSED_QUOTE' }
      const rest = input.slice(close + 1, close + 3)
      const follows = rest === '' || rest[0] === delimiter || rest[0] === '\n' || rest === '\r\n' || rest === '\r'
      if (!follows) return { fields, end: close, fieldStart, problem: 'STRAY_QUOTE' }
      fields.push(input.slice(from + 1, close).replaceAll(quote + quote, quote))
      from = rest[0] === '\r' ? close + 2 : close + 1
    } else {
      while (from < input.length && input[from] !== delimiter && input[from] !== '\n') from++
      const field = input.slice(fieldStart, from)
      fields.push(input[from] === delimiter ? field : field.replace(/\r$/, ''))
    }
    if (input[from] !== delimiter) {
      return fields.length < least
        ? { fields, end: from, fieldStart, problem: 'TOO_FEW_FIELDS' }
        : { fields, end: from, fieldStart }
    }
    if (fields.length === expected) return { fields, end: from, fieldStart, problem: 'TOO_MANY_FIELDS' }
  }
}

// ---- JSON lines ----------------------------------------------------------------------------------------------------

function readJsonLines(text: string, source: FilesSource): Reading {
  const columns = readColumns(source)
  const { unknown = { is: 'refuse' } } = source
  // a list of objects, or an object over several lines
  if (/^[ \t\r\n]*(\[[ \t\r\n]*(\{|\]|\n|$)|\{[ \t\r]*\n)/.test(text)) return quarantined('NOT_JSON_LINES')
  const pieces = text.split('\n').flatMap((raw, i): Piece[] => {
    if (/^[ \t\r]*$/.test(raw)) return []
    return [readLine(raw.replace(/\r$/, ''), i + 1, columns, unknown)]
  })
  const noObjects = pieces
    .slice(0, 100)
    .every((piece) => piece.is === 'malformed' && ['NOT_JSON', 'NOT_AN_OBJECT', 'INVALID_UTF8'].includes(piece.code))
  if (pieces.length >= 100 && noObjects) return quarantined('NOT_JSON_LINES')
  return { is: 'read', pieces }
}

function readLine(raw: string, line: number, columns: SourceColumn[], unknown: UnknownColumns): Piece {
  // a name that is empty is not told
  const malformed = (code: string, column = ''): Piece => ({ is: 'malformed', line, code, column: column || null, raw })
  if (!isText(raw)) return malformed('INVALID_UTF8')
  const text = fromBytes(raw)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return malformed('NOT_JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return malformed('NOT_AN_OBJECT')

  const keep = unknown.is === 'keep' ? unknown.as : undefined
  const fields: Record<string, string | null> = Object.fromEntries(columns.map(({ name }) => [name, null]))
  const seen = new Set<string>()
  const kept: string[] = []
  for (const [key, member] of membersOf(text)) {
    // as: a key of JSON is a string of JSON
    const name = JSON.parse(key) as string
    const column = name === keep ? undefined : columns.find((candidate) => candidate.name === name)
    const told = column === undefined ? name.slice(0, 200).toWellFormed() : name
    if (column === undefined) {
      if (unknown.is === 'refuse') return malformed('UNKNOWN_COLUMN', withoutNul(told))
      const trouble = badText(key) ?? badText(member)
      if (unknown.is === 'keep' && trouble !== undefined) return malformed(trouble, withoutNul(told))
      kept.push(`${key}:${member}`)
      continue
    }
    if (seen.has(name)) return malformed('DUPLICATE_KEY', name)
    seen.add(name)
    const trouble = badText(member)
    if (trouble !== undefined) return malformed(trouble, name)
    if (/^[[{]/.test(member) && column.type.is === 'text') return malformed('WRONG_TYPE', name)
    fields[name] = fieldOf(member, column)
  }
  if (keep !== undefined && kept.length > 0) fields[keep] = `{${kept.join()}}`
  return { is: 'row', line, fields, raw }
}

// Postgres could not hold it.
function withoutNul(name: string): string {
  return name.replaceAll('\0', '\ufffd')
}

/** What JSON may say and no text can hold, the first of it; a backslash that is itself escaped escapes nothing. */
export function badText(json: string): 'NUL_BYTE' | 'LONE_SURROGATE' | undefined {
  const escapes = /\\(u[dD][89abAB]..\\u[dD][c-fC-F]..|u....|.)/g
  for (const [, escaped = ''] of json.matchAll(escapes)) {
    if (escaped === 'u0000') return 'NUL_BYTE'
    if (/^u[dD][89a-fA-F]..$/.test(escaped)) return 'LONE_SURROGATE'
  }
  return undefined
}

// Key and value of each member of an object, as they are written.
function membersOf(text: string): [string, string][] {
  const inner = text.trim().slice(1, -1)
  const members: [string, string][] = []
  let depth = 0
  let from = 0
  let colon = -1
  for (let at = 0; at <= inner.length; at++) {
    const character = inner[at]
    if (character === '"') {
      for (at++; inner[at] !== '"'; at++) if (inner[at] === '\\') at++
    } else if (character === '{' || character === '[') depth++
    else if (character === '}' || character === ']') depth--
    else if (character === ':' && depth === 0) colon = at
    else if ((character === ',' && depth === 0) || (at === inner.length && colon > 0)) {
      members.push([inner.slice(from, colon).trim(), inner.slice(colon + 1, at).trim()])
      from = at + 1
    }
  }
  return members
}

// A value as a text for validation: digits as they are written, but no exponent where the column is exact.
function fieldOf(member: string, { type }: SourceColumn): string | null {
  if (member === 'null') return null
  if (type.is === 'json') return member
  // as: what stands in quotes is a text
  if (member.startsWith('"')) return JSON.parse(member) as string
  if (!/^[-\d]/.test(member)) return member
  if (type.is === 'integer' || (type.is === 'decimal' && /e/i.test(member)))
    return writtenOut(member, type.is === 'integer')
  return member
}

function writtenOut(number: string, whole: boolean): string {
  const [, sign = '', integer = '', , fraction = '', exponent = '0'] =
    /^(-?)(\d+)(\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(number) ?? []
  if (Math.abs(Number(exponent)) > 60 || number.length > 100) return number
  const places = fraction.length - Number(exponent)
  const digits = String(BigInt(integer + fraction)) + '0'.repeat(Math.max(0, -places))
  if (places <= 0) return sign + digits
  const padded = digits.padStart(places + 1, '0')
  const plain = `${padded.slice(0, -places)}.${padded.slice(-places)}`
  return sign + (whole || Number(exponent) !== 0 ? plain.replace(/\.?0*$/, '') : plain)
}

// ---- texts ---------------------------------------------------------------------------------------------------------

function isText(raw: string): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(raw, 'latin1'))
    return true
  } catch {
    return false
  }
}

function fromBytes(raw: string): string {
  return Buffer.from(raw, 'latin1').toString()
}
