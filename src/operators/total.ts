/**
 * Aggregates of each key over all time. Of a batch only the keys it has rows for are read; a row that is taken back
 * (`_change` is -1) is taken out of the sums again, which is why only what can be taken back is allowed: counts, sums, and
 * whatever follows from how often each value comes.
 */
import { aggregates, type NumberPart } from '../functions/aggregate.ts'
import { duckdbType, printDuckdb, typeOfExpression } from '../functions/print.ts'
import type { Column, ColumnType } from '../plan/columns.ts'
import type { Aggregate } from '../plan/expression.ts'
import { identifier } from '../plan/identifier.ts'
import type { TotalStep } from '../plan/plan.ts'
import { changesOfSides, columnsNamed, type KeptColumn, type KeptPart, keyTextSql, storedName } from './keyed.ts'
import { beside, type Relation } from './operator.ts'

/** One batch of a step that adds up. */
export interface TotalRun {
  step: TotalStep
  input: string
  columns: Column[]
  /** Rows may be taken back: they carry `_change`. */
  changing: boolean
  out: string
}

/** How often each value of an expression comes, which several aggregates may share. */
interface ValueSet {
  is: 'members' | 'items'
  /** The name of the first aggregate that needs it. */
  name: string
  aggregate: Aggregate
  aggregates: string[]
}

interface TotalNumber extends NumberPart {
  column: string
  aggregate: string
}

const deltaName = (out: string): string => beside(out, 'delta')
const nowName = (out: string): string => beside(out, 'now')
const valuesName = (out: string, set: ValueSet): string => beside(out, `values_${set.name}`)
const changedName = (out: string, set: ValueSet): string => beside(out, `changed_${set.name}`)
const distinct = (set: ValueSet): string => identifier(`${set.name}~different`)

/** What the rows of a batch add to each key, by which the engine asks for what is stored. */
export function totalDeltas(run: TotalRun): Relation[] {
  const { step, input, columns, out, changing } = run
  const rows = `select
    ${[...step.by.map((name) => identifier(name)), ...Object.entries(step.aggregates).map(([name, aggregate]) => `${valueSql(aggregate, columns)} as ${identifier(`${name}~`)}`)].join(',\n    ')},
    ${keyTextSql(step.by)} as _key,
    ${changing ? '_change' : '1'} as _change
  from ${input}`
  const added = numbersOf(run).map(({ of, aggregate, column, type }) => {
    const value = identifier(`${aggregate}~`)
    const side = (sign: string) => `coalesce(${of(`case when _change ${sign} 0 then ${value} end`)}, 0)`
    const sum = changing ? `${side('>')} - ${side('<')}` : `coalesce(${of(value)}, 0)`
    return `,\n  (${sum})::${type} as ${identifier(column)}`
  })
  const keys = step.by.map((name) => identifier(name)).join(', ')
  const relations: Relation[] = [
    // read again for each set of values
    { name: beside(out, 'rows'), as: setsOf(run).length === 0 ? 'view' : 'table', select: rows },
    {
      name: deltaName(out),
      as: 'table',
      select: `select\n  ${keys},\n  _key,\n  sum(_change)::bigint as _rows${added.join('')}\nfrom ${beside(out, 'rows')}\ngroup by ${keys}, _key`,
    },
    ...setsOf(run).map((set): Relation => {
      const value = valueOf(set)
      return {
        name: changedName(out, set),
        as: 'table',
        select: `select _key, md5(_value) as _item, _value, sum(_change)::bigint as _n
from (select _key, _change, ${isList(set, columns) ? `unnest(${value})` : value}::varchar as _value from ${beside(out, 'rows')})
where _value is not null
group by all
having sum(_change) <> 0`,
      }
    }),
  ]
  const last = relations.at(-1)
  if (last !== undefined) last.fetches = totalKept(run)
  return relations
}

