/** Rows leave DuckDB as CSV files that Postgres `COPY` reads. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { sqlText } from '../plan/identifier.ts'
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
  const made: string[] = []
  const print = async (select: string, suffix: string): Promise<RowFile> => {
    const path = join(folder, `${name}${suffix}.csv`)
    made.push(path)
    // as texts: DuckDB takes a name such as "user" here for the function
    const quoted = rows.quoted.length === 0 ? '' : `, force_quote (${rows.quoted.map(sqlText).join(', ')})`
    const count = await session.run(
      `copy (\n${select}\n) to ${sqlText(path)} (format csv, header false, delimiter ',', quote '"', escape '"', nullstr ''${quoted})`,
    )
    return {
      path,
      columns: rows.columns,
      rows: count,
      slice: (start, end) =>
        print(`select * from (\n${rows.select}\n) limit ${end - start} offset ${start}`, `-${start}-${end}`),
    }
  }
  const whole = await print(rows.select, '')
  return {
    ...whole,
    // parts are always cut from the whole, so that their rows can be counted from its start
    slice: async (start, end) => part(whole, start, end),
    release: async () => {
      for (const path of made) await rm(path, { force: true })
    },
  }

  async function part(from: RowFile, start: number, end: number): Promise<RowFile> {
    const cut = await from.slice(start, end)
    return { ...cut, slice: (first, last) => part(from, start + first, start + last) }
  }
}
