/** Dead letters as a tool: found by what is known of them, edited, discarded. Replaying is the engine's. */
import { MillraceError } from '../errors.ts'
import type { Client } from './connection.ts'
import type { DeadLetter, DeadLetterQuery } from './store.ts'

interface DeadLetterRow {
  id: number
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

export async function findDeadLetters(client: Queries, query: DeadLetterQuery): Promise<DeadLetter[]> {
  const { rows } = await client.query<DeadLetterRow>(
    `
    select *
    from   millrace.dead_letters
    where  ($1::text is null or pipeline = $1)
    and    ($2::bigint[] is null or id = any($2))
    and    ($3::bigint is null or batch = $3)
    and    ($4::text is null or code = $4)
    and    ($5::text is null or position($5 in place) > 0)
    and    ($6::timestamptz is null or rejected_at >= $6)
    and    ($7 or settled is null)
    order by id
    limit  $8`,
    [
      query.pipeline ?? null,
      query.ids ?? null,
      query.batch ?? null,
      query.code ?? null,
      query.place ?? null,
      query.since ?? null,
      query.settled ?? false,
      query.limit ?? null,
    ],
  )
  return rows.map((row) => ({
    id: row.id,
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

/** Changes fields of an open letter; the raw text stays what was read. */
export async function editFields(client: Queries, id: number, fields: Record<string, string | null>): Promise<void> {
  const { rowCount } = await client.query(
    `
    update millrace.dead_letters
    set    fields = coalesce(fields, '{}') || $2::jsonb
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

export async function discard(client: Queries, ids: number[], reason: string): Promise<number> {
  const { rowCount } = await client.query(
    `
    update millrace.dead_letters
    set    settled = 'discarded', settled_at = clock_timestamp(), settled_by = $2
    where  id = any($1) and settled is null`,
    [ids, reason],
  )
  return rowCount ?? 0
}
