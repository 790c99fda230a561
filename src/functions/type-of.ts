/** The types of an expression tree. It may come from plain JSON, so its shape is checked as well. */
import { type ErrorCode, MillraceError, nearest } from '../errors.ts'
import { type Column, type ColumnType, listOf } from '../plan/columns.ts'
import type { Call, Expression } from '../plan/expression.ts'
import { type FunctionEntry, type Typed, typeOfCall } from './define.ts'
import { functions } from './index.ts'
import { checkLiteral } from './literal.ts'

/** An expression in which the type of every part is known. */
export type TypedExpression = TypedLeaf | TypedCall

export interface TypedLeaf extends Typed {
  expression: Exclude<Expression, Call>
}

export interface TypedCall extends Typed {
  entry: FunctionEntry
  args: TypedExpression[]
}

/** The type of an expression over these columns; throws UNKNOWN_COLUMN, UNKNOWN_FUNCTION, WRONG_TYPE or INVALID_PLAN. */
export function typeOfExpression(
  expression: Expression,
  columns: readonly Column[],
): { type: ColumnType; nullable: boolean } {
  const { type, nullable } = typed(expression, columns)
  return { type, nullable }
}

/** The expression with the type of every part. */
export function typed(expression: Expression, columns: readonly Column[], depth = 0): TypedExpression {
  checkShape(expression)
  checkDepth(depth)
  if ('column' in expression) {
    const column = columns.find(({ name }) => name === expression.column)
    if (column) return { expression, type: column.type, nullable: column.nullable }
    const names = columns.map(({ name }) => name)
    throw unknown('UNKNOWN_COLUMN', 'column', expression.column, names, `the columns here are ${names.join(', ')}`)
  }
  if ('literal' in expression) {
    const type = checkType(expression.type)
    checkLiteral(expression.literal, type)
    return { expression, type, nullable: expression.literal === null }
  }
  if ('call' in expression) {
    const entry = entryOf(expression.call)
    const args = expression.args.map((arg) => typed(arg, columns, depth + 1))
    return { expression, ...typeOfCall(entry, args), entry, args }
  }
  return { expression, type: checkType(expression.type), nullable: true }
}

/** The type, when it is one: its digits, and what a list holds. */
export function checkType(type: unknown): ColumnType {
  const found = typeFrom(type)
  if (found) return found
  throw new MillraceError('INVALID_PLAN', {
    message: `${JSON.stringify(type)} is not the type of a column`,
    hint: 'the types are text, boolean, integer, decimal (with precision 1 to 38 and scale), double, timestamp, json, and lists of them',
  })
}

function typeFrom(type: unknown): ColumnType | undefined {
  if (typeof type !== 'object' || type === null || !('is' in type)) return undefined
  switch (type.is) {
    case 'text':
    case 'boolean':
    case 'integer':
    case 'double':
    case 'timestamp':
    case 'json':
      return { is: type.is }
    case 'decimal': {
      if (!('precision' in type && 'scale' in type)) return undefined
      const { precision, scale } = type
      const right = isWithin(precision, 1, 38) && isWithin(scale, 0, precision)
      return right ? { is: 'decimal', precision, scale } : undefined
    }
    case 'list': {
      const of = 'of' in type ? typeFrom(type.of) : undefined
      return of && of.is !== 'list' ? listOf(of) : undefined
    }
  }
  return undefined
}

function isWithin(value: unknown, least: number, most: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most
}

// DuckDB refuses SQL nested a thousand deep, and a call can be six levels of it.
function checkDepth(depth: number): void {
  if (depth <= 100) return
  throw new MillraceError('INVALID_PLAN', {
    message: 'an expression is nested more than 100 calls deep',
    hint: 'compute a part of it in a select before; and(), or() and concat() take any number of values at once',
  })
}

function checkShape(expression: unknown): void {
  if (typeof expression === 'object' && expression !== null) {
    if ('column' in expression && typeof expression.column === 'string') return
    if ('literal' in expression && expression.literal !== undefined && 'type' in expression) return
    if ('call' in expression && typeof expression.call === 'string' && 'args' in expression) {
      if (Array.isArray(expression.args)) return
    }
    if ('sql' in expression && typeof expression.sql === 'string' && 'type' in expression) return
  }
  throw new MillraceError('INVALID_PLAN', {
    message: `${JSON.stringify(expression)} is not an expression`,
    hint: 'write { "column": ... }, { "literal": ..., "type": ... }, { "call": ..., "args": [...] } or { "sql": ..., "type": ... }',
  })
}

function entryOf(name: string): FunctionEntry {
  const names = Object.keys(functions)
  if (Object.hasOwn(functions, name)) {
    // as: `name` is a key, as the line above has found
    return functions[name as keyof typeof functions].entry
  }
  throw unknown('UNKNOWN_FUNCTION', 'function', name, names, `the functions are ${names.join(', ')}`)
}

function unknown(code: ErrorCode, what: string, name: string, known: string[], all: string): MillraceError {
  const meant = nearest(name, known)
  return new MillraceError(code, {
    message: `there is no ${what} ${JSON.stringify(name)}`,
    hint: meant === undefined ? all : `did you mean ${JSON.stringify(meant)}? ${all}`,
  })
}
