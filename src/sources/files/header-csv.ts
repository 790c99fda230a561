/** Reads the first row of a CSV file and holds it against the columns a source expects. */
import { isUtf8 } from 'node:buffer'
import { nearest } from '../../errors.ts'
import type { Column } from '../../plan/columns.ts'
import type { UnknownColumns } from '../../plan/plan.ts'
import { type CsvDialect, checkDialect } from './cut-csv.ts'

/** Why a file cannot be read at all: it is quarantined whole. */
export const badHeaders = {
  EMPTY_FILE: 'the file is empty',
  UTF16: 'the file is UTF-16 or UTF-32; it must be UTF-8',
  NOT_TEXT: 'the file does not begin with UTF-8 text',
  CR_LINE_ENDS: 'its lines end with CR alone; they must end with LF or CRLF',
  BAD_HEADER: 'a quote in the header is not closed, or text follows a closing quote',
  HEADER_TOO_LONG: 'the header is longer than 1 MiB',
  TOO_MANY_COLUMNS: 'the header names more than 10,000 columns',
} as const

export type BadHeader = keyof typeof badHeaders

export type Header =
  | { is: 'header'; names: string[] /** Up to the first byte after it. */; bytes: number; lines: number }
  /** More bytes are needed. */
  | { is: 'incomplete' }
  | { is: 'bad'; code: BadHeader; message: string }

export const maxHeaderBytes = 1024 * 1024
export const maxColumns = 10_000

/** The header in the first bytes of a file, `complete` if they are all it has. Empty lines before it are passed over. */
export function readHeader(first: Buffer, dialect: CsvDialect, complete: boolean): Header {
  checkDialect(dialect)
  if (isUtf16(first)) return bad('UTF16')
  const mark = first[0] === 0xef && first[1] === 0xbb && first[2] === 0xbf ? 3 : 0
  // one character a byte, so that offsets in the text are offsets in the file
  const text = first.toString('latin1', 0, mark + maxHeaderBytes)
  const ends = complete && text.length === first.length
  const start = mark + (/^(\r?\n)*/.exec(text.slice(mark))?.[0].length ?? 0)

  const names: string[] = []
  let at = start
  let trouble: BadHeader | 'unfinished' | undefined
  while (trouble === undefined) {
    const name = nameAt(text, at, dialect)
    if (!ends && (name === 'open' || (name !== 'stray' && name.end === text.length))) trouble = 'unfinished'
    else if (typeof name === 'string') trouble = 'BAD_HEADER'
    else {
      names.push(name.text)
      at = Math.min(name.end + 1, text.length)
      if (text[name.end] !== dialect.delimiter) break
      if (names.length === maxColumns) trouble = 'TOO_MANY_COLUMNS'
    }
  }
  // a header that goes on may end within a character; a NUL tells all the same
  if (first.subarray(start, trouble === 'unfinished' ? text.length : at).includes(0)) return bad('NOT_TEXT')
  if (!isUtf8(first.subarray(start, at))) return bad('NOT_TEXT')
  const full = text.length === mark + maxHeaderBytes
  if ((ends || full) && !text.includes('\n') && /\r./s.test(text)) return bad('CR_LINE_ENDS')
  if (trouble === 'unfinished') {
    return full ? bad('HEADER_TOO_LONG') : { is: 'incomplete' }
  }
  if (trouble !== undefined) return bad(trouble)
  if (at === text.length && names.join('') === '' && names.length === 1) return bad('EMPTY_FILE')
  const lines = text.slice(0, at - 1).split('\n').length
  return { is: 'header', names: names.map((name) => Buffer.from(name, 'latin1').toString()), bytes: at, lines }
}

