/**
 * What a pipeline means, slow and obvious, over arrays: every row alone and in order, with no batches, no SQL and no
 * state but what stands here. The engine is judged by it.
 */
import type { Column } from '../src/plan/columns.ts'
import type { Expression } from '../src/plan/expression.ts'
import type { DedupStep, Plan, Rule, Step, TableStep, ValidateStep } from '../src/plan/plan.ts'
import { decimalText, scaled } from './reference-aggregates.ts'
import { badText } from './reference-files.ts'

export interface InputRow {
  place: string
  line: number
  /** What the row has for each column, as text; null where it has nothing. */
  fields: Record<string, string | null>
}

export type Value = string | number | boolean | null
export type OutputRow = Record<string, Value>

export interface ReferenceResult {
  /** By table, in the order the rows came to be there. */
  tables: Record<string, OutputRow[]>
  deadLetters: { place: string; line: number; code: string; column: string | null }[]
  books: { rowsIn: number; written: number; filtered: number; duplicates: number; dead: number }
}

export type Verdict = 'written' | 'filtered' | 'duplicates' | 'dead'

/** A constraint that somebody has given a table: whether it takes the row. */
export type Constraint = (row: OutputRow) => boolean

export function reference(
  plan: Plan,
  input: InputRow[],
  constraints: Record<string, Constraint> = {},
): ReferenceResult {
  const result: ReferenceResult = {
    tables: {},
    deadLetters: [],
    books: { rowsIn: 0, written: 0, filtered: 0, duplicates: 0, dead: 0 },
  }
  const seen = new Map<string, Set<string>>()
  for (const row of input) {
    const verdicts: { step: number; verdict: Verdict }[] = []
    // what each step hands on for this row; nothing when the row does not get there
    const at = new Map<string, OutputRow>()
    const refusedBy = new Set<string>()
    plan.steps.forEach((step, i) => {
      if (step.op === 'validate') {
        const checked = validate(step, row)
        if ('code' in checked) {
          result.deadLetters.push({ place: row.place, line: row.line, ...checked })
          verdicts.push({ step: i, verdict: 'dead' })
        } else at.set(step.id, checked.values)
        return
      }
      const values = at.get(step.from[0] ?? '')
      if (values === undefined) return
      if (step.op === 'table' && constraints[step.table]?.(values) === false) {
        result.deadLetters.push({ place: row.place, line: row.line, code: 'REFUSED', column: null })
        verdicts.push({ step: i, verdict: 'dead' })
        refusedBy.add(step.id)
        return
      }
      const verdict = pass(step, values, at, seen, result.tables)
      if (verdict !== undefined) verdicts.push({ step: i, verdict })
    })
    // a row that no table takes has not passed: the next one of its key does
    plan.steps.forEach((step, i) => {
      const passed = at.get(step.id)
      if (step.op !== 'dedup' || passed === undefined) return
      const reached = tablesAfter(plan, step.id).filter(({ from }) => at.has(from[0] ?? ''))
      if (reached.length === 0 || !reached.every(({ id }) => refusedBy.has(id))) return
      seen.get(step.id)?.delete(keyOf(step, passed))
      verdicts.push({ step: i, verdict: 'dead' })
    })
    result.books.rowsIn++
    const [first] = verdicts.sort((a, b) => a.step - b.step)
    const verdict = verdicts.some(({ verdict }) => verdict === 'written') ? 'written' : (first?.verdict ?? 'filtered')
    result.books[verdict]++
  }
  return result
}

/** What becomes of a row at a step that takes it as it came: its verdict, when it ends there. */
export function pass(
  step: Step,
  values: OutputRow,
  at: Map<string, OutputRow>,
  seen: Map<string, Set<string>>,
  tables: Record<string, OutputRow[]>,
): Verdict | undefined {
  switch (step.op) {
    case 'filter':
      if (evaluate(step.where, values) !== true) return 'filtered'
      at.set(step.id, values)
      return undefined
    case 'select':
      at.set(
        step.id,
        Object.fromEntries(
          Object.entries(step.select).map(([name, expression]) => [name, evaluate(expression, values)]),
        ),
      )
      return undefined
    case 'dedup': {
      const keys = seen.get(step.id) ?? new Set()
      seen.set(step.id, keys)
      const key = keyOf(step, values)
      if (keys.has(key)) return 'duplicates'
      keys.add(key)
      at.set(step.id, values)
      return undefined
    }
    case 'table':
      return land(step, values, tables)
    case 'files':
    case 'topic':
      // what is written is compared with the table before it
      return step.landedIn === undefined ? 'written' : undefined
    default:
      throw new Error(`the reference knows no step of the kind ${step.op}`)
  }
}

