/**
 * One range: rows of some files, staged for DuckDB, with everything that is said of them. What is read, what is taken
 * back, and the SQL over it have to agree, so it is all here; how bytes become rows is each format's own affair.
 */
import { type BigIntStats, constants } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { identifier, sqlText } from '../../plan/identifier.ts'
import type { FilesSource, Origin } from '../../plan/plan.ts'
import type { FileProgress } from '../../store/store.ts'
import type { Limits, Range, Sql } from '../source.ts'
import { type Claim, kindOf } from './claims.ts'
import { dropContent } from './content.ts'
import { ParquetRows } from './parquet-rows.ts'
import { malformedLettersSql } from './read-spool.ts'
import type { FileReason } from './reasons.ts'
import { TextRows } from './text-rows.ts'

export interface StageOptions {
  /** The source's id in the plan. */
  id: string
  source: FilesSource
  /** The files of a bounded run: they stay where they are. */
  inputs?: unknown
  spool: string
  sql: Sql
  /**
   * Another DuckDB that may read the spool, with a share of the memory beside the first: what may leave one unusable is
   * read there first, from end to end. Left out by who only takes a look.
   */
  apart?(share: number): Promise<Sql & AsyncDisposable>
  signal?: AbortSignal
  /** In the names of what is staged. */
  name: string
}

/** What one format does with the files of a range. */
export interface RowStage {
  /** Reads on in a file, up to the limits, from where the claim says. */
  read(claim: Claim, handle: FileHandle, file: number, limits: Limits): Promise<Portion | Unreadable>
  /** Nothing more should be read into it, though the limits allow it. */
  readonly full: boolean
  /** Some rows are so long that they should not be sorted. */
  readonly long: boolean
  /** Takes back what the last `read` staged. */
  takeBack(): Promise<void>
  /** Nothing more comes. */
  close(): Promise<void>
  /** SQL for the rows: `_file`, `_line`, the columns as text, and what `rawText` needs; undefined when there are none. */
  rowsSql(): string | undefined
  /** SQL for the malformed rows: `_file`, `_line`, `code`, `message`, `column_name`, `raw`, `hex`. */
  malformedSql(): string | undefined
  /** SQL over the staged relation `s`, with what has to be joined for it. */
  raw(): { join: string; text: string }
  fetchRaw?(sql: Sql, staged: string, rows: string): Promise<void>
  release(): Promise<void>
}

export interface Portion {
  is: 'read'
  rows: number
  malformed: number
  /** Of the content, unpacked; of a Parquet file, about. */
  bytesDone: number
  linesDone: number
  finished: boolean
  /** How many values of columns that the source does not name. */
  unknown: Record<string, number>
}

export interface Unreadable {
  is: 'bad'
  code: FileReason
  message: string
}

/** What becomes of a file of which not even one row can be taken. */
export const needsMoreMemory: Unreadable = {
  is: 'bad',
  code: 'NEEDS_MORE_MEMORY',
  message: 'one of its rows, though not a long one, takes more memory than MEMORY_LIMIT allows; raise that',
}

export class Stage {
  rows = 0
  malformed = 0
  bytes = 0
  readonly files: FileProgress[] = []
  readonly #options: StageOptions
  readonly #rowStage: RowStage
  readonly #paths: string[] = []
  readonly #unknown = new Map<string, Record<string, number>>()
  /** Unpacked files that this range has read to their end. */
  readonly #unpacked: string[] = []
  #arrivedAt: Date | undefined

  constructor(options: StageOptions) {
    this.#options = options
    this.#rowStage = options.source.format.is === 'parquet' ? new ParquetRows(options) : new TextRows(options)
  }

  /** Nothing more should be read into it, though the limits allow it. */
  get full(): boolean {
    return this.#rowStage.full
  }

  /** Reads on in a file, up to the limits: the file is done with, has more, or changed meanwhile and was not read. */
  async read(claim: Claim, limits: Limits): Promise<'done' | 'more' | 'changed'> {
    let handle: FileHandle
    try {
      // nothing waits for a FIFO that has come in the file's place, and a link in its place is not followed
      const follow = this.#options.inputs !== undefined
      handle = await open(claim.at, constants.O_RDONLY | constants.O_NONBLOCK | (follow ? 0 : constants.O_NOFOLLOW))
    } catch (error) {
      return this.#quarantine(claim, 'FILE_UNREADABLE', whyUnreadable(error))
    }
    try {
      const before = await handle.stat({ bigint: true })
      if (!before.isFile()) {
        return await this.#quarantine(claim, 'FILE_UNREADABLE', `it is ${kindOf(before)}, and no regular file`)
      }
      if (!unchanged(claim, before)) {
        if (claim.bytesDone > 0) {
          return await this.#quarantine(claim, 'FILE_CHANGED', 'the file changed after a part of it had been read')
        }
        Object.assign(claim, { size: Number(before.size), mtimeNs: before.mtimeNs, inode: before.ino })
      }
      const portion = await this.#readPortion(claim, handle, limits)
      const after = await handle.stat({ bigint: true })
      if (!unchanged(claim, after)) return await this.#changed(claim, after)
      if (portion.is === 'bad') return this.#quarantine(claim, portion.code, portion.message)
      return this.#take(claim, portion)
    } catch (error) {
      if (this.#options.signal?.aborted) return 'more'
      throw error
    } finally {
      await handle.close()
    }
  }

  async #readPortion(claim: Claim, handle: FileHandle, limits: Limits): Promise<Portion | Unreadable> {
    const portion = await this.#rowStage.read(claim, handle, this.#paths.length, limits)
    this.#paths.push(claim.path)
    return portion
  }

