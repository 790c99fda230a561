/**
 * The books of a batch: every input row gets one verdict, at the first step that gives one; a row that any branch took
 * is written. The numbers are counted where the rows are, so that the sum is a check and not a definition.
 */
import { eventsName, repeatsName } from '../operators/pairs.ts'
import { lateName, unfitName } from '../operators/window.ts'
import {
  isChanging,
  isSink,
  makesRows,
  type Plan,
  type Step,
  type TableStep,
  takesInputRows,
  type WindowStep,
} from '../plan/plan.ts'
import { keyTooLongName, numberedSql, refusedName, uniqueName } from '../sinks/table.ts'
import type { Range } from '../sources/source.ts'
import type { SinkOutcome, Verdicts } from '../store/store.ts'
import type { Batch } from './batch.ts'
import type { DuckSession } from './duckdb.ts'
import { countRows } from './printing.ts'
import { isFed, type Names } from './relations.ts'

export interface Counted {
  /** As far as DuckDB knows them. */
  verdicts: Verdicts
  /** How many rows each step hands on; a table does so too, with what it is sent. */
  stepRows: Record<string, number>
}

/** How many rows a relation of the batch has. DuckDB has said it of each table that it made. */
export async function rowsOf(session: DuckSession, batch: Batch, relation: string): Promise<number> {
  const { made, counts } = batch
  const known = made.get(relation) ?? counts.get(relation)
  if (known !== undefined) return known
  const [rows = 0] = await countRows(session, [relation])
  counts.set(relation, rows)
  return rows
}

/** The relations of which it has to be known, and is not yet, how many rows they have once all steps have run. */
export function toCount(batch: Batch): string[] {
  const { plan, names } = batch
  const relations = plan.steps.flatMap((step) => {
    const out = names.of(step.id)
    const own = [handedOn(step, plan, names)]
    if (step.op === 'validate') own.push(failedRows(names))
    if (step.op === 'window') {
      own.push(lateName(out), unfitName(out))
      if (batch.range.source !== undefined && !branches(plan)) own.push(windowRows(plan, step, names))
    }
    if (step.op === 'pairs') own.push(lateName(out), ...(isFed(plan, step) ? [eventsName(out), repeatsName(out)] : []))
    if (step.op === 'table' && step.mode.is !== 'append') own.push(keyTooLongName(out))
    return own
  })
  const { made, counts } = batch
  return [...new Set(relations)].filter((relation) => !made.has(relation) && !counts.has(relation))
}

/** Rows that have broken a rule, to stand after `from`. */
export function failedRows({ staged }: Names): string {
  return `${staged} where _failed is not null`
}

/** Whether a table may lose rows by the batch. */
export function deletes({ plan, time }: Batch, { from: [from = ''], mode }: TableStep): boolean {
  return mode.is === 'upsert' && isChanging(plan, from) && !time.atOnce
}

/**
 * A relation with as many rows as a step hands on: some leave none of their own behind, or only write its rows anew, and hand
 * on what they take.
 */
export function handedOn(step: Step, plan: Plan, names: Names): string {
  if (!makesNothing(step) && step.op !== 'select') return names.of(step.id)
  const before = plan.steps.find(({ id }) => id === step.from[0])
  return before === undefined || names.refused.has(step.id) ? names.into(step) : handedOn(before, plan, names)
}

/** `judgedLater`: so many of its rows are left for another batch, whose books they are in. */
export async function countBatch(session: DuckSession, batch: Batch, judgedLater: number): Promise<Counted> {
  const { plan, names, range } = batch
  const count = async (relation: string): Promise<number> => await rowsOf(session, batch, relation)
  const stepRows: Record<string, number> = {}
  for (const step of plan.steps) {
    const rows = await count(handedOn(step, plan, names))
    stepRows[step.id] = rows
    // what one step hands on is what the next one takes: each relation is counted once
    batch.counts.set(names.of(step.id), rows)
  }
  const verdicts = branches(plan)
    ? await countBranches(session, plan, names, range, [])
    : await countInLine(count, plan, names, range)
  return { verdicts: { ...verdicts, rowsIn: verdicts.rowsIn - judgedLater }, stepRows }
}

