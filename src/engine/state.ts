/**
 * What a worker keeps of open windows: tables in DuckDB, loaded from the store when it begins. A batch makes what it adds
 * beside them; it is put in place here once the database has it.
 */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { duckdbType } from '../functions/print.ts'
import { addedWindows, anomaliesStateSql, goneWindows, judgedColumns } from '../operators/anomalies.ts'
import { beside, us } from '../operators/operator.ts'
import {
  addedEdges,
  addedNumbers,
  addedTo,
  closingSql,
  edgesSql,
  edgesSuffix,
  firstOpenPane,
  paneNumbers,
  paneSets,
  panesOf,
  setSuffix,
  windowStateSql,
} from '../operators/window.ts'
import type { Column } from '../plan/columns.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import type { AnomaliesStep, Plan, WindowStep } from '../plan/plan.ts'
import { numberColumns, type StateChange, type Store, setColumns } from '../store/store.ts'
import type { Batch } from './batch.ts'
import type { DuckSession } from './duckdb.ts'
import type { Printed } from './printing.ts'
import { type BatchTime, columnsAt, inputsOf, stateTable } from './relations.ts'
import { readFileSql } from './stored-rows.ts'

export type KeepingStep = WindowStep | AnomaliesStep

/** Steps that keep something from batch to batch in memory. */
export function keepingSteps(plan: Plan): KeepingStep[] {
  return plan.steps.filter((step): step is KeepingStep => step.op === 'window' || step.op === 'anomalies')
}

/** Numbers of a step that are stored as JSON: their columns and types. */
function storedNumbers(plan: Plan, step: KeepingStep): { column: string; type: string }[] {
  if (step.op === 'anomalies') return judgedColumns(step).map((column) => ({ column, type: 'decimal(18,9)' }))
  const numbers = paneNumbers(
    step,
    step.from.map((from) => columnsAt(plan, from)),
  )
  return [
    { column: '_rows', type: 'bigint' },
    ...numbers.map(({ column, type }) => ({ column: identifier(column), type })),
  ]
}

/** Makes the tables of a plan anew and fills them with what is stored. */
export async function loadState(
  session: DuckSession,
  plan: Plan,
  store: Pick<Store, 'state'>,
  { schema, spool }: { schema: string; spool: string },
): Promise<void> {
  const steps = keepingSteps(plan)
  if (steps.length === 0) return
  await session.run(`drop schema if exists ${schema} cascade`)
  await session.run(`create schema ${schema}`)
  const folder = join(spool, 'state')
  await mkdir(folder, { recursive: true })
  const stored = await store.state(plan.name, folder)
  const numbers = await readFileSql(stored.numbers.path, numberColumns)
  const sets = await readFileSql(stored.sets.path, setColumns)
  for (const step of steps) {
    const columns = columnsAt(plan, step.from[0] ?? '')
    const state = (suffix: string) => stateTable(schema, step, suffix)
    const own = `where step = ${sqlText(step.id)}`
    const keys = step.by
      .map((name, i) => `(key::json ->> ${i})::${keyType(columns, name)} as ${identifier(name)}`)
      .join(', ')
    const values = storedNumbers(plan, step).map(
      ({ column, type }) => `(numbers::json ->> ${sqlText(unquoted(column))})::${type}`,
    )
    const table = step.op === 'window' ? state('numbers') : state('windows')
    for (const sql of step.op === 'window'
      ? windowStateSql({ step, inputs: inputsOf(plan, step), state })
      : [anomaliesStateSql({ step, columns, state: table })])
      await session.run(sql)
    for (const { table: each } of stateTables(step, schema))
      await session.run(`create table ${spareOf(each)} as select * from ${each} where false`)
    if (stored.numbers.rows > 0)
      await session.run(
        `insert into ${table}\nselect ${[keys, 'pane::bigint', ...values].join(', ')}\nfrom ${numbers}\n${own}`,
      )
    if (step.op !== 'window') continue
    // which of the open windows were handed on as they are now is not stored: they are, once more
    if (step.emit.on === 'update')
      await session.run(
        `insert into ${state('dirty')} select ${step.by.map((name) => identifier(name)).join(', ')}, _pane from ${table}`,
      )
    if (stored.sets.rows === 0) continue
    for (const set of paneSets(step)) {
      const which = `${own} and aggregate = ${sqlText(set.name)}`
      const rows =
        set.is === 'members'
          ? `select ${keys}, pane::bigint, unnest(string_split(trim(members, '{}'), ',')::bigint[])\nfrom ${sets}\n${which}`
          : `select * exclude (_entry), _entry.key, _entry.value
from (
  select ${keys}, pane::bigint as _pane, unnest(map_entries(items::json::map(varchar, bigint))) as _entry
  from ${sets}
  ${which}
)`
      await session.run(`insert into ${state(setSuffix(set))}\n${rows}`)
    }
  }
  await makeEdges(session, plan, schema)
  await rm(folder, { recursive: true, force: true })
}

