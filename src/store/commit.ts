/**
 * The one transaction of a batch: rows, state, positions, dead letters and the ledger line, and last the epoch. A crash
 * at any place leaves all of it or nothing, which is why starting again needs no recovery.
 */
import { createReadStream } from 'node:fs'
import { pipeline as pump } from 'node:stream/promises'
import { from as copyFrom } from 'pg-copy-streams'
import { MillraceError } from '../errors.ts'
import { failpoint } from '../failpoint.ts'
import { identifier } from '../plan/identifier.ts'
import type { TableStep } from '../plan/plan.ts'
import { type Client, codeOf, isRowFault, isTransient } from './connection.ts'
import { writeFiles } from './files.ts'
import { jsonText } from './json-text.ts'
import type { BatchCommit, CommitOutcome, NewDeadLetter, RowFile, SinkOutcome, SinkRows } from './store.ts'
import { deadLetterColumns } from './store.ts'

/** What a worker learns about its tables while it runs. */
export interface TableHabits {
  /** By sink: batches for which a straight COPY is not tried, because the last tries met keys that were there. */
  skipStraight: Map<string, { batches: number; next: number }>
}

export async function commitBatch(client: Client, batch: BatchCommit, habits: TableHabits): Promise<CommitOutcome> {
  const started = performance.now()
  await failpoint('before begin')
  await client.query('begin')
  let sent = false
  try {
    await client.query(`select set_config('millrace.pipeline', $1, true), set_config('millrace.batch', $2, true)`, [
      batch.pipeline,
      String(batch.batch),
    ])
    const refused: NewDeadLetter[] = []
    const outcomes: SinkOutcome[] = []
    for (const sink of batch.sinks) outcomes.push(await landSink(client, sink, refused, habits))
    if (batch.deadLetters) await copy(client, 'millrace.dead_letters', [...deadLetterColumns], batch.deadLetters)
    if (refused.length > 0) await insertDeadLetters(client, refused)
    await failpoint('after rows')

    if (batch.dedupKeys) await copy(client, 'millrace.dedup_keys', ['step', 'key'], batch.dedupKeys)
    await failpoint('after state')

    const verdicts = await batch.books(outcomes)
    const rowsOut = Object.fromEntries(
      outcomes.map(({ step, inserted, updated }) => [step, { inserted, updated, deleted: 0 }]),
    )
    await writeFiles(client, batch)
    await writePositions(client, batch)
    await settle(client, batch)
    const { rows } = await client.query<{ committed_at: Date }>(
      `
      insert into millrace.batches (
        pipeline, batch, epoch, kind, started_at, rows_in, written, filtered, duplicates, late, dead,
        files_quarantined, rows_out, ranges, phases_ms)
      values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
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
      ],
    )
    await failpoint('after positions')
    // last: a worker that has been replaced must not write
    const { rowCount } = await client.query(
      `
      with moved as (
        update millrace.pipelines
        set    batch = $3, updated_at = now()
        where  pipeline = $1 and batch = $3 - 1
        returning 1
      )
      update millrace.leases
      set    expires_at = clock_timestamp() + interval '10 seconds'
      where  pipeline = $1 and epoch = $2 and exists (select from moved)`,
      [batch.pipeline, batch.epoch, batch.batch],
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
    await failpoint('commit acknowledged')
    const committedAt = rows[0]?.committed_at ?? new Date()
    return { verdicts, rowsOut, committedAt }
  } catch (error) {
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

// ---- rows into a target table --------------------------------------------------------------------------------------

async function landSink(
  client: Client,
  sink: SinkRows,
  refused: NewDeadLetter[],
  habits: TableHabits,
): Promise<SinkOutcome> {
  const outcome: SinkOutcome = {
    step: sink.step.id,
    inserted: 0,
    updated: 0,
    duplicates: 0,
    duplicateOrdinals: [],
    refusedOrdinals: [],
  }
  const fresh = sink.fresh?.rows ?? 0
  if (fresh + sink.rows.rows === 0) return outcome
  if (sink.step.mode.is !== 'append') await makeStage(client, sink)
  if (sink.fresh && fresh > 0 && !(await landStraight(client, sink.step, sink.fresh, outcome, habits))) {
    await land(client, sink, sink.fresh, 0, outcome, refused)
  }
  if (sink.rows.rows > 0) await land(client, sink, sink.rows, fresh, outcome, refused)
  return outcome
}

// A straight COPY needs no staging, a third less work; it stands or falls with none of the keys being there.
async function landStraight(
  client: Client,
  step: TableStep,
  rows: RowFile,
  outcome: SinkOutcome,
  habits: TableHabits,
): Promise<boolean> {
  const habit = habits.skipStraight.get(step.id) ?? { batches: 0, next: 1 }
  habits.skipStraight.set(step.id, habit)
  if (habit.batches > 0) {
    habit.batches--
    return false
  }
  await client.query('savepoint straight')
  try {
    await copy(client, identifier(...step.table.split('.')), rows.columns, rows)
    await client.query('release savepoint straight')
    outcome.inserted += rows.rows
    habit.next = 1
    return true
  } catch (error) {
    if (!isRowFault(error)) throw error
    await client.query('rollback to savepoint straight')
    habit.batches = habit.next
    habit.next = Math.min(habit.next * 2, 64)
    return false
  }
}

// Halves the rows around one that the database refuses until it stands alone; the others land.
async function land(
  client: Client,
  sink: SinkRows,
  file: RowFile,
  first: number,
  outcome: SinkOutcome,
  refused: NewDeadLetter[],
): Promise<void> {
  let starts: number[] = []
  const landRows = async (from: number, to: number): Promise<void> => {
    const named = outcome.duplicateOrdinals.length
    const all = to - from === file.rows
    await client.query('savepoint part')
    try {
      const bytes = all ? undefined : { start: starts[from] ?? 0, end: starts[to] ?? 0 }
      await landPart(client, sink, { ...file, rows: to - from }, bytes, first + from, outcome)
      await client.query('release savepoint part')
      return
    } catch (error) {
      if (!isRowFault(error)) throw error
      await client.query('rollback to savepoint part')
      outcome.duplicateOrdinals.length = named
      if (to - from === 1) {
        outcome.refusedOrdinals.push(first + from)
        const message = error instanceof Error ? error.message : String(error)
        refused.push(await sink.reject(first + from, codeOf(error) ?? '', message))
        return
      }
    }
    if (all) starts = await rowStarts(file)
    const half = from + Math.ceil((to - from) / 2)
    await landRows(from, half)
    await landRows(half, to)
  }
  await landRows(0, file.rows)
}

async function landPart(
  client: Client,
  sink: SinkRows,
  rows: RowFile,
  bytes: Bytes | undefined,
  first: number,
  outcome: SinkOutcome,
): Promise<void> {
  const { step } = sink
  if (step.mode.is === 'append') {
    await copy(client, identifier(...step.table.split('.')), rows.columns, rows, bytes)
    outcome.inserted += rows.rows
    return
  }
  const stage = stageName(step)
  await copy(client, stage, rows.columns, rows, bytes)
  if (step.mode.is === 'upsert') {
    const { rows: counted } = await client.query<{ inserted: number; updated: number }>(mergeSql(step))
    outcome.inserted += counted[0]?.inserted ?? 0
    outcome.updated += counted[0]?.updated ?? 0
  } else {
    const duplicates = sink.ordinals ? await mergeTelling(client, step) : undefined
    const inserted = duplicates ? rows.rows - duplicates.length : ((await client.query(mergeSql(step))).rowCount ?? 0)
    outcome.inserted += inserted
    outcome.duplicates += rows.rows - inserted
    for (const ordinal of duplicates ?? []) outcome.duplicateOrdinals.push(first + ordinal)
  }
  // for the next part; after one that was refused it is empty by itself
  await client.query(`truncate ${stage}`)
}

function stageName(step: TableStep): string {
  return identifier('pg_temp', `stage ${step.id}`)
}

// A temporary table of the session, with the target's own types: it is not logged, and its rows go with the transaction.
async function makeStage(client: Client, { step, ordinals }: SinkRows): Promise<void> {
  const columns = step.columns.map(({ name }) => identifier(name)).join(', ')
  await client.query(`
    create temp table if not exists ${identifier(`stage ${step.id}`)}
    on commit delete rows
    as select ${columns} from ${identifier(...step.table.split('.'))} with no data`)
  if (ordinals) {
    await client.query(`alter table ${stageName(step)} add column if not exists _n bigint generated always as identity`)
  }
}

/** How staged rows meet those that are there, for `explain` too. */
export function mergeSql(step: TableStep): string {
  const target = identifier(...step.table.split('.'))
  const columns = step.columns.map(({ name }) => identifier(name))
  const { mode } = step
  if (mode.is === 'append') return `copy ${target} (${columns.join(', ')}) from stdin`
  const key = mode.key.map((name) => identifier(name))
  const insert = `insert into ${target} (${columns.join(', ')})\nselect ${columns.join(', ')}\nfrom   ${stageName(step)}\non conflict (${key.join(', ')})`
  if (mode.is === 'insert if new') return `${insert} do nothing`
  const replaced = columns.filter((name) => !key.includes(name)).map((name) => `${name} = excluded.${name}`)
  const update = replaced.length === 0 ? 'do nothing' : `do update set ${replaced.join(', ')}`
  return `with merged as (
  ${insert.replaceAll('\n', '\n  ')} ${update}
  -- a row that was not there has never been deleted or replaced
  returning xmax = 0 as inserted
)
select count(*) filter (where inserted) as inserted,
       count(*) filter (where not inserted) as updated
from   merged`
}

// Merges, and says which rows were duplicates: all but the first of each key that is new. Grouping takes nulls for equal,
// as the key does, and finds nothing by comparing each row with each.
async function mergeTelling(client: Client, step: TableStep): Promise<number[]> {
  const stage = stageName(step)
  const columns = step.columns.map(({ name }) => identifier(name)).join(', ')
  const key = step.mode.is === 'append' ? '' : step.mode.key.map((name) => identifier(name)).join(', ')
  const { rows } = await client.query<{ ordinal: number }>(`
    with landed as (
      insert into ${identifier(...step.table.split('.'))} (${columns})
      select ${columns}
      from   ${stage}
      order by _n
      on conflict (${key}) do nothing
      returning ${key}
    ),
    met as (
      select ${key}, _n from ${stage}
      union all
      select ${key}, null from landed
    )
    select ordinal
    from  (select _n - (select min(_n) from ${stage}) as ordinal,
                  row_number() over (partition by ${key} order by _n) = 1 as is_first,
                  bool_or(_n is null) over (partition by ${key}) as is_new
           from met) counted
    where  ordinal is not null and not (is_first and is_new)
    order by ordinal`)
  return rows.map(({ ordinal }) => ordinal)
}

interface Bytes {
  start: number
  end: number
}

async function copy(
  client: Client,
  table: string,
  columns: string[],
  rows: RowFile,
  bytes: Bytes = { start: 0, end: Number.POSITIVE_INFINITY },
): Promise<void> {
  const names = columns.map((name) => identifier(name)).join(', ')
  const into = client.query(copyFrom(`copy ${table} (${names}) from stdin (format csv)`))
  const part = createReadStream(rows.path, { start: bytes.start, end: bytes.end - 1, highWaterMark: 256 * 1024 })
  await pump(part, into)
}

// Where each row begins in the file, and after the last one where it ends. A line end in quotes ends no row.
async function rowStarts(file: RowFile): Promise<number[]> {
  const starts = [0]
  let read = 0
  let quoted = false
  // as: without an encoding it reads bytes
  for await (const chunk of createReadStream(file.path, { highWaterMark: 256 * 1024 }) as AsyncIterable<Buffer>) {
    for (let i = 0; i < chunk.length; i++) {
      if (chunk[i] === quote) quoted = !quoted
      else if (chunk[i] === lineEnd && !quoted) starts.push(read + i + 1)
    }
    read += chunk.length
  }
  if (starts.length === file.rows + 1) return starts
  throw new MillraceError('DATABASE_REFUSED', {
    at: file.path,
    message: `the file of ${file.rows} rows has ${starts.length - 1}`,
  })
}

const [quote, lineEnd] = Buffer.from('"\n')

// ---- what goes with the rows ---------------------------------------------------------------------------------------

async function insertDeadLetters(client: Client, letters: NewDeadLetter[]): Promise<void> {
  // some at a time: neither a text of JavaScript nor an array of Postgres holds any number of them
  for (let i = 0; i < letters.length; i += 100) await insertSomeLetters(client, letters.slice(i, i + 100))
}

async function insertSomeLetters(client: Client, letters: NewDeadLetter[]): Promise<void> {
  await client.query(
    `
    insert into millrace.dead_letters (source, place, line, stage, code, column_name, message, raw, fields)
    select source, place, line, stage, code, column_name, message, raw, fields
    from   jsonb_to_recordset($1) as letter(
             source text, place text, line bigint, stage text, code text, column_name text, message text, raw text, fields jsonb)`,
    [jsonText(letters.map(({ columnName, ...letter }) => ({ ...letter, column_name: columnName })))],
  )
}

async function writePositions(client: Client, batch: BatchCommit): Promise<void> {
  for (const { source, partition, position, watermark } of batch.positions) {
    await client.query(
      `
      insert into millrace.positions (pipeline, source, partition, position, watermark)
      values ($1, $2, $3, $4, $5)
      on conflict (pipeline, source, partition) do update
      set    position = excluded.position,
             -- never back, and null does not forget it
             watermark = greatest(millrace.positions.watermark, excluded.watermark)`,
      [batch.pipeline, source, partition, position, watermark === undefined ? null : new Date(watermark)],
    )
  }
}

async function settle(client: Client, batch: BatchCommit): Promise<void> {
  if (batch.settles.length === 0) return
  const { rowCount } = await client.query(
    `
    update millrace.dead_letters
    set    settled = 'replayed', settled_at = clock_timestamp(), settled_by = $3
    where  pipeline = $1 and id = any($2) and settled is null`,
    [batch.pipeline, batch.settles, `batch ${batch.batch}`],
  )
  if (rowCount !== batch.settles.length) {
    throw new MillraceError('DEAD_LETTER_SETTLED', {
      at: batch.pipeline,
      message: 'a dead letter of this replay has been settled meanwhile; nothing was written',
      hint: 'list the dead letters again',
      retry: true,
    })
  }
}
