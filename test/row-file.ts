/** Row files for tests, written as the engine writes them: null is an empty field, every text is quoted. */
import { randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { printCsv } from '../src/store/csv-rows.ts'
import type { RowFile } from '../src/store/store.ts'

/** Writes rows to a file of their own in `folder`. */
export async function rowFile(folder: string, columns: string[], rows: (string | null)[][]): Promise<RowFile> {
  const path = join(folder, `${randomUUID()}.csv`)
  await writeFile(path, printCsv(rows))
  return { path, columns, rows: rows.length }
}
