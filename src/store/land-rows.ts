/** Rows into target tables, within the transaction of their batch. */
import { finished, pipeline as pump } from 'node:stream/promises'
import type pg from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import { identifier } from '../plan/identifier.ts'
import type { TableStep } from '../plan/plan.ts'
import { noteChanged } from './cache-drops.ts'
import { type Client, codeOf, isRowFault, prepared } from './connection.ts'
import { bytesOf } from './csv-rows.ts'
import { mergeSql, stageName } from './merge-sql.ts'
import { refusedRows } from './refused-rows.ts'
import { type CsvRows, type RefusedRow, RowsRefused, type SinkOutcome, type SinkRows } from './store.ts'

/** What a worker learns about its tables while it runs. */
export interface TableHabits {
  /** By sink: batches for which a straight COPY is not tried, because the last tries met keys that were there. */
  skipStraight: Map<string, { batches: number; next: number }>
}

export interface Landing {
  habits: TableHabits
  /** What is kept of rows lies in a cache outside of the processes. */
  sharedCache: boolean
}

/** Throws `RowsRefused` when a table does not take some of them. */
export async function landSinks(client: Client, sinks: SinkRows[], landing: Landing): Promise<SinkOutcome[]> {
  const outcomes: SinkOutcome[] = []
  const refused: RefusedRow[] = []
  for (const sink of sinks) {
    try {
      outcomes.push(await landSink(client, sink, landing))
    } catch (error) {
      if (!isRowFault(error)) throw error
      await client.query('rollback to savepoint rows')
      const rows = await refusedRows(client, sink)
      // taken one by one, nothing is wrong with them
      if (rows.length === 0) throw error
      refused.push(...rows)
    }
  }
  if (refused.length > 0) throw new RowsRefused(refused)
  return outcomes
}

async function landSink(client: Client, sink: SinkRows, { habits, sharedCache }: Landing): Promise<SinkOutcome> {
  const outcome: SinkOutcome = {
    step: sink.step.id,
    inserted: 0,
    updated: 0,
    deleted: 0,
    duplicates: 0,
    duplicateOrdinals: [],
  }
  const { step, rows, fresh, deleted } = sink
  const first = fresh?.rows ?? 0
  if (first + rows.rows + (deleted?.rows ?? 0) === 0) return outcome
  const stage = step.mode.is === 'append' ? undefined : await openStage(client, sink)
  await client.query('savepoint rows')
  if (fresh && first > 0) {
    if (!(await landStraight(client, step, fresh, outcome, habits)))
      await landRows(client, sink, stage, fresh, 0, outcome)
    await noteChanged(client, step, 'more than can be told', sharedCache)
  }
  const note = async (from: string, rows: number) => await noteChanged(client, step, { from, rows }, sharedCache)
  if (rows.rows > 0) await landRows(client, sink, stage, rows, first, outcome, note)
  if (stage && deleted && deleted.rows > 0) outcome.deleted += await deleteRows(client, step, stage, deleted, note)
  return outcome
}

// A straight COPY needs no staging, a third less work; it stands or falls with none of the keys being there.
async function landStraight(
  client: Client,
  step: TableStep,
  rows: CsvRows,
  outcome: SinkOutcome,
  habits: TableHabits,
): Promise<boolean> {
  const habit = habits.skipStraight.get(step.id) ?? { batches: 0, next: 1 }
  habits.skipStraight.set(step.id, habit)
  if (habit.batches > 0) {
    habit.batches--
    return false
  }
  try {
    await copy(client, identifier(...step.table.split('.')), rows.columns, rows)
    outcome.inserted += rows.rows
    habit.next = 1
    return true
  } catch (error) {
    if (!isRowFault(error)) throw error
    await client.query('rollback to savepoint rows')
    habit.batches = habit.next
    habit.next = Math.min(habit.next * 2, 64)
    return false
  }
}

// `first` is the number of their first row.
async function landRows(
  client: Client,
  sink: SinkRows,
  stage: Stage | undefined,
  rows: CsvRows,
  first: number,
  outcome: SinkOutcome,
  note?: Note,
): Promise<void> {
  const { step } = sink
  if (stage === undefined) {
    await copy(client, identifier(...step.table.split('.')), rows.columns, rows)
    outcome.inserted += rows.rows
    return
  }
  await stage.fill(rows)
  if (step.mode.is === 'upsert') {
    const { inserted, updated } = await replaceRows(client, step, rows)
    outcome.inserted += inserted
    outcome.updated += updated
  } else {
    const duplicates = sink.ordinals ? await mergeTelling(client, step) : undefined
    const inserted = duplicates
      ? rows.rows - duplicates.length
      : ((await client.query(asked(mergeSql(step), rows))).rowCount ?? 0)
    outcome.inserted += inserted
    outcome.duplicates += rows.rows - inserted
    for (const ordinal of duplicates ?? []) outcome.duplicateOrdinals.push(first + ordinal)
  }
  await note?.(stage.name, rows.rows)
}

/** Told where the keys of rows stand that have changed, and how many. */
type Note = (from: string, rows: number) => Promise<void>