/** The key by which a dedup step knows a row. */
export function keyOf(step: DedupStep, values: OutputRow): string {
  return JSON.stringify(step.by.map((name) => values[name]))
}

function tablesAfter(plan: Plan, id: string): TableStep[] {
  return plan.steps
    .filter(({ from }) => from.includes(id))
    .flatMap((step) => (step.op === 'table' ? [step] : tablesAfter(plan, step.id)))
}

function land(step: TableStep, values: OutputRow, tables: Record<string, OutputRow[]>): Verdict {
  tables[step.table] ??= []
  const rows = tables[step.table] ?? []
  const { mode } = step
  if (mode.is === 'append') {
    rows.push(values)
    return 'written'
  }
  const there = rows.findIndex((row) => mode.key.every((name) => row[name] === values[name]))
  if (there >= 0 && mode.is === 'insert if new') return 'duplicates'
  if (there >= 0) rows[there] = values
  else rows.push(values)
  return 'written'
}

// ---- validation ----------------------------------------------------------------------------------------------------

export type Checked = { values: OutputRow } | { code: string; column: string | null }

/** The values of a row's texts, or the first rule that it breaks. */
export function validate(step: ValidateStep, row: InputRow): Checked {
  const values: OutputRow = {}
  for (const column of step.columns) {
    const text = row.fields[column.name] ?? null
    const takesEpoch = step.rules[column.name]?.some(({ rule }) => rule === 'or epoch milliseconds')
    const parsed = (takesEpoch && text !== null ? parseEpoch(text) : undefined) ?? parse(column, text)
    if ('code' in parsed) return { code: parsed.code, column: column.name }
    for (const rule of step.rules[column.name] ?? []) {
      const code = parsed.value === null ? undefined : broken(rule, parsed.value)
      if (code !== undefined) return { code, column: column.name }
    }
    values[column.name] = parsed.value
  }
  for (const check of step.checks) {
    if (evaluate(check.where, values) !== true) return { code: check.code, column: check.column ?? null }
  }
  return { values }
}

function parse({ type, nullable }: Column, text: string | null): { value: Value } | { code: string } {
  if (text === null) return nullable ? { value: null } : { code: 'MISSING' }
  switch (type.is) {
    case 'text':
      return { value: text }
    case 'integer': {
      if (!/^[+-]?[0-9]+$/.test(text)) return { code: 'NOT_AN_INTEGER' }
      const value = BigInt(text.replace('+', ''))
      if (BigInt.asIntN(64, value) !== value) return { code: 'OUT_OF_RANGE' }
      return { value: Number.isSafeInteger(Number(value)) ? Number(value) : String(value) }
    }
    case 'decimal': {
      const match = /^[+-]?([0-9]+)(?:\.([0-9]+))?$/.exec(text)
      if (!match) return { code: 'NOT_A_NUMBER' }
      if ((match[2] ?? '').length > type.scale) return { code: 'TOO_MANY_DECIMALS' }
      const whole = (match[1] ?? '').replace(/^0+(?=\d)/, '')
      if (whole !== '0' && whole.length > type.precision - type.scale) return { code: 'OUT_OF_RANGE' }
      return { value: decimalText(scaled(text, type.scale), type.scale) }
    }
    case 'double': {
      if (!/^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$/.test(text)) return { code: 'NOT_A_NUMBER' }
      return Number.isFinite(Number(text)) ? { value: Number(text) } : { code: 'OUT_OF_RANGE' }
    }
    case 'timestamp':
      return parseTimestamp(text)
    case 'boolean':
      return /^(true|false)$/i.test(text) ? { value: /t/i.test(text) } : { code: 'NOT_A_BOOLEAN' }
    case 'json':
      return parseJson(text)
    case 'list':
      return parseList(text)
  }
}

// Whole milliseconds since 1970, where a column takes them too.
function parseEpoch(text: string): { value: Value } | undefined {
  if (!/^[+-]?[0-9]{1,15}$/.test(text)) return undefined
  const fraction = new Date(Number(text)).toISOString()
  return { value: `${fraction.slice(0, 19).replace('T', ' ')}${fraction.slice(19, 23).replace(/\.?0*$/, '')}+00` }
}

