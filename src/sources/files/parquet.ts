/**
 * Rows of a Parquet file, by DuckDB: checked against the columns a source expects, and read portion by portion into a
 * table of texts, which validation reads like those of any other format. A column whose type can never be the expected one
 * is known before a row is read.
 */
import type { FileHandle } from 'node:fs/promises'
import { MillraceError } from '../../errors.ts'
import { identifier, sqlText } from '../../plan/identifier.ts'
import { columnsRead, type FilesSource, type SourceColumn } from '../../plan/plan.ts'
import type { Sql } from '../source.ts'
import { matchHeader } from './header-csv.ts'
import type { FileReason } from './reasons.ts'

export interface ParquetFile {
  path: string
  /** Its rows as a relation of SQL. */
  relation: string
  rows: number
  /** SQL for each column of the source, as text under its name. */
  selects: string[]
  names: string[]
  /** SQL for about how many bytes these texts take. */
  bytes: string
  /** Columns that the source does not name. */
  unknown: string[]
}

export type OpenedParquet = { is: 'parquet'; file: ParquetFile } | BadParquet

export interface BadParquet {
  is: 'bad'
  code: FileReason
  message: string
}

/** Why the file cannot be Parquet, by its first and last bytes: one that was cut short has lost its end. */
export async function whyNotParquet(handle: FileHandle, size: number): Promise<string | undefined> {
  const marks = Buffer.alloc(8)
  if (size >= 12) {
    await handle.read(marks, 0, 4, 0)
    await handle.read(marks, 4, 4, size - 4)
  }
  if (marks.toString('latin1') === 'PAR1PAR1') return undefined
  if (marks.toString('latin1', 4) === 'PARE') return 'the file is encrypted Parquet, which cannot be read'
  return 'the file does not begin and end as Parquet does: it was cut short, or is something else'
}

interface ParquetColumn {
  name: string
  /** What we call it: two may have names that are the same to DuckDB, or the name of a column that its reader adds. */
  called: string
  type: string
}

export async function openParquet(sql: Sql, path: string, source: FilesSource): Promise<OpenedParquet> {
  try {
    const columns = await columnsOf(sql, path)
    const [footer] = await sql.rows<{ num_rows: string }>(
      `select num_rows from parquet_file_metadata(${sqlText(path)})`,
    )
    const expected = columnsRead(source)
    const keep = source.unknown?.is === 'keep' ? source.unknown.as : undefined
    const match = matchHeader(
      columns.map(({ name }) => name),
      expected.filter(({ name }) => name !== keep),
      source.unknown,
    )
    if (match.is === 'mismatch') return { is: 'bad', code: 'HEADER_MISMATCH', message: match.message }
    const others = columns.filter(({ name }) => match.unknown.includes(name))
    const used: ParquetColumn[] = keep === undefined ? [] : [...others]
    const selects: string[] = []
    for (const column of expected) {
      const found = columns.find(({ name }) => name === column.name)
      if (column.name === keep) selects.push(`${keptSql(others)} as ${identifier(column.name)}`)
      else if (found === undefined) selects.push(`null::varchar as ${identifier(column.name)}`)
      else {
        const text = textSql(column, found)
        if (text === undefined) {
          const message = `the column ${JSON.stringify(column.name)} is ${found.type.toLowerCase()}, which cannot be read as ${column.type.is}`
          return { is: 'bad', code: 'WRONG_TYPE', message }
        }
        selects.push(`${text} as ${identifier(column.name)}`)
        used.push(found)
      }
    }
    const names = expected.map(({ name }) => name)
    const rows = Number(footer?.num_rows ?? 0)
    const relation = `${readParquet(path)} file (${columns.map(({ called }) => identifier(called)).join(', ')})`
    return {
      is: 'parquet',
      file: { path, relation, rows, selects, names, bytes: bytesSql(used), unknown: match.unknown },
    }
  } catch (error) {
    return unreadable(error, path)
  }
}

