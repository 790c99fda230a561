/** The row of a dead letter as it was read, with an arrow under what was wrong. */
import { columnsRead, type FilesSource, type Source } from '../plan/plan.ts'
import type { DeadLetter } from '../store/store.ts'
import { counted, cut, padded, printable, widthOf } from './text.ts'

// A row with a quote that was forgotten may have swallowed thousands of lines.
const shownAtMost = 12
const shownBefore = 2

/** Lines of at most `width` cells. Those of a row of several lines have the numbers they have in the file. */
export function rawLines(letter: DeadLetter, source: Source | undefined, width: number): string[] {
  const { raw } = letter
  const fault = faultOf(letter, source)
  let start = lineStart(raw, fault?.start ?? 0)
  for (let i = 0; i < shownBefore && start > 0; i++) start = lineStart(raw, start - 1)
  const firstLine = (letter.line ?? 1) + lineEnds(raw.slice(0, start))
  const left = lineEnds(raw.slice(start)) + 1
  const shown = Math.min(left, shownAtMost)
  const gutter = raw.includes('\n') ? String(firstLine + shown - 1).length : 0
  const beside = (label: string): string => (gutter === 0 ? '  ' : `  ${padded(label, gutter, 'right')} | `)
  const room = Math.max(20, width - beside('').length)

  const lines = start > 0 ? [`${beside('')}...`] : []
  for (let i = 0; i < shown; i++) {
    const end = lineEnd(raw, start)
    const { text, arrow } = pointed(raw.slice(start, end), within(fault, start, end), room)
    lines.push(`${beside(String(firstLine + i))}${text}`)
    if (arrow !== undefined) lines.push(`${beside('')}${arrow}`)
    start = end + 1
  }
  if (left > shown) lines.push(`${beside('')}... and ${counted(left - shown, 'more line')}`)
  return lines
}

function lineStart(raw: string, at: number): number {
  return at === 0 ? 0 : raw.lastIndexOf('\n', at - 1) + 1
}

function lineEnd(raw: string, at: number): number {
  const end = raw.indexOf('\n', at)
  return end < 0 ? raw.length : end
}

function lineEnds(raw: string): number {
  let count = 0
  for (let at = raw.indexOf('\n'); at >= 0; at = raw.indexOf('\n', at + 1)) count++
  return count
}

/** From `start` up to `end`. */
interface Span {
  start: number
  end: number
}

// The part of the fault on a line, counted from its start.
function within(fault: Span | undefined, start: number, end: number): Span | undefined {
  if (fault === undefined || fault.start > end || (fault.end <= start && fault.start < start)) return undefined
  return { start: Math.max(fault.start - start, 0), end: Math.min(fault.end, end) - start }
}

// A long line is shown from a little before what was wrong.
function pointed(line: string, fault: Span | undefined, room: number): { text: string; arrow?: string } {
  if (fault === undefined) return { text: cut(printable(line.slice(0, 4 * room)), room) }
  const third = Math.floor(room / 3)
  let from = startOf(line, fault.start, room - third)
  if (from > 0) from = startOf(line, fault.start, third)
  const lead = `${from > 0 ? '...' : ''}${printable(line.slice(from, fault.start))}`
  const wrong = printable(line.slice(fault.start, Math.min(fault.end, fault.start + 4 * room)))
  const rest = printable(line.slice(fault.end, fault.end + 4 * room))
  const length = Math.max(1, Math.min(widthOf(wrong), room - widthOf(lead)))
  return { text: cut(`${lead}${wrong}${rest}`, room), arrow: `${' '.repeat(widthOf(lead))}${'^'.repeat(length)}` }
}

// Where a text begins that ends at `end` and takes so many cells at most.
function startOf(line: string, end: number, cells: number): number {
  let used = 0
  let at = end
  for (const character of [...line.slice(Math.max(0, end - 4 * cells), end)].reverse()) {
    used += widthOf(printable(character))
    if (used > cells) break
    at -= character.length
  }
  return at
}

// ---- what was wrong ------------------------------------------------------------------------------------------------

/** Where in its row a letter says that something is wrong; undefined where that cannot be told. */
export function faultOf(letter: DeadLetter, source: Source | undefined): Span | undefined {
  if (source?.is !== 'files' || source.format.is !== 'csv') return undefined
  const { raw, code, columnName } = letter
  const fields = csvFields(raw, source.format)
  if (columnName !== null) return fieldOf(columnName, letter.fields ?? {}, source, fields)
  const end = { start: raw.length, end: raw.length }
  if (code === 'TOO_FEW_FIELDS') return end
  // where a file may have columns that nobody named, its header alone says how many there are
  if (code === 'TOO_MANY_FIELDS' && isFullyNamed(source))
    return { ...end, start: fields[columnsRead(source).length]?.start ?? raw.length }
  return undefined
}

function isFullyNamed({ unknown }: FilesSource): boolean {
  return unknown === undefined || unknown.is === 'refuse'
}

interface Field extends Span {
  value: string
}

// A file may have its columns in another order than the plan, and the letter may have been edited. Where only the column
// itself was, the others tell its place: their values stand beside its own.
function fieldOf(
  column: string,
  values: Record<string, string | null>,
  source: FilesSource,
  fields: Field[],
): Field | undefined {
  const kept = source.unknown?.is === 'keep' ? source.unknown.as : undefined
  const columns = columnsRead(source).filter(({ name }) => name !== kept)
  if (fields.length !== columns.length) return undefined
  const others = columns.flatMap(({ name }, i) => (name === column ? [] : [{ i, value: values[name] ?? '' }]))
  const left = fields.map(({ value }) => value)
  for (const { value } of others) if (left.includes(value)) left.splice(left.indexOf(value), 1)
  const alike = fields.filter(({ value }) => value === left[0])
  if (left.length === 1 && alike.length === 1) return alike[0]
  // an edited value stands nowhere in the row; one that stands in another place says that the order is another
  const inPlace = others.filter(({ i, value }) => fields[i]?.value === value)
  const elsewhere = others.filter(({ i, value }) => fields[i]?.value !== value && fields.some((f) => f.value === value))
  const inPlanOrder = elsewhere.length === 0 && 2 * inPlace.length >= others.length
  return inPlanOrder ? fields[columns.findIndex(({ name }) => name === column)] : undefined
}

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
