/** Parquet files with good values and bad ones, some of them damaged; what they hold is what was written into them. */
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { identifier, sqlText } from '../src/plan/identifier.ts'
import type { FilesSource, SourceColumn } from '../src/plan/plan.ts'
import { headerFor, readColumns, valueFor } from './dirty-text.ts'
import type { Generated } from './duckdb.ts'
import type { Bench } from './histories.ts'
import { fits, type Piece, type Reading } from './reference-files.ts'

interface Options {
  /** Files made before. */
  contents: Buffer[]
  large: boolean
  mutate(made: Generated, bytes: Buffer, contents: Buffer[]): Buffer
}

export async function dirtyParquet(
  bench: Bench,
  made: Generated,
  source: FilesSource,
  { contents, large, mutate }: Options,
): Promise<{ bytes: Buffer; reading: Reading }> {
  using session = await bench.duck.connect()
  const path = join(bench.folder, 'spool', 'made.parquet')
  // Parquet in DuckDB knows no two columns of a name, whatever their case
  const names = headerFor(made, source).filter(
    (name, i, all) => name !== '' && all.findIndex((other) => other.toLowerCase() === name.toLowerCase()) === i,
  )
  if (names.length === 0) names.push('x')
  const count = large && made.whole(0, 1) === 0 ? made.whole(3000, 9000) : made.whole(0, 14)
  const texts = columnsOf(made, source, names, count)
  const selects = texts.map(({ name, values, type }) => {
    const list = `[${values.map((value) => (value === null ? 'null' : textSql(value))).join(', ')}]::varchar[]`
    return `unnest(${list})::${type} as ${identifier(name)}`
  })
  const packing = made.oneOf(['uncompressed', 'snappy', 'zstd', 'gzip'])
  await session.run(
    `copy (select ${selects.join(', ')}) to ${sqlText(path)} (format parquet, compression ${packing}, row_group_size 2048)`,
  )
  const whole = await readFile(path)
  const changed = made.whole(0, 9) > 5 ? mutate(made, whole, contents) : whole
  const bytes = changed.equals(whole) || (await readsAlike(bench, changed, path)) ? changed : whole
  contents.push(whole)
  const reading = bytes.equals(whole)
    ? readWritten(source, texts, count)
    : await readByDuckdb(bench, source, bytes, path)
  await rm(path)
  return { bytes, reading }
}

interface Written {
  name: string
  type: string
  values: (string | null)[]
}

// Texts, or values of the column's own type, which then are all good.
function columnsOf(made: Generated, source: FilesSource, names: string[], count: number): Written[] {
  return names.map((name) => {
    const column = readColumns(source).find((candidate) => candidate.name === name)
    const typed = column === undefined || made.whole(0, 1) === 0 ? undefined : typedValues[column.type.is]
    const value = () => (typed === undefined ? textFor(made, column) : made.oneOf(typed.values))
    const type = typed?.type ?? 'varchar'
    const values = made.many(count, () => (made.whole(0, 8) === 0 ? null : value()))
    return { name, type, values }
  })
}

function textFor(made: Generated, column: SourceColumn | undefined): string {
  const value = column === undefined ? made.oneOf(['v', '', '1', 'é"']) : valueFor(made, column)
  return made.whole(0, 60) === 0 ? `${value}\0` : value
}

const typedValues: Record<string, { type: string; values: string[] } | undefined> = {
  integer: { type: 'bigint', values: ['0', '7', '-3', '-6', '9223372036854775807'] },
  decimal: { type: 'decimal(10,3)', values: ['1.500', '0.000', '-9999.990', '123456.780', '1.234'] },
  double: { type: 'double', values: ['0.5', '-1000.0', '2000000.0', '1e+30', '5e-324'] },
  timestamp: {
    type: 'timestamptz',
    values: ['2026-01-31 12:00:00+00', '1969-12-31 23:59:59.5+00', '9999-12-31 23:59:59.999999+00'],
  },
  boolean: { type: 'boolean', values: ['true', 'false'] },
}

function textSql(value: string): string {
  return value.split('\0').map(sqlText).join(' || chr(0) || ')
}

function readWritten(source: FilesSource, texts: Written[], count: number): Reading {
  const names = texts.map(({ name }) => name)
  if (!fits(names, source)) return { is: 'quarantined', codes: ['HEADER_MISMATCH'] }
  const more = names.filter((name) => !isOwn(source, name))
  const rows = Array.from({ length: count }, (_, i) => {
    const values = new Map(texts.map(({ name, type, values }) => [name, readAs(source, name, type, values[i] ?? null)]))
    const members = Object.fromEntries(more.map((name) => [name, values.get(name)]))
    return pieceOf(source, values, more.length === 0 ? null : JSON.stringify(members), i + 1)
  })
  return { is: 'read', pieces: rows }
}

/** What a column can be read from; a text from everything, and what is JSON is left to DuckDB. */
const readable: Record<string, RegExp | undefined> = {
  integer: /^(varchar|bigint|double|decimal.*)$/i,
  decimal: /^(varchar|bigint|double|decimal.*)$/i,
  double: /^(varchar|bigint|double|decimal.*)$/i,
  timestamp: /^(varchar|timestamp.*)$/i,
  boolean: /^(varchar|boolean)$/i,
}

