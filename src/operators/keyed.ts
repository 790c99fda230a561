/** What a step keeps by key, on its way to the store and back: JSON objects of texts, in which no digit is lost. */
import { duckdbType } from '../functions/print.ts'
import type { Column, ColumnType } from '../plan/columns.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import { beside } from './operator.ts'

/** What is kept in one place of the store: a step's own name, or `step/part`. */
export interface KeptPart {
  step: string
  /** Which items of the batch's keys are read: a select of `_key` and `_item`; without an item, all of the key. */
  wanted: string
  /** Also what is due by the watermark to which the batch moves. */
  due: boolean
  /** The table that the engine fills with what is stored, and the columns of it beside `_key`, `_item` and `_due`. */
  stored: string
  columns: KeptColumn[]
  /** What the batch leaves: a select of `_key`, `_item`, `_due` and the columns. */
  set: string
  /** What is no longer needed: a select of `_key` and `_item`. */
  gone: string
}

export interface KeptColumn {
  name: string
  type: ColumnType
}

// An index entry must fit a third of a page, beside the names of pipeline and step.
const maxKeyBytes = 2000

/** The values of a key as one text; what an index cannot hold, or no text may, is known by its hash. */
export function keyTextSql(by: string[]): string {
  const key = `to_json([${by.map((name) => `${identifier(name)}::varchar`).join(', ')}])::varchar`
  return `case when strlen(${key}) > ${maxKeyBytes} then 'sha256 ' || sha256(${key}) else ${key} end`
}

/** A value as a text that can be read again. */
export function keptText({ name, type }: KeptColumn): string {
  const value = identifier(name)
  switch (type.is) {
    case 'timestamp':
      return `epoch_us(${value})::varchar`
    case 'list':
      return `to_json(${value})::varchar`
    default:
      return `${value}::varchar`
  }
}

/** The columns as a JSON object. */
export function keptObject(columns: readonly KeptColumn[]): string {
  return `json_object(${columns.map((column) => `${sqlText(column.name)}, ${keptText(column)}`).join(', ')})::varchar`
}

/** A column out of the JSON object `state`. */
export function readKept({ name, type }: KeptColumn): string {
  const text = `json_extract_string(state, ${sqlText(`$."${name}"`)})`
  switch (type.is) {
    case 'timestamp':
      return `make_timestamptz(${text}::bigint)`
    case 'list':
      return `from_json(${text}, '["VARCHAR"]')::${duckdbType(type)}`
    default:
      return `${text}::${duckdbType(type)}`
  }
}

/** What is stored, as columns, out of a relation with the columns of the store. */
export function storedSql(columns: readonly KeptColumn[], relation: string): string {
  const read = columns.map((column) => `  ${readKept(column)} as ${identifier(column.name)}`)
  return `select
  key as _key,
  item as _item,
  due::bigint as _due${read.map((sql) => `,\n${sql}`).join('')}
from ${relation}`
}

export function storedName(out: string, part = ''): string {
  return beside(out, part === '' ? 'stored' : `stored_${part}`)
}

export function columnsNamed(columns: readonly Column[], names: readonly string[]): Column[] {
  return names.flatMap((name) => columns.filter((column) => column.name === name))
}

/**
 * What a batch takes back, and what it says instead: rows of `before` that are not in `after`, and the other way. Both are
 * selects of rows that differ from each other.
 */
export function changesSql(order: string, before: string, after: string): string {
  return changesOfSides(
    order,
    `select *, -1 as _side from (
${before}
    )
    union all by name
    select *, 1 as _side from (
${after}
    )`,
  )
}

/** The same of one select: `_side` is -1 in the rows of before, and 1 in those of after. */
export function changesOfSides(order: string, sides: string): string {
  return `select row_number() over (order by ${order}, _change) as _row, *
from (
  select * exclude (_side), sum(_side)::integer as _change
  from (
    ${sides}
  )
  group by all
  having sum(_side) <> 0
)`
}