/** What is kept of the step: the numbers of each key, and how often each value comes. */
export function totalKept(run: TotalRun): KeptPart[] {
  const { step, out } = run
  return [
    {
      step: step.id,
      wanted: `select _key, '' as _item from ${deltaName(out)}`,
      due: false,
      stored: storedName(out),
      columns: storedNumbers(run),
      set: `select *, '' as _item, null::bigint as _due from ${nowName(out)} where _rows <> 0`,
      gone: `select _key, '' as _item from ${nowName(out)} where _rows = 0`,
    },
    ...setsOf(run).map((set): KeptPart => {
      const kept = set.is === 'items' ? [itemColumn, countColumn] : [countColumn]
      const values = set.is === 'items' ? '_value, ' : ''
      return {
        step: `${step.id}/${set.name}`,
        // whoever has to look at all values of a key needs all of them
        wanted:
          set.is === 'items'
            ? `select _key, null as _item from ${deltaName(out)}`
            : `select _key, _item from ${changedName(out, set)}`,
        due: false,
        stored: storedName(out, set.name),
        columns: kept,
        set: `select _key, _item, ${values}_is as _n, null::bigint as _due from ${valuesName(out, set)} where _is <> 0 and _is <> _was`,
        gone: `select _key, _item from ${valuesName(out, set)} where _is = 0 and _was <> 0`,
      }
    }),
  ]
}

const itemColumn: KeptColumn = { name: '_value', type: { is: 'text' } }
const countColumn: KeptColumn = { name: '_n', type: { is: 'integer' } }

/** Relations in order, once what is stored is there; the last one, `out`, says which totals have changed. */
export function totalRelations(run: TotalRun): Relation[] {
  const { step, out } = run
  const sets = setsOf(run)
  const keys = step.by.map((name) => identifier(name)).join(', ')
  const relations: Relation[] = []
  const table = (name: string, select: string): void => {
    relations.push({ name, as: 'table', select })
  }
  for (const set of sets) {
    const all = `select _key, _item, ${set.is === 'items' ? '_value, ' : ''}_n as _was, 0::bigint as _added from ${storedName(out, set.name)}
union all by name
select _key, _item, ${set.is === 'items' ? '_value, ' : ''}0::bigint as _was, _n as _added from ${changedName(out, set)}`
    table(
      valuesName(out, set),
      `select _key, _item, ${set.is === 'items' ? 'any_value(_value) as _value, ' : ''}sum(_was)::bigint as _was, sum(_was + _added)::bigint as _is
from (${all})
group by _key, _item`,
    )
  }
  const numbers = numbersOf(run).map(({ column, type }) => {
    const name = identifier(column)
    return `,\n  (coalesce(s.${name}, 0) + d.${name})::${type} as ${name}`
  })
  const differents = sets.map(
    (set, i) => `,\n  coalesce(s.${distinct(set)}, 0) + coalesce(m_${i}._more, 0) as ${distinct(set)}`,
  )
  const more = sets.map(
    (set, i) => `left join (
  select _key, (count(*) filter (where _was <= 0 and _is > 0) - count(*) filter (where _was > 0 and _is <= 0))::bigint as _more
  from ${valuesName(out, set)}
  group by _key
) m_${i} using (_key)`,
  )
  table(
    nowName(out),
    `select
  ${step.by.map((name) => `d.${identifier(name)}`).join(', ')},
  _key,
  coalesce(s._rows, 0) + d._rows as _rows${numbers.join('')}${differents.join('')}
from ${deltaName(out)} d
left join ${storedName(out)} s using (_key)
${more.join('\n')}`,
  )
  // as it was and as it is, in one go
  const side = (which: number, numbers: string): string => `select *, ${which} as _side from ${numbers}`
  const times = (which: number, column: string, set: ValueSet): string =>
    `select _key, ${which} as _side, _value as _item, ${column} as _n from ${valuesName(out, set)} where ${column} > 0`
  const sides = resultsSql(run, {
    numbers: `(${side(-1, storedName(out))} union all by name ${side(1, nowName(out))})`,
    sets,
    items: (set) => `${times(-1, '_was', set)} union all ${times(1, '_is', set)}`,
    select: '_key, _side',
    group: '_key, _side',
    by: ['_key', '_side'],
  })
  table(out, changesOfSides(keys, sides))
  return relations
}

/**
 * The same of keys of which the batch has every row there will ever be: nothing is stored of them, and nothing is taken
 * back. The last relation, `out`, has them all.
 */
