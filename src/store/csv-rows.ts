/** Row files as rows in memory, and back: CSV without a header, where an empty field is null and `""` an empty text. */
import { readFile } from 'node:fs/promises'
import { MillraceError } from '../errors.ts'
import type { RowFile } from './store.ts'

export type Row = Record<string, string | null>

/** The rows of a file, by column. */
export async function readRows(file: RowFile): Promise<Row[]> {
  // of none there may be no file
  if (file.rows === 0) return []
  const lines = parseCsv(await readFile(file.path, 'utf8'))
  return lines.map((fields, n) => {
    if (fields.length !== file.columns.length) {
      throw new MillraceError('DATABASE_REFUSED', {
        at: `${file.path}, row ${n + 1}`,
        message: `the row has ${fields.length} fields, and the file ${file.columns.length} columns`,
      })
    }
    return Object.fromEntries(file.columns.map((column, i) => [column, fields[i] ?? null]))
  })
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

/** Rows as such a file holds them. */
export function printCsv(rows: (string | null)[][]): string {
  return rows
    .map((fields) => `${fields.map((field) => (field === null ? '' : `"${field.replaceAll('"', '""')}"`)).join(',')}\n`)
    .join('')
}
