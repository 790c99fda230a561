/**
 * The story of a batch, top to bottom: stage the bytes of a range, part good rows from bad, let the operators work,
 * commit. Staging and the steps that need nothing but the batch run while the batch before is being committed.
 */
import { join } from 'node:path'
import { MillraceError } from '../errors.ts'
import { failpoint } from '../failpoint.ts'
import { keyedName, seenName } from '../operators/dedup.ts'
import { checkedName, deadLettersSql, failuresOf, uncheckedSql } from '../operators/validate.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import { type DedupStep, type FilesStep, isSink, type Plan, type Step, type TableStep } from '../plan/plan.ts'
import {
  copySql,
  keyHashSql,
  keyTooLongName,
  knownName,
  numberedSql,
  quotedColumns,
  refusedName,
} from '../sinks/table.ts'
import type { Range } from '../sources/source.ts'
import {
  type BatchKind,
  type CommitOutcome,
  deadLetterColumns,
  type RefusedRow,
  RowsRefused,
  type SinkOutcome,
  type Store,
  type Verdicts,
} from '../store/store.ts'
import { branches, countVerdicts, landedSql, settleVerdicts } from './books.ts'
import type { DuckSession } from './duckdb.ts'
import { fileSinks, writePending } from './file-sink.ts'
import { KeyFilter } from './key-filter.ts'
import { createSql, isStateless, type Names, relationNames, relationsOf, stepsAfter } from './relations.ts'
import { type Printed, printRows } from './row-file.ts'

/** What a batch needs of the worker that runs it. */
export interface BatchTools {
  plan: Plan
  store: Store
  /** A DuckDB connection for this half of the work. */
  session: DuckSession
  /** Where rows pass between DuckDB and Postgres. */
  spool: string
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
  /** As far as DuckDB knows them; what the store finds there already comes in the commit. */
  verdicts: Verdicts | undefined
  release(session: DuckSession): Promise<void>
}

/** Stages a range and runs every step that needs nothing but the batch. */
export async function stageBatch(tools: BatchTools, number: number, range: Range, startedAt: Date): Promise<Batch> {
  const { plan, session } = tools
  const names = relationNames(plan, number)
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
    verdicts: undefined,
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
  if (batch.verdicts === undefined) await runSteps(tools, batch, () => true)
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
      await runWithout(tools, batch, error.rows)
    }
  }
}

async function commitAll(tools: BatchTools, batch: Batch, epoch: number, kind: BatchKind): Promise<CommitOutcome> {
  const { plan, session, store } = tools
  const ordinals = branches(plan)
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
    phases: Object.fromEntries(Object.entries(batch.phases).map(([phase, ms]) => [phase, Math.round(ms)])),
    books: async (outcomes) => {
      for (const step of fileSinks(plan)) {
        const rows = fileRowsSql(batch, step, outcomes)
        await writePending(session, tools.spool, plan, step, { rows, epoch, number: batch.number })
      }
      return await settleVerdicts(session, plan, batch.names, batch.range, batch.verdicts, outcomes)
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
      await timed(batch, 'operate', () => session.run(createSql(relation).replace(/^create /, 'create or replace ')))
      if (step.op === 'table' && relation.name === keyTooLongName(batch.names.of(step.id)))
        await timed(batch, 'keys', () => findKnownKeys(tools, batch, step))
      if (step.op === 'dedup' && relation.name === keyedName(batch.names.of(step.id)))
        await timed(batch, 'keys', () => fetchSeenKeys(tools, batch, step))
    }
    if (step.op === 'table') batch.sinks.push(await timed(batch, 'print', () => printSink(tools, batch, step)))
    batch.done.add(step.id)
  }
  if (batch.done.size < plan.steps.length) return
  if (await passDedupAgain(tools, batch)) return await runSteps(tools, batch, () => true)
  batch.deadLetters = await timed(batch, 'letters', () => printDeadLetters(tools, batch))
  batch.dedupKeys = await timed(batch, 'print', () => printDedupKeys(tools, batch))
  batch.verdicts = await timed(batch, 'books', () => countVerdicts(session, plan, batch.names, batch.range, []))
}

