/**
 * What a sample tells of its columns: counts, and how many values are of each type. The latter is tried with the
 * validation that pipelines use, so that nothing else says what a number is.
 */
import type { DuckSession } from '../engine/duckdb.ts'
import { validate } from '../operators/validate.ts'
import { boolean, type ColumnType, decimal, double, integer, json, timestamp, typeName } from '../plan/columns.ts'
import { sqlText } from '../plan/identifier.ts'
import type { Sample } from './sample.ts'
import type { ValueKind } from './sample-formats.ts'

/** What is counted of a column. */
export interface Counts {
  name: string
  /** Values that are there, and how many there are of different ones. */
  filled: number
  distinct: number
  /** How often the rarest value comes. */
  rarest: number
  longest: number
  /** Values a number would change: with a zero before other digits, or a plus. */
  padded: number
  /** The most digits before and after a point. */
  wholes: number
  decimals: number
  /** Values that end without an offset from UTC, if they are times. */
  local: number
  /** Values that begin as a JSON object or list does. */
  nested: number
  /** What the file itself says its values are. */
  kinds: ValueKind[]
  /** The different values, when they are few. */
  few: string[]
}

/** What is known of a column. */
export interface Evidence extends Counts {
  rows: number
  fit(what: Trial): Fit
  /** A decimal that all its values are, with room for more digits. */
  decimal: ColumnType | undefined
}

/** The evidence on each column of what `readSample` has read in this session. */
export async function evidenceOf(session: DuckSession, sample: Sample): Promise<Evidence[]> {
  const counts = await countsOf(session)
  const fits = await tryTypes(session, counts)
  const decimals = await tryDecimals(session, counts)
  const byName = new Map(counts.map((found) => [found.name, found]))
  return sample.columns.map((name) => ({
    ...(byName.get(name) ?? { ...nothing, name, kinds: [], few: [] }),
    rows: sample.rows,
    fit: (what) => fits[what].get(name) ?? { name, fits: 0, stranger: null },
    decimal: decimals.get(name),
  }))
}

/** The different values of a column are told when there are no more. */
const mostFew = 10

async function countsOf(session: DuckSession): Promise<Counts[]> {
  return await session.rows<Counts & Record<string, unknown>>(`
    select
      column_name as name,
      sum(n)::integer as filled,
      count(distinct value)::integer as "distinct",
      min(n)::integer as rarest,
      max(length(value))::integer as longest,
      coalesce(sum(n) filter (where regexp_matches(value, '^([+]|-?0[0-9])')), 0)::integer as padded,
      max(length(ltrim(split_part(value, '.', 1), '+-')))::integer as wholes,
      max(length(split_part(value, '.', 2)))::integer as decimals,
      coalesce(sum(n) filter (where not regexp_matches(value, '(Z|[+-][0-9]{2}(:?[0-9]{2})?)$')), 0)::integer as local,
      coalesce(sum(n) filter (where regexp_matches(value, '^\\s*[{\\[]')), 0)::integer as nested,
      coalesce(list(distinct kind) filter (where kind is not null), []) as kinds,
      case when count(distinct value) <= ${mostFew} then list_sort(list(distinct value)) else [] end as few
    from cells
    group by column_name`)
}

const nothing = {
  filled: 0,
  distinct: 0,
  rarest: 0,
  longest: 0,
  padded: 0,
  wholes: 0,
  decimals: 0,
  local: 0,
  nested: 0,
}

/** How many values of a column are of a type, and one that is not. */
export interface Fit {
  name: string
  fits: number
  stranger: string | null
}

const trials = {
  integer: { type: integer, text: 'value' },
  double: { type: double, text: 'value' },
  boolean: { type: boolean, text: 'value' },
  timestamp: { type: timestamp, text: 'value' },
  json: { type: json, text: 'value' },
  // a timestamp that only lacks its time
  date: { type: timestamp, text: "value || 'T00:00:00'" },
} satisfies Record<string, { type: ColumnType; text: string }>

export type Trial = keyof typeof trials

async function tryTypes(session: DuckSession, counts: Counts[]): Promise<Record<Trial, Map<string, Fit>>> {
  let left = counts.map(({ name }) => name)
  const tried = async (what: Trial): Promise<Map<string, Fit>> =>
    new Map((await tryValues(session, trials[what], left)).map((fit) => [fit.name, fit]))
  const numbers = { integer: await tried('integer'), double: await tried('double') }
  // what is a number is nothing else
  left = left.filter((name) => numbers.double.get(name)?.stranger !== null)
  return {
    ...numbers,
    boolean: await tried('boolean'),
    timestamp: await tried('timestamp'),
    json: await tried('json'),
    date: await tried('date'),
  }
}

async function tryValues(
  session: DuckSession,
  { type, text }: { type: ColumnType; text: string },
  among: string[],
): Promise<Fit[]> {
  if (among.length === 0) return []
  const columns = [{ name: 'value', type, nullable: true }]
  const chosen = `where column_name in (${among.map(sqlText).join(', ')})`
  const [checked] = validate.relations(
    { id: 'trial', op: 'validate', from: ['cells'], rules: {}, checks: [], columns },
    { input: `(select rowid as _row, ${text} as value from cells ${chosen})`, out: 'trial', inputColumns: columns },
  )
  return await session.rows<Fit & Record<string, unknown>>(`
    select
      cells.column_name as name,
      coalesce(sum(n) filter (where _failed is null), 0)::integer as fits,
      min(cells.value) filter (where _failed is not null) as stranger
    from (${checked?.select}) tried
    join cells on cells.rowid = tried._row
    group by cells.column_name`)
}

// Precisions people choose. A scale is even, so that an odd number of decimals has room for one more.
const precisions = [12, 18, 28, 38]
export const mostDecimals = 8
const spareDigits = 2

/** The decimal each column's digits ask for, with headroom, where all its values are such decimals. */
async function tryDecimals(session: DuckSession, counts: Counts[]): Promise<Map<string, ColumnType>> {
  const wanted = counts.flatMap(({ name, wholes, decimals }) => {
    const scale = Math.max(2, decimals + (decimals % 2))
    const precision = precisions.find((digits) => digits >= wholes + spareDigits + scale)
    return precision === undefined || decimals === 0 || decimals > mostDecimals
      ? []
      : [{ name, type: decimal(precision, scale) }]
  })
  const found = new Map<string, ColumnType>()
  for (const same of Map.groupBy(wanted, ({ type }) => typeName(type)).values()) {
    const [{ type } = { type: double }] = same
    const fits = await tryValues(
      session,
      { type, text: 'value' },
      same.map(({ name }) => name),
    )
    for (const { name, stranger } of fits) if (stranger === null) found.set(name, type)
  }
  return found
}
