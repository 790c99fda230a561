import { MillraceError } from '../errors.ts'
import type { ColumnType, Kind } from '../plan/columns.ts'
import { checkType } from './type-of.ts'
import { type Value, valueOf } from './value.ts'

/** A kind that says all there is to know about its type; a decimal needs its digits too. */
type WholeKind = Exclude<Kind, 'decimal' | 'list of decimal'>

/**
 * The way down: DuckDB's own SQL as a value. It is not portable to Spark, may always be null, and is not looked into:
 * `sql('upper(name)', 'text')`, `sql<'decimal'>('price * 2', decimal(12, 2))`.
 */
export function sql<K extends WholeKind>(text: string, type: K): Value<K>
export function sql<K extends Kind>(text: string, type: ColumnType): Value<K>
export function sql(text: string, type: string | ColumnType): Value {
  if (text.trim() === '' || text.includes('\0') || !text.isWellFormed()) {
    throw new MillraceError('WRONG_TYPE', { message: `sql(${JSON.stringify(text)}) is not an expression of SQL` })
  }
  const whole = checkType(typeof type === 'string' ? typeOfKind(type) : type)
  return valueOf({ sql: text, type: whole }, whole, true)
}

function typeOfKind(kind: string): unknown {
  return kind.startsWith('list of ') ? { is: 'list', of: typeOfKind(kind.slice('list of '.length)) } : { is: kind }
}
