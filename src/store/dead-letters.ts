/** Dead letters as a tool: found by what is known of them, edited, discarded. Replaying is the engine's. */
import { MillraceError } from '../errors.ts'
import type { Client } from './connection.ts'
import type { DeadLetter, DeadLetterCount, DeadLetterFilter, DeadLetterQuery } from './store.ts'

interface DeadLetterRow {
  id: number
  revision: number
  pipeline: string
  batch: number
  source: string
  place: string
  line: number | null
  stage: string
  code: string
  column_name: string | null
  message: string
  raw: string
  raw_bytes: Buffer | null
  fields: Record<string, string | null> | null
  rejected_at: Date
  settled: 'replayed' | 'discarded' | null
  settled_at: Date | null
  settled_by: string | null
}

type Queries = Pick<Client, 'query'>

// A row may be 32 MB long, and thousands of them must not be in memory at once.
const pageBytes = 2_000_000

export async function findDeadLetters(client: Queries, query: DeadLetterQuery): Promise<DeadLetter[]> {
  const order = query.newestFirst === true ? 'desc' : 'asc'
  const chosen = `
    select *
    from   millrace.dead_letters
    where  ${conditions}
    order by id ${order}`
  const page = `
    select *
    from  (select *, sum(octet_length(raw)) over (order by id ${order}) - octet_length(raw) as bytes_before
           from  (${chosen} limit $14) chosen) page
    where  bytes_before < ${pageBytes}
    order by id ${order}`
  const { rows } = await client.query<DeadLetterRow>(
    query.limit === undefined ? chosen : page,
    query.limit === undefined ? valuesOf(query) : [...valuesOf(query), query.limit],
  )
  return rows.map((row) => ({
    id: row.id,
    revision: row.revision,
    pipeline: row.pipeline,
    batch: row.batch,
    source: row.source,
    place: row.place,
    line: row.line,
    stage: row.stage,
    code: row.code,
    columnName: row.column_name,
    message: row.message,
    raw: row.raw,
    rawBytes: row.raw_bytes,
    fields: row.fields,
    rejectedAt: row.rejected_at,
    settled: row.settled,
    settledAt: row.settled_at,
    settledBy: row.settled_by,
  }))
}

export async function countDeadLetters(client: Queries, filter: DeadLetterFilter): Promise<DeadLetterCount[]> {
  const { rows } = await client.query<DeadLetterCount>(
    `
    select pipeline,
           code,
           count(*) as letters,
           count(fields) as replayable,
           sum(octet_length(raw)) as bytes,
           max(id) as "lastId"
    from   millrace.dead_letters
    where  ${conditions}
    group by pipeline, code
    order by letters desc, pipeline collate "C", code collate "C"`,
    valuesOf(filter),
  )
  return rows
}

const conditions = `
           ($1::text is null or pipeline = $1)
    and    ($2::bigint[] is null or id = any($2))
    and    ($3::bigint is null or batch = $3)
    and    ($4::text is null or upper(code) = upper($4))
    and    ($5::text is null or column_name = $5)
    and    ($6::text is null or position($6 in place) > 0)
    and    ($7::timestamptz is null or rejected_at >= $7)
    and    ($8::timestamptz is null or rejected_at < $8)
    and    ($9::boolean is null or (fields is not null) = $9)
    and    ($10 or settled is null)
    and    ($11::bigint is null or id > $11)
    and    ($12::bigint is null or id <= $12)
    and    ($13::text is null or source = $13)`

function valuesOf(filter: DeadLetterFilter): unknown[] {
  return [
    filter.pipeline ?? null,
    filter.ids ?? null,
    filter.batch ?? null,
    filter.code ?? null,
    filter.column ?? null,
    filter.place ?? null,
    filter.since ?? null,
    filter.until ?? null,
    filter.replayable ?? null,
    filter.settled ?? false,
    filter.after ?? null,
    filter.upTo ?? null,
    filter.source ?? null,
  ]
}

/** Changes fields of an open letter; the raw text stays what was read. */
export async function editFields(client: Queries, id: number, fields: Record<string, string | null>): Promise<void> {
  const { rowCount } = await client.query(
    `
    update millrace.dead_letters
    set    fields = coalesce(fields, '{}') || $2::jsonb, revision = revision + 1
    where  id = $1 and settled is null`,
    [id, JSON.stringify(fields)],
  )
  if (rowCount === 1) return
  const [letter] = await findDeadLetters(client, { ids: [id], settled: true })
  if (letter === undefined) {
    throw new MillraceError('NO_SUCH_DEAD_LETTER', {
      message: `there is no dead letter ${id}`,
      hint: 'list them with dead-letters list',
    })
  }
  throw new MillraceError('DEAD_LETTER_SETTLED', {
    message: `dead letter ${id} was ${letter.settled} already (${letter.settledBy})`,
  })
}

export async function discard(client: Queries, filter: DeadLetterFilter, reason: string): Promise<number> {
  const { rowCount } = await client.query(
    `
    update millrace.dead_letters
    set    settled = 'discarded', settled_at = clock_timestamp(), settled_by = $14
    where  ${conditions}
    and    settled is null`,
    [...valuesOf(filter), reason],
  )
  return rowCount ?? 0
}

/** Why a replay cannot be committed. Whoever tries again reads the letters that are open, as they are then. */
export function letterSettled(pipeline: string): MillraceError {
  return new MillraceError('DEAD_LETTER_SETTLED', {
    at: pipeline,
    message: 'a dead letter of this replay has been settled meanwhile; nothing was written',
    hint: 'list the dead letters again',
    retry: true,
  })
}

export function letterEdited(pipeline: string): MillraceError {
  return new MillraceError('DEAD_LETTER_EDITED', {
    at: pipeline,
    message: 'a dead letter of this replay has been edited meanwhile; nothing was written',
    hint: 'it is replayed again, with what it says now',
    retry: true,
  })
}
