/** Rows leave DuckDB as CSV files that Postgres `COPY` reads. */
import { join } from 'node:path'
import { sqlText } from '../plan/identifier.ts'
import { removeFile } from '../remove-file.ts'
import type { RowFile } from '../store/store.ts'
import type { DuckSession } from './duckdb.ts'
import type { Place } from './place.ts'

export interface Printed extends RowFile {
  release(): Promise<void>
}

/**
 * Prints a select into a file of `folder`. `quoted` columns are texts: quoted always, so that empty is not null. Of a place
 * whose batches have the same names the next batch writes over it: to make a file and remove it takes longer than to fill it.
 */
export async function printRows(
  session: DuckSession,
  folder: string,
  { name: batch, again }: Pick<Place, 'name' | 'again'>,
  name: string,
  rows: { select: string; columns: string[]; quoted: readonly string[] },
): Promise<Printed> {
  const path = join(folder, `${batch}-${name}.csv`)
  // as texts: DuckDB takes a name such as "user" here for the function
  const quoted = rows.quoted.length === 0 ? '' : `, force_quote (${rows.quoted.map(sqlText).join(', ')})`
  const count = await session.run(
    `copy (\n${rows.select}\n) to ${sqlText(path)} (format csv, header false, delimiter ',', quote '"', escape '"', nullstr '', use_tmp_file false${quoted})`,
  )
  const release = async (): Promise<void> => {
    if (!again) await removeFile(path)
  }
  return { path, columns: rows.columns, rows: count, release }
}
