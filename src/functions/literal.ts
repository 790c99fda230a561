/** What a literal of each type may be. Plans come from plain JSON too, so nothing about one is taken on trust. */
import { MillraceError } from '../errors.ts'
import { type ColumnType, typeName } from '../plan/columns.ts'
import { microsecondsOf } from './timestamp-text.ts'

const [leastInteger, mostInteger] = [-(2n ** 63n), 2n ** 63n - 1n]

/** Throws a WRONG_TYPE when the value is not a literal of that type. `null` is one of every type. */
export function checkLiteral(value: unknown, type: ColumnType): void {
  const hint = value === null ? undefined : wrongWith(value, type)
  if (hint === undefined) return
  throw new MillraceError('WRONG_TYPE', {
    message: `${value === undefined ? 'undefined' : JSON.stringify(value)} is not a constant of type ${typeName(type)}`,
    hint,
  })
}

// What to write instead; nothing when the value is right.
function wrongWith(value: unknown, type: ColumnType): string | undefined {
  switch (type.is) {
    case 'text':
      return typeof value === 'string' ? wrongWithText(value) : 'write a text'
    case 'json':
      return typeof value === 'string' && isJson(value) ? wrongWithText(value) : 'write JSON as text'
    case 'boolean':
      return typeof value === 'boolean' ? undefined : 'write true or false'
    case 'integer':
      return isInteger(value) ? undefined : 'write a whole number of 64 bits, above 2^53 as text'
    case 'decimal':
      return fits(value, type) ? undefined : `write it as text, like "12.50", with at most ${type.scale} decimals`
    case 'double':
      return typeof value === 'number' && Number.isFinite(value) ? undefined : 'write a finite number'
    case 'timestamp':
      return typeof value === 'string' && microsecondsOf(value) !== undefined
        ? undefined
        : 'write it like "2026-01-31T12:00:00Z"'
    case 'list':
      if (!Array.isArray(value)) return 'write an array'
      for (const item of value) checkLiteral(item, type.of)
      return undefined
  }
}

// Postgres holds neither, and a half of a surrogate pair is lost on the way to UTF-8.
function wrongWithText(value: string): string | undefined {
  if (value.includes('\0')) return 'leave out the NUL character'
  return value.isWellFormed() ? undefined : 'leave out the half of a surrogate pair'
}

function isJson(value: string): boolean {
  try {
    JSON.parse(value)
    return true
  } catch {
    return false
  }
}

function isInteger(value: unknown): boolean {
  if (typeof value === 'number') return Number.isSafeInteger(value)
  if (typeof value !== 'string' || !/^-?[0-9]{1,19}$/.test(value)) return false
  return BigInt(value) >= leastInteger && BigInt(value) <= mostInteger
}

function fits(value: unknown, { precision, scale }: { precision: number; scale: number }): boolean {
  const match = typeof value === 'string' ? /^-?0*([0-9]*?)(?:\.([0-9]+))?$/.exec(value) : null
  if (!match || !/[0-9]/.test(match[0])) return false
  return (match[1] ?? '').length <= precision - scale && (match[2] ?? '').length <= scale
}
