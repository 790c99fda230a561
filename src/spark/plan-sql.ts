/**
 * A plan as Spark's SQL, for a bounded run: a view for each step, in order, what goes into each table, and the questions
 * by which the books are kept. What Spark cannot do as we do it is refused here, before anything is asked of it.
 */
import { MillraceError } from '../errors.ts'
import { printSpark } from '../functions/print-spark.ts'
import { sparkName, sparkText } from '../functions/spark-type.ts'
import { reasons } from '../operators/validate.ts'
import type { Column } from '../plan/columns.ts'
import { type Expression, replaced } from '../plan/expression.ts'
import {
  atValidation,
  isEventTime,
  makesRows,
  type PairsStep,
  type Plan,
  type Step,
  type TableStep,
  takesInputRows,
  type ValidateStep,
} from '../plan/plan.ts'
import { groupedSql } from './aggregate.ts'
import { isEventSql, pairsSql } from './pairs.ts'
import { checkedSql, deadLettersSql, goodSql } from './validate.ts'
import { anomaliesSql, windowSql } from './windows.ts'

export interface SparkView {
  name: string
  select: string
  /** More than one reads it, and it costs a shuffle: it is kept on the disks of the executors. */
  kept: boolean
}

export interface SparkPlan {
  views: SparkView[]
  /** Selects of one row with these numbers; they are added up. */
  counts: { select: string; of: ('rows_in' | 'dead' | 'filtered' | 'events' | 'kept_events')[] }[]
  deadLetters: string[]
  tables: { step: TableStep; select: string }[]
}

/** The names of the views of a source and of a step. */
export const textsName = (source: string): string => sparkName(`${source} texts`)
export const checkedName = (step: string): string => sparkName(`${step} checked`)
export const viewName = (id: string): string => sparkName(id)

/** Why this plan does not run on Spark: a sentence for each step that is in the way. */
export function refusals(plan: Plan): string[] {
  const sentences: string[] = []
  const ways = plan.steps.filter((step) => (step.op === 'table' || makesRows(step)) && takesInputRows(plan, step))
  if (ways.length > 1) {
    sentences.push(
      `its rows go more than one way (${ways.map(({ id }) => id).join(', ')}), and on Spark no row is followed to say which of them took it`,
    )
  }
  for (const step of plan.steps) {
    const why = refusalOf(plan, step)
    if (why !== undefined) sentences.push(`the step ${step.id} (${step.op}) ${why}`)
  }
  return sentences
}

function refusalOf(plan: Plan, step: Step): string | undefined {
  switch (step.op) {
    case 'dedup':
      return 'remembers keys from run to run, and Spark keeps nothing; let a table take each key once instead'
    case 'topic':
      return 'publishes messages, which are numbered by batches here; publish from a pipeline that reads the table'
    case 'files':
      return 'writes a file of what a table took of a batch; ask for Parquet with --output instead'
    case 'enqueue':
      return 'asks for tasks, which a bounded run on Spark does not'
    case 'table':
      return step.mode.is === 'append' && !takesInputRows(plan, step)
        ? 'adds rows without a key, which Spark may write twice when it does a piece of work again; give the table a key'
        : undefined
    case 'window':
      return step.late === 'fail' ? 'is told to stop at a late row, and on Spark none is late' : undefined
    case 'validate':
    case 'select':
    case 'filter':
    case 'pairs':
    case 'total':
    case 'anomalies':
      try {
        stepSql(plan, step)
        return undefined
      } catch (error) {
        if (error instanceof MillraceError && error.code === 'NOT_SUPPORTED')
          return `has what Spark has not: ${error.message}`
        throw error
      }
  }
}

/** `typed`: by source, the columns that need not be read out of texts. Errors: NOT_SUPPORTED. */
export function sparkPlan(plan: Plan, typed: ReadonlyMap<string, ReadonlySet<string>> = new Map()): SparkPlan {
  const [first, ...others] = refusals(plan)
  if (first !== undefined) {
    throw new MillraceError('NOT_SUPPORTED', {
      at: plan.name,
      message: `Spark does not run this plan: ${[first, ...others].join('; ')}`,
      hint: 'run it here: without --engine spark',
    })
  }
  const made: SparkPlan = { views: [], counts: [], deadLetters: [], tables: [] }
  for (const step of plan.steps) {
    if (step.op === 'validate') {
      const checked = checkedName(step.id)
      const [source = ''] = step.from
      made.views.push({ name: checked, select: checkedSql(step, textsName(source), typed.get(source)), kept: false })
      made.counts.push(countsOfRows(plan, step))
      made.deadLetters.push(deadLettersSql(step, checked, reasons))
    }
    if (step.op === 'table') {
      made.tables.push({ step, select: tableSql(plan, step) })
      continue
    }
    made.views.push({ name: viewName(step.id), select: stepSql(plan, step), kept: isKept(plan, step) })
    if (step.op === 'pairs') made.counts.push(countOfPairs(step))
  }
  return made
}

function stepSql(plan: Plan, step: Step): string {
  const input = inputOf(step)
  const columns = columnsAt(plan, step.from[0] ?? '')
  switch (step.op) {
    case 'validate':
      return goodSql(step, checkedName(step.id))
    case 'select': {
      const each = Object.entries(step.select).map(
        ([name, expression]) => `  ${printSpark(expression, columns)} as ${sparkName(name)}`,
      )
      return `select\n${[...timeOf(plan, step.from[0] ?? ''), ...each].join(',\n')}\nfrom ${input}`
    }
    case 'filter':
      return `select *\nfrom ${input}\nwhere ${printSpark(step.where, columns)}`
    case 'pairs':
      return pairsSql(step, columns, input, (name) => isEventTime(plan, step.from[0] ?? '', name))
    case 'total':
      return totalSql(step, columns, input)
    case 'window':
      return windowSql(
        step,
        step.from.map((from) => ({ relation: viewName(from), columns: columnsAt(plan, from) })),
      )
    case 'anomalies':
      return anomaliesSql(step, input)
    case 'dedup':
    case 'table':
    case 'topic':
    case 'files':
    case 'enqueue':
      throw new MillraceError('NOT_SUPPORTED', { message: `Spark runs no step of the kind ${step.op}` })
  }
}

