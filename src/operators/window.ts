/**
 * Windows of event time over rows and what is kept of earlier ones. A row is added to its pane, once; windows are summed
 * up over panes, so that the work of a row does not grow with the number of windows it is in. A pane is the greatest
 * length of which both size and slide are multiples, numbered from 1970. How many different members the windows have follows
 * from edges: at which pane the windows that begin there have one more, or one less.
 *
 * Nothing here changes the state: a batch makes the panes it adds to, and the engine puts them in place when the database
 * has them too. So a batch that fails, or is refused, runs again as if it had not run. It is long because panes, the sets in them
 * and the windows over them are told by SQL that only makes sense side by side.
 */
import { aggregates, largestValue, type NumberPart } from '../functions/aggregate.ts'
import { duckdbType, printDuckdb, typeOfExpression } from '../functions/print.ts'
import { greatestDivisor } from '../plan/check-windows.ts'
import type { Column, ColumnType } from '../plan/columns.ts'
import type { Aggregate } from '../plan/expression.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import type { WindowStep } from '../plan/plan.ts'
import { beside, type Moments, momentOf, type Relation } from './operator.ts'

/** One batch of a window step. */
export interface WindowRun extends Moments {
  step: WindowStep
  /** The rows of each input, in the order of the step's; undefined where the batch has none. */
  inputs: { relation: string | undefined; columns: Column[] }[]
  out: string
  /** The table of the state with this suffix. */
  state(suffix: string): string
  /** Whether windows that have changed and stay open are handed on. */
  updates: boolean
  /** No window is handed on before all is read: edges are made then. */
  waits: boolean
  /** The batch has few rows: panes are joined to each window that has them, which is the least to make ready. */
  few: boolean
}

/** Panes of a window step: their length and the panes of a window in microseconds, and in panes. */
export function panesOf({ sizeMs, slideMs }: WindowStep) {
  const paneMs = greatestDivisor(sizeMs, slideMs)
  return { paneUs: paneMs * 1000, sizeUs: sizeMs * 1000, perWindow: sizeMs / paneMs, perSlide: slideMs / paneMs }
}

/** Whether a window ends while the watermark moves, whatever rows there are. */
export function mayClose(step: WindowStep, { before, after }: Moments): boolean {
  if (after === undefined || after === before) return false
  const { sizeMs, slideMs } = step
  const ended = (watermark: number): number => Math.floor((Math.round(watermark) - sizeMs) / slideMs)
  return before === undefined || ended(after) > ended(before)
}

/** The first pane that is still needed when windows up to a watermark are closed. */
export function firstOpenPane(step: WindowStep, watermarkMs: number): number {
  const { paneUs, sizeUs, perSlide } = panesOf(step)
  // the first window that ends after it begins at a multiple of the slide
  const first = Math.floor((watermarkMs * 1000 - sizeUs) / paneUs) + 1
  return Math.ceil(first / perSlide) * perSlide
}

// ---- what a step keeps of its panes --------------------------------------------------------------------------------

/** The numbers of a pane: columns of the state. */
export interface PaneNumber extends NumberPart {
  /** `<aggregate>~<part>`. */
  column: string
  aggregate: string
  input: number
}

/** Values or items of panes, which several aggregates may share. */
export interface PaneSet {
  is: 'members' | 'items'
  input: number
  /** The name of the first aggregate that needs it, by which it is stored. */
  name: string
  aggregates: string[]
}

interface Part {
  name: string
  input: number
  aggregate: Aggregate
}

function partsOf(step: WindowStep): Part[] {
  return step.inputs.flatMap(({ aggregates: asked }, input) =>
    Object.entries(asked).map(([name, aggregate]) => ({ name, input, aggregate })),
  )
}

