/**
 * Rows on their way into a table: one row per key within the batch, keys an index can hold, and every value printed as
 * Postgres reads it. How they meet the rows that are there is the mode, which the store carries out.
 */

import { beside, type Relation } from '../operators/operator.ts'
import type { Column, ColumnType } from '../plan/columns.ts'
import { identifier } from '../plan/identifier.ts'
import type { TableStep } from '../plan/plan.ts'

// A Postgres index entry must fit a third of a page: 2,704 bytes, some of them its own.
const maxKeyBytes = 2600

/** Relations in order; the last one, `out`, holds the rows that go to the store. */
export function tableRelations(step: TableStep, names: { input: string; out: string }): Relation[] {
  if (step.mode.is === 'append') {
    return [{ name: names.out, as: 'view', select: `select *\nfrom ${names.input}` }]
  }
  const key = step.mode.key.map((name) => identifier(name))
  const bytes = step.mode.key
    .map((name) => `coalesce(octet_length(encode(${identifier(name)}::varchar)), 0)`)
    .join(' + ')
  // The first row of a key wins where only new keys are inserted, the last one where a row replaces another.
  const winner = step.mode.is === 'insert if new' ? 'min' : 'max'
  return [
    {
      name: keyTooLongName(names.out),
      as: 'table',
      select: `select _row, ${bytes} as _key_bytes\nfrom ${names.input}\nwhere ${bytes} > ${maxKeyBytes}`,
    },
    {
      name: names.out,
      as: 'table',
      select: `select *
from ${names.input}
where _row in (select ${winner}(_row) from ${names.input} group by ${key.join(', ')})
  and _row not in (select _row from ${keyTooLongName(names.out)})`,
    },
  ]
}

/** The rows whose key no index can hold. */
export function keyTooLongName(out: string): string {
  return beside(out, 'key_too_long')
}

/** The select that prints a sink's rows for Postgres `COPY` in CSV, in arrival order. */
export function copySql(step: TableStep, out: string): string {
  const columns = step.columns.map((column) => `  ${postgresText(column)} as ${identifier(column.name)}`)
  return `select\n${columns.join(',\n')}\nfrom ${out}\norder by _row`
}

/** The columns whose text must be quoted, so that an empty text is not read as null, nor `\.` as the end. */
export function quotedColumns(step: TableStep): string[] {
  return step.columns
    .filter(({ type }) => type.is === 'text' || type.is === 'json' || type.is === 'list')
    .map(({ name }) => name)
}

/** The type a column has in Postgres. */
export function postgresType(type: ColumnType): string {
  switch (type.is) {
    case 'text':
      return 'text'
    case 'boolean':
      return 'boolean'
    case 'integer':
      return 'bigint'
    case 'decimal':
      return `numeric(${type.precision},${type.scale})`
    case 'double':
      return 'double precision'
    case 'timestamp':
      return 'timestamptz'
    case 'json':
      return 'jsonb'
    case 'list':
      return `${postgresType(type.of)}[]`
  }
}

function postgresText(column: Column): string {
  const name = identifier(column.name)
  if (column.type.is !== 'list') return name
  // {"a","b"}: every item quoted, with quotes and backslashes escaped
  const escaped = `'"' || replace(replace(item::varchar, '\\', '\\\\'), '"', '\\"') || '"'`
  const items = `list_transform(${name}, lambda item: coalesce(${escaped}, 'NULL'))`
  return `'{' || array_to_string(${items}, ',') || '}'`
}

/** What the table is created as when it is missing. */
export function createTableSql(step: TableStep): string {
  const columns = step.columns.map(
    (column) => `  ${identifier(column.name)} ${postgresType(column.type)}${column.nullable ? '' : ' not null'}`,
  )
  if (step.mode.is !== 'append') {
    columns.push(`  unique ${nullsNotDistinct(step)}(${step.mode.key.map((name) => identifier(name)).join(', ')})`)
  }
  return `create table if not exists ${identifier(...step.table.split('.'))} (\n${columns.join(',\n')}\n)`
}

// A key with an absent part is still one key.
function nullsNotDistinct(step: TableStep): string {
  const key = step.mode.is === 'append' ? [] : step.mode.key
  return step.columns.some((column) => key.includes(column.name) && column.nullable) ? 'nulls not distinct ' : ''
}
