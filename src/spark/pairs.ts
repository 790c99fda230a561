/**
 * Pairs over all events at once: nothing is late, and nothing is taken back. Events meet by key in one shuffle, with the
 * columns that are carried and no others; everything else is windows over it. The order of events at one instant is that of
 * `operators/pairs.ts`.
 */
import { printSpark } from '../functions/print-spark.ts'
import { sparkName, sparkText } from '../functions/spark-type.ts'
import type { Column } from '../plan/columns.ts'
import type { Expression } from '../plan/expression.ts'
import { type PairsStep, pairColumns } from '../plan/plan.ts'

const byKey = (step: PairsStep): string => `partition by ${step.by.map((name) => sparkName(name)).join(', ')}`

// Those of the key, and those that are carried.
function eventColumns({ columns }: PairsStep): string[] {
  return columns.slice(0, -pairColumns.length).map(({ name }) => sparkName(name))
}

/** Whether a row is an event of the step. */
export function isEventSql(step: PairsStep, columns: readonly Column[]): string {
  const close = step.close === undefined ? 'false' : `coalesce(${printSpark(step.close, columns)}, false)`
  return `(coalesce(${printSpark(step.open, columns)}, false) or ${close})`
}

/**
 * The rows of pairs; nothing follows them, so that an open which waits has expired where there is a longest gap. `isTime`
 * says of a column whether it is the event time.
 */
export function pairsSql(
  step: PairsStep,
  columns: readonly Column[],
  input: string,
  isTime: (column: string) => boolean,
): string {
  const kept = eventColumns(step)
  const events = eventsSql(step, columns, input, isTime)
  const once = `select ${[...kept, '_us', '_open', '_item'].join(', ')}
  from (
    select *, lag(_item) over (${byKey(step)} order by _us, _item) as _before
    from (
  ${events}
    )
  )
  where _before is null or _before <> _item`
  const line = `over (${byKey(step)} order by _us, _turn, _item)`
  const sequence = `select *,
    lead(_us) ${line} as _next_us,
    lead(_open) ${line} as _next_open,
    lag(_us) ${line} as _last_us,
    lag(_open) ${line} as _last_open
  from (
${inTurns(step, once)}
  )`
  const near = (from: string, to: string): string =>
    step.maxGapMs === undefined ? 'true' : `${to} - ${from} <= ${us(step.maxGapMs)}`
  const waits = step.maxGapMs === undefined ? 'open' : 'expired'
  const replaced = step.close === undefined ? '' : `\n      when _next_open then 'replaced'`
  return `select
  ${kept.map((name) => `${name},\n  `).join('')}_item as pair_id,
  case when outcome <> 'orphan' then timestamp_micros(_us) end as opened_at,
  case outcome when 'paired' then timestamp_micros(_next_us) when 'orphan' then timestamp_micros(_us) end as closed_at,
  outcome,
  case when outcome = 'paired' then cast(cast(_next_us - _us as decimal(18,0)) * cast(0.000001 as decimal(6,6)) as decimal(18,6)) end as seconds
from (
  select *,
    case
      when not _open then 'orphan'
      when _next_us is null then ${sparkText(waits)}
      when not (${near('_us', '_next_us')}) then 'expired'${replaced}
      else 'paired'
    end as outcome
  from (
${sequence}
  )
)
where _open or not coalesce(_last_open and ${near('_last_us', '_us')}, false)`
}

/**
 * Events, each with a hash that names it and tells repeats from twins: as DuckDB makes it, of the whole row, so that only
 * those that are the same in everything are one. Where what goes through the shuffle says all of the row, the hash is made
 * behind it; else it goes along, in half of its letters.
 */