export function paneNumbers(step: WindowStep, inputs: readonly Column[][]): PaneNumber[] {
  return partsOf(step).flatMap(({ name, input, aggregate }) => {
    const { parts } = aggregates[aggregate.aggregate]
    if (parts.is !== 'numbers') return []
    const type = valueType(aggregate, inputs[input] ?? [])
    return parts.of(type).map((part) => ({ ...part, column: `${name}~${part.name}`, aggregate: name, input }))
  })
}

export function paneSets(step: WindowStep): PaneSet[] {
  const sets = new Map<string, PaneSet>()
  for (const { name, input, aggregate } of partsOf(step)) {
    const { parts } = aggregates[aggregate.aggregate]
    if (parts.is === 'numbers') continue
    const same = JSON.stringify([parts.is, input, aggregate.of, aggregate.where ?? null])
    const set = sets.get(same) ?? { is: parts.is, input, name, aggregates: [] }
    set.aggregates.push(name)
    sets.set(same, set)
  }
  return [...sets.values()]
}

/** The names of the relations of a batch that hold what it adds to the state. */
export const addedNumbers = (out: string): string => beside(out, 'numbers')
/** The table of the state that holds a set, apart from the others whatever the aggregate is called. */
export const setSuffix = ({ name }: PaneSet): string => `set ${name}`
export const addedTo = (out: string, { name }: PaneSet): string => beside(out, `added_${name}`)
/** Of a set of members: where one more, or one less, is in the windows that begin from there on. */
export const edgesSuffix = ({ name }: PaneSet): string => `edges ${name}`
export const addedEdges = (out: string, { name }: PaneSet): string => beside(out, `edges_${name}`)
export const lateName = (out: string): string => beside(out, 'late')
export const unfitName = (out: string): string => beside(out, 'unfit')

/** The tables of the state, to be made when a worker begins. */
export function windowStateSql({ step, inputs, state }: Pick<WindowRun, 'step' | 'inputs' | 'state'>): string[] {
  const keys = step.by.map((name) => `${identifier(name)} ${duckdbType(typeOf(inputs[0]?.columns ?? [], name))}`)
  const numbers = paneNumbers(
    step,
    inputs.map(({ columns }) => columns),
  ).map(({ column, type }) => `${identifier(column)} ${type}`)
  return [
    `create table ${state('numbers')} (${[...keys, '_pane bigint', '_rows bigint', ...numbers].join(', ')})`,
    // panes that have changed since their windows were last handed on
    `create table ${state('dirty')} (${[...keys, '_pane bigint'].join(', ')})`,
    ...paneSets(step).flatMap((set) => {
      const kept = set.is === 'members' ? ['_member bigint'] : ['_item varchar', '_n bigint']
      const table = `create table ${state(setSuffix(set))} (${[...keys, '_pane bigint', ...kept].join(', ')})`
      if (set.is === 'items') return [table]
      return [
        table,
        `create table ${state(edgesSuffix(set))} (${[...keys, '_at bigint', '_change bigint'].join(', ')})`,
      ]
    }),
  ]
}

// ---- one batch -----------------------------------------------------------------------------------------------------

/** Relations in order; the last one, `out`, holds the windows that are handed on. */
export function windowRelations(run: WindowRun): Relation[] {
  const { step, out } = run
  const present = run.inputs.flatMap(({ relation, columns }, input) =>
    relation === undefined ? [] : [{ relation, columns, input }],
  )
  const relations: Relation[] = []
  const table = (name: string, select: string): void => {
    relations.push({ name, as: 'table', select })
  }
  for (const input of present) table(judgedName(out, input.input), judgedSql(run, input))
  const view = (name: string, select: string): void => {
    relations.push({ name, as: 'view', select })
  }
  view(lateName(out), unionOf(present.map((input) => lateSql(run, input))) ?? noneOf(lateColumns))
  view(unfitName(out), unionOf(present.map((input) => unfitSql(run, input))) ?? noneOf(unfitColumns))
  for (const { input } of present)
    view(takenName(out, input), `select * from ${judgedName(out, input)} where _verdict = 0`)
  table(addedNumbers(out), addedNumbersSql(run))
  for (const set of paneSets(step)) {
    table(addedTo(out, set), addedToSql(run, set))
    if (set.is === 'members') table(addedEdges(out, set), addedEdgesSql(run, set))
  }
  // of few rows a table is not worth its making
  if (!run.few) table(windowsOf(run), windowsSql(run))
  const windows = run.few ? `with ${windowsOf(run)} as materialized (\n${windowsSql(run)}\n)\n` : ''
  table(out, `${windows}${valuesSql(run)}`)
  return relations
}

