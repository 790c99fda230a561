/** In which batches events were committed that had been posted, and what was wrong with some of them. */
import type { Appended } from '../../sources/topic/topic.ts'
import type { PostgresStore } from '../../store/postgres.ts'
import type { CommittedIn, Rejection } from '../../system.ts'
import type { TopicUse } from './positions.ts'

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

/** Where to begin to look in the ledger: behind a batch, or at a time. */
export type Since = { batch: number } | { atMs: number }

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
  const found: CommittedIn[] = []
  const left = ranges.map((range) => ({ ...range }))
  let after = 'batch' in since ? since.batch : 0
  const from = 'atMs' in since ? new Date(since.atMs - clocksDifferMs) : new Date(0)
  while (left.some(({ first, end }) => first < end)) {
    const lines = await reads.select(
      `
      select batch, committed_at, rows_in, written, filtered, duplicates, late, dead, ranges
      from   millrace.batches
      where  pipeline = $1
      and    batch > $2
      and    committed_at >= $3
      order by batch
      limit  ${linesAtOnce}`,
      [pipeline, after, from],
    )
    for (const line of lines) {
      // as: what a topic's source writes into the ledger
      const read = line['ranges'] as { topic?: string; partition: number; from: number; to: number }[]
      let has = false
      for (const range of left) {
        for (const { from, to } of read.filter((each) => each.topic === topic && each.partition === range.partition)) {
          if (from >= range.end || to <= range.first) continue
          has = true
          range.first = Math.max(range.first, Math.min(to, range.end))
        }
      }
      if (has) found.push(lineOf(pipeline, line))
    }
    const last = lines.at(-1)
    // the ledger keeps a line for each batch for some days
    if (last === undefined || lines.length < linesAtOnce) break
    after = Number(last['batch'])
  }
  return found
}

function lineOf(pipeline: string, line: Record<string, unknown>): CommittedIn {
  const number = (name: string): number => Number(line[name])
  return {
    pipeline,
    batch: number('batch'),
    // as: the column is a timestamp
    committed_at: (line['committed_at'] as Date).toISOString(),
    rows_in: number('rows_in'),
    written: number('written'),
    filtered: number('filtered'),
    duplicates: number('duplicates'),
    late: number('late'),
    dead: number('dead'),
  }
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
