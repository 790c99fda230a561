/** What a pipeline keeps of open windows: written with each batch, and read back when a worker begins. */
import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { pipeline as pump } from 'node:stream/promises'
import { to as copyTo } from 'pg-copy-streams'
import { asDiskFull } from '../errors.ts'
import { type Client, prepared } from './connection.ts'
import { copy } from './land-rows.ts'
import { type BatchCommit, numberColumns, type StoredState, setColumns } from './store.ts'

/** Rows of one pane are folded into one when so many batches have passed. */
const foldEvery = 64

export async function writeState(client: Client, { pipeline, batch, state }: BatchCommit): Promise<void> {
  if (state === undefined) return
  const { numbers, sets, gone, closed } = state
  if (state.forget) {
    await client.query('delete from millrace.pane_numbers where pipeline = $1', [pipeline])
    await client.query('delete from millrace.pane_sets where pipeline = $1', [pipeline])
    return
  }
  if (numbers !== undefined && numbers.rows > 0) {
    await client.query(
      'create temp table if not exists changed_panes (step text, key text, pane bigint, numbers jsonb) on commit delete rows',
    )
    await copy(client, 'changed_panes', [...numberColumns], numbers)
    await client.query(
      prepared(`
      insert into millrace.pane_numbers (step, key, pane, numbers)
      select step, key, pane, numbers
      from   changed_panes
      on conflict (pipeline, step, pane, key) do update
      set    numbers = excluded.numbers`),
    )
  }
  if (sets !== undefined) await copy(client, 'millrace.pane_sets', [...setColumns], sets)
  if (gone !== undefined && gone.rows > 0) {
    await client.query(
      'create temp table if not exists gone_windows (step text, key text, pane bigint) on commit delete rows',
    )
    await copy(client, 'gone_windows', ['step', 'key', 'pane'], gone)
    await client.query(
      `
      delete from millrace.pane_numbers n
      using  gone_windows g
      where  n.pipeline = $1 and n.step = g.step and n.pane = g.pane and n.key = g.key`,
      [pipeline],
    )
  }
  for (const { step, before } of closed) {
    await client.query('delete from millrace.pane_numbers where pipeline = $1 and step = $2 and pane < $3', [
      pipeline,
      step,
      before,
    ])
    await client.query('delete from millrace.pane_sets where pipeline = $1 and step = $2 and pane < $3', [
      pipeline,
      step,
      before,
    ])
  }
  if (sets !== undefined && batch % foldEvery === 0) await fold(client, pipeline)
}

// Several rows of a pane become one, under the number of the last batch among them.
async function fold(client: Client, pipeline: string): Promise<void> {
  await client.query(
    `
    with many as (
      select step, pane, aggregate, key, max(batch) as last
      from   millrace.pane_sets
      where  pipeline = $1
      group by step, pane, aggregate, key
      having count(*) > 1
    ),
    taken as (
      delete from millrace.pane_sets s
      using  many
      where  s.pipeline = $1 and s.step = many.step and s.pane = many.pane
      and    s.aggregate = many.aggregate and s.key = many.key and s.batch < many.last
      returning s.*, many.last
    ),
    -- what is left of each after the delete, and what was taken away
    parts as (
      select step, pane, aggregate, key, last, members, items from taken
      union all
      select s.step, s.pane, s.aggregate, s.key, many.last, s.members, s.items
      from   millrace.pane_sets s
      join   many on (s.step, s.pane, s.aggregate, s.key, s.batch) = (many.step, many.pane, many.aggregate, many.key, many.last)
      where  s.pipeline = $1
    ),
    folded_members as (
      select step, pane, aggregate, key, last, array_agg(member) as members
      from   parts, unnest(members) member
      group by step, pane, aggregate, key, last
    ),
    folded_items as (
      select step, pane, aggregate, key, last, jsonb_object_agg(item, n) as items
      from   (
        select step, pane, aggregate, parts.key, last, item.name as item, sum(item.times::bigint) as n
        from   parts, jsonb_each_text(items) item (name, times)
        group by step, pane, aggregate, parts.key, last, item.name
      ) counted
      group by step, pane, aggregate, key, last
    )
    update millrace.pane_sets s
    set    members = m.members, items = i.items
    from   many
    left join folded_members m using (step, pane, aggregate, key)
    left join folded_items i using (step, pane, aggregate, key)
    where  s.pipeline = $1 and s.step = many.step and s.pane = many.pane
    and    s.aggregate = many.aggregate and s.key = many.key and s.batch = many.last`,
    [pipeline],
  )
}

/** Writes the state of a pipeline into files of a folder. */
export async function readState(client: Client, pipeline: string, folder: string): Promise<StoredState> {
  const { rows } = await client.query<{ literal: string }>(`select format('%L', $1::text) as literal`, [pipeline])
  // copy takes no parameters; format() has quoted the name
  const own = rows[0]?.literal ?? 'null'
  const read = async (name: string, columns: readonly string[]) => {
    const path = join(folder, `state-${name}.csv`)
    const found = client.query(
      copyTo(
        `copy (select ${columns.join(', ')} from millrace.${name} where pipeline = ${own}) to stdout (format csv, force_quote *)`,
      ),
    )
    await pump(found, createWriteStream(path)).catch((error) => {
      // it still sends what nobody reads, and would hear of nothing else
      void client.end()
      throw asDiskFull(error, path)
    })
    return { path, rows: found.rowCount }
  }
  return { numbers: await read('pane_numbers', numberColumns), sets: await read('pane_sets', setColumns) }
}