/** Makes the edges of all members that are kept: when a worker begins, and when a bounded run has read all. */
export async function makeEdges(session: DuckSession, plan: Plan, schema: string): Promise<void> {
  for (const step of keepingSteps(plan)) {
    if (step.op !== 'window') continue
    for (const set of paneSets(step)) {
      if (set.is !== 'members') continue
      const [members, edges] = [setSuffix(set), edgesSuffix(set)].map((suffix) => stateTable(schema, step, suffix))
      session.later(`truncate ${edges}`)
      session.later(`insert into ${edges}\n${edgesSql(step, `select * from ${members}`)}`)
    }
  }
  await session.flush()
}

export async function dropState(session: DuckSession, schema: string): Promise<void> {
  await session.run(`drop schema if exists ${schema} cascade`)
}

// ---- with a batch --------------------------------------------------------------------------------------------------

/** What a batch changes, printed for the store. */
export function printState(plan: Plan, batch: Batch): PrintedState | undefined {
  const steps = keepingSteps(plan).filter(({ id }) => batch.done.has(id))
  if (steps.length === 0) return undefined
  if (batch.time.final)
    return { numbers: undefined, sets: undefined, gone: undefined, closed: [], forget: true, release: async () => {} }
  const numbers: string[] = []
  const sets: string[] = []
  const gone: string[] = []
  for (const step of steps) {
    const out = batch.names.of(step.id)
    // most batches close no window
    if (step.op === 'anomalies' && batch.made.get(addedWindows(out)) === 0) continue
    const values = storedNumbers(batch.names.plan, step).map(
      ({ column }) => `${sqlText(unquoted(column))}, ${column}::varchar`,
    )
    const from = step.op === 'window' ? addedNumbers(out) : addedWindows(out)
    const pane = step.op === 'window' ? '_pane' : '_window'
    const place = `${sqlText(step.id)} as step, ${keyText(step)} as key, ${pane} as pane`
    numbers.push(`select ${place}, json_object(${values.join(', ')})::varchar as numbers from ${from}`)
    if (step.op === 'anomalies') {
      gone.push(`select ${sqlText(step.id)} as step, ${keyText(step)} as key, _window as pane from ${goneWindows(out)}`)
      continue
    }
    for (const set of paneSets(step)) {
      const named = `select ${sqlText(step.id)} as step, ${sqlText(set.name)} as aggregate, ${keyText(step)} as key, _pane as pane`
      const kept =
        set.is === 'members'
          ? `'{' || array_to_string(list(_member), ',') || '}' as members, null::varchar as items`
          : 'null::varchar as members, json_group_object(_item, _n)::varchar as items'
      sets.push(`${named}, ${kept} from ${addedTo(out, set)} group by all`)
    }
  }
  const print = (name: string, selects: string[], columns: readonly string[]): Printed | undefined => {
    if (selects.length === 0) return undefined
    return batch.printing.add({
      name: `${batch.place.name}-${name}`,
      select: selects.join('\nunion all\n'),
      columns,
      quoted: columns.filter((column) => column !== 'pane' && column !== 'members' && column !== 'items'),
    })
  }
  const change = {
    numbers: print('numbers', numbers, numberColumns),
    sets: print('sets', sets, setColumns),
    gone: print('gone', gone, ['step', 'key', 'pane']),
    closed: steps.flatMap((step) => {
      const before = step.op === 'window' ? firstPaneAfter(step, batch.time) : undefined
      return before === undefined ? [] : [{ step: step.id, before }]
    }),
  }
  return {
    ...change,
    async release() {
      for (const printed of [change.numbers, change.sets, change.gone]) await printed?.release()
    },
  }
}

export interface PrintedState extends StateChange {
  release(): Promise<void>
}

// The first pane that is still needed after a batch, where that is another than before it.
function firstPaneAfter(step: WindowStep, { before, after }: BatchTime): number | undefined {
  if (after === undefined) return undefined
  const first = firstOpenPane(step, after)
  return before !== undefined && firstOpenPane(step, before) === first ? undefined : first
}

/** So many batches after one another leave rows in the tables that were taken out of them. */
const batchesAtMost = 100

/**
 * Puts in place what a committed batch has changed; `looks`: its rows will still be looked at. No table is made for it: whatever DuckDB has planned of the state would
 * have to be planned again.
 */
