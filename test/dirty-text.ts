/** Files of CSV and of JSON lines with good values and bad ones, and headers that do not always fit. */
import type { FilesSource, SourceColumn } from '../src/plan/plan.ts'
import type { Generated } from './duckdb.ts'
import type { Dialect } from './reference-files.ts'

const nastyTexts = [
  '',
  'n',
  'two\nlines',
  'a, b',
  'a "q" b',
  '"',
  "it's",
  '\\.',
  'NULL',
  'ä',
  '\r',
  'a\tb',
  ' lead',
  'trail ',
  '日本語😀',
  'thirteen here',
  '\u0001',
  '\ufeff',
  '\\N',
  'a;b|c~d',
  '\n',
  "'q'",
  '{}',
  '#',
  '\u2028',
]

/** Values a column may find, as they would stand in CSV. */
const valuesOf: Record<string, readonly string[]> = {
  id: ['a', 'b', 'c', 'Ä', '', 'x'.repeat(300), ...nastyTexts],
  kind: ['view', 'view', 'buy', 'it\'s "that", one', 'steal', '', 'View'],
  n: [
    '0',
    '7',
    '-3',
    '+4',
    '007',
    '9223372036854775807',
    '9223372036854775808',
    'x',
    '1.5',
    '',
    ' 1',
    '１',
    '-6',
    '-0',
  ],
  price: [
    '1.50',
    '0',
    '-0',
    '9999.99',
    '123456.78',
    '1000000',
    '1.234',
    'NaN',
    '+5.1',
    '1e3',
    '1,5',
    '',
    '.5',
    '5.',
    '-0.00',
  ],
  ratio: [
    '0.5',
    '.5',
    '5.',
    '1e3',
    '1e400',
    '-1E-3',
    'nan',
    'inf',
    '0x10',
    '1_000',
    '2000000',
    '',
    '1e-400',
    '00012',
    '-0',
  ],
  at: [
    '2026-01-31T12:00:00Z',
    '2026-01-31 12:00',
    '2026-01-31T12:00Z',
    '2026-01-31T12:00:00+02',
    '2026-01-31 12:00:00-02:30',
    '2026-01-31T12:00:00+0230',
    '2026-01-31T12:00+02',
    '2026-01-31T12:00:00+99:00',
    '2026-01-31T12:00:00-0160',
    '2026-02-30T00:00:00Z',
    '0000-01-01T00:00:00Z',
    '9999-12-31T23:59:59.999999-01:00',
    '9999-12-31T23:59:59.999999Z',
    '2026-01-31T24:00:00Z',
    '2026-01-31T23:59:60Z',
    '2026-01-31',
    '2026-01-31T12:00:00.1234567Z',
    '2024-02-29T00:00:00.120000Z',
    'yesterday',
    '0001-01-01T00:00:00+01:00',
    '0001-01-01T00:00:00Z',
    '2026-01-31T12:00:00+15:59',
    '2026-01-31T12:00:00+16',
    '',
  ],
  ok: ['true', 'FALSE', 'True', 'yes', '1', 'falſe', '', 't'],
  extra: [
    '{"a":1}',
    '[1,2]',
    '[1,]',
    'NaN',
    '"x"',
    'null',
    '{"a":"\\u0000"}',
    '{"a":"\\\\u0000"}',
    '"\\ud800"',
    '"\\ud83d\\ude00"',
    '{"a":[{}]}',
    '01',
    '{a:1}',
    '1e5',
    ' 1 ',
    '-Infinity',
    '[nan]',
    '"NaN, [1,]"',
    '',
    '{"a":1,}',
    '{"b":[],"a":{"c":null}}',
    '"é\\n"',
  ],
  note: nastyTexts,
}

/** A value for a column; mostly one that may stand there, so that whole rows are good. */
export function valueFor(made: Generated, { name }: SourceColumn): string {
  const values = valuesOf[name] ?? nastyTexts
  const good = values.slice(0, 4)
  return made.whole(0, 3) > 0 ? made.oneOf(good) : made.oneOf(values)
}

export function readColumns(source: FilesSource): SourceColumn[] {
  return source.columns.filter(({ origin, name }) => origin === undefined && name !== 'more')
}

/** The columns of a file: those of the source in any order, seldom with some missing, unknown, or twice. */
export function headerFor(made: Generated, source: FilesSource): string[] {
  const names = made
    .shuffled(readColumns(source))
    .filter(({ nullable }) => made.whole(0, nullable ? 5 : 40) > 0)
    .map(({ name }) => name)
  for (let i = made.oneOf([0, 0, 0, 1, 2]); i > 0; i--) {
    const other = made.oneOf([
      'x',
      'y "z"',
      'Id',
      'ünï',
      '',
      'file',
      'more',
      'a,b',
      "o'c",
      '_row',
      'two\nlines',
      '__proto__',
    ])
    if (made.whole(0, 20) === 0 || !names.includes(other)) names.splice(made.whole(0, names.length), 0, other)
  }
  return names
}

