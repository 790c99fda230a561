/**
 * The story of a batch, top to bottom: stage the bytes of a range, part good rows from bad, let the operators work,
 * commit. Staging and the steps that need nothing but the batch run while the batch before is being committed.
 */
import { MillraceError } from '../errors.ts'
import { failpoint } from '../failpoint.ts'
import { keyedName } from '../operators/dedup.ts'
import { checkedName, uncheckedSql } from '../operators/validate.ts'
import type { FilesStep, Plan, Step, TableStep } from '../plan/plan.ts'
import { copySql, keyTooLongName, quotedColumns } from '../sinks/table.ts'
import type { Range } from '../sources/source.ts'
import { type BatchKind, type CommitOutcome, RowsRefused, type SinkOutcome, type Store } from '../store/store.ts'
import { branches, type Counted, countBatch, landedSql, settleVerdicts } from './books.ts'
import type { DuckSession } from './duckdb.ts'
import { fileSinks, writePending } from './file-sink.ts'
import type { KeyFilter } from './key-filter.ts'
import { fetchSeenKeys, findKnownKeys, printDedupKeys } from './keys.ts'
import { printDeadLetters } from './print-letters.ts'
import { passDedupAgain, takeOut } from './refused-rows.ts'
import { createSql, isStateless, type Names, relationNames, relationsOf, replaceSql } from './relations.ts'
import { type Printed, printRows } from './row-file.ts'

/** What a batch needs of the worker that runs it. */
export interface BatchTools {
  plan: Plan
  store: Store
  /** A DuckDB connection for this half of the work. */
  session: DuckSession
  /** Where rows pass between DuckDB and Postgres. */
  spool: string
  /** Keeps the relations of a dry run apart from those of workers and of others. */
  apart?: string
  /** What this worker has written to each table, by step. */
  filters: Map<string, KeyFilter>
}

export interface Batch {
  number: number
  range: Range
  names: Names
  startedAt: Date
  phases: Record<string, number>
  /** Steps that have run. */
  done: Set<string>
  sinks: { step: TableStep; rows: Printed; fresh: Printed | undefined }[]
  deadLetters: Printed | undefined
  dedupKeys: Printed | undefined
  /** When every step has run. What the store finds there already comes in the commit. */
  counted: Counted | undefined
  release(session: DuckSession): Promise<void>
}

/** Stages a range and runs every step that needs nothing but the batch. */
export async function stageBatch(tools: BatchTools, number: number, range: Range, startedAt: Date): Promise<Batch> {
  const { plan, session } = tools
  const names = relationNames(plan, tools.apart === undefined ? number : `${tools.apart} ${number}`)
  const batch: Batch = {
    number,
    range,
    names,
    startedAt,
    phases: { ...range.phases },
    done: new Set(),
    sinks: [],
    deadLetters: undefined,
    dedupKeys: undefined,
    counted: undefined,
    async release(by) {
      await releasePrinted(batch)
      await by.run(`drop schema if exists ${names.schema} cascade`)
      await range.release()
    },
  }
  try {
    await timed(batch, 'read', async () => {
      // an attempt before this one may have failed half way
      await session.run(`drop schema if exists ${names.schema} cascade`)
      await session.run(`create schema ${names.schema}`)
      await stageRows(tools, batch)
    })
    await failpoint('staged')
    await runSteps(tools, batch, (step) => isStateless(step))
    await failpoint('validated')
    return batch
  } catch (error) {
    // nobody else knows of it yet
    await batch.release(session).catch(() => {})
    throw error
  }
}

/** Runs the steps that need stored state, once the batch before is committed. */
export async function operateBatch(tools: BatchTools, batch: Batch): Promise<void> {
  if (batch.counted === undefined) await runSteps(tools, batch, () => true)
}

/**
 * Commits a batch, without the rows that the database refuses; it can be called again with another epoch when the
 * database failed.
 */
export async function commitBatch(
  tools: BatchTools,
  batch: Batch,
  epoch: number,
  kind: BatchKind,
): Promise<CommitOutcome> {
  for (;;) {
    try {
      return await commitAll(tools, batch, epoch, kind)
    } catch (error) {
      if (!(error instanceof RowsRefused)) throw error
      await takeOut(tools, batch, error.rows)
      await startAgain(tools, batch)
    }
  }
}

