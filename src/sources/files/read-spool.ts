/**
 * The files between `CsvCutter` and DuckDB: how a malformed row is written, and how both kinds are read. What the options
 * keep away was seen in DuckDB 1.5.6, and the tests would see it again:
 *
 * - `parallel = false`: a parallel scan starts within rows and guesses whether it stands in quotes. Seen to fail, and once
 *   to read other values, on good rows with quotes, with and without line ends in them. Several paths are still read on
 *   several threads, one file each: part a large spool into files of about 8 MB.
 * - `new_line`: else the line end is guessed from the first rows, and a CR in quotes before an LF is an error.
 * - `nullstr` with `allow_quoted_nulls`: a text that no unquoted field can be, so that an empty field is the empty text.
 *   `force_not_null` is no way to it: when a query reads only some columns, it is applied to others.
 * - `hive_partitioning = false`: else a folder named `a=1` above the spool adds a column.
 * - `buffer_size`: else it is 16 times the longest line, allocated whole for each file that is being read.
 */
import { isUtf8 } from 'node:buffer'
import { MillraceError } from '../../errors.ts'
import { reasons } from '../../operators/validate.ts'
import { identifier, sqlText } from '../../plan/identifier.ts'
import type { CsvDialect } from './cut-csv.ts'
import type { Malformed } from './cutter.ts'

/** How the rows of a spool are written. */
export interface SpoolFormat {
  dialect: CsvDialect
  /** What the field before the columns holds: which fields were quoted, or where in the file the row's text lies. */
  mark: '_quoted' | '_span'
}

export const jsonSpool: SpoolFormat = { dialect: { delimiter: ',', quote: '"' }, mark: '_span' }

/**
 * The rows of these spool files, to stand after `from`: `_file`, `_line`, the mark and the columns, all texts. Rows cut
 * out of CSV have no nulls; in those made of JSON an empty field without quotes is one. Name all columns of the file, in
 * its order; `longestRow` is the largest that was cut.
 */
export function readSpoolSql(
  paths: readonly string[],
  columns: readonly string[],
  { dialect, mark }: SpoolFormat,
  { longestRow }: { longestRow: number },
): string {
  return readCsv(paths, dialect, [mark, ...columns], longestRow, mark === '_span')
}

/**
 * The malformed rows of these files: `_file`, `_line`, `code`, `column_name`, `detail`, `raw` and `hex`, which is empty
 * unless `raw` had to be escaped.
 */
export function readMalformedSql(paths: readonly string[]): string {
  return readCsv(
    paths,
    { delimiter: ',', quote: '"' },
    ['code', 'column_name', 'detail', 'raw', 'hex'],
    6 * rawKept + 100_000,
    false,
  )
}

/** The same as dead letters tell them: `message` says what the code means, and what more is known. */
export function malformedRowsSql(paths: readonly string[]): string {
  const messages = Object.entries(reasons).map(([code, says]) => `when ${sqlText(code)} then ${sqlText(says)}`)
  return `select
  _file,
  _line,
  code,
  nullif(column_name, '') as column_name,
  concat(
    case when column_name = '' then '' else '"' || column_name || '": ' end,
    case code ${messages.join(' ')} else code end,
    case when detail = '' then '' else ' (' || detail || ')' end
  ) as message,
  raw,
  hex
from ${readMalformedSql(paths)}`
}

/** The select of dead letters for malformed rows, given as SQL with the columns of `malformedRowsSql`, as `s`. */
export function malformedLettersSql(
  source: string,
  malformed: string,
  { place, line, join }: { place: string; line: string; join: string },
): string {
  return `select
  ${sqlText(source)} as source,
  ${place} as place,
  ${line} as line,
  'read' as stage,
  s.code,
  s.column_name,
  s.message,
  s.raw,
  case when s.hex = '' then null else '\\x' || s.hex end as raw_bytes,
  null as fields
from (
${malformed}
) s
${join}`
}

/** A spool of texts in quotes under these names, in which an empty field without quotes is null, to stand after `from`. */
export function readTextsSql(path: string, columns: readonly string[], longestRow: number): string {
  const types = columns.map((name) => `${sqlText(name)}: 'varchar'`)
  return readCsvFiles([path], { delimiter: ',', quote: '"' }, types, longestRow, true)
}

/**
 * The text a row was cut from, without its line end: an expression over the columns of `readSpoolSql`, in which an empty
 * text may have become a null.
 */