// The name that begins at `at`, and where it ends: at a delimiter, a line end, or the end of the text.
function nameAt(text: string, at: number, dialect: CsvDialect): { text: string; end: number } | 'open' | 'stray' {
  const { delimiter, quote } = dialect
  if (text[at] !== quote) {
    let end = at
    while (end < text.length && text[end] !== delimiter && text[end] !== '\n') end++
    const name = text.slice(at, end)
    return { text: text[end] === delimiter ? name : name.replace(/\r$/, ''), end }
  }
  let close = text.indexOf(quote, at + 1)
  while (close >= 0 && text[close + 1] === quote) close = text.indexOf(quote, close + 2)
  if (close < 0) return 'open'
  const name = text.slice(at + 1, close).replaceAll(quote + quote, quote)
  if (text[close + 1] === delimiter) return { text: name, end: close + 1 }
  const end = text[close + 1] === '\r' ? close + 2 : close + 1
  return end >= text.length || text[end] === '\n' ? { text: name, end } : 'stray'
}

/** Whether the bytes begin with the mark of UTF-16 or UTF-32, or with two letters as UTF-16 has them. */
export function isUtf16(bytes: Buffer): boolean {
  const mark = bytes.toString('hex', 0, 4)
  return mark.startsWith('fffe') || mark.startsWith('feff') || mark === '0000feff' || isLetters(mark)
}

// Each letter is a byte with a NUL before or after it.
function isLetters(mark: string): boolean {
  return /^(?!00)..00(?!00)..00$/.test(mark) || /^00(?!00)..00(?!00)..$/.test(mark)
}

function bad(code: BadHeader): Header {
  return { is: 'bad', code, message: badHeaders[code] }
}

export type HeaderMatch =
  /** The columns that are there and not expected. */
  | { is: 'match'; unknown: string[] }
  | { is: 'mismatch'; missing: string[]; unknown: string[]; repeated: string[]; message: string }

/**
 * Whether a file has the expected columns, in any order. One that may be absent in a row may be absent in the file.
 * Names are the same only to the letter.
 */
export function matchHeader(
  names: readonly string[],
  expected: readonly Pick<Column, 'name' | 'nullable'>[],
  policy: UnknownColumns = { is: 'refuse' },
): HeaderMatch {
  const found = new Set<string>()
  const repeated = new Set<string>()
  for (const name of names) {
    if (found.has(name)) repeated.add(name)
    found.add(name)
  }
  const wanted = new Set(expected.map(({ name }) => name))
  const missing = expected.filter(({ name, nullable }) => !nullable && !found.has(name)).map(({ name }) => name)
  const unknown = [...found].filter((name) => !wanted.has(name))
  const refused = policy.is === 'refuse' ? unknown : []
  if (missing.length + refused.length + repeated.size > 0) {
    const message = mismatchMessage(missing, refused, [...repeated], unknown)
    return { is: 'mismatch', missing, unknown, repeated: [...repeated], message }
  }
  return { is: 'match', unknown }
}

function mismatchMessage(missing: string[], refused: string[], repeated: string[], unknown: string[]): string {
  const parts: string[] = []
  if (missing.length > 0) parts.push(`the header lacks ${list(missing)}`)
  if (refused.length > 0) parts.push(`${list(refused)} ${refused.length === 1 ? 'is' : 'are'} not expected`)
  if (repeated.length > 0) parts.push(`${list(repeated)} ${repeated.length === 1 ? 'stands' : 'stand'} more than once`)
  const [only = ''] = unknown.length === 1 ? unknown : []
  const delimiter = /[;\t|,]/.exec(only)?.[0]
  if (delimiter !== undefined && only.split(delimiter).some((name) => missing.includes(name))) {
    parts.push(`its names are parted by ${show(delimiter)}`)
    return parts.join('; ')
  }
  for (const name of missing.slice(0, 1)) {
    const meant = nearest(name, unknown.slice(0, 100))
    if (meant !== undefined) parts.push(`is ${show(meant)} meant to be ${show(name)}?`)
  }
  return parts.join('; ')
}

function list(names: string[]): string {
  const shown = names.slice(0, 5).map(show).join(', ')
  return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown
}

function show(name: string): string {
  if (name === '') return 'a column without a name'
  const quoted = JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}...` : name)
  // what cannot be seen, such as a byte order mark
  return quoted.replace(/(?! )[\p{Cf}\p{Z}]/gu, (mark) => `\\u${mark.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
