/**
 * What a column can hold. The same few types are known to the builder (as names the compiler checks), to DuckDB,
 * to Postgres and to Spark; whatever cannot be made equal in all of them is not in this list.
 */
export type ColumnType =
  | { is: 'text' }
  | { is: 'boolean' }
  /** A whole number of 64 bits, signed. */
  | { is: 'integer' }
  /** An exact fraction: `precision` digits in all, `scale` of them after the point. */
  | { is: 'decimal'; precision: number; scale: number }
  /** IEEE 754, 64 bits. */
  | { is: 'double' }
  /** A moment, in microseconds, UTC. */
  | { is: 'timestamp' }
  | { is: 'json' }
  | { is: 'list'; of: ColumnType }

/** The name of a type as the compiler sees it: a decimal's digits and a column's nullability are checked at run time. */
export type Kind = ScalarKind | `list of ${ScalarKind}`
export type ScalarKind = 'text' | 'boolean' | 'integer' | 'decimal' | 'double' | 'timestamp' | 'json'
export type NumericKind = 'integer' | 'decimal' | 'double'

export interface Column {
  name: string
  type: ColumnType
  nullable: boolean
}

export const text: ColumnType = { is: 'text' }
export const boolean: ColumnType = { is: 'boolean' }
export const integer: ColumnType = { is: 'integer' }
export const double: ColumnType = { is: 'double' }
export const timestamp: ColumnType = { is: 'timestamp' }
export const json: ColumnType = { is: 'json' }
export const decimal = (precision: number, scale: number): ColumnType => ({ is: 'decimal', precision, scale })
export const listOf = (of: ColumnType): ColumnType => ({ is: 'list', of })

/** The type as a person writes it: `decimal(12,2)`, `list of text`. */
export function typeName(type: ColumnType): string {
  switch (type.is) {
    case 'decimal':
      return `decimal(${type.precision},${type.scale})`
    case 'list':
      return `list of ${typeName(type.of)}`
    case 'text':
    case 'boolean':
    case 'integer':
    case 'double':
    case 'timestamp':
    case 'json':
      return type.is
  }
}

export function isNumeric(type: ColumnType): boolean {
  return type.is === 'integer' || type.is === 'decimal' || type.is === 'double'
}

/** Whether two values of these types can be compared: numbers with numbers, else like with like. */
export function isComparable(left: ColumnType, right: ColumnType): boolean {
  if (isNumeric(left) && isNumeric(right)) return true
  if (left.is === 'list' && right.is === 'list') return isComparable(left.of, right.of)
  return left.is === right.is && left.is !== 'json'
}

/** The type that holds values of both, where there is one (decimals widen, an integer fits a decimal(18,0)). */
export function commonType(left: ColumnType, right: ColumnType): ColumnType | undefined {
  if (left.is === 'list' && right.is === 'list') {
    const of = commonType(left.of, right.of)
    return of && { is: 'list', of }
  }
  if (isNumeric(left) && isNumeric(right)) {
    if (left.is === 'double' || right.is === 'double') return double
    if (left.is === 'integer' && right.is === 'integer') return integer
    const [a, b] = [asDecimal(left), asDecimal(right)]
    const scale = Math.max(a.scale, b.scale)
    return decimal(Math.min(38, Math.max(a.precision - a.scale, b.precision - b.scale) + scale), scale)
  }
  return left.is === right.is ? left : undefined
}

/** The decimal that holds every value of a decimal or integer type. */
export function asDecimal(type: ColumnType): { precision: number; scale: number } {
  return type.is === 'decimal' ? { precision: type.precision, scale: type.scale } : { precision: 19, scale: 0 }
}

export function sameType(left: ColumnType, right: ColumnType): boolean {
  return typeName(left) === typeName(right)
}
