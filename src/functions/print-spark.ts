/** Expressions as Spark's SQL. */
import { MillraceError } from '../errors.ts'
import type { Column, ColumnType } from '../plan/columns.ts'
import type { Expression, Literal } from '../plan/expression.ts'
import { constantsOf } from './define.ts'
import { sparkName, sparkText, sparkType } from './spark-type.ts'
import { type TypedExpression, typed } from './type-of.ts'

/** The expression over these columns as Spark's SQL; NOT_SUPPORTED for what is written in DuckDB's own. */
export function printSpark(expression: Expression, columns: readonly Column[]): string {
  return print(typed(expression, columns))
}

function print(node: TypedExpression): string {
  if ('entry' in node) {
    const types = node.args.map((arg) => arg.type)
    return node.entry.spark(node.args.map(print), types, constantsOf(node.args.map((arg) => arg.expression)))
  }
  const { expression } = node
  if ('column' in expression) return sparkName(expression.column)
  if ('literal' in expression) return sparkLiteral(expression.literal, expression.type)
  throw new MillraceError('NOT_SUPPORTED', {
    message: `sql(${JSON.stringify(expression.sql)}) is DuckDB's own, and Spark cannot run it`,
    hint: 'write it with the functions of the registry',
  })
}

export function sparkLiteral(value: Literal['literal'], type: ColumnType): string {
  if (value === null) return `cast(null as ${sparkType(type)})`
  switch (type.is) {
    case 'text':
    case 'json':
      return sparkText(String(value))
    case 'boolean':
      return String(value)
    case 'integer':
    case 'decimal':
    case 'double':
      return `cast('${value}' as ${sparkType(type)})`
    case 'timestamp':
      return `timestamp ${sparkText(String(value))}`
    case 'list': {
      const items = Array.isArray(value) ? value : []
      return `cast(array(${items.map((item) => sparkLiteral(item, type.of)).join(', ')}) as ${sparkType(type)})`
    }
  }
}
