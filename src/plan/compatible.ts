/**
 * Whether a pipeline may go on with what is stored after its plan has changed. Stored state belongs to the plan that made
 * it; what can be added without touching it is a sink, and a nullable column on the way into one. A sink into files or
 * a topic can go, too, and so can what asks for tasks.
 */
import { isDeepStrictEqual } from 'node:util'
import { type Column, typeName } from './columns.ts'
import { identityOf, isSink, type Plan, planHash, type Step } from './plan.ts'

export type PlanChange = { is: 'same' } | { is: 'compatible' } | { is: 'different'; differences: string[] }

/** What became of a plan; `differences` are sentences that name the steps and sources. */
export function planChange(before: Plan, after: Plan): PlanChange {
  if (planHash(before) === planHash(after)) return { is: 'same' }
  // as: an identity has the shape of a plan, without what may change freely
  const [was, is] = [identityOf(before) as Plan, identityOf(after) as Plan]
  const differences = [
    ...(was.name === is.name ? [] : [`the pipeline is called "${is.name}", and was "${was.name}"`]),
    ...sourceDifferences(was, is),
    ...stepDifferences(was, is),
  ]
  return differences.length === 0 ? { is: 'compatible' } : { is: 'different', differences }
}

function sourceDifferences(before: Plan, after: Plan): string[] {
  const differences: string[] = []
  for (const id of new Set([...Object.keys(before.sources), ...Object.keys(after.sources)])) {
    const [was, is] = [before.sources[id], after.sources[id]]
    if (is === undefined) differences.push(`source "${id}" was removed`)
    else if (was === undefined) differences.push(`source "${id}" was added`)
    else {
      const changes = [
        ...columnChanges(was.columns, is.columns, false),
        ...settingChanges(asSettings(was), asSettings(is)),
      ]
      differences.push(...changes.map((change) => `source "${id}" ${change}`))
    }
  }
  return differences
}

function stepDifferences(before: Plan, after: Plan): string[] {
  const differences: string[] = []
  const was = new Map(before.steps.map((step) => [step.id, step]))
  const is = new Map(after.steps.map((step) => [step.id, step]))
  for (const step of before.steps) {
    const now = is.get(step.id)
    // what was written or published stays, what waits to be is, and nothing is stored for what is to come
    if (now === undefined && (step.op === 'files' || step.op === 'topic' || step.op === 'enqueue')) continue
    if (now === undefined) differences.push(`step "${step.id}" (${step.op}) was removed`)
    else differences.push(...stepChanges(step, now).map((change) => `step "${step.id}" ${change}`))
  }
  for (const step of after.steps) {
    if (!was.has(step.id) && !isSink(step)) differences.push(`step "${step.id}" (${step.op}) was added`)
  }
  const kept = (steps: Step[]) => steps.map((step) => step.id).filter((id) => was.has(id) && is.has(id))
  if (!isDeepStrictEqual(kept(before.steps), kept(after.steps))) differences.push('the steps stand in another order')
  return differences
}

function stepChanges(was: Step, is: Step): string[] {
  if (was.op !== is.op) return [`is a ${is.op} now, and was a ${was.op}`]
  const columns = columnChanges(was.columns, is.columns, handsOn(is))
  if (was.op === 'select' && is.op === 'select') {
    const { select: wasComputed, ...wasRest } = asSettings(was)
    const { select: isComputed, ...isRest } = asSettings(is)
    return [
      ...columns,
      ...expressionChanges(asSettings(wasComputed), asSettings(isComputed)),
      ...settingChanges(wasRest, isRest),
    ]
  }
  return [...columns, ...settingChanges(asSettings(was), asSettings(is))]
}

// Steps that keep no columns in their state; a dedup keeps its keys only. What they gain cannot contradict what is stored.
function handsOn(step: Step): boolean {
  return isSink(step) || step.op === 'select' || step.op === 'filter' || step.op === 'dedup'
}

function columnChanges(before: Column[], after: Column[], mayGain: boolean): string[] {
  const was = new Map(before.map((column) => [column.name, column]))
  const is = new Map(after.map((column) => [column.name, column]))
  const changes: string[] = []
  for (const { name, type, nullable } of before) {
    const now = is.get(name)
    if (now === undefined) changes.push(`lost the column "${name}"`)
    else if (typeName(now.type) !== typeName(type)) {
      changes.push(`has "${name}" as ${typeName(now.type)}, which was ${typeName(type)}`)
    } else if (now.nullable !== nullable) changes.push(`has "${name}" ${nullable ? 'not nullable' : 'nullable'} now`)
  }
  for (const { name, nullable } of after) {
    if (was.has(name) || (mayGain && nullable)) continue
    changes.push(`gained the column "${name}"${mayGain ? ', which is not nullable' : ''}`)
  }
  const kept = (columns: Column[]) => columns.map(({ name }) => name).filter((name) => was.has(name) && is.has(name))
  if (!isDeepStrictEqual(kept(before), kept(after))) changes.push('has its columns in another order')
  return changes
}

// A column that came or went is told of by its name already.
function expressionChanges(before: Record<string, unknown>, after: Record<string, unknown>): string[] {
  return Object.keys(before)
    .filter((name) => name in after && !isDeepStrictEqual(before[name], after[name]))
    .map((name) => `computes "${name}" in another way`)
}

function settingChanges(before: Record<string, unknown>, after: Record<string, unknown>): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .filter((name) => name !== 'columns' && !isDeepStrictEqual(before[name], after[name]))
    .map((name) => `has another "${name}"`)
}

function asSettings(part: unknown): Record<string, unknown> {
  // as: sources, steps and what a select computes are objects
  return part as Record<string, unknown>
}