interface Present {
  relation: string
  columns: Column[]
  input: number
}

const lateColumns = ['_row bigint', '_time timestamptz', '_window_start timestamptz', '_late_by_ms bigint']
const unfitColumns = ['_row bigint', 'code varchar', 'column_name varchar', 'message varchar']

/** The relation of the windows that are handed on. */
const windowsOf = ({ out, few }: WindowRun): string => (few ? '_windows' : beside(out, 'windows'))
const judgedName = (out: string, input: number): string => beside(out, `judged_${input + 1}`)
const takenName = (out: string, input: number): string => beside(out, `taken_${input + 1}`)

// Half-open: a window that ends at the watermark is closed. The last window of a row begins at the slide before it.
function isLate(run: WindowRun): string {
  const before = momentOf(run, 'before')
  return before === undefined ? 'false' : `${lastWindow(run.step)} + ${run.step.sizeMs * 1000} <= ${before}`
}

function lastWindow(step: WindowStep): string {
  return floored('epoch_us(_time)', step.slideMs * 1000)
}

// The multiple of `step` at or before a whole number, also a negative one.
function floored(value: string, step: number): string {
  return `(${value} - ((${value} % ${step}) + ${step}) % ${step})`
}

// Every row, once: its pane, what each aggregate needs of it, and a verdict: 0 when it is taken, 1 when it is late, else the
// number of the check that it fails and one more.
function judgedSql(run: WindowRun, { relation, columns, input }: Present): string {
  const { step } = run
  // aggregates that share a set read it under the name of the first
  const shared = new Set(paneSets(step).flatMap(({ aggregates: [, ...others] }) => others))
  const values = Object.entries(step.inputs[input]?.aggregates ?? {})
    .filter(([name, aggregate]) => !shared.has(name) && !countsRows(aggregate))
    .map(([name, aggregate]) => `,\n    ${valueSql(aggregate, columns)} as ${identifier(name)}`)
  const { paneUs } = panesOf(step)
  const verdicts = [
    'when _late then 1',
    ...unfitChecks(step, input, columns).map(({ when }, i) => `when ${when} then ${i + 2}`),
  ]
  return `select
  * exclude (_late),
  (case ${verdicts.join(' ')} else 0 end)::smallint as _verdict
from (
  select
    ${keysOf(step)},
    ${floored('epoch_us(_time)', paneUs)} // ${paneUs} as _pane,
    _row,
    ${isLate(run)} as _late${values.join('')}
  from ${relation}
)`
}

// What counts every row needs no value of it.
function countsRows({ aggregate, of, where }: Aggregate): boolean {
  return aggregate === 'count' && of === undefined && where === undefined
}

interface UnfitCheck {
  when: string
  code: string
  column: string | undefined
  message: string
}

// Why a row that is not late cannot be taken: its key cannot be stored, or a value not be added up.
function unfitChecks(step: WindowStep, input: number, columns: Column[]): UnfitCheck[] {
  const key = step.by.find((name) => typeOf(columns, name).is === 'text')
  const tooLong = keyTooLong(step, columns).map((when) => ({
    when,
    code: 'KEY_TOO_LONG',
    column: key,
    message: `the key (${step.by.join(', ')}) has more than ${maxKeyBytes} bytes, which no index holds`,
  }))
  const tooLarge = Object.entries(step.inputs[input]?.aggregates ?? {}).flatMap(([name, aggregate]) => {
    const largest = aggregate.of === undefined ? undefined : largestValue(aggregate, valueType(aggregate, columns))
    // without abs, which the smallest integer has none of
    const value = identifier(name)
    if (largest === undefined) return []
    const when = `${value} >= ${largest}::double or ${value} <= -${largest}::double`
    return [
      { when, code: 'OUT_OF_RANGE', column: undefined, message: `the value of ${name} is too large to be added up` },
    ]
  })
  return [...tooLong, ...tooLarge]
}

