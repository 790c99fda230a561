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
  relations(step, { input, out }) {
    return [
      {
        name: keyedName(out),
        as: 'table',
        select: `select *, ${keySql(step.by)} as _key\nfrom ${input}`,
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

// One column is its own key as text; of several a list as JSON, in which no two keys look alike. What an index of the
// store cannot hold, or its text, is known by its hash.
function keySql(by: string[]): string {
  const [only, ...others] = by
  const key =
    only !== undefined && others.length === 0
      ? `coalesce(${identifier(only)}::varchar, '')`
      : `to_json([${by.map((name) => `${identifier(name)}::varchar`).join(', ')}])::varchar`
  return `case when octet_length(encode(${key})) > ${maxKeyBytes} or contains(${key}, chr(0)) then 'sha256 ' || sha256(${key}) else ${key} end`
}

// An index entry must fit a third of a page, beside the names of pipeline and step.
const maxKeyBytes = 2000
