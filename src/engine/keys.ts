/** Keys of a batch: which a table may have already, which a dedup step has seen, and which are new to it. */
import { join } from 'node:path'
import { keyedName, seenName } from '../operators/dedup.ts'
import { sqlText } from '../plan/identifier.ts'
import type { DedupStep, TableStep } from '../plan/plan.ts'
import { keyHashSql, keyTooLongName, knownName, rowsToPrint } from '../sinks/table.ts'
import type { Batch, BatchTools } from './batch.ts'
import { KeyFilter } from './key-filter.ts'
import { type Printed, printRows } from './printing.ts'
import { tellStored } from './stored-rows.ts'

/**
 * Rows whose key this worker may have seen before, in this batch or an earlier one, must be merged, in their order; all
 * others are likely new.
 */
export async function findKnownKeys(tools: BatchTools, batch: Batch, step: TableStep): Promise<void> {
  if (step.mode.is !== 'insert if new') return
  const { session, filters } = tools
  const filter = filters.get(step.id) ?? new KeyFilter()
  filters.set(step.id, filter)
  const known = new Set<number>()
  const out = batch.names.of(step.id)
  const from = batch.names.into(step)
  const keys =
    batch.made.get(from) === 0 ? [] : await session.numbers(`select ${keyHashSql(step.mode.key)} from ${from}`)
  for (const key of keys) if (filter.add(key)) known.add(key)
  // what is not there need not be counted, nor printed
  if (keys.length === 0) for (const none of [out, keyTooLongName(out)]) batch.counts.set(none, 0)
  if (known.size === 0) batch.counts.set(rowsToPrint(out, true), 0)
  if (keys.every((key) => known.has(key))) batch.counts.set(rowsToPrint(out, false), 0)
  await batch.place.make({
    name: knownName(out),
    as: 'table',
    empty: known.size === 0,
    select: `select unnest(string_split(${sqlText([...known].join(','))}, ',')::double[]) as key where ${known.size > 0}`,
  })
}

/** Which of the batch's keys earlier batches have seen: the only part of the state that this batch needs. */
export async function fetchSeenKeys(tools: BatchTools, batch: Batch, step: DedupStep): Promise<void> {
  const { session, store, plan, spool } = tools
  const out = batch.names.of(step.id)
  const name = `${batch.place.name}-${plan.steps.indexOf(step)}`
  const keys = await printRows(
    { session, spool, few: batch.place.again },
    {
      name: `${name}-wanted`,
      select: `select distinct _key from ${keyedName(out)}`,
      columns: ['key'],
      quoted: ['_key'],
    },
  )
  const into = join(spool, `${name}-seen.csv`)
  await tellStored(batch, seenName(out), await store.seenKeys(plan.name, step.id, keys, into))
  await keys.release()
}

/** The keys that pass a dedup step for the first time. */
export function printDedupKeys({ plan }: BatchTools, batch: Batch): Printed | undefined {
  const steps = plan.steps.filter((step) => step.op === 'dedup')
  if (steps.length === 0) return undefined
  const selects = steps.map((step) => {
    const out = batch.names.of(step.id)
    return `select ${sqlText(step.id)} as step, k._key as key
from ${keyedName(out)} k
where k._row in (select _row from ${out})`
  })
  return batch.printing.add({
    name: `${batch.place.name}-keys`,
    select: selects.join('\nunion all\n'),
    columns: ['step', 'key'],
    quoted: ['step', 'key'],
  })
}
