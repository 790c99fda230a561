/** Aggregates over the rows of a group, as Spark's SQL: by the formulas of the registry, over all of the rows at once. */
import { aggregates, deviationDigits, typeOfAggregate } from '../functions/aggregate.ts'
import { printSpark } from '../functions/print-spark.ts'
import { sparkName, sparkRound, sparkType } from '../functions/spark-type.ts'
import { typeOfExpression } from '../functions/type-of.ts'
import type { Column, ColumnType } from '../plan/columns.ts'
import type { Aggregate } from '../plan/expression.ts'

/** The select that groups the rows of a relation by these columns. */
export function groupedSql(
  by: readonly string[],
  asked: Readonly<Record<string, Aggregate>>,
  columns: readonly Column[],
  relation: string,
): string {
  const keys = by.map((name) => sparkName(name))
  const itemized = Object.entries(asked).filter(([, { aggregate }]) => aggregates[aggregate].parts.is === 'items')
  // a median is one of Spark's own; what is made of how often each value comes takes a group of its own
  const counted = itemized.filter(([, { aggregate }]) => aggregate !== 'median')
  const plain = Object.entries(asked).filter(([name]) => !counted.some(([other]) => other === name))
  const main = `select
  ${[...keys, ...plain.map(([name, aggregate]) => `${plainSql(aggregate, columns)} as ${sparkName(name)}`)].join(',\n  ')}
from ${relation}
group by ${keys.join(', ')}`
  if (counted.length === 0) return main
  const joins = counted.map(
    ([name, aggregate], i) =>
      `left join (\n${itemsSql(keys, name, aggregate, columns, relation)}\n) items_${i} using (${keys.join(', ')})`,
  )
  const results = Object.entries(asked).map(([name, aggregate]) => {
    const column = sparkName(name)
    if (!counted.some(([other]) => other === name)) return `numbers.${column}`
    return `coalesce(items_${counted.findIndex(([other]) => other === name)}.${column}, ${aggregate.aggregate === 'top' ? 'cast(array() as array<string>)' : "'{}'"}) as ${column}`
  })
  return `select ${[...keys, ...results].join(', ')}
from (
${main}
) numbers
${joins.join('\n')}`
}

/** What an aggregate is of no row at all. */
export function noneSql({ aggregate }: Aggregate, columns: readonly Column[], asked: Aggregate): string {
  const { type } = typeOfAggregate(asked, columns)
  if (aggregate === 'count' || aggregate === 'countDistinct') return '0L'
  if (aggregate === 'top') return 'cast(array() as array<string>)'
  return aggregate === 'counts' ? "'{}'" : `cast(null as ${sparkType(type)})`
}

function plainSql(asked: Aggregate, columns: readonly Column[]): string {
  const value = valueSql(asked, columns)
  const type = valueType(asked, columns)
  switch (asked.aggregate) {
    case 'count':
      return `count(${value})`
    case 'countDistinct':
      return `count(distinct ${value})`
    case 'sum':
      return `sum(${addend(value, type)})`
    case 'min':
    case 'max':
      return `${asked.aggregate}(${value})`
    case 'mean':
      return `case when count(${value}) > 0 then ${sparkRound(`cast(sum(${addend(value, type)}) as double) / count(${value})`, 9)} end`
    case 'median':
      return `percentile(${value}, 0.5D)`
    case 'deviation':
      return deviationSql(value, type)
    case 'top':
    case 'counts':
      return ''
  }
}

// The formula of the registry, over whole numbers: values are taken in units of the last decimal that is kept of them. Those
// that are let in have no more than 16 digits so.
function deviationSql(value: string, type: ColumnType): string {
  const digits = deviationDigits(type)
  const whole = `cast(${unitsOf(value, type, digits)} as bigint)`
  const [n, s] = [`count(${value})`, `sum(cast(${whole} as decimal(38,0)))`]
  const q = `sum(cast(${whole} as decimal(19,0)) * cast(${whole} as decimal(18,0)))`
  const [m, r] = [`cast(${s} div ${n} as decimal(19,0))`, `cast(${s} % ${n} as decimal(19,0))`]
  const variance = `(cast(${q} - ${m} * ${s} - ${r} * ${m} as double) - cast(${r} * ${r} as double) / ${n}) / ${n}`
  return `case when ${n} > 0 then ${sparkRound(`sqrt(greatest(${variance}, 0D)) / 1e${digits}D`, 9)} end`
}

// Rounded as DuckDB does it, which adds a little to a double lest 2.5 units be less by its last binary digit.
function unitsOf(value: string, type: ColumnType, digits: number): string {
  if (type.is === 'integer') return value
  if (type.is === 'decimal') return `cast(${value} as decimal(22,${digits})) * cast(${10 ** digits} as decimal(7,0))`
  return `rint((${value}) * 1e${digits}D + sign(${value}) * 1e-9D)`
}

// Values are rounded once, as they come in, to the decimal in which they are added up.
function addend(value: string, type: ColumnType): string {
  if (type.is === 'integer') return `cast(${value} as decimal(38,0))`
  if (type.is === 'decimal') return `cast(${value} as decimal(38,${type.scale}))`
  return decimalOf(value)
}

/**
 * A double as the decimal(38,12) that DuckDB makes of it: the whole number nearest to 10^12 times the double, of which no
 * binary digit is dropped. Spark's cast goes by the shortest digits of the double. What has more digits than two integers
 * of 64 bits hold is left to that.
 */
function decimalOf(value: string): string {
  const scaled = `rint((${value}) * 1e12D)`
  const high = `floor(${scaled} / 4294967296D)`
  const exact = `cast(${high} as decimal(19,0)) * cast(4294967296 as decimal(10,0)) + cast(cast(${scaled} - ${high} * 4294967296D as bigint) as decimal(19,0))`
  return `cast(case when abs(${scaled}) < 3.9e28D then cast(${exact} as decimal(38,0)) * cast(0.000000000001 as decimal(12,12)) else cast(${value} as decimal(38,12)) end as decimal(38,12))`
}

function itemsSql(
  keys: string[],
  name: string,
  asked: Aggregate,
  columns: readonly Column[],
  relation: string,
): string {
  const value = valueSql(asked, columns)
  const item = valueType(asked, columns).is === 'list' ? `explode(${value})` : value
  const [most = 1] = asked.args ?? []
  const result =
    asked.aggregate === 'top'
      ? `transform(slice(array_sort(collect_list(struct(-_n as _less, _item))), 1, ${most}), _e -> _e._item)`
      : 'to_json(map_from_entries(collect_list(struct(_item, _n))))'
  return `  select ${keys.join(', ')}, ${result} as ${sparkName(name)}
  from (
    select ${keys.join(', ')}, _item, count(*) as _n
    from (select ${keys.join(', ')}, ${item} as _item from ${relation})
    where _item is not null
    group by ${keys.join(', ')}, _item
  )
  group by ${keys.join(', ')}`
}

function valueType({ of }: Aggregate, columns: readonly Column[]): ColumnType {
  return of === undefined ? { is: 'integer' } : typeOfExpression(of, columns).type
}

// Null for the rows that do not count.
function valueSql({ of, where }: Aggregate, columns: readonly Column[]): string {
  const value = of === undefined ? '1' : printSpark(of, columns)
  return where === undefined ? value : `case when ${printSpark(where, columns)} then ${value} end`
}