function parseTimestamp(text: string): { value: Value } | { code: string } {
  const match = /^(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(\.\d{1,6})?)?(?:Z|([+-])(\d\d)(?::?(\d\d))?)?$/.exec(
    text,
  )
  if (match === null) return { code: 'NOT_A_TIMESTAMP' }
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map((part) => Number(part ?? 0)) as number[]
  const [fraction = '', sign = '+', hours = '0', minutes = '0'] = match.slice(7)
  const local = new Date(0)
  local.setUTCFullYear(year ?? 0, (month ?? 0) - 1, day)
  const onCalendar = local.getUTCMonth() + 1 === month && local.getUTCDate() === day
  const onClock = (hour ?? 0) < 24 && (minute ?? 0) < 60 && (second ?? 0) < 60
  const offset = Number(hours) * 60 + Number(minutes)
  // no place on earth is further away
  if (!onCalendar || !onClock || Number(minutes) > 59 || offset > 14 * 60) return { code: 'NOT_A_TIMESTAMP' }
  const away = sign === '-' ? -offset : offset
  local.setUTCHours(hour ?? 0, (minute ?? 0) - away, second)
  if (local.getUTCFullYear() < 1 || local.getUTCFullYear() > 9999) return { code: 'OUT_OF_RANGE' }
  const digits = fraction.replace(/\.?0*$/, '')
  return { value: `${local.toISOString().slice(0, 19).replace('T', ' ')}${digits}+00` }
}

function parseJson(text: string): { value: Value } | { code: string } {
  try {
    JSON.parse(text)
  } catch {
    return { code: 'NOT_JSON' }
  }
  switch (badText(text)) {
    case 'NUL_BYTE':
      return { code: 'NUL_BYTE' }
    case 'LONE_SURROGATE':
      return { code: 'NOT_JSON' }
    case undefined:
      return { value: text }
  }
}

// A list is its JSON.
function parseList(text: string): { value: Value } | { code: string } {
  const parsed = parseJson(text)
  if ('code' in parsed) return parsed.code === 'NOT_JSON' ? { code: 'NOT_A_LIST' } : parsed
  const items: unknown = JSON.parse(text)
  const isList = Array.isArray(items) && items.every((item) => typeof item === 'string')
  return isList ? parsed : { code: 'NOT_A_LIST' }
}

function broken(rule: Rule, value: Value): string | undefined {
  switch (rule.rule) {
    case 'or epoch milliseconds':
      return undefined
    case 'not empty':
      return value === '' ? 'EMPTY' : undefined
    case 'one of':
      return rule.values.includes(String(value)) ? undefined : 'NOT_ONE_OF'
    case 'at least':
      return Number(value) < Number(rule.value) ? 'BELOW_MINIMUM' : undefined
    case 'at most':
      return Number(value) > Number(rule.value) ? 'ABOVE_MAXIMUM' : undefined
    case 'length at most':
      return [...String(value)].length > rule.characters ? 'TOO_LONG' : undefined
  }
}

// ---- expressions ---------------------------------------------------------------------------------------------------

/** An expression over the values of a row. */
export function evaluate(expression: Expression, row: OutputRow): Value {
  if ('column' in expression) return row[expression.column] ?? null
  if ('literal' in expression) return Array.isArray(expression.literal) ? null : expression.literal
  if ('sql' in expression) throw new Error('the reference runs no SQL')
  const args = expression.args.map((arg) => evaluate(arg, row))
  const [a = null, b = null] = args
  const compare = (holds: (difference: number) => boolean): Value =>
    a === null || b === null
      ? null
      : holds(typeof a === 'number' || typeof b === 'number' ? Number(a) - Number(b) : a < b ? -1 : a > b ? 1 : 0)
  switch (expression.call) {
    case 'equals':
      return compare((difference) => difference === 0)
    case 'differsFrom':
      return compare((difference) => difference !== 0)
    case 'lessThan':
      return compare((difference) => difference < 0)
    case 'moreThan':
      return compare((difference) => difference > 0)
    case 'atLeast':
      return compare((difference) => difference >= 0)
    case 'atMost':
      return compare((difference) => difference <= 0)
    case 'isNull':
      return a === null
    case 'isPresent':
      return a !== null
    case 'and':
      return args.includes(false) ? false : args.includes(null) ? null : true
    case 'or':
      return args.includes(true) ? true : args.includes(null) ? null : false
    case 'not':
      return a === null ? null : !a
    case 'plus':
      return a === null || b === null ? null : Number(a) + Number(b)
    case 'dividedBy':
      return a === null || b === null || Number(b) === 0 ? null : Number(a) / Number(b)
    case 'lower':
      return a === null ? null : String(a).toLowerCase()
    default:
      throw new Error(`the reference cannot call ${expression.call}`)
  }
}
