/** Rows of text files: cut out of their bytes into a spool of CSV that DuckDB reads without an error. */
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { MillraceError } from '../../errors.ts'
import type { Column } from '../../plan/columns.ts'
import { identifier, sqlText } from '../../plan/identifier.ts'
import { columnsRead } from '../../plan/plan.ts'
import type { Limits, Sql } from '../source.ts'
import type { Claim } from './claims.ts'
import { openContent, readBegin } from './content.ts'
import { CsvCutter } from './cut-csv.ts'
import { JsonCutter } from './cut-json.ts'
import type { CutterOptions, RowCutter } from './cutter.ts'
import { isUtf16, matchHeader, readHeader } from './header-csv.ts'
import {
  jsonSpool,
  malformedLine,
  malformedRowsSql,
  rawKept,
  rawSql,
  readSpoolSql,
  readTextsSql,
  type SpoolFormat,
} from './read-spool.ts'
import { type ReadFile, SpanReader } from './span-reader.ts'
import { SpoolFile } from './spool.ts'
import { needsMoreMemory, type Portion, type RowStage, type StageOptions, type Unreadable } from './stage.ts'

/** Rows longer than this are malformed, and shorter ones where DuckDB has no memory for them: it holds up to ten copies. */
export const maxRowBytes = 32 * 1024 * 1024
/** DuckDB has 2048 rows in hand at once: where rows are long, a range takes few bytes of them. */
export const longRow = 8 * 1024
export const bytesOfLongRows = 4 * 1024 * 1024
export const bytesOfMalformedRows = 8 * 1024 * 1024
const chunkBytes = 1024 * 1024
/** A spool file larger than this is not added to: several are read on several threads. */
const spoolBytes = 8 * 1024 * 1024
/** A file whose first lines are all no JSON objects is something else. */
const linesToJudge = 100

/** The rows of files whose columns stand in the same order. */
interface Layout {
  /** The columns of the spool, in its order; those that the source does not name are numbered. */
  columns: string[]
  /** What the source does not name, by the name in the spool. */
  unknown: Map<string, string>
  /** Several files, so that DuckDB reads them on several threads; the last one is being written. */
  spools: SpoolFile[]
  longestRow: number
}

/** A file's content, plain, with its first bytes. */
interface OpenContent {
  path: string
  size: number
  handle: FileHandle
  begin: Buffer
}

interface Head {
  layout: Layout
  bytes: number
  lines: number
}

export class TextRows implements RowStage {
  readonly #options: StageOptions
  /** The columns read from the rows. */
  readonly #columns: Column[]
  readonly #layouts = new Map<string, Layout>()
  readonly #malformedRows: SpoolFile
  #malformed = 0
  #spools = 0
  #marks: { layout: Layout; spools: number; bytes: number; malformedBytes: number; malformed: number } | undefined
  /** Where the files of JSON rows lie, to read the text of a row again, and by what they are known. */
  readonly #contents: ReadFile[] = []
  #rawTable: string | undefined
  #chunk: Buffer | undefined

  constructor(options: StageOptions) {
    this.#options = options
    this.#columns = columnsRead(options.source)
    this.#malformedRows = new SpoolFile(join(options.spool, `${options.name}-malformed.csv`))
  }