export function totalAtOnce(run: TotalRun): Relation[] {
  const { step, input, columns, out } = run
  const keys = step.by.map((name) => identifier(name)).join(', ')
  const byKey = { select: `${keyTextSql(step.by)} as _key`, group: keys, by: ['_key'] }
  const rows = beside(out, 'rows')
  const values = Object.entries(step.aggregates).map(
    ([name, aggregate]) => `,\n  ${valueSql(aggregate, columns)} as ${identifier(`${name}~`)}`,
  )
  const numbers = numbersOf(run).map(
    ({ of, aggregate, column, type }) =>
      `,\n  coalesce(${of(identifier(`${aggregate}~`))}, 0)::${type} as ${identifier(column)}`,
  )
  const direct = new Map<string, string>()
  for (const [name, aggregate] of Object.entries(step.aggregates)) {
    const sql = aggregates[aggregate.aggregate].atOnce?.(identifier(`${name}~`))
    if (sql !== undefined && valueType(aggregate, columns).is !== 'list') direct.set(name, sql)
  }
  const sets = setsOf(run).filter(({ aggregates: names }) => !names.every((name) => direct.has(name)))
  const all = [...direct].map(([name, sql]) => `,\n  ${sql} as ${identifier(`${name}~all`)}`)
  const made: Made = {
    numbers: nowName(out),
    sets,
    direct,
    items: (set) => `select ${keys}, _item, _n from ${valuesName(out, set)}`,
    ...byKey,
  }
  return [
    // read again for each set of values
    {
      name: rows,
      as: sets.length === 0 ? 'view' : 'table',
      select: `select\n  ${keys}${values.join('')}\nfrom ${input}`,
    },
    ...sets.map(
      (set): Relation => ({
        name: valuesName(out, set),
        as: 'table',
        select: `select ${keys}, _value::varchar as _item, count(*)::bigint as _n
from (select ${keys}, ${isList(set, columns) ? `unnest(${valueOf(set)})` : valueOf(set)} as _value from ${rows})
where _value is not null
group by ${keys}, _value`,
      }),
    ),
    {
      name: nowName(out),
      as: 'table',
      select: `select
  ${keys},
  ${byKey.select},
  count(*)::bigint as _rows${numbers.join('')}${all.join('')}
from ${rows}
group by ${byKey.group}`,
    },
    {
      name: out,
      as: 'table',
      // in the order of their keys, in which an index takes rows sooner
      select: `select row_number() over () as _row, *, 1 as _change
from (
${resultsSql(run, made)}
order by ${keys}
)`,
    },
  ]
}

/** What the aggregates are made of: the numbers of each key, and its items with `_n`, to be grouped. */
interface Made {
  numbers: string
  sets: ValueSet[]
  /** Aggregates that are there already, as `<name>~all`. */
  direct?: ReadonlyMap<string, string>
  items(set: ValueSet): string
  /** What a group is called, and by what it is grouped. */
  select: string
  group: string
  /** The columns that this gives a group, by which the two are joined. */
  by: readonly string[]
}

