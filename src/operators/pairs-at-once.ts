/**
 * Pairs of keys of which a batch has every event there will ever be: nothing is stored of them, nothing will follow, and
 * so nothing is said that has to be taken back. Where all events of a key are at different instants, which is nearly
 * always, its neighbours say how an event ends; the events of other keys are put in order as in any batch.
 */
import { identifier } from '../plan/identifier.ts'
import { endOfTime } from '../plan/plan.ts'
import { keyTextSql } from './keyed.ts'
import { beside, type Relation, us } from './operator.ts'
import { eventsName, eventsSql, itemSql, outcomesSql, type PairsRun, repeatsName, sequenceSql } from './pairs.ts'
import { lateName } from './window.ts'

/** Relations in order; the last one, `out`, says how every event ended. */
export function pairsAtOnce(run: PairsRun): Relation[] {
  const { step, columns, out } = run
  const tied = beside(out, 'tied')
  const tiedEvents = beside(out, 'tied_events')
  const sequence = beside(out, 'sequence')
  const key = step.by.map((name) => identifier(name))
  const sameKey = key.map((name) => `e.${name} is not distinct from t.${name}`).join(' and ')
  const item = itemSql(columns)
  // time and kind of an event as one number, its lowest bit says whether it opens: each column of a neighbour costs a search
  const neighbour = (which: 'lead' | 'lag'): string =>
    `${which}(_at) over (partition by ${key.join(', ')} order by _at)`
  const unpacked = (prefix: string, packed: string): string =>
    `${packed} >> 1 as ${prefix}_us,\n  (${packed} & 1) = 1 as ${prefix}_open`
  const events = `(
select
  * exclude (_at, _next, _last),
  ${unpacked('', '_at')},
  ${unpacked('_next', '_next')},
  ${unpacked('_last', '_last')},
  -- its place in the table: to number the rows anew costs as much as all the rest
  rowid as _row
from ${eventsName(out)}
)`
  const untied = `(select *, ${item} as _item from ${events} e anti join ${tied} t on ${sameKey})`
  return [
    {
      name: eventsName(out),
      as: 'table',
      select: `select *, ${neighbour('lead')} as _next, ${neighbour('lag')} as _last
from (
  select ${columns.map(({ name }) => `${identifier(name)}, `).join('')}2 * _us + _open::bigint as _at
  from (
${eventsSql(run)}
  )
)`,
    },
    {
      name: tied,
      as: 'table',
      select: `select distinct ${key.join(', ')} from ${eventsName(out)} where _last >> 1 = _at >> 1`,
    },
    {
      name: tiedEvents,
      as: 'table',
      select: `select
  * exclude (_next_us, _next_open, _last_us, _last_open, _row),
  ${keyTextSql(step.by)} as _key,
  ${item} as _item,
  row_number() over (partition by _item) as _n
from ${events} e
semi join ${tied} t on ${sameKey}`,
    },
    { name: lateName(out), as: 'view', select: 'select null::bigint as _row where false' },
    { name: repeatsName(out), as: 'view', select: `select * from ${tiedEvents} where _n > 1` },
    { name: sequence, as: 'table', select: sequenceSql(step, `(select * from ${tiedEvents} where _n = 1)`) },
    {
      name: out,
      // who reads it needs few of its columns
      as: 'view',
      select: `select *, 1 as _change
from (
${outcomesSql(step, untied, us(endOfTime), ['_row'])}
union all by name
${outcomesSql(step, `(select *, (1::bigint << 40) + rowid as _row from ${sequence})`, us(endOfTime), ['_row'])}
)`,
    },
  ]
}
