/** What steps keep by key, in memory. */
import { csvRows, type Row, readRows } from '../csv-rows.ts'
import { type CsvRows, type KeyedChange, type KeyedQuery, storedKeyedColumns } from '../store.ts'
import type { StoredPipeline } from './database.ts'

/** What a batch changes, ready to be put in place in one go. */
export async function readKeyedChange(change: KeyedChange | undefined): Promise<(pipeline: StoredPipeline) => void> {
  if (change === undefined) return () => {}
  const gone = change.gone === undefined ? [] : await readRows(change.gone)
  const set = change.set === undefined ? [] : await readRows(change.set)
  return (pipeline) => {
    for (const [place, row] of pipeline.keyed)
      if (change.forget?.includes(row['step'] ?? '')) pipeline.keyed.delete(place)
    for (const row of gone) pipeline.keyed.delete(placeOf(row))
    for (const row of set) pipeline.keyed.set(placeOf(row), row)
  }
}

export async function writeKeyed(pipeline: StoredPipeline, query: KeyedQuery): Promise<CsvRows> {
  const { wanted, due, into } = query
  const keys = new Set<string>()
  const items = new Set<string>()
  const keyOf = ({ step, key }: Row): string => JSON.stringify([step, key])
  for (const row of await readRows(wanted)) {
    if (row['item'] == null) keys.add(keyOf(row))
    else items.add(placeOf(row))
  }
  const stored = [...pipeline.keyed.values()]
  for (const row of stored) {
    const isDue = due?.steps.includes(row['step'] ?? '') && row['due'] != null && BigInt(row['due']) < due.beforeUs
    if (isDue) keys.add(keyOf(row))
  }
  const found = stored.filter((row) => keys.has(keyOf(row)) || items.has(placeOf(row)))
  const rows = found.map((row) => storedKeyedColumns.map((column) => row[column] ?? null))
  return await csvRows(storedKeyedColumns, rows, into)
}

export function nextDue(pipeline: StoredPipeline): bigint | undefined {
  const dues = [...pipeline.keyed.values()].flatMap(({ due }) => (due == null ? [] : [BigInt(due)]))
  return dues.length === 0 ? undefined : dues.reduce((a, b) => (a < b ? a : b))
}

function placeOf({ step, key, item }: Row): string {
  return JSON.stringify([step, key, item])
}
