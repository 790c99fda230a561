/** How each format names its columns, and which names can be columns. A format is known by its first bytes. */
import { MillraceError } from '../errors.ts'
import { columnNameRule, whyNoColumnName } from '../plan/check.ts'
import { type ColumnType, json, text } from '../plan/columns.ts'
import { sqlText } from '../plan/identifier.ts'
import type { FileFormat } from '../plan/plan.ts'
import { readHeader } from '../sources/files/header-csv.ts'

/** What is made of the first bytes of a file. */
export interface Look {
  format: FileFormat
  /** The columns, and as what each is read from the file. */
  columns: { name: string; type: ColumnType }[]
  /** Sentences about names that cannot be columns, where the rest can be read without them. */
  leftOut: string[]
  /** SQL over `value`, as it was read: the text of the value itself. */
  value: string
  /** SQL for the kind the file says the value is of: one of `kinds`, or null when it says none. */
  kindSql(columns: string[]): string
}

/** Kinds that a file can say its values are of; CSV says none. */
export type ValueKind = 'text' | 'number' | 'double' | 'boolean' | 'nested'

/** Looks at the beginning of a text file, `complete` when the file has no more. */
export function lookAtText(first: Buffer, complete: boolean): Look {
  return jsonLines(first, complete) ?? csv(first, complete)
}

const delimiters = [',', ';', '\t', '|']

// The delimiter that parts the header into most names; a header that none parts has one.
function csv(first: Buffer, complete: boolean): Look {
  const faults: string[] = []
  let best: { delimiter: string; names: string[] } | undefined
  for (const delimiter of delimiters) {
    const header = readHeader(first, { delimiter, quote: '"' }, complete)
    if (header.is === 'header') {
      if (best === undefined || header.names.length > best.names.length) best = { delimiter, names: header.names }
    } else if (header.is === 'bad') {
      if (header.code === 'TOO_MANY_COLUMNS') throw noColumns(header.message)
      faults.push(header.message)
    }
  }
  if (best === undefined) throw noColumns(faults[0] ?? 'the file has no header')
  const { delimiter, names } = best
  refuseBadNames(names)
  return {
    format: { is: 'csv', delimiter, quote: '"' },
    columns: names.map((name) => ({ name, type: text })),
    leftOut: [],
    value: 'value',
    kindSql: () => 'null::varchar',
  }
}

// Keys in the order they first come in. Lines that are no objects are the reader's to judge.
function jsonLines(first: Buffer, complete: boolean): Look | undefined {
  const begins = withoutMark(first.toString('utf8', 0, 1000))
  if (/^\s*\[/.test(begins)) {
    throw noColumns('the file holds one JSON list', "JSON lines has an object a line: jq -c '.[]' makes them of a list")
  }
  if (!/^\s*\{/.test(begins)) return undefined
  const lines = withoutMark(first.toString()).split('\n')
  if (!complete) lines.pop()
  const keys = new Set<string>()
  for (const line of lines) for (const key of keysOf(line)) keys.add(key)
  if (keys.size === 0) throw noColumns('no line is a JSON object with keys')
  const bad = badNames([...keys])
  const columns = [...keys].filter((key) => !bad.has(key))
  if (columns.length === 0) refuseBadNames([...keys])
  refuseTooMany(columns)
  return {
    format: { is: 'json lines' },
    columns: columns.map((name) => ({ name, type: json })),
    // whoever reads JSON can seldom rename its keys; a pipeline counts those it does not name
    leftOut: [...bad.values()],
    // only texts are unwrapped: no digit of a number is lost
    value: `case json_type(value) when 'VARCHAR' then json_extract_string(value, '$') when 'NULL' then null else value end`,
    kindSql: () => `case json_type(value)
      when 'VARCHAR' then 'text'
      when 'BOOLEAN' then 'boolean'
      when 'OBJECT' then 'nested'
      when 'ARRAY' then 'nested'
      else 'number'
    end`,
  }
}

function withoutMark(start: string): string {
  return start.replace(/^\uFEFF/, '')
}

function keysOf(line: string): string[] {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.keys(value) : []
  } catch {
    return []
  }
}

/** The columns of a Parquet file, as DuckDB describes them. */
export function lookAtParquet(described: { column_name: string; column_type: string }[]): Look {
  const kinds = new Map(described.map(({ column_name, column_type }) => [column_name, parquetKind(column_type)]))
  refuseBadNames([...kinds.keys()])
  return {
    format: { is: 'parquet' },
    columns: [...kinds].map(([name, kind]) => ({ name, type: kind === 'nested' ? json : text })),
    leftOut: [],
    value: 'value',
    kindSql(columns) {
      const whens = columns.map((name) => `when ${sqlText(name)} then ${sqlText(kinds.get(name) ?? 'text')}`)
      return `case column_name ${whens.join(' ')} end`
    },
  }
}

function parquetKind(type: string): ValueKind {
  if (/^(STRUCT|MAP|UNION)\b|\]$/.test(type)) return 'nested'
  if (/^(FLOAT|DOUBLE)$/.test(type)) return 'double'
  if (/INT$|INTEGER$|^DECIMAL/.test(type)) return 'number'
  return type === 'BOOLEAN' ? 'boolean' : 'text'
}

