/**
 * What a driver of topics promises: the local log, Kafka, and memory for tests. All pass one contract suite. Bytes of
 * records never become JavaScript objects on the way in: a driver hands over buffers, and says where in them a record lies.
 */

/** The topics of one place: a folder of local logs, a cluster, or this process. */
export interface Topics extends AsyncDisposable {
  readonly is: 'local' | 'kafka' | 'memory'
  openReader(topic: string, options?: ReaderOptions): Promise<TopicReader>
  /** One process writes a local topic; of Kafka's any number do. */
  openWriter(topic: string, options?: WriterOptions): Promise<TopicWriter>
}

export interface WriterOptions {
  /** When it is aborted, records that Kafka has not taken are given up: otherwise they are tried for minutes. */
  signal?: AbortSignal
}

export interface ReaderOptions {
  /** The pipeline that reads: Kafka's group of that name learns its positions; a local log keeps what it has not read. */
  pipeline?: string
  signal?: AbortSignal
}

/** A partition as it is now: its first record's offset, and the offset after the last record that may be read. */
export interface PartitionEnds {
  partition: number
  first: number
  end: number
}

export interface TopicReader extends AsyncDisposable {
  /** In the order of their numbers. None while the topic does not exist; later there may be more. */
  partitions(): Promise<PartitionEnds[]>

  /**
   * Hands records from these offsets on to the sink, each partition's in order, until the sink is full or nothing more is
   * there; waits up to `waitMs` for the first one. Answers, for the partitions it was asked for, the offset to go on from:
   * behind the last record handed over, and behind what is no record (control records, aborted transactions, gaps).
   *
   * Errors: POSITION_LOST when an offset is before the first of its partition, LOG_TRUNCATED when it is behind the end. A
   * broker that does not answer is waited for by the caller: errors say whether trying again may help (`retry`).
   */
  read(from: ReadonlyMap<number, number>, sink: RecordSink, waitMs: number): Promise<Map<number, number>>

  /** What was committed in our own tables, for those who look at the topic from outside. */
  publish(positions: ReadonlyMap<number, number>): Promise<void>
}

/** Gets records, one call each. */
export interface RecordSink {
  /** No more records, please: asked after each one. */
  readonly full: boolean
  /** `bytes` may be kept, and is never written again; `at` is one object used for every record: copy what you keep. */
  take(bytes: Buffer, at: RecordAt): void
}

/** Where a record lies in its bytes. Spans are half-open; an absent key or value begins at -1. */
export interface RecordAt {
  partition: number
  offset: number
  /** Of the broker or the producer, as the topic is set; milliseconds. */
  timestampMs: number
  keyFrom: number
  keyTo: number
  valueFrom: number
  valueTo: number
  /** The headers as Kafka's record format writes them: each a varint length and the key, a varint length and the value. */
  headers: number
  headersFrom: number
  headersTo: number
}

/** What a driver fills in for each record. */
export function blankRecord(partition: number): RecordAt {
  return {
    partition,
    offset: 0,
    timestampMs: 0,
    keyFrom: -1,
    keyTo: -1,
    valueFrom: -1,
    valueTo: -1,
    headers: 0,
    headersFrom: 0,
    headersTo: 0,
  }
}

export interface TopicRecord {
  /** Records of one key keep their order. */
  key?: Buffer | undefined
  value: Buffer | null
  headers?: readonly (readonly [name: string, value: Buffer])[]
  timestampMs?: number
}

/** Values that lie in bytes one after another, to be records without a key: told apart without an object for each. */
export interface Values {
  bytes: Buffer
  /** Two numbers for each: where it begins, and where it ends. */
  spans: Uint32Array
  /** Every record gets these. */
  headers?: readonly (readonly [name: string, value: Buffer])[]
}

/** The same as records, for a driver that has no shorter way. */
export function recordsOf({ bytes, spans, headers = [] }: Values): TopicRecord[] {
  return Array.from({ length: spans.length / 2 }, (_, n) => ({
    value: bytes.subarray(spans[2 * n], spans[2 * n + 1]),
    headers,
  }))
}

/** Where the records of one append lie. */
export interface Appended {
  partition: number
  /** The offset of the first of them, and the one after the last. */
  first: number
  end: number
}

export interface TopicWriter extends AsyncDisposable {
  /** Resolves when they are durable. Several may be under way at once; those of one key land in the order of the calls. */
  append(records: readonly TopicRecord[]): Promise<Appended[]>
  /** The same of values: they lie in one partition, in their order. The bytes may be written over when it resolves. */
  appendValues(values: Values): Promise<Appended[]>
}