/** Reads all rows and keeps none; answers what is wrong with the file, if anything. */
export async function tryParquet(sql: Sql, path: string, source: FilesSource): Promise<BadParquet | undefined> {
  try {
    const opened = await openParquet(sql, path, source)
    if (opened.is === 'bad') return opened
    const { rows, names } = opened.file
    // to the very end, whatever number of rows the file tells
    const all = { from: 0, to: Number.MAX_SAFE_INTEGER }
    const [read] = await sql.rows<{ rows: string }>(`select
  count(*)::varchar as rows,
  -- so that every value is looked at
  bit_xor(hash(${['_line', ...names].map((name) => identifier(name)).join(', ')})) as seen
from (${rowsSql(opened.file, all)})`)
    if (Number(read?.rows) === rows) return undefined
    const message = `its end tells of ${rows} rows, and ${read?.rows} are there`
    return { is: 'bad', code: 'FILE_UNREADABLE', message }
  } catch (error) {
    if (!(error instanceof MillraceError && error.code === 'NEEDS_MORE_MEMORY')) return unreadable(error, path)
    // fewer rows at a time would not help: a row group is read as a whole
    const mend = 'raise MEMORY_LIMIT, or write the file with smaller row groups'
    const message = `reading it takes more than MEMORY_LIMIT: ${mend} (${error.message})`
    return { is: 'bad', code: 'NEEDS_MORE_MEMORY', message }
  }
}

/**
 * How many of the rows from `from` (0-based) on are within these limits, one at least. Their number says nothing: a file
 * of some kilobytes may hold one long text a million times.
 */
export async function rowsWithin(
  sql: Sql,
  file: ParquetFile,
  from: number,
  limits: { rows: number; bytes: number },
): Promise<number | BadParquet> {
  const most = Math.min(file.rows - from, limits.rows)
  if (most <= 1) return most
  const each = `select file_row_number, ${file.bytes} as bytes
from ${file.relation}
where file_row_number >= ${from} and file_row_number < ${from + most}`
  try {
    const [all] = await sql.rows<{ bytes: number }>(`select sum(bytes)::double as bytes from (${each})`)
    if ((all?.bytes ?? 0) <= limits.bytes) return most
    const [found] = await sql.rows<{ rows: number }>(`select count(*)::double as rows
from (
  select sum(bytes) over (order by file_row_number rows unbounded preceding) - bytes as before
  from (${each})
)
where before < ${limits.bytes}`)
    return Math.max(1, found?.rows ?? 0)
  } catch (error) {
    return unreadable(error, file.path)
  }
}

/** Reads the rows from `from` up to `to` (0-based) into a table: `_file`, `_line` counted from 1, the columns as text. */
export async function stageParquet(
  sql: Sql,
  file: ParquetFile,
  { into, number, ...range }: { from: number; to: number; into: string; number: number },
): Promise<'read' | BadParquet> {
  try {
    await sql.run(`${into}\nselect ${number}::integer as _file, *\nfrom (\n${rowsSql(file, range)}\n)`)
    return 'read'
  } catch (error) {
    return unreadable(error, file.path)
  }
}

function rowsSql({ relation, selects }: ParquetFile, { from, to }: { from: number; to: number }): string {
  return `select
  file_row_number + 1 as _line,
  ${selects.join(',\n  ')}
from ${relation}
where file_row_number >= ${from} and file_row_number < ${to}`
}

function readParquet(path: string): string {
  return `read_parquet(${sqlText(path)}, hive_partitioning = false)`
}

async function columnsOf(sql: Sql, path: string): Promise<ParquetColumn[]> {
  const described = await sql.rows<{ column_name: string; column_type: string }>(
    `describe select * from ${readParquet(path)}`,
  )
  // depth first, the root before all
  const schema = await sql.rows<{ name: string; children: number | null }>(
    `select name, num_children::integer as children from parquet_schema(${sqlText(path)})`,
  )
  const names: string[] = []
  let within = 0
  for (const { name, children } of schema.slice(1)) {
    if (within === 0) names.push(name)
    else within--
    within += children ?? 0
  }
  return described.map(({ column_name, column_type: type }, i) => ({
    name: names[i] ?? column_name,
    called: `column ${i + 1}`,
    type,
  }))
}

