/**
 * A value in a pipeline being written: an expression, its type, and what can be asked of it. `row.price` is one, and so
 * is everything computed from it. The kind in the type parameter is what the compiler checks.
 */
import { MillraceError } from '../errors.ts'
import type { ColumnType, Kind, NumericKind, ScalarKind } from '../plan/columns.ts'
import { typeName } from '../plan/columns.ts'
import type { Expression, Literal } from '../plan/expression.ts'
import { dividedBy, minus, plus, times } from './arithmetic.ts'
import { and, or } from './boolean.ts'
import { atLeast, atMost, differsFrom, equals, isIn, lessThan, moreThan } from './comparison.ts'
import { isNull, isPresent } from './null.ts'

export interface Value<K extends Kind = Kind> {
  readonly kind: K
  readonly expression: Expression
  readonly type: ColumnType
  readonly nullable: boolean

  equals(other: Operand<Like<K>>): Value<'boolean'>
  differsFrom(other: Operand<Like<K>>): Value<'boolean'>
  lessThan(other: Operand<Like<K>>): Value<'boolean'>
  atMost(other: Operand<Like<K>>): Value<'boolean'>
  moreThan(other: Operand<Like<K>>): Value<'boolean'>
  atLeast(other: Operand<Like<K>>): Value<'boolean'>
  isIn(...others: Operand<Like<K>>[]): Value<'boolean'>
  isNull(): Value<'boolean'>
  isPresent(): Value<'boolean'>

  and(this: Value<'boolean'>, other: Operand<'boolean'>): Value<'boolean'>
  or(this: Value<'boolean'>, other: Operand<'boolean'>): Value<'boolean'>

  plus<A extends NumericKind, B extends NumericKind = A>(this: Value<A>, other: Value<B> | number): Value<Wider<A, B>>
  minus<A extends NumericKind, B extends NumericKind = A>(this: Value<A>, other: Value<B> | number): Value<Wider<A, B>>
  times<A extends NumericKind, B extends NumericKind = A>(this: Value<A>, other: Value<B> | number): Value<Wider<A, B>>
  dividedBy(this: Value<NumericKind>, other: Value<NumericKind> | number): Value<'double'>
}

/** What may be compared with a value of this kind: numbers with numbers, else like with like. */
export type Like<K extends Kind> = K extends NumericKind ? NumericKind : K

/** The kind that holds the results of arithmetic between two kinds of numbers. */
export type Wider<A extends NumericKind, B extends NumericKind> = 'double' extends A | B
  ? 'double'
  : 'decimal' extends A | B
    ? 'decimal'
    : 'integer'

/** A value, or a constant of JavaScript that stands for one. */
export type Operand<K extends Kind> = Value<K> | Constant<K>

/** Decimals and timestamps may be given as text, so that no digit is lost. */
export type Constant<K extends Kind> = K extends 'text'
  ? string
  : K extends 'boolean'
    ? boolean
    : K extends 'integer' | 'double'
      ? number
      : K extends 'decimal'
        ? number | string
        : K extends 'timestamp'
          ? Date | string
          : K extends 'list of text'
            ? readonly string[]
            : K extends 'list of integer' | 'list of double'
              ? readonly number[]
              : never

/** The columns of a step, as a function of the user's receives them. */
export type Row<Columns extends Record<string, Kind>> = { readonly [Name in keyof Columns]: Value<Columns[Name]> }

export function isValue(operand: unknown): operand is Value {
  return typeof operand === 'object' && operand !== null && 'expression' in operand && 'kind' in operand
}

export function kindOf(type: ColumnType): Kind {
  if (type.is !== 'list') return type.is
  // as: a list of lists has no kind of its own; the run-time types still tell them apart
  return `list of ${type.of.is as ScalarKind}`
}

/** A value of an expression whose type is known. The methods print the same calls as the functions of that name. */
export function valueOf<K extends Kind>(expression: Expression, type: ColumnType, nullable: boolean): Value<K> {
  const self = {
    // as: the caller states the kind; it is a name for `type`
    kind: kindOf(type) as K,
    expression,
    type,
    nullable,
  }
  const methods = {
    equals: (other: Operand<Kind>) => equals(value, other),
    differsFrom: (other: Operand<Kind>) => differsFrom(value, other),
    lessThan: (other: Operand<Kind>) => lessThan(value, other),
    atMost: (other: Operand<Kind>) => atMost(value, other),
    moreThan: (other: Operand<Kind>) => moreThan(value, other),
    atLeast: (other: Operand<Kind>) => atLeast(value, other),
    isIn: (...others: Operand<Kind>[]) => isIn(value, ...others),
    isNull: () => isNull(value),
    isPresent: () => isPresent(value),
    and: (other: Operand<'boolean'>) => and(value, other),
    or: (other: Operand<'boolean'>) => or(value, other),
    plus: (other: Value<NumericKind> | number) => plus(value, other),
    minus: (other: Value<NumericKind> | number) => minus(value, other),
    times: (other: Value<NumericKind> | number) => times(value, other),
    dividedBy: (other: Value<NumericKind> | number) => dividedBy(value, other),
  }
  // any: what each method accepts is declared in Value; here every kind goes the same way, and the registry checks types
  // biome-ignore lint/suspicious/noExplicitAny: see the line above
  const value: any = Object.defineProperties(
    self,
    // not enumerable, so that a value prints as what it is: an expression and its type
    Object.fromEntries(Object.entries(methods).map(([name, method]) => [name, { value: method, enumerable: false }])),
  )
  return value
}

