/**
 * Closed windows whose values are far from those before them. A value is judged against the last ones of its key that
 * closed before it; what is kept of a key are those, no more.
 */
import { deviationSql } from '../functions/aggregate.ts'
import { duckdbType } from '../functions/print.ts'
import type { Column } from '../plan/columns.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import type { AnomaliesStep } from '../plan/plan.ts'
import { beside, type Relation } from './operator.ts'

/** One batch of a step that finds anomalies. */
export interface AnomaliesRun {
  step: AnomaliesStep
  /** Rows of windows. */
  input: string
  columns: Column[]
  out: string
  state: string
  /** Whether the batch may close windows. */
  closes: boolean
}

// Values are kept with 9 decimals, so that the sums of their squares are exact; larger ones are not judged.
const kept = 'decimal(18,9)'
const largest = 1e8

/** The closed windows of a batch, as they are added to the state. */
export const addedWindows = (out: string): string => beside(out, 'added')
/** Those of the state that no later window will be judged by. */
export const goneWindows = (out: string): string => beside(out, 'gone')

export function judgedColumns({ of }: AnomaliesStep): string[] {
  return of.map(({ column }) => identifier(`${column}~`))
}

export function anomaliesStateSql({ step, columns, state }: Pick<AnomaliesRun, 'step' | 'columns' | 'state'>): string {
  const keys = step.by.map((name) => {
    const type = columns.find((column) => column.name === name)?.type ?? { is: 'text' }
    return `${identifier(name)} ${duckdbType(type)}`
  })
  return `create table ${state} (${[...keys, '_window bigint', ...judgedColumns(step).map((name) => `${name} ${kept}`)].join(', ')})`
}

/** Relations in order; the last one, `out`, holds the anomalies. */
export function anomaliesRelations({ step, input, out, state, closes }: AnomaliesRun): Relation[] {
  const keys = step.by.map((name) => identifier(name)).join(', ')
  const added = addedWindows(out)
  const all = `select * from ${state} semi join ${added} using (${keys}) union all by name select * from ${added}`
  const values = step.of.map(
    ({ column }) =>
      `  case when abs(${identifier(column)}::double) < ${largest} then ${identifier(column)}::${kept} end as ${identifier(`${column}~`)}`,
  )
  const judged = step.of.map((judge) => judgedSql(step, judge, all, added))
  const ranks = judgedColumns(step).map(
    (name) =>
      `coalesce(case when ${name} is not null then count(${name}) over (partition by ${keys} order by _window desc) end, ${step.over + 1}) > ${step.over}`,
  )
  // most batches close no window
  const none = `select
  0::bigint as _row,
  ${keys},
  make_timestamptz(_window) as window_start,
  null::varchar as moment_type,
  null::double as value,
  null::double as mean,
  null::double as deviation,
  null::double as z_score
from ${added}`
  const relations: Relation[] = [
    {
      name: added,
      as: 'table',
      select: `select ${keys}, epoch_us(window_start) as _window,\n${values.join(',\n')}\nfrom ${input}\nwhere final`,
    },
    {
      name: goneWindows(out),
      as: 'table',
      select: `select ${keys}, _window\nfrom (${all})\nqualify ${ranks.join('\n  and ')}`,
      unless: { empty: added, select: `select ${keys}, _window from ${added}` },
    },
    {
      name: out,
      as: 'table',
      select: `select
  row_number() over (order by window_start, ${keys}, moment_type) as _row,
  *
from (
${judged.join('\nunion all\n')}
)`,
      unless: { empty: added, select: none },
    },
  ]
  return closes ? relations : relations.map((relation) => ({ ...relation, empty: true }))
}

function judgedSql(
  step: AnomaliesStep,
  { column, spike, drop }: AnomaliesStep['of'][number],
  all: string,
  added: string,
): string {
  const keys = step.by.map((name) => identifier(name)).join(', ')
  const value = identifier(`${column}~`)
  const before = `(partition by ${keys} order by _window rows between ${step.over} preceding and 1 preceding)`
  const types = [
    ...(spike === undefined ? [] : [`when z_score > 0 then ${sqlText(spike)}`]),
    ...(drop === undefined ? [] : [`when z_score < 0 then ${sqlText(drop)}`]),
  ]
  return `select
  ${keys},
  make_timestamptz(_window) as window_start,
  case ${types.join(' ')} end as moment_type,
  value,
  mean,
  deviation,
  z_score
from (
  select *, round((value - mean) / deviation, 9) as z_score
  from (
    select
      ${keys}, _window, _value::varchar::double as value,
      round(_s::varchar::double / _n, 9) as mean,
      ${deviationSql('_n', '_s', '_q', 9)} as deviation
    from (
      select
        ${keys}, _window, ${value} as _value,
        count(*) over ${before} as _n,
        sum(${value}) over ${before} as _s,
        -- 38 digits: with fewer on both sides, DuckDB's product has no more than 18
        sum((${value}::decimal(38,9) * ${value})::decimal(38,18)) over ${before} as _q
      from (${all})
      where ${value} is not null
    )
    semi join ${added} using (${keys}, _window)
    where _n = ${step.over}
  )
  -- of windows that were all alike nothing is said
  where deviation > 0
)
where abs(z_score) >= ${step.threshold} and case ${types.join(' ')} end is not null`
}
