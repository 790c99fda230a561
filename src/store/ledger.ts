/** What the ledger says: its lines, and what they come to for each pipeline. */
import type { Queries } from './connection.ts'
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
    ranges: row.ranges,
  }
}

interface StatusRow {
  pipeline: string
  owner: string | null
  lent_by: string | null
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
}

export async function readStatus(database: Queries): Promise<PipelineStatus[]> {
  const { rows } = await database.query<StatusRow>(`
    select p.pipeline,
           l.owner,
           l.lent_by,
           coalesce(l.epoch, 0) as epoch,
           coalesce(l.expires_at > clock_timestamp() and l.owner is not null, false) as alive,
           p.batch,
           books.*,
           (select count(*)::int from millrace.dead_letters d where d.pipeline = p.pipeline and settled is null) as dead_letters_open
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
  }))
}
