/** Rows of Parquet files: DuckDB reads them portion by portion into tables, from a link that nobody else can change. */
import { createWriteStream } from 'node:fs'
import { type FileHandle, link, lstat, realpath, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { asDiskFull } from '../../errors.ts'
import { identifier } from '../../plan/identifier.ts'
import { columnsRead } from '../../plan/plan.ts'
import type { Limits, Sql } from '../source.ts'
import type { Claim } from './claims.ts'
import { type Content, chunksOf } from './content.ts'
import { type BadParquet, openParquet, rowsWithin, stageParquet, tryParquet, whyNotParquet } from './parquet.ts'
import { needsMoreMemory, type Portion, type RowStage, type StageOptions, type Unreadable } from './stage.ts'

// What both take together is near the limit then. A file with large row groups is looked at with all of it: put aside, it
// would have to be written anew.
const smallShare = 1 / 4

export class ParquetRows implements RowStage {
  readonly #options: StageOptions
  readonly #columns: string[]
  /** The rows of all files, once there are some. */
  readonly #table: string
  #isMade = false
  /** The file that the last `read` has staged. */
  #last: number | undefined
  /** Rows with a NUL, which text in Postgres cannot hold, are malformed. */
  #malformed = 0
  readonly full = false
  readonly long = false
  #apart: (Sql & AsyncDisposable) | undefined

  constructor(options: StageOptions) {
    this.#options = options
    this.#columns = columnsRead(options.source).map(({ name }) => name)
    this.#table = identifier(`${options.name}-rows`)
  }

  async read(claim: Claim, handle: FileHandle, file: number, limits: Limits): Promise<Portion | Unreadable> {
    const { sql, source, spool, name } = this.#options
    this.#last = undefined
    const why = await whyNotParquet(handle, claim.size)
    if (why !== undefined) return { is: 'bad', code: 'NOT_PARQUET', message: why }
    if (limits.setAside) return needsMoreMemory
    // DuckDB may only read the spool, and would take a * in a file's own name for a pattern
    claim.content ??= await inSpool(claim, handle, join(spool, `${name}-${file}.parquet`))
    const { path } = claim.content
    const trouble = claim.rowsDone === 0 ? await this.#tryApart(path) : undefined
    if (trouble !== undefined) return trouble
    const opened = await openParquet(sql, path, source)
    if (opened.is === 'bad') return opened
    const { rows, unknown } = opened.file
    const from = claim.rowsDone
    const within = await rowsWithin(sql, opened.file, from, limits)
    if (typeof within !== 'number') return within
    const to = from + within
    const staged = await stageParquet(sql, opened.file, {
      from,
      to,
      into: `${this.#isMade ? 'insert into' : 'create table'} ${this.#table}${this.#isMade ? '' : ' as'}`,
      number: file,
    })
    if (staged !== 'read') return staged
    this.#isMade = true
    this.#last = file
    const malformed = await this.#countNul(file)
    this.#malformed += malformed
    return {
      is: 'read',
      rows: to - from - malformed,
      malformed,
      bytesDone: rows === to ? claim.size : Math.floor((claim.size * to) / rows),
      linesDone: to,
      finished: to >= rows,
      unknown: source.unknown?.is === 'count' ? Object.fromEntries(unknown.map((column) => [column, to - from])) : {},
    }
  }

  // A damaged file can leave a DuckDB unusable, and may show its damage only after many rows: no row is taken before a
  // DuckDB of its own has read them all.
  async #tryApart(path: string): Promise<BadParquet | undefined> {
    const { apart, source } = this.#options
    if (apart === undefined) return undefined
    this.#apart ??= await apart(smallShare)
    const trouble = await tryParquet(this.#apart, path, source)
    if (trouble?.code === 'NEEDS_MORE_MEMORY') {
      await this.close()
      await using large = await apart(1)
      return await tryParquet(large, path, source)
    }
    if (trouble !== undefined) await this.#apart.run('select 1').catch(() => this.close())
    return trouble
  }

  async takeBack(): Promise<void> {
    if (this.#last === undefined) return
    this.#malformed -= await this.#countNul(this.#last)
    await this.#options.sql.run(`delete from ${this.#table} where _file = ${this.#last}`)
    this.#last = undefined
  }

  async #countNul(file: number): Promise<number> {
    const [nul] = await this.#options.sql.rows<{ n: number }>(
      `select count(*)::integer as n from ${this.#table} where _file = ${file} and (${this.#hasNul()})`,
    )
    return nul?.n ?? 0
  }

  async close(): Promise<void> {
    await this.#apart?.[Symbol.asyncDispose]()
    this.#apart = undefined
  }

  rowsSql(): string | undefined {
    if (!this.#isMade) return undefined
    return `select *\nfrom ${this.#table}\nwhere not (${this.#hasNul()})`
  }

  malformedSql(): string | undefined {
    if (this.#malformed === 0) return undefined
    return `select
  _file,
  _line,
  'NUL_BYTE' as code,
  null as column_name,
  'the row has a NUL character, which text in Postgres cannot hold' as message,
  -- JSON writes a NUL as \\u0000
  ${this.#json('p')} as raw,
  '' as hex
from ${this.#table} p
where ${this.#hasNul()}`
  }

  raw(): { join: string; text: string } {
    return { join: '', text: this.#json('s') }
  }

  async release(): Promise<void> {
    await this.close()
    await this.#options.sql.run(`drop table if exists ${this.#table}`)
  }

  #json(relation: string): string {
    const members = this.#columns.map((name) => `'${name.replaceAll("'", "''")}', ${identifier(relation, name)}`)
    return `json_object(${members.join(', ')})::varchar`
  }

  #hasNul(): string {
    return this.#columns.map((name) => `coalesce(contains(${identifier(name)}, chr(0)), false)`).join(' or ')
  }
}

// A link to the file that is open; a copy where none can be made, or where another file lies under the name by now.
async function inSpool(claim: Claim, handle: FileHandle, path: string): Promise<Content> {
  await realpath(claim.at)
    .then((real) => link(real, path))
    .catch(() => {})
  const linked = await lstat(path, { bigint: true }).catch(() => undefined)
  if (linked?.ino !== (await handle.stat({ bigint: true })).ino) {
    await rm(path, { force: true })
    await pipeline(chunksOf(handle, 0), createWriteStream(path)).catch((error: unknown) => {
      throw asDiskFull(error, path)
    })
  }
  return { path, size: claim.size, unpacked: true }
}
