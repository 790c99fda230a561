/** The relations of one batch in DuckDB: a schema of its own, and in it one relation per step. */

import { MillraceError } from '../errors.ts'
import { operators } from '../operators/index.ts'
import type { Relation } from '../operators/operator.ts'
import type { Column } from '../plan/columns.ts'
import { identifier } from '../plan/identifier.ts'
import type { Plan, Step } from '../plan/plan.ts'
import { refusedName, tableRelations } from '../sinks/table.ts'

export interface Names {
  schema: string
  staged: string
  /** The relation a step or source leaves behind. */
  of(id: string): string
  /** Steps that must do without some of their rows: the database has refused them. */
  refused: Set<string>
  /** What a step reads: the relation before it, without the rows that were refused. */
  into(step: Step): string
}

export function relationNames(plan: Plan, batch: number | string): Names {
  const schema = identifier(`${plan.name} ${batch}`)
  const of = (id: string): string =>
    Object.hasOwn(plan.sources, id) ? `${schema}.staged` : `${schema}.${identifier(id)}`
  const refused = new Set<string>()
  return {
    schema,
    staged: `${schema}.staged`,
    of,
    refused,
    into({ id, from: [from = ''] }) {
      if (!refused.has(id)) return of(from)
      return `(select * from ${of(from)} where _row not in (select _row from ${refusedName(of(id))}))`
    },
  }
}

// The plan's format has room for more than this version can run.
const notYet = ['window', 'pairs', 'total', 'anomalies', 'topic', 'enqueue'] as const

export type RunnableStep = Exclude<Step, { op: (typeof notYet)[number] }>

export function isRunnable(step: Step): step is RunnableStep {
  return !(notYet as readonly string[]).includes(step.op)
}

/** Whether a step needs nothing but the batch, so that it can run while the batch before it is being committed. */
export function isStateless(step: Step): boolean {
  if (!isRunnable(step)) return false
  switch (step.op) {
    case 'validate':
    case 'select':
    case 'filter':
    case 'dedup':
      return operators[step.op].state === 'none'
    case 'table':
    case 'files':
      return true
  }
}

/** What a step makes in DuckDB, in order. */
export function relationsOf(plan: Plan, step: Step, names: Names): Relation[] {
  if (!isRunnable(step)) {
    throw new MillraceError('NOT_SUPPORTED', {
      at: `${plan.name} / ${step.id}`,
      message: `this version cannot run a step of the kind "${step.op}"`,
    })
  }
  const [from = ''] = step.from
  const at = { input: names.into(step), out: names.of(step.id), inputColumns: columnsAt(plan, from) }
  switch (step.op) {
    case 'validate':
      return operators.validate.relations(step, at)
    case 'select':
      return operators.select.relations(step, at)
    case 'filter':
      return operators.filter.relations(step, at)
    case 'dedup':
      return operators.dedup.relations(step, at)
    case 'table':
      return tableRelations(step, at)
    case 'files':
      return []
  }
}

function columnsAt(plan: Plan, id: string): Column[] {
  return plan.steps.find((step) => step.id === id)?.columns ?? plan.sources[id]?.columns ?? []
}

export function createSql(relation: Relation): string {
  return `create ${relation.as} ${relation.name} as\n${relation.select}`
}

/** As `createSql`, of a step that may run again without the rows that the database refused. */
export function replaceSql(relation: Relation): string {
  return `create or replace ${relation.as} ${relation.name} as\n${relation.select}`
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
