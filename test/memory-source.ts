/** A source whose partitions are arrays: a test appends to them, and says what happens when nothing is left to read. */
import { sqlText } from '../src/plan/identifier.ts'
import { columnsRead, type Plan } from '../src/plan/plan.ts'
import { emptyRange, type Lag, type Limits, type Range, type SourceReader } from '../src/sources/source.ts'
import type { Store } from '../src/store/store.ts'

/** What a row has for each column, as text; null where it has nothing. */
export type Fields = Record<string, string | null>

/** One partition of one source of a plan. */
export interface Feed {
  source: string
  partition: string
  rows: Fields[]
  /** Nobody can read it now, though it has rows. */
  stalled: boolean
}

/** What a range says of itself in the ledger. */
export interface FedRange {
  source: string
  /** In the order of their arrival. */
  rows: { partition: string; offset: number }[]
  /** What was left when it was handed out. */
  lags: (Lag & { source: string })[]
}

export interface MemoryReaderOptions {
  plan: Plan
  feeds: readonly Feed[]
  store: Pick<Store, 'committed'>
  random(): number
  /** Nothing is left, and everything that was handed out is committed. */
  onIdle(): Promise<void>
}

/** Rows as texts, from any source that has some, in any cut; those of a partition in their order. */
export function openMemoryReader({ plan, feeds, store, random, onIdle }: MemoryReaderOptions): SourceReader {
  const handedOut = new Map<Feed, number>()
  const doneOf = (feed: Feed): number => handedOut.get(feed) ?? 0
  const lagsNow = (): FedRange['lags'] =>
    feeds.map((feed) => ({ source: feed.source, partition: feed.partition, rows: feed.rows.length - doneOf(feed) }))

  return {
    async next(limits: Limits): Promise<Range | undefined> {
      const readable = feeds.filter((feed) => !feed.stalled && feed.rows.length > doneOf(feed))
      const source = readable[Math.floor(random() * readable.length)]?.source
      if (source === undefined) return undefined
      const ready = readable.filter((feed) => feed.source === source)
      const rows: { feed: Feed; offset: number }[] = []
      for (let left = limits.rows; left > 0; left--) {
        const more = ready.filter((feed) => feed.rows.length > doneOf(feed))
        const feed = more[Math.floor(random() * more.length)]
        if (feed === undefined) break
        rows.push({ feed, offset: doneOf(feed) })
        handedOut.set(feed, doneOf(feed) + 1)
      }
      const places = rows.map(({ feed: { partition }, offset }) => ({ partition, offset }))
      return rangeOf(plan, source, rows, { source, rows: places, lags: lagsNow() })
    },
    lags() {
      return Map.groupBy(lagsNow(), ({ source }) => source)
    },
    unsettled: false,
    async wait() {
      await onIdle()
    },
    async rewind() {
      const { positions } = await store.committed(plan.name)
      for (const feed of feeds) {
        const found = positions.find(({ source, partition }) => source === feed.source && partition === feed.partition)
        handedOut.set(feed, found?.position ?? 0)
      }
    },
    async [Symbol.asyncDispose]() {},
  }
}

function rangeOf(plan: Plan, source: string, rows: { feed: Feed; offset: number }[], said: FedRange): Range {
  const from = plan.sources[source]
  const columns = from === undefined ? [] : columnsRead(from).map(({ name }) => name)
  const next = new Map(rows.map(({ feed, offset }) => [feed.partition, offset + 1]))
  const names = ['_row', '_partition', '_offset', ...columns.map((name) => `"${name}"`)]
  const values = rows.map(({ feed, offset }, i) => {
    const fields = feed.rows[offset] ?? {}
    const texts = columns.map((name) => textOrNull(fields[name] ?? null))
    return `(${[`${i}::bigint`, sqlText(feed.partition), offset, ...texts].join(', ')})`
  })
  return {
    ...emptyRange(),
    source,
    rows: rows.length,
    bytes: rows.length,
    select: () => `select * from (values ${values.join(',\n')}) given(${names.join(', ')})`,
    where: {
      join: '',
      place: `'${source}/' || s._partition`,
      line: 's._offset',
      partition: 's._partition',
      rawText: `${columns.map((name) => `coalesce(s."${name}"::varchar, '')`).join(` || '|' || `)}`,
    },
    positions: [...next].map(([partition, position]) => ({ source, partition, position, watermark: undefined })),
    ranges: said,
  }
}

function textOrNull(text: string | null): string {
  return text === null ? 'null::varchar' : `${sqlText(text)}::varchar`
}