function eventsSql(
  step: PairsStep,
  columns: readonly Column[],
  input: string,
  isTime: (column: string) => boolean,
): string {
  const kept = eventColumns(step)
  const isOpen = `coalesce(${printSpark(step.open, columns)}, false)`
  const told = columns.map((column) => toldText(step, column, kept, isTime))
  const isTold = told.every((text) => text !== undefined)
  const hashOf = (texts: readonly (string | undefined)[]): string => `md5(to_json(array(${texts.join(', ')})))`
  const whole = hashOf([...columns.map(keptText), 'cast(unix_micros(_time) as string)', `cast(${isOpen} as string)`])
  const hash = isTold ? hashOf([...told, 'cast(_us as string)', 'cast(_open as string)']) : 'lower(hex(_hash))'
  // the lowest bit says whether it opens
  const at = `2 * unix_micros(_time) + if(${isOpen}, 1, 0) as _at`
  return `select ${[...kept, '_us', '_open', `${hash} as _item`].join(', ')}
  from (
    select ${[...kept, 'shiftright(_at, 1) as _us', '_at & 1 = 1 as _open', ...(isTold ? [] : ['_hash'])].join(', ')}
    from (
      select
        ${[...kept, at, ...(isTold ? [] : [`unhex(${whole}) as _hash`])].join(',\n        ')}
      from ${input}
      where ${isEventSql(step, columns)}
      -- here it is shuffled
      distribute by ${step.by.map((name) => sparkName(name)).join(', ')}
    )
  )`
}

// What keptText says of a column, out of what is behind the shuffle; undefined where that does not tell.
function toldText(
  step: PairsStep,
  column: Column,
  kept: readonly string[],
  isTime: (column: string) => boolean,
): string | undefined {
  if (kept.includes(sparkName(column.name))) return keptText(column)
  if (isTime(column.name)) return 'cast(_us as string)'
  const [opens, closes] = [valueWhen(step.open, column), valueWhen(step.close, column)]
  if (opens === undefined || closes === undefined) return undefined
  return `if(_open, ${sparkText(opens)}, ${sparkText(closes)})`
}

// The text that a column has where a condition holds, if it says one.
function valueWhen(condition: Expression | undefined, { name, type }: Column): string | undefined {
  if (condition === undefined || !('call' in condition) || type.is !== 'text') return undefined
  const [left, right] = condition.args
  if (left === undefined || right === undefined) return undefined
  if (condition.call === 'or' && 'literal' in right && right.literal === false)
    return valueWhen(left, { name, type, nullable: true })
  if (condition.call !== 'equals' || !('column' in left) || left.column !== name) return undefined
  return 'literal' in right && typeof right.literal === 'string' ? right.literal : undefined
}

// Events with their turn at their instant: 0 where there are only opens or only closes.
function inTurns(step: PairsStep, events: string): string {
  const keys = byKey(step)
  const near = step.maxGapMs === undefined ? 'true' : `_us - _opened <= ${us(step.maxGapMs)}`
  const earlier = `over (${keys} order by _us range between unbounded preceding and 1 preceding)`
  return `select *,
      case when _opens > 0 and _closes > 0
        then 2 * row_number() over (${keys}, _us, _open order by _item) - case when _open <> _waits then 1 else 0 end
        else 0
      end as _turn
    from (
      select *,
        coalesce(last_value(_decides, true) ${earlier}, false) and coalesce(${near}, false) as _waits
      from (
        select *,
          case
            when _opens > _closes then true
            when _opens < _closes then false
            when not coalesce(${near}, false) then false
          end as _decides
        from (
          select *, max(case when _opens > 0 then _us end) ${earlier} as _opened
          from (
            select *,
              count_if(_open) over (${keys}, _us) as _opens,
              count_if(not _open) over (${keys}, _us) as _closes
            from (
  ${events}
            )
          )
        )
      )
    )`
}

function keptText({ name, type }: Column): string {
  const value = sparkName(name)
  if (type.is === 'timestamp') return `cast(unix_micros(${value}) as string)`
  return type.is === 'list' ? `to_json(${value})` : `cast(${value} as string)`
}

function us(ms: number): string {
  return String(BigInt(Math.round(ms)) * 1000n)
}
