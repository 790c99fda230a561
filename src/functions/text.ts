/**
 * Texts are sequences of Unicode code points, counted from 0. Upper and lower case go letter by letter, whatever the
 * language: İ becomes i, Σ is σ also at the end of a word, and ß becomes ẞ.
 */
import { boolean, integer, listOf, text } from '../plan/columns.ts'
import { define } from './define.ts'
import { sparkText } from './spark-type.ts'
import type { Operand, Value } from './value.ts'

type TextOfText = (value: Operand<'text'>) => Value<'text'>
type TextInText = (value: Operand<'text'>, part: Operand<'text'>) => Value<'boolean'>

// More code points than a text of DuckDB can have.
const beyondAnyText = 4_294_967_295

export const lower = define<TextOfText>({
  name: 'lower',
  says: 'The text in lower case, letter by letter: no letter becomes two, and none looks at its neighbours.',
  args: ['text'],
  result: text,
  duckdb: ([a]) => `lower(${a})`,
  spark: ([a]) => sparkLower(`${a}`),
  examples: [
    { in: ['PogChamp'], out: 'pogchamp' },
    { in: ['ÀÉÎ ΑΣ'], out: 'àéî ασ' },
    { in: [''], out: '' },
    { in: [null], out: null, types: [text] },
  ],
})

export const upper = define<TextOfText>({
  name: 'upper',
  says: 'The text in upper case, letter by letter: no letter becomes two.',
  args: ['text'],
  result: text,
  duckdb: ([a]) => `upper(${a})`,
  spark: ([a]) =>
    `(case when ${a} rlike '^[\\x00-\\x7F]*\\z' then upper(${a}) else ` +
    `array_join(transform(split(${a}, ''), _c -> case when _c in (${newer.lower}) then _c when length(upper(_c)) > 1 then translate(_c, '${several.from}', '${several.to}') else upper(_c) end), '') end)`,
  examples: [
    { in: ['PogChamp'], out: 'POGCHAMP' },
    { in: ['àéî'], out: 'ÀÉÎ' },
    { in: ['Straße'], out: 'STRAẞE' },
    { in: ['ﬁ'], out: 'ﬁ' },
  ],
})

export const trim = define<TextOfText>({
  name: 'trim',
  says: 'The text without spaces, tabs and line breaks at its ends.',
  args: ['text'],
  result: text,
  duckdb: ([a]) => `trim(${a}, e' \\t\\n\\r')`,
  spark: ([a]) => `trim(both ' \\t\\n\\r' from ${a})`,
  examples: [
    { in: ['  a b\t\n'], out: 'a b' },
    { in: ['\u00a0a'], out: '\u00a0a' },
    { in: [' '], out: '' },
  ],
})

export const textLength = define<(value: Operand<'text'>) => Value<'integer'>>({
  name: 'textLength',
  says: 'How many Unicode code points the text has.',
  args: ['text'],
  result: integer,
  duckdb: ([a]) => `length(${a})`,
  spark: ([a]) => `cast(length(${a}) as bigint)`,
  examples: [
    { in: ['naïve'], out: 5 },
    { in: ['👍🏽'], out: 2 },
    { in: [''], out: 0 },
  ],
})

export const concat = define<(first: Operand<'text'>, ...others: Operand<'text'>[]) => Value<'text'>>({
  name: 'concat',
  says: 'The texts one after the other; null when any is null.',
  args: ['text', 'text'],
  variadic: true,
  result: text,
  duckdb: (args) => `(${args.join(' || ')})`,
  spark: (args) => `concat(${args.join(', ')})`,
  examples: [
    { in: ['a', '-', 'b'], out: 'a-b' },
    { in: ['a', null], out: null, types: [text, text] },
    { in: ['a', ''], out: 'a' },
  ],
})

export const startsWith = define<TextInText>({
  name: 'startsWith',
  says: 'Whether the first text begins with the second; every text begins with the empty one.',
  args: ['text', 'text'],
  result: boolean,
  duckdb: ([a, b]) => `starts_with(${a}, ${b})`,
  spark: ([a, b]) => `startswith(${a}, ${b})`,
  examples: [
    { in: ['!bet 5', '!'], out: true },
    { in: ['abc', 'A'], out: false },
    { in: ['abc', ''], out: true },
  ],
})

