/**
 * Opens and their closes, by key, in the order of event time. What is kept of a key are its events as far back as one more
 * may come, and the one before them; so what a batch changes is found among the events of its keys alone. The step says
 * at once what it knows: rows that turn out otherwise are taken back (`_change` is -1) and said anew.
 *
 * Events at one instant stand in this order: a close, when an open waits; then an open and a close in turns; what is left
 * of one kind comes last. Of several of a kind the hashes say which is first. Whether an open waits when an instant begins
 * follows from counts alone: after an instant with more opens than closes one waits, after one with fewer none does, and
 * as many of both leave it as it was, unless the open before them is too old.
 */
import { duckdbType, printDuckdb } from '../functions/print.ts'
import type { Column } from '../plan/columns.ts'
import { identifier } from '../plan/identifier.ts'
import { endOfTime, type PairsStep, pairColumns } from '../plan/plan.ts'
import { changesSql, type KeptPart, keptText, keyTextSql, storedName } from './keyed.ts'
import { beside, type Moments, momentOf, type Relation, us } from './operator.ts'
import { lateName } from './window.ts'

/** One batch of a step that pairs. */
export interface PairsRun extends Moments {
  step: PairsStep
  /** Undefined where the batch has no rows for it. */
  input: string | undefined
  columns: Column[]
  out: string
}

// The columns of an event that its row keeps: those of the key, and those that are carried.
function eventColumns({ columns }: PairsStep): Column[] {
  return columns.slice(0, -pairColumns.length)
}

/** The rows that the step reads, with their key; others are filtered. */
export const eventsName = (out: string): string => beside(out, 'events')
/** The rows of events that are there already. */
export const repeatsName = (out: string): string => beside(out, 'repeats')

const allName = (out: string): string => beside(out, 'all')
const sequenceName = (out: string): string => beside(out, 'sequence')

/** The events of the batch, by which the engine asks for what is stored. */
export function pairsEvents(run: PairsRun): Relation {
  const { step, input, columns, out } = run
  const kept = eventColumns(step)
  return {
    name: eventsName(out),
    as: 'table',
    fetches: [pairsKept(run)],
    select:
      input === undefined
        ? `select ${[...kept.map(({ name, type }) => `null::${duckdbType(type)} as ${identifier(name)}`), ...noEvents].join(', ')} where false`
        : `select
  _row,
  ${kept.map(({ name }) => `${identifier(name)},\n  `).join('')}_us,
  _open,
  ${keyTextSql(step.by)} as _key,
  ${itemSql(columns)} as _item
from (
${eventsSql(run)}
)`,
  }
}

/** The rows that open or close, with `_us` and `_open`. */
export function eventsSql({ step, input, columns }: PairsRun): string {
  const condition = (expression: PairsStep['open'] | undefined): string =>
    expression === undefined ? 'false' : `coalesce(${printDuckdb(expression, columns)}, false)`
  return `select * exclude (_time, _close), epoch_us(_time) as _us
from (
  select *, ${condition(step.open)} as _open, ${condition(step.close)} as _close
  from ${input}
)
where _open or _close`
}

/** What an event is known by: of the whole row, so that only those that are the same in everything are one. */
export function itemSql(columns: readonly Column[]): string {
  const texts = [...columns.map(keptText), '_us::varchar', '_open::varchar']
  return `md5(to_json([${texts.join(', ')}])::varchar)`
}

const noEvents = [
  'null::bigint as _row',
  'null::bigint as _us',
  'null::boolean as _open',
  'null::varchar as _key',
  'null::varchar as _item',
]

/** What is kept of the step: an event each. */
export function pairsKept({ step, out }: PairsRun): KeptPart {
  const kept = eventColumns(step)
  return {
    step: step.id,
    wanted: `select distinct _key, null as _item from ${eventsName(out)}`,
    due: step.maxGapMs !== undefined,
    stored: storedName(out),
    columns: [...kept, { name: '_us', type: { is: 'integer' } }, { name: '_open', type: { is: 'boolean' } }],
    set: `select * from ${beside(out, 'kept')} where not _stored or _due is distinct from _was_due`,
    gone: `select _key, _item from ${storedName(out)} anti join ${beside(out, 'kept')} using (_item)`,
  }
}