// The aggregates of keys that have rows.
function resultsSql(run: TotalRun, made: Made): string {
  const { step, columns } = run
  const { sets, direct } = made
  const results = Object.entries(step.aggregates).map(([name, aggregate]) => {
    const { parts, result } = aggregates[aggregate.aggregate]
    const type = valueType(aggregate, columns)
    const resulting = duckdbType(result(type).type)
    if (parts.is === 'numbers') {
      const of = totalParts(aggregate, type).map((part) => identifier('n', `${name}~${part.name}`))
      const sql = parts.result(of, type)
      // a sum of no values is null, and this one has been added to and taken from
      const counted = identifier('n', `${name}~n`)
      return `(${aggregate.aggregate === 'sum' ? `case when ${counted} > 0 then ${sql} end` : sql})::${resulting} as ${identifier(name)}`
    }
    if (direct?.has(name)) return `${identifier('n', `${name}~all`)}::${resulting} as ${identifier(name)}`
    const i = sets.findIndex(({ aggregates: shared }) => shared.includes(name))
    const set = sets[i]
    if (set === undefined || parts.is === 'members')
      return `${set === undefined ? '0' : `n.${distinct(set)}`} as ${identifier(name)}`
    return `coalesce(set_${i}.${identifier(name)}, ${parts.none})::${resulting} as ${identifier(name)}`
  })
  const joins = sets.flatMap((set, i) => {
    if (set.is === 'members') return []
    const values = set.aggregates.flatMap((name) => {
      const aggregate = step.aggregates[name]
      const { parts } = aggregates[aggregate?.aggregate ?? 'counts']
      return parts.is === 'items' ? [`${parts.result(aggregate?.args ?? [])} as ${identifier(name)}`] : []
    })
    return [
      `left join (
  select ${made.select}, ${values.join(', ')}
  from (${made.items(set)})
  group by ${made.group}
) set_${i} using (${made.by.join(', ')})`,
    ]
  })
  return `select
  ${[...step.by.map((name) => `n.${identifier(name)}`), ...results, ...(made.by.includes('_side') ? ['_side'] : [])].join(',\n  ')}
from ${made.numbers} n
${joins.join('\n')}
where n._rows > 0`
}

function totalParts({ aggregate }: Aggregate, type: ColumnType): NumberPart[] {
  const { parts } = aggregates[aggregate]
  if (parts.is !== 'numbers') return []
  const own = parts.of(type)
  return aggregate === 'sum'
    ? [...own, { name: 'n', type: 'bigint', of: (value) => `count(${value})`, merge: 'sum' }]
    : own
}

function numbersOf({ step, columns }: TotalRun): TotalNumber[] {
  return Object.entries(step.aggregates).flatMap(([name, aggregate]) =>
    totalParts(aggregate, valueType(aggregate, columns)).map((part) => ({
      ...part,
      column: `${name}~${part.name}`,
      aggregate: name,
    })),
  )
}

function storedNumbers(run: TotalRun): KeptColumn[] {
  const { step, columns } = run
  return [
    ...columnsNamed(columns, step.by),
    { name: '_rows', type: { is: 'integer' } },
    ...numbersOf(run).map(({ column, type }): KeptColumn => ({ name: column, type: numberType(type) })),
    ...setsOf(run).map((set): KeptColumn => ({ name: `${set.name}~different`, type: { is: 'integer' } })),
  ]
}

// The parts name DuckDB's types.
function numberType(type: string): ColumnType {
  const [, precision, scale] = /^decimal\((\d+),(\d+)\)$/i.exec(type) ?? []
  return precision === undefined
    ? { is: 'integer' }
    : { is: 'decimal', precision: Number(precision), scale: Number(scale) }
}

function setsOf({ step }: Pick<TotalRun, 'step'>): ValueSet[] {
  const sets = new Map<string, ValueSet>()
  for (const [name, aggregate] of Object.entries(step.aggregates)) {
    const { parts } = aggregates[aggregate.aggregate]
    if (parts.is === 'numbers') continue
    const same = JSON.stringify([parts.is, aggregate.of, aggregate.where ?? null])
    const set = sets.get(same) ?? { is: parts.is, name, aggregate, aggregates: [] }
    set.aggregates.push(name)
    sets.set(same, set)
  }
  return [...sets.values()]
}

// The column with an aggregate's value of each row.
function valueOf(set: ValueSet): string {
  return identifier(`${set.name}~`)
}

function isList({ aggregate }: ValueSet, columns: readonly Column[]): boolean {
  return valueType(aggregate, columns).is === 'list'
}

function valueType({ of }: Aggregate, columns: readonly Column[]): ColumnType {
  return of === undefined ? { is: 'integer' } : typeOfExpression(of, columns).type
}

// Null for the rows that do not count.
function valueSql({ of, where }: Aggregate, columns: readonly Column[]): string {
  const value = of === undefined ? '1' : printDuckdb(of, columns)
  return where === undefined ? value : `case when ${printDuckdb(where, columns)} then ${value} end`
}

/** What a step says of itself, for `explain`. */
export function totalSays({ by, aggregates: asked }: TotalStep): string {
  return `keeps ${Object.keys(asked).join(', ')} of each ${by.join(', ')} over all time`
}