function keptSql(columns: ParquetColumn[]): string {
  if (columns.length === 0) return 'null::varchar'
  return `json_object(${columns.map(({ name, called }) => `${sqlText(name)}, ${identifier(called)}`).join(', ')})::varchar`
}

const wholeTypes = /^U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)$|^"NULL"$/

// The value as a text that validation understands; undefined where none can be it.
function textSql({ type: wanted }: SourceColumn, { called, type }: ParquetColumn): string | undefined {
  const value = identifier(called)
  const text = `${value}::varchar`
  const isText = type === 'VARCHAR' || type === '"NULL"'
  switch (wanted.is) {
    case 'json':
    case 'list':
      return isText || type === 'JSON' ? text : `to_json(${value})::varchar`
    case 'text':
      return isNested(type) || type === 'BLOB' || type === 'BIT' ? undefined : text
    case 'integer':
      // as those who have no integers with nulls write them
      if (type === 'DOUBLE' || type === 'FLOAT') {
        return `case when ${value} = trunc(${value}) and abs(${value}) < 9007199254740992 then ${value}::bigint::varchar else ${text} end`
      }
      return numberSql(value, type, 0)
    case 'decimal':
      return numberSql(value, type, wanted.scale)
    case 'double':
      return numberSql(value, type, 38)
    case 'timestamp':
      // finer than microseconds, DuckDB reads two of the three ways to write them without the rest; so is the third
      if (type === 'TIMESTAMP_NS') return `${value}::timestamp::varchar`
      return isText || type.startsWith('TIMESTAMP') ? text : undefined
    case 'boolean':
      return isText || type === 'BOOLEAN' ? text : undefined
  }
}

// Decimals that the type has and the value does not need are left out.
function numberSql(value: string, type: string, scale: number): string | undefined {
  const text = `${value}::varchar`
  if (type === 'VARCHAR' || type === 'DOUBLE' || type === 'FLOAT' || wholeTypes.test(type)) return text
  const digits = /^DECIMAL\(\d+,(\d+)\)$/.exec(type)
  if (digits === null) return undefined
  if (Number(digits[1]) <= scale) return text
  const short = `${value}::decimal(38,${scale})`
  return `case when ${value} = ${short} then ${short}::varchar else ${text} end`
}

function isNested(type: string): boolean {
  return /[[(]/.test(type.replace(/^DECIMAL\(\d+,\d+\)$/, ''))
}

function bytesSql(columns: ParquetColumn[]): string {
  const texts = columns.flatMap(({ called, type }) => {
    const value = identifier(called)
    if (type === 'VARCHAR' || type === 'JSON') return [`coalesce(strlen(${value}), 0)`]
    if (type === 'BLOB') return [`coalesce(octet_length(${value}), 0)`]
    return isNested(type) ? [`coalesce(strlen(${value}::varchar), 0)`] : []
  })
  return [16 * columns.length, ...texts].join(' + ')
}

// A full disk is not the file's fault, and passes; too little memory may be enough for fewer rows.
function unreadable(error: unknown, path: string): BadParquet {
  if (error instanceof MillraceError && (error.retry || error.code === 'NEEDS_MORE_MEMORY')) throw error
  const said = (error instanceof Error ? error.message : String(error)).split('\n')[0]?.slice(0, 500) ?? ''
  const named = [`Parquet file "${path}"`, `file "${path}"`, `file '${path}'`, path]
  const message = named.reduce(
    (text, name) => text.replaceAll(name, 'it'),
    said.replace(/^[A-Z][A-Za-z ]* Error: /, ''),
  )
  return { is: 'bad', code: 'FILE_UNREADABLE', message: `DuckDB cannot read it: ${message}` }
}
