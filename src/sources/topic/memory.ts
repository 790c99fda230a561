/** Topics in memory, for the test kit: what the drivers of topics promise, for as long as the process lives. */
import { MillraceError } from '../../errors.ts'
import { crc32c } from './crc32c.ts'
import { headerBytes } from './headers.ts'
import {
  type Appended,
  type PartitionEnds,
  type ReaderOptions,
  type RecordAt,
  type RecordSink,
  recordsOf,
  type TopicReader,
  type TopicRecord,
  type Topics,
  type TopicWriter,
} from './topic.ts'

export interface MemoryTopics extends Topics {
  /** Makes a topic, unless it is there. */
  make(topic: string, partitions: number): void
  /** Appends to a partition of a topic that is there. */
  put(topic: string, partition: number, records: readonly TopicRecord[]): Appended
  /** Everything that is there, partition by partition. */
  recordsOf(topic: string): readonly { bytes: Buffer; at: RecordAt }[]
  /** Removes the records of a partition that lie before an offset. */
  forget(topic: string, partition: number, before: number): void
}

interface Partition {
  /** The offset of the first record that is there. */
  first: number
  records: { bytes: Buffer; at: RecordAt }[]
}

interface Topic {
  partitions: Partition[]
  /** The partition for records without a key: each append's go to one, in turn. */
  turn: number
}

/** `now` is when a record was written that does not say so itself. */
export function memoryTopics(now: () => number): MemoryTopics {
  const topics = new Map<string, Topic>()
  const arrivals = new EventTarget()
  const make = (name: string, partitions: number): Topic => {
    const topic = topics.get(name) ?? {
      partitions: Array.from({ length: partitions }, () => ({ first: 0, records: [] })),
      turn: 0,
    }
    topics.set(name, topic)
    return topic
  }
  const partitionOf = (name: string, partition: number): Partition => {
    const found = topics.get(name)?.partitions[partition]
    if (found !== undefined) return found
    throw new Error(`topic ${name} has no partition ${partition}`)
  }
  const put = (name: string, partition: number, records: readonly TopicRecord[]): Appended => {
    const into = partitionOf(name, partition)
    const first = endOf(into)
    for (const [n, record] of records.entries()) into.records.push(placed(record, partition, first + n, now()))
    arrivals.dispatchEvent(new Event('arrived'))
    return { partition, first, end: endOf(into) }
  }
  return {
    is: 'memory',
    make,
    put,
    recordsOf: (name) => topics.get(name)?.partitions.flatMap(({ records }) => records) ?? [],
    forget(name, partition, before) {
      const from = partitionOf(name, partition)
      from.records.splice(0, before - from.first)
      from.first = before
    },
    async openReader(name, options = {}) {
      return openReader(name, () => topics.get(name)?.partitions ?? [], arrivals, options)
    },
    async openWriter(name): Promise<TopicWriter> {
      const topic = make(name, 1)
      const append: TopicWriter['append'] = async (records) => {
        const turn = topic.turn++ % topic.partitions.length
        const partitionFor = ({ key }: TopicRecord): number =>
          key === undefined ? turn : crc32c(key, 0, key.length) % topic.partitions.length
        return [...Map.groupBy(records, partitionFor)].map(([partition, part]) => put(name, partition, part))
      }
      return {
        append,
        appendValues: (values) => append(recordsOf(values)),
        async [Symbol.asyncDispose]() {},
      }
    },
    async [Symbol.asyncDispose]() {},
  }
}

function openReader(
  name: string,
  partitions: () => Partition[],
  arrivals: EventTarget,
  { signal }: ReaderOptions,
): TopicReader {
  const readOnce = (next: Map<number, number>, sink: RecordSink): boolean => {
    let some = false
    for (const [partition, offset] of next) {
      const from = partitions()[partition]
      const end = from === undefined ? 0 : endOf(from)
      if (offset > end)
        throw lost('LOG_TRUNCATED', name, partition, `offset ${offset} comes next, but it ends at ${end}`)
      if (from === undefined) continue
      if (offset < from.first)
        throw lost('POSITION_LOST', name, partition, `offset ${offset} comes next, but it begins at ${from.first}`)
      let reached = offset
      for (; reached < end && !sink.full; reached++) {
        const record = from.records[reached - from.first]
        if (record !== undefined) sink.take(record.bytes, record.at)
      }
      next.set(partition, reached)
      some ||= reached > offset
    }
    return some
  }
  return {
    async partitions(): Promise<PartitionEnds[]> {
      return partitions().map((each, partition) => ({ partition, first: each.first, end: endOf(each) }))
    },
    async read(from, sink, waitMs) {
      const next = new Map(from)
      const deadline = performance.now() + waitMs
      for (;;) {
        signal?.throwIfAborted()
        const leftMs = deadline - performance.now()
        if (readOnce(next, sink) || sink.full || leftMs <= 0) return next
        await arrival(arrivals, leftMs, signal)
      }
    },
    async publish() {},
    async [Symbol.asyncDispose]() {},
  }
}

async function arrival(arrivals: EventTarget, atMostMs: number, signal: AbortSignal | undefined): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<unknown>()
  const timer = setTimeout(resolve, atMostMs)
  arrivals.addEventListener('arrived', resolve)
  signal?.addEventListener('abort', resolve)
  await promise
  clearTimeout(timer)
  arrivals.removeEventListener('arrived', resolve)
  signal?.removeEventListener('abort', resolve)
}

function endOf({ first, records }: Partition): number {
  return first + records.length
}

// Key, headers and value, one after another in bytes that nobody else has.
function placed(record: TopicRecord, partition: number, offset: number, now: number): Partition['records'][number] {
  const { key, value, headers = [], timestampMs = now } = record
  const named = headerBytes(headers)
  const bytes = Buffer.concat([key ?? named.subarray(0, 0), named, value ?? named.subarray(0, 0)])
  const headersFrom = key?.length ?? 0
  const headersTo = headersFrom + named.length
  return {
    bytes,
    at: {
      partition,
      offset,
      timestampMs,
      keyFrom: key === undefined ? -1 : 0,
      keyTo: key === undefined ? -1 : headersFrom,
      valueFrom: value === null ? -1 : headersTo,
      valueTo: value === null ? -1 : bytes.length,
      headers: headers.length,
      headersFrom,
      headersTo,
    },
  }
}

function lost(
  code: 'LOG_TRUNCATED' | 'POSITION_LOST',
  topic: string,
  partition: number,
  message: string,
): MillraceError {
  return new MillraceError(code, { at: `topic ${topic}, partition ${partition}`, message })
}