// Rows whose key this worker may have seen before, in this batch or an earlier one, must be merged, in their order; all
// others are likely new.
async function findKnownKeys(tools: BatchTools, batch: Batch, step: TableStep): Promise<void> {
  if (step.mode.is !== 'insert if new') return
  const { session, filters } = tools
  const filter = filters.get(step.id) ?? new KeyFilter()
  filters.set(step.id, filter)
  const known = new Set<number>()
  const keys = await session.numbers(`select ${keyHashSql(step.mode.key)} from ${batch.names.into(step)}`)
  for (const key of keys) if (filter.add(key)) known.add(key)
  await session.run(
    `create or replace table ${knownName(batch.names.of(step.id))} as
select unnest(string_split(${sqlText([...known].join(','))}, ',')::double[]) as key where ${known.size > 0}`,
  )
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

// Which of the batch's keys earlier batches have seen: the only part of the state that this batch needs.
async function fetchSeenKeys(tools: BatchTools, batch: Batch, step: DedupStep): Promise<void> {
  const { session, store, plan } = tools
  const out = batch.names.of(step.id)
  const name = `${batch.number}-${plan.steps.indexOf(step)}`
  const keys = await printRows(session, tools.spool, `${name}-wanted`, {
    select: `select distinct _key from ${keyedName(out)}`,
    columns: ['key'],
    quoted: ['_key'],
  })
  const into = join(tools.spool, `${name}-seen.csv`)
  const seen = await store.seenKeys(plan.name, step.id, keys, into)
  await session.run(
    seen === 0
      ? `create or replace table ${seenName(out)} (key varchar)`
      : `create or replace table ${seenName(out)} as
select key
from read_csv(${sqlText(into)}, auto_detect = false, header = false, columns = {'key': 'varchar'}, quote = '"', escape = '"')`,
  )
  await keys.release()
}

async function printDedupKeys(tools: BatchTools, batch: Batch): Promise<Printed | undefined> {
  const { plan, session } = tools
  const steps = plan.steps.filter((step) => step.op === 'dedup')
  if (steps.length === 0) return undefined
  const selects = steps.map((step) => {
    const out = batch.names.of(step.id)
    return `select ${sqlText(step.id)} as step, k._key as key
from ${keyedName(out)} k
where k._row in (select _row from ${out})`
  })
  return await printRows(session, tools.spool, `${batch.number}-keys`, {
    select: selects.join('\nunion all\n'),
    columns: ['step', 'key'],
    quoted: ['step', 'key'],
  })
}

// ---- dead letters --------------------------------------------------------------------------------------------------

async function printDeadLetters(tools: BatchTools, batch: Batch): Promise<Printed | undefined> {
  const { plan, session } = tools
  const selects: string[] = []
  const { fetchRaw } = batch.range
  const rawOf = async (rows: string) => fetchRaw?.(batch.names.staged, rows)
  if (batch.range.malformedSelect !== undefined) selects.push(batch.range.malformedSelect)
  for (const step of plan.steps) {
    if (step.op === 'validate' && failuresOf(step).length > 0) {
      await rawOf(`select _row from ${batch.names.staged} where _failed is not null`)
      const letters = deadLettersSql(step, batch.names.staged, { source: step.from[0] ?? '', ...batch.range.where })
      selects.push(`select ${deadLetterColumns.join(', ')} from (\n${letters}\n)`)
    }
    if (step.op === 'table' && step.mode.is !== 'append') {
      const long = keyTooLongName(batch.names.of(step.id))
      if ((await session.count(long)) > 0) {
        await rawOf(`select _row from ${long}`)
        selects.push(unfitSql(plan, batch, step, keyTooLongSql(step, long)))
      }
    }
    if (step.op === 'table' && batch.names.refused.has(step.id)) {
      const refused = refusedName(batch.names.of(step.id))
      await rawOf(`select _row from ${refused}`)
      selects.push(unfitSql(plan, batch, step, `select * from ${refused}`))
    }
  }
  if (selects.length === 0) return undefined
  const printed = await printRows(session, tools.spool, `${batch.number}-dead`, {
    select: `select ${deadLetterColumns.join(', ')}\nfrom (\n${selects.join('\nunion all by name\n')}\n)${batch.range.long ? '' : '\norder by place, line'}`,
    columns: [...deadLetterColumns],
    quoted: ['source', 'place', 'stage', 'code', 'column_name', 'message', 'raw', 'raw_bytes', 'fields'],
  })
  if (printed.rows > 0) return printed
  await printed.release()
  return undefined
}

// The dead letters of rows that a table cannot take, of which a select says `_row`, `code`, `column_name` and `message`.
function unfitSql(plan: Plan, batch: Batch, step: TableStep, rows: string): string {
  const { where } = batch.range
  return `select
  ${sqlText(Object.keys(plan.sources)[0] ?? '')} as source,
  ${where.place} as place,
  ${where.line} as line,
  ${sqlText(step.id)} as stage,
  l.code,
  l.column_name,
  l.message,
  ${where.rawText} as raw,
  null as raw_bytes,
  ${fieldsSql(plan)} as fields
from (${rows}) l
join ${batch.names.staged} s using (_row)
${where.join}`
}

function keyTooLongSql(step: TableStep, long: string): string {
  const key = step.mode.is === 'append' ? [] : step.mode.key
  return `select
  _row,
  'KEY_TOO_LONG' as code,
  ${sqlText(key[0] ?? '')} as column_name,
  'the key (${key.join(', ').replaceAll("'", "''")}) has ' || _key_bytes || ' bytes; an index holds 2600' as message
from ${long}`
}

function fieldsSql(plan: Plan): string {
  const columns = Object.values(plan.sources)[0]?.columns ?? []
  return `json_object(${columns.map(({ name }) => `${sqlText(name)}, s.${identifier(name)}`).join(', ')})`
}

// ---- rows that a table does not take -------------------------------------------------------------------------------

// Runs the steps again without the rows that the database has refused.
async function runWithout(tools: BatchTools, batch: Batch, rows: RefusedRow[]): Promise<void> {
  const { plan } = tools
  for (const step of plan.steps) {
    const own = rows.filter((row) => row.step === step.id)
    for (let i = 0; i < own.length; i += refusedAtOnce) {
      const some = own.slice(i, i + refusedAtOnce)
      const says = some.map(({ sqlState, message }) => sqlText(`Postgres refused the row (${sqlState}): ${message}`))
      await refuse(
        tools,
        batch,
        step,
        `select n._row, 'REFUSED' as code, null as column_name, r.message
from (${numberedSql(batch.names.of(step.id))}) n
join (
  select unnest([${some.map(({ ordinal }) => ordinal).join(', ')}]) as ordinal, unnest([${says.join(', ')}]) as message
) r using (ordinal)`,
      )
    }
  }
  await startAgain(batch)
  await runSteps(tools, batch, () => true)
}

const refusedAtOnce = 5000

async function refuse({ session }: BatchTools, { names }: Batch, { id }: Step, rows: string): Promise<void> {
  const refused = refusedName(names.of(id))
  await session.run(
    `create table if not exists ${refused} (_row bigint, code varchar, column_name varchar, message varchar)`,
  )
  await session.run(`insert into ${refused} ${rows}`)
  names.refused.add(id)
}

// A row that no table after a dedup step takes is not the one that has passed it: the next one of its key is. Answers
// whether there were such, and then everything has to be run again. The last step comes first: what it lets pass then may
// be taken after all.
async function passDedupAgain(tools: BatchTools, batch: Batch): Promise<boolean> {
  const { plan, session } = tools
  const { names } = batch
  for (const step of plan.steps.toReversed()) {
    if (step.op !== 'dedup') continue
    const lost: string[] = []
    const going: string[] = []
    let found = false
    for (const sink of stepsAfter(plan, step.id).filter(isSink)) {
      const out = names.of(sink.id)
      // it writes what a table has taken
      if (sink.op === 'files' && sink.landedIn !== undefined) continue
      if (sink.op === 'table' && sink.mode.is !== 'append' && (await session.count(keyTooLongName(out))) > 0) {
        await refuse(tools, batch, sink, keyTooLongSql(sink, keyTooLongName(out)))
        found = true
      }
      if (names.refused.has(sink.id)) lost.push(`select _row from ${refusedName(out)}`)
      going.push(`select _row from ${names.into(sink)}`)
    }
    if (lost.length === 0) continue
    const left = `_row in (select _row from ${names.of(step.id)}) and _row not in (${going.join(' union all ')})`
    const rows = `select distinct _row from (${lost.join(' union all ')}) where ${left}`
    if ((await session.count(`(${rows})`)) > 0) {
      await refuse(tools, batch, step, `select _row, null, null, null from (${rows})`)
      found = true
    }
    if (!found) continue
    await startAgain(batch)
    return true
  }
  return false
}

async function startAgain(batch: Batch): Promise<void> {
  await releasePrinted(batch)
  batch.done.clear()
  batch.sinks = []
  batch.deadLetters = undefined
  batch.dedupKeys = undefined
  batch.verdicts = undefined
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