// An index entry of the store must fit a third of a page, beside the names of pipeline, step and aggregate.
const maxKeyBytes = 2000

// A key is looked at as it is stored only when it could be too long: a character takes six bytes of JSON at most.
function keyTooLong({ by }: WindowStep, columns: Column[]): string[] {
  const texts = by.filter((name) => typeOf(columns, name).is === 'text').map((name) => identifier(name))
  if (texts.length === 0) return []
  const isShort = `${texts.map((name) => `length(${name})`).join(' + ')} <= ${Math.floor(maxKeyBytes / 6) - 100}`
  const stored = `octet_length(encode(to_json([${texts.join(', ')}])::varchar))`
  return [`case when ${isShort} then false else ${stored} > ${maxKeyBytes} end`]
}

function lateSql(run: WindowRun, { relation }: Present): string {
  const { step } = run
  return `select
  _row,
  _time,
  make_timestamptz(${lastWindow(step)}) as _window_start,
  ((${momentOf(run, 'before') ?? '0'} - epoch_us(_time)) // 1000)::bigint as _late_by_ms
from ${relation}
where ${isLate(run)}`
}

function unfitSql({ step, out }: WindowRun, { input, columns }: Present): string {
  const checks = unfitChecks(step, input, columns)
  if (checks.length === 0) return noneOf(unfitColumns)
  const reason = (of: (check: UnfitCheck) => string | undefined): string =>
    `case _verdict ${checks.map((check, i) => `when ${i + 2} then ${textOrNull(of(check))}`).join(' ')} end`
  return `select
  _row,
  ${reason(({ code }) => code)} as code,
  ${reason(({ column }) => column)}::varchar as column_name,
  ${reason(({ message }) => message)} as message
from ${judgedName(out, input)}
where _verdict > 1`
}

function textOrNull(text: string | undefined): string {
  return text === undefined ? 'null' : sqlText(text)
}

// The panes that the batch adds to, with their new numbers.
function addedNumbersSql(run: WindowRun): string {
  const { step, out, inputs, state } = run
  const numbers = numbersOf(run)
  const keys = keysOf(step)
  const present = inputs.flatMap(({ relation }, input) => (relation === undefined ? [] : [input]))
  const each = present.map((input) => {
    const own = numbers.filter((number) => number.input === input)
    const parts = own.map(({ column, aggregate, of }) => {
      const asked = step.inputs[input]?.aggregates[aggregate]
      const value = asked !== undefined && countsRows(asked) ? '1' : identifier(aggregate)
      return `,\n  ${of(value)} as ${identifier(column)}`
    })
    return `select\n  ${keys},\n  _pane,\n  count(*) as _rows${parts.join('')}\nfrom ${takenName(out, input)}\ngroup by all`
  })
  if (each.length === 1) {
    const columns = numbers.map((number) => {
      const column = identifier(number.column)
      const sum =
        number.input === present[0] ? mergedSql(number, `added.${column}`, `kept.${column}`) : `kept.${column}`
      return `${sum} as ${column}`
    })
    return `select ${[keys, '_pane', 'added._rows + coalesce(kept._rows, 0) as _rows', ...columns].join(',\n  ')}
from (
${each[0]}
) added
left join ${state('numbers')} kept using (${keys}, _pane)`
  }
  if (each.length === 0) return `select * from ${state('numbers')} where false`
  const merged = numbers.map(
    ({ column, merge, type }) => `${merge}(${identifier(column)})::${type} as ${identifier(column)}`,
  )
  return `with added as (
${each.join('\nunion all by name\n')}
)
select ${[keys, '_pane', 'sum(_rows)::bigint as _rows', ...merged].join(',\n  ')}
from (
  select * from added
  union all by name
  select * from ${state('numbers')} semi join added using (${keys}, _pane)
)
group by ${keys}, _pane`
}

