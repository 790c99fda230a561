/** What event time, windows and anomalies need of a plan. */
import type { Types } from './check.ts'
import { type Column, isNumeric, sameType, typeName } from './columns.ts'
import { fault, located, unknownColumn } from './fault.ts'
import { type AnomaliesStep, type EventTime, isTimed, type Plan, type WindowStep } from './plan.ts'

export function checkEventTime(at: string, time: EventTime, columns: Column[]): void {
  const name = time.column
  const column = columns.find((candidate) => candidate.name === name)
  if (column === undefined) throw unknownColumn(at, name, columns)
  if (column.type.is !== 'timestamp' || column.nullable)
    throw fault(at, 'WRONG_TYPE', `"${name}" is the event time`, 'declare it as timestamp(), and not as optional')
  for (const length of ['outOfOrderMs', 'futureSkewMs', 'idleAfterMs'] as const) {
    if (Number.isSafeInteger(time[length]) && time[length] >= 0) continue
    throw fault(at, 'INVALID_PLAN', `${length} of an event time is no whole number of milliseconds: ${time[length]}`)
  }
}

export function checkWindow(
  at: string,
  step: WindowStep,
  plan: Plan,
  known: ReadonlyMap<string, Column[]>,
  types: Types,
): void {
  const { inputs, by } = step
  if (by.length === 0) throw fault(at, 'INVALID_PLAN', 'a window needs at least one column to go by')
  checkLengths(at, step)
  if (inputs.map(({ from }) => from).join() !== step.from.join() || inputs.length === 0) {
    throw fault(at, 'INVALID_PLAN', 'the inputs of a window are the steps it reads, in their order')
  }
  const keys: Column[][] = []
  const made: Column[] = []
  for (const { from, aggregates } of inputs) {
    const input = known.get(from) ?? []
    if (!isTimed(plan, from)) {
      throw fault(
        at,
        'INVALID_PLAN',
        `the rows of "${from}" have no event time`,
        "give their source one: eventTime: { column: '...' }; windows of windows are not possible",
      )
    }
    keys.push(by.map((name) => keyColumn(at, name, input)))
    for (const [name, aggregate] of Object.entries(aggregates)) {
      const { where } = aggregate
      if (where !== undefined && located(at, () => types.typeOfExpression(where, input)).type.is !== 'boolean')
        throw fault(at, 'WRONG_TYPE', 'the condition of an aggregate is not a boolean')
      const { type, nullable } = located(at, () => types.typeOfAggregate(aggregate, input))
      made.push({ name, type, nullable })
    }
  }
  const [first = []] = keys
  if (keys.some((other) => other.some(({ type }, i) => !sameType(type, first[i]?.type ?? type))))
    throw fault(at, 'WRONG_TYPE', 'the inputs of a window have keys of other types')
  const of = (name: string, is: 'timestamp' | 'boolean'): Column => ({ name, type: { is }, nullable: false })
  const columns = [
    ...first,
    of('window_start', 'timestamp'),
    of('window_end', 'timestamp'),
    ...made,
    of('final', 'boolean'),
  ]
  const spoken = (each: Column[]): string =>
    each.map(({ name, type, nullable }) => `${name} (${typeName(type)}${nullable ? ', optional' : ''})`).join(', ')
  if (spoken(columns) !== spoken(step.columns))
    throw fault(at, 'INVALID_PLAN', `its columns are ${spoken(step.columns)}, but it makes ${spoken(columns)}`)
}

function checkLengths(at: string, { sizeMs, slideMs }: WindowStep): void {
  if (!(Number.isSafeInteger(sizeMs) && Number.isSafeInteger(slideMs) && slideMs >= 1 && slideMs <= sizeMs)) {
    throw fault(
      at,
      'INVALID_PLAN',
      'a window slides by at least 1 ms and by no more than its size, in whole milliseconds',
    )
  }
  const panes = sizeMs / greatestDivisor(sizeMs, slideMs)
  if (sizeMs % slideMs !== 0 && panes > 10_000)
    throw fault(at, 'INVALID_PLAN', 'size and slide have so little in common that a window has over 10,000 panes')
  if (panes > 100_000)
    throw fault(at, 'INVALID_PLAN', 'a row would be in over 100,000 windows', 'let them slide further')
}

/** A column by which rows are put together. */
export function keyColumn(at: string, name: string, input: Column[]): Column {
  const column = input.find((candidate) => candidate.name === name)
  if (column === undefined) throw unknownColumn(at, name, input)
  const { type, nullable } = column
  if (!nullable && type.is !== 'list' && type.is !== 'json') return { name, type, nullable }
  throw fault(at, 'WRONG_TYPE', `"${name}" can be ${nullable ? 'null' : `a ${typeName(type)}`}, and so no key`)
}

/** The greatest whole number that divides both. */
export function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b)
}

export function checkAnomalies(at: string, step: AnomaliesStep, plan: Plan, input: Column[]): void {
  const { of, by, over, threshold } = step
  if (of.length === 0) throw fault(at, 'INVALID_PLAN', 'anomalies judge at least one column')
  const seen = new Set<string>()
  for (const { column, spike, drop } of of) {
    const type = input.find(({ name }) => name === column)?.type
    if (type !== undefined && !isNumeric(type)) throw fault(at, 'WRONG_TYPE', `"${column}" is no number to judge`)
    if (spike === undefined && drop === undefined)
      throw fault(
        at,
        'INVALID_PLAN',
        `"${column}" is judged, and nothing is said of it`,
        'name a spike, a drop, or both',
      )
    if (seen.has(column)) throw fault(at, 'INVALID_PLAN', `"${column}" is judged twice`)
    seen.add(column)
  }
  if (!(Number.isInteger(over) && over >= 2 && over <= 10_000))
    throw fault(at, 'INVALID_PLAN', `anomalies look at 2 to 10,000 windows, not ${over}`)
  if (!(threshold > 0 && Number.isFinite(threshold)))
    throw fault(at, 'INVALID_PLAN', 'the threshold of anomalies is a number above 0')
  const before = windowBefore(plan, step.from[0] ?? '')
  if (before === undefined || before.was('window_start') !== 'window_start' || before.was('final') !== 'final')
    throw fault(
      at,
      'INVALID_PLAN',
      'anomalies judge windows',
      'put window(...) before them, and keep window_start and final',
    )
  // of each key every window is there once
  const wanted = before.step.by
  if (by.map(before.was).sort().join() !== wanted.toSorted().join())
    throw fault(at, 'INVALID_PLAN', `anomalies go by the key of their windows, which is ${wanted.join(', ')}`)
}

/** The window step whose rows reach a step, and what the columns were called there; undefined where they were computed. */
function windowBefore(
  plan: Plan,
  id: string,
): { step: WindowStep; was: (name: string) => string | undefined } | undefined {
  const step = plan.steps.find((each) => each.id === id)
  if (step?.op === 'window') return { step, was: (name) => name }
  if (step?.op !== 'filter' && step?.op !== 'select' && step?.op !== 'dedup') return undefined
  const before = windowBefore(plan, step.from[0] ?? '')
  if (before === undefined || step.op !== 'select') return before
  return {
    step: before.step,
    was(name) {
      const expression = step.select[name]
      return expression !== undefined && 'column' in expression ? before.was(expression.column) : undefined
    },
  }
}
