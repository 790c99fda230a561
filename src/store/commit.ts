/**
 * The one transaction of a batch: rows, state, positions, dead letters and the ledger line, and last the epoch. A crash
 * at any place leaves all of it or nothing, which is why starting again needs no recovery.
 */
import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline as pump } from 'node:stream/promises'
import { from as copyFrom } from 'pg-copy-streams'
import { MillraceError } from '../errors.ts'
import { failpoint } from '../failpoint.ts'
import { identifier } from '../plan/identifier.ts'
import type { TableStep } from '../plan/plan.ts'
import { type Client, codeOf, isRowFault, isTransient } from './connection.ts'
import { writeFiles } from './files.ts'
import { jsonText } from './json-text.ts'
import {
  type BatchCommit,
  type CommitOutcome,
  deadLetterColumns,
  type RefusedRow,
  type RowFile,
  RowsRefused,
  type SinkOutcome,
  type SinkRows,
} from './store.ts'

/** What a worker learns about its tables while it runs. */
export interface TableHabits {
  /** By sink: batches for which a straight COPY is not tried, because the last tries met keys that were there. */
  skipStraight: Map<string, { batches: number; next: number }>
}

export async function commitBatch(client: Client, batch: BatchCommit, habits: TableHabits): Promise<CommitOutcome> {
  const started = performance.now()
  await failpoint('before begin')
  // what a constraint leaves for the end would be refused there, when nobody can tell any more which row it is
  await client.query('begin; set constraints all immediate')
  let sent = false
  try {
    await client.query(`select set_config('millrace.pipeline', $1, true), set_config('millrace.batch', $2, true)`, [
      batch.pipeline,
      String(batch.batch),
    ])
    const outcomes = await landSinks(client, batch.sinks, habits)
    if (batch.deadLetters) await copy(client, 'millrace.dead_letters', [...deadLetterColumns], batch.deadLetters)
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

async function landSinks(client: Client, sinks: SinkRows[], habits: TableHabits): Promise<SinkOutcome[]> {
  const outcomes: SinkOutcome[] = []
  const refused: RefusedRow[] = []
  for (const sink of sinks) {
    try {
      outcomes.push(await landSink(client, sink, habits))
    } catch (error) {
      if (!isRowFault(error)) throw error
      await client.query('rollback to savepoint rows')
      const rows = await refusedRows(client, sink)
      // taken one by one, nothing is wrong with them
      if (rows.length === 0) throw error
      refused.push(...rows)
    }
  }
  if (refused.length > 0) throw new RowsRefused(refused)
  return outcomes
}

async function landSink(client: Client, sink: SinkRows, habits: TableHabits): Promise<SinkOutcome> {
  const outcome: SinkOutcome = { step: sink.step.id, inserted: 0, updated: 0, duplicates: 0, duplicateOrdinals: [] }
  const { step, rows, fresh } = sink
  const first = fresh?.rows ?? 0
  if (first + rows.rows === 0) return outcome
  if (step.mode.is !== 'append') await makeStage(client, sink)
  await client.query('savepoint rows')
  if (fresh && first > 0 && !(await landStraight(client, step, fresh, outcome, habits))) {
    await landRows(client, sink, fresh, 0, outcome)
  }
  if (rows.rows > 0) await landRows(client, sink, rows, first, outcome)
  await client.query('release savepoint rows')
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
  try {
    await copy(client, identifier(...step.table.split('.')), rows.columns, rows)
    outcome.inserted += rows.rows
    habit.next = 1
    return true
  } catch (error) {
    if (!isRowFault(error)) throw error
    await client.query('rollback to savepoint rows')
    habit.batches = habit.next
    habit.next = Math.min(habit.next * 2, 64)
    return false
  }
}

// `first` is the number of their first row.
async function landRows(
  client: Client,
  sink: SinkRows,
  rows: RowFile,
  first: number,
  outcome: SinkOutcome,
): Promise<void> {
  const { step } = sink
  if (step.mode.is === 'append') {
    await copy(client, identifier(...step.table.split('.')), rows.columns, rows)
    outcome.inserted += rows.rows
    return
  }
  const stage = stageName(step)
  await copy(client, stage, rows.columns, rows)
  if (step.mode.is === 'upsert') {
    const { inserted, updated } = await replaceRows(client, step, rows)
    outcome.inserted += inserted
    outcome.updated += updated
  } else {
    const duplicates = sink.ordinals ? await mergeTelling(client, step) : undefined
    const inserted = duplicates ? rows.rows - duplicates.length : ((await client.query(mergeSql(step))).rowCount ?? 0)
    outcome.inserted += inserted
    outcome.duplicates += rows.rows - inserted
    for (const ordinal of duplicates ?? []) outcome.duplicateOrdinals.push(first + ordinal)
  }
  // for the rows after them
  await client.query(`truncate ${stage}`)
}

async function replaceRows(
  client: Client,
  step: TableStep,
  rows: RowFile,
): Promise<{ inserted: number; updated: number }> {
  const merge = async (source?: string) => {
    const merged = await client.query<{ inserted: number; updated: number }>(mergeSql(step, source))
    return merged.rows[0] ?? { inserted: 0, updated: 0 }
  }
  try {
    return await merge()
  } catch (error) {
    if (codeOf(error) !== sameKeyTwice || step.mode.is !== 'upsert') throw error
  }
  // keys that differ for us, and are one for a collation of the table: the last row of each
  await client.query('rollback to savepoint rows')
  const stage = stageName(step)
  await client.query(`alter table ${stage} add column if not exists _n bigint generated always as identity`)
  await copy(client, stage, rows.columns, rows)
  const key = step.mode.key.map((name) => identifier(name)).join(', ')
  const { inserted } = await merge(`(select distinct on (${key}) * from ${stage} order by ${key}, _n desc) last`)
  return { inserted, updated: rows.rows - inserted }
}

const sameKeyTwice = '21000'

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
export function mergeSql(step: TableStep, source = stageName(step)): string {
  const target = identifier(...step.table.split('.'))
  const columns = step.columns.map(({ name }) => identifier(name))
  const { mode } = step
  if (mode.is === 'append') return `copy ${target} (${columns.join(', ')}) from stdin`
  const key = mode.key.map((name) => identifier(name))
  const insert = `insert into ${target} (${columns.join(', ')})\nselect ${columns.join(', ')}\nfrom   ${source}\non conflict (${key.join(', ')})`
  if (mode.is === 'insert if new') return `${insert} do nothing`
  const update = updateSql(step)
  return `with merged as (
  ${insert.replaceAll('\n', '\n  ')} ${update}
  -- a row that was not there has never been deleted or replaced
  returning xmax = 0 as inserted
)
select count(*) filter (where inserted) as inserted,
       count(*) filter (where not inserted) as updated
from   merged`
}

// What becomes of a row whose key is there.
function updateSql({ columns, mode }: TableStep): string {
  const key = mode.is === 'append' ? [] : mode.key
  const replaced = columns.filter(({ name }) => !key.includes(name)).map(({ name }) => identifier(name))
  if (mode.is !== 'upsert' || replaced.length === 0) return 'do nothing'
  return `do update set ${replaced.map((name) => `${name} = excluded.${name}`).join(', ')}`
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

async function copy(client: Client, table: string, columns: string[], rows: RowFile): Promise<void> {
  const names = columns.map((name) => identifier(name)).join(', ')
  const into = client.query(copyFrom(`copy ${table} (${names}) from stdin (format csv)`))
  await pump(createReadStream(rows.path, { highWaterMark: 256 * 1024 }), into)
}

// ---- rows that the database refuses --------------------------------------------------------------------------------

// Tries the rows in the table, halving them around those that are refused until these stand alone, and takes all back.
async function refusedRows(client: Client, sink: SinkRows): Promise<RefusedRow[]> {
  const { step } = sink
  const refused: RefusedRow[] = []
  const tried = identifier('pg_temp', `tried ${step.id}`)
  const columns = step.columns.map(({ name }) => identifier(name))
  await client.query(`
    create temp table if not exists ${identifier(`tried ${step.id}`)} (
      _n bigint primary key,
      ${columns.map((name) => `${name} text`).join(',\n      ')}
    ) on commit delete rows`)
  const into = client.query(copyFrom(`copy ${tried} (_n, ${columns.join(', ')}) from stdin (format csv)`))
  await pump(Readable.from(numberedRows(sink, refused)), into)
  await client.query(`analyze ${tried}`)
  await client.query(refusedRowsFunction)
  const types = await typesOf(client, step)
  const values = step.columns.map(({ name }) => `${identifier(name)}::${types.get(name)}`)
  const conflict = step.mode.is === 'append' ? '' : `on conflict (${namesOf(step.mode.key)}) ${updateSql(step)}`
  const insert = `
    insert into ${identifier(...step.table.split('.'))} (${columns.join(', ')})
    select ${values.join(', ')}
    from   ${tried}
    where  _n between $1 and $2
    order by _n
    ${conflict}`
  const { rows } = await client.query<{ n: number; state: string; message: string }>(
    `select n, state, message from pg_temp.refused_rows($1, (select max(_n) from ${tried}))`,
    [insert],
  )
  for (const { n, state, message } of rows) refused.push({ step: step.id, ordinal: n, sqlState: state, message })
  return refused
}

// The types by which texts are read: without their limits, which hold when the values come to the columns.
async function typesOf(client: Client, step: TableStep): Promise<Map<string, string>> {
  const { rows } = await client.query<{ name: string; type: string }>(
    `
    select attname as name, format_type(atttypid, -1) as type
    from   pg_attribute
    where  attrelid = $1::regclass and attnum > 0 and not attisdropped`,
    [identifier(...step.table.split('.'))],
  )
  return new Map(rows.map(({ name, type }) => [name, type]))
}

function namesOf(columns: string[]): string {
  return columns.map((name) => identifier(name)).join(', ')
}

// An error takes back what was done since the begin of its block, and leaves the variables as they are.
const refusedRowsFunction = `
create or replace function pg_temp.refused_rows(insert_range text, last bigint)
returns table (n bigint, state text, message text)
language plpgsql as $$
declare
  froms    bigint[] := array[0];
  tos      bigint[] := array[last];
  ns       bigint[];
  states   text[];
  messages text[];
  low      bigint;
  high     bigint;
begin
  begin
    while cardinality(froms) > 0 loop
      low := froms[cardinality(froms)];
      high := tos[cardinality(tos)];
      froms := trim_array(froms, 1);
      tos := trim_array(tos, 1);
      begin
        execute insert_range using low, high;
      exception
        -- as in isRowFault
        when cardinality_violation or data_exception or integrity_constraint_violation or program_limit_exceeded then
          if low < high then
            froms := froms || (low + (high - low) / 2 + 1) || low;
            tos := tos || high || (low + (high - low) / 2);
          else
            ns := ns || low;
            states := states || sqlstate::text;
            messages := messages || sqlerrm;
          end if;
      end;
    end loop;
    raise exception using errcode = 'MILLR', message = 'all rows have been tried';
  exception
    when sqlstate 'MILLR' then null;
  end;
  return query select * from unnest(ns, states, messages);
end $$`

// The rows of a sink's files with their numbers before them. One with a NUL cannot even be sent.
async function* numberedRows({ step, rows, fresh }: SinkRows, refused: RefusedRow[]): AsyncGenerator<Buffer> {
  let ordinal = 0
  for (const file of fresh ? [fresh, rows] : [rows]) {
    for await (const row of rowsOf(file)) {
      if (row.includes(0)) {
        const message = 'invalid byte sequence for encoding "UTF8": 0x00'
        refused.push({ step: step.id, ordinal, sqlState: '22021', message })
      } else yield Buffer.concat([Buffer.from(`${ordinal},`), row])
      ordinal++
    }
  }
}

// A line end in quotes ends no row.
async function* rowsOf(file: RowFile): AsyncGenerator<Buffer> {
  let rest: Buffer[] = []
  let quoted = false
  if (file.rows === 0) return
  // as: without an encoding it reads bytes
  for await (const chunk of createReadStream(file.path, { highWaterMark: 256 * 1024 }) as AsyncIterable<Buffer>) {
    let from = 0
    for (let i = 0; i < chunk.length; i++) {
      if (chunk[i] === quote) quoted = !quoted
      else if (chunk[i] === lineEnd && !quoted) {
        yield Buffer.concat([...rest, chunk.subarray(from, i + 1)])
        rest = []
        from = i + 1
      }
    }
    if (from < chunk.length) rest.push(chunk.subarray(from))
  }
}

const [quote, lineEnd] = Buffer.from('"\n')

// ---- what goes with the rows ---------------------------------------------------------------------------------------

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
