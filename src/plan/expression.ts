import type { ColumnType } from './columns.ts'

/** What a step computes from one row, as plain data. A call's type is known to its entry in the function registry. */
export type Expression = ColumnReference | Literal | Call | RawSql

export interface ColumnReference {
  column: string
}

/** `null`, or a value as JSON can hold it: decimals and timestamps (ISO 8601) as text. */
export interface Literal {
  literal: string | number | boolean | null | (string | number | boolean | null)[]
  type: ColumnType
}

export interface Call {
  call: string
  args: Expression[]
}

/** The way down: DuckDB's SQL, not portable to Spark. */
export interface RawSql {
  sql: string
  type: ColumnType
}

/** One aggregate over the rows of a window or a total. `args` are constants such as the k of a top-k. */
export interface Aggregate {
  aggregate: 'count' | 'sum' | 'min' | 'max' | 'mean' | 'deviation' | 'countDistinct' | 'top' | 'median' | 'counts'
  of?: Expression
  /** Only of the rows for which this is true. */
  where?: Expression
  args?: number[]
}

/** The names of the columns an expression reads; raw SQL reads what it likes and is not looked into. */
export function columnsOf(expression: Expression): Set<string> {
  const names = new Set<string>()
  walk(expression, (node) => {
    if ('column' in node) names.add(node.column)
  })
  return names
}

/** The expression with others in the place of the columns it reads. */
export function replaced(expression: Expression, by: (column: string) => Expression): Expression {
  if ('column' in expression) return by(expression.column)
  return 'call' in expression ? { ...expression, args: expression.args.map((arg) => replaced(arg, by)) } : expression
}

export function walk(expression: Expression, visit: (node: Expression) => void): void {
  visit(expression)
  if ('call' in expression) for (const arg of expression.args) walk(arg, visit)
}
