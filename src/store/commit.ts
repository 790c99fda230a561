/**
 * The one transaction of a batch: rows, state, positions, dead letters and the ledger line, and last the epoch. A crash
 * at any place leaves all of it or nothing, which is why starting again needs no recovery.
 */

import { MillraceError } from '../errors.ts'
import { failpoint } from '../failpoint.ts'
import { type Client, codeOf, isTransient, prepared } from './connection.ts'
import { letterEdited, letterSettled } from './dead-letters.ts'
import { writeFiles } from './files.ts'
import { jsonText } from './json-text.ts'
import { writeKeyed } from './keyed-state.ts'
import { copy, type Landing, landSinks, settleStages } from './land-rows.ts'
import { writeOutbox } from './outbox.ts'
import { writeRequests } from './requests.ts'
import { mergeStaged } from './staged.ts'
import { writeState } from './state.ts'
import { type BatchCommit, type CommitOutcome, deadLetterColumns, lateColumns, rowsOutOf } from './store.ts'

export async function commitBatch(client: Client, batch: BatchCommit, landing: Landing): Promise<CommitOutcome> {
  const started = performance.now()
  await failpoint('before begin')
  // what a constraint leaves for the end would be refused there, when nobody can tell any more which row it is
  await client.query(`
    begin;
    set constraints all immediate;
    select set_config('millrace.pipeline', ${client.escapeLiteral(batch.pipeline)}, true), set_config('millrace.batch', '${batch.batch}', true)`)
  let sent = false
  try {
    const outcomes = batch.staged
      ? await mergeStaged(client, batch.staged, landing.sharedCache)
      : await landSinks(client, batch.sinks, landing)
    if (batch.deadLetters) await copy(client, 'millrace.dead_letters', [...deadLetterColumns], batch.deadLetters)
    await failpoint('after rows')

    if (batch.lateRows) await copy(client, 'millrace.late_rows', [...lateColumns], batch.lateRows)
    await writeState(client, batch)
    await writeKeyed(client, batch)
    if (batch.dedupKeys) await copy(client, 'millrace.dedup_keys', ['step', 'key'], batch.dedupKeys)
    await failpoint('after state')

    const verdicts = await batch.books(outcomes)
    const messages = (await batch.outbox?.(outcomes)) ?? []
    await writeOutbox(client, messages)
    if (batch.requests) await writeRequests(client, batch.requests)
    const rowsOut = rowsOutOf(outcomes, messages)
    await writeFiles(client, batch)
    await settle(client, batch)
    const { positions } = batch
    // with the positions of its sources, for each question takes its time
    const { rows } = await client.query<{ committed_at: Date }>(
      prepared(
        `
      with moved as (
        insert into millrace.positions (pipeline, source, partition, position, watermark)
        select $1, * from unnest($18::text[], $19::text[], $20::bigint[], $21::timestamptz[])
        on conflict (pipeline, source, partition) do update
        set    position = excluded.position,
               -- never back, and null does not forget it
               watermark = greatest(millrace.positions.watermark, excluded.watermark)
      )
      insert into millrace.batches (
        pipeline, batch, epoch, kind, started_at, rows_in, written, filtered, duplicates, late, dead,
        files_quarantined, rows_out, ranges, phases_ms, step_rows, watermark)
      values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
      returning committed_at`,
        [
          batch.pipeline,
          batch.batch,
          batch.epoch,
          batch.kind,
          batch.startedAt,
          verdicts.rowsIn,
          verdicts.written,
          verdicts.filtered,
          verdicts.duplicates,
          verdicts.late,
          verdicts.dead,
          batch.filesQuarantined,
          JSON.stringify(rowsOut),
          jsonText(batch.ranges),
          JSON.stringify({ ...batch.phases, land: Math.round(performance.now() - started) }),
          JSON.stringify(batch.stepRows),
          asDate(batch.watermark),
          positions.map(({ source }) => source),
          positions.map(({ partition }) => partition),
          positions.map(({ position }) => position),
          positions.map(({ watermark }) => asDate(watermark)),
        ],
      ),
    )
    await failpoint('after positions')
    // last: a worker that has been replaced must not write
    const { rowCount } = await client.query(
      prepared(
        `
      with moved as (
        update millrace.pipelines
        set    batch = $3, updated_at = now(), watermark = greatest(watermark, $4)
        where  pipeline = $1 and batch = $3 - 1
        returning 1
      )
      update millrace.leases
      set    expires_at = clock_timestamp() + interval '10 seconds'
      where  pipeline = $1 and epoch = $2 and exists (select from moved)`,
        [batch.pipeline, batch.epoch, batch.batch, asDate(batch.watermark)],
      ),
    )
    if (rowCount !== 1) {
      throw new MillraceError('LEASE_LOST', {
        at: `${batch.pipeline} batch ${batch.batch}`,
        message: 'another worker owns the pipeline now; nothing of this batch was written',
        hint: 'this worker stops or stands by; the other one goes on from what is stored',
      })
    }
    await failpoint('commit sent')
    sent = true
    await client.query('commit')
    settleStages(client, true)
    await failpoint('commit acknowledged')
    const committedAt = rows[0]?.committed_at ?? new Date()
    return { verdicts, rowsOut, committedAt }
  } catch (error) {
    settleStages(client, false)
    if (sent && (isTransient(error) || codeOf(error) === undefined)) {
      throw new MillraceError('COMMIT_UNKNOWN', {
        at: `${batch.pipeline} batch ${batch.batch}`,
        message: 'the connection broke before the outcome of the commit was known',
        hint: 'what is stored decides; it is read before anything is tried again',
        retry: true,
        cause: error,
      })
    }
    await client.query('rollback').catch(() => {})
    throw error
  }
}

// ---- what goes with the rows ---------------------------------------------------------------------------------------

function asDate(ms: number | undefined): Date | null {
  return ms === undefined ? null : new Date(ms)
}

async function settle(client: Client, batch: BatchCommit): Promise<void> {
  if (batch.settles.length === 0) return
  const ids = batch.settles.map(({ id }) => id)
  const { rowCount } = await client.query(
    `
    update millrace.dead_letters d
    set    settled = 'replayed', settled_at = clock_timestamp(), settled_by = $4
    from   unnest($2::bigint[], $3::integer[]) as read (id, revision)
    where  d.pipeline = $1 and d.id = read.id and d.revision = read.revision and d.settled is null`,
    [batch.pipeline, ids, batch.settles.map(({ revision }) => revision), `batch ${batch.batch}`],
  )
  if (rowCount === ids.length) return
  // the others are settled by now, in this transaction
  const { rowCount: open } = await client.query(
    'select from millrace.dead_letters where pipeline = $1 and id = any($2) and settled is null limit 1',
    [batch.pipeline, ids],
  )
  throw open === 1 ? letterEdited(batch.pipeline) : letterSettled(batch.pipeline)
}