function totalSql(step: Step & { op: 'total' }, columns: Column[], input: string): string {
  return groupedSql(step.by, step.aggregates, columns, input)
}

// Of the rows of one key, the table takes one: the first there is no telling, for Spark's rows have no order. It is the
// one with the smallest event time, and of those the one whose values have the smallest hash.
function tableSql(plan: Plan, step: TableStep): string {
  const input = inputOf(step)
  const names = step.columns.map(({ name }) => sparkName(name))
  if (step.mode.is === 'append') return `select ${names.join(', ')}, monotonically_increasing_id() as _n\nfrom ${input}`
  if (!takesInputRows(plan, step)) return `select ${names.join(', ')}\nfrom ${input}`
  const order = [
    ...timeOf(plan, step.from[0] ?? '').map((name) => name.trim()),
    `md5(to_json(struct(${names.join(', ')})))`,
  ]
  const direction = step.mode.is === 'upsert' ? ' desc' : ''
  const key = step.mode.key.map((name) => sparkName(name)).join(', ')
  return `select ${names.join(', ')}
from (
  select *, row_number() over (partition by ${key} order by ${order.map((each) => `${each}${direction}`).join(', ')}) as _nth
  from ${input}
)
where _nth = 1`
}

// ---- the books -----------------------------------------------------------------------------------------------------

// In one reading of the files: rows, dead letters, what the filter right behind them lets go, and events of pairs.
function countsOfRows(plan: Plan, step: ValidateStep): SparkPlan['counts'][number] {
  const filters = plan.steps.filter(
    (each) => each.op === 'filter' && takesInputRows(plan, each) && isBehind(plan, each, step),
  )
  const [filter] = filters
  if (filters.length > 1 || (filter !== undefined && filter.from[0] !== step.id)) {
    throw new MillraceError('NOT_SUPPORTED', {
      at: `${plan.name} / ${filter?.id}`,
      message: 'on Spark rows are filtered once, right behind their validation',
      hint: 'let one filter say all of it',
    })
  }
  const numbers = ['count(*) as rows_in', 'count_if(_failed is not null) as dead']
  const of: SparkPlan['counts'][number]['of'] = ['rows_in', 'dead']
  let passes = '_failed is null'
  if (filter?.op === 'filter') {
    const where = `coalesce(${printSpark(filter.where, step.columns)}, false)`
    numbers.push(`count_if(${passes} and not ${where}) as filtered`)
    of.push('filtered')
    passes = `${passes} and ${where}`
  }
  const pairs = plan.steps.find(
    (each) => each.op === 'pairs' && takesInputRows(plan, each) && isBehind(plan, each, step),
  )
  if (pairs?.op === 'pairs') {
    numbers.push(`count_if(${passes} and ${isEventSql(asValidated(plan, pairs), step.columns)}) as events`)
    of.push('events')
  }
  return { select: `select ${numbers.join(', ')} from ${checkedName(step.id)}`, of }
}

// A step's open and close over the columns of validation, whatever selects made of those before it.
function asValidated(plan: Plan, step: PairsStep): PairsStep {
  const before = (expression: Expression): Expression =>
    replaced(expression, (column) => atValidation(plan, step.from[0] ?? '', column))
  return {
    ...step,
    open: before(step.open),
    ...(step.close === undefined ? {} : { close: before(step.close) }),
  }
}

// An event stands in a row of its own, or is the close of the open in another's.
function countOfPairs(step: PairsStep): SparkPlan['counts'][number] {
  const closes = step.close === undefined ? '' : ` + count_if(outcome = 'paired')`
  return { select: `select count(*)${closes} as kept_events from ${viewName(step.id)}`, of: ['kept_events'] }
}

function isBehind(plan: Plan, step: Step, before: Step): boolean {
  return step.from.some((from) => {
    const found = plan.steps.find(({ id }) => id === from)
    return found !== undefined && (found === before || isBehind(plan, found, before))
  })
}

function isKept(plan: Plan, step: Step): boolean {
  // the books ask for pairs once more
  return makesRows(step) && readings(plan, step) + (step.op === 'pairs' ? 1 : 0) > 1
}

// How often a step is computed when nothing is kept.
function readings(plan: Plan, { id }: Step): number {
  return plan.steps
    .filter(({ from }) => from.includes(id))
    .reduce((sum, next) => {
      if (next.op === 'table') return sum + 1
      return sum + readings(plan, next) * (next.op === 'anomalies' ? next.of.length : 1)
    }, 0)
}

// ---- small parts ---------------------------------------------------------------------------------------------------

function inputOf(step: Step): string {
  return viewName(step.from[0] ?? '')
}

function columnsAt(plan: Plan, id: string): Column[] {
  return plan.steps.find((step) => step.id === id)?.columns ?? plan.sources[id]?.columns ?? []
}

function timeOf(plan: Plan, id: string): string[] {
  const step = plan.steps.find((candidate) => candidate.id === id)
  if (step === undefined || makesRows(step)) return []
  if (step.op === 'validate') return step.eventTime === undefined ? [] : ['  _time']
  return timeOf(plan, step.from[0] ?? '')
}

/** A literal that stands for files that are not known yet, for `explain`. */
export const someFiles = sparkText('<input>')