async function commitAll(tools: BatchTools, batch: Batch, epoch: number, kind: BatchKind): Promise<CommitOutcome> {
  const { plan, session, store } = tools
  const ordinals = branches(plan)
  const { counted } = batch
  if (counted === undefined)
    throw new MillraceError('INVALID_PLAN', { message: 'a batch is committed after its steps have run' })
  return await store.commit({
    pipeline: plan.name,
    epoch,
    batch: batch.number,
    kind,
    startedAt: batch.startedAt,
    sinks: batch.sinks.map(({ step, rows, fresh }) => ({
      step,
      rows,
      ...(fresh ? { fresh } : {}),
      ordinals,
    })),
    deadLetters: batch.deadLetters,
    dedupKeys: batch.dedupKeys,
    files: batch.range.files,
    positions: batch.range.positions,
    filesQuarantined: batch.range.filesQuarantined,
    ranges: batch.range.ranges,
    settles: batch.range.settles,
    stepRows: counted.stepRows,
    phases: Object.fromEntries(Object.entries(batch.phases).map(([phase, ms]) => [phase, Math.round(ms)])),
    books: async (outcomes) => {
      for (const step of fileSinks(plan)) {
        const rows = fileRowsSql(batch, step, outcomes)
        await writePending(session, tools.spool, plan, step, { rows, epoch, number: batch.number })
      }
      return await settleVerdicts(session, plan, batch.names, batch.range, counted.verdicts, outcomes)
    },
  })
}

function fileRowsSql({ names }: Batch, step: FilesStep, outcomes: SinkOutcome[]): string {
  const all = `select * from ${names.into(step)}`
  if (step.landedIn === undefined) return all
  const outcome = outcomes.find((candidate) => candidate.step === step.landedIn)
  return `${all}\nwhere _row in (${landedSql(names.of(step.landedIn), outcome)})`
}

// The rows are checked as they are read: they lie in memory once, with their texts and their values.
async function stageRows({ plan, session }: BatchTools, { names, range, number }: Batch): Promise<void> {
  const rows = range.select(number)
  const step = plan.steps.find(({ op }) => op === 'validate')
  if (step?.op !== 'validate') throw new MillraceError('INVALID_PLAN', { message: 'nothing reads the source' })
  const [checked] = relationsOf(plan, step, { ...names, into: () => `(\n${rows}\n)` })
  if (checked !== undefined) await session.run(createSql(checked))
  await session.run(`create view ${names.staged} as\n${uncheckedSql(step, names.of(step.id))}`)
}

async function runSteps(tools: BatchTools, batch: Batch, ready: (step: Step) => boolean): Promise<void> {
  const { plan, session } = tools
  for (const step of plan.steps) {
    if (batch.done.has(step.id)) continue
    const fed = step.from.every((id) => batch.done.has(id) || Object.hasOwn(plan.sources, id))
    if (!fed || !ready(step)) continue
    for (const relation of relationsOf(plan, step, batch.names)) {
      // it was made when the rows were staged
      if (relation.name === checkedName(batch.names.of(step.id))) continue
      await timed(batch, 'operate', () => session.run(replaceSql(relation)))
      if (step.op === 'table' && relation.name === keyTooLongName(batch.names.of(step.id)))
        await timed(batch, 'keys', () => findKnownKeys(tools, batch, step))
      if (step.op === 'dedup' && relation.name === keyedName(batch.names.of(step.id)))
        await timed(batch, 'keys', () => fetchSeenKeys(tools, batch, step))
    }
    if (step.op === 'table') batch.sinks.push(await timed(batch, 'print', () => printSink(tools, batch, step)))
    batch.done.add(step.id)
  }
  if (batch.done.size < plan.steps.length) return
  if (await passDedupAgain(tools, batch)) return await startAgain(tools, batch)
  batch.deadLetters = await timed(batch, 'letters', () => printDeadLetters(tools, batch))
  batch.dedupKeys = await timed(batch, 'print', () => printDedupKeys(tools, batch))
  batch.counted = await timed(batch, 'books', () => countBatch(session, plan, batch.names, batch.range))
}

async function printSink(tools: BatchTools, batch: Batch, step: TableStep): Promise<Batch['sinks'][number]> {
  const { plan, session, spool } = tools
  const print = (known: boolean): Promise<Printed> =>
    printRows(session, spool, `${batch.number}-${plan.steps.indexOf(step)}-${known ? 'known' : 'fresh'}`, {
      select: copySql(step, batch.names.of(step.id), known),
      columns: step.columns.map(({ name }) => name),
      quoted: quotedColumns(step),
    })
  switch (step.mode.is) {
    case 'append':
      return { step, rows: await print(false), fresh: undefined }
    case 'upsert':
      return { step, rows: await print(true), fresh: undefined }
    case 'insert if new':
      return { step, rows: await print(true), fresh: await print(false) }
  }
}

async function startAgain(tools: BatchTools, batch: Batch): Promise<void> {
  await releasePrinted(batch)
  batch.done.clear()
  batch.sinks = []
  batch.deadLetters = undefined
  batch.dedupKeys = undefined
  batch.counted = undefined
  await runSteps(tools, batch, () => true)
}

async function releasePrinted({ sinks, deadLetters, dedupKeys }: Batch): Promise<void> {
  for (const printed of [...sinks.flatMap(({ rows, fresh }) => [rows, fresh]), deadLetters, dedupKeys])
    await printed?.release()
}

async function timed<T>(batch: Batch, phase: string, work: () => Promise<T>): Promise<T> {
  const start = performance.now()
  try {
    return await work()
  } finally {
    batch.phases[phase] = (batch.phases[phase] ?? 0) + performance.now() - start
  }
}