/** Relations in order, once what is stored is there; the last one, `out`, says what has changed. */
export function pairsRelations(run: PairsRun): Relation[] {
  const { step, out, before } = run
  const lateness = us(step.latenessMs)
  const stored = storedName(out)
  // a run before has been told that nothing would
  const nothingFollows = before !== undefined && before >= endOfTime
  const relations: Relation[] = []
  const table = (name: string, select: string, unless?: Relation['unless']): void => {
    relations.push({ name, as: 'table', select, ...(unless ? { unless } : {}) })
  }
  const view = (name: string, select: string): void => {
    relations.push({ name, as: 'view', select })
  }
  const dropped = beside(out, 'dropped')
  table(
    dropped,
    `select _row, _us, ${nothingFollows ? us(before) : `_newest - ${lateness}`} as _from_us
from ${eventsName(out)}
left join (select _key, max(_us) as _newest from ${stored} group by _key) using (_key)
where ${nothingFollows ? 'true' : `_us < _newest - ${lateness}`}
  or _item in (select _item from ${stored})
  or _row not in (select min(_row) from ${eventsName(out)} group by _item)`,
  )
  const isLate = 'coalesce(_us < _from_us, false)'
  view(
    lateName(out),
    `select
  _row,
  make_timestamptz(_us) as _time,
  null::timestamptz as _window_start,
  ((_from_us - _us) // 1000)::bigint as _late_by_ms
from ${dropped}
where ${isLate}`,
  )
  view(repeatsName(out), `select _row from ${dropped} where not ${isLate}`)
  table(
    allName(out),
    `select * exclude (_due), true as _stored, _due as _was_due
from ${stored}
union all by name
select * exclude (_row), false as _stored, null::bigint as _was_due
from ${eventsName(out)}
where _row not in (select _row from ${dropped})`,
  )
  // instants that need to be decided are rare, and what decides takes as long as all the rest
  const ties = beside(out, 'ties')
  view(ties, tiesSql(allName(out)))
  const withNewest = (sequence: string): string => `select *
from (
${sequence}
)
join (select _key, max(_us) as _newest from ${allName(out)} group by _key) using (_key)`
  table(sequenceName(out), withNewest(sequenceSql(step, allName(out))), {
    empty: ties,
    select: withNewest(inOrderSql(allName(out))),
  })
  view(
    beside(out, 'kept'),
    `select * exclude (_newest, _next_us, _next_open, _last_us, _last_open),
  case when ${isWaiting} and not ${hasExpired(step, momentOf(run, 'after'))} then _us + ${gapOf(step)} end as _due
from ${sequenceName(out)}
-- the last one before those that may still move stands for all before it
where coalesce(_next_us, _us) >= _newest - ${lateness}`,
  )
  const after = outcomesSql(step, sequenceName(out), momentOf(run, 'after'))
  const changes = (sequence: string): string =>
    changesSql('pair_id', outcomesSql(step, `(${sequence})`, momentOf(run, 'before')), after)
  table(out, changes(sequenceSql(step, stored)), { empty: ties, select: changes(inOrderSql(stored)) })
  return relations
}

// ---- the order of events, and what it says -------------------------------------------------------------------------

const earlier = 'over (partition by _key order by _us rows between unbounded preceding and 1 preceding)'

// Instants of a key at which one event begins and another ends.
function tiesSql(events: string): string {
  return `select _key, _us
from ${events}
group by _key, _us
having count(*) filter (where _open) > 0 and count(*) filter (where not _open) > 0`
}

// Each event beside its neighbours, where there are no ties. Without a partition: for that DuckDB makes so much ready that
// a few rows take four times as long.
function inOrderSql(events: string): string {
  const line = '(order by _key, _us, _item)'
  const beside = (which: 'lead' | 'lag', column: string): string =>
    `case when ${which}(_key) over ${line} = _key then ${which}(${column}) over ${line} end`
  return `select *,
  ${beside('lead', '_us')} as _next_us,
  ${beside('lead', '_open')} as _next_open,
  ${beside('lag', '_us')} as _last_us,
  ${beside('lag', '_open')} as _last_open
from ${events}`
}

