/**
 * A value in a pipeline being written: an expression, its type, and what can be asked of it. `row.price` is one, and so
 * is everything computed from it. The kind in the type parameter is what the compiler checks.
 */
import type { ColumnType, Kind, NumericKind, ScalarKind } from '../plan/columns.ts'
import type { Expression } from '../plan/expression.ts'
import { dividedBy, minus, plus, times } from './arithmetic.ts'
import { and, or } from './boolean.ts'
import { atLeast, atMost, differsFrom, equals, isIn, lessThan, moreThan } from './comparison.ts'
import { isNull, isPresent } from './null.ts'

export { constant, describe, literalOf } from './constant.ts'

export interface Value<K extends Kind = Kind> {
  readonly kind: K
  readonly expression: Expression
  readonly type: ColumnType
  readonly nullable: boolean

  equals(other: Comparand<K>): Value<'boolean'>
  differsFrom(other: Comparand<K>): Value<'boolean'>
  lessThan(this: Value<OrderedKind>, other: Comparand<K>): Value<'boolean'>
  atMost(this: Value<OrderedKind>, other: Comparand<K>): Value<'boolean'>
  moreThan(this: Value<OrderedKind>, other: Comparand<K>): Value<'boolean'>
  atLeast(this: Value<OrderedKind>, other: Comparand<K>): Value<'boolean'>
  isIn(...others: Comparand<K>[]): Value<'boolean'>
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

/** What comes before or after another of its kind: not JSON, and no list. */
export type OrderedKind = Exclude<ScalarKind, 'json'>

/** The kind that holds the results of arithmetic between two kinds of numbers. */
export type Wider<A extends NumericKind, B extends NumericKind> = 'double' extends A | B
  ? 'double'
  : 'decimal' extends A | B
    ? 'decimal'
    : 'integer'

/** A value, or a constant of JavaScript that stands for one. */
export type Operand<K extends Kind> = Value<K> | Constant<K>

/** What a value may be compared with: another of its kind, any other number if it is one, or a constant of its kind. */
export type Comparand<K extends Kind> = Value<Like<K>> | Constant<K>

/** Decimals and timestamps may be given as text, and integers as bigints, so that no digit is lost. */
export type Constant<K extends Kind> = K extends 'text'
  ? string
  : K extends 'boolean'
    ? boolean
    : K extends 'double'
      ? number
      : K extends 'integer'
        ? number | bigint
        : K extends 'decimal'
          ? number | bigint | `${number}`
          : K extends 'timestamp'
            ? Date | string
            : K extends 'list of text'
              ? readonly string[]
              : K extends 'list of integer' | 'list of double'
                ? readonly number[]
                : never

/** The kind of a constant that stands beside no value of the row. A `number` that is not written out may be either. */
export type KindOfConstant<T extends string | number | boolean> = [T] extends [string]
  ? 'text'
  : [T] extends [boolean]
    ? 'boolean'
    : NumberKind<T & number>

type NumberKind<T extends number> = number extends T
  ? NumericKind
  : [`${T}`] extends [`${bigint}`]
    ? 'integer'
    : 'double'

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
    lessThan: (other: Operand<OrderedKind>) => lessThan(value, other),
    atMost: (other: Operand<OrderedKind>) => atMost(value, other),
    moreThan: (other: Operand<OrderedKind>) => moreThan(value, other),
    atLeast: (other: Operand<OrderedKind>) => atLeast(value, other),
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
