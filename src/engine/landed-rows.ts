/** A look at what a batch has landed, for whoever watches. */
import { identifier } from '../plan/identifier.ts'
import type { Batch } from './batch.ts'
import type { DuckSession } from './duckdb.ts'
import type { LandedRows } from './progress.ts'

/** So many rows of each table are shown, found among so many that were read last. */
const rowsShown = 20
const rowsLookedAt = 500

/** The last rows of each table. What a duplicate or a refusal took away is shown too: it is a look, not the books. */
export async function landedRows(session: DuckSession, { sinks, names }: Batch): Promise<LandedRows[]> {
  // a number in the text of the select lets DuckDB skip the rows before it
  const [last] = await session.rows<{ from: string }>(
    `select min(_row)::varchar as from from (select _row from ${names.staged} order by _row desc limit ${rowsLookedAt})`,
  )
  const landed: LandedRows[] = []
  for (const { step } of sinks) {
    const columns = step.columns.map(({ name }) => name)
    const texts = columns.map((name) => `left(${identifier(name)}::varchar, 200) as ${identifier(name)}`)
    const found = await session.rows<Record<string, string | null>>(
      `select ${texts.join(', ')} from ${names.of(step.id)} where _row >= ${last?.from ?? 0} order by _row desc limit ${rowsShown}`,
    )
    const rows = found.reverse().map((row) => columns.map((name) => row[name] ?? null))
    if (rows.length > 0) landed.push({ step: step.id, table: step.table, columns, rows })
  }
  return landed
}