/** Every event with the one before it and the one after it. */
export function sequenceSql(step: PairsStep, events: string): string {
  const near = (opened: string): string =>
    step.maxGapMs === undefined ? 'true' : `_us - ${opened} <= ${us(step.maxGapMs)}`
  return `with ties as (
  ${tiesSql(events).replaceAll('\n', '\n  ')}
),
instants as (
  select _key, _us, count(*) filter (where _open) as _opens, count(*) filter (where not _open) as _closes
  from ${events}
  semi join ties using (_key)
  group by _key, _us
),
opened as (
  select *, max(case when _opens > 0 then _us end) ${earlier} as _opened
  from instants
),
decided as (
  select *,
    case
      when _opens > _closes then true
      when _opens < _closes then false
      when not coalesce(${near('_opened')}, false) then false
    end as _decides
  from opened
),
waiting as (
  select _key, _us, coalesce(last_value(_decides ignore nulls) ${earlier}, false) and coalesce(${near('_opened')}, false) as _waits
  from decided
),
turns as (
  -- one after the other: odd places for those that begin
  select _item,
    2 * row_number() over (partition by _key, _us, _open order by _item) - case when _open <> _waits then 1 else 0 end as _turn
  from ${events}
  semi join ties using (_key, _us)
  join waiting using (_key, _us)
)
select e.*,
  ${neighboursSql('partition by _key order by _us, coalesce(_turn, 0), _item')}
from ${events} e
left join turns using (_item)`
}

// The columns of an event's neighbours in a line. It has no name: those of several statements of a script would be one.
function neighboursSql(line: string): string {
  return `lead(_us) over (${line}) as _next_us,
  lead(_open) over (${line}) as _next_open,
  lag(_us) over (${line}) as _last_us,
  lag(_open) over (${line}) as _last_open`
}

const isWaiting = '(_open and _next_us is null)'

function hasExpired(step: PairsStep, watermarkUs: string | undefined): string {
  if (step.maxGapMs === undefined || watermarkUs === undefined) return 'false'
  return `(_us + ${us(step.maxGapMs)} < ${watermarkUs})`
}

function gapOf({ maxGapMs }: PairsStep): string {
  return maxGapMs === undefined ? 'null' : us(maxGapMs)
}

/** How each event ended, of a sequence of them. `also`: columns of it that are handed on. */
export function outcomesSql(
  step: PairsStep,
  sequence: string,
  watermarkUs: string | undefined,
  also: readonly string[] = [],
): string {
  const carried = eventColumns(step).map(({ name }) => identifier(name))
  const near = (from: string, to: string): string =>
    step.maxGapMs === undefined ? 'true' : `${to} - ${from} <= ${us(step.maxGapMs)}`
  const replaced = step.close === undefined ? '' : `\n      when _next_open then 'replaced'`
  return `select
  ${[...also, ...carried].map((name) => `${name},\n  `).join('')}_item as pair_id,
  case when outcome <> 'orphan' then make_timestamptz(_us) end as opened_at,
  case outcome when 'paired' then make_timestamptz(_next_us) when 'orphan' then make_timestamptz(_us) end as closed_at,
  outcome,
  case when outcome = 'paired' then ((_next_us - _us)::decimal(18,0) * 0.000001)::decimal(18,6) end as seconds
from (
  select *,
    case
      when not _open then 'orphan'
      when _next_us is null then case when ${hasExpired(step, watermarkUs)} then 'expired' else 'open' end
      when not (${near('_us', '_next_us')}) then 'expired'${replaced}
      else 'paired'
    end as outcome
  from ${sequence}
)
where _open or not coalesce(_last_open and ${near('_last_us', '_us')}, false)`
}

/** What a step says of itself, for `explain`. */
export function pairsSays({ by, maxGapMs, close }: PairsStep): string {
  const what = close === undefined ? 'each event with the next' : 'each open with the close after it'
  const within = maxGapMs === undefined ? '' : ` within ${maxGapMs} ms`
  return `pairs ${what}${within}, by ${by.join(', ')}, and takes back what later events show to be otherwise`
}
