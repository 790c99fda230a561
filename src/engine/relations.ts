/** The relations of one batch in DuckDB: a schema of its own, and in it one relation per step. */
import { anomaliesRelations } from '../operators/anomalies.ts'
import { operators } from '../operators/index.ts'
import type { KeptPart } from '../operators/keyed.ts'
import type { Moments, Relation } from '../operators/operator.ts'
import { type PairsRun, pairsEvents, pairsKept, pairsRelations } from '../operators/pairs.ts'
import { pairsAtOnce } from '../operators/pairs-at-once.ts'
import { type TotalRun, totalAtOnce, totalDeltas, totalKept, totalRelations } from '../operators/total.ts'
import { mayClose, type WindowRun, windowRelations } from '../operators/window.ts'
import type { Column } from '../plan/columns.ts'
import { identifier } from '../plan/identifier.ts'
import {
  isChanging,
  isTimed,
  type PairsStep,
  type Plan,
  type Step,
  type TotalStep,
  type WindowStep,
} from '../plan/plan.ts'
import { refusedName, tableRelations } from '../sinks/table.ts'

/** How a batch stands in event time, and what follows from it. */
export interface BatchTime extends Moments {
  /** Windows that have changed and stay open are handed on. */
  updates: boolean
  /** Nothing will follow. */
  final: boolean
  /** All rows there will ever be of its keys are in the batch, and nothing is stored of them. */
  atOnce: boolean
  /** Of a bounded run: windows are handed on when all is read, and what only they need is made then. */
  waits: boolean
  /** It has few rows. */
  few: boolean
}

export const noTime: BatchTime = {
  before: undefined,
  after: undefined,
  updates: true,
  final: false,
  atOnce: false,
  waits: false,
  few: false,
}

export interface Names {
  /** With the steps that a batch of another source has no rows for. */
  plan: Plan
  schema: string
  staged: string
  /** The relation a step or source leaves behind. */
  of(id: string): string
  /** Steps that must do without some of their rows: the database has refused them. */
  refused: Set<string>
  /** What a step reads: the relation before it, without the rows that were refused. */
  into(step: Step): string
  /** A table of what a step keeps from batch to batch. */
  state(step: Step, suffix: string): string
  /** Columns of the source that were not staged, for no step reads them. */
  lacks: readonly string[]
}

export function relationNames(plan: Plan, schema: string, state = 'state', lacks: readonly string[] = []): Names {
  const of = (id: string): string =>
    Object.hasOwn(plan.sources, id) ? `${schema}.staged` : `${schema}.${identifier(id)}`
  const refused = new Set<string>()
  return {
    plan,
    state: (step, suffix) => stateTable(state, step, suffix),
    schema,
    staged: `${schema}.staged`,
    lacks,
    of,
    refused,
    into({ id, from: [from = ''] }) {
      if (!refused.has(id)) return of(from)
      return `(select * from ${of(from)} where _row not in (select _row from ${refusedName(of(id))}))`
    },
  }
}

/** Whether a step needs nothing but the batch, so that it can run while the batch before it is being committed. */
export function isStateless(step: Step): boolean {
  switch (step.op) {
    case 'validate':
    case 'select':
    case 'filter':
    case 'dedup':
      return operators[step.op].state === 'none'
    case 'window':
    case 'pairs':
    case 'total':
    case 'anomalies':
      return false
    case 'table':
    case 'files':
    case 'topic':
    case 'enqueue':
      return true
  }
}

/** What a step makes in DuckDB, in order. */
export function relationsOf(plan: Plan, step: Step, names: Names, time: BatchTime = noTime): Relation[] {
  const [from = ''] = step.from
  const at = {
    input: names.into(step),
    out: names.of(step.id),
    inputColumns: columnsAt(plan, from),
    timed: isTimed(plan, from),
    changing: isChanging(plan, from),
    few: time.few,
  }
  switch (step.op) {
    case 'validate':
      return operators.validate.relations(step, { ...at, lacks: names.lacks })
    case 'select':
      return operators.select.relations(step, at)
    case 'filter':
      return operators.filter.relations(step, at)
    case 'dedup':
      return operators.dedup.relations(step, at)
    case 'window':
      return windowRelations({
        ...time,
        step,
        inputs: inputsOf(plan, step, names),
        out: at.out,
        state: (suffix) => names.state(step, suffix),
      })
    case 'pairs': {
      const run = pairsRun(plan, step, names, time)
      if (time.atOnce) return pairsAtOnce(run)
      return [pairsEvents(run), ...pairsRelations(run)]
    }
    case 'total': {
      const run = totalRun(plan, step, names)
      if (time.atOnce) return totalAtOnce(run)
      return [...totalDeltas(run), ...totalRelations(run)]
    }
    case 'anomalies':
      return anomaliesRelations({
        step,
        input: at.input,
        columns: at.inputColumns,
        out: at.out,
        state: names.state(step, 'windows'),
        closes: windowsBefore(plan, step).some((windows) => mayClose(windows, time)),
      })
    case 'table': {
      const once = step.mode.is === 'upsert' && isOncePer(plan, from, step.mode.key)
      // what is said at once of a key is said for the first time, and never taken back
      return tableRelations(step, { ...at, changing: at.changing && !time.atOnce, once, fresh: once && time.atOnce })
    }
    case 'files':
    case 'topic':
    case 'enqueue':
      return []
  }
}

