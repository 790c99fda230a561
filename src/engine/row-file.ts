/** Rows leave DuckDB as CSV files that Postgres `COPY` reads. */
import { join } from 'node:path'
import { sqlText } from '../plan/identifier.ts'
import { removeFile } from '../remove-file.ts'
import type { RowFile } from '../store/store.ts'
import type { DuckSession } from './duckdb.ts'

export interface Printed extends RowFile {
  release(): Promise<void>
}

/** Prints a select into a file of `folder`. `quoted` columns are texts: quoted always, so that empty is not null. */
export async function printRows(
  session: DuckSession,
  folder: string,
  name: string,
  rows: { select: string; columns: string[]; quoted: readonly string[] },
): Promise<Printed> {
  const path = join(folder, `${name}.csv`)
  // as texts: DuckDB takes a name such as "user" here for the function
  const quoted = rows.quoted.length === 0 ? '' : `, force_quote (${rows.quoted.map(sqlText).join(', ')})`
  const count = await session.run(
    `copy (\n${rows.select}\n) to ${sqlText(path)} (format csv, header false, delimiter ',', quote '"', escape '"', nullstr ''${quoted})`,
  )
  return { path, columns: rows.columns, rows: count, release: () => removeFile(path) }
}