export function literalOf(literal: Literal['literal'], type: ColumnType): Value {
  return valueOf({ literal, type }, type, literal === null)
}

/**
 * A constant as a value. A constant takes the type of what it meets, so that 1 is a decimal beside a decimal;
 * alone, a number is an integer when it is whole, else a double.
 */
export function constant(value: unknown, beside?: ColumnType): Value {
  if (isValue(value)) return value
  if (typeof value === 'string') {
    if (beside?.is === 'decimal') return decimalConstant(value)
    if (beside?.is === 'timestamp') return literalOf(timestampText(value), { is: 'timestamp' })
    return literalOf(value, { is: 'text' })
  }
  if (typeof value === 'boolean') return literalOf(value, { is: 'boolean' })
  if (typeof value === 'number') return numberConstant(value, beside)
  if (value instanceof Date) return literalOf(timestampText(value), { is: 'timestamp' })
  if (Array.isArray(value)) {
    const items = value.map((item) => constant(item, beside?.is === 'list' ? beside.of : undefined))
    const of = items[0]?.type ?? (beside?.is === 'list' ? beside.of : { is: 'text' })
    const literals = items.map((item) => ('literal' in item.expression ? item.expression.literal : null))
    // as: a list of constants holds plain literals, never lists
    return literalOf(literals as (string | number | boolean | null)[], { is: 'list', of })
  }
  throw new MillraceError('WRONG_TYPE', {
    message: `${value === undefined ? 'undefined' : JSON.stringify(value)} is neither a value of the row nor a constant`,
    hint: value === undefined ? 'is a column or a function misspelt?' : 'use a text, number, boolean, Date or list',
  })
}

function numberConstant(value: number, beside: ColumnType | undefined): Value {
  if (!Number.isFinite(value)) {
    throw new MillraceError('WRONG_TYPE', { message: `${value} cannot be a constant`, hint: 'use a finite number' })
  }
  if (beside?.is === 'decimal') return decimalConstant(plainDigits(value))
  if (beside?.is === 'integer' && !Number.isInteger(value)) {
    throw new MillraceError('WRONG_TYPE', {
      message: `${value} is not a whole number, but stands beside an integer`,
      hint: 'convert the other side with toDecimal or toDouble',
    })
  }
  if (beside?.is === 'double') return literalOf(value, { is: 'double' })
  return literalOf(value, Number.isSafeInteger(value) ? { is: 'integer' } : { is: 'double' })
}

function decimalConstant(digits: string): Value {
  const match = /^-?(\d+)(?:\.(\d+))?$/.exec(digits)
  if (!match) {
    throw new MillraceError('WRONG_TYPE', { message: `"${digits}" is not a decimal`, hint: 'write it like "12.50"' })
  }
  const whole = (match[1] ?? '').replace(/^0+(?=\d)/, '').length
  const scale = match[2]?.length ?? 0
  if (whole + scale > 38) {
    throw new MillraceError('WRONG_TYPE', { message: `"${digits}" has more than 38 digits` })
  }
  return literalOf(digits, { is: 'decimal', precision: whole + scale, scale })
}

// The shortest digits that mean this number, without an exponent.
function plainDigits(value: number): string {
  const text = String(value)
  if (!text.includes('e')) return text
  return value.toFixed(20).replace(/0+$/, '').replace(/\.$/, '')
}

function timestampText(value: Date | string): string {
  const date = typeof value === 'string' ? new Date(value) : value
  if (Number.isNaN(date.getTime())) {
    throw new MillraceError('WRONG_TYPE', {
      message: `${JSON.stringify(value)} is not a timestamp`,
      hint: 'write it like "2026-01-31T12:00:00Z"',
    })
  }
  return date.toISOString()
}

/** What a type is called in a message about a value that is in the wrong place. */
export function describe(value: Value): string {
  const { expression } = value
  const type = typeName(value.type)
  if ('column' in expression) return `the column "${expression.column}" (${type})`
  if ('literal' in expression) return `the constant ${JSON.stringify(expression.literal)} (${type})`
  if ('call' in expression) return `${expression.call}(...) (${type})`
  return `sql(...) (${type})`
}
