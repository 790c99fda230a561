/** Where in the text of its row a dead letter is wrong. */
import { columnsRead, type FilesSource, type Source } from '../plan/plan.ts'
import type { DeadLetter } from '../store/store.ts'

/** From `start` up to `end`. */
export interface Span {
  start: number
  end: number
}

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
