import type { Column } from '../plan/columns.ts'
import { identifier } from '../plan/identifier.ts'
import type { DedupStep } from '../plan/plan.ts'
import { beside, type Operator } from './operator.ts'

/**
 * The first row of each key in arrival order goes on. Without a horizon the keys seen are fetched from the store for the
 * keys of the batch, and the new ones are stored with it.
 */
export const dedup: Operator<DedupStep> = {
  says: (step) => `keeps the first row of each ${step.by.join(', ')}, over all time`,
  state: 'fetched',
  verdict: 'duplicates',
  relations(step, { input, out, inputColumns }) {
    return [
      {
        name: keyedName(out),
        as: 'table',
        select: `select *, ${keySql(step.by, inputColumns)} as _key\nfrom ${input}`,
      },
      {
        name: out,
        as: 'table',
        select: `select * exclude (_key)
from ${keyedName(out)}
where _row in (select min(_row) from ${keyedName(out)} group by _key)
  -- keys of earlier batches, fetched from the store
  and _key not in (select key from ${seenName(out)})`,
      },
    ]
  },
}

/** The rows with their key as one text. */
export function keyedName(out: string): string {
  return beside(out, 'keyed')
}

/** The batch's keys that the store has seen before; filled by the engine between the two relations. */
export function seenName(out: string): string {
  return beside(out, 'seen')
}

// One column is its own key as text; of several, or one that may be null, a list as JSON, in which no two keys look alike.
// What an index of the store cannot hold, or its text, is known by its hash.
function keySql(by: string[], columns: Column[]): string {
  const mayBeNull = columns.some(({ name, nullable }) => nullable && by.includes(name))
  const texts = by.map((name) => `${identifier(name)}::varchar`)
  const key = by.length === 1 && !mayBeNull ? texts.join() : `to_json([${texts.join(', ')}])::varchar`
  return `case when octet_length(encode(${key})) > ${maxKeyBytes} or contains(${key}, chr(0)) then 'sha256 ' || sha256(${key}) else ${key} end`
}

// An index entry must fit a third of a page, beside the names of pipeline and step.
const maxKeyBytes = 2000
