/** What the ledger says: its lines, and what they come to for each pipeline. */
import type { Client, Queries } from './connection.ts'
import type { BatchKind, LedgerLine, LedgerQuery, PipelineStatus } from './store.ts'

interface LedgerRow {
  pipeline: string
  batch: number
  epoch: number
  kind: BatchKind
  started_at: Date
  committed_at: Date
  rows_in: number
  written: number
  filtered: number
  duplicates: number
  late: number
  dead: number
  files_quarantined: number
  rows_out: LedgerLine['rowsOut']
  phases_ms: Record<string, number>
  step_rows: Record<string, number>
  watermark: Date | null
  ranges: unknown
}

export async function readLedger(database: Queries, pipeline: string, query: LedgerQuery): Promise<LedgerLine[]> {
  const { rows } = await database.query<LedgerRow>(
    `
    select *
    from  (select *
           from   millrace.batches
           where  pipeline = $1 and ($2::bigint is null or batch > $2)
           order by case when $3::int is null then batch end, batch desc
           limit  coalesce($3::int, $4::int)) chosen
    order by batch`,
    [pipeline, query.after ?? null, query.last ?? null, query.first ?? null],
  )
  return rows.map(ledgerLine)
}

function ledgerLine(row: LedgerRow): LedgerLine {
  return {
    pipeline: row.pipeline,
    batch: row.batch,
    epoch: row.epoch,
    kind: row.kind,
    startedAt: row.started_at,
    committedAt: row.committed_at,
    rowsIn: row.rows_in,
    written: row.written,
    filtered: row.filtered,
    duplicates: row.duplicates,
    late: row.late,
    dead: row.dead,
    filesQuarantined: row.files_quarantined,
    rowsOut: row.rows_out,
    phasesMs: row.phases_ms,
    stepRows: row.step_rows,
    watermark: row.watermark?.getTime(),
    ranges: row.ranges,
  }
}

/** In a transaction. */
export async function foldLedger(client: Client, pipeline: string, before: Date, upTo: number): Promise<number> {
  const { rows } = await client.query<{ gone: number }>(
    `
    with old as (
      select *, kind || date_trunc('hour', committed_at) as hour
      from   millrace.batches
      where  pipeline = $1
      and    committed_at < date_trunc('hour', $2::timestamptz)
      and    batch <= $3
    ),
    sinks as (
      select hour, jsonb_object_agg(step, sums) as rows_out
      from  (select hour,
                    sink.key as step,
                    jsonb_build_object('inserted', sum((sink.value ->> 'inserted')::bigint),
                                       'updated', sum((sink.value ->> 'updated')::bigint),
                                       'deleted', sum((sink.value ->> 'deleted')::bigint)) as sums
             from   old
             cross join lateral jsonb_each(rows_out) sink
             group by hour, sink.key) each
      group by hour
    ),
    phases as (
      select hour, jsonb_object_agg(phase, ms) as phases_ms
      from  (select hour, phase.key as phase, sum(phase.value::float8) as ms
             from   old
             cross join lateral jsonb_each_text(phases_ms) phase
             group by hour, phase.key) each
      group by hour
    ),
    steps as (
      select hour, jsonb_object_agg(step, rows) as step_rows
      from  (select hour, step.key as step, sum(step.value::bigint) as rows
             from   old
             cross join lateral jsonb_each_text(step_rows) step
             group by hour, step.key) each
      group by hour
    ),
    -- the last line of an hour becomes all of it
    folded as (
      update millrace.batches b
      set    epoch = h.epoch, started_at = h.started_at,
             rows_in = h.rows_in, written = h.written, filtered = h.filtered, duplicates = h.duplicates, late = h.late,
             dead = h.dead, files_quarantined = h.files_quarantined,
             rows_out = coalesce(sinks.rows_out, '{}'), phases_ms = coalesce(phases.phases_ms, '{}'),
             step_rows = coalesce(steps.step_rows, '{}'), ranges = '[]'
      from  (select hour,
                    max(batch) as last,
                    max(epoch) as epoch,
                    min(started_at) as started_at,
                    sum(rows_in) as rows_in, sum(written) as written, sum(filtered) as filtered,
                    sum(duplicates) as duplicates, sum(late) as late, sum(dead) as dead,
                    sum(files_quarantined) as files_quarantined
             from   old
             group by hour
             having count(*) > 1) h
      left join sinks using (hour)
      left join phases using (hour)
      left join steps using (hour)
      where  b.pipeline = $1 and b.batch = h.last
      returning hour, batch
    ),
    gone as (
      delete from millrace.batches b
      using  old, folded
      where  b.pipeline = $1 and b.batch = old.batch and old.hour = folded.hour and old.batch <> folded.batch
      returning 1
    )
    select count(*) as gone from gone`,
    [pipeline, before, upTo],
  )
  return rows[0]?.gone ?? 0
}

interface StatusRow {
  pipeline: string
  owner: string | null
  lent_by: string | null
  doing: string | null
  epoch: number
  alive: boolean
  batch: number
  last_committed_at: Date | null
  rows_in: number
  written: number
  filtered: number
  duplicates: number
  late: number
  dead: number
  files_quarantined: number
  dead_letters_open: number
  outbox_rows: number
}

export async function readStatus(database: Queries): Promise<PipelineStatus[]> {
  const { rows } = await database.query<StatusRow>(`
    select p.pipeline,
           l.owner,
           l.lent_by,
           l.doing,
           coalesce(l.epoch, 0) as epoch,
           coalesce(l.expires_at > clock_timestamp() and l.owner is not null, false) as alive,
           p.batch,
           books.*,
           (select count(*)::int from millrace.dead_letters d where d.pipeline = p.pipeline and settled is null) as dead_letters_open,
           (select count(*) from millrace.outbox o where o.pipeline = p.pipeline) as outbox_rows
    from   millrace.pipelines p
    left join millrace.leases l using (pipeline)
    cross join lateral (
           select max(committed_at) as last_committed_at,
                  coalesce(sum(rows_in), 0)::bigint as rows_in,
                  coalesce(sum(written), 0)::bigint as written,
                  coalesce(sum(filtered), 0)::bigint as filtered,
                  coalesce(sum(duplicates), 0)::bigint as duplicates,
                  coalesce(sum(late), 0)::bigint as late,
                  coalesce(sum(dead), 0)::bigint as dead,
                  coalesce(sum(files_quarantined), 0)::bigint as files_quarantined
           from   millrace.batches b
           where  b.pipeline = p.pipeline) books
    order by p.pipeline`)
  return rows.map((row) => ({
    pipeline: row.pipeline,
    owner: row.owner,
    lentBy: row.lent_by,
    doing: row.doing,
    epoch: row.epoch,
    alive: row.alive,
    batch: row.batch,
    lastCommittedAt: row.last_committed_at,
    rowsIn: row.rows_in,
    written: row.written,
    filtered: row.filtered,
    duplicates: row.duplicates,
    late: row.late,
    dead: row.dead,
    deadLettersOpen: row.dead_letters_open,
    filesQuarantined: row.files_quarantined,
    outboxRows: row.outbox_rows,
  }))
}
