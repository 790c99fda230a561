/** How a constant of JavaScript becomes a literal of the plan. */
import { MillraceError } from '../errors.ts'
import { type ColumnType, commonType, listOf, typeName } from '../plan/columns.ts'
import type { Literal } from '../plan/expression.ts'
import { checkLiteral } from './literal.ts'
import { isoText, microsecondsOf } from './timestamp-text.ts'
import { isValue, type Value, valueOf } from './value.ts'

export function literalOf(literal: Literal['literal'], type: ColumnType): Value {
  checkLiteral(literal, type)
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
  if (typeof value === 'bigint') return bigintConstant(value, beside)
  if (value instanceof Date) return literalOf(timestampText(value), { is: 'timestamp' })
  if (Array.isArray(value)) return listConstant(value, beside?.is === 'list' ? beside.of : undefined)
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
  if (beside?.is === 'double') return literalOf(value, { is: 'double' })
  if (beside?.is === 'integer' && !Number.isInteger(value)) {
    throw new MillraceError('WRONG_TYPE', {
      message: `${value} is not a whole number, but stands beside an integer`,
      hint: 'convert the other side with toDecimal or toDouble',
    })
  }
  if (beside?.is === 'integer' && !Number.isSafeInteger(value)) {
    throw new MillraceError('WRONG_TYPE', {
      message: `${value} may have lost digits on its way here`,
      hint: `write it with an n at its end, as a bigint`,
    })
  }
  return literalOf(value, Number.isSafeInteger(value) ? { is: 'integer' } : { is: 'double' })
}

function bigintConstant(value: bigint, beside: ColumnType | undefined): Value {
  if (beside?.is === 'decimal') return decimalConstant(String(value))
  const exact = Number.isSafeInteger(Number(value))
  return literalOf(exact ? Number(value) : String(value), { is: 'integer' })
}

function listConstant(items: unknown[], of: ColumnType | undefined): Value {
  const values = items.map((item) => constant(item, of))
  const common = values.reduce<ColumnType | undefined>((type, item) => {
    const both = type === undefined ? item.type : commonType(type, item.type)
    if (both !== undefined) return both
    throw new MillraceError('WRONG_TYPE', {
      message: `a list cannot hold ${describe(item)} beside a ${typeName(type ?? item.type)}`,
    })
  }, undefined)
  const literals = values.map(({ expression }) => {
    if ('literal' in expression && !Array.isArray(expression.literal)) return expression.literal
    throw new MillraceError('WRONG_TYPE', {
      message: `a constant list holds constants, not ${JSON.stringify(expression)}`,
      hint: 'use listOf for a list of values of the row',
    })
  })
  return literalOf(literals, listOf(common ?? of ?? { is: 'text' }))
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

/** The shortest digits that mean this number, without an exponent. */
export function plainDigits(value: number): string {
  const [mantissa = '', exponent = '0'] = String(value).split('e')
  const [whole = '', fraction = ''] = mantissa.replace('-', '').split('.')
  const point = whole.length + Number(exponent)
  const digits = whole + fraction
  const padded = point > 0 ? digits.padEnd(point, '0') : '0'.repeat(1 - point) + digits
  const at = Math.max(point, 1)
  const plain = padded.length > at ? `${padded.slice(0, at)}.${padded.slice(at)}` : padded
  return value < 0 ? `-${plain}` : plain
}

function timestampText(value: Date | string): string {
  const moment = microsecondsOf(typeof value === 'string' ? value : isoOf(value))
  if (moment === undefined) {
    throw new MillraceError('WRONG_TYPE', {
      message: `${JSON.stringify(value)} is not a timestamp`,
      hint: 'write it like "2026-01-31T12:00:00Z"',
    })
  }
  return isoText(moment)
}

function isoOf(date: Date): string {
  return Number.isNaN(date.getTime()) ? '' : date.toISOString()
}

/** What a type is called in a message about a value that is in the wrong place. */
export function describe({ expression, type }: Pick<Value, 'expression' | 'type'>): string {
  const name = typeName(type)
  if ('column' in expression) return `the column "${expression.column}" (${name})`
  if ('literal' in expression) return `the constant ${JSON.stringify(expression.literal)} (${name})`
  if ('call' in expression) return `${expression.call}(...) (${name})`
  return `sql(...) (${name})`
}
