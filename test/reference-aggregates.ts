/** What aggregates are of some values, all at once, in whole numbers without end where sums must be exact. */
import type { ColumnType } from '../src/plan/columns.ts'
import type { Aggregate } from '../src/plan/expression.ts'
import type { Value } from './reference.ts'

/** `values` are of the rows that count, none of them null; of a count of rows, anything. */
export function aggregateOf({ aggregate, args = [] }: Aggregate, type: ColumnType, values: Value[]): Value {
  const n = values.length
  switch (aggregate) {
    case 'count':
      return n
    case 'sum':
      return n === 0 ? null : decimalText(sumOf(values, sumDigits(type)), sumDigits(type))
    case 'min':
      return values.reduce((least, value) => (least === null || comesBefore(type, value, least) ? value : least), null)
    case 'max':
      return values.reduce((most, value) => (most === null || comesBefore(type, most, value) ? value : most), null)
    case 'mean':
      if (n === 0) return null
      return nineDecimals(Number(decimalText(sumOf(values, sumDigits(type)), sumDigits(type))) / n)
    case 'deviation':
      return n === 0 ? null : deviationOf(values, deviationDigits(type))
    case 'countDistinct':
      return new Set(values.map((value) => (type.is === 'double' ? Number(value) + 0 : String(value)))).size
    case 'top': {
      const most = [...tally(values, type)].sort(([a, m], [b, n]) => n - m || byBytes(a, b))
      return JSON.stringify(most.slice(0, args[0]).map(([item]) => item))
    }
    case 'median': {
      if (n === 0) return null
      const sorted = values.map((value) => BigInt(String(value))).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
      const [low, high] = [sorted[(n - 1) >> 1], sorted[n >> 1]]
      return (Number(low) + Number(high)) / 2
    }
    case 'counts':
      return JSON.stringify(Object.fromEntries([...tally(values, type)].sort(([a], [b]) => byBytes(a, b))))
  }
}

/** Whether a million values like this might be too much for 38 digits: such a row is a dead letter. */
export function isTooLarge({ aggregate }: Aggregate, type: ColumnType, value: Value): boolean {
  if (value === null) return false
  const size = Math.abs(Number(value))
  if (aggregate === 'sum' || aggregate === 'mean') return size >= 10 ** (38 - sumDigits(type) - 6)
  return aggregate === 'deviation' && size >= 10 ** (16 - deviationDigits(type))
}

/**
 * The population deviation of values that are taken with so many decimals: √(n·Q − S²) ÷ n of the sums S of the values
 * and Q of their squares, as it is written where S = n·m + r.
 */
export function deviationOf(values: Value[], digits: number): number {
  const n = BigInt(values.length)
  const taken = values.map((value) => scaled(value, digits))
  const sum = taken.reduce((total, each) => total + each, 0n)
  const squares = taken.reduce((total, each) => total + each * each, 0n)
  const [m, r] = [sum / n, sum % n]
  const variance = (Number(squares - m * sum - r * m) - Number(r * r) / values.length) / values.length
  return nineDecimals(Math.sqrt(Math.max(variance, 0)) / 10 ** digits)
}

/** The sum of values that are taken with so many decimals, in units of the last of them. */
export function sumOf(values: Value[], digits: number): bigint {
  return values.reduce<bigint>((total, value) => total + scaled(value, digits), 0n)
}

/** A number in units of its last decimal. What is more exact is rounded, halves away from zero. */
export function scaled(value: Value, digits: number): bigint {
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value)) return BigInt(value) * 10n ** BigInt(digits)
    const whole = value * 10 ** digits
    return BigInt(Math.sign(whole) * Math.round(Math.abs(whole)))
  }
  const [, sign, before = '', after = ''] = /^([+-]?)([0-9]+)(?:\.([0-9]+))?$/.exec(String(value)) ?? []
  const kept = BigInt(before + after.slice(0, digits).padEnd(digits, '0'))
  const rounded = kept + (Number(after[digits] ?? 0) >= 5 ? 1n : 0n)
  return sign === '-' ? -rounded : rounded
}

/** The number that is so many units of its last decimal, as text. */
export function decimalText(units: bigint, digits: number): string {
  const text = String(units < 0n ? -units : units).padStart(digits + 1, '0')
  const [before, after] = [text.slice(0, text.length - digits), text.slice(text.length - digits)]
  return `${units < 0n ? '-' : ''}${before}${digits === 0 ? '' : `.${after}`}`
}

export function nineDecimals(value: number): number {
  return (Math.sign(value) * Math.round(Math.abs(value) * 1e9)) / 1e9
}

/** Decimals of a sum: none of whole numbers, those of a decimal, twelve of doubles. */
function sumDigits(type: ColumnType): number {
  if (type.is === 'integer') return 0
  return type.is === 'decimal' ? type.scale : 12
}

/** Decimals of the values of a deviation: up to six. */
function deviationDigits(type: ColumnType): number {
  return Math.min(6, sumDigits(type))
}

function comesBefore(type: ColumnType, a: Value, b: Value): boolean {
  switch (type.is) {
    case 'integer':
      return BigInt(String(a)) < BigInt(String(b))
    case 'decimal':
      return scaled(a, type.scale) < scaled(b, type.scale)
    case 'double':
    case 'boolean':
      return Number(a) < Number(b)
    default:
      return byBytes(String(a), String(b)) < 0
  }
}

function tally(values: Value[], type: ColumnType): Map<string, number> {
  const found = new Map<string, number>()
  // as: a list of texts is its JSON
  const items = values.flatMap((value) =>
    type.is === 'list' ? (JSON.parse(String(value)) as string[]) : [String(value)],
  )
  for (const item of items) found.set(item, (found.get(item) ?? 0) + 1)
  return found
}

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}
