/**
 * The rows of files as texts, in Spark's SQL: the columns of a source under their names, and where a row came from. Rows
 * are lines: a line that is none is told with the code that our own readers have for it. A quoted field of CSV cannot go
 * on in another line.
 */
import { sparkMatches, sparkName, sparkText, sparkType } from '../functions/spark-type.ts'
import type { Column, ColumnType } from '../plan/columns.ts'
import { columnsRead, type FileFormat, type Source, type SourceColumn } from '../plan/plan.ts'
import { origin, rawName } from './validate.ts'

/** The files of a source that are read alike. */
export interface SparkInput {
  source: string
  format: FileFormat
  paths: string[]
  /** Of CSV: the first line of the files, and the names in it. */
  header?: { line: string; names: string[] }
  /** Of Parquet: the columns that the files have. */
  columns?: { name: string; type: string }[]
  /** Each value is a message of a topic, and no line of a file. */
  messages?: true
}

/** What a view of files has, before anything is made of it. */
export function linesColumns({ format, columns = [] }: SparkInput): string[] {
  const file = `_metadata.file_path as ${origin.file}`
  return format.is === 'parquet' ? [file, ...columns.map(({ name }) => sparkName(name))] : [file, 'value']
}

/** The columns that files have as the type the plan asks for, so that nothing is read out of texts: of Parquet alone. */
export function typedColumns(source: Source, inputs: readonly SparkInput[]): ReadonlySet<string> {
  const isTyped = ({ name, type, origin }: SourceColumn): boolean => {
    // NaN is no number, and a text may be anything
    if (origin !== undefined || type.is === 'text' || type.is === 'json' || type.is === 'list' || type.is === 'double')
      return false
    return inputs.every(({ columns = [] }) => columns.some((own) => own.name === name && own.type === sparkType(type)))
  }
  return new Set(inputs.length === 0 ? [] : source.columns.filter(isTyped).map(({ name }) => name))
}

/**
 * The select of texts over such a view. `batch` stands in columns that say which one a row came in. Columns that are `typed`
 * are there as they are, and their texts beside them.
 */
export function textsSql(
  source: Source,
  input: SparkInput,
  lines: string,
  batch: string,
  typed: ReadonlySet<string> = new Set(),
): string {
  switch (input.format.is) {
    case 'json lines':
      return jsonSql(source, lines, batch, input.messages === true)
    case 'csv':
      return csvSql(source, input.format, input.header, lines, batch)
    case 'parquet':
      return parquetSql(source, input.columns ?? [], lines, batch, typed)
  }
}

/** Spark tells a path as a URI. */
export const place = `try_url_decode(replace(regexp_replace(${origin.file}, '^file:(//)?', ''), '+', '%2B'))`

/** A line without the CR at its end; a regular expression would read its bytes as text, whatever they are. */
export const lineSql = `if(right(value, 1) = chr(13), substring(value, 1, length(value) - 1), value)`

// ---- lines of JSON -------------------------------------------------------------------------------------------------

// Spark reads no further than the end of a first value; that nothing follows it shows when it stands in a list.
const strict = `map('allowSingleQuotes', 'false', 'allowNonNumericNumbers', 'false')`

