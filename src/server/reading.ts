/** What is read for the API beyond what the store's contract offers: read-only statements over Millrace's own tables. */
import type { Dirent } from 'node:fs'
import { opendir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { filesSources } from '../sources/files/waiting.ts'
import type { Reads } from '../store/reads.ts'
import type { PipelineStatus } from '../store/store.ts'
import type { Board, BoardLine } from './board.ts'
import { type PipelineView, pipelineView } from './views.ts'

/** All pipelines of this process. Without the database it says what the process knows by itself. */
export async function describePipelines({ store, lines, works }: Board): Promise<PipelineView[]> {
  const [stored, numbers] = await Promise.all([
    store?.reads.status().catch((): PipelineStatus[] => []),
    store === undefined ? undefined : numbersOf(store.reads).catch(() => undefined),
  ])
  const views: PipelineView[] = []
  for (const [name, line] of lines) {
    const own = numbers?.get(name)
    views.push(
      pipelineView(name, line, {
        stored: stored?.find(({ pipeline }) => pipeline === name),
        rowsPerSecond: own?.rowsPerSecond ?? 0,
        lateRows: own?.lateRows ?? 0,
        stateRows: own?.stateRows ?? 0,
        watermark: own?.watermark ?? null,
        lagSeconds: await oldestSeconds(line),
        works,
      }),
    )
  }
  return views
}

interface Numbers {
  pipeline: string
  rowsPerSecond: number
  lateRows: number
  stateRows: number
  watermark: Date | null
}

async function numbersOf(reads: Reads): Promise<Map<string, Numbers>> {
  const rows = await reads.select(`
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
           p.watermark
    from   millrace.pipelines p`)
  // as: the columns of the statement above
  return new Map((rows as unknown as Numbers[]).map((row) => [row.pipeline, row]))
}

const looksAt = 200

// How long the oldest of the files that wait has waited; of very many, of the first ones that are found.
async function oldestSeconds({ plan, files }: BoardLine): Promise<number> {
  if (files.waiting === 0) return 0
  let oldest = Date.now()
  for (const { folder } of filesSources(plan)) {
    const entries = await readFirst(folder)
    for (const entry of entries) {
      if (!entry.isFile() || entry.name.startsWith('.')) continue
      const found = await stat(join(folder, entry.name)).catch(() => undefined)
      if (found !== undefined) oldest = Math.min(oldest, found.ctimeMs)
    }
  }
  return Math.max(0, Math.round((Date.now() - oldest) / 100) / 10)
}

// A folder that cannot be read has nothing that waits; the worker says what is wrong with it.
async function readFirst(folder: string): Promise<Dirent[]> {
  const found: Dirent[] = []
  try {
    for await (const entry of await opendir(folder)) if (found.push(entry) >= looksAt) break
  } catch {
    return []
  }
  return found
}
