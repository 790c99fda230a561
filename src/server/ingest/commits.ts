/** In which batches events were committed that had been posted, and what was wrong with some of them. */
import type { Appended } from '../../sources/topic/topic.ts'
import type { PostgresStore } from '../../store/postgres.ts'
import type { CommittedIn, Rejection } from '../../system.ts'
import { type LedgerLine, ledgerColumns, type TopicUse } from './positions.ts'

/** So many rejected events are told. */
const rejectionsTold = 100
const linesAtOnce = 500
/** The clocks of this machine and of the database may differ by so much. */
const clocksDifferMs = 60_000

export interface Commits {
  batches: CommittedIn[]
  rejected: number
  rejections: Rejection[]
}

/** Where to look: in lines that are at hand, or in the ledger, behind a batch or from a time on. */
export type Since =
  | { is: 'lines'; lines: readonly LedgerLine[] }
  | { is: 'batch'; batch: number }
  | { is: 'time'; atMs: number }

/** What the ledger and the dead letters say of events that are committed. */
export async function commitsOf(
  { reads }: PostgresStore,
  topic: string,
  ranges: readonly Appended[],
  uses: readonly (TopicUse & { since: Since })[],
): Promise<Commits> {
  const commits: Commits = { batches: [], rejected: 0, rejections: [] }
  for (const use of uses) {
    const batches = await batchesOf(reads, topic, ranges, use)
    commits.batches.push(...batches)
    if (!batches.some(({ dead }) => dead > 0)) continue
    const numbers = batches.map(({ batch }) => batch)
    const letters = await reads.select(
      `
      with ours as (
        select split_part(place, '/', 2)::int as partition, split_part(place, '/', 3)::bigint as "offset",
               code, column_name, message
        from   millrace.dead_letters
        where  pipeline = $1
        and    batch = any($2)
        and    source = $3
        and    split_part(place, '/', 1) = $4
      )
      select ours.*, count(*) over () as all
      from   ours
      join   unnest($5::int[], $6::bigint[], $7::bigint[]) posted(partition, first, "end")
      on     ours.partition = posted.partition and ours."offset" >= posted.first and ours."offset" < posted."end"
      order by ours.partition, ours."offset"
      limit  ${rejectionsTold}`,
      [
        use.pipeline,
        numbers,
        use.source,
        topic,
        ranges.map(({ partition }) => partition),
        ranges.map(({ first }) => first),
        ranges.map(({ end }) => end),
      ],
    )
    commits.rejected += Number(letters[0]?.['all'] ?? 0)
    for (const letter of letters) {
      commits.rejections.push({
        pipeline: use.pipeline,
        index: indexOf(ranges, Number(letter['partition']), Number(letter['offset'])),
        code: String(letter['code']),
        column: letter['column_name'] === null ? null : String(letter['column_name']),
        message: String(letter['message']),
      })
    }
  }
  return commits
}

// From the first that may have them on, until they have all of them.
async function batchesOf(
  reads: PostgresStore['reads'],
  topic: string,
  ranges: readonly Appended[],
  { pipeline, since }: TopicUse & { since: Since },
): Promise<CommittedIn[]> {
  const left = ranges.map((range) => ({ ...range }))
  if (since.is === 'lines')
    return since.lines.flatMap((line) => (takes(line, topic, left) ? [told(pipeline, line)] : []))
  const found: CommittedIn[] = []
  let after = since.is === 'batch' ? since.batch : 0
  const from = since.is === 'time' ? new Date(since.atMs - clocksDifferMs) : new Date(0)
  while (left.some(({ first, end }) => first < end)) {
    const rows = await reads.select(
      `
      select to_jsonb(line) as line
      from  (select ${ledgerColumns}
             from   millrace.batches
             where  pipeline = $1
             and    batch > $2
             and    committed_at >= $3
             order by batch
             limit  ${linesAtOnce}) line`,
      [pipeline, after, from],
    )
    // as: the columns of the statement above
    const lines = rows.map(({ line }) => line as LedgerLine)
    for (const line of lines) if (takes(line, topic, left)) found.push(told(pipeline, line))
    const last = lines.at(-1)
    // the ledger keeps a line for each batch for some days
    if (last === undefined || lines.length < linesAtOnce) break
    after = last.batch
  }
  return found
}

// Whether a batch has read some of what is left; it is taken off.
function takes({ ranges }: LedgerLine, topic: string, left: Appended[]): boolean {
  let some = false
  for (const range of left) {
    for (const { from, to } of ranges.filter((each) => each.topic === topic && each.partition === range.partition)) {
      if (from >= range.end || to <= range.first) continue
      some = true
      range.first = Math.min(to, range.end)
    }
  }
  return some
}

function told(pipeline: string, { ranges: _, committed_at, ...line }: LedgerLine): CommittedIn {
  return { pipeline, ...line, committed_at: new Date(committed_at).toISOString() }
}

function indexOf(ranges: readonly Appended[], partition: number, offset: number): number {
  let before = 0
  for (const range of ranges) {
    if (range.partition === partition && offset >= range.first && offset < range.end)
      return before + offset - range.first
    before += range.end - range.first
  }
  return before
}
