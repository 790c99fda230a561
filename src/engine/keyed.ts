/** What steps keep by key: fetched for the keys of a batch, and printed as the batch leaves it. */
import { join } from 'node:path'
import { type KeptPart, keptObject, storedSql } from '../operators/keyed.ts'
import { beside } from '../operators/operator.ts'
import { sqlText } from '../plan/identifier.ts'
import { type Step, takesInputRows } from '../plan/plan.ts'
import { type CsvRows, type KeyedChange, keyedColumns, storedKeyedColumns } from '../store/store.ts'
import type { Batch, BatchTools } from './batch.ts'
import { type Printed, printRows } from './printing.ts'
import { keptParts } from './relations.ts'
import { tellStored } from './stored-rows.ts'

/** Reads what is stored for the keys of a batch, and for those that are due, into the table of each part. */
export async function fetchKept(
  tools: BatchTools,
  batch: Batch,
  step: Step,
  parts: readonly KeptPart[],
): Promise<void> {
  const { session, store, plan, spool } = tools
  const name = `${batch.place.name}-kept-${plan.steps.indexOf(step)}`
  const selects = parts.map(
    (part) => `select ${sqlText(part.step)} as step, _key as key, _item as item from (${part.wanted})`,
  )
  const wanted = await printRows(
    { session, spool, few: batch.place.again },
    {
      name: `${name}-wanted`,
      select: selects.join('\nunion all\n'),
      columns: ['step', 'key', 'item'],
      quoted: ['step', 'key', 'item'],
    },
  )
  const { before, after } = batch.time
  const steps = after === undefined || after === before ? [] : parts.filter(({ due }) => due).map((part) => part.step)
  const due = steps.length === 0 ? undefined : { steps, beforeUs: BigInt(after ?? 0) * 1000n }
  const stored = beside(batch.names.of(step.id), 'fetched')
  const into = join(spool, `${name}-stored.csv`)
  const asks = wanted.rows > 0 || due !== undefined
  await tellStored(batch, stored, asks ? await store.keyed(plan.name, { wanted, due, into }) : nothingStored)
  for (const [i, part] of parts.entries()) {
    const own = `(select * from ${stored} where step = ${sqlText(part.step)})`
    // of the others each is read once
    await batch.place.make({ name: part.stored, as: i === 0 ? 'table' : 'view', select: storedSql(part.columns, own) })
  }
  await wanted.release()
}

const nothingStored: CsvRows = { csv: { text: '' }, columns: [...storedKeyedColumns], rows: 0 }

export interface PrintedKeyed extends KeyedChange {
  release(): Promise<void>
}

/** What a batch changes, printed for the store. */
export function printKept({ plan }: BatchTools, batch: Batch): PrintedKeyed | undefined {
  if (batch.time.atOnce) return undefined
  // after the end of event time no pair changes, and nothing that is made of pairs; other totals go on
  const ends = (step: Step): boolean => batch.time.final && (step.op === 'pairs' || !takesInputRows(plan, step))
  const partsOf = (steps: Step[]) => steps.flatMap((step) => keptParts(plan, step, batch.names, batch.time))
  const parts = partsOf(plan.steps.filter((step) => !ends(step)))
  const forget = partsOf(plan.steps.filter(ends)).map(({ step }) => step)
  if (parts.length + forget.length === 0) return undefined
  const print = (name: string, selects: string[], columns: readonly string[]): Printed | undefined => {
    if (selects.length === 0) return undefined
    return batch.printing.add({
      name: `${batch.place.name}-kept-${name}`,
      select: selects.join('\nunion all\n'),
      columns,
      quoted: columns.filter((column) => column !== 'due'),
    })
  }
  const set = print(
    'set',
    parts.map(
      (part) =>
        `select ${sqlText(part.step)} as step, _key as key, _item as item, ${keptObject(part.columns)} as state, _due as due from (${part.set})`,
    ),
    keyedColumns,
  )
  const gone = print(
    'gone',
    parts.map((part) => `select ${sqlText(part.step)} as step, _key as key, _item as item from (${part.gone})`),
    ['step', 'key', 'item'],
  )
  return {
    set,
    gone,
    ...(forget.length > 0 ? { forget } : {}),
    async release() {
      for (const printed of [set, gone]) await printed?.release()
    },
  }
}
