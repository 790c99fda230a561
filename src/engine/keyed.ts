/** What steps keep by key: fetched for the keys of a batch, and printed as the batch leaves it. */
import { join } from 'node:path'
import { type KeptPart, keptObject, storedSql } from '../operators/keyed.ts'
import { beside } from '../operators/operator.ts'
import { sqlText } from '../plan/identifier.ts'
import { type Plan, type Step, takesInputRows } from '../plan/plan.ts'
import { type CsvRows, type KeyedChange, keyedColumns, storedKeyedColumns } from '../store/store.ts'
import type { Batch, BatchTools } from './batch.ts'
import { type Printed, printRows } from './printing.ts'
import { keptParts } from './relations.ts'
import { tellStored } from './stored-rows.ts'

/** A step that cannot go on without what is stored. */
export interface Asking {
  step: Step
  parts: readonly KeptPart[]
}

/** What steps want, and the keys and items of it. */
export interface Wanted {
  asked: readonly Asking[]
  keys: Printed
}

/** Prints the keys of what is wanted: all in one, for each takes its time. */
export async function printWanted(
  { session, spool, plan }: BatchTools,
  { place }: Batch,
  asked: readonly Asking[],
): Promise<Wanted> {
  const selects = asked.flatMap(({ parts }) =>
    parts.map((part) => `select ${sqlText(part.step)} as step, _key as key, _item as item from (${part.wanted})`),
  )
  const columns = ['step', 'key', 'item']
  const keys = await printRows(
    { session, spool, few: place.again },
    {
      name: `${place.name}-kept-${numberOf(plan, asked)}-wanted`,
      select: selects.join('\nunion all\n'),
      columns,
      quoted: columns,
    },
  )
  return { asked, keys }
}

/** Reads what is stored of it, and of what is due, into the table of each part. */
export async function fetchKept(tools: BatchTools, batch: Batch, { asked, keys }: Wanted): Promise<void> {
  const { store, plan, spool } = tools
  const parts = asked.flatMap((asking) => asking.parts)
  const { before, after } = batch.time
  const steps = after === undefined || after === before ? [] : parts.filter(({ due }) => due).map((part) => part.step)
  const due = steps.length === 0 ? undefined : { steps, beforeUs: BigInt(after ?? 0) * 1000n }
  const stored = beside(batch.names.of(asked[0]?.step.id ?? ''), 'fetched')
  const into = join(spool, `${batch.place.name}-kept-${numberOf(plan, asked)}-stored.csv`)
  const asks = keys.rows > 0 || due !== undefined
  await tellStored(batch, stored, asks ? await store.keyed(plan.name, { wanted: keys, due, into }) : nothingStored)
  for (const { parts: own } of asked) {
    for (const [i, part] of own.entries()) {
      const rows = `(select * from ${stored} where step = ${sqlText(part.step)})`
      // of the others each is read once
      await batch.place.make({
        name: part.stored,
        as: i === 0 ? 'table' : 'view',
        select: storedSql(part.columns, rows),
      })
    }
  }
  await keys.release()
}

// A batch may ask more than once.
function numberOf({ steps }: Plan, [first]: readonly Asking[]): number {
  return steps.findIndex(({ id }) => id === first?.step.id)
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
