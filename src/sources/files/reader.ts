/**
 * Reads files in order, name after name, row after row: takes the complete ones of a watched folder or those a bounded
 * run was given, cuts their rows out, and stages them for DuckDB. Nothing is handed out twice unless it is rewound.
 * Long because a range is one thing: what is read, what is taken back, and the SQL over it have to agree.
 */
import type { BigIntStats } from 'node:fs'
import { type FileHandle, mkdir, open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { MillraceError } from '../../errors.ts'
import { failpoint } from '../../failpoint.ts'
import { reasons } from '../../operators/validate.ts'
import { identifier, sqlText } from '../../plan/identifier.ts'
import type { FilesSource } from '../../plan/plan.ts'
import type { FileProgress, StoredFile } from '../../store/store.ts'
import type { Limits, Range, SourceReader } from '../source.ts'
import { type Claim, claimedFolder, claimFile, claimInputs, listClaims, listFolder } from './claims.ts'
import { CsvCutter } from './cut-csv.ts'
import { matchHeader, readHeader } from './header-csv.ts'
import { rawSql, readMalformedSql, readSpoolSql } from './read-spool.ts'
import { SpoolFile } from './spool.ts'
import { FolderWatch } from './watch.ts'

export interface FilesReaderOptions {
  /** The source's id in the plan. */
  id: string
  source: FilesSource
  /** The files of a bounded run in place of the folder. */
  inputs?: { paths: string[]; again: boolean }
  spool: string
  known(ids: string[]): Promise<Map<string, StoredFile>>
  /** A file that cannot be read, though others go on. */
  onProblem(problem: MillraceError): void
  now?: () => number
}

/** Rows longer than this are malformed. */
export const maxRowBytes = 32 * 1024 * 1024
const chunkBytes = 1024 * 1024
/** A spool file larger than this is not added to: several are read on several threads. */
const spoolBytes = 8 * 1024 * 1024
/** Files of one range at most, so that the lists that go with it stay small. */
const maxFiles = 2000

export async function openFilesReader(options: FilesReaderOptions): Promise<SourceReader> {
  await mkdir(options.spool, { recursive: true })
  if (options.inputs === undefined) {
    await mkdir(claimedFolder(options.source.folder), { recursive: true })
  }
  return new FilesReader(options)
}

class FilesReader implements SourceReader {
  readonly #options: FilesReaderOptions
  readonly #now: () => number
  readonly #watch: FolderWatch | undefined
  #queue: Claim[] = []
  /** Ids handed out or finished, until they are gone from the folder of claims. */
  #seen = new Set<string>()
  /** Names listed and not yet claimed, so that a large folder is not listed for every range. */
  #names: string[] = []
  #inputsTaken = false
  #claims = 0
  #ranges = 0

  constructor(options: FilesReaderOptions) {
    this.#options = options
    this.#now = options.now ?? Date.now
    this.#watch = options.inputs === undefined ? new FolderWatch(options.source.folder) : undefined
  }

  async next(limits: Limits): Promise<Range | undefined> {
    if (this.#queue.length === 0) await this.#refill(limits)
    if (this.#queue.length === 0) return undefined
    const stage = new Stage(this.#options, `range-${++this.#ranges}`)
    while (stage.rows + stage.malformed < limits.rows && stage.bytes < limits.bytes && stage.files.length < maxFiles) {
      const claim = this.#queue[0]
      if (claim === undefined) break
      const finished = await stage.read(claim, {
        rows: limits.rows - stage.rows - stage.malformed,
        bytes: limits.bytes - stage.bytes,
      })
      if (!finished) break
      this.#queue.shift()
    }
    const range = await stage.finish()
    if (range.files.length > 0) return range
    // the next file is still being written
    this.#waiting = true
    await range.release()
    return undefined
  }

  async bytesAhead(): Promise<number> {
    let bytes = this.#queue.reduce((sum, { size, bytesDone }) => sum + size - bytesDone, 0)
    const listed = this.#names.map((name) => stat(join(this.#options.source.folder, name)))
    for (const file of await Promise.allSettled(listed)) if (file.status === 'fulfilled') bytes += file.value.size
    return bytes
  }

  async wait(signal: AbortSignal): Promise<void> {
    await this.#watch?.wait(this.#waiting ? 100 : 1000, signal)
  }

  async rewind(): Promise<void> {
    this.#queue = []
    this.#seen.clear()
    this.#names = []
    this.#inputsTaken = false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watch?.[Symbol.dispose]()
  }

  /** A file was seen that is not complete yet. */
  #waiting = false

  async #refill(limits: Limits): Promise<void> {
    if (this.#options.inputs !== undefined) {
      if (!this.#inputsTaken) this.#queue = await this.#takeInputs(this.#options.inputs)
      this.#inputsTaken = true
      return
    }
    await this.#findClaims()
    const { folder } = this.#options.source
    if (this.#names.length === 0) this.#names = await listFolder(folder)
    await failpoint('listed')
    this.#waiting = false
    let bytes = this.#queue.reduce((sum, claim) => sum + claim.size, 0)
    while (this.#names.length > 0 && this.#queue.length < maxFiles && bytes < limits.bytes) {
      const name = this.#names.shift() ?? ''
      const claim = await claimFile(folder, name, this.#claimId(), this.#now())
      if (claim === 'not yet') this.#waiting = true
      else if (claim !== undefined) {
        this.#seen.add(claim.id)
        this.#queue.push(claim)
        bytes += claim.size
      }
    }
    await failpoint('claimed')
  }

  // Claims of an owner before us, found again at start and whenever there is nothing else to do.
  async #findClaims(): Promise<void> {
    const claims = await listClaims(this.#options.source.folder)
    const there = new Set(claims.map(({ id }) => id))
    for (const id of this.#seen) if (!there.has(id)) this.#seen.delete(id)
    const fresh = claims.filter(({ id }) => !this.#seen.has(id))
    if (fresh.length === 0) return
    const known = await this.#options.known(fresh.map(({ id }) => id))
    for (const claim of fresh) {
      this.#seen.add(claim.id)
      const stored = known.get(claim.id)
      if (stored === undefined) this.#queue.push(claim)
      else if (stored.state === 'reading')
        this.#queue.push({ ...claim, ...doneOf(stored), arrivedAt: stored.arrivedAt })
    }
  }

  // Sorts by time, then by the order of the claims.
  #claimId(): string {
    this.#claims++
    return `${this.#now().toString(36).padStart(9, '0')}-${process.pid.toString(36)}-${this.#claims.toString(36).padStart(6, '0')}`
  }

  async #takeInputs({ paths, again }: { paths: string[]; again: boolean }): Promise<Claim[]> {
    const claims = await claimInputs(paths)
    const known = await this.#options.known(claims.map(({ id }) => id))
    return claims.flatMap((claim) => {
      const stored = known.get(claim.id)
      if (stored === undefined) return [claim]
      const same = stored.size === claim.size && stored.mtimeNs === claim.mtimeNs
      if (again && !this.#reread.has(claim.id)) {
        this.#reread.add(claim.id)
        return [claim]
      }
      if (same) return stored.state === 'reading' ? [{ ...claim, ...doneOf(stored) }] : []
      this.#options.onProblem(
        new MillraceError('FILE_CHANGED', {
          at: claim.path,
          message: 'the file has been read before, and its size or time has changed since',
          hint: 'add --again to read it as a new file; its rows are then read from the beginning',
        }),
      )
      return []
    })
  }

  /** Inputs read anew on request: once in a run, also when the run goes back to what is stored. */
  readonly #reread = new Set<string>()
}

function doneOf(stored: StoredFile): Pick<Claim, 'bytesDone' | 'linesDone' | 'rowsDone'> {
  return { bytesDone: stored.bytesDone, linesDone: stored.linesDone, rowsDone: stored.rowsDone }
}

// ---- one range -----------------------------------------------------------------------------------------------------

/** The rows of files whose columns stand in the same order. */
interface Layout {
  /** The source's columns in the order of the file. */
  columns: string[]
  /** Several files, so that DuckDB reads them on several threads; the last one is being written. */
  spools: SpoolFile[]
  longestRow: number
}

interface Portion {
  rows: number
  malformed: number
  bytesDone: number
  linesDone: number
}

class Stage {
  rows = 0
  malformed = 0
  bytes = 0
  readonly files: FileProgress[] = []
  readonly #options: FilesReaderOptions
  readonly #name: string
  readonly #paths: string[] = []
  readonly #layouts = new Map<string, Layout>()
  readonly #malformedRows: SpoolFile
  #arrivedAt: Date | undefined
  #spools = 0

  constructor(options: FilesReaderOptions, name: string) {
    this.#options = options
    this.#name = name
    this.#malformedRows = new SpoolFile(join(options.spool, `${name}-malformed.csv`))
  }

  /** Reads on in a file, up to the limits. Answers whether the file is finished. */
  async read(claim: Claim, limits: Limits): Promise<boolean> {
    let handle: FileHandle
    try {
      handle = await open(claim.at, 'r')
    } catch (error) {
      return this.#quarantine(claim, 'FILE_UNREADABLE', error instanceof Error ? error.message : String(error))
    }
    try {
      const before = await handle.stat({ bigint: true })
      if (!unchanged(claim, before)) {
        if (claim.bytesDone > 0) {
          return this.#quarantine(
            claim,
            'FILE_CHANGED',
            'the file changed after a part of it had been read; that part has landed',
          )
        }
        Object.assign(claim, { size: Number(before.size), mtimeNs: before.mtimeNs, inode: before.ino })
      }
      const header = await this.#header(claim, handle)
      if ('code' in header) return this.#quarantine(claim, header.code, header.message)

      const layout = this.#layoutOf(header.columns)
      const spool = this.#spoolOf(layout)
      const marks = { spools: layout.spools.length, rows: spool.bytes, malformed: this.#malformedRows.bytes }
      const portion = await this.#cut(claim, handle, header, layout, limits)
      const after = await handle.stat({ bigint: true })
      if (!unchanged(claim, after)) {
        // somebody still writes: take back what was cut, and read it again when it has come to rest
        for (const added of layout.spools.splice(marks.spools)) await added.remove()
        await spool.truncate(marks.rows)
        await this.#malformedRows.truncate(marks.malformed)
        if (claim.bytesDone > 0 || this.#options.inputs !== undefined) {
          return this.#quarantine(claim, 'FILE_CHANGED', 'the file changed while it was being read')
        }
        Object.assign(claim, { size: Number(after.size), mtimeNs: after.mtimeNs, inode: after.ino })
        return false
      }
      return this.#take(claim, portion)
    } finally {
      await handle.close()
    }
  }

  #take(claim: Claim, portion: Portion): boolean {
    this.rows += portion.rows
    this.malformed += portion.malformed
    this.bytes += portion.bytesDone - claim.bytesDone
    claim.bytesDone = portion.bytesDone
    claim.linesDone = portion.linesDone
    claim.rowsDone += portion.rows + portion.malformed
    const finished = claim.bytesDone >= claim.size
    this.files.push(this.#progress(claim, finished ? 'done' : 'reading'))
    return finished
  }

  #quarantine(claim: Claim, code: string, message: string): true {
    this.files.push({ ...this.#progress(claim, 'quarantined'), code, message })
    return true
  }

  #progress(claim: Claim, state: FileProgress['state']): FileProgress {
    if (this.#arrivedAt === undefined || claim.arrivedAt < this.#arrivedAt) this.#arrivedAt = claim.arrivedAt
    return {
      source: this.#options.id,
      id: claim.id,
      path: claim.path,
      size: claim.size,
      mtimeNs: claim.mtimeNs,
      inode: claim.inode,
      state,
      bytesDone: claim.bytesDone,
      linesDone: claim.linesDone,
      rowsDone: claim.rowsDone,
      arrivedAt: claim.arrivedAt,
    }
  }

  async #header(
    claim: Claim,
    handle: FileHandle,
  ): Promise<{ columns: string[]; bytes: number; lines: number } | { code: string; message: string }> {
    const { format, columns } = this.#options.source
    if (format.is !== 'csv')
      return { code: 'FILE_UNREADABLE', message: `files of the format ${format.is} cannot be read yet` }
    const first = Buffer.alloc(Math.min(claim.size, chunkBytes))
    const { bytesRead } = await handle.read(first, 0, first.length, 0)
    const header = readHeader(first.subarray(0, bytesRead), format, bytesRead >= claim.size)
    if (header.is === 'incomplete')
      return { code: 'NO_HEADER', message: 'the first line is longer than a header may be' }
    if (header.is === 'bad') return { code: header.code, message: header.message }
    const match = matchHeader(
      header.names,
      columns.map(({ name }) => name),
    )
    if (match.is === 'mismatch') return { code: 'HEADER_MISMATCH', message: match.message }
    return { columns: header.names, bytes: header.bytes, lines: header.lines }
  }

  #layoutOf(columns: string[]): Layout {
    const key = JSON.stringify(columns)
    const known = this.#layouts.get(key)
    if (known) return known
    const layout = { columns, spools: [], longestRow: 0 }
    this.#layouts.set(key, layout)
    return layout
  }

  #spoolOf(layout: Layout): SpoolFile {
    const last = layout.spools.at(-1)
    if (last !== undefined && last.bytes < spoolBytes) return last
    const spool = new SpoolFile(join(this.#options.spool, `${this.#name}-rows-${++this.#spools}.csv`))
    layout.spools.push(spool)
    return spool
  }

  async #cut(
    claim: Claim,
    handle: FileHandle,
    header: { columns: string[]; bytes: number; lines: number },
    layout: Layout,
    limits: Limits,
  ): Promise<Portion> {
    const { format } = this.#options.source
    if (format.is !== 'csv') throw new MillraceError('NOT_SUPPORTED', { message: `no reader for ${format.is}` })
    let spool = this.#spoolOf(layout)
    const start = claim.bytesDone === 0 ? header.bytes : claim.bytesDone
    const firstLine = claim.bytesDone === 0 ? header.lines + 1 : claim.linesDone + 1
    const cutter = new CsvCutter({
      dialect: format,
      fields: header.columns.length,
      maxRowBytes,
      firstLine,
      file: this.#fileNumber(claim.path),
      rows: (bytes) => spool.append(bytes),
      malformed: (bytes) => this.#malformedRows.append(bytes),
      maxRows: limits.rows,
    })
    const portion: Portion = { rows: 0, malformed: 0, bytesDone: start, linesDone: firstLine - 1 }
    let at = start
    // one buffer for all chunks: the cutter keeps copies of what it needs
    const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, Math.max(0, claim.size - at)))
    for (;;) {
      const { bytesRead } = await handle.read(chunk, 0, Math.min(chunk.length, Math.max(0, claim.size - at)), at)
      at += bytesRead
      const last = at >= claim.size || bytesRead === 0
      const cut = cutter.push(chunk.subarray(0, bytesRead), last)
      portion.rows += cut.rows
      portion.malformed += cut.malformed
      portion.bytesDone += cut.consumed
      layout.longestRow = Math.max(layout.longestRow, cut.longestRow)
      await spool.flush()
      await this.#malformedRows.flush()
      if (last && !cut.full) portion.bytesDone = claim.size
      if (last || cut.full || portion.bytesDone - start >= limits.bytes) break
      spool = this.#spoolOf(layout)
    }
    portion.linesDone = cutter.line - 1
    return portion
  }

  #fileNumber(path: string): number {
    this.#paths.push(path)
    return this.#paths.length - 1
  }

  // ---- what DuckDB reads -------------------------------------------------------------------------------------------

  async finish(): Promise<Range> {
    const layouts = [...this.#layouts.values()].filter((layout) => layout.longestRow > 0)
    for (const { spools } of layouts) for (const spool of spools) await spool.close()
    await this.#malformedRows.close()
    const quarantined = this.files.filter(({ state }) => state === 'quarantined').length
    const places = `join (values ${this.#placeValues()}) p(file, path) on p.file = s._file`
    return {
      rows: this.rows,
      malformed: this.malformed,
      bytes: this.bytes,
      select: this.#rowsSql(layouts),
      malformedSelect: this.malformed === 0 ? undefined : this.#malformedSql(),
      where: { join: places, place: 'p.path', line: 's._line', rawText: this.#rawSql(layouts) },
      files: this.files,
      filesQuarantined: quarantined,
      positions: [],
      ranges: this.files
        .slice(0, 100)
        .map(({ path, state, rowsDone, bytesDone }) => ({ file: path, state, rows: rowsDone, bytes: bytesDone })),
      arrivedAt: this.#arrivedAt,
      settles: [],
      release: async () => {
        for (const { spools } of this.#layouts.values()) for (const spool of spools) await spool.remove()
        await this.#malformedRows.remove()
      },
    }
  }

  #placeValues(): string {
    return this.#paths.length === 0 ? "(0, '')" : this.#paths.map((path, i) => `(${i}, ${sqlText(path)})`).join(', ')
  }

  #rowsSql(layouts: Layout[]): string {
    const { columns, format } = this.#options.source
    const none = columns.map(({ name }) => `null::varchar as ${identifier(name)}`)
    if (layouts.length === 0 || format.is !== 'csv') {
      return `select 0::bigint as _row, 0 as _file, 0::bigint as _line, 0 as _layout, '' as _quoted, ${none.join(', ')} where false`
    }
    // An empty field is an empty text where a text must be there, and nothing everywhere else.
    const fields = columns.map(({ name, type, nullable }) =>
      type.is === 'text' && !nullable ? identifier(name) : `nullif(${identifier(name)}, '') as ${identifier(name)}`,
    )
    const selects = layouts.map((layout, i) => {
      const paths = layout.spools.filter(({ bytes }) => bytes > 0).map(({ path }) => path)
      const from = readSpoolSql(paths, layout.columns, format, layout)
      return `select
  -- arrival order: file by file, line by line
  (_file::bigint << 40) | _line as _row,
  _file,
  _line,
  ${i} as _layout,
  _quoted,
  ${fields.join(',\n  ')}
from ${from}`
    })
    return selects.join('\nunion all\n')
  }

  // The row as it stood in the file, from its fields and from which of them were quoted.
  #rawSql(layouts: Layout[]): string {
    const { format, columns } = this.#options.source
    if (layouts.length === 0 || format.is !== 'csv') return "''"
    const texts = columns.map(({ name }) => `coalesce(s.${identifier(name)}, '') as ${identifier(name)}`)
    const each = layouts.map((layout, i) => `when ${i} then ${rawSql(layout.columns, format, 'r')}`)
    return `(select case s._layout ${each.join(' ')} end from (select s._quoted, ${texts.join(', ')}) r)`
  }

  #malformedSql(): string {
    const messages = Object.entries(reasons).map(([code, says]) => `when ${sqlText(code)} then ${sqlText(says)}`)
    return `select
  ${sqlText(this.#options.id)} as source,
  p.path as place,
  s._line::bigint as line,
  'read' as stage,
  s.code,
  null as column_name,
  case s.code ${messages.join(' ')} else s.code end as message,
  s.raw,
  case when s.hex = '' then null else '\\x' || s.hex end as raw_bytes,
  null as fields
from ${readMalformedSql([this.#malformedRows.path])} s
join (values ${this.#placeValues()}) p(file, path) on p.file = s._file`
  }
}

function unchanged(claim: Claim, stats: BigIntStats): boolean {
  return Number(stats.size) === claim.size && stats.mtimeNs === claim.mtimeNs && stats.ino === claim.inode
}
