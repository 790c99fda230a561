/**
 * Rows on their way into a table: keys an index can hold, one row per key where rows are replaced, and every value printed
 * as Postgres reads it. How they meet the rows that are there is the mode, which the store carries out.
 */

import { beside, type Relation } from '../operators/operator.ts'
import type { Column, ColumnType } from '../plan/columns.ts'
import { identifier } from '../plan/identifier.ts'
import type { TableStep } from '../plan/plan.ts'

// A Postgres index entry must fit a third of a page: 2,704 bytes, some of them its own.
const maxKeyBytes = 2600

/**
 * Relations in order; the last one, `out`, holds the rows that go to the store, and says of each whether its key may be
 * `_known` to the table already. `once`: no two rows that come have the same key; `fresh`: nor has any that was said before them.
 */
export function tableRelations(
  step: TableStep,
  names: { input: string; out: string; changing?: boolean; once?: boolean; fresh?: boolean },
): Relation[] {
  const { input, out, changing = false, once = false, fresh = false } = names
  if (step.mode.is === 'append') {
    return [{ name: out, as: 'view', select: `select *, false as _known\nfrom ${input}` }]
  }
  const key = step.mode.key.map((name) => identifier(name))
  // what is taken back is replaced by a row of its key that comes, or goes
  const coming = changing ? `(select * from ${input} where _change > 0)` : input
  const bytes = step.mode.key.map((name) => `coalesce(strlen(${identifier(name)}::varchar), 0)`).join(' + ')
  const tooLong = {
    name: keyTooLongName(out),
    as: 'view' as const,
    select: `select _row, ${bytes} as _key_bytes\nfrom ${coming}\nwhere ${bytes} > ${maxKeyBytes}`,
  }
  if (step.mode.is === 'insert if new') {
    // repeats within the batch are known too, and are left to the database like all others
    const known = `${keyHashSql(step.mode.key)} in (select key from ${knownName(out)})`
    const select = `select *, ${known} as _known\nfrom ${input}\nwhere ${bytes} <= ${maxKeyBytes}`
    return [tooLong, { name: out, as: 'view', select }]
  }
  const fits = `${bytes} <= ${maxKeyBytes}`
  const unique: Relation = once
    ? { name: uniqueName(out), as: 'view', select: `select *\nfrom ${coming}\nwhere ${fits}` }
    : {
        name: uniqueName(out),
        as: 'table',
        // the last row of a key replaces the others
        select: `select *
from ${coming}
where _row in (select max(_row) from ${coming} group by ${key.join(', ')})
  and ${fits}`,
      }
  const deleted: Relation = {
    name: deletedName(out),
    as: 'view',
    select: `select ${key.join(', ')}
from ${input}
group by ${key.join(', ')}
having max(_change) < 0`,
  }
  return [
    tooLong,
    unique,
    ...(changing ? [deleted] : []),
    { name: out, as: 'view', select: `select *, ${!fresh} as _known\nfrom ${uniqueName(out)}` },
  ]
}

/** The rows of a batch that are to replace others, one per key. */
export function uniqueName(out: string): string {
  return beside(out, 'unique')
}

/** The keys of rows that a batch takes back without another in their place. */
export function deletedName(out: string): string {
  return beside(out, 'deleted')
}

/** The hashes of keys that this worker may have seen before, in this batch or an earlier one; filled by the engine. */
export function knownName(out: string): string {
  return beside(out, 'known')
}

/** A row's key as a hash of 53 bits, which a double holds. */
export function keyHashSql(key: string[]): string {
  return `(hash(${key.map((name) => identifier(name)).join(', ')}) >> 11)::double`
}

/** The rows whose key no index can hold. */
export function keyTooLongName(out: string): string {
  return beside(out, 'key_too_long')
}

/** The rows that the database has refused, and why: `_row`, `code`, `column_name`, `message`; filled by the engine. */
export function refusedName(out: string): string {
  return beside(out, 'refused')
}

/** The rows of a sink with their places in its files, as `ordinal`. */
export function numberedSql(out: string): string {
  return `select _row, row_number() over (order by ${sinkOrder}) - 1 as ordinal from ${out}`
}

/** The select that prints a sink's rows for Postgres `COPY` in CSV, in arrival order. */
export function copySql(step: TableStep, out: string, known: boolean): string {
  const columns = step.columns.map((column) => `  ${postgresText(column)} as ${identifier(column.name)}`)
  return `select\n${columns.join(',\n')}\nfrom ${rowsToPrint(out, known)}\norder by _row`
}

/** The rows of a sink whose key may be known, or of the others, to stand after `from`. */
export function rowsToPrint(out: string, known: boolean): string {
  return `${out}\nwhere ${known ? '' : 'not '}_known`
}

/** The select that prints keys as `copySql` prints rows. */
export function keysSql(columns: readonly Column[], relation: string): string {
  return `select\n${columns.map((column) => `  ${postgresText(column)} as ${identifier(column.name)}`).join(',\n')}\nfrom ${relation}`
}

/** The order in which a sink's rows are numbered: those of new keys first. */
export const sinkOrder = '_known, _row'

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
  // the text of a timestamptz takes four times as long, for it knows of time zones
  if (column.type.is === 'timestamp') return `make_timestamp(epoch_us(${name}))::varchar || '+00'`
  if (column.type.is !== 'list') return name
  // {"a","b"}: every item quoted, with quotes and backslashes escaped
  const escaped = `'"' || replace(replace(item::varchar, '\\', '\\\\'), '"', '\\"') || '"'`
  const items = `list_transform(${name}, lambda item: coalesce(${escaped}, 'NULL'))`
  return `'{' || array_to_string(${items}, ',') || '}'`
}

/** What the table is created as when it is missing. */
export function createTableSql(step: TableStep): string {
  const columns = step.columns.map((column) => `  ${columnSql(column)}`)
  if (step.mode.is !== 'append') {
    columns.push(`  unique ${nullsNotDistinct(step)}(${step.mode.key.map((name) => identifier(name)).join(', ')})`)
  }
  return `create table if not exists ${identifier(...step.table.split('.'))} (\n${columns.join(',\n')}\n)`
}

/** What gives a table the columns it lacks. */
export function addColumnsSql(step: TableStep, columns: Column[]): string {
  const added = columns.map((column) => `add column if not exists ${columnSql(column)}`)
  return `alter table ${identifier(...step.table.split('.'))} ${added.join(', ')}`
}

function columnSql({ name, type, nullable }: Column): string {
  return `${identifier(name)} ${postgresType(type)}${nullable ? '' : ' not null'}`
}

// A key with an absent part is still one key.
function nullsNotDistinct(step: TableStep): string {
  const key = step.mode.is === 'append' ? [] : step.mode.key
  return step.columns.some((column) => key.includes(column.name) && column.nullable) ? 'nulls not distinct ' : ''
}
