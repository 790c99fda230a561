/** Dead letters as people read them. */
import type { Source } from '../plan/plan.ts'
import type { DeadLetter } from '../store/store.ts'
import { rawLines } from './letters-raw.ts'
import { cut, duration, labelledLines, printable, type TableColumn, tableLines, widthOf, widthsOf } from './text.ts'

/** Prints a line per letter, cut to `width` cells; the first page has the titles, and says how wide the columns are. */
export function letterTable(shown: {
  /** Letters may be settled, and of several pipelines. */
  states: boolean
  pipelines: boolean
  now: Date
  width: number
}): (page: DeadLetter[]) => string[] {
  const columns: [TableColumn, (letter: DeadLetter) => string][] = [
    [{ title: 'id', to: 'right' }, ({ id }) => String(id)],
    [{ title: 'age', to: 'right' }, ({ rejectedAt }) => duration(shown.now.getTime() - rejectedAt.getTime())],
  ]
  if (shown.states) columns.push([{ title: 'state' }, ({ settled }) => settled ?? 'open'])
  if (shown.pipelines) columns.push([{ title: 'pipeline' }, ({ pipeline }) => pipeline])
  columns.push(
    [{ title: 'code' }, ({ code }) => code],
    [{ title: 'column' }, ({ columnName }) => columnName ?? ''],
    [{ title: 'where' }, (letter) => placeOf(letter, true)],
    [{ title: 'message' }, ({ message }) => printable(message)],
  )
  const titles = columns.map(([column]) => column)
  let widths: number[] | undefined
  return (page) => {
    const rows = page.map((letter) => columns.map(([, cell]) => cell(letter)))
    const isFirst = widths === undefined
    widths ??= widthsOf(titles, rows)
    return tableLines(titles, rows, widths)
      .slice(isFirst ? 0 : 1)
      .map((line) => cut(line, shown.width))
  }
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
  const room = Math.max(20, width - 6 - Math.max(0, ...ordered.map(widthOf)))
  const values = ordered.map((name): [string, string] => [
    `${name === columnName ? '>' : ' '} ${name}`,
    valueText(fields[name] ?? null, room),
  ])
  return [...lines, '', ...labelledLines(values)]
}

function stateOf({ settled, settledAt, settledBy }: DeadLetter): string {
  if (settled === null) return 'open'
  const by = settled === 'replayed' ? `in ${settledBy}` : `because: ${printable(settledBy ?? '')}`
  return `${settled} ${settledAt?.toISOString() ?? ''}, ${by}`
}

// A value may be 32 MB long.
function valueText(value: string | null, width: number): string {
  if (value === null) return '(nothing)'
  return value === '' ? '(empty)' : cut(printable(value.slice(0, 4 * width)), width)
}

export function placeOf({ place, line }: Pick<DeadLetter, 'place' | 'line'>, short: boolean): string {
  const name = printable(short ? (place.split('/').at(-1) ?? place) : place)
  return line === null ? name : `${name}:${line}`
}
