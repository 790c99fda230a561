/** Rows as CSV without a header, where an empty field is null and `""` an empty text: read, cut into fields, and made. */
import { createReadStream } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { asDiskFull, MillraceError } from '../errors.ts'
import type { CsvRows } from './store.ts'

export type Row = Record<string, string | null>

/** All of the rows, by column. */
export async function readRows(given: CsvRows): Promise<Row[]> {
  const { columns } = given
  return (await readFields(given)).map((fields) =>
    Object.fromEntries(columns.map((column, i) => [column, fields[i] ?? null])),
  )
}

/** The fields of all of the rows, in the order of their columns. */
export async function readFields({ csv, columns, rows }: CsvRows): Promise<(string | null)[][]> {
  // of none there may be no file
  if (rows === 0) return []
  const lines = parseCsv('text' in csv ? csv.text : await readFile(csv.path, 'utf8'))
  for (const [n, fields] of lines.entries()) {
    if (fields.length === columns.length) continue
    throw new MillraceError('DATABASE_REFUSED', {
      at: `${'path' in csv ? `${csv.path}, ` : ''}row ${n + 1}`,
      message: `the row has ${fields.length} fields, and there are ${columns.length} columns`,
    })
  }
  return lines
}

/** The bytes of the rows. */
export function bytesOf({ csv, rows }: CsvRows): Readable {
  if ('text' in csv) return Readable.from(csv.text === '' ? [] : [Buffer.from(csv.text)])
  return rows === 0 ? Readable.from([]) : createReadStream(csv.path, { highWaterMark: 256 * 1024 })
}

/** The fields of each row of a CSV text. */
export function parseCsv(text: string): (string | null)[][] {
  const rows: (string | null)[][] = []
  let at = 0
  while (at < text.length) {
    const fields: (string | null)[] = []
    for (;;) {
      const field = text[at] === '"' ? quotedField(text, at) : plainField(text, at)
      fields.push(field.value)
      at = field.end
      if (text[at] !== ',') break
      at++
    }
    // past the line's end; at the end of the text there may be none
    at++
    rows.push(fields)
  }
  return rows
}

function plainField(text: string, start: number): { value: string | null; end: number } {
  let end = start
  while (end < text.length && text[end] !== ',' && text[end] !== '\n') end++
  return { value: end === start ? null : text.slice(start, end), end }
}

function quotedField(text: string, start: number): { value: string; end: number } {
  let close = text.indexOf('"', start + 1)
  while (close >= 0 && text[close + 1] === '"') close = text.indexOf('"', close + 2)
  if (close < 0) {
    throw new MillraceError('DATABASE_REFUSED', { message: `a quote at character ${start} is not closed` })
  }
  return { value: text.slice(start + 1, close).replaceAll('""', '"'), end: close + 1 }
}

/** Fewer rows and characters than these are told as a text. */
const [fewRows, fewCharacters] = [10_000, 16_000_000]

/** Rows as CSV: in the file `into` where they are many. */
export async function csvRows(
  columns: readonly string[],
  rows: readonly (string | null)[][],
  into: string,
): Promise<CsvRows> {
  const text = printCsv(rows)
  if (rows.length < fewRows && text.length < fewCharacters)
    return { csv: { text }, columns: [...columns], rows: rows.length }
  try {
    await writeFile(into, text)
  } catch (error) {
    throw asDiskFull(error, into)
  }
  return { csv: { path: into }, columns: [...columns], rows: rows.length }
}

/** Rows as CSV. */
export function printCsv(rows: readonly (string | null)[][]): string {
  return rows
    .map((fields) => `${fields.map((field) => (field === null ? '' : `"${field.replaceAll('"', '""')}"`)).join(',')}\n`)
    .join('')
}