// Two numbers of a pane as one; of one that is null it is the other.
function mergedSql({ merge, type }: PaneNumber, one: string, other: string): string {
  switch (merge) {
    case 'sum':
      return `coalesce(${one} + ${other}, ${one}, ${other})::${type}`
    case 'min':
      return `least(${one}, ${other})::${type}`
    case 'max':
      return `greatest(${one}, ${other})::${type}`
  }
}

function addedToSql({ step, out, inputs, state }: WindowRun, set: PaneSet): string {
  const keys = keysOf(step)
  const { relation } = inputs[set.input] ?? {}
  if (relation === undefined) return `select * from ${state(setSuffix(set))} where false`
  const taken = takenName(out, set.input)
  const value = identifier(set.name)
  if (set.is === 'members') {
    // values that the pane has already add nothing
    return `select ${keys}, _pane, _member
from (
  select ${keys}, _pane, (md5_number_lower(_value) >> 1)::bigint as _member
  from (select distinct ${keys}, _pane, ${value}::varchar as _value from ${taken} where ${value} is not null)
)
anti join (from ${state(setSuffix(set))} ${panesNear(taken)}) using (${keys}, _pane, _member)`
  }
  const aggregate = step.inputs[set.input]?.aggregates[set.name]
  const isList = aggregate !== undefined && valueType(aggregate, inputs[set.input]?.columns ?? []).is === 'list'
  return `select ${keys}, _pane, _item, count(*) as _n
from (select ${keys}, _pane, ${isList ? `unnest(${value})` : value} as _item from ${taken})
where _item is not null
group by all`
}

/**
 * A member counts in the windows that begin after its pane before and no later than its pane: one more there, and one less
 * behind. `panes` is a select of keys, `_pane` and `_member`.
 */
export function edgesSql(step: WindowStep, panes: string): string {
  const keys = keysOf(step)
  const first = `_pane - ${panesOf(step).perWindow - 1}`
  return `select ${keys}, _at, sum(_change)::bigint as _change
from (
  select ${keys},
    unnest([greatest(${first}, coalesce(_before + 1, ${first})), _pane + 1]) as _at,
    unnest([1, -1]) as _change
  from (
    ${beforeSql(['_member', ...step.by.map((name) => identifier(name))], panes)}
  )
)
group by ${keys}, _at
having sum(_change) <> 0`
}

// What the new panes of members change: the edges of all panes of these, without those that were there.
function addedEdgesSql({ step, out, state, waits, few }: WindowRun, set: PaneSet): string {
  if (waits) return `select * from ${state(edgesSuffix(set))} where false`
  const keys = keysOf(step)
  const added = addedTo(out, set)
  if (few) return newEdgesSql(step, added, state(setSuffix(set)))
  // a pane as far away as a window is long has no window in common with what is new
  const near = panesNear(added, panesOf(step).perWindow)
  const there = `select ${keys}, _pane, _member from (from ${state(setSuffix(set))} ${near}) semi join ${added} using (${keys}, _member)`
  return `select ${keys}, _at, sum(_change)::bigint as _change
from (
${edgesSql(step, `${there} union all select ${keys}, _pane, _member from ${added}`)}
union all
select ${keys}, _at, -_change
from (
${edgesSql(step, there)}
)
)
group by ${keys}, _at
having sum(_change) <> 0`
}