// By their keys, through the stage of the rows that come.
async function deleteRows(client: Client, step: TableStep, stage: Stage, rows: CsvRows, note: Note): Promise<number> {
  if (step.mode.is === 'append') return 0
  await stage.fill(rows)
  const same = step.mode.key.map((name) => {
    // an index is of no use to `is not distinct from`
    const isNullable = step.columns.some((column) => column.name === name && column.nullable)
    return `t.${identifier(name)} ${isNullable ? 'is not distinct from' : '='} s.${identifier(name)}`
  })
  const { rowCount } = await client.query(
    `delete from ${identifier(...step.table.split('.'))} t using ${stage.name} s where ${same.join(' and ')}`,
  )
  await note(stage.name, rows.rows)
  return rowCount ?? 0
}

async function replaceRows(
  client: Client,
  step: TableStep,
  rows: CsvRows,
): Promise<{ inserted: number; updated: number }> {
  const merge = async (source?: string) => {
    const merged = await client.query<{ inserted: number; updated: number }>(asked(mergeSql(step, source), rows))
    return merged.rows[0] ?? { inserted: 0, updated: 0 }
  }
  try {
    return await merge()
  } catch (error) {
    if (codeOf(error) !== sameKeyTwice || step.mode.is !== 'upsert') throw error
  }
  // keys that differ for us, and are one for a collation of the table: the last row of each
  await client.query('rollback to savepoint rows')
  const stage = stageName(step)
  await client.query(`alter table ${stage} add column if not exists _n bigint generated always as identity`)
  await copy(client, stage, rows.columns, rows)
  const key = step.mode.key.map((name) => identifier(name)).join(', ')
  const { inserted } = await merge(`(select distinct on (${key}) * from ${stage} order by ${key}, _n desc) last`)
  return { inserted, updated: rows.rows - inserted }
}

const sameKeyTwice = '21000'

// What is planned for few rows need not be right for many.
function asked(text: string, { rows }: CsvRows): pg.QueryConfig {
  return rows <= fewRows ? prepared(text) : { text }
}

const fewRows = 2000

/** Where rows stand before they meet those of their table. */
interface Stage {
  name: string
  /** Puts these rows there in place of those before. */
  fill(rows: CsvRows): Promise<void>
}

// The stages of a session: those that are there for good, and those that go with its transaction if that fails.
const stagesMade = new WeakMap<Client, { kept: Set<string>; made: Set<string> }>()

/** The transaction in which stages were made is committed, or not. */
export function settleStages(client: Client, isCommitted: boolean): void {
  const stages = stagesMade.get(client)
  if (isCommitted) for (const name of stages?.made ?? []) stages?.kept.add(name)
  stages?.made.clear()
}

// A temporary table of the session, with the target's own types: it is not logged, and its rows go with the transaction.
async function openStage(client: Client, { step, ordinals }: SinkRows): Promise<Stage> {
  const name = stageName(step)
  const stages = stagesMade.get(client) ?? { kept: new Set(), made: new Set() }
  stagesMade.set(client, stages)
  const known = ordinals ? `${name} numbered` : name
  if (!stages.kept.has(known) && !stages.made.has(known)) {
    const columns = step.columns.map((column) => identifier(column.name)).join(', ')
    await client.query(`
      create temp table if not exists ${identifier(`stage ${step.id}`)}
      on commit delete rows
      as select ${columns} from ${identifier(...step.table.split('.'))} with no data`)
    if (ordinals)
      await client.query(`alter table ${name} add column if not exists _n bigint generated always as identity`)
    stages.made.add(known)
  }
  let filled = false
  return {
    name,
    async fill(rows) {
      if (filled) await client.query(`truncate ${name}`)
      filled = true
      await copy(client, name, rows.columns, rows)
    },
  }
}

// Merges, and says which rows were duplicates: all but the first of each key that is new. Grouping takes nulls for equal,
// as the key does, and finds nothing by comparing each row with each.
async function mergeTelling(client: Client, step: TableStep): Promise<number[]> {
  const stage = stageName(step)
  const columns = step.columns.map(({ name }) => identifier(name)).join(', ')
  const key = step.mode.is === 'append' ? '' : step.mode.key.map((name) => identifier(name)).join(', ')
  const { rows } = await client.query<{ ordinal: number }>(`
    with landed as (
      insert into ${identifier(...step.table.split('.'))} (${columns})
      select ${columns}
      from   ${stage}
      order by _n
      on conflict (${key}) do nothing
      returning ${key}
    ),
    met as (
      select ${key}, _n from ${stage}
      union all
      select ${key}, null from landed
    )
    select ordinal
    from  (select _n - (select min(_n) from ${stage}) as ordinal,
                  row_number() over (partition by ${key} order by _n) = 1 as is_first,
                  bool_or(_n is null) over (partition by ${key}) as is_new
           from met) counted
    where  ordinal is not null and not (is_first and is_new)
    order by ordinal`)
  return rows.map(({ ordinal }) => ordinal)
}

/** Rows into a table. */
export async function copy(client: Client, table: string, columns: string[], rows: CsvRows): Promise<void> {
  const names = columns.map((name) => identifier(name)).join(', ')
  await copyInto(client, `copy ${table} (${names}) from stdin (format csv)`, rows)
}

/** Rows into what a statement copies to. */
export async function copyInto(client: Client, statement: string, rows: CsvRows): Promise<void> {
  if (rows.rows === 0) return
  const into = client.query(copyFrom(statement))
  if ('path' in rows.csv) return await pump(bytesOf(rows), into)
  into.end(rows.csv.text)
  await finished(into)
}
