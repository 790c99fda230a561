/**
 * What a stream does on Spark of a plan, as SQL: each row of a source is read, validated and filtered, and goes on as one
 * row that says what became of it: the texts of a good one, a mark of one that is filtered, the letter of a dead one.
 */
import { MillraceError } from '../errors.ts'
import { printSpark } from '../functions/print-spark.ts'
import { sparkName } from '../functions/spark-type.ts'
import { reasons } from '../operators/validate.ts'
import type { FilterStep, Plan, Source, ValidateStep } from '../plan/plan.ts'
import { checkedName, type SparkView, textsName } from './plan-sql.ts'
import { type SparkInput, textsSql } from './source-sql.ts'
import { checkedSql, letterColumns, origin, sparkFailures, storableRaw, textOf } from './validate.ts'

/** Beside the columns of the source, in the files that Spark writes. */
export const streamed = {
  verdict: '_verdict',
  place: '_place',
  partition: '_partition',
  raw: '_raw',
  /** Before the columns of a dead letter. */
  letter: '_letter_',
} as const

export const verdicts = { good: 0, filtered: 1, dead: 2 } as const

/** The partition of rows that came in files: a folder is one. */
export const filesPartition = 'files'

export interface Prefix {
  views: Pick<SparkView, 'name' | 'select'>[]
  select: string
}

/** Messages of a topic. */
export function messagesOf(id: string): SparkInput {
  return { source: id, format: { is: 'json lines' }, paths: [], messages: true }
}

/** `lines` is the view of what is read. */
export function prefixOf(plan: Plan, id: string, source: Source, input: SparkInput, lines: string): Prefix {
  const step = validationOf(plan, id)
  return {
    views: [
      // the batch that a row comes in is known where it is taken
      { name: textsName(id), select: textsSql(source, input, lines, '') },
      { name: checkedName(step.id), select: checkedSql(step, textsName(id)) },
    ],
    select: rowsSql(plan, step, input.messages === true),
  }
}

function rowsSql(plan: Plan, step: ValidateStep, messages: boolean): string {
  const filter = filterThere(plan, step)
  const passes = filter === undefined ? 'true' : `coalesce(${printSpark(filter.where, step.columns)}, false)`
  const partition = messages ? `split_part(${origin.file}, '/', -2)` : `'${filesPartition}'`
  const columns = step.columns.map(
    ({ name }) => `if(_is_good, ${textOf(step, name)}, cast(null as string)) as ${sparkName(name)}`,
  )
  const letter = letterColumns(step, reasons)
    .filter(({ name }) => !told.includes(name))
    .map(({ name, value }) => `if(_failed is null, cast(null as string), ${value}) as ${streamed.letter}${name}`)
  return `select
  case when _failed is not null then ${verdicts.dead} when _is_good then ${verdicts.good} else ${verdicts.filtered} end as ${streamed.verdict},
  ${origin.file} as ${streamed.place},
  ${partition} as ${streamed.partition},
  if(_failed is null and not _is_good, cast(null as string), ${storableRaw}) as ${streamed.raw},
  ${[...columns, ...letter].join(',\n  ')}
from (
  select *, _failed is null and ${passes} as _is_good
  from ${checkedName(step.id)}
)`
}

/** Columns of a dead letter that every row has, or that are the same in all. */
const told = ['source', 'place', 'line', 'raw']

export function validationOf(plan: Plan, source: string): ValidateStep {
  const step = plan.steps.find((each): each is ValidateStep => each.op === 'validate' && each.from.includes(source))
  if (step === undefined) throw new Error(`nothing reads ${source}`)
  return step
}

/** The filter that every row takes right behind its validation, if there is one, and Spark can do it. */
export function filterThere(plan: Plan, { id, columns }: ValidateStep): FilterStep | undefined {
  const [next, ...others] = plan.steps.filter(({ from }) => from.includes(id))
  if (next?.op !== 'filter' || others.length > 0) return undefined
  return whyNotPrinted(() => printSpark(next.where, columns)) === undefined ? next : undefined
}

/** What of a validation Spark has not; undefined when it has all of it. */
export function whyNotValidated(step: ValidateStep): string | undefined {
  return whyNotPrinted(() => sparkFailures(step))
}

function whyNotPrinted(print: () => unknown): string | undefined {
  try {
    print()
    return undefined
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'NOT_SUPPORTED') return error.message
    throw error
  }
}