export const endsWith = define<TextInText>({
  name: 'endsWith',
  says: 'Whether the first text ends with the second; every text ends with the empty one.',
  args: ['text', 'text'],
  result: boolean,
  duckdb: ([a, b]) => `ends_with(${a}, ${b})`,
  spark: ([a, b]) => `endswith(${a}, ${b})`,
  examples: [
    { in: ['photo.png', '.png'], out: true },
    { in: ['png', 'photo.png'], out: false },
    { in: ['abc', null], out: null, types: [text, text] },
  ],
})

export const contains = define<TextInText>({
  name: 'contains',
  says: 'Whether the second text stands somewhere in the first, letter for letter; every text contains the empty one.',
  args: ['text', 'text'],
  result: boolean,
  duckdb: ([a, b]) => `contains(${a}, ${b})`,
  spark: ([a, b]) => `contains(${a}, ${b})`,
  examples: [
    { in: ['100% sure', '0%'], out: true },
    { in: ['abc', 'B'], out: false },
    { in: ['', ''], out: true },
  ],
})

export const replaceText = define<
  (value: Operand<'text'>, search: Operand<'text'>, replacement: Operand<'text'>) => Value<'text'>
>({
  name: 'replaceText',
  says: 'The text with every place of the second text replaced by the third; an empty second text changes nothing.',
  args: ['text', 'text', 'text'],
  result: text,
  duckdb: ([a, b, c]) => `replace(${a}, ${b}, ${c})`,
  spark: ([a, b, c]) => `replace(${a}, ${b}, ${c})`,
  examples: [
    { in: ['a.b.c', '.', '-'], out: 'a-b-c' },
    { in: ['aaa', 'aa', 'b'], out: 'ba' },
    { in: ['abc', '', 'x'], out: 'abc' },
    { in: ['abc', 'b', null], out: null, types: [text, text, text] },
  ],
})

export const substring = define<
  (value: Operand<'text'>, start: Operand<'integer'>, end?: Operand<'integer'>) => Value<'text'>
>({
  name: 'substring',
  says: 'The code points from place `start`, counted from 0, up to but not with place `end` (the end of the text when not given); a place before the text counts as 0.',
  args: ['text', 'integer', 'integer'],
  optional: 1,
  result: text,
  duckdb: ([a, start = '', end]) => {
    const from = clamped(start)
    if (end === undefined) return `substring(${a}, ${from} + 1)`
    return `substring(${a}, ${from} + 1, case when ${end} <= ${from} then 0 else ${clamped(end)} - ${from} end)`
  },
  spark: ([a, start = '', end]) => {
    const from = sparkPlace(start)
    if (end === undefined) return `substring(${a}, ${from} + 1)`
    return `substring(${a}, ${from} + 1, case when ${end} <= ${from} then 0 else ${sparkPlace(end)} - ${from} end)`
  },
  examples: [
    { in: ['naïve', 1, 3], out: 'aï' },
    { in: ['👍🏽!', 2], out: '!' },
    { in: ['abc', -5, 2], out: 'ab' },
    { in: ['abc', 2, 1], out: '' },
    { in: ['abc', 1, null], out: null, types: [text, integer, integer] },
    { in: ['abc', 0, '9223372036854775807'], out: 'abc', types: [text, integer, integer] },
  ],
})

export const split = define<(value: Operand<'text'>, separator: string) => Value<'list of text'>>({
  name: 'split',
  says: 'The parts of the text between the separators, empty ones too; the separator is a constant and not empty.',
  args: [
    'text',
    { constant: 'text', must: 'be a constant text that is not empty', allows: (separator) => separator !== '' },
  ],
  result: listOf(text),
  duckdb: ([a, separator]) => `string_split(${a}, ${separator})`,
  spark: ([a], _, [, separator]) =>
    // a regular expression to Spark: every character of it is meant as it is
    `split(${a}, ${sparkText(String(separator).replace(/[^A-Za-z0-9]/gu, (character) => ((character.codePointAt(0) ?? 0) < 128 ? `\\${character}` : character)))}, -1)`,
  examples: [
    { in: ['a,b,,', ','], out: ['a', 'b', '', ''] },
    { in: ['a.b', '.'], out: ['a', 'b'] },
    { in: ['', ','], out: [''] },
    { in: [null, ','], out: null, types: [text, text] },
  ],
})