  // Somebody still writes: what was read is taken back, and read again when the file has come to rest.
  async #changed(claim: Claim, after: BigIntStats): Promise<'done' | 'changed'> {
    await this.#rowStage.takeBack()
    await dropContent(claim)
    if (claim.bytesDone > 0 || this.#options.inputs !== undefined) {
      return this.#quarantine(claim, 'FILE_CHANGED', 'the file changed while it was being read')
    }
    Object.assign(claim, { size: Number(after.size), mtimeNs: after.mtimeNs, inode: after.ino })
    return 'changed'
  }

  #take(claim: Claim, portion: Portion): 'done' | 'more' {
    this.rows += portion.rows
    this.malformed += portion.malformed
    this.bytes += portion.bytesDone - claim.bytesDone
    claim.bytesDone = portion.bytesDone
    claim.linesDone = portion.linesDone
    claim.rowsDone += portion.rows + portion.malformed
    if (Object.keys(portion.unknown).length > 0) this.#unknown.set(claim.id, portion.unknown)
    if (portion.finished && claim.content?.unpacked) this.#unpacked.push(claim.content.path)
    this.files.push(this.#progress(claim, portion.finished ? 'done' : 'reading'))
    return portion.finished ? 'done' : 'more'
  }

  async #quarantine(claim: Claim, code: FileReason, why: string): Promise<'done'> {
    await dropContent(claim)
    const message = claim.rowsDone === 0 ? why : `${why}; its first ${claim.rowsDone} rows have been read before`
    this.files.push({ ...this.#progress(claim, 'quarantined'), code, message })
    return 'done'
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

  // ---- what DuckDB reads -------------------------------------------------------------------------------------------

  async finish(): Promise<Range> {
    await this.#rowStage.close()
    const { join: rawJoin, text } = this.#rowStage.raw()
    const fetchRaw = this.#rowStage.fetchRaw?.bind(this.#rowStage)
    return {
      source: this.#options.id,
      rows: this.rows,
      malformed: this.malformed,
      bytes: this.bytes,
      long: this.#rowStage.long,
      select: (batch) => this.#selectSql(batch),
      malformedSelect: this.malformed === 0 ? undefined : this.#malformedSql(),
      where: {
        join: `${this.#placesSql('s')}\n${rawJoin}`,
        place: 'p.path',
        line: 's._line',
        partition: "''",
        rawText: text,
      },
      ...(fetchRaw ? { fetchRaw } : {}),
      files: this.files,
      filesQuarantined: this.files.filter(({ state }) => state === 'quarantined').length,
      positions: [],
      ranges: this.files.slice(0, 100).map(({ id, path, state, rowsDone, bytesDone }) => {
        const unknown = this.#unknown.get(id)
        return { file: path, state, rows: rowsDone, bytes: bytesDone, ...(unknown ? { unknown_columns: unknown } : {}) }
      }),
      phases: {},
      arrivedAt: this.#arrivedAt,
      settles: [],
      release: () => this.release(),
    }
  }

  /** Removes what was staged. */
  async release(): Promise<void> {
    await this.#rowStage.release()
    for (const path of this.#unpacked) await rm(path, { force: true })
  }

  #placesSql(relation: string): string {
    const values = this.#paths.map((path, i) => `(${i}, ${sqlText(path)})`)
    return `join (values ${values.join(', ') || "(0, '')"}) p(file, path) on p.file = ${relation}._file`
  }

  #selectSql(batch: number): string {
    const { columns } = this.#options.source
    const rows = this.#rowStage.rowsSql()
    if (rows === undefined) {
      const none = columns.map(({ name }) => `null::varchar as ${identifier(name)}`)
      return `select 0::bigint as _row, 0 as _file, 0::bigint as _line, '' as _span, ${none.join(', ')} where false`
    }
    const origins = columns.flatMap(({ name, origin }) =>
      origin === undefined ? [] : [`${this.#originSql(origin, batch)} as ${identifier(name)}`],
    )
    return `select
  -- arrival order: file by file, line by line
  (_file::bigint << 40) | _line as _row,
  ${[...origins, '*'].join(',\n  ')}
from (
${rows}
)`
  }

  #originSql(origin: Origin, batch: number): string {
    switch (origin) {
      case 'file':
        return `([${this.#paths.map(sqlText).join(', ')}])[_file + 1]`
      case 'line':
        return '_line::varchar'
      case 'batch':
        return `'${batch}'`
      // a file has none of these: the plan's check says so
      case 'partition':
      case 'offset':
      case 'timestamp':
      case 'key':
      case 'headers':
        return 'null::varchar'
    }
  }

  #malformedSql(): string {
    return malformedLettersSql(this.#options.id, this.#rowStage.malformedSql() ?? '', {
      place: 'p.path',
      line: 's._line::bigint',
      join: this.#placesSql('s'),
    })
  }
}

// Too many open files, or too little memory, is not the file's fault, and passes.
function whyUnreadable(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  switch (code) {
    case 'ENOENT':
      return 'the file is gone'
    case 'EACCES':
    case 'EPERM':
      return `this user may not read the file (${code})`
    case 'ELOOP':
      return 'it is a symbolic link, and no regular file'
    case 'EMFILE':
    case 'ENFILE':
    case 'ENOMEM':
      throw error
    default:
      return error instanceof Error ? error.message : String(error)
  }
}

function unchanged(claim: Claim, stats: BigIntStats): boolean {
  return Number(stats.size) === claim.size && stats.mtimeNs === claim.mtimeNs && stats.ino === claim.inode
}
