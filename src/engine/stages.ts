/**
 * The plan of a bounded run that is too large for one batch, and has steps that need all of a key at once, cut into stages.
 * The first works on rows as they come and leaves them in buckets by the hash of their key; each one after takes a bucket
 * as a batch, in which all of a key is, and may leave rows by another key for the next.
 */
import type { Column } from '../plan/columns.ts'
import { type Aggregate, columnsOf, walk } from '../plan/expression.ts'
import { isEventTime, type Plan, type TotalStep } from '../plan/plan.ts'
import { branches } from './books.ts'
import { columnsAt } from './relations.ts'

export interface Stage {
  plan: Plan
  /** What it reads; undefined of the first, which reads the pipeline's sources. */
  reads: Exchange | undefined
  /** What it leaves for the stages after it. */
  leaves: Exchange[]
}

/** Rows on their way from one stage to the next. */
export interface Exchange {
  /** As a source of the stage that reads it. */
  id: string
  /** The step that reads it. */
  into: string
  from: string
  by: string[]
  columns: Column[]
  /** Its rows are those that came in, and get their verdict where they are read: they carry their event time. */
  ofInput: boolean
  /** The column that is their event time, if one is; else it goes along. */
  time: string | undefined
  /** Some of them may be late, and so they carry where they came from. */
  places: boolean
}

/**
 * The stages of a plan that pairs; undefined of others. `atOnce`: nothing is stored of any key and nothing will follow, so
 * totals have all of a key at once too. Otherwise they add to what is stored, batch by batch.
 */
export function stagesOf(plan: Plan, atOnce: boolean): Stage[] | undefined {
  const pairs = plan.steps.filter(({ op }) => op === 'pairs')
  if (pairs.length !== 1 || branches(plan)) return undefined
  if (plan.steps.some(({ op }) => op === 'window' || op === 'anomalies')) return undefined
  const first: Stage = { plan: { ...plan, steps: [] }, reads: undefined, leaves: [] }
  const stages = [first]
  const stageOf = new Map<string, Stage>()
  const cut = (exchange: Exchange): Stage => {
    const { id, columns } = exchange
    const sources: Plan['sources'] = { [id]: { is: 'files', folder: '', format: { is: 'parquet' }, columns } }
    const stage = { plan: { ...plan, sources, steps: [] }, reads: exchange, leaves: [] }
    stageOf.get(exchange.from)?.leaves.push(exchange)
    stages.push(stage)
    return stage
  }
  for (const step of plan.steps) {
    const [from = ''] = step.from
    const id = `${step.id} in`
    let stage = stageOf.get(from) ?? first
    if (step.op === 'pairs') {
      const columns = columnsAt(plan, from)
      stage = cut({
        id,
        into: step.id,
        from,
        by: bucketKey(plan, step.id, step.by),
        columns,
        ofInput: true,
        time: columns.find(({ name }) => isEventTime(plan, from, name))?.name,
        places: !atOnce,
      })
    } else if (atOnce && step.op === 'total' && stage.reads !== undefined && !hasWholeKeys(plan, step, stage.reads)) {
      stage = cut({
        id,
        into: step.id,
        from,
        by: step.by,
        columns: neededBy(plan, step),
        ofInput: false,
        time: undefined,
        places: false,
      })
    }
    stage.plan.steps.push(stage.reads?.into === step.id ? { ...step, from: [id] } : step)
    stageOf.set(step.id, stage)
  }
  return stages
}

// The columns of the key that a total after it has too, so that its keys are whole in the same buckets; else all of it.
function bucketKey(plan: Plan, pairs: string, by: string[]): string[] {
  for (const step of plan.steps) {
    if (step.op !== 'total') continue
    const origins = step.by.map((name) => originOf(plan, pairs, step.from[0] ?? '', name))
    const shared = by.filter((name) => origins.includes(name))
    if (shared.length > 0) return shared
  }
  return by
}

// Whether all rows of a key of the total are in one bucket.
function hasWholeKeys(plan: Plan, { from: [from = ''], by }: TotalStep, reads: Exchange): boolean {
  const origins = by.map((name) => originOf(plan, reads.into, from, name))
  return reads.by.every((name) => origins.includes(name))
}

// What a column is called among the keys of the step that begins the stage; undefined when it is none of them.
function originOf(plan: Plan, first: string, id: string, column: string): string | undefined {
  const step = plan.steps.find((candidate) => candidate.id === id)
  if (step === undefined) return undefined
  if (step.op === 'pairs' || step.op === 'total') {
    if (!step.by.includes(column)) return undefined
    return id === first ? column : originOf(plan, first, step.from[0] ?? '', column)
  }
  if (step.op !== 'select') return originOf(plan, first, step.from[0] ?? '', column)
  const expression = step.select[column]
  if (expression === undefined || !('column' in expression)) return undefined
  return originOf(plan, first, step.from[0] ?? '', expression.column)
}

// Only these go from one stage to the next.
function neededBy(plan: Plan, step: TotalStep): Column[] {
  const columns = columnsAt(plan, step.from[0] ?? '')
  const names = new Set(step.by)
  let readsAll = false
  const parts = ({ of, where }: Aggregate) => [of, where].flatMap((each) => (each === undefined ? [] : [each]))
  for (const expression of Object.values(step.aggregates).flatMap(parts)) {
    for (const name of columnsOf(expression)) names.add(name)
    walk(expression, (node) => {
      // it reads what it likes
      if ('sql' in node) readsAll = true
    })
  }
  return readsAll ? columns : columns.filter(({ name }) => names.has(name))
}
