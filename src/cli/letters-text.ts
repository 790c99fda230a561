/** Dead letters as people read them. */
import type { Source } from '../plan/plan.ts'
import type { DeadLetter } from '../store/store.ts'
import { cut, duration, labelledLines, printable, type TableColumn, tableLines, widthOf } from './text.ts'

/** A line per letter, cut to `width` cells. */
export function listLines(letters: DeadLetter[], now: Date, width: number): string[] {
  const several = new Set(letters.map(({ pipeline }) => pipeline)).size > 1
  const columns: [TableColumn, (letter: DeadLetter) => string][] = [
    [{ title: 'id', to: 'right' }, ({ id }) => String(id)],
    [{ title: 'age', to: 'right' }, ({ rejectedAt }) => duration(now.getTime() - rejectedAt.getTime())],
    ...(letters.some(({ settled }) => settled !== null)
      ? [[{ title: 'state' }, ({ settled }) => settled ?? 'open'] as [TableColumn, (letter: DeadLetter) => string]]
      : []),
    ...(several
      ? [[{ title: 'pipeline' }, ({ pipeline }) => pipeline] as [TableColumn, (letter: DeadLetter) => string]]
      : []),
    [{ title: 'code' }, ({ code }) => code],
    [{ title: 'where' }, (letter) => placeOf(letter, true)],
    [{ title: 'message' }, ({ message }) => printable(message)],
  ]
  const rows = letters.map((letter) => columns.map(([, cell]) => cell(letter)))
  return tableLines(
    columns.map(([column]) => column),
    rows,
  ).map((line) => cut(line, width))
}

/** Everything that is known of a letter; an arrow points at what was wrong, where that can be found in the row. */
export function letterLines(letter: DeadLetter, source: Source | undefined, now: Date, width: number): string[] {
  const { pipeline, batch, stage, code, columnName, message, fields, rejectedAt } = letter
  const pairs: [string, string][] = [
    ['what', `${code}${columnName === null ? '' : ` in ${columnName}`}: ${printable(message)}`],
    ['where', placeOf(letter, false)],
    ['pipeline', `${pipeline}, batch ${batch}, step ${stage}`],
    ['when', `${rejectedAt.toISOString()}, ${duration(now.getTime() - rejectedAt.getTime())} ago`],
    ['state', stateOf(letter)],
  ]
  const lines = [`dead letter ${letter.id}`, ...labelledLines(pairs), '', ...rawLines(letter, source, width)]
  if (letter.rawBytes !== null) lines.push('  (bytes that are not text are written \\xNN)')
  if (fields === null) return [...lines, '', '  the row could not be told into columns']
  const names = source?.columns.map(({ name }) => name) ?? []
  const ordered = [
    ...names.filter((name) => Object.hasOwn(fields, name)),
    ...Object.keys(fields).filter((name) => !names.includes(name)),
  ]
  const values = ordered.map((name): [string, string] => [
    `${name === columnName ? '>' : ' '} ${name}`,
    valueText(fields[name] ?? null),
  ])
  return [...lines, '', ...labelledLines(values)]
}

function stateOf({ settled, settledAt, settledBy }: DeadLetter): string {
  if (settled === null) return 'open'
  const by = settled === 'replayed' ? `in ${settledBy}` : `because: ${printable(settledBy ?? '')}`
  return `${settled} ${settledAt?.toISOString() ?? ''}, ${by}`
}

function valueText(value: string | null): string {
  if (value === null) return '(nothing)'
  return value === '' ? '(empty)' : printable(value)
}

export function placeOf({ place, line }: Pick<DeadLetter, 'place' | 'line'>, short: boolean): string {
  const name = printable(short ? (place.split('/').at(-1) ?? place) : place)
  return line === null ? name : `${name}:${line}`
}

// A long row is shown from a little before what was wrong.
function rawLines({ raw, columnName, fields }: DeadLetter, source: Source | undefined, width: number): string[] {
  const span = columnName === null ? undefined : spanOf(raw, columnName, fields, source)
  const room = Math.max(20, width - 2)
  if (span === undefined) return [`  ${cut(printable(raw), room)}`]
  const start = printable(raw.slice(0, span.start))
  const from = widthOf(start) > room - 30 ? Math.max(0, span.start - 25) : 0
  const lead = `${from > 0 ? '...' : ''}${printable(raw.slice(from, span.start))}`
  const wrong = printable(raw.slice(span.start, span.end))
  const arrow = '^'.repeat(Math.max(1, Math.min(widthOf(wrong), room - widthOf(lead))))
  return [
    `  ${cut(`${lead}${wrong}${printable(raw.slice(span.end))}`, room)}`,
    `  ${' '.repeat(widthOf(lead))}${arrow}`,
  ]
}

interface Field {
  start: number
  end: number
  value: string
}

/**
 * Where a column's value stands in the row as it was read. A file may have its columns in another order than the plan, so
 * the values must be there too; where that leaves two places, it is not known.
 */
export function spanOf(
  raw: string,
  column: string,
  fields: DeadLetter['fields'],
  source: Source | undefined,
): { start: number; end: number } | undefined {
  if (source?.is !== 'files' || source.format.is !== 'csv') return undefined
  const found = csvFields(raw, source.format)
  const value = (name: string): string => fields?.[name] ?? ''
  const inPlanOrder = source.columns.every(({ name }, i) => found[i]?.value === value(name))
  if (inPlanOrder) return found[source.columns.findIndex(({ name }) => name === column)]
  const alike = found.filter((field) => field.value === value(column))
  return alike.length === 1 ? alike[0] : undefined
}

// The fields of a row that was whole when it was read.
function csvFields(raw: string, { delimiter, quote }: { delimiter: string; quote: string }): Field[] {
  const found: Field[] = []
  let start = 0
  let isQuoted = false
  for (let end = 0; end <= raw.length; end++) {
    if (raw[end] === quote) isQuoted = !isQuoted
    if (end < raw.length && (isQuoted || raw[end] !== delimiter)) continue
    const text = raw.slice(start, end)
    const inQuotes = text.length >= 2 && text.startsWith(quote) && text.endsWith(quote)
    found.push({ start, end, value: inQuotes ? text.slice(1, -1).replaceAll(quote + quote, quote) : text })
    start = end + 1
  }
  return found
}
