/** Rows that a table does not take leave the batch, as if they had broken a rule: what they have kept away goes on. */
import { keyedName } from '../operators/dedup.ts'
import { beside } from '../operators/operator.ts'
import { sqlText } from '../plan/identifier.ts'
import { isSink, makesRows, type Plan, type Step, takesInputRows } from '../plan/plan.ts'
import { keyTooLongName, numberedSql, refusedName } from '../sinks/table.ts'
import type { RefusedRow } from '../store/store.ts'
import type { Batch, BatchTools } from './batch.ts'
import { rowsOf } from './books.ts'
import { keyTooLongSql } from './print-letters.ts'
import { stepsAfter } from './relations.ts'

/** Takes out the rows that the database has refused. The steps have to be run again. */
export async function takeOut(tools: BatchTools, batch: Batch, rows: RefusedRow[]): Promise<void> {
  const { plan } = tools
  for (const step of plan.steps) {
    const own = rows.filter((row) => row.step === step.id)
    if (own.length === 0) continue
    const out = batch.names.of(step.id)
    // as they were sent: what is taken out changes the places of the others
    const sent = beside(out, 'sent')
    await batch.place.make({ name: sent, as: 'table', select: numberedSql(out) })
    for (let i = 0; i < own.length; i += refusedAtOnce) {
      const some = own.slice(i, i + refusedAtOnce)
      const says = some.map(({ sqlState, message }) => sqlText(`Postgres refused the row (${sqlState}): ${message}`))
      await refuse(
        tools,
        batch,
        step,
        `select n._row, 'REFUSED' as code, null as column_name, r.message
from ${sent} n
join (
  select unnest([${some.map(({ ordinal }) => ordinal).join(', ')}]) as ordinal, unnest([${says.join(', ')}]) as message
) r using (ordinal)`,
      )
    }
  }
}

const refusedAtOnce = 5000

const noneRefused =
  'select null::bigint as _row, null::varchar as code, null::varchar as column_name, null::varchar as message where false'

async function refuse({ session }: BatchTools, { names, place }: Batch, { id }: Step, rows: string): Promise<void> {
  const refused = refusedName(names.of(id))
  if (names.refused.has(id)) await session.run(`insert into ${refused} ${rows}`)
  else await place.make({ name: refused, as: 'table', select: `${noneRefused}\nunion all\n${rows}` })
  names.refused.add(id)
}

/**
 * A row that no table after a dedup step takes is not the one that has passed it: the next one of its key is. Answers
 * whether there were such, and then everything has to be run again. The last step comes first: what it lets pass then may
 * be taken after all.
 *
 * What is lost at a step with another dedup step after it is known once the tables have taken all the rest (`isTaken`): a
 * row that the later step keeps away may pass there yet, when the one before it of its key is refused.
 */
export async function passDedupAgain(tools: BatchTools, batch: Batch, isTaken: boolean): Promise<boolean> {
  const { plan, session } = tools
  const { names } = batch
  for (const step of plan.steps.toReversed()) {
    if (step.op !== 'dedup') continue
    const lost: string[] = []
    const going: string[] = []
    let found = false
    for (const sink of stepsAfter(plan, step.id)) {
      if (makesRows(sink)) going.push(...sink.from.map((from) => `select _row from ${names.of(from)}`))
      if (!isSink(sink) || !takesInputRows(plan, sink)) continue
      const out = names.of(sink.id)
      // it writes what a table has taken
      if ('landedIn' in sink) continue
      if (sink.op === 'table' && sink.mode.is !== 'append' && (await rowsOf(session, batch, keyTooLongName(out))) > 0) {
        await refuse(tools, batch, sink, keyTooLongSql(sink, keyTooLongName(out)))
        found = true
      }
      if (names.refused.has(sink.id)) lost.push(`select _row from ${refusedName(out)}`)
      going.push(`select _row from ${names.into(sink)}`)
    }
    if (lost.length === 0 || (!isTaken && isBeforeDedup(plan, step))) continue
    const left = `_row in (select _row from ${names.of(step.id)}) and _row not in (${going.join(' union all ')})`
    const rows = `select distinct _row from (${lost.join(' union all ')}) where ${left}`
    const until = await firstToPass(tools, batch, step, rows)
    const before = until === undefined ? '' : ` where _row < ${until}`
    if ((await session.count(`(${rows})${before}`)) > 0) {
      await refuse(tools, batch, step, `select _row, null, null, null from (${rows})${before}`)
      found = true
    }
    if (until !== undefined) {
      // from there on others may pass, so that what was refused may never get as far
      for (const later of stepsAfter(plan, step.id)) {
        if (!names.refused.has(later.id)) continue
        await session.run(`delete from ${refusedName(names.of(later.id))} where _row >= ${until}`)
      }
    }
    if (found) return true
  }
  return false
}

// Where other dedup steps follow: the first row that passes this one in place of a lost one, for it may keep away any that
// comes after it.
async function firstToPass(
  { plan, session }: BatchTools,
  { names }: Batch,
  step: Step,
  lost: string,
): Promise<string | undefined> {
  if (!isBeforeDedup(plan, step)) return undefined
  const keyed = keyedName(names.of(step.id))
  const [first] = await session.rows<{ row: string | null }>(
    `select min(n._row)::varchar as row
from (${lost}) l
join ${keyed} k using (_row)
join ${keyed} n on n._key = k._key and n._row > k._row`,
  )
  return first?.row ?? undefined
}

function isBeforeDedup(plan: Plan, { id }: Step): boolean {
  return stepsAfter(plan, id).some(({ op }) => op === 'dedup')
}