// The windows that a step hears of, through whatever is between.
function windowsBefore(plan: Plan, { from }: Step): WindowStep[] {
  return plan.steps
    .filter(({ id }) => from.includes(id))
    .flatMap((step) => (step.op === 'window' ? [step] : windowsBefore(plan, step)))
}

// Whether no two rows of a step, but for those that are taken back, have the same key.
function isOncePer(plan: Plan, id: string, key: readonly string[]): boolean {
  const step = plan.steps.find((candidate) => candidate.id === id)
  switch (step?.op) {
    case 'total':
      return step.by.every((name) => key.includes(name))
    case 'pairs':
      return key.includes('pair_id')
    case 'window':
      return step.by.every((name) => key.includes(name)) && (key.includes('window_start') || key.includes('window_end'))
    case 'filter':
      return isOncePer(plan, step.from[0] ?? '', key)
    case 'select': {
      const origins = key.flatMap((name) => {
        const expression = step.select[name]
        return expression !== undefined && 'column' in expression ? [expression.column] : []
      })
      return isOncePer(plan, step.from[0] ?? '', origins)
    }
    default:
      return false
  }
}

/** What a step keeps by key, of which a batch reads what it needs. */
export function keptParts(plan: Plan, step: Step, names: Names, time: BatchTime): KeptPart[] {
  if (step.op === 'pairs') return [pairsKept(pairsRun(plan, step, names, time))]
  return step.op === 'total' ? totalKept(totalRun(plan, step, names)) : []
}

function pairsRun(plan: Plan, step: PairsStep, names: Names, time: BatchTime): PairsRun {
  const [from = ''] = step.from
  const input = isFed(plan, step) ? names.into(step) : undefined
  return { ...time, step, input, columns: columnsAt(names.plan, from), out: names.of(step.id) }
}

/** Whether a batch has rows for a step; some go on without. Between stages of a run a step reads a source. */
export function isFed(plan: Plan, { from: [from = ''] }: Step): boolean {
  return plan.steps.some(({ id }) => id === from) || Object.hasOwn(plan.sources, from)
}

function totalRun(plan: Plan, step: TotalStep, names: Names): TotalRun {
  const [from = ''] = step.from
  const changing = isChanging(plan, from)
  return { step, input: names.into(step), columns: columnsAt(plan, from), changing, out: names.of(step.id) }
}

/** A table of what a worker keeps of a step, in the schema of that worker's state. */
export function stateTable(schema: string, step: Step, suffix: string): string {
  return `${schema}.${identifier(`${step.id}_${suffix}`)}`
}

/** The inputs of a window; those that the plan of a batch does not have, are without rows. */
export function inputsOf(plan: Plan, step: WindowStep, names?: Names): WindowRun['inputs'] {
  return step.from.map((from) => ({
    relation: names !== undefined && plan.steps.some(({ id }) => id === from) ? names.of(from) : undefined,
    columns: columnsAt(names?.plan ?? plan, from),
  }))
}

/**
 * The steps that a batch of this source has rows for; without one, those that go on from what is kept. Windows and pairs
 * always do: event time moves for all of them at once.
 */
export function planForSource(plan: Plan, source: string | undefined): Plan {
  const fed = new Set(source === undefined ? [] : [source])
  const steps = plan.steps.filter((step) => {
    const runs = step.op === 'window' || step.op === 'pairs' || step.from.some((from) => fed.has(from))
    if (runs) fed.add(step.id)
    return runs
  })
  return { ...plan, steps }
}

export function columnsAt(plan: Plan, id: string): Column[] {
  return plan.steps.find((step) => step.id === id)?.columns ?? plan.sources[id]?.columns ?? []
}

export function createSql(relation: Relation): string {
  return `create ${relation.as} ${relation.name} as\n${relation.select}`
}

/** The steps that read what a step leaves behind, and those after them. */
export function stepsAfter(plan: Plan, id: string): Step[] {
  const reached = new Set([id])
  return plan.steps.filter((step) => {
    const follows = step.from.some((from) => reached.has(from))
    if (follows) reached.add(step.id)
    return follows
  })
}
