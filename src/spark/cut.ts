/** Where a plan would be cut for a stream on Spark: what is heavy there, what keeps state here. One table says which. */

import { MillraceError } from '../errors.ts'
import { printSpark } from '../functions/print-spark.ts'
import type { Plan, Step } from '../plan/plan.ts'

export interface SparkCut {
  refused: string | undefined
  /** Steps before the cut and behind it, by id. */
  onSpark: string[]
  here: string[]
  /** Why it is cut there. */
  why: string
}

/** What Spark can do on a stream, by operator; else why it stays here. */
const onStreams: Record<Step['op'], true | string> = {
  validate: true,
  select: true,
  filter: true,
  dedup: 'keys are remembered over all time',
  window: 'late rows are kept, and Spark drops them without a word of which they were',
  pairs: 'Spark refuses to look at the next row on a stream',
  total: 'totals are added to what stands in the table',
  anomalies: 'each window is judged by those before it',
  table: 'a table is written in the transaction of the batch',
  topic: 'messages are published from the transaction of the batch',
  files: 'a file of what a table took is written with its batch',
  enqueue: 'tasks are asked for in the transaction of the batch',
}

export function cutOf(plan: Plan): SparkCut {
  const cut: SparkCut = { refused: undefined, onSpark: [], here: [], why: '' }
  const topics = Object.values(plan.sources).every(({ is }) => is === 'topic')
  for (const step of plan.steps) {
    const runs = step.from.every((from) => Object.hasOwn(plan.sources, from) || cut.onSpark.includes(from))
    const why = runs ? whyHere(plan, step) : undefined
    if (runs && why === undefined) cut.onSpark.push(step.id)
    else cut.here.push(step.id)
    if (cut.why === '' && why !== undefined) cut.why = `${step.id}: ${why}`
  }
  const rows = plan.steps.filter(({ id, op }) => cut.here.includes(id) && op !== 'table')
  if (!topics || rows.length === 0) {
    cut.refused =
      'behind its validation every row goes into Postgres, which is its wall: Spark would only add a hop on the way there'
  }
  return cut
}

function whyHere(plan: Plan, step: Step): string | undefined {
  const can = onStreams[step.op]
  if (step.op === 'window' && step.late === 'drop') return undefined
  if (can !== true) return can
  try {
    if (step.op === 'select')
      for (const expression of Object.values(step.select)) printSpark(expression, columnsAt(plan, step))
    if (step.op === 'filter') printSpark(step.where, columnsAt(plan, step))
    return undefined
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'NOT_SUPPORTED') return error.message
    throw error
  }
}

function columnsAt(plan: Plan, { from: [from = ''] }: Step) {
  return plan.steps.find(({ id }) => id === from)?.columns ?? plan.sources[from]?.columns ?? []
}