export function rawSql(columns: readonly string[], dialect: CsvDialect, relation: string): string {
  const quote = sqlText(dialect.quote)
  const between = `, ${sqlText(dialect.delimiter)}, `
  const fields = columns.map((name) => identifier(relation, name))
  const quoted = identifier(relation, '_quoted')
  const restored = fields.map((field, i) => {
    const inQuotes = `concat(${quote}, replace(${field}, ${quote}, ${sqlText(dialect.quote.repeat(2))}), ${quote})`
    return `case when substr(${quoted}, ${i + 1}, 1) = '1' then ${inQuotes} else ${field} end`
  })
  return `case when ${quoted} = '' then concat(${fields.join(between)}) else concat(${restored.join(between)}) end`
}

const smallestBuffer = 4 * 1024 * 1024

// However short the rows of a batch are, they are read by the same words.
const smallestLine = 64 * 1024

function readCsv(
  paths: readonly string[],
  dialect: CsvDialect,
  texts: readonly string[],
  longestRow: number,
  nulls: boolean,
): string {
  const types = ["'_file': 'integer'", "'_line': 'bigint'", ...texts.map((name) => `${sqlText(name)}: 'varchar'`)]
  return readCsvFiles(paths, dialect, types, longestRow, nulls)
}

function readCsvFiles(
  paths: readonly string[],
  dialect: CsvDialect,
  types: string[],
  longestRow: number,
  nulls: boolean,
): string {
  const longest = Math.max(longestRow, smallestLine)
  const bad = paths.find((path) => /[*?[]/.test(path))
  if (bad !== undefined) {
    throw new MillraceError('INVALID_SETTING', {
      at: bad,
      message: 'DuckDB would read *, ? and [ in this path as a pattern, and could read other files',
      hint: 'choose a data folder without these characters',
    })
  }
  return `read_csv(
  [${paths.map(sqlText).join(', ')}],
  auto_detect = false, header = false, parallel = false, null_padding = false, hive_partitioning = false,
  delim = ${sqlText(dialect.delimiter)}, quote = ${sqlText(dialect.quote)}, escape = ${sqlText(dialect.quote)}, new_line = '\\n',
  columns = {${types.join(', ')}},
  nullstr = ${nulls ? "''" : "e'\\n'"}, allow_quoted_nulls = false,
  max_line_size = ${longest}, buffer_size = ${Math.max(longest, smallestBuffer)}
)`
}

/** A malformed row keeps this many of its bytes. */
export const rawKept = 64 * 1024

/** One line of the file that `readMalformedSql` reads: of `raw`, the first bytes are enough when `length` counts all. */
export function malformedLine(file: number, row: Malformed, raw: Buffer, length: number): string {
  const kept = firstBytes(raw)
  const { text, hex } = textOf(kept)
  const mark = kept.length < length ? ` [cut: the first ${kept.length} of ${length} bytes]` : ''
  const { line, code, column = '', detail = '' } = row
  // a key of JSON may have a NUL in its name
  const name = quoted(column.replaceAll('\0', '\ufffd'))
  return `${file},${line},${code},${name},${quoted(detail)},${quoted(`${text}${mark}`)},${hex}\n`
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`
}

// At most `rawKept` bytes, and no part of a character at the end.
function firstBytes(raw: Buffer): Buffer {
  if (raw.length <= rawKept) return raw
  let end = rawKept
  while (end > rawKept - 3 && isContinuation(raw[end])) end--
  return raw.subarray(0, isContinuation(raw[end]) ? rawKept : end)
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80
}

/** Bytes as text, those that text cannot hold as \xNN, and then all of them in hex. */
export function textOf(raw: Buffer): { text: string; hex: string } {
  if (isUtf8(raw) && !raw.includes(0)) return { text: raw.toString(), hex: '' }
  const hex = raw.toString('hex')
  let text = ''
  let at = 0
  while (at < raw.length) {
    const length = characterLength(raw, at)
    text += length > 0 ? raw.toString('utf8', at, at + length) : `\\x${hex.slice(2 * at, 2 * at + 2)}`
    at += Math.max(1, length)
  }
  return { text, hex }
}

// How many bytes the character at `at` has; 0 when there is none that text can hold.
function characterLength(raw: Buffer, at: number): number {
  const lead = raw[at] ?? 0
  if (lead < 0x80) return lead === 0 ? 0 : 1
  if (lead < 0xc2 || lead > 0xf4) return 0
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4
  return at + length <= raw.length && isUtf8(raw.subarray(at, at + length)) ? length : 0
}