function jsonSql(source: Source, lines: string, batch: string, messages: boolean): string {
  const read = columnsRead(source)
  const known = read.map(({ name }) => sparkText(name)).join(', ')
  const texts = read.filter(({ type }) => type.is === 'text').map(({ name }) => sparkText(name))
  // what a text that begins like JSON was is only looked at then
  const isNested = `_k in (${texts.join(', ')}) and left(element_at(_fields, _k), 1) in ('{', '[') and schema_of_variant(try_variant_get(_json, concat('$[0]["', _k, '"]'), 'variant')) <> 'STRING'`
  const hasHalf = `_k in (${known}) and _raw rlike concat('"', _k, '"[ \\t]*:[ \\t]*"(?:[^"\\\\\\\\]|\\\\\\\\.)*?', ${sparkText(half)})`
  // a fault of a key: the first of the keys that has it
  const faults: { code: string; keys: string }[] = [
    { code: 'DUPLICATE_KEY', keys: 'filter(_keys, (_k, _i) -> array_position(_keys, _k) <= _i)' },
    ...(source.unknown === undefined || source.unknown.is === 'refuse'
      ? [{ code: 'UNKNOWN_COLUMN', keys: `filter(_keys, _k -> _k not in (${known}))` }]
      : []),
    { code: 'NUL_BYTE', keys: 'filter(_keys, _k -> contains(element_at(_fields, _k), chr(0)))' },
    ...(texts.length === 0 ? [] : [{ code: 'WRONG_TYPE', keys: `filter(_keys, _k -> ${isNested})` }]),
    { code: 'LONE_SURROGATE', keys: `if(_raw rlike ${sparkText(half)}, filter(_keys, _k -> ${hasHalf}), array())` },
  ]
  // a message may have no value, or one that is blank; a line that is blank is no row
  const nothing = messages ? `not _raw rlike '[^ \\\\t\\\\r\\\\n]' or ` : ''
  const whole = `_raw is null or not is_valid_utf8(_raw) or ${nothing}${isTooDeep} or _json is null or try_variant_get(_json, '$[1]', 'variant') is not null`
  const blank = messages ? '' : `\n      -- blank lines are no rows\n      where not _raw rlike '^[ \\\\t\\\\r]*\\\\z'`
  return `select
  _place as ${origin.file},
  _raw as ${origin.raw},
  case
    when _raw is null then 'NO_VALUE'
    when not is_valid_utf8(_raw) then 'INVALID_UTF8'
    when ${isTooDeep} then 'TOO_DEEP'
    when ${whole} then 'NOT_JSON'
    when not _raw rlike '^[ \\\\t\\\\r\\\\n]*[{]' then 'NOT_AN_OBJECT'
${faults.map(({ code, keys }) => `    when size(${keys}) > 0 then '${code}'`).join('\n')}
  end as ${origin.malformed},
  case
    when ${whole} then null
${faults.map(({ keys }) => `    when size(${keys}) > 0 then ${keys}[0]`).join('\n')}
  end as ${origin.about},
  ${columnsSql(source, batch, ({ name }) => `try_element_at(_fields, ${sparkText(name)})`, messages)}
from (
  select *, map_keys(_fields) as _keys
  from (
    select *, coalesce(if(_json is null, null, from_json(_raw, 'map<string,string>', ${strict})), map()) as _fields
    from (
      select *, try_parse_json(concat('[', _raw, ']')) as _json
      from (select *, ${place} as _place, ${messages ? 'value' : lineSql} as _raw from ${lines})${blank}
    )
  )
)`
}

// Half of a UTF-16 pair, escaped: the first without the second, or the second without the first.
const half =
  '(?<!\\\\)(?:\\\\\\\\)*(?:\\\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\\\u[dD][c-fC-F])|(?<!\\\\u[dD][89abAB][0-9a-fA-F]{2})\\\\u[dD][c-fC-F][0-9a-fA-F]{2})'

// More than 500 levels of objects and lists; counted only where there are as many brackets.
const brackets = `regexp_replace(regexp_replace(_raw, '"(?:[^"\\\\\\\\]++|\\\\\\\\.)*+"', ''), '[^\\\\[\\\\]{}]', '')`
const isTooDeep = `(length(${brackets}) > 1000 and aggregate(split(${brackets}, ''), struct(0 as _at, 0 as _most), (_s, _c) -> struct(_s._at + if(_c in ('[', '{'), 1, -1) as _at, greatest(_s._most, _s._at + 1) as _most))._most > 500)`

// ---- CSV -----------------------------------------------------------------------------------------------------------

function csvSql(
  source: Source,
  { delimiter, quote, header: named }: FileFormat & { is: 'csv' },
  header: SparkInput['header'],
  lines: string,
  batch: string,
): string {
  const read = columnsRead(source)
  const names = named === false ? read.map(({ name }) => name) : (header?.names ?? read.map(({ name }) => name))
  const [d, q] = [escaped(delimiter), escaped(quote)]
  const quoted = `${q}[^${q}]*+(?:${q}${q}[^${q}]*+)*+${q}`
  const field = `(?:${quoted}|(?!${q})[^${d}]*+)`
  const wellFormed = `${field}(?:${d}${field})*+`
  const isPlain = `not contains(_raw, ${sparkText(quote)})`
  // every field with the delimiter before it; then without it, and without its quotes
  const parts = `regexp_extract_all(concat(${sparkText(delimiter)}, _raw), ${sparkText(`${d}(${field})`)}, 1)`
  const unquoted = `if(left(_v, 1) = ${sparkText(quote)}, replace(substring(_v, 2, length(_v) - 2), ${sparkText(quote + quote)}, ${sparkText(quote)}), _v)`
  const at = (name: string): string => {
    const place = names.indexOf(name)
    return place < 0 ? 'cast(null as string)' : `get(_values, ${place})`
  }
  const fieldOf = ({ name, type, nullable }: SourceColumn): string =>
    type.is === 'text' && !nullable ? at(name) : `nullif(${at(name)}, '')`
  const isHeader = header === undefined ? '' : `\n    where _raw <> ${sparkText(header.line)}`
  return `select
  _place as ${origin.file},
  _raw as ${origin.raw},
  case
    when not is_valid_utf8(_raw) then 'INVALID_UTF8'
    when contains(_raw, chr(0)) then 'NUL_BYTE'
    when _values is null and ${sparkMatches('_raw', `(?:${field}${d})*+${quoted}[^${d}].*`)} then 'STRAY_QUOTE'
    when _values is null then 'UNCLOSED_QUOTE'
    when size(_values) < ${names.length} then 'TOO_FEW_FIELDS'
    when size(_values) > ${names.length} then 'TOO_MANY_FIELDS'
  end as ${origin.malformed},
  cast(null as string) as ${origin.about},
  ${columnsSql(source, batch, fieldOf)}
from (
  select _place, _raw,
    case
      when ${isPlain} then split(_raw, ${sparkText(escaped(delimiter))}, -1)
      when ${sparkMatches('_raw', wellFormed)} then transform(${parts}, _v -> ${unquoted})
    end as _values
  from (
    select ${place} as _place, ${lineSql} as _raw
    from ${lines}
  )${isHeader}${isHeader === '' ? '\n  where' : ' and'} _raw <> ''
)`
}

