/**
 * The rows that a stream on Spark has written, as a source: only files that the manifest names, in its order. Where it
 * stands is how many of them are in the tables, which the transaction of each batch says; they are removed then.
 */
import { readdir, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { MillraceError } from '../errors.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import type { Source } from '../plan/plan.ts'
import { type Lag, type Limits, type Range, type SourceReader, type Sql, sparkPartitions } from '../sources/source.ts'
import { type Committed, deadLetterColumns, type Position } from '../store/store.ts'
import { Manifest } from './manifest.ts'
import { streamed, verdicts } from './prefix.ts'

export interface StreamedRowsOptions {
  /** The source's id in the plan. */
  id: string
  source: Source
  pipeline: string
  /** Where Spark writes, of this reading of the source. */
  folderOf(reading: number): string
  sql: Sql
  committed(): Promise<Committed>
  /** Keeps Spark at it; answers whether it had nothing to do. */
  look(reading: number): boolean
  /** Once this reader is closed. */
  close(): Promise<void>
}

interface RowFile {
  /** Its place in the manifest. */
  number: number
  path: string
  rows: number
}

const restMs = 200

/** A reading of the source from its beginning: `millrace reset` makes another one necessary. */
interface Reading {
  /** The batch that was the last when it began. */
  number: number
  folder: string
  manifest: Manifest
}

export class StreamedRows implements SourceReader {
  readonly #options: StreamedRowsOptions
  #reading: Reading | undefined
  /** How many files the manifest has named. */
  #named = 0
  /** Those of them that were not handed out. */
  #ahead: RowFile[] = []
  /** Those that were, and are not known to be committed. */
  #handedOut: RowFile[] = []
  /** Those that Spark has told of; all stand at the same file. */
  readonly #partitions = new Set<string>()
  /** Spark had nothing to do, and nothing of what it did before is left. */
  #isQuiet = false
  readonly unsettled = false

  constructor(options: StreamedRowsOptions) {
    this.#options = options
  }

  async next(limits: Limits): Promise<Range | undefined> {
    this.#reading ??= await this.#begin()
    // before the manifest is read: whatever was done by then is in it
    const nothingToDo = this.#options.look(this.#reading.number)
    await this.#add(this.#reading, await this.#reading.manifest.more())
    this.#isQuiet = nothingToDo && this.#ahead.length === 0
    const files = this.#take(limits)
    if (files.length === 0) return undefined
    this.#handedOut.push(...files)
    return await this.#rangeOf(this.#reading, files)
  }

  lags(): Map<string, readonly Lag[]> {
    // of the partitions that it has heard of; until Spark is done, each of them may have more
    const ahead = this.#ahead.reduce((sum, { rows }) => sum + rows, 0)
    const rows = Math.max(ahead, this.#isQuiet ? 0 : 1)
    const lags = [...this.#partitions].map((partition) => ({ partition, rows }))
    // of none: it is not known whether there are any
    const knowsNothing = this.#reading === undefined || (lags.length === 0 && !this.#isQuiet)
    return new Map(knowsNothing ? [] : [[this.#options.id, lags]])
  }

  async wait(signal: AbortSignal): Promise<void> {
    await sleep(restMs, undefined, { signal }).catch(() => {})
  }

  async rewind(): Promise<void> {
    this.#reading = undefined
    this.#partitions.clear()
    this.#named = 0
    this.#ahead = []
    this.#handedOut = []
    this.#isQuiet = false
  }

  async settled(positions: readonly Position[]): Promise<void> {
    const done = this.#doneOf(positions)
    const gone = this.#handedOut.filter(({ number }) => number < done)
    this.#handedOut = this.#handedOut.filter(({ number }) => number >= done)
    for (const { path } of gone) await remove(path)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#options.close()
  }

  // ---- where it stands ---------------------------------------------------------------------------------------------

  async #begin(): Promise<Reading> {
    const { id, pipeline, folderOf, committed } = this.#options
    const { batch, positions } = await committed()
    const stored = positions.filter(({ source }) => source === id)
    const own = stored.find(({ partition, position }) => /^\d+$/.test(partition) && position > 0)
    if (own !== undefined) {
      throw new MillraceError('WRONG_USAGE', {
        at: `${pipeline} / ${id}`,
        message: 'it has read its topic itself, and Spark would read it from the beginning once more',
        hint: `go on without --engine spark, or forget what it has read: millrace reset ${pipeline} --results`,
      })
    }
    for (const { partition } of stored) if (partition.startsWith(sparkPartitions)) this.#partitions.add(partition)
    const [before] = [...this.#partitions].map((partition) => Number(partition.split('/')[1]))
    const number = before ?? batch
    const folder = folderOf(number)
    const done = this.#doneOf(stored)
    const manifest = new Manifest(folder)
    const named = await manifest.more()
    if (named.length < done) {
      throw new MillraceError('LOG_TRUNCATED', {
        at: folder,
        message: `${done} files of Spark are in the tables, and its manifest names ${named.length}`,
        hint: `is CHECKPOINT_LOCATION another than before? If it was removed: millrace reset ${pipeline} --results`,
      })
    }
    const there = new Set(await readdir(folder).catch(() => []))
    const [lost] = named.slice(done).filter((name) => !there.has(name))
    if (lost !== undefined) {
      throw new MillraceError('POSITION_LOST', {
        at: join(folder, lost),
        message: 'Spark has written this file, it is not in the tables, and it is gone',
        hint: `did its rows go into another database? To begin anew, forget them: millrace reset ${pipeline} --results`,
      })
    }
    // a process that was killed behind its commit has left them
    for (const name of named.slice(0, done)) if (there.has(name)) await remove(join(folder, name))
    this.#named = done
    const reading = { number, folder, manifest }
    await this.#add(reading, named.slice(done))
    return reading
  }

  async #add({ folder }: Reading, names: readonly string[]): Promise<void> {
    if (names.length === 0) return
    const { sql } = this.#options
    const paths = names.map((name) => join(folder, name))
    const footers = await sql.rows<{ path: string; rows: number }>(
      `select file_name as path, num_rows::double as rows from parquet_file_metadata([${paths.map(sqlText).join(', ')}])`,
    )
    const rows = new Map(footers.map((footer) => [footer.path, footer.rows]))
    for (const path of paths) this.#ahead.push({ number: this.#named++, path, rows: rows.get(path) ?? 0 })
  }

  // At least one: Spark was told how large they may be.
  #take({ rows }: Limits): RowFile[] {
    const files: RowFile[] = []
    let sum = 0
    while (this.#ahead[0] !== undefined && (files.length === 0 || sum + this.#ahead[0].rows <= rows)) {
      const [file] = this.#ahead.splice(0, 1)
      if (file === undefined) break
      files.push(file)
      sum += file.rows
    }
    return files
  }

  #doneOf(positions: readonly Position[]): number {
    const { id } = this.#options
    const own = positions.filter(({ source, partition }) => source === id && partition.startsWith(sparkPartitions))
    return Math.max(0, ...own.map(({ position }) => position))
  }

  // ---- ranges ------------------------------------------------------------------------------------------------------

  async #rangeOf({ number }: Reading, files: readonly RowFile[]): Promise<Range> {
    const { id, source, sql } = this.#options
    const list = `read_parquet([${files.map(({ path }) => sqlText(path)).join(', ')}], hive_partitioning = false)`
    const named = `${sqlText(`${sparkPartitions}${number}/`)} || `
    const counted = await sql.rows<{ partition: string; verdict: number; rows: number; bytes: number }>(
      `select ${named}${streamed.partition} as partition, ${streamed.verdict} as verdict, count(*)::double as rows, coalesce(sum(strlen(${streamed.raw})), 0)::double as bytes from ${list} group by all`,
    )
    const rowsOf = (verdict: number): number =>
      counted.filter((each) => each.verdict === verdict).reduce((sum, { rows }) => sum + rows, 0)
    for (const { partition } of counted) this.#partitions.add(partition)
    const end = (files.at(-1)?.number ?? 0) + 1
    const malformed = rowsOf(verdicts.dead)
    return {
      source: id,
      rows: rowsOf(verdicts.good),
      malformed,
      filtered: rowsOf(verdicts.filtered),
      bytes: counted.reduce((sum, { bytes }) => sum + bytes, 0),
      select: (batch) => goodSql(source, list, batch),
      malformedSelect: malformed === 0 ? undefined : lettersSql(id, list),
      where: {
        join: '',
        place: `s.${streamed.place}`,
        line: 'null::bigint',
        partition: `${named}s.${streamed.partition}`,
        rawText: `s.${streamed.raw}`,
      },
      files: [],
      filesQuarantined: 0,
      // all stand at the same file, and one that has no rows now may have had some
      positions: [...this.#partitions].map((partition) => ({
        source: id,
        partition,
        position: end,
        watermark: undefined,
      })),
      ranges: [{ source: id, engine: 'spark', files: files.length, from: files[0]?.number ?? 0, to: end }],
      phases: {},
      arrivedAt: undefined,
      settles: [],
      release: async () => {},
    }
  }
}

// With the checksum that Spark has written beside it.
async function remove(path: string): Promise<void> {
  await rm(path, { force: true })
  await rm(join(dirname(path), `.${basename(path)}.crc`), { force: true })
}

function goodSql(source: Source, list: string, batch: number): string {
  const columns = source.columns.map(({ name, origin }) =>
    origin === 'batch' ? `'${batch}' as ${identifier(name)}` : identifier(name),
  )
  return `select
  row_number() over () as _row,
  ${[streamed.place, streamed.partition, streamed.raw, ...columns].join(',\n  ')}
from ${list}
where ${streamed.verdict} = ${verdicts.good}`
}

function lettersSql(id: string, list: string): string {
  const columns = deadLetterColumns.map((name) => {
    if (name === 'source') return `${sqlText(id)} as source`
    if (name === 'place') return `${streamed.place} as place`
    if (name === 'line') return 'null::bigint as line'
    if (name === 'raw') return `${streamed.raw} as raw`
    return `${streamed.letter}${name} as ${name}`
  })
  return `select ${columns.join(', ')}\nfrom ${list}\nwhere ${streamed.verdict} = ${verdicts.dead}`
}
