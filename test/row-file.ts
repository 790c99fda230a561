/** Rows for tests, as the engine gives them to a store: null is an empty field, every text is quoted. */
import { randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { printCsv } from '../src/store/csv-rows.ts'
import type { CsvRows } from '../src/store/store.ts'

let asked = 0

/** Rows as a text and, every other time, in a file of their own in `folder`: a store takes both. */
export async function rowFile(folder: string, columns: string[], rows: (string | null)[][]): Promise<CsvRows> {
  if (asked++ % 2 === 0) return { csv: { text: printCsv(rows) }, columns, rows: rows.length }
  const path = join(folder, `${randomUUID()}.csv`)
  await writeFile(path, printCsv(rows))
  return { csv: { path }, columns, rows: rows.length }
}
