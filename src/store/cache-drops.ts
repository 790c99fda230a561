/**
 * Answers in caches that a commit makes old. Caches in processes are told of them with the commit. For one outside of the
 * processes they are noted in it, until that has forgotten them (`cache/drops.ts`).
 */
import { identifier } from '../plan/identifier.ts'
import type { TableStep } from '../plan/plan.ts'
import type { Queries } from './connection.ts'

/** All keys that begin so, or of them only these. */
export interface CacheDrop {
  prefix: string
  keys?: readonly string[] | undefined
}

/** The channel on which a drop is told, as JSON. Of those that are noted it is told that there are some. */
export const dropChannel = 'millrace_cache'

/** A notification holds fewer than 8,000 bytes. */
const toldBytes = 7_000
/** What begins alike is dropped whole when more rows than these have changed: most of them nobody has asked for. */
const mostRows = 1_000

/** In a transaction. `shared`: the cache is outside of the processes. */
export async function noteDrop(client: Queries, { prefix, keys }: CacheDrop, shared: boolean): Promise<void> {
  if (keys?.length === 0) return
  if (shared) {
    await client.query(
      `
      with noted as (
        insert into millrace.cache_drops (prefix, keys)
        values ($1, $2)
        returning 1
      )
      select pg_notify($3, '')
      from   noted`,
      [prefix, keys, dropChannel],
    )
    return
  }
  const told = JSON.stringify({ prefix, keys })
  const payload = Buffer.byteLength(told) > toldBytes ? JSON.stringify({ prefix }) : told
  await client.query('select pg_notify($1, $2)', [dropChannel, payload])
}

/** Of a table whose rows are kept in caches: what has changed of it; `changed.from` is a relation that has their keys. */
export async function noteChanged(
  client: Queries,
  { cachedAs, mode }: TableStep,
  changed: { from: string; rows: number } | 'more than can be told',
  shared: boolean,
): Promise<void> {
  if (cachedAs === undefined || mode.is !== 'upsert') return
  if (changed === 'more than can be told' || changed.rows > mostRows)
    return await noteDrop(client, { prefix: cachedAs }, shared)
  const { rows } = await client.query<{ key: string }>(
    `select $1::text || ${identifier(mode.key[0] ?? '')}::text as key from ${changed.from}`,
    [cachedAs],
  )
  await noteDrop(client, { prefix: cachedAs, keys: rows.map(({ key }) => key) }, shared)
}
