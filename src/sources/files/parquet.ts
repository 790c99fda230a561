/**
 * Rows of a Parquet file, by DuckDB: checked against the columns a source expects, and read portion by portion into a
 * table of texts, which validation reads like those of any other format.
 */
import type { FileHandle } from 'node:fs/promises'
import { MillraceError, messageOf } from '../../errors.ts'
import { identifier, sqlText } from '../../plan/identifier.ts'
import { columnsRead, type FilesSource, type SourceColumn } from '../../plan/plan.ts'
import type { Sql } from '../source.ts'
import { matchHeader } from './header-csv.ts'

export interface ParquetFile {
  rows: number
  /** Of what the rows hold, unpacked, on average. */
  bytesPerRow: number
  /** SQL for each column of the source, as text under its name. */
  selects: string[]
  names: string[]
  /** Columns that the source does not name. */
  unknown: string[]
}

export type OpenedParquet = { is: 'parquet'; file: ParquetFile } | { is: 'bad'; code: string; message: string }

/** Whether the file begins and ends as Parquet does: one that was cut short has lost its end. */
export async function looksWhole(handle: FileHandle, size: number): Promise<boolean> {
  const marks = Buffer.alloc(8)
  if (size < 12) return false
  await handle.read(marks, 0, 4, 0)
  await handle.read(marks, 4, 4, size - 4)
  return marks.toString('latin1') === 'PAR1PAR1'
}

export async function openParquet(sql: Sql, path: string, source: FilesSource): Promise<OpenedParquet> {
  try {
    const described = await sql.rows<{ column_name: string; column_type: string }>(
      `describe select * from ${readParquet(path)}`,
    )
    const [file] = await sql.rows<{ num_rows: string }>(`select num_rows from parquet_file_metadata(${sqlText(path)})`)
    const [bytes] = await sql.rows<{ bytes: number | null }>(
      `select sum(total_uncompressed_size)::double as bytes from parquet_metadata(${sqlText(path)})`,
    )
    const types = new Map(described.map(({ column_name, column_type }) => [column_name, column_type]))
    const expected = columnsRead(source)
    const keep = source.unknown?.is === 'keep' ? source.unknown.as : undefined
    const match = matchHeader(
      [...types.keys()],
      expected.filter(({ name }) => name !== keep),
      source.unknown,
    )
    if (match.is === 'mismatch') return { is: 'bad', code: 'HEADER_MISMATCH', message: match.message }
    const selects: string[] = []
    for (const column of expected) {
      if (column.name === keep) {
        selects.push(`${keptSql(match.unknown)} as ${identifier(column.name)}`)
        continue
      }
      const type = types.get(column.name)
      const text = type === undefined ? 'null::varchar' : textSql(column, type)
      if (text === undefined) {
        const message = `the column ${JSON.stringify(column.name)} is ${type?.toLowerCase()}, which cannot be read as ${column.type.is}`
        return { is: 'bad', code: 'WRONG_TYPE', message }
      }
      selects.push(`${text} as ${identifier(column.name)}`)
    }
    const names = expected.map(({ name }) => name)
    const rows = Number(file?.num_rows ?? 0)
    const bytesPerRow = rows === 0 ? 0 : Number(bytes?.bytes ?? 0) / rows
    return { is: 'parquet', file: { rows, bytesPerRow, selects, names, unknown: match.unknown } }
  } catch (error) {
    return { is: 'bad', ...unreadable(error) }
  }
}

/** Reads all rows and keeps none; answers what is wrong with the file, if anything. */
export async function tryParquet(
  sql: Sql,
  path: string,
  source: FilesSource,
): Promise<{ code: string; message: string } | undefined> {
  const opened = await openParquet(sql, path, source)
  if (opened.is === 'bad') return opened
  const { rows, selects, names } = opened.file
  try {
    // to the very end, whatever number of rows the file tells
    const all = { from: 0, to: Number.MAX_SAFE_INTEGER }
    const [read] = await sql.rows<{ rows: string }>(`select
  count(*)::varchar as rows,
  -- so that every value is looked at
  bit_xor(hash(${['_line', ...names].map((name) => identifier(name)).join(', ')})) as seen
from (${rowsSql(path, selects, all)})`)
    if (Number(read?.rows) === rows) return undefined
    return { code: 'FILE_UNREADABLE', message: `its end tells of ${rows} rows, and ${read?.rows} are there` }
  } catch (error) {
    return unreadable(error)
  }
}

/** Reads the rows from `from` up to `to` (0-based) into a table: `_line`, counted from 1, and the columns as text. */
export async function stageParquet(
  sql: Sql,
  path: string,
  { selects }: ParquetFile,
  range: { from: number; to: number; table: string },
): Promise<'read' | { code: string; message: string }> {
  try {
    await sql.run(`create table ${range.table} as\n${rowsSql(path, selects, range)}`)
    return 'read'
  } catch (error) {
    return unreadable(error)
  }
}

function rowsSql(path: string, selects: string[], { from, to }: { from: number; to: number }): string {
  return `select
  file_row_number + 1 as _line,
  ${selects.join(',\n  ')}
from ${readParquet(path, true)}
where file_row_number >= ${from} and file_row_number < ${to}`
}

function readParquet(path: string, numbered = false): string {
  return `read_parquet(${sqlText(path)}, hive_partitioning = false${numbered ? ', file_row_number = true' : ''})`
}

function keptSql(unknown: string[]): string {
  if (unknown.length === 0) return 'null::varchar'
  return `json_object(${unknown.map((name) => `${sqlText(name)}, ${identifier(name)}`).join(', ')})::varchar`
}

// The value as a text that validation understands; undefined where none can be it.
function textSql(column: SourceColumn, parquetType: string): string | undefined {
  const value = identifier(column.name)
  const nested = /[[(]/.test(parquetType.replace(/^DECIMAL\(\d+,\d+\)$/, '')) || /^(STRUCT|MAP|UNION)/.test(parquetType)
  if (column.type.is === 'json' || column.type.is === 'list') {
    return parquetType === 'VARCHAR' || parquetType === 'JSON' ? `${value}::varchar` : `to_json(${value})::varchar`
  }
  if (nested || parquetType === 'BLOB' || parquetType === 'BIT') return undefined
  return parquetType === 'VARCHAR' ? value : `${value}::varchar`
}

// A full disk is not the file's fault, and passes.
function unreadable(error: unknown): { code: string; message: string } {
  if (error instanceof MillraceError && error.retry) throw error
  const message = messageOf(error).split('\n')[0]?.slice(0, 500) ?? ''
  if (!message.includes('Out of Memory')) return { code: 'FILE_UNREADABLE', message }
  const mend = 'raise MEMORY_LIMIT, or write the file with smaller row groups'
  return { code: 'NEEDS_MORE_MEMORY', message: `reading it takes more than MEMORY_LIMIT: ${mend} (${message})` }
}
