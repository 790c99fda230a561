/** What the database says of all pipelines at once. Read-only statements over Millrace's own tables. */
import type { Position } from '../store/store.ts'

/** Whoever can be asked: the server's reads, or a store. */
export interface Asked {
  select(sql: string, parameters?: unknown[]): Promise<Record<string, unknown>[]>
}

export interface Numbers {
  pipeline: string
  rowsPerSecond: number
  /** Those that are kept. */
  lateRows: number
  stateRows: number
  /** By which rows are judged. */
  watermark: Date | null
  /** The mean of the files that were read last; null when none was. */
  rowsPerFile: number | null
}

export async function numbersOf(asked: Asked): Promise<Map<string, Numbers>> {
  const rows = await asked.select(`
    select p.pipeline,
           (select coalesce(sum(rows_in), 0)::float8 / 5
            from   millrace.batches b
            where  b.pipeline = p.pipeline and committed_at > clock_timestamp() - interval '5 seconds') as "rowsPerSecond",
           (select count(*) from millrace.late_rows l where l.pipeline = p.pipeline) as "lateRows",
           -- a row that passes a dedup step leaves its key behind
           case when p.plan @? '$.steps[*] ? (@.op == "dedup")' then
             (select coalesce(sum(passed.value::bigint), 0)::bigint
              from   millrace.batches b
              cross join lateral jsonb_each_text(b.step_rows) passed
              where  b.pipeline = p.pipeline
              and    passed.key in (select step ->> 'id'
                                    from   jsonb_array_elements(p.plan -> 'steps') step
                                    where  step ->> 'op' = 'dedup'))
           else 0 end
           -- of windows that are open: panes, and what each batch added to their sets
           + (select count(*) from millrace.pane_numbers n where n.pipeline = p.pipeline)
           + (select count(*) from millrace.pane_sets s where s.pipeline = p.pipeline) as "stateRows",
           p.watermark,
           (select avg(f.rows_done)::float8
            from   (select rows_done
                    from   millrace.files f
                    where  f.pipeline = p.pipeline and f.state = 'done'
                    order by batch desc
                    limit  100) f) as "rowsPerFile"
    from   millrace.pipelines p`)
  // as: the columns of the statement above
  return new Map((rows as unknown as Numbers[]).map((row) => [row.pipeline, row]))
}

export interface StoredPosition extends Pick<Position, 'source' | 'partition' | 'position'> {
  pipeline: string
  watermark: Date | null
}

/** How far each partition of each pipeline is committed. */
export async function positionsOf(asked: Asked): Promise<StoredPosition[]> {
  const rows = await asked.select(`
    select pipeline, source, partition, position, watermark
    from   millrace.positions
    order by pipeline, source, partition`)
  // as: the columns of the statement above
  return rows as unknown as StoredPosition[]
}

/** What a pipeline keeps of open windows, in bytes as they lie in the database. */
export async function stateBytesOf(asked: Asked, pipeline: string): Promise<number> {
  const [row] = await asked.select(
    `
    select coalesce((select sum(pg_column_size(step) + pg_column_size(key) + pg_column_size(pane) + pg_column_size(numbers))
                     from   millrace.pane_numbers
                     where  pipeline = $1), 0)
           + coalesce((select sum(pg_column_size(step) + pg_column_size(key) + pg_column_size(pane) + pg_column_size(aggregate)
                                  + coalesce(pg_column_size(members), 0) + coalesce(pg_column_size(items), 0))
                       from   millrace.pane_sets
                       where  pipeline = $1), 0) as bytes`,
    [pipeline],
  )
  return Number(row?.['bytes'] ?? 0)
}