function rowsFor(made: Generated, large: boolean): number {
  return large && made.whole(0, 1) === 0 ? made.whole(3000, 9000) : made.whole(0, 14)
}

// ---- CSV -----------------------------------------------------------------------------------------------------------

export function csvFile(
  made: Generated,
  source: FilesSource,
  { delimiter, quote, header }: Dialect & { header?: false },
  large: boolean,
): string {
  const names = header === false ? readColumns(source).map(({ name }) => name) : headerFor(made, source)
  const byName = new Map(readColumns(source).map((column) => [column.name, column]))
  const field = (value: string): string => {
    const must = value.includes(delimiter) || value.includes(quote) || value.includes('\n')
    // one in a hundred is left as nobody should leave it
    const quoted = must ? made.whole(0, 99) > 0 : made.whole(0, 9) === 0
    return quoted ? quote + value.replaceAll(quote, quote + quote) + quote : value
  }
  const lineEnd = made.oneOf(['\n', '\n', '\r\n'])
  const end = () => (made.whole(0, 30) === 0 ? made.oneOf(['\n\n', '\r\n', '\n']) : lineEnd)
  let content = made.oneOf(['', '', '', '', '\ufeff', '\n\r\n'])
  if (header !== false) content += names.map(field).join(delimiter) + end()
  for (let i = rowsFor(made, large); i > 0; i--) {
    const values = names.map((name) => {
      const column = byName.get(name)
      return field(column === undefined ? made.oneOf(nastyTexts) : valueFor(made, column))
    })
    if (made.whole(0, 40) === 0)
      values.splice(made.whole(0, values.length), made.whole(0, 1), ...made.many(made.whole(0, 1), () => 'z'))
    content += values.join(delimiter) + end()
  }
  return made.whole(0, 3) === 0 ? content.replace(/\r?\n$/, '') : content
}

// ---- JSON lines ----------------------------------------------------------------------------------------------------

export function jsonFile(made: Generated, source: FilesSource, large: boolean): string {
  const rows = rowsFor(made, large)
  if (made.whole(0, 30) === 0)
    return JSON.stringify(
      Array.from({ length: rows * 20 }, (_, i) => ({ id: i })),
      null,
      1,
    )
  const columns = readColumns(source)
  const usual = made.shuffled(columns)
  const lineEnd = made.oneOf(['\n', '\n', '\r\n', ' \n\n'])
  const lines = made.many(rows, () => {
    const members = (made.whole(0, 5) > 0 ? usual : made.shuffled(columns))
      .filter(({ nullable }) => made.whole(0, nullable ? 4 : 30) > 0)
      .map((column) => `${keyFor(made, column.name)}:${blank(made)}${jsonValue(made, column)}`)
    for (let i = made.oneOf([0, 0, 0, 0, 1, 2]); i > 0; i--)
      members.splice(made.whole(0, members.length), 0, oddMember(made, columns))
    return `${blank(made)}{${blank(made)}${members.join(`,${blank(made)}`)}${blank(made)}}`
  })
  return made.oneOf(['', '', '', '', '', '\ufeff']) + lines.join(lineEnd) + made.oneOf(['', lineEnd])
}

function blank(made: Generated): string {
  return made.oneOf(['', '', '', '', ' ', '\t'])
}

function keyFor(made: Generated, name: string): string {
  if (made.whole(0, 30) > 0) return `"${name}"`
  return `"\\u${name.charCodeAt(0).toString(16).padStart(4, '0')}${name.slice(1)}"`
}

// A key that is unknown, or comes a second time.
function oddMember(made: Generated, columns: SourceColumn[]): string {
  const odd = [
    '"x"',
    '"more"',
    '"file"',
    '"\\u0000"',
    '"\\ud800"',
    '"__proto__"',
    '""',
    '"y\\"z"',
    '"é"',
    `"${'k'.repeat(250)}"`,
  ]
  const key = made.whole(0, 5) === 0 ? keyFor(made, made.oneOf(columns).name) : made.oneOf(odd)
  return `${key}:${made.oneOf(['1', '"v"', 'null', '{"a":[]}', '"\\u0000"', '["\\udc00"]', '1.50', 'true', '{"\\u0000":1}'])}`
}

function jsonValue(made: Generated, column: SourceColumn): string {
  const value = valueFor(made, column)
  const odd = [
    'null',
    '{}',
    '["a"]',
    'true',
    '1.5e3',
    '1E-2',
    '5.0',
    '-0.0',
    '1e400',
    '"\\u0041"',
    '"\\ud83d\\ude00"',
    '"\\udead"',
    '"\\u0000"',
    '12345678901234567890',
  ]
  if (made.whole(0, 20) === 0) return made.oneOf(odd)
  if (column.type.is !== 'text' && made.whole(0, 2) > 0 && isJson(value)) return value
  return JSON.stringify(value)
}

function isJson(value: string): boolean {
  try {
    JSON.parse(value)
    return true
  } catch {
    return false
  }
}
