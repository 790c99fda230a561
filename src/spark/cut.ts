/** Where a plan is cut for a stream on Spark: what is heavy there, what keeps state here. One table says which. */
import { makesRows, type Plan, type Step } from '../plan/plan.ts'
import { filterThere, whyNotValidated } from './prefix.ts'

export interface SparkCut {
  refused: string | undefined
  /** Steps before the cut and behind it, by id. */
  onSpark: string[]
  here: string[]
  /** Why it is cut there. */
  why: string
}

/** Why a step stays here, by operator. */
const staysHere: Record<Exclude<Step['op'], 'validate' | 'filter'>, string> = {
  select: 'rows travel as they came, so that one that is late or refused further on can be told, and replayed',
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
  for (const step of plan.steps) {
    const why = whyHere(plan, step)
    if (why === undefined) cut.onSpark.push(step.id)
    else cut.here.push(step.id)
    if (cut.why === '' && why !== undefined) cut.why = `${step.id}: ${why}`
    if (step.op === 'validate' && why !== undefined) cut.refused = `its validation has what Spark has not: ${why}`
  }
  const topics = Object.values(plan.sources).every(({ is }) => is === 'topic')
  if (!topics || !plan.steps.some(isHeavy)) {
    cut.refused =
      'behind its validation every row goes into Postgres, which is its wall: Spark would only add a hop on the way there'
  }
  return cut
}

// It makes few rows of many, or needs more than the row.
function isHeavy(step: Step): boolean {
  return makesRows(step) || step.op === 'dedup'
}

function whyHere(plan: Plan, step: Step): string | undefined {
  switch (step.op) {
    case 'validate':
      return whyNotValidated(step)
    case 'filter': {
      const before = plan.steps.find(({ id }) => step.from.includes(id))
      if (before?.op === 'validate' && filterThere(plan, before) === step) return undefined
      return 'on Spark rows are filtered once, right behind their validation, by what Spark has too'
    }
    case 'window':
      return step.late === 'keep' ? staysHere.window : 'its panes are summed up with the books of the batch'
    case 'select':
    case 'dedup':
    case 'pairs':
    case 'total':
    case 'anomalies':
    case 'table':
    case 'topic':
    case 'files':
    case 'enqueue':
      return staysHere[step.op]
  }
}
