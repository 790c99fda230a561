/**
 * Records of one range on their way into DuckDB: each is cut where it came in, as a line of JSON would be, and written into
 * a spool of CSV. Of the bytes only those of the range are kept, for the text of rows that are dead or late.
 */

import { isUtf8 } from 'node:buffer'
import { join } from 'node:path'
import { identifier, sqlText } from '../../plan/identifier.ts'
import { columnsRead, type Origin, type TopicSource } from '../../plan/plan.ts'
import type { CsvRows } from '../../store/store.ts'
import { JsonCutter } from '../files/cut-json.ts'
import {
  jsonSpool,
  malformedLettersSql,
  malformedRowsSql,
  rawKept,
  readSpoolSql,
  readTextsSql,
  textOf,
} from '../files/read-spool.ts'
import { SpoolFile } from '../files/spool.ts'
import { bytesOfLongRows, bytesOfMalformedRows, longRow, maxRowBytes } from '../files/text-rows.ts'
import type { Limits, Range, Sql } from '../source.ts'
import { readHeaders } from './headers.ts'
import type { SpareBuffers } from './spare-buffers.ts'
import type { RecordAt, RecordSink } from './topic.ts'

export interface RecordStageOptions {
  /** The source's id in the plan. */
  id: string
  source: TopicSource
  spool: string
  sql: Sql
  /** In the names of what is staged. */
  name: string
  /** Told that nothing has the name any more. */
  onReleased: () => void
  limits: Limits
  /** Of a bounded run: records from these offsets on came later. */
  until: ReadonlyMap<number, number> | undefined
  buffers: SpareBuffers
  /** Columns that no step reads: they are cut only of records that a letter tells of. */
  unread: readonly string[]
}

/** A spool file larger than this is not added to: several are read on several threads. */
const spoolBytes = 8 * 1024 * 1024

/** No more rows and bytes than these are handed over as texts: they are cut into fields here, beside all else that is done. */
const [textRows, textBytes] = [1000, 128 * 1024]

/** Where the records of a partition lie, four numbers each: offset, buffer, and the span of the value in it. */
interface Kept {
  blocks: Float64Array[]
  records: number
}

const recordsOfBlock = 4096

export class RecordStage implements RecordSink {
  rows = 0
  malformed = 0
  bytes = 0
  readonly arrivedAt = new Date()
  readonly #options: RecordStageOptions
  readonly #cutter: JsonCutter
  readonly #columns: string[]
  readonly #spools: SpoolFile[] = []
  readonly #malformedRows: SpoolFile
  /** Key, time and headers of each record, where the source asks for them. */
  readonly #beside: SpoolFile | undefined
  #besideLines = ''
  #longestBeside = 0
  readonly #buffers: Buffer[] = []
  /** Of rows that were cut and are not written yet. */
  #cutTo: Buffer<ArrayBuffer>[] = []
  /** What the places of records are written in. */
  readonly #blocks: Buffer<ArrayBuffer>[] = []
  readonly #kept = new Map<number, Kept>()
  #closed = false
  #rawTable: string | undefined
  #released = false

