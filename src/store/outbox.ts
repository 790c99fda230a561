/** Messages that wait to be published: written with their batch, read in order, and gone when they are published. */
import type pg from 'pg'
import { type Client, inTransaction, type Queries } from './connection.ts'
import { copy } from './land-rows.ts'
import { type OutboxPage, type OutboxPlace, type OutboxRows, outboxColumns, outboxEffect } from './store.ts'

export async function writeOutbox(client: Client, written: OutboxRows[]): Promise<void> {
  for (const { rows } of written) {
    if (rows.rows > 0) await copy(client, 'millrace.outbox', [...outboxColumns], rows)
  }
}

interface OutboxRow {
  batch: number
  step: string
  topic: string
  n: number
  key: string | null
  value: string
  found: number
}

export async function readOutbox(
  pool: pg.Pool,
  pipeline: string,
  after: OutboxPlace,
  { rows: mostRows, bytes }: { rows: number; bytes: number },
): Promise<OutboxPage> {
  const { rows } = await inTransaction(pool, async (client) => {
    // by the index: of a table that fills and empties there are no statistics, and it would sort all that waits
    await client.query('set local enable_sort = off; set local enable_bitmapscan = off; set local enable_seqscan = off')
    return await client.query<OutboxRow>(
      `
    select batch, step, topic, n, key, value, found
    from  (select *,
                  count(*) over () as found,
                  row_number() over in_order as place,
                  sum(octet_length(value) + coalesce(octet_length(key), 0)) over in_order as bytes
           from  (select *
                  from   millrace.outbox
                  where  pipeline = $1 and (batch, step, n) > ($2, $3, $4)
                  order by batch, step, n
                  -- one more, to know whether there is more
                  limit  $5 + 1) next
           window in_order as (order by batch, step, n)) measured
    -- the first one however large it is
    where  place <= $5 and (bytes <= $6 or place = 1)
    order by place`,
      [pipeline, after.batch, after.step, after.n, mostRows, bytes],
    )
  })
  return {
    messages: rows.map(({ batch, step, topic, n, key, value }) => ({ batch, step, topic, n, key, value })),
    more: rows.length < (rows[0]?.found ?? 0),
  }
}

export async function countOutbox(database: Queries, pipeline: string): Promise<number> {
  const { rows } = await database.query<{ waiting: number }>(
    'select count(*) as waiting from millrace.outbox where pipeline = $1',
    [pipeline],
  )
  return rows[0]?.waiting ?? 0
}

export async function forgetPublished(
  pool: pg.Pool,
  pipeline: string,
  { after, upTo, batchDone }: { after: OutboxPlace; upTo: OutboxPlace; batchDone: number },
): Promise<void> {
  await inTransaction(pool, async (client) => {
    // not waited for on disk: what is published twice has the same id
    await client.query('set local synchronous_commit = off')
    await client.query(
      `
      delete from millrace.outbox
      -- from where it begins, or it would pass by all that went before
      where  pipeline = $1 and (batch, step, n) > ($2, $3, $4) and (batch, step, n) <= ($5, $6, $7)`,
      [pipeline, after.batch, after.step, after.n, upTo.batch, upTo.step, upTo.n],
    )
    await client.query(
      `
      insert into millrace.effects (pipeline, effect, batch)
      values ($1, $2, $3)
      on conflict (pipeline, effect) do update
      set    batch = greatest(millrace.effects.batch, excluded.batch)`,
      [pipeline, outboxEffect, batchDone],
    )
  })
}
