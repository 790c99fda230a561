/** Places in a list are counted from 0. A null in a list equals nothing. */
import { MillraceError } from '../errors.ts'
import {
  boolean,
  type ColumnType,
  double,
  integer,
  listOf as listType,
  type ScalarKind,
  text,
  typeName,
} from '../plan/columns.ts'
import type { Literal } from '../plan/expression.ts'
import { sqlText } from '../plan/identifier.ts'
import { type Accepts, define } from './define.ts'
import { alike, castTo, commonOf, duckdbType } from './duckdb-type.ts'
import { sparkAlike, sparkCast, sparkText } from './spark-type.ts'
import type { Comparand, Operand, Value } from './value.ts'

const texts = listType(text)
const words: Accepts = { constant: 'list of text' }

export const listOf = define<
  <K extends ScalarKind>(first: Value<K>, ...others: Operand<NoInfer<K>>[]) => Value<`list of ${K}`>
>({
  name: 'listOf',
  says: 'A list of the values, in order; never null, though it may hold nulls.',
  args: ['alike', 'alike'],
  variadic: true,
  result: (types) => listType(scalar(commonOf(types))),
  nullable: () => false,
  duckdb: (args, types) => `[${alike(args, types).join(', ')}]`,
  spark: (args, types) => `array(${sparkAlike(args, types).join(', ')})`,
  examples: [
    { in: ['a', 'b'], out: ['a', 'b'] },
    { in: [1, null], out: [1, null], types: [integer, integer] },
    { in: [1, 0.5], out: [1, 0.5], types: [integer, double] },
  ],
})

export const listLength = define<(list: Value<`list of ${ScalarKind}`>) => Value<'integer'>>({
  name: 'listLength',
  says: 'How many elements the list has, nulls among them.',
  args: ['list'],
  result: integer,
  duckdb: ([list]) => `len(${list})`,
  spark: ([list]) => `cast(array_size(${list}) as bigint)`,
  examples: [
    { in: [['a', null]], out: 2, types: [texts] },
    { in: [[]], out: 0, types: [texts] },
    { in: [null], out: null, types: [texts] },
  ],
})

export const listContains = define<
  <K extends ScalarKind>(list: Value<`list of ${K}`>, value: Comparand<K>) => Value<'boolean'>
>({
  name: 'listContains',
  says: 'Whether an element of the list equals the value; null when the list or the value is null.',
  args: ['list', 'element'],
  result: boolean,
  duckdb: ([list = '', value = ''], [listed = texts, type = text]) => {
    const common = commonOf([elementOf(listed), type])
    return `list_contains(${castTo(listType(common), list, listed)}, ${castTo(common, value, type)})`
  },
  spark: ([list = '', value = ''], [listed = texts, type = text]) => {
    const common = commonOf([elementOf(listed), type])
    const [all, one] = [sparkCast(listType(common), list, listed), sparkCast(common, value, type)]
    return `(case when ${one} is not null then exists(${all}, _e -> _e <=> ${one}) end)`
  },
  examples: [
    { in: [['a', 'b'], 'b'], out: true },
    { in: [['a', null], 'b'], out: false, types: [texts, text] },
    { in: [['a', null], null], out: null, types: [texts, text] },
    { in: [[1, 2], 2], out: true, types: [listType(integer), integer] },
    { in: [[], 'a'], out: false, types: [texts, text] },
  ],
})

export const listGet = define<
  <K extends ScalarKind>(list: Value<`list of ${K}`>, place: Operand<'integer'>) => Value<K>
>({
  name: 'listGet',
  says: 'The element at a place of the list, counted from 0; null when there is no such place.',
  args: ['list', 'integer'],
  result: ([list]) => elementOf(list),
  nullable: () => true,
  duckdb: ([list, place], [type]) =>
    `(case when ${place} between 0 and 2147483646 then list_extract(${list}, ${place} + 1) end)::${duckdbType(elementOf(type))}`,
  spark: ([list, place]) =>
    `(case when ${place} between 0 and 2147483646 then get(${list}, cast(${place} as int)) end)`,
  examples: [
    { in: [['a', 'b'], 0], out: 'a' },
    { in: [['a', 'b'], 2], out: null },
    { in: [['a', 'b'], -1], out: null },
    { in: [[1, 2], 1], out: 2, types: [listType(integer), integer] },
    { in: [['a'], '9223372036854775807'], out: null, types: [texts, integer] },
  ],
})

