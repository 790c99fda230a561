/** Target tables in memory, and how a sink's rows meet the rows that are there. */
import { MillraceError } from '../../errors.ts'
import { type Column, sameType, typeName } from '../../plan/columns.ts'
import type { TableStep } from '../../plan/plan.ts'
import type { Row } from '../csv-rows.ts'
import type { RefusedRow, SinkOutcome } from '../store.ts'

export interface Table {
  columns: Column[]
  /** The columns of the unique key; a null in it is a value like any other. */
  key: string[] | undefined
  rows: Row[]
  /** Where in `rows` a key stands. */
  byKey: Map<string, number>
  /** A check constraint, that somebody has given the table. */
  check?: (row: Row) => Fault | undefined
}

/** Why Postgres would not take a row: its code, and its words. */
export type Fault = Pick<RefusedRow, 'sqlState' | 'message'>

/** The table of a sink, as it is created when it is missing. */
export function emptyTable(step: TableStep): Table {
  return {
    columns: step.columns,
    key: step.mode.is === 'append' ? undefined : step.mode.key,
    rows: [],
    byKey: new Map(),
  }
}

/** The table with the nullable columns that the sink has and it lacks; TABLE_DIFFERS unless it can take the sink's rows. */
export function fitted(table: Table, step: TableStep): Table {
  const differences: string[] = []
  const gained: Column[] = []
  for (const column of step.columns) {
    const stored = table.columns.find(({ name }) => name === column.name)
    if (stored === undefined && column.nullable) gained.push(column)
    else if (stored === undefined) differences.push(`it has no column ${column.name} (${typeName(column.type)})`)
    else if (!sameType(stored.type, column.type)) {
      differences.push(`its column ${column.name} is ${typeName(stored.type)}, not ${typeName(column.type)}`)
    }
  }
  for (const { name, nullable } of table.columns) {
    if (!nullable && !step.columns.some((column) => column.name === name)) {
      differences.push(`its column ${name} must have a value, and the pipeline has none for it`)
    }
  }
  if (step.mode.is !== 'append' && step.mode.key.toSorted().join() !== table.key?.toSorted().join()) {
    differences.push(`it has no unique key on (${step.mode.key.join(', ')})`)
  }
  if (differences.length > 0) {
    throw new MillraceError('TABLE_DIFFERS', {
      at: step.table,
      message: `the table cannot take the rows of the pipeline: ${differences.join('; ')}`,
      hint: 'alter the table, or write to another one',
    })
  }
  return gained.length === 0 ? table : { ...table, columns: [...table.columns, ...gained] }
}

/** What a commit would change in a table; the table itself stands until the commit is sure. */
export interface Draft {
  table: Table
  added: Row[]
  replaced: Map<number, Row>
  byKey: Map<string, number>
  /** Rows that go. */
  gone: Set<number>
}

export function draftOf(table: Table): Draft {
  return { table, added: [], replaced: new Map(), byKey: new Map(), gone: new Set() }
}

export function apply({ table, added, replaced, byKey, gone }: Draft): void {
  for (const row of added) table.rows.push(row)
  for (const [at, row] of replaced) table.rows[at] = row
  for (const [key, at] of byKey) table.byKey.set(key, at)
  if (gone.size === 0) return
  table.rows = table.rows.filter((_, at) => !gone.has(at))
  table.byKey = new Map(table.rows.map((row, at) => [keyOf(table, row) ?? '', at]))
}

/** Lets the rows of a sink meet those of its table and of this commit. */
export function merge(
  draft: Draft,
  { step, ordinals }: { step: TableStep; ordinals: boolean },
  rows: Row[],
): { outcome: SinkOutcome; refusals: RefusedRow[] } {
  const outcome: SinkOutcome = {
    step: step.id,
    inserted: 0,
    updated: 0,
    deleted: 0,
    duplicates: 0,
    duplicateOrdinals: [],
  }
  const refusals: RefusedRow[] = []
  const refuse = (ordinal: number, why: Fault) => refusals.push({ step: step.id, ordinal, ...why })
  for (const [ordinal, row] of rows.entries()) {
    const fault = faultOf(step, row) ?? draft.table.check?.(row)
    if (fault !== undefined) {
      refuse(ordinal, fault)
      continue
    }
    const key = keyOf(draft.table, row)
    const at = placeOf(draft, key)
    if (at === undefined) {
      add(draft, key, row)
      outcome.inserted++
      continue
    }
    switch (step.mode.is) {
      case 'append':
        refuse(ordinal, {
          sqlState: '23505',
          message: `duplicate key value violates the unique key of "${step.table}"`,
        })
        break
      case 'insert if new':
        outcome.duplicates++
        if (ordinals) outcome.duplicateOrdinals.push(ordinal)
        break
      case 'upsert':
        replace(draft, at, row)
        outcome.updated++
        break
    }
  }
  return { outcome, refusals }
}

/** Takes rows away by their keys; answers how many there were. */
export function remove(draft: Draft, keys: Row[]): number {
  let removed = 0
  for (const row of keys) {
    const key = keyOf(draft.table, row)
    const at = placeOf(draft, key)
    if (at === undefined || key === undefined) continue
    draft.gone.add(at)
    draft.byKey.set(key, nowhere)
    removed++
  }
  return removed
}

const nowhere = -1

function keyOf({ key }: Table, row: Row): string | undefined {
  return key && JSON.stringify(key.map((name) => row[name] ?? null))
}

function placeOf(draft: Draft, key: string | undefined): number | undefined {
  const at = key === undefined ? undefined : (draft.byKey.get(key) ?? draft.table.byKey.get(key))
  return at === nowhere ? undefined : at
}

// A few of the reasons for which Postgres refuses a row, so that generated histories meet refusals too.
function faultOf(step: TableStep, row: Row): Fault | undefined {
  if (Object.values(row).some((value) => value?.includes('\0'))) {
    return { sqlState: '22021', message: 'invalid byte sequence for encoding "UTF8": 0x00' }
  }
  const absent = step.columns.find(({ name, nullable }) => !nullable && row[name] == null)
  if (absent === undefined) return undefined
  return {
    sqlState: '23502',
    message: `null value in column "${absent.name}" of "${step.table}" violates not-null constraint`,
  }
}

function add(draft: Draft, key: string | undefined, row: Row): void {
  const at = draft.table.rows.length + draft.added.length
  draft.added.push(Object.fromEntries(draft.table.columns.map(({ name }) => [name, row[name] ?? null])))
  if (key !== undefined) draft.byKey.set(key, at)
}

function replace(draft: Draft, at: number, row: Row): void {
  const before = draft.table.rows.length
  if (at < before) draft.replaced.set(at, { ...(draft.replaced.get(at) ?? draft.table.rows[at]), ...row })
  else draft.added[at - before] = { ...draft.added[at - before], ...row }
}
