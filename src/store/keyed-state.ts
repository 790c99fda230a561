/** What steps keep by key: read for the keys of a batch, and written with it. */
import { createWriteStream } from 'node:fs'
import { pipeline as pump } from 'node:stream/promises'
import type pg from 'pg'
import { to as copyTo } from 'pg-copy-streams'
import { asDiskFull } from '../errors.ts'
import { type Client, inTransaction, prepared, type Queries } from './connection.ts'
import { csvRows, readFields, readRows } from './csv-rows.ts'
import { copy, copyInto } from './land-rows.ts'
import { type BatchCommit, type CsvRows, type KeyedQuery, storedKeyedColumns } from './store.ts'

export async function writeKeyed(client: Client, { pipeline, keyed }: BatchCommit): Promise<void> {
  if (keyed === undefined) return
  if (keyed.forget !== undefined)
    await client.query('delete from millrace.keyed_state where pipeline = $1 and step = any($2)', [
      pipeline,
      keyed.forget,
    ])
  if (keyed.gone !== undefined && keyed.gone.rows > 0) {
    const { relation, ask } = await itemsOf(client, 'gone_items', keyed.gone)
    await ask(`
      delete from millrace.keyed_state s
      using  ${relation}
      where  s.pipeline = current_setting('millrace.pipeline')
      and    s.step = gone_items.step and s.key = gone_items.key and s.item = gone_items.item`)
  }
  if (keyed.set !== undefined && keyed.set.rows > 0) {
    const { relation, ask } = await itemsOf(client, 'kept_items', keyed.set)
    await ask(`
      insert into millrace.keyed_state (step, key, item, state, due)
      select step, key, item, state, due::bigint
      from   ${relation}
      on conflict (pipeline, step, key, item) do update
      set    state = excluded.state, due = excluded.due`)
  }
}

// What was printed, as a relation of texts: a few are told with the statement, more come through a table of the session.
async function itemsOf(
  client: Client,
  name: string,
  printed: CsvRows,
): Promise<{ relation: string; ask(text: string): Promise<unknown> }> {
  const { columns } = printed
  if (printed.rows <= askedAtOnce) {
    const rows = await readFields(printed)
    const lists = columns.map((_, i) => `$${i + 1}::text[]`)
    const values = columns.map((_, i) => rows.map((fields) => fields[i]))
    return {
      relation: `unnest(${lists.join(', ')}) ${name} (${columns.join(', ')})`,
      ask: (text) => client.query(prepared(text, values)),
    }
  }
  await client.query(
    `create temp table if not exists ${name} (${columns.map((column) => `${column} text`).join(', ')}) on commit delete rows`,
  )
  await copy(client, name, columns, printed)
  return { relation: name, ask: (text) => client.query(text) }
}

/** So many are asked for in one question; more come through a table. */
export const askedAtOnce = 1000

export async function readKeyed(pool: pg.Pool, pipeline: string, query: KeyedQuery): Promise<CsvRows> {
  if (query.wanted.rows > askedAtOnce) return await inTransaction(pool, (client) => readMany(client, pipeline, query))
  const { wanted, due, into } = query
  const asked = await readRows(wanted)
  const column = (name: string): unknown[] => asked.map((row) => row[name])
  const { rows } = await pool.query<Record<(typeof storedKeyedColumns)[number], string | null>>(
    prepared(
      `
    with wanted as (
      select step, key, item from unnest($2::text[], $3::text[], $4::text[]) asked (step, key, item)
      union
      select step, key, null from millrace.keyed_state where pipeline = $1 and step = any($5) and due < $6
    )
    select s.step, s.key, s.item, s.state, s.due::text
    from   wanted
    join   millrace.keyed_state s
      on   s.pipeline = $1 and s.step = wanted.step and s.key = wanted.key
      and  (wanted.item is null or s.item = wanted.item)`,
      [pipeline, column('step'), column('key'), column('item'), due?.steps ?? [], due?.beforeUs ?? null],
    ),
  )
  const found = rows.map((row) => storedKeyedColumns.map((name) => row[name]))
  return await csvRows(storedKeyedColumns, found, into)
}

// Within a transaction, for it makes a table of its own.
async function readMany(client: Client, pipeline: string, { wanted, due, into }: KeyedQuery): Promise<CsvRows> {
  await client.query('create temp table wanted_items (step text not null, key text not null, item text) on commit drop')
  await copyInto(client, 'copy wanted_items (step, key, item) from stdin (format csv)', wanted)
  const { rows } = await client.query<{ own: string; due: string }>(
    `
    select format('s.pipeline = %L', $1::text) as own,
           format('s.step = any(%L::text[]) and s.due < %L', $2::text[], $3::bigint) as due`,
    [pipeline, due?.steps ?? [], due?.beforeUs ?? null],
  )
  // copy takes no parameters; format() has quoted the names
  const { own = 'false', due: isDue } = rows[0] ?? {}
  const overdue =
    due === undefined ? '' : `union select s.step, s.key from millrace.keyed_state s where ${own} and ${isDue}`
  // without it the planner takes them for a few, and looks each up in turn
  await client.query('analyze wanted_items')
  // two joins, for one with an "or" in it is made row by row
  const found = client.query(
    copyTo(`
      copy (
        select s.step, s.key, s.item, s.state, s.due
        from   (select step, key from wanted_items where item is null ${overdue}) wanted
        join   millrace.keyed_state s on ${own} and s.step = wanted.step and s.key = wanted.key
        union all
        select s.step, s.key, s.item, s.state, s.due
        from   wanted_items wanted
        join   millrace.keyed_state s
          on   ${own} and s.step = wanted.step and s.key = wanted.key and s.item = wanted.item
      )
      to stdout (format csv, force_quote (step, key, item, state))`),
  )
  await pump(found, createWriteStream(into)).catch((error) => {
    // it still sends what nobody reads, and would hear of nothing else
    void client.end()
    throw asDiskFull(error, into)
  })
  return { csv: { path: into }, columns: [...storedKeyedColumns], rows: found.rowCount }
}

export async function keepsByKey(client: Queries, pipeline: string): Promise<boolean> {
  const { rows } = await client.query<{ keeps: boolean }>(
    'select exists (select from millrace.keyed_state where pipeline = $1) as keeps',
    [pipeline],
  )
  return rows[0]?.keeps === true
}

/** The watermark, in microseconds, after which there is something to say without any row. */
export async function readNextDue(client: Queries, pipeline: string): Promise<bigint | undefined> {
  const { rows } = await client.query<{ due: string | null }>(
    'select min(due)::text as due from millrace.keyed_state where pipeline = $1 and due is not null',
    [pipeline],
  )
  const due = rows[0]?.due
  return due == null ? undefined : BigInt(due)
}