async function countBranches(
  session: DuckSession,
  plan: Plan,
  names: Names,
  range: Range,
  outcomes: SinkOutcome[],
): Promise<Verdicts> {
  const sinks = plan.steps.filter((step): step is TableStep => step.op === 'table' && takesInputRows(plan, step))
  const rowsIn = rowsOfRange(range)
  if (rowsIn === 0) return { rowsIn, written: 0, filtered: 0, duplicates: 0, late: 0, dead: 0 }

  const taken: string[] = []
  const dropped: string[] = []
  plan.steps.forEach((step, i) => {
    const out = names.of(step.id)
    const missing = (verdict: string) =>
      dropped.push(
        `select _row, ${i} as step, '${verdict}' as verdict from ${names.into(step)} where _row not in (select _row from ${out})`,
      )
    if (!takesInputRows(plan, step)) return
    if (step.op === 'window') {
      dropped.push(`select _row, ${i} as step, 'late' as verdict from ${lateName(out)}`)
      dropped.push(`select _row, ${i} as step, 'dead' as verdict from ${unfitName(out)}`)
      taken.push(
        `select _row from (${windowInput(plan, step, names)}) where _row not in (select _row from ${lateName(out)}) and _row not in (select _row from ${unfitName(out)})`,
      )
      return
    }
    if (step.op === 'pairs') {
      if (!isFed(plan, step)) return
      const [events, repeats] = [eventsName(out), repeatsName(out)]
      dropped.push(`select _row, ${i} as step, 'late' as verdict from ${lateName(out)}`)
      dropped.push(`select _row, ${i} as step, 'duplicates' as verdict from ${repeats}`)
      dropped.push(
        `select _row, ${i} as step, 'filtered' as verdict from ${names.into(step)} where _row not in (select _row from ${events})`,
      )
      taken.push(
        `select _row from ${events} where _row not in (select _row from ${lateName(out)}) and _row not in (select _row from ${repeats})`,
      )
      return
    }
    if (step.op === 'total') {
      taken.push(`select _row from ${names.into(step)}`)
      return
    }
    if (names.refused.has(step.id))
      dropped.push(`select _row, ${i} as step, 'dead' as verdict from ${refusedName(out)}`)
    if (step.op === 'validate') missing('dead')
    if (step.op === 'filter') missing('filtered')
    if (step.op === 'dedup') missing('duplicates')
  })
  sinks.forEach((step) => {
    const i = plan.steps.indexOf(step)
    const outcome = outcomes.find((candidate) => candidate.step === step.id)
    const input = names.into(step)
    const out = names.of(step.id)
    if (step.mode.is !== 'append') {
      const long = keyTooLongName(out)
      dropped.push(`select _row, ${i} as step, 'dead' as verdict from ${long}`)
      if (step.mode.is === 'upsert') {
        // of the rows of one key, the last goes on: the others are replaced by it, and so have been taken
        taken.push(
          `select _row from ${input} where _row not in (select _row from ${uniqueName(out)}) and _row not in (select _row from ${long})`,
        )
      }
    }
    const ordinals = outcome?.duplicateOrdinals ?? []
    if (ordinals.length > 0) {
      dropped.push(
        `select _row, ${i} as step, 'duplicates' as verdict from (${numberedSql(out)}) where ordinal in (${ordinals.join(', ')})`,
      )
    }
    taken.push(landedSql(out, outcome))
  })

  for (const step of plan.steps) {
    // to ask for a task says nothing of the row
    if (makesNothing(step) && step.op !== 'enqueue' && !('landedIn' in step) && takesInputRows(plan, step))
      taken.push(`select _row from ${names.of(step.from[0] ?? '')}`)
  }

  const [counted] = await session.rows<Record<'written' | 'filtered' | 'duplicates' | 'late' | 'dead', number>>(`
    with taken as (${taken.length === 0 ? `select _row from ${names.staged} where false` : taken.join('\nunion\n')}),
    dropped as (
      select _row, arg_min(verdict, step) as verdict
      from (${dropped.join('\nunion all\n')})
      where _row not in (select _row from taken)
      group by _row
    )
    select
      (select count(*)::integer from taken) as written,
      count(*) filter (where verdict = 'filtered')::integer as filtered,
      count(*) filter (where verdict = 'duplicates')::integer as duplicates,
      count(*) filter (where verdict = 'late')::integer as late,
      count(*) filter (where verdict = 'dead')::integer as dead
    from dropped`)
  return {
    rowsIn,
    written: 0,
    duplicates: 0,
    late: 0,
    ...counted,
    filtered: (counted?.filtered ?? 0) + (range.filtered ?? 0),
    dead: (counted?.dead ?? 0) + range.malformed,
  }
}