function escaped(character: string): string {
  return /[A-Za-z0-9]/.test(character) ? character : `\\${character}`
}

// ---- Parquet -------------------------------------------------------------------------------------------------------

function parquetSql(
  source: Source,
  columns: { name: string; type: string }[],
  lines: string,
  batch: string,
  typed: ReadonlySet<string>,
): string {
  const read = columnsRead(source)
  const textOf = ({ name }: Pick<Column, 'name'>): string => {
    const found = columns.find((column) => column.name === name)
    return found === undefined ? 'cast(null as string)' : valueText(sparkName(name), found.type)
  }
  const isTyped = ({ name }: Pick<Column, 'name'>): boolean => typed.has(name)
  const nul = read
    .filter((column) => !isTyped(column))
    .map((column) => `coalesce(contains(${textOf(column)}, chr(0)), false)`)
  return `select
  ${place} as ${origin.file},
  to_json(named_struct(${read.flatMap((column) => [sparkText(column.name), textOf(column)]).join(', ')}), map('ignoreNullFields', 'false')) as ${origin.raw},
  ${nul.length === 0 ? 'cast(null as string)' : `case when ${nul.join(' or ')} then 'NUL_BYTE' end`} as ${origin.malformed},
  cast(null as string) as ${origin.about},
  ${[
    ...read.filter(isTyped).map((column) => `${textOf(column)} as ${rawName(column.name)}`),
    columnsSql(source, batch, (column) => (isTyped(column) ? sparkName(column.name) : textOf(column))),
  ].join(',\n  ')}
from ${lines}`
}

// A value of Parquet as validation reads it.
function valueText(value: string, type: string): string {
  if (type === 'string') return value
  if (type === 'timestamp' || type === 'timestamp_ntz')
    return `date_format(${value}, 'yyyy-MM-dd\\'T\\'HH:mm:ss.SSSSSS\\'Z\\'')`
  return type.startsWith('array') ? `to_json(${value})` : `cast(${value} as string)`
}

// ---- columns -------------------------------------------------------------------------------------------------------

function columnsSql(source: Source, batch: string, textOf: (column: SourceColumn) => string, messages = false): string {
  return source.columns
    .map((column) => {
      const { name } = column
      return `${column.origin === undefined ? textOf(column) : originSql(column, batch, messages)} as ${sparkName(name)}`
    })
    .join(',\n  ')
}

// Of what only messages have there is nothing in files; Spark does not number lines.
function originSql({ origin: from }: SourceColumn, batch: string, messages: boolean): string {
  if (from === 'file' && !messages) return '_place'
  if (messages && (from === 'partition' || from === 'offset' || from === 'timestamp')) return `_${from}`
  return from === 'batch' ? sparkText(batch) : 'cast(null as string)'
}

/** What a view of messages has, before anything is made of it: each where a line of a file would be. */
export const messageColumns = [
  `concat(topic, '/', partition, '/', offset) as ${origin.file}`,
  'cast(value as string) as value',
  'cast(partition as string) as _partition',
  'cast(offset as string) as _offset',
  `date_format(timestamp, "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'") as _timestamp`,
]

/** The columns of an empty relation, for a source without files. */
export function noRowsSql(source: Source): string {
  const none = (name: string, type: ColumnType): string => `cast(null as ${sparkType(type)}) as ${sparkName(name)}`
  const columns = [...Object.values(origin), ...source.columns.map(({ name }) => name)]
  return `select ${columns.map((name) => none(name, { is: 'text' })).join(', ')} where false`
}