export async function applyState(
  session: DuckSession,
  plan: Plan,
  batch: Batch,
  { schema, looks }: { schema: string; looks: boolean },
): Promise<void> {
  for (const step of keepingSteps(plan)) {
    if (!batch.done.has(step.id)) continue
    const out = batch.names.of(step.id)
    const keys = step.by.map((name) => identifier(name)).join(', ')
    const state = (suffix: string) => stateTable(schema, step, suffix)
    const add = (table: string, rows: string): void =>
      session.later(`insert into ${table} by name select * from ${rows}`)
    const remove = (table: string, rows: string, columns: string): void =>
      session.later(`delete from ${table} where (${columns}) in (select (${columns}) from ${rows})`)
    if (step.op === 'anomalies') {
      if (batch.made.get(addedWindows(out)) === 0) continue
      const [windows, added, gone] = [state('windows'), addedWindows(out), goneWindows(out)]
      remove(windows, added, `${keys}, _window`)
      add(windows, added)
      remove(windows, gone, `${keys}, _window`)
      continue
    }
    const { updates } = batch.time
    const added = addedNumbers(out)
    const sets = paneSets(step).map((set) => ({ set, table: state(setSuffix(set)) }))
    remove(state('numbers'), added, `${keys}, _pane`)
    add(state('numbers'), added)
    // of windows that are handed on when they close alone, nobody asks which have changed
    const fills = step.emit.on === 'update'
    if (fills && updates) session.later(`delete from ${state('dirty')}`)
    if (fills && !updates)
      session.later(
        `insert into ${state('dirty')} select ${keys}, _pane from ${added} anti join ${state('dirty')} using (${keys}, _pane)`,
      )
    for (const { set, table } of sets) {
      add(table, addedTo(out, set))
      if (set.is === 'members') add(state(edgesSuffix(set)), addedEdges(out, set))
    }
    const first = firstPaneAfter(step, batch.time)
    if (first === undefined) continue
    for (const table of [state('numbers'), state('dirty'), ...sets.map(({ table }) => table)])
      session.later(`delete from ${table} where _pane < ${first}`)
  }
  await batch.place.keep(looks)
  if (batch.number % batchesAtMost === 0) await compactState(session, plan, schema)
}

// What was taken out of a table goes when it is emptied; items that several batches added become one.
async function compactState(session: DuckSession, plan: Plan, schema: string): Promise<void> {
  for (const { table, rows } of keepingSteps(plan).flatMap((step) => stateTables(step, schema))) {
    session.later(`insert into ${spareOf(table)} ${rows}`)
    session.later(`truncate ${table}`)
    session.later(`insert into ${table} select * from ${spareOf(table)}`)
    await session.run(`truncate ${spareOf(table)}`)
  }
}

const spareOf = (table: string): string => beside(table, 'spare')

/** The tables of a step, each with a select of all that it says. */
function stateTables(step: KeepingStep, schema: string): { table: string; rows: string }[] {
  const all = (suffix: string) => {
    const table = stateTable(schema, step, suffix)
    return { table, rows: `select * from ${table}` }
  }
  if (step.op === 'anomalies') return [all('windows')]
  const sets = paneSets(step).flatMap((set) => {
    const kept = all(setSuffix(set))
    if (set.is === 'items')
      return [{ ...kept, rows: `select * exclude (_n), sum(_n)::bigint as _n from ${kept.table} group by all` }]
    const edges = stateTable(schema, step, edgesSuffix(set))
    // no window that is open begins before the first pane that is there could be in it
    const first = `(select min(_pane) - ${panesOf(step).perWindow - 1} from ${stateTable(schema, step, 'numbers')})`
    const rows = `select * exclude (_at, _change), greatest(_at, ${first}) as _at, sum(_change)::bigint as _change
from ${edges}
group by all
having sum(_change) <> 0`
    return [kept, { table: edges, rows }]
  })
  return [all('numbers'), all('dirty'), ...sets]
}

/** Whether a watermark would close windows that are open. */
export async function wouldClose(
  session: DuckSession,
  plan: Plan,
  schema: string,
  { before, after }: { before: number | undefined; after: number },
): Promise<boolean> {
  for (const step of keepingSteps(plan)) {
    if (step.op !== 'window') continue
    const since = before === undefined ? undefined : us(before)
    const closing = closingSql(step, [stateTable(schema, step, 'numbers')], since, us(after))
    const [row] = await session.rows<{ any: boolean }>(`select exists (${closing}) as any`)
    if (row?.any === true) return true
  }
  return false
}

/** Whether windows have changed since they were last handed on. */
export async function hasUpdates(session: DuckSession, plan: Plan, schema: string): Promise<boolean> {
  for (const step of keepingSteps(plan)) {
    if (step.op !== 'window' || step.emit.on === 'close') continue
    if ((await session.count(stateTable(schema, step, 'dirty'))) > 0) return true
  }
  return false
}

// The values of a key as one text.
function keyText({ by }: KeepingStep): string {
  return `to_json([${by.map((name) => `${identifier(name)}::varchar`).join(', ')}])::varchar`
}

function keyType(columns: readonly Column[], name: string): string {
  return duckdbType(columns.find((column) => column.name === name)?.type ?? { is: 'text' })
}

// An identifier as it stands in SQL, as the name it is.
function unquoted(name: string): string {
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name
}