// A value as a column reads it: whole doubles are integers, and decimals may have zeros to spare.
function readAs(source: FilesSource, name: string, type: string, value: string | null): string | null {
  const wanted = readColumns(source).find((column) => column.name === name)?.type
  if (wanted === undefined || value === null) return value
  if (wanted.is === 'integer' && /^double$/i.test(type)) {
    const number = Number(value)
    return Number.isSafeInteger(number) ? BigInt(number).toString() : value
  }
  if (!/^decimal/i.test(type) || (wanted.is !== 'integer' && wanted.is !== 'decimal')) return value
  const [whole = '', digits = ''] = value.split('.')
  const scale = wanted.is === 'integer' ? 0 : wanted.scale
  if (/[1-9]/.test(digits.slice(scale))) return value
  return scale === 0 ? whole : `${whole}.${digits.slice(0, scale)}`
}

function isOwn(source: FilesSource, name: string): boolean {
  return readColumns(source).some((column) => column.name === name)
}

function pieceOf(source: FilesSource, values: Map<string, string | null>, more: string | null, line: number): Piece {
  const keep = source.unknown?.is === 'keep' ? source.unknown.as : undefined
  const names = source.columns.filter(({ origin }) => origin === undefined).map(({ name }) => name)
  const own = names.map((name): [string, string | null] => [name, name === keep ? more : (values.get(name) ?? null)])
  const fields = Object.fromEntries(own)
  const raw = JSON.stringify(fields)
  const hasNul = own.some(([, value]) => value?.includes('\0'))
  return hasNul ? { is: 'malformed', line, code: 'NUL_BYTE', column: null, raw } : { is: 'row', line, fields, raw }
}

// Of some damaged files DuckDB reads what lies in its memory by chance: there is nothing that it should have been.
async function readsAlike(bench: Bench, bytes: Buffer, path: string): Promise<boolean> {
  await writeFile(path, bytes)
  await using session = await bench.duck.apart(1)
  const seen = new Set<string>()
  for (let i = 0; i < 6; i++) {
    await session.run(
      `create or replace table chance as select random() * ${10 ** (6 * i)} as n, repeat(chr(65 + ${i}), 40) as t from range(200000)`,
    )
    await session.run('drop table chance')
    const read = await session
      .rows<{ rows: string }>(
        `select coalesce(sum(hash(r)), 0)::varchar as rows from (select r::varchar as r from read_parquet(${sqlText(path)}) r)`,
      )
      .catch((): { rows: string }[] => [{ rows: 'cannot be read' }])
    seen.add(read[0]?.rows ?? '')
  }
  return seen.size === 1
}

// A changed byte may leave a file that can be read: then it holds what DuckDB reads of it at once.
async function readByDuckdb(bench: Bench, source: FilesSource, bytes: Buffer, path: string): Promise<Reading> {
  const marks = bytes.toString('latin1', 0, 4) + bytes.toString('latin1', bytes.length - 4)
  if (bytes.length < 12 || marks !== 'PAR1PAR1') return { is: 'quarantined', codes: ['NOT_PARQUET'] }
  await writeFile(path, bytes)
  await using session = await bench.duck.apart(1)
  const file = `read_parquet(${sqlText(path)}, file_row_number = true)`
  try {
    // names that are no text are found only here
    await session.rows(`select name from parquet_schema(${sqlText(path)})`)
    const described = await session.rows<{ column_name: string; column_type: string }>(
      `describe select * exclude (file_row_number) from ${file}`,
    )
    const names = described.map(({ column_name }) => column_name)
    // what else is wrong with it may be found first
    if (!fits(names, source)) return { is: 'quarantined', codes: ['HEADER_MISMATCH', ...unreadable] }
    const own = names.filter((name) => isOwn(source, name))
    const plain = /^(VARCHAR|BIGINT|DOUBLE|BOOLEAN|DECIMAL\(\d+,\d+\)|TIMESTAMP.*)$/
    const types = new Map(described.map(({ column_name, column_type }) => [column_name, column_type]))
    const odd = readColumns(source).some(({ name, type }) => {
      const found = types.get(name)
      return found !== undefined && !(plain.test(found) && (readable[type.is] ?? plain).test(found))
    })
    if (odd) return { is: 'quarantined', codes: ['WRONG_TYPE', ...unreadable] }
    const more = source.unknown?.is === 'keep' ? names.filter((name) => !own.includes(name)) : []
    const members = more.map((name) => `${sqlText(name)}, ${identifier(name)}`)
    const texts = [
      // the client takes a mark of byte order off the front of a text
      ...own.map((name) => `'x' || ${identifier(name)}::varchar as ${identifier(name)}`),
      `${more.length === 0 ? 'null' : `'x' || json_object(${members.join(', ')})::varchar`} as _more`,
    ]
    const found = await session.rows<Record<string, string | null>>(
      `select file_row_number, ${texts.join(', ')} from ${file} order by file_row_number`,
    )
    const [told] = await session.rows<{ n: string }>(
      `select num_rows as n from parquet_file_metadata(${sqlText(path)})`,
    )
    if (Number(told?.n) !== found.length) return { is: 'quarantined', codes: unreadable }
    const pieces = found.map(({ file_row_number, ...row }) => {
      const values = new Map(
        Object.entries(row).map(([name, value]) => [
          name,
          readAs(source, name, types.get(name) ?? '', value?.slice(1) ?? null),
        ]),
      )
      return pieceOf(source, values, values.get('_more') ?? null, Number(file_row_number) + 1)
    })
    return { is: 'read', pieces }
  } catch {
    return { is: 'quarantined', codes: unreadable }
  }
}

const unreadable = ['FILE_UNREADABLE', 'NEEDS_MORE_MEMORY']