// The same of few panes, each beside the others of its member. The windows that begin after the pane before and no later than
// this one have the member now; of these, those that reach the next pane that was there had it already.
function newEdgesSql(step: WindowStep, added: string, there: string): string {
  const keys = keysOf(step)
  const reach = panesOf(step).perWindow - 1
  const before = 'max(_other) filter (_other < _pane)'
  const next = 'min(_other) filter (_other > _pane and _was_there)'
  return `select ${keys}, _at, sum(_change)::bigint as _change
from (
  select ${keys}, unnest([_from, _until]) as _at, unnest([1, -1]) as _change
  from (
    select ${keys},
      greatest(_pane - ${reach}, coalesce(${before} + 1, _pane - ${reach})) as _from,
      least(_pane + 1, coalesce(${next} - ${reach}, _pane + 1)) as _until
    from ${added}
    join (
      select ${keys}, _member, _pane as _other, true as _was_there from ${there}
      union all
      select ${keys}, _member, _pane as _other, false as _was_there from ${added}
    ) using (${keys}, _member)
    group by ${keys}, _member, _pane
  )
  where _from < _until
)
group by ${keys}, _at
having sum(_change) <> 0`
}

// Each pane with the one before it in the same group. Without a partition: for that DuckDB makes so much ready that a few
// rows take four times as long.
function beforeSql(group: string[], panes: string): string {
  const line = `(order by ${group.join(', ')}, _pane)`
  const same = group.map((name) => `lag(${name}) over ${line} = ${name}`).join(' and ')
  return `select *, case when ${same} then lag(_pane) over ${line} end as _before
    from (${panes})`
}

// ---- windows of panes ----------------------------------------------------------------------------------------------

// Which windows are handed on: those that close, and those that have changed.
function windowsSql(run: WindowRun): string {
  const { step, updates, out, state } = run
  const selects: string[] = []
  const [before, after] = [momentOf(run, 'before'), momentOf(run, 'after')]
  if (after !== undefined && mayClose(step, run)) {
    const closing = closingSql(step, [state('numbers'), addedNumbers(out)], before, after)
    selects.push(`select *, true as final\nfrom (${closing})`)
  }
  if (updates && step.emit.on === 'update') {
    const open = after === undefined ? '' : `\nwhere ${endOf(step)} > ${after}`
    selects.push(
      `select *, false as final\nfrom (${startsSql(step, panesIn(step, [state('dirty'), addedNumbers(out)]))})${open}`,
    )
  }
  return (
    unionOf(selects) ??
    `select ${keysOf(step)}, 0::bigint as _start, false as final from ${state('numbers')} where false`
  )
}

/** The windows over panes of these relations that close when the watermark moves; microseconds, as SQL. */
export function closingSql(step: WindowStep, relations: string[], before: string | undefined, after: string): string {
  const since = before === undefined ? '' : ` and ${endOf(step)} > ${before}`
  return `select * from (${startsSql(step, panesIn(step, relations))}) where ${endOf(step)} <= ${after}${since}`
}

function endOf(step: WindowStep): string {
  const { paneUs, sizeUs } = panesOf(step)
  return `_start * ${paneUs} + ${sizeUs}`
}

function panesIn(step: WindowStep, relations: string[]): string {
  return relations.map((relation) => `select ${keysOf(step)}, _pane from ${relation}`).join(' union ')
}

// The starts of the windows that have one of these panes, each once: of a pane those that the pane before it has not.
function startsSql(step: WindowStep, panes: string): string {
  const { perWindow, perSlide } = panesOf(step)
  const keys = keysOf(step)
  const first = `_pane - ${perWindow - 1}`
  return `select ${keys}, _start
from (
  select ${keys}, unnest(range(greatest(${first}, coalesce(_before + 1, ${first})), _pane + 1)) as _start
  from (
    ${beforeSql(
      step.by.map((name) => identifier(name)),
      panes,
    )}
  )
)${perSlide === 1 ? '' : `\nwhere _start % ${perSlide} = 0`}`
}

