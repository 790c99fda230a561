/** Tasks that are asked for: rows that wait until they are moved into the queue. Whoever moves them is woken at the commit. */
import type { Client } from './connection.ts'
import { copy } from './land-rows.ts'
import { type CsvRows, requestColumns } from './store.ts'

/** Of a batch, in its transaction. */
export async function writeRequests(client: Client, rows: CsvRows): Promise<void> {
  if (rows.rows === 0) return
  await copy(client, 'millrace.task_requests', [...requestColumns], rows)
  await client.query(`select pg_notify('millrace_tasks', '')`)
}

/** Asks for a task of a pipeline, for each key; with the transaction at hand, if there is one. */
export async function requestTask(
  database: { query(text: string, values: unknown[]): Promise<unknown> },
  pipeline: string,
  task: string,
  keys: readonly string[],
): Promise<void> {
  if (keys.length === 0) return
  await database.query(
    `
    with asked as (
      insert into millrace.task_requests (pipeline, task, key)
      select $1, $2, key
      from   unnest($3::text[]) key
      returning 1
    )
    select pg_notify('millrace_tasks', '')
    from   asked
    limit  1`,
    [pipeline, task, keys],
  )
}