export const listJoin = define<(list: Value<'list of text'>, separator: string) => Value<'text'>>({
  name: 'listJoin',
  says: 'The texts of the list as one, with a constant separator between them; nulls in the list are passed over.',
  args: ['list of text', { constant: 'text' }],
  result: text,
  // DuckDB gives null for a list of nothing but nulls, though not for an empty one.
  duckdb: ([list, separator]) => `array_to_string(list_filter(${list}, lambda part: part is not null), ${separator})`,
  spark: ([list, separator]) => `array_join(${list}, ${separator})`,
  examples: [
    { in: [['a', 'b'], ', '], out: 'a, b' },
    { in: [['a', null, ''], '-'], out: 'a-', types: [texts, text] },
    { in: [[], ','], out: '', types: [texts, text] },
    { in: [[null], ','], out: '', types: [texts, text] },
    { in: [null, ','], out: null, types: [texts, text] },
  ],
})

export const listDistinct = define<
  <K extends Exclude<ScalarKind, 'double' | 'json'>>(list: Value<`list of ${K}`>) => Value<`list of ${K}`>
>({
  name: 'listDistinct',
  says: 'The different elements of the list, each once, the least first and texts in binary order; without nulls, and not for doubles or JSON.',
  args: ['list'],
  result: ([list = texts]) => {
    const element = elementOf(list)
    if (element.is !== 'double' && element.is !== 'json') return list
    throw new MillraceError('WRONG_TYPE', { message: `listDistinct does not take a ${typeName(list)}` })
  },
  duckdb: ([list], [type = texts]) => `list_sort(list_distinct(${list}))::${duckdbType(type)}`,
  spark: ([list]) => `array_sort(array_distinct(filter(${list}, _e -> _e is not null)))`,
  examples: [
    { in: [['b', 'a', 'B', 'b']], out: ['B', 'a', 'b'] },
    { in: [[3, 3, null, -1]], out: [-1, 3], types: [listType(integer)] },
    { in: [[]], out: [], types: [texts] },
    { in: [null], out: null, types: [texts] },
  ],
})

export const countIn = define<(list: Value<'list of text'>, words: readonly string[]) => Value<'integer'>>({
  name: 'countIn',
  says: 'How many elements of the list are among the given words, repeats counted each time.',
  args: ['list of text', words],
  result: integer,
  duckdb: ([list], _, [, among]) => `len(${kept(list, among)})`,
  spark: ([list], _, [, among]) => `cast(array_size(${sparkKept(list, among)}) as bigint)`,
  examples: [
    {
      in: [
        ['so', 'good', 'so'],
        ['so', 'very'],
      ],
      out: 2,
    },
    { in: [['a', null], ['b']], out: 0, types: [texts, texts] },
    { in: [['a'], []], out: 0, types: [texts, texts] },
    { in: [null, ['a']], out: null, types: [texts, texts] },
  ],
})

export const keepOnly = define<(list: Value<'list of text'>, words: readonly string[]) => Value<'list of text'>>({
  name: 'keepOnly',
  says: 'The elements of the list that are among the given words, in order and with repeats.',
  args: ['list of text', words],
  result: texts,
  duckdb: ([list], _, [, among]) => kept(list, among),
  spark: ([list], _, [, among]) => sparkKept(list, among),
  examples: [
    {
      in: [
        ['Kappa', 'hi', 'LUL', 'Kappa'],
        ['Kappa', 'LUL'],
      ],
      out: ['Kappa', 'LUL', 'Kappa'],
    },
    { in: [['a', null], ["it's"]], out: [], types: [texts, texts] },
    { in: [["it's"], ["it's"]], out: ["it's"] },
    { in: [['a'], []], out: [], types: [texts, texts] },
    { in: [null, ['a']], out: null, types: [texts, texts] },
  ],
})

function elementOf(list: ColumnType | undefined): ColumnType {
  return list?.is === 'list' ? list.of : text
}

function scalar(type: ColumnType): ColumnType {
  if (type.is !== 'list') return type
  throw new MillraceError('WRONG_TYPE', {
    message: `listOf does not take a ${typeName(type)}: there are no lists of lists`,
  })
}

// The constants as they are: looking each element up in a list takes four times as long.
function kept(list: string | undefined, among: Literal['literal'] | undefined): string {
  const texts = Array.isArray(among) ? among.filter((word) => typeof word === 'string') : []
  const condition = texts.length === 0 ? 'false' : `word in (${texts.map(sqlText).join(', ')})`
  return `list_filter(${list}, lambda word: ${condition})`
}

function sparkKept(list: string | undefined, among: Literal['literal'] | undefined): string {
  const words = Array.isArray(among) ? among.filter((word) => typeof word === 'string') : []
  const condition = words.length === 0 ? 'false' : `_e in (${words.map(sparkText).join(', ')})`
  return `filter(${list}, _e -> ${condition})`
}