export const wordsOf = define<(value: Operand<'text'>) => Value<'list of text'>>({
  name: 'wordsOf',
  says: "The words of the text in lower case, in order: runs of letters with their accents, numbers, ' and _.",
  args: ['text'],
  result: listOf(text),
  // Most messages are plain: cutting those at their spaces takes a quarter of the time of the regular expression.
  duckdb: ([a]) =>
    `(case when regexp_full_match(${a}, '[A-Za-z0-9_'']+( [A-Za-z0-9_'']+)*') then string_split(lower(${a}), ' ') ` +
    `else ${wordsSql(`lower(${a})`)} end)`,
  // All letters there are take DuckDB 2 ms to make ready, but within a lambda only once there is a row for it.
  duckdbFew: ([a]) =>
    `(case when strlen(${a}) = length(${a}) then regexp_extract_all(lower(${a}), '[a-z0-9_'']+') ` +
    `else list_transform([lower(${a})], lambda whole: ${wordsSql('whole')})[1] end)`,
  spark: ([a]) => `regexp_extract_all(${sparkLower(`${a}`)}, '[\\\\p{L}\\\\p{M}\\\\p{N}_\\']+', 0)`,
  examples: [
    { in: ["Don't  STOP me"], out: ["don't", 'stop', 'me'] },
    { in: ['LOL😂Naïve, e\u0301t_1!!'], out: ['lol', 'naïve', 'e\u0301t_1'] },
    { in: ['?!'], out: [] },
    { in: [''], out: [] },
    { in: [null], out: null, types: [text] },
  ],
})

function wordsSql(lowered: string): string {
  return `regexp_extract_all(${lowered}, '[\\p{L}\\p{M}\\p{N}_'']+')`
}

// A place as DuckDB takes it; null stays null, which least and greatest would lose.
function clamped(place: string): string {
  return `(case when ${place} < 0 then 0 when ${place} > ${beyondAnyText - 1} then ${beyondAnyText - 1} else ${place} end)`
}

// A place as Spark takes it, whose texts have fewer characters than 31 bits count.
function sparkPlace(place: string): string {
  return `cast(case when ${place} < 0 then 0 when ${place} > 1073741823 then 1073741823 else ${place} end as int)`
}

// Spark's own `lower` looks at the neighbours of a sigma, and makes two letters of an İ.
function sparkLower(sql: string): string {
  return (
    `(case when ${sql} rlike '^[\\x00-\\x7F]*\\z' then lower(${sql}) else ` +
    `array_join(transform(split(${sql}, ''), _c -> case when _c = 'İ' then 'i' when _c in (${newer.upper}) then _c else lower(_c) end), '') end)`
  )
}

// Letters of which Spark's `upper` makes several, and the one letter that stands for them; others of that kind stay.
const several = {
  from: 'ßᾀᾁᾂᾃᾄᾅᾆᾇᾐᾑᾒᾓᾔᾕᾖᾗᾠᾡᾢᾣᾤᾥᾦᾧᾳῃῳ',
  to: 'ẞᾈᾉᾊᾋᾌᾍᾎᾏᾘᾙᾚᾛᾜᾝᾞᾟᾨᾩᾪᾫᾬᾭᾮᾯᾼῌῼ',
}

// Letters that have had a counterpart only since Unicode 16, which Spark knows and DuckDB does not yet.
const newer = {
  upper: "'\u1c89', '\ua7cb', '\ua7cc', '\ua7da', '\ua7dc'",
  lower: "'\u1c8a', '\u0264', '\ua7cd', '\ua7db', '\u019b'",
}
