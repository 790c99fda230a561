/**
 * Guesses at the columns of a sample: which type to choose among those that fit all its values. A guess never makes a row
 * of the sample a dead letter.
 */
import type { DuckSession } from '../engine/duckdb.ts'
import { boolean, type ColumnType, double, integer, json, text, timestamp } from '../plan/columns.ts'
import { type Evidence, evidenceOf, mostDecimals, type Trial } from './evidence.ts'
import type { Sample } from './sample.ts'
import type { ValueKind } from './sample-formats.ts'
import { counted, number, printable } from './text.ts'

export interface Guess {
  name: string
  type: ColumnType
  nullable: boolean
  /** The texts of a `oneOf`. */
  oneOf: string[] | undefined
  /** What the guess stands on, in words. */
  because: string
}

export interface Guesses {
  columns: Guess[]
  /** The column whose values come once each. */
  key: string | undefined
}

/** Guesses at the columns of what `readSample` has read in this session. */
export async function guessColumns(session: DuckSession, sample: Sample): Promise<Guesses> {
  const evidence = await evidenceOf(session, sample)
  const key = keyAmong(evidence)
  return { columns: evidence.map((column) => guess(column, column.name === key)), key }
}

// ---- the choice ----------------------------------------------------------------------------------------------------

type Choice = Pick<Guess, 'type' | 'because'> & { oneOf?: string[] }

function guess(column: Evidence, isKey: boolean): Guess {
  const { type, because, oneOf } = choice(column)
  const { name, rows, filled } = column
  const empty = filled === rows || filled === 0 ? '' : `; ${number(rows - filled)} of ${number(rows)} are empty`
  const key = isKey ? 'unique in the sample, so taken as the key; ' : ''
  return { name, type, nullable: filled < rows || rows === 0, oneOf, because: `${key}${because}${empty}` }
}

function choice(column: Evidence): Choice {
  const { rows, filled, kinds, local, nested, fit } = column
  if (filled === 0) return { type: text, because: `no value in ${number(rows)} rows, so anything goes` }
  const all = (what: Trial): boolean => fit(what).fits === filled
  // a file that says nothing of its values may mean anything
  const maybe = (...those: ValueKind[]): boolean => kinds.every((kind) => those.includes(kind))
  const values = `${number(filled)} of ${number(filled)} values`
  if (kinds.includes('nested')) {
    return { type: json, because: `${number(nested)} of ${number(filled)} values are objects or lists` }
  }
  if (maybe('boolean') && all('boolean')) return { type: boolean, because: `${values} are true or false` }
  if (kinds.includes('double') && all('double')) return { type: double, because: 'the file says so' }
  if (maybe('number') && all('double')) return numberChoice(column, values)
  if (maybe('text') && all('timestamp')) {
    const utc = local === 0 ? '' : `; ${number(local)} without an offset are taken as UTC`
    return { type: timestamp, because: `${values} are dates and times${utc}` }
  }
  if (maybe('text') && all('date')) {
    return { type: text, because: `${values} are dates without a time, and timestamp() needs one` }
  }
  if (maybe() && nested === filled && all('json')) return { type: json, because: `${values} are JSON` }
  return textChoice(column, maybe('text'))
}

function numberChoice({ filled, padded, wholes, decimals, fit, ...column }: Evidence, values: string): Choice {
  if (padded > 0) {
    return {
      type: text,
      because: `${values} are numbers, but ${number(padded)} begin with 0 or +, which a number would lose`,
    }
  }
  const { fits, stranger } = fit('integer')
  if (fits === filled) return { type: integer, because: `${values} are whole numbers` }
  if (column.decimal !== undefined) {
    const digits = `up to ${wholes} digits before the point and ${decimals} after it`
    return { type: column.decimal, because: `${values} are numbers with ${digits}` }
  }
  if (/^-?\d+$/.test(stranger ?? '')) {
    return { type: text, because: `${values} are whole numbers, but ${shown(stranger)} does not fit 64 bits` }
  }
  const why =
    decimals > mostDecimals ? `up to ${decimals} digits after the point` : 'an exponent or a bare point, or many digits'
  return { type: double, because: `${values} are numbers, some with ${why}` }
}

// Values that come often are few by nature; one that came by chance is rare.
const oneOfRows = 100
const oneOfTimes = 5
const oneOfLength = 30

function textChoice(column: Evidence, mayBeText: boolean): Choice {
  const { filled, distinct, few, rarest, longest } = column
  if (mayBeText && few.length > 1 && filled >= oneOfRows && rarest >= oneOfTimes && longest <= oneOfLength) {
    return { type: text, oneOf: few, because: `${counted(distinct, 'different value')} in ${number(filled)}` }
  }
  const almost = almostChoice(column)
  return { type: text, because: almost ?? `${counted(distinct, 'different value')}, neither numbers nor times` }
}

// Most of the values are of a type: whoever mends the guess should know what kept them from it.
function almostChoice({ filled, fit }: Evidence): string | undefined {
  const types = { integer: 'whole numbers', double: 'numbers', timestamp: 'dates and times', boolean: 'true or false' }
  for (const [what, says] of Object.entries(types)) {
    // as: the keys of the table above
    const { fits, stranger } = fit(what as keyof typeof types)
    if (fits < 0.9 * filled) continue
    const but = stranger === null ? 'the file has them as texts' : `not ${shown(stranger)}`
    return `${number(fits)} of ${number(filled)} values are ${says}, but ${but}`
  }
  return undefined
}

// A value in a comment: on one line, and short.
function shown(value: string | null): string {
  const plain = printable(value ?? '')
  return JSON.stringify(plain.length > 30 ? `${plain.slice(0, 30)}...` : plain)
}

// ---- the key -------------------------------------------------------------------------------------------------------

// In so many rows a column is hardly unique by chance.
const keyRows = 100
const keyLength = 200

function keyAmong(columns: Evidence[]): string | undefined {
  const unique = columns.filter((column) => {
    const { rows, distinct, longest } = column
    const { type } = choice(column)
    return rows > 1 && distinct === rows && longest <= keyLength && (type.is === 'text' || type.is === 'integer')
  })
  const named = unique.find(
    ({ name }) => /(^|_)(id|uuid|guid|key)$/i.test(name) || /[a-z0-9](Id|ID|Uuid|Key)$/.test(name),
  )
  return (named ?? unique.find(({ rows }) => rows >= keyRows))?.name
}