// ---- names ---------------------------------------------------------------------------------------------------------

// A table in Postgres has no room for more.
const mostColumns = 1600

function refuseTooMany(names: string[]): void {
  if (names.length <= mostColumns) return
  throw noColumns(`it has ${names.length} columns, and a table in Postgres has ${mostColumns} at most`)
}

function refuseBadNames(names: string[]): void {
  refuseTooMany(names)
  const reasons = [...badNames(names).values()]
  if (reasons.length === 0) return
  const more = reasons.length > 5 ? `; and ${reasons.length - 5} more` : ''
  // a name begins with a letter, so what begins with a digit may well be a value
  const isRow = names.some((name) => /^[+-]?\d/.test(name))
  throw noColumns(
    `${isRow ? 'it seems to begin with a row, not with the names of its columns: ' : ''}${reasons.slice(0, 5).join('; ')}${more}`,
    names.length > 50 ? columnNameRule : `${columnNameRule}. These would do: ${usableNames(names).join(',')}`,
  )
}

/** Why names cannot be columns, by the name. */
function badNames(names: string[]): Map<string, string> {
  const reasons = new Map<string, string>()
  const seen = new Map<string, string>()
  for (const name of names) {
    const shown = JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}...` : name)
    const why = whyNoColumnName(name)
    const twin = seen.get(name.toLowerCase())
    if (why !== undefined) reasons.set(name, `${shown} ${why}`)
    else if (twin === name) reasons.set(name, `${shown} stands there more than once`)
    else if (twin !== undefined) reasons.set(name, `${shown} and "${twin}" are equal but for case`)
    seen.set(name.toLowerCase(), name)
  }
  return reasons
}

/** Names near to these that columns can have. */
function usableNames(names: string[]): string[] {
  const taken = new Set<string>()
  return names.map((name, i) => {
    const plain = name
      .normalize('NFKD')
      .replace(/\p{M}/gu, '')
      .replace(/[^A-Za-z0-9]+/g, '_')
      .replace(/^[_\d]+|_+$/g, '')
      .slice(0, 60)
      .toLowerCase()
    const near = whyNoColumnName(name) === undefined ? name : plain || `column_${i + 1}`
    let usable = near
    for (let n = 2; taken.has(usable.toLowerCase()); n++) usable = `${near}_${n}`
    taken.add(usable.toLowerCase())
    return usable
  })
}

function noColumns(message: string, hint?: string): MillraceError {
  return new MillraceError('NO_COLUMNS', { message, ...(hint === undefined ? {} : { hint }) })
}
