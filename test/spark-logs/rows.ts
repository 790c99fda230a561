/** The rows of all tables of a log, as they can be compared. */
import { tables } from '../../pipelines/spark-logs/event-logs/tables.ts'
import type { Row, World } from './world.ts'

/** What depends on how often and where lines lie, and not on what they say. */
const ofTheFile = ['lines', 'bad_lines', 'bytes', 'complete', 'marks']

/** What each database makes up by itself. */
const made = ['id', 'insertion_time']

export async function rowsOf(world: World, app?: string, without = ofTheFile): Promise<Record<string, Row[]>> {
  const found: Record<string, Row[]> = {}
  for (const [table, key] of Object.entries(tables)) {
    const order = ['app_id', 'attempt', ...key].join(', ')
    const rows = await world.sql(`select * from ${table} where $1::text is null or app_id = $1 order by ${order}`, [
      app ?? null,
    ])
    found[table] = rows.map((row) =>
      Object.fromEntries(Object.entries(row).filter(([name]) => !without.includes(name) && !made.includes(name))),
    )
  }
  return found
}