// Without branches a row that does not come out of a step has its verdict there, so it is enough to count.
async function countInLine(
  count: (relation: string) => Promise<number>,
  plan: Plan,
  names: Names,
  range: Range,
): Promise<Verdicts> {
  const verdicts: Verdicts = {
    rowsIn: rowsOfRange(range),
    written: 0,
    filtered: range.filtered ?? 0,
    duplicates: 0,
    late: 0,
    dead: range.malformed,
  }
  if (verdicts.rowsIn === 0) return verdicts
  for (const step of plan.steps) {
    // what comes out of a window has come in before
    if (!takesInputRows(plan, step)) continue
    const [input, out] = [names.into(step), names.of(step.id)]
    if (names.refused.has(step.id)) {
      verdicts.dead += (await count(names.of(step.from[0] ?? ''))) - (await count(input))
    }
    switch (step.op) {
      case 'validate':
        verdicts.dead += await count(failedRows(names))
        break
      case 'filter':
        verdicts.filtered += (await count(input)) - (await count(out))
        break
      case 'dedup':
        verdicts.duplicates += (await count(input)) - (await count(out))
        break
      case 'table': {
        const long = step.mode.is === 'append' ? 0 : await count(keyTooLongName(out))
        verdicts.dead += long
        // a row that another of its key replaces has been taken
        verdicts.written += step.mode.is === 'upsert' ? (await count(input)) - long : await count(out)
        break
      }
      case 'files':
      case 'topic':
        verdicts.written += await count(input)
        break
      case 'window': {
        const [late, unfit] = [await count(lateName(out)), await count(unfitName(out))]
        verdicts.late += late
        verdicts.dead += unfit
        verdicts.written += (await count(windowRows(plan, step, names))) - late - unfit
        break
      }
      case 'pairs': {
        if (!isFed(plan, step)) break
        const [events, late, repeats] = [
          await count(eventsName(out)),
          await count(lateName(out)),
          await count(repeatsName(out)),
        ]
        verdicts.filtered += (await count(input)) - events
        verdicts.late += late
        verdicts.duplicates += repeats
        verdicts.written += events - late - repeats
        break
      }
      case 'total':
        verdicts.written += await count(input)
        break
      case 'select':
      case 'anomalies':
      case 'enqueue':
        break
    }
  }
  return verdicts
}

function rowsOfRange({ rows, malformed, filtered = 0 }: Range): number {
  return rows + malformed + filtered
}

// A sink that leaves no relation behind: its rows are those it reads.
function makesNothing(step: Step): boolean {
  return step.op === 'files' || step.op === 'topic' || step.op === 'enqueue'
}

/** Whether it must be known of each row what a table did with it, because the row has other ways to go. */
export function branches(plan: Plan): boolean {
  const ways = plan.steps.filter(
    (step) => (isSink(step) || makesRows(step)) && step.op !== 'enqueue' && takesInputRows(plan, step),
  )
  const beside = (step: Step) =>
    step.op === 'enqueue' && takesInputRows(plan, step) && !ways.some(({ from }) => from[0] === step.from[0])
  return ways.length > 1 || plan.steps.some(beside)
}

// The rows that a batch has for a window: of one source there may be several inputs.
function windowRows(plan: Plan, step: WindowStep, names: Names): string {
  const [first, ...others] = plan.steps.filter(({ id }) => step.from.includes(id))
  if (first !== undefined && others.length === 0) return handedOn(first, plan, names)
  return `(${windowInput(plan, step, names)})`
}

function windowInput(plan: Plan, step: WindowStep, names: Names): string {
  const present = step.from.filter((from) => plan.steps.some(({ id }) => id === from))
  if (present.length === 0) return `select _row from ${names.staged} where false`
  return present.map((from) => `select _row from ${names.of(from)}`).join(' union ')
}

/** The rows of a sink's file that the store took, as SQL; `outcome` must tell them by ordinal. */
export function landedSql(out: string, outcome: SinkOutcome | undefined): string {
  const duplicates = outcome?.duplicateOrdinals ?? []
  if (duplicates.length === 0) return `select _row from ${out}`
  return `select _row from (${numberedSql(out)}) where ordinal not in (${duplicates.join(', ')})`
}

/** The verdicts once the store has said what it had already. */
export async function settleVerdicts(
  session: DuckSession,
  plan: Plan,
  names: Names,
  range: Range,
  before: Verdicts,
  outcomes: SinkOutcome[],
): Promise<Verdicts> {
  // what a table has of a window already was no row of the input
  const ofInput = outcomes.filter(({ step }) =>
    plan.steps.some((each) => each.id === step && takesInputRows(plan, each)),
  )
  const duplicates = ofInput.reduce((sum, outcome) => sum + outcome.duplicates, 0)
  if (duplicates === 0) return before
  // Where a row has other branches to go, what one sink did not take may be written by another.
  if (branches(plan)) return await countBranches(session, plan, names, range, outcomes)
  return { ...before, written: before.written - duplicates, duplicates: before.duplicates + duplicates }
}
