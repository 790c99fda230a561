/** What pairs and totals need of a plan, and what follows rows that may be taken back. */
import type { Types } from './check.ts'
import { keyColumn } from './check-windows.ts'
import { type Column, typeName } from './columns.ts'
import { fault, located } from './fault.ts'
import { isChanging, isTimed, type PairsStep, type Plan, pairColumns, type Step, type TotalStep } from './plan.ts'

export function checkPairs(at: string, step: PairsStep, plan: Plan, input: Column[]): void {
  const { by, from, latenessMs, maxGapMs, columns } = step
  if (by.length === 0) throw fault(at, 'INVALID_PLAN', 'pairs need at least one column to go by')
  if (!isTimed(plan, from[0] ?? '')) {
    throw fault(
      at,
      'INVALID_PLAN',
      `the rows of "${from[0]}" have no event time`,
      "give their source one: eventTime: { column: '...' }",
    )
  }
  for (const [name, ms] of Object.entries({ latenessMs, maxGapMs: maxGapMs ?? 0 })) {
    if (!Number.isSafeInteger(ms) || ms < 0)
      throw fault(at, 'INVALID_PLAN', `${name} of pairs is no whole number of milliseconds: ${ms}`)
  }
  const keys = by.map((name) => keyColumn(at, name, input))
  const carried = columns.slice(by.length, -pairColumns.length)
  for (const { name } of carried) {
    const own = input.find((column) => column.name === name)
    if (own === undefined) throw fault(at, 'INVALID_PLAN', `"${name}" is no column of what it reads`)
  }
  const whole = [...keys, ...carried.map(({ name }) => input.find((column) => column.name === name)), ...pairColumns]
  if (JSON.stringify(whole) !== JSON.stringify(columns))
    throw fault(at, 'INVALID_PLAN', `its columns are not those that it makes: ${spoken(columns)}`)
}

export function checkTotal(at: string, step: TotalStep, plan: Plan, input: Column[], types: Types): void {
  const { by, aggregates, columns } = step
  if (by.length === 0) throw fault(at, 'INVALID_PLAN', 'a total needs at least one column to go by')
  const made: Column[] = by.map((name) => keyColumn(at, name, input))
  for (const [name, aggregate] of Object.entries(aggregates)) {
    const { aggregate: asked, where } = aggregate
    if (asked === 'min' || asked === 'max' || asked === 'deviation') {
      const why = isChanging(plan, step.from[0] ?? '') ? 'rows may be taken back' : 'it goes on over all time'
      throw fault(
        at,
        'INVALID_PLAN',
        `a total has no ${asked}, since ${why}`,
        'use count, sum, mean, median, top, counts or countDistinct',
      )
    }
    if (where !== undefined && located(at, () => types.typeOfExpression(where, input)).type.is !== 'boolean')
      throw fault(at, 'WRONG_TYPE', 'the condition of an aggregate is not a boolean')
    const { type, nullable, largest } = located(at, () => types.typeOfAggregate(aggregate, input))
    if (largest !== undefined)
      throw fault(
        at,
        'WRONG_TYPE',
        `"${name}" adds up values that may be too large for a sum over all time`,
        'make them a decimal with fewer digits first',
      )
    made.push({ name, type, nullable })
  }
  if (JSON.stringify(made) !== JSON.stringify(columns))
    throw fault(at, 'INVALID_PLAN', `its columns are ${spoken(columns)}, but it makes ${spoken(made)}`)
}

/** Rows that may be taken back go through what can take them back, into tables with a key. */
export function checkChanging(at: string, step: Step, plan: Plan): void {
  const [from = ''] = step.from
  if (!isChanging(plan, from)) return
  switch (step.op) {
    case 'select':
    case 'filter':
    case 'total':
      return
    case 'table':
      if (step.mode.is !== 'upsert')
        throw fault(
          at,
          'INVALID_PLAN',
          `rows for ${step.table} may be taken back`,
          "give the table a key: table('...', { key: ... })",
        )
      checkKey(at, step.mode.key, plan, from)
      return
    default:
      throw fault(
        at,
        'INVALID_PLAN',
        `a step of the kind "${step.op}" cannot take rows back`,
        'write them into a table with a key',
      )
  }
}

// Only a key that names one row tells which row is taken back.
function checkKey(at: string, key: string[], plan: Plan, id: string): void {
  const wanted = namesOneRow(plan, id)
  const missing = wanted.filter((name) => name === undefined || !key.includes(name))
  if (missing.length === 0) return
  const origin = originOf(plan, id)
  throw fault(
    at,
    'INVALID_PLAN',
    `the key (${key.join(', ')}) does not tell the rows of "${origin?.id}" apart`,
    `keep ${origin?.op === 'total' ? origin.by.join(', ') : 'pair_id'} and have it in the key`,
  )
}

function originOf(plan: Plan, id: string): PairsStep | TotalStep | undefined {
  const step = plan.steps.find((each) => each.id === id)
  if (step?.op === 'pairs' || step?.op === 'total') return step
  return step === undefined ? undefined : originOf(plan, step.from[0] ?? '')
}

// The columns that tell rows apart, as they are called here; undefined where one was lost.
function namesOneRow(plan: Plan, id: string): (string | undefined)[] {
  const step = plan.steps.find((each) => each.id === id)
  if (step?.op === 'pairs') return ['pair_id']
  if (step?.op === 'total') return step.by
  if (step === undefined) return []
  const before = namesOneRow(plan, step.from[0] ?? '')
  if (step.op !== 'select') return before
  return before.map(
    (was) =>
      Object.entries(step.select).find(([, expression]) => 'column' in expression && expression.column === was)?.[0],
  )
}

function spoken(columns: Column[]): string {
  return columns
    .map(({ name, type, nullable }) => `${name} (${typeName(type)}${nullable ? ', optional' : ''})`)
    .join(', ')
}