  async read(claim: Claim, handle: FileHandle, file: number, limits: Limits): Promise<Portion | Unreadable> {
    const { spool, name, signal } = this.#options
    this.#marks = undefined
    const begin = await readBegin(handle, claim.size)
    if (claim.content === undefined) {
      const opened = await openContent(claim, handle, begin, join(spool, `${name}-${file}-unpacked`), signal)
      if (opened.is === 'bad') return opened
      claim.content = opened.content
    }
    const { path, size, unpacked } = claim.content
    if (!unpacked) return await this.#readContent({ path, size, handle, begin }, claim, file, limits)
    await using content = await open(path, 'r')
    return await this.#readContent(
      { path, size, handle: content, begin: await readBegin(content, size) },
      claim,
      file,
      limits,
    )
  }

  async #readContent(content: OpenContent, claim: Claim, file: number, limits: Limits): Promise<Portion | Unreadable> {
    if (this.#options.source.format.is === 'json lines') {
      const { size, mtimeMs } = await content.handle.stat()
      this.#contents[file] = { path: content.path, size, mtimeMs }
    }
    const head = this.#head(content)
    if ('is' in head) return head
    const { layout } = head
    let spool = this.#spoolOf(layout)
    this.#marks = {
      layout,
      spools: layout.spools.length,
      bytes: spool.bytes,
      malformedBytes: this.#malformedRows.bytes,
      malformed: this.#malformed,
    }
    const fresh = claim.bytesDone === 0
    const start = fresh ? head.bytes : claim.bytesDone
    const firstLine = fresh ? head.lines + 1 : claim.linesDone + 1
    const cutter = this.#cutter(layout, start, {
      maxRowBytes,
      firstLine,
      file,
      rows: (bytes) => spool.append(bytes),
      malformed: (bytes) => this.#malformedRows.append(bytes),
      maxRows: limits.rows,
    })
    const portion: Portion = {
      is: 'read',
      rows: 0,
      malformed: 0,
      bytesDone: start,
      linesDone: firstLine - 1,
      finished: false,
      unknown: {},
    }
    let at = start
    for (;;) {
      const bytes = await this.#bytesAt(content, at)
      at += bytes.length
      const last = at >= content.size || bytes.length === 0
      const cut = cutter.push(bytes, last)
      portion.rows += cut.rows
      portion.malformed += cut.malformed
      portion.bytesDone += cut.consumed
      layout.longestRow = Math.max(layout.longestRow, cut.longestRow)
      if (last && !cut.full) portion.finished = true
      if (last || cut.full || this.full || portion.bytesDone - start >= limits.bytes) break
      // the cutter will write over what it has handed out
      await this.#flush(spool)
      spool = this.#spoolOf(layout)
    }
    // the rows of small files are written together
    if (spool.pendingBytes + this.#malformedRows.pendingBytes > chunkBytes) await this.#flush(spool)
    if (portion.finished) portion.bytesDone = content.size
    else portion.finished = portion.bytesDone >= content.size
    portion.linesDone = cutter.line - 1
    if (limits.setAside && portion.rows === 1) {
      await this.takeBack()
      const length = portion.bytesDone - start
      if (length <= rawKept) return needsMoreMemory
      this.#malformedRows.append(await this.#tooLong(content.handle, file, { at: start, length, line: firstLine }))
      Object.assign(portion, { rows: 0, malformed: 1 })
    }
    this.#malformed += portion.malformed
    if (cutter instanceof JsonCutter) portion.unknown = Object.fromEntries(cutter.unknown)
    else for (const name of layout.unknown.values()) portion.unknown[name] = portion.rows
    return portion
  }

  /** No more rows should be added, though the limits allow them. */
  get full(): boolean {
    const spools = [...this.#layouts.values()].flatMap((layout) => layout.spools)
    const spooled = spools.reduce((sum, { bytes }) => sum + bytes, 0)
    return (this.long && spooled > bytesOfLongRows) || this.#malformedRows.bytes > bytesOfMalformedRows
  }

  get long(): boolean {
    return [...this.#layouts.values()].some(({ longestRow }) => longestRow > longRow)
  }

  // The row that lies there as a malformed one: empty lines may come before it, and a line end behind it.
  async #tooLong(
    handle: FileHandle,
    file: number,
    { at, length, line }: { at: number; length: number; line: number },
  ): Promise<Buffer> {
    const read = async (from: number, bytes: number): Promise<Buffer> => {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(bytes), 0, bytes, from)
      return buffer.subarray(0, bytesRead)
    }
    const before = /^[\r\n]*/.exec((await read(at, rawKept)).toString('latin1'))?.[0] ?? ''
    const behind = /\r?\n$/.exec((await read(at + length - 2, 2)).toString('latin1'))?.[0] ?? ''
    const bytes = length - before.length - behind.length
    const raw = await read(at + before.length, Math.min(bytes, rawKept + 1))
    const lines = before.split('\n').length - 1
    return Buffer.from(malformedLine(file, { line: line + lines, code: 'ROW_TOO_LONG' }, raw, bytes))
  }

  // What is known of the beginning is not read again; after it, one buffer serves for all: cutters copy what they keep.
  async #bytesAt({ handle, begin, size }: OpenContent, at: number): Promise<Buffer> {
    if (at < begin.length) return begin.subarray(at)
    this.#chunk ??= Buffer.allocUnsafe(chunkBytes)
    const { bytesRead } = await handle.read(this.#chunk, 0, Math.min(chunkBytes, Math.max(0, size - at)), at)
    return this.#chunk.subarray(0, bytesRead)
  }

  async #flush(spool: SpoolFile): Promise<void> {
    await spool.flush()
    await this.#malformedRows.flush()
  }

  async takeBack(): Promise<void> {
    const marks = this.#marks
    if (marks === undefined) return
    this.#marks = undefined
    for (const added of marks.layout.spools.splice(marks.spools)) await added.remove()
    await marks.layout.spools.at(-1)?.truncate(marks.bytes)
    await this.#malformedRows.truncate(marks.malformedBytes)
    this.#malformed = marks.malformed
  }

  // ---- the beginning of a file -------------------------------------------------------------------------------------

  #head({ begin, size }: OpenContent): Head | Unreadable {
    const { source } = this.#options
    const { format } = source
    const complete = begin.length >= size
    if (format.is !== 'csv' || format.header === false) {
      if (isUtf16(begin)) return { is: 'bad', code: 'UTF16', message: 'the file is UTF-16 or UTF-32; it must be UTF-8' }
      const mark = begin.toString('latin1', 0, 3) === '\xef\xbb\xbf' ? 3 : 0
      if (format.is === 'json lines' && isDocument(begin.toString('latin1', mark))) {
        const message = `the file is one JSON document, and JSON lines has an object to a line; of a list, jq -c '.[]' makes them`
        return { is: 'bad', code: 'NOT_JSON_LINES', message }
      }
      if (format.is === 'json lines' && isSomethingElse(begin.subarray(mark), complete)) {
        const message = `none of its first ${linesToJudge} lines is a JSON object; JSON lines has one to a line`
        return { is: 'bad', code: 'NOT_JSON_LINES', message }
      }
      const names = this.#columns.map(({ name }) => name)
      return { layout: this.#layoutOf(names, new Set()), bytes: mark, lines: 0 }
    }
    const header = readHeader(begin, format, complete)
    if (header.is === 'incomplete')
      return { is: 'bad', code: 'NO_HEADER', message: 'the first line is longer than a header may be' }
    if (header.is === 'bad') return header
    const keep = source.unknown?.is === 'keep' ? source.unknown.as : undefined
    const expected = this.#columns.filter(({ name }) => name !== keep)
    const match = matchHeader(header.names, expected, source.unknown)
    if (match.is === 'mismatch') return { is: 'bad', code: 'HEADER_MISMATCH', message: match.message }
    return {
      layout: this.#layoutOf(header.names, new Set(match.unknown)),
      bytes: header.bytes,
      lines: header.lines,
    }
  }

  #layoutOf(names: string[], unknown: Set<string>): Layout {
    const key = JSON.stringify(names)
    const known = this.#layouts.get(key)
    if (known) return known
    const columns = names.map((name, i) => (unknown.has(name) ? `_unknown_${i}` : name))
    const named = columns.flatMap((column, i): [string, string][] => {
      const name = names[i] ?? ''
      return unknown.has(name) ? [[column, name]] : []
    })
    const layout: Layout = { columns, unknown: new Map(named), spools: [], longestRow: 0 }
    this.#layouts.set(key, layout)
    return layout
  }

  #spoolOf(layout: Layout): SpoolFile {
    const last = layout.spools.at(-1)
    if (last !== undefined && last.bytes < spoolBytes) return last
    const spool = new SpoolFile(join(this.#options.spool, `${this.#options.name}-rows-${++this.#spools}.csv`))
    layout.spools.push(spool)
    return spool
  }

  #cutter(layout: Layout, firstByte: number, options: CutterOptions): RowCutter | JsonCutter {
    const { format, unknown = { is: 'refuse' } } = this.#options.source
    switch (format.is) {
      case 'csv':
        return new CsvCutter({ ...options, dialect: format, fields: layout.columns.length })
      case 'json lines':
        return new JsonCutter({ ...options, columns: this.#columns, unknown, firstByte })
      case 'parquet':
        throw new MillraceError('NOT_SUPPORTED', { message: 'Parquet is no text' })
    }
  }

  // ---- what DuckDB reads -------------------------------------------------------------------------------------------

  async close(): Promise<void> {
    for (const { spools } of this.#layouts.values()) for (const spool of spools) await spool.close()
    await this.#malformedRows.close()
  }

  // Those that rows were cut for, numbered as they stand.
  #used(): { layout: Layout; no: number }[] {
    return [...this.#layouts.values()]
      .map((layout, no) => ({ layout, no }))
      .filter(({ layout }) => layout.spools.some(({ bytes }) => bytes > 0))
  }

  rowsSql(): string | undefined {
    const format = this.#spoolFormat()
    const selects = this.#used().map(({ layout, no }) => {
      const paths = layout.spools.filter(({ bytes }) => bytes > 0).map(({ path }) => path)
      const fields = this.#columns.map((column) => `${this.#fieldSql(column, layout)} as ${identifier(column.name)}`)
      const others = [...layout.unknown.keys()].map((name) => identifier(name))
      return `select
  _file,
  _line,
  ${no} as _layout,
  ${[format.mark, ...fields, ...others].join(',\n  ')}
from ${readSpoolSql(paths, layout.columns, format, layout)}`
    })
    return selects.length === 0 ? undefined : selects.join('\nunion all by name\n')
  }

  // In CSV an empty field is an empty text where a text must be there, and nothing everywhere else.
  #fieldSql({ name, type, nullable }: Column, layout: Layout): string {
    const { format, unknown } = this.#options.source
    if (format.is !== 'csv') return identifier(name)
    if (unknown?.is === 'keep' && unknown.as === name) return keptSql(layout.unknown)
    if (!layout.columns.includes(name)) return 'null::varchar'
    return type.is === 'text' && !nullable ? identifier(name) : `nullif(${identifier(name)}, '')`
  }

  malformedSql(): string | undefined {
    if (this.#malformed === 0) return undefined
    return malformedRowsSql([this.#malformedRows.path])
  }

  #spoolFormat(): SpoolFormat {
    const { format } = this.#options.source
    return format.is === 'csv' ? { dialect: format, mark: '_quoted' } : jsonSpool
  }

  // ---- the text of a row -------------------------------------------------------------------------------------------

  // A CSV row is put together again from its fields and from which of them were quoted; that of JSON is read again.
  raw(): { join: string; text: string } {
    const { format } = this.#options.source
    if (format.is !== 'csv') {
      this.#rawTable = identifier(`${this.#options.name}-raw`)
      return { join: `left join ${this.#rawTable} w on w._row = s._row`, text: 'w.raw' }
    }
    const used = this.#used()
    if (used.length === 0) return { join: '', text: "''" }
    const each = used.map(({ layout, no }) => `when ${no} then ${rawSql(layout.columns, format, 's')}`)
    return { join: '', text: `case s._layout ${each.join(' ')} end` }
  }

  async fetchRaw(sql: Sql, staged: string, rows: string): Promise<void> {
    const table = this.#rawTable
    if (table === undefined) return
    const { spool, name } = this.#options
    await sql.run(`create table if not exists ${table} (_row bigint primary key, raw varchar)`)
    const spans = await sql.rows<{ row: string; file: number; span: string }>(
      `select _row::varchar as row, _file as file, _span as span from ${staged} where _row in (${rows}) order by _row`,
    )
    const texts = new SpoolFile(join(spool, `${name}-raw.csv`))
    await using reader = new SpanReader(this.#contents)
    let longest = 0
    let lines = ''
    for (const { row, file, span } of spans) {
      const bytes = reader.within(file, span) ?? (await reader.read(file, span))
      const text = bytes?.toString().replace(/\r$/, '').replaceAll('"', '""') ?? '[the file is gone, or has changed]'
      const line = `${row},"${text}"\n`
      // of its characters none has more bytes
      longest = Math.max(longest, 3 * line.length)
      lines += line
      if (lines.length < chunkBytes) continue
      texts.append(Buffer.from(lines))
      await texts.flush()
      lines = ''
    }
    texts.append(Buffer.from(lines))
    await texts.close()
    if (spans.length > 0) {
      await sql.run(`insert or ignore into ${table}\nfrom ${readTextsSql(texts.path, ['_row', 'raw'], longest)}`)
    }
    await texts.remove()
  }

  async release(): Promise<void> {
    for (const { spools } of this.#layouts.values()) for (const spool of spools) await spool.remove()
    await this.#malformedRows.remove()
    if (this.#rawTable !== undefined) await this.#options.sql.run(`drop table if exists ${this.#rawTable}`)
  }
}

// A list of objects, or a pretty-printed object: no line of JSON lines begins so, whatever else is wrong with it.
function isDocument(text: string): boolean {
  return /^\s*(\[\s*(\{|\]|\n|$)|\{[ \t\r]*\n)/.test(text)
}

// Whether a file that begins with these bytes, `complete` if they are all it has, holds no JSON lines. Most show by their
// first line that they do. It is asked of the file alone, so that no cut into batches changes the answer.
function isSomethingElse(begin: Buffer, complete: boolean): boolean {
  const ignore = (): void => {}
  return [1, linesToJudge].every((lines) => {
    const cutter = new JsonCutter({
      columns: [],
      unknown: { is: 'count' },
      maxRowBytes: chunkBytes,
      maxRows: lines,
      firstByte: 0,
      firstLine: 1,
      file: 0,
      rows: ignore,
      malformed: ignore,
    })
    const cut = cutter.push(begin, complete)
    return cut.rows === 0 && cut.malformed === lines
  })
}

// What a CSV file has beside the columns of the source, as one JSON object; nothing when there is nothing.
function keptSql(unknown: Map<string, string>): string {
  if (unknown.size === 0) return 'null::varchar'
  const members = [...unknown].map(([column, name]) => `${sqlText(name)}, ${identifier(column)}`)
  return `json_object(${members.join(', ')})::varchar`
}
