/**
 * Which columns of a source no step of a whole plan reads: they need not be brought to DuckDB, and are only told of rows that
 * go wrong.
 */
import { columnsOf, type Expression, walk } from './expression.ts'
import { columnsRead, type Plan, type Step, type ValidateStep } from './plan.ts'

/** Their names, in the order of the source. Only texts that may be absent and follow no rule are left out: nothing is wrong with any. */
export function unreadColumns(plan: Plan, id: string): string[] {
  const source = plan.sources[id]
  const readers = plan.steps.filter(({ from }) => from.includes(id))
  if (source === undefined || !readers.every((step) => step.op === 'validate')) return []
  const used = unionOf(readers.map((step) => usedOf(plan, step)))
  if (used === 'all') return []
  return columnsRead(source)
    .filter(({ name, type, nullable }) => type.is === 'text' && nullable && !used.has(name))
    .map(({ name }) => name)
}

type Used = ReadonlySet<string> | 'all'

// What of the source this step looks at itself, and those after it want of it.
function usedOf(plan: Plan, step: ValidateStep): Used {
  const ruled = Object.entries(step.rules).flatMap(([name, rules]) => (rules.length > 0 ? [name] : []))
  const time = step.eventTime === undefined ? [] : [step.eventTime.column]
  return unionOf([
    new Set([...ruled, ...time]),
    ...step.checks.map(({ where }) => readBy([where])),
    wantedOf(plan, step.id),
  ])
}

/** The columns of a step's rows that the steps after it read. */
function wantedOf(plan: Plan, id: string): Used {
  return unionOf(plan.steps.filter(({ from }) => from.includes(id)).map((step) => wantedBy(plan, step, id)))
}

function wantedBy(plan: Plan, step: Step, from: string): Used {
  switch (step.op) {
    case 'select':
      return readBy(Object.values(step.select))
    case 'filter':
      return unionOf([readBy([step.where]), wantedOf(plan, step.id)])
    case 'window': {
      const inputs = step.inputs.filter((input) => input.from === from)
      const values = inputs.flatMap(({ aggregates }) => Object.values(aggregates))
      return unionOf([
        new Set(step.by),
        readBy(values.flatMap(({ of, where }) => [of, where].filter((each) => each !== undefined))),
      ])
    }
    default:
      return 'all'
  }
}

// SQL that a person has written may read any.
function readBy(expressions: readonly Expression[]): Used {
  let raw = false
  for (const expression of expressions)
    walk(expression, (node) => {
      raw ||= 'sql' in node
    })
  return raw ? 'all' : new Set(expressions.flatMap((expression) => [...columnsOf(expression)]))
}

function unionOf(all: readonly Used[]): Used {
  const names = new Set<string>()
  for (const used of all) {
    if (used === 'all') return 'all'
    for (const name of used) names.add(name)
  }
  return names
}
