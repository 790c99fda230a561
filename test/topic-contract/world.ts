import { randomUUID } from 'node:crypto'
import type { RecordAt, RecordSink, TopicReader, TopicRecord, Topics } from '../../src/sources/topic/topic.ts'

/** What a scenario gets. */
export interface OpenedTopics {
  topics: Topics
  make(topic: string, partitions: number): Promise<void>
  /** Removes some records at the start of partition 0, of which there are 400 of 1,000 bytes; nobody has it open. */
  forget(topic: string): Promise<void>
  close(): Promise<void>
}

export type Scenario = (sentence: string, run: (world: OpenedTopics) => Promise<void>) => void

/** A record as it was read, copied out of its bytes. */
export interface ReadRecord {
  partition: number
  offset: number
  timestampMs: number
  key: string | null
  value: string | null
  headers: number
  headerBytes: Buffer
}

export function newTopic(): string {
  return `contract.${randomUUID()}`
}

/** Gathers so many records, and is full then. */
export function collector(most = Number.POSITIVE_INFINITY): RecordSink & { records: ReadRecord[] } {
  const records: ReadRecord[] = []
  return {
    records,
    get full() {
      return records.length >= most
    },
    take(bytes, at) {
      records.push({
        partition: at.partition,
        offset: at.offset,
        timestampMs: at.timestampMs,
        key: textAt(bytes, at.keyFrom, at.keyTo),
        value: textAt(bytes, at.valueFrom, at.valueTo),
        headers: at.headers,
        headerBytes: Buffer.from(bytes.subarray(at.headersFrom, at.headersTo)),
      })
    },
  }
}

function textAt(bytes: Buffer, from: RecordAt['keyFrom'], to: RecordAt['keyTo']): string | null {
  return from < 0 ? null : bytes.toString('latin1', from, to)
}

/** Reads so many records from a position on, in as many calls as it takes. */
export async function readSome(
  reader: TopicReader,
  from: ReadonlyMap<number, number>,
  count: number,
): Promise<{ records: ReadRecord[]; next: Map<number, number> }> {
  const sink = collector(count)
  let next = new Map(from)
  const deadline = performance.now() + 20_000
  while (!sink.full) {
    next = await reader.read(next, sink, 1000)
    if (performance.now() > deadline) throw new Error(`only ${sink.records.length} of ${count} records came`)
  }
  return { records: sink.records, next }
}

/** All there is, from the first record of each partition on. */
export async function readAll(topics: Topics, topic: string): Promise<ReadRecord[]> {
  await using reader = await topics.openReader(topic)
  const ends = await reader.partitions()
  const from = new Map(ends.map(({ partition, first }) => [partition, first]))
  const count = ends.reduce((sum, { first, end }) => sum + end - first, 0)
  return (await readSome(reader, from, count)).records
}

export function numbered(from: number, to: number, key?: string): TopicRecord[] {
  return Array.from({ length: to - from }, (_, n) => ({
    ...(key === undefined ? {} : { key: Buffer.from(key) }),
    value: Buffer.from(`${key ?? 'record'} ${from + n}`),
  }))
}