function valuesSql(run: WindowRun): string {
  const { step } = run
  const { paneUs, sizeUs } = panesOf(step)
  const windows = windowsOf(run)
  const keys = keysOf(step)
  const sets = paneSets(step)
  const columns = partsOf(step).map((part) => `  ${resultSql(run, part, sets)} as ${identifier(part.name)}`)
  const joins = sets.map((set, i) => `left join (\n${setValuesSql(run, set)}\n) set_${i} using (${keys}, _start)`)
  return `select
  row_number() over (order by _start, ${keys}) as _row,
  ${keys},
  make_timestamptz(_start * ${paneUs}) as window_start,
  make_timestamptz(_start * ${paneUs} + ${sizeUs}) as window_end,
${columns.join(',\n')}${columns.length > 0 ? ',\n' : ''}  final
from ${windows}
left join (
${numberValuesSql(run)}
) numbers using (${keys}, _start)
${joins.join('\n')}`
}

function resultSql(run: WindowRun, { name, input, aggregate }: Part, sets: PaneSet[]): string {
  const { parts, result } = aggregates[aggregate.aggregate]
  const type = valueType(aggregate, run.inputs[input]?.columns ?? [])
  if (parts.is === 'numbers') {
    const columns = parts.of(type).map((part) => identifier('numbers', `${name}~${part.name}`))
    return parts.result(columns, type)
  }
  const set = sets.findIndex(({ aggregates: shared }) => shared.includes(name))
  const value = identifier(`set_${set}`, parts.is === 'members' ? '_members' : name)
  if (parts.is === 'members') return `coalesce(${value}, 0)::bigint`
  return `coalesce(${value}, ${parts.none})::${duckdbType(result(type).type)}`
}

// Windows of no more panes than these are joined to each of them where there are few.
const panesToJoin = 12

// Windows in the order of time cost DuckDB three times as much on a few rows as a join does, and less on many.
function joins({ step, few }: WindowRun): boolean {
  return few && panesOf(step).perWindow <= panesToJoin
}

function panesOfWindowsSql(run: WindowRun): string {
  const { step } = run
  return `select ${keysOf(step)}, _start, unnest(range(_start, _start + ${panesOf(step).perWindow})) as _pane from ${windowsOf(run)}`
}

// A window's numbers are those of its panes, put together along the line of the panes of its key.
function numberValuesSql(run: WindowRun): string {
  const { step } = run
  const keys = keysOf(step)
  const numbers = numbersOf(run)
  const panes = `(partition by ${keys} order by _at range between current row and ${panesOf(step).perWindow - 1} following)`
  if (joins(run)) {
    const each = numbers.map(({ column, merge }) => `, ${merge}(${identifier(column)}) as ${identifier(column)}`)
    return `select ${keys}, _start${each.join('')}
from (${panesOfWindowsSql(run)})
join (${allNumbersSql(run)}) using (${keys}, _pane)
group by ${keys}, _start`
  }
  const merged = numbers.map(
    ({ column, merge }) => `  ${merge}(${identifier(column)}) over ${panes} as ${identifier(column)}`,
  )
  return `select * exclude (_is_window)
from (
  select
    ${keys}, _at as _start, _is_window${merged.map((sql) => `,\n  ${sql}`).join('')}
  from (
    select *, _pane as _at, false as _is_window from (${allNumbersSql(run)}) ${betweenSql(run)}
    union all by name
    select ${keys}, _start as _at, true as _is_window from ${windowsOf(run)}
  )
)
where _is_window`
}

function allNumbersSql({ step, out, state }: WindowRun): string {
  const added = addedNumbers(out)
  return `select * from ${state('numbers')} anti join ${added} using (${keysOf(step)}, _pane) union all by name select * from ${added}`
}

// Only the panes that some of the windows have.
function betweenSql(run: WindowRun): string {
  const { step } = run
  const windows = windowsOf(run)
  return `where _pane between (select min(_start) from ${windows}) and (select max(_start) + ${panesOf(step).perWindow - 1} from ${windows})`
}

