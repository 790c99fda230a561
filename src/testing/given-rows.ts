/** Rows that a test feeds, as the bytes in which they would come. */
import { mkdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { DuckSession } from '../engine/duckdb.ts'
import { duckdbType } from '../functions/duckdb-type.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import { columnsRead, type FilesSource } from '../plan/plan.ts'
import type { TopicRecord } from '../sources/topic/topic.ts'
import { wrong } from './mistakes.ts'

/**
 * An object by column, as it would be written; a text or bytes, to be sent as they are, whatever they are; null, a message
 * without a value.
 */
export type GivenRow = Record<string, unknown> | string | Uint8Array | null

export interface FeedOptions {
  /** Into so many batches the rows are cut: one when left out. */
  batches?: number
  /** Of a topic: where its messages go, 0 when left out. */
  partition?: number
  /** Of a topic: the key of each message. */
  key?: string
  /** Of a topic: the headers of each message. */
  headers?: Record<string, string>
  /** Of files: the name of the file; a number when left out. */
  file?: string
}

/** A row of a topic as its message. */
export function recordOf(row: GivenRow, { key, headers = {} }: FeedOptions): TopicRecord {
  return {
    ...(key === undefined ? {} : { key: Buffer.from(key) }),
    value: row === null ? null : bytesOf(isObject(row) ? jsonOf(row) : row),
    headers: Object.entries(headers).map(([name, value]) => [name, Buffer.from(value)] as const),
  }
}

/**
 * Puts a file of these rows, or with this content, into a folder that is watched: it is complete when it is there. What
 * is not yet is in `folder`.
 */
export async function dropFile(
  content: string | Uint8Array | readonly GivenRow[],
  place: { source: FilesSource; folder: string; session: DuckSession; name: string },
): Promise<void> {
  const { source, folder, session, name } = place
  const bytes =
    typeof content === 'string' || content instanceof Uint8Array
      ? bytesOf(content)
      : source.format.is === 'parquet'
        ? await parquetOf(content, source, folder, session)
        : linesOf(content, source)
  const written = join(folder, 'given')
  const target = join(source.folder, name)
  await mkdir(dirname(target), { recursive: true })
  await writeFile(written, bytes)
  // a file that is older than its arrival was moved in whole
  const before = new Date(Date.now() - 60_000)
  await utimes(written, before, before)
  await rename(written, target)
}

/** The end of the name of a source's files. */
export function extensionOf({ format }: FilesSource): string {
  return { csv: 'csv', 'json lines': 'jsonl', parquet: 'parquet' }[format.is]
}

function linesOf(rows: readonly GivenRow[], source: FilesSource): Buffer {
  const lines: (string | Uint8Array)[] = []
  const columns = columnsOf(rows, source)
  const { format } = source
  if (format.is === 'csv' && format.header !== false) lines.push(csvLine(columns, format))
  for (const row of rows) {
    if (row === null)
      throw wrong('a file has no row without a value', 'null is a message of a topic; feed an empty line as a text')
    if (!isObject(row)) lines.push(row)
    else if (format.is === 'csv')
      lines.push(
        csvLine(
          columns.map((name) => row[name]),
          format,
        ),
      )
    else lines.push(jsonOf(row))
  }
  return Buffer.concat(lines.flatMap((line) => [bytesOf(line), newLine]))
}

// Those of the source, in their order, and behind them what the rows have beside them.
function columnsOf(rows: readonly GivenRow[], source: FilesSource): string[] {
  const own = columnsRead(source).map(({ name }) => name)
  if (source.format.is === 'csv' && source.format.header === false) return own
  return [...new Set([...own, ...rows.filter(isObject).flatMap((row) => Object.keys(row))])]
}

async function parquetOf(
  rows: readonly GivenRow[],
  source: FilesSource,
  folder: string,
  session: DuckSession,
): Promise<Buffer> {
  if (!rows.every(isObject)) {
    throw wrong(
      'a Parquet file has no lines of text',
      'feed objects, or the bytes of a whole file in place of the list',
    )
  }
  const [lines, written] = [join(folder, 'given.jsonl'), join(folder, 'given.parquet')]
  await writeFile(lines, rows.map((row) => `${jsonOf(row)}\n`).join(''))
  const columns = columnsRead(source)
  const types = columns.map(({ name, type }) => `${sqlText(name)}: ${sqlText(duckdbType(type))}`)
  await session.run(`copy (
  select ${columns.map(({ name }) => identifier(name)).join(', ')}
  from read_json(${sqlText(lines)}, format = 'newline_delimited', columns = {${types.join(', ')}})
) to ${sqlText(written)} (format parquet)`)
  const bytes = await readFile(written)
  await rm(lines)
  await rm(written)
  return bytes
}

function isObject(row: GivenRow): row is Record<string, unknown> {
  return typeof row === 'object' && row !== null && !(row instanceof Uint8Array)
}

function jsonOf(row: unknown): string {
  return JSON.stringify(row, (_, value) => (typeof value === 'bigint' ? String(value) : value))
}

interface CsvSigns {
  delimiter: string
  quote: string
}

function csvLine(values: readonly unknown[], signs: CsvSigns): string {
  return values.map((value) => csvField(value, signs)).join(signs.delimiter)
}

function csvField(value: unknown, { delimiter, quote }: CsvSigns): string {
  if (value === null || value === undefined) return ''
  const text = value instanceof Date ? value.toISOString() : typeof value === 'object' ? jsonOf(value) : String(value)
  // an empty text is quoted, or a line might have nothing in it
  const isPlain = text !== '' && ![delimiter, quote, '\n', '\r'].some((sign) => text.includes(sign))
  return isPlain ? text : `${quote}${text.replaceAll(quote, quote + quote)}${quote}`
}

const newLine = Buffer.from('\n')

function bytesOf(text: string | Uint8Array): Buffer {
  return typeof text === 'string' ? Buffer.from(text) : Buffer.from(text.buffer, text.byteOffset, text.byteLength)
}
