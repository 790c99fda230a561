/** Windows over all rows at once, and what is far from the windows before it. */
import { sparkName, sparkRound, sparkText } from '../functions/spark-type.ts'
import type { Column } from '../plan/columns.ts'
import type { AnomaliesStep, WindowStep } from '../plan/plan.ts'
import { groupedSql, noneSql } from './aggregate.ts'

/** Every window that has a row, closed: each row stands in all of its windows. */
export function windowSql(step: WindowStep, inputs: readonly { relation: string; columns: Column[] }[]): string {
  const keys = step.by.map((name) => sparkName(name))
  const [sizeUs, slideUs] = [step.sizeMs * 1000, step.slideMs * 1000]
  const by = [...step.by, '_start']
  const grouped = inputs.map(({ relation, columns }, i) => {
    const last = `(unix_micros(_time) - pmod(unix_micros(_time), ${slideUs}))`
    const starts = `sequence(${last} - ${(Math.ceil(step.sizeMs / step.slideMs) - 1) * slideUs}, ${last}, ${slideUs})`
    const rows = `(
  select *
  from (select *, explode(${starts}) as _start from ${relation})
  where _start + ${sizeUs} > unix_micros(_time)
)`
    return groupedSql(by, step.inputs[i]?.aggregates ?? {}, columns, rows)
  })
  const results = step.inputs.flatMap(({ aggregates }, i) =>
    Object.entries(aggregates).map(([name, aggregate]) => {
      const column = `input_${i}.${sparkName(name)}`
      return `coalesce(${column}, ${noneSql(aggregate, inputs[i]?.columns ?? [], aggregate)}) as ${sparkName(name)}`
    }),
  )
  const using = [...keys, '_start'].join(', ')
  const names = grouped.map((_, i) => `select ${using} from input_${i}`)
  return `with ${grouped.map((sql, i) => `input_${i} as (\n${sql}\n)`).join(',\n')}
select
  ${[...keys, 'timestamp_micros(_start) as window_start', `timestamp_micros(_start + ${sizeUs}) as window_end`, ...results, 'true as final'].join(',\n  ')}
from (${names.join(' union ')})
${grouped.map((_, i) => `left join input_${i} using (${using})`).join('\n')}`
}

// Values are kept with 9 decimals, as whole numbers of them: larger ones are not judged.
const largest = 1e8

/** The windows whose values are far from those before them. */
export function anomaliesSql(step: AnomaliesStep, input: string): string {
  const judged = step.of.map((judge) => judgedSql(step, judge, input))
  return `select *\nfrom (\n${judged.join('\nunion all\n')}\n)`
}

function judgedSql(step: AnomaliesStep, { column, spike, drop }: AnomaliesStep['of'][number], input: string): string {
  const keys = step.by.map((name) => sparkName(name)).join(', ')
  const types = [
    ...(spike === undefined ? [] : [`when z_score > 0 then ${sparkText(spike)}`]),
    ...(drop === undefined ? [] : [`when z_score < 0 then ${sparkText(drop)}`]),
  ]
  const value = `cast(${sparkName(column)} as double)`
  const whole = `cast(rint(${value} * 1e9D) as bigint)`
  return `select
  ${keys}, window_start,
  case ${types.join(' ')} end as moment_type,
  value, mean, deviation, z_score
from (
  select *, ${sparkRound('try_divide(value - mean, deviation)', 9)} as z_score
  from (
    select
      ${keys}, window_start,
      _value / 1e9D as value,
      ${sparkRound(`cast(cast(cast(_s as decimal(28,0)) * cast(0.000000001 as decimal(9,9)) as decimal(38,9)) as double) / ${step.over}`, 9)} as mean,
      ${deviationOf(step.over)} as deviation
    from (
      select
        ${keys}, window_start, _value,
        count(*) over before as _n,
        sum(_value) over before as _s,
        sum(cast(_value as decimal(19,0)) * cast(_value as decimal(18,0))) over before as _q
      from (
        select ${keys}, window_start, ${whole} as _value
        from ${input}
        where final and abs(${value}) < ${largest}
      )
      window before as (partition by ${keys} order by window_start rows between ${step.over} preceding and 1 preceding)
    )
    where _n = ${step.over}
  )
  -- of windows that were all alike nothing is said
  where deviation > 0
)
where abs(z_score) >= ${step.threshold} and case ${types.join(' ')} end is not null`
}

// Of so many values, which is how many there are where it is asked: Spark may compute it before it looks. The formula of the
// registry, over whole numbers of 9 decimals: with S = n·m + r nothing is lost where values are large
// and lie close together.
function deviationOf(n: number): string {
  const [m, r] = [`cast(_s div ${n} as decimal(19,0))`, `cast(_s % ${n} as decimal(19,0))`]
  const variance = `(cast(_q - ${m} * cast(_s as decimal(19,0)) - ${r} * ${m} as double) - cast(${r} * ${r} as double) / ${n}) / ${n}`
  return sparkRound(`sqrt(greatest(${variance}, 0D)) / 1e9D`, 9)
}