// So that of a state with many open panes only a few are looked at.
function panesNear(relation: string, distance = 0): string {
  return `where _pane between (select min(_pane) - ${distance} from ${relation}) and (select max(_pane) + ${distance} from ${relation})`
}

function setValuesSql(run: WindowRun, set: PaneSet): string {
  const { step, out, state } = run
  const keys = keysOf(step)
  const windows = windowsOf(run)
  const { perWindow } = panesOf(step)
  if (set.is === 'members') {
    // the edges of a key add up to nothing, so that one line through all keys counts each
    return `select ${keys}, _start, _members
from (
  select ${keys}, _at as _start, _is_window, sum(_change) over (order by ${keys}, _at) as _members
  from (
    select ${keys}, _at, sum(_change) as _change, false as _is_window
    from (select * from ${state(edgesSuffix(set))} union all by name select * from ${addedEdges(out, set)})
    semi join ${windows} using (${keys})
    group by ${keys}, _at
    union all
    select ${keys}, _start as _at, 0 as _change, true as _is_window from ${windows}
  )
)
where _is_window`
  }
  // to find out which panes are near takes longer than to join few windows to all
  const near = joins(run) ? '' : ` ${betweenSql(run)}`
  const all = `select * from ${state(setSuffix(set))}${near} union all by name select * from ${addedTo(out, set)}${near}`
  const results = set.aggregates.map((name) => {
    const aggregate = step.inputs[set.input]?.aggregates[name]
    const { parts } = aggregates[aggregate?.aggregate ?? 'counts']
    return parts.is === 'items' ? `${parts.result(aggregate?.args ?? [])} as ${identifier(name)}` : ''
  })
  if (joins(run))
    return `select ${keys}, _start, ${results.join(', ')}
from (
  select ${keys}, _start, _item, sum(_n)::bigint as _n
  from (${panesOfWindowsSql(run)})
  join (${all}) using (${keys}, _pane)
  group by ${keys}, _start, _item
)
group by ${keys}, _start`
  return `select ${keys}, _start, ${results.join(', ')}
from (
  select ${keys}, _item, _at as _start, _is_window,
    (sum(_n) over (partition by ${keys}, _item order by _at range between current row and ${perWindow - 1} following))::bigint as _n
  from (
    select ${keys}, _item, _pane as _at, _n, false as _is_window from (${all})
    union all
    select ${keys}, _item, _start as _at, 0 as _n, true as _is_window
    from (${startsSql({ ...step, by: [...step.by, '_item'] }, `select distinct ${keys}, _item, _pane from (${all})`)})
    semi join ${windows} using (${keys}, _start)
  )
)
where _is_window
group by ${keys}, _start`
}

// ---- small parts ---------------------------------------------------------------------------------------------------

function numbersOf({ step, inputs }: WindowRun): PaneNumber[] {
  return paneNumbers(
    step,
    inputs.map(({ columns }) => columns),
  )
}

function keysOf(step: WindowStep): string {
  return step.by.map((name) => identifier(name)).join(', ')
}

function valueType({ of }: Aggregate, columns: readonly Column[]): ColumnType {
  return of === undefined ? { is: 'integer' } : typeOfExpression(of, columns).type
}

// Null for the rows that do not count.
function valueSql({ of, where }: Aggregate, columns: readonly Column[]): string {
  const value = of === undefined ? '1' : printDuckdb(of, columns)
  return where === undefined ? value : `case when ${printDuckdb(where, columns)} then ${value} end`
}

function typeOf(columns: readonly Column[], name: string): ColumnType {
  return columns.find((column) => column.name === name)?.type ?? { is: 'text' }
}

function unionOf(selects: string[]): string | undefined {
  return selects.length === 0 ? undefined : selects.join('\nunion all by name\n')
}

function noneOf(columns: string[]): string {
  return `select ${columns.map((column) => column.replace(/^(\S+) (\S+)$/, 'null::$2 as $1')).join(', ')} where false`
}
