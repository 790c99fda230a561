/** Expressions as DuckDB's SQL. */
import type { Column, ColumnType } from '../plan/columns.ts'
import type { Expression, Literal } from '../plan/expression.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import { constantsOf } from './define.ts'
import { duckdbType } from './duckdb-type.ts'
import { type TypedCall, type TypedExpression, typed } from './type-of.ts'

export { duckdbType } from './duckdb-type.ts'
export { typeOfExpression } from './type-of.ts'

/**
 * The expression over these columns as DuckDB's SQL; throws what `typeOfExpression` throws. `few`: it is for few rows, and
 * what it takes to make it ready counts.
 */
export function printDuckdb(expression: Expression, columns: readonly Column[], few = false): string {
  return print(typed(expression, columns), few)
}

function print(node: TypedExpression, few: boolean): string {
  if ('entry' in node) return call(node, few)
  const { expression } = node
  if ('column' in expression) return identifier(expression.column)
  if ('literal' in expression) return literalSql(expression.literal, expression.type)
  return rawSql(expression.sql, node.type)
}

function call({ entry, args, type }: TypedCall, few: boolean): string {
  const types = args.map((arg) => arg.type)
  const printed = args.map((arg) => print(arg, few))
  const duckdb = few ? (entry.duckdbFew ?? entry.duckdb) : entry.duckdb
  const sql = duckdb(printed, types, constantsOf(args.map((arg) => arg.expression)))
  // DuckDB forgets the type of most calls when it finds a null among the arguments while it plans.
  const forgets = args.some((arg) => arg.nullable && isFixed(arg))
  return forgets ? `${sql}::${duckdbType(type)}` : sql
}

// The same for every row: there is no column in it.
function isFixed(node: TypedExpression): boolean {
  return 'entry' in node ? node.args.every(isFixed) : 'literal' in node.expression
}

function literalSql(value: Literal['literal'], type: ColumnType): string {
  const name = duckdbType(type)
  if (value === null) return `null::${name}`
  switch (type.is) {
    case 'text':
      return sqlText(String(value))
    case 'boolean':
      return String(value)
    case 'integer':
      return `${signed(String(value))}::${name}`
    case 'decimal':
      // DuckDB takes a long fraction for a double, and a text for what it says.
      return `${String(value).length > 18 ? sqlText(String(value)) : signed(String(value))}::${name}`
    case 'double':
      return `${sqlText(String(value))}::${name}`
    case 'timestamp':
      return `timestamptz ${sqlText(String(value))}`
    case 'json':
      return `${sqlText(String(value))}::${name}`
    case 'list': {
      const items = Array.isArray(value) ? value : []
      return `[${items.map((item) => literalSql(item, type.of)).join(', ')}]::${name}`
    }
  }
}

// Without the parentheses the sign would be taken after the type.
function signed(digits: string): string {
  return digits.startsWith('-') ? `(${digits})` : digits
}

// A comment at the end must not swallow the parenthesis.
function rawSql(sql: string, type: ColumnType): string {
  return `(${sql}${sql.includes('--') ? '\n' : ''})::${duckdbType(type)}`
}