  constructor(options: RecordStageOptions) {
    const { source, spool, name } = options
    this.#options = options
    const read = columnsRead(source)
    this.#columns = read.map(({ name: column }) => column).filter((column) => !options.unread.includes(column))
    this.#malformedRows = new SpoolFile(join(spool, `${name}-malformed.csv`))
    if (source.columns.some(({ origin }) => isBeside(origin)))
      this.#beside = new SpoolFile(join(spool, `${name}-beside.csv`))
    this.#cutter = new JsonCutter({
      columns: read,
      unknown: source.unknown ?? { is: 'refuse' },
      unwritten: options.unread,
      maxRowBytes,
      firstByte: 0,
      firstLine: 0,
      file: 0,
      rows: (bytes) => this.#spool().append(bytes),
      malformed: (bytes) => this.#malformedRows.append(bytes),
      room: (bytes) => {
        const buffer = options.buffers.take(bytes)
        this.#cutTo.push(buffer)
        return buffer
      },
    })
  }

  /** The limits are reached. */
  get done(): boolean {
    const { limits } = this.#options
    if (this.#closed || this.rows + this.malformed >= limits.rows || this.bytes >= limits.bytes) return true
    return (this.long && this.bytes > bytesOfLongRows) || this.#malformedRows.bytes > bytesOfMalformedRows
  }

  /** The limits are reached, or what was cut should be written first. */
  get full(): boolean {
    return this.done || this.#pending > spoolBytes
  }

  get long(): boolean {
    return this.#cutter.longestRow > longRow
  }

  get #pending(): number {
    return (this.#spools.at(-1)?.pendingBytes ?? 0) + this.#malformedRows.pendingBytes
  }

  rowsOf(partition: number): number {
    return this.#kept.get(partition)?.records ?? 0
  }

  take(bytes: Buffer, at: RecordAt): void {
    const { until, limits } = this.#options
    const { partition, offset, valueFrom, valueTo } = at
    const end = until?.get(partition)
    if (this.#closed || (until !== undefined && (end === undefined || offset >= end))) return
    if (valueFrom < 0) this.#cutter.refuse('NO_VALUE', noBytes, partition, offset)
    else {
      this.bytes += valueTo - valueFrom
      if (limits.setAside === true)
        this.#cutter.refuse('ROW_TOO_LONG', bytes.subarray(valueFrom, valueTo), partition, offset)
      else if (this.#cutter.record(bytes, valueFrom, valueTo, partition, offset)) {
        this.rows++
        this.#keep(bytes, at)
        return
      }
    }
    this.malformed++
  }

  // ---- what was taken ----------------------------------------------------------------------------------------------

  #keep(bytes: Buffer, at: RecordAt): void {
    if (this.#buffers.at(-1) !== bytes) this.#buffers.push(bytes)
    let kept = this.#kept.get(at.partition)
    if (kept === undefined) {
      kept = { blocks: [], records: 0 }
      this.#kept.set(at.partition, kept)
    }
    const place = 4 * (kept.records++ % recordsOfBlock)
    if (place === 0) kept.blocks.push(this.#newBlock())
    // as: the last block was made for it
    const block = kept.blocks.at(-1) as Float64Array
    block[place] = at.offset
    block[place + 1] = this.#buffers.length - 1
    block[place + 2] = at.valueFrom
    block[place + 3] = at.valueTo
    if (this.#beside !== undefined) this.#writeBeside(bytes, at)
  }

  #newBlock(): Float64Array {
    const bytes = this.#options.buffers.take(4 * 8 * recordsOfBlock)
    this.#blocks.push(bytes)
    return new Float64Array(bytes.buffer, 0, 4 * recordsOfBlock)
  }

  #writeBeside(bytes: Buffer, at: RecordAt): void {
    const key = at.keyFrom < 0 ? '' : quoted(readable(bytes.subarray(at.keyFrom, at.keyTo)))
    const headers = JSON.stringify(
      Object.fromEntries(
        readHeaders(bytes, at).map(([name, value]) => [name, value === null ? null : readable(value)]),
      ),
    )
    const line = `${at.partition},${at.offset},"${new Date(at.timestampMs).toISOString()}",${key},${quoted(headers)}\n`
    this.#longestBeside = Math.max(this.#longestBeside, 3 * line.length)
    this.#besideLines += line
    if (this.#besideLines.length > 1_000_000) this.#flushBeside()
  }

  #flushBeside(): void {
    this.#beside?.append(Buffer.from(this.#besideLines))
    this.#besideLines = ''
  }

  #spool(): SpoolFile {
    const last = this.#spools.at(-1)
    if (last !== undefined && last.bytes < spoolBytes) return last
    const { spool, name } = this.#options
    const next = new SpoolFile(join(spool, `${name}-${this.#spools.length + 1}.csv`))
    this.#spools.push(next)
    return next
  }

  /** Writes what was cut, so that more can be taken. */
  async flush(): Promise<void> {
    this.#flushBeside()
    for (const spool of [...this.#spools, this.#malformedRows, this.#beside]) await spool?.flush()
    // into the last one more is cut, unless nothing more is taken
    const written = this.#cutTo.splice(0, this.#cutTo.length - (this.#closed ? 0 : 1))
    this.#options.buffers.give(written)
  }

  /** Nothing more is taken. `ranges` are the offsets that were read, by partition; `asTexts`: few rows make no file. */
  async finish(
    ranges: { partition: number; from: number; to: number }[],
    phases: Record<string, number>,
    asTexts = false,
  ): Promise<Range> {
    this.#closed = true
    this.#cutter.flush()
    const texts = asTexts ? this.#takeTexts() : undefined
    await this.flush()
    for (const spool of [...this.#spools, this.#malformedRows, this.#beside]) await spool?.close()
    const { id, source, name } = this.#options
    const raw = identifier(`${name}-raw`)
    const topic = sqlText(`${source.topic}/`)
    const unknown = Object.fromEntries(this.#cutter.unknown)
    return {
      source: id,
      rows: this.rows,
      malformed: this.malformed,
      bytes: this.bytes,
      long: this.long,
      ...(texts === undefined ? {} : { texts }),
      select: (batch, table) => this.#selectSql(batch, table),
      malformedSelect: this.malformed === 0 ? undefined : this.#malformedSql(topic),
      where: {
        join: `left join ${raw} w on w._row = s._row`,
        place: `concat(${topic}, s._file, '/', s._line)`,
        line: 'null::bigint',
        partition: 's._file',
        rawText: 'w.raw',
        lacks: this.#options.unread,
      },
      fetchRaw: (sql, staged, rows) => this.#fetchRaw(sql, raw, staged, rows),
      files: [],
      filesQuarantined: 0,
      positions: ranges.map(({ partition, to }) => ({
        source: id,
        partition: String(partition),
        position: to,
        watermark: undefined,
      })),
      ranges: ranges.map(({ partition, from, to }) => ({
        topic: source.topic,
        partition,
        from,
        to,
        ...(Object.keys(unknown).length > 0 ? { unknown_columns: unknown } : {}),
      })),
      phases,
      arrivedAt: this.arrivedAt,
      settles: [],
      release: () => this.release(),
    }
  }

  #takeTexts(): CsvRows | undefined {
    const [spool, ...others] = this.#spools
    if (spool === undefined || others.length > 0 || this.rows > textRows || spool.bytes > textBytes) return undefined
    const text = spool.takeBack()?.toString()
    const columns = ['_file', '_line', jsonSpool.mark, ...this.#columns]
    return text === undefined ? undefined : { csv: { text }, columns, rows: this.rows }
  }

  async release(): Promise<void> {
    if (this.#released) return
    this.#released = true
    this.#closed = true
    this.#buffers.length = 0
    this.#kept.clear()
    this.#options.buffers.give(this.#blocks.splice(0))
    for (const spool of [...this.#spools, this.#malformedRows, this.#beside]) await spool?.remove()
    if (this.#rawTable !== undefined) await this.#options.sql.run(`drop table if exists ${this.#rawTable}`)
    this.#options.onReleased()
  }

  // ---- what DuckDB reads -------------------------------------------------------------------------------------------

  #selectSql(batch: number, texts: string | undefined): string {
    const { columns } = this.#options.source
    const origins = columns.flatMap(({ name, origin }) =>
      origin === undefined ? [] : [`${originSql(origin, batch)} as ${identifier(name)}`],
    )
    if (this.rows === 0) {
      const none = this.#columns.map((name) => `null::varchar as ${identifier(name)}`)
      const rest = columns
        .filter(({ origin }) => origin !== undefined)
        .map(({ name }) => `null::varchar as ${identifier(name)}`)
      return `select ${['0::bigint as _row', '0 as _file', '0::bigint as _line', ...none, ...rest].join(', ')} where false`
    }
    const beside =
      this.#beside === undefined
        ? ''
        : `\njoin ${this.#besideSql(this.#beside)} b on b.b_file = _file and b.b_line = _line`
    return `select
  -- arrival order: by partition, record after record
  (_file::bigint << 48) | _line as _row,
  ${[...origins, '* exclude (_span)'].join(',\n  ')}
from ${texts === undefined ? this.#spoolSql() : `(select * replace (_file::integer as _file, _line::bigint as _line) from ${texts})`}${beside}`
  }

  #spoolSql(): string {
    const paths = this.#spools.map(({ path }) => path)
    return readSpoolSql(paths, this.#columns, jsonSpool, { longestRow: this.#cutter.longestRow })
  }

  #besideSql({ path }: SpoolFile): string {
    const texts = readTextsSql(path, ['b_file', 'b_line', '_time', '_key', '_headers'], this.#longestBeside)
    return `(select b_file::integer as b_file, b_line::bigint as b_line, _time, _key, _headers from ${texts})`
  }

  #malformedSql(topic: string): string {
    return malformedLettersSql(this.#options.id, malformedRowsSql([this.#malformedRows.path]), {
      place: `concat(${topic}, s._file, '/', s._line)`,
      line: 'null::bigint',
      join: '',
    })
  }

  async #fetchRaw(sql: Sql, table: string, staged: string, rows: string): Promise<void> {
    this.#rawTable = table
    const { spool, name, unread } = this.#options
    const lacked = unread.map((column) => identifier(column))
    const texts = lacked.map((column) => `, ${column} varchar`)
    await sql.run(`create table if not exists ${table} (_row bigint primary key, raw varchar${texts.join('')})`)
    const found = await sql.rows<{ row: string; partition: number; offset: string }>(
      `select _row::varchar as row, _file as partition, _line::varchar as "offset" from ${staged} where _row in (${rows})`,
    )
    if (found.length === 0) return
    const raw = new SpoolFile(join(spool, `${name}-raw.csv`))
    const rest = new SpoolFile(join(spool, `${name}-rest.csv`))
    const cutter = this.#restCutter(rest)
    let longest = 0
    for (const { row, partition, offset } of found) {
      const value = this.#valueOf(partition, Number(offset))
      const line = Buffer.from(`${row},${quoted(shown(value))}\n`)
      longest = Math.max(longest, line.length)
      raw.append(line)
      if (unread.length > 0) cutter.record(value, 0, value.length, partition, Number(offset))
      if (raw.pendingBytes > spoolBytes) await raw.flush()
    }
    cutter.flush()
    await raw.close()
    await rest.close()
    const shownRows = readTextsSql(raw.path, ['_row', 'raw'], longest)
    if (unread.length === 0) await sql.run(`insert or ignore into ${table}\nfrom ${shownRows}`)
    else {
      const restRows = readSpoolSql([rest.path], unread, jsonSpool, { longestRow: cutter.longestRow })
      await sql.run(`insert or ignore into ${table}
select t._row::bigint, t.raw, ${lacked.map((column) => `c.${column}`).join(', ')}
from ${shownRows} t
left join ${restRows} c on (c._file::bigint << 48) | c._line = t._row::bigint`)
    }
    await raw.remove()
    await rest.remove()
  }

  /** Cuts what no step reads. */
  #restCutter(rest: SpoolFile): JsonCutter {
    const { source, unread } = this.#options
    const read = columnsRead(source)
    return new JsonCutter({
      columns: read,
      unknown: source.unknown ?? { is: 'refuse' },
      unwritten: read.map(({ name }) => name).filter((name) => !unread.includes(name)),
      maxRowBytes,
      firstByte: 0,
      firstLine: 0,
      file: 0,
      rows: (bytes) => rest.append(bytes),
      // it has been cut before, and was a row
      malformed: () => {},
    })
  }

  #valueOf(partition: number, offset: number): Buffer {
    const kept = this.#kept.get(partition)
    if (kept === undefined) return noBytes
    const place = (n: number): Float64Array => {
      const at = 4 * (n % recordsOfBlock)
      return kept.blocks[Math.floor(n / recordsOfBlock)]?.subarray(at, at + 4) ?? nowhere
    }
    // they came in the order of their offsets
    let low = 0
    for (let high = kept.records; low < high; ) {
      const middle = (low + high) >> 1
      if ((place(middle)[0] ?? 0) < offset) low = middle + 1
      else high = middle
    }
    const [, buffer = 0, from = 0, to = 0] = place(low)
    return this.#buffers[buffer]?.subarray(from, to) ?? noBytes
  }
}

const noBytes = Buffer.alloc(0)
const nowhere = new Float64Array(4)

function isBeside(origin: Origin | undefined): boolean {
  return origin === 'timestamp' || origin === 'key' || origin === 'headers'
}

function originSql(origin: Origin, batch: number): string {
  switch (origin) {
    case 'partition':
      return '_file::varchar'
    case 'offset':
      return '_line::varchar'
    case 'timestamp':
      return '_time'
    case 'key':
      return '_key'
    case 'headers':
      return '_headers'
    case 'batch':
      return `'${batch}'`
    // a record has none of these: the plan's check says so
    case 'file':
    case 'line':
      return 'null::varchar'
  }
}

function shown(value: Buffer): string {
  const mark = value.length > rawKept ? ` [cut: the first ${rawKept} of ${value.length} bytes]` : ''
  return `${textOf(value.subarray(0, rawKept)).text}${mark}`
}

// What text cannot hold is written \xNN.
function readable(bytes: Buffer): string {
  return isUtf8(bytes) && !bytes.includes(0) ? bytes.toString() : textOf(bytes).text
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`
}
