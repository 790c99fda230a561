/** What a broker handed over of one partition: batches of records, cut into records as the sink takes them. */
import { MillraceError } from '../../../errors.ts'
import { blankRecord, type RecordAt, type RecordSink } from '../topic.ts'
import { type AbortedTransaction, AbortedTransactions } from './aborted.ts'
import { type BatchHead, checkedFrom, headBytes, OldFormatError, readHead } from './batch-head.ts'
import { checksum } from './checksum.ts'
import { codecNames, unpack } from './codecs.ts'
import { RecordCursor } from './record-cursor.ts'
import { placeOf } from './refusal.ts'

export class RecordBatches {
  readonly topic: string
  readonly partition: number
  /** The offset to go on from: behind what was handed out, or is no record. */
  next: number
  /** The offset behind the last whole batch: what is asked for next. */
  readonly end: number

  readonly #bytes: Buffer
  readonly #aborted: AbortedTransactions
  /** Where the next batch begins. */
  #at = 0
  #batch: BatchHead | undefined
  /** In the records of the batch, unpacked. */
  readonly #cursor = new RecordCursor()
  #left = 0
  readonly #record: RecordAt

  constructor(piece: {
    topic: string
    partition: number
    /** The offset that was asked for: batches are whole, so that records before it may come first. */
    from: number
    bytes: Buffer
    aborted: readonly AbortedTransaction[]
  }) {
    this.topic = piece.topic
    this.partition = piece.partition
    this.next = piece.from
    this.#bytes = piece.bytes
    this.#aborted = new AbortedTransactions(piece.aborted)
    this.#record = blankRecord(piece.partition)
    this.end = Math.max(piece.from, this.#endOfBatches())
  }

  /** What it takes of memory, at least. */
  get size(): number {
    return this.#bytes.length
  }

  get usedUp(): boolean {
    return this.next >= this.end && this.#batch === undefined
  }

  /** Hands records on until the sink is full or all are handed out; answers how many it was. */
  handOut(sink: RecordSink): number {
    let count = 0
    while (!sink.full) {
      if (this.#batch === undefined && !this.#openBatch()) break
      count += this.#slice(sink)
    }
    return count
  }

  // What is damaged is left for when it is its turn: what stands before it is good.
  #endOfBatches(): number {
    let end = 0
    try {
      for (let head = readHead(this.#bytes, 0); head !== undefined; head = readHead(this.#bytes, head.end)) {
        end = head.last + 1
      }
    } catch {
      return Math.max(end, this.next + 1)
    }
    return end
  }

  /** Goes to the next batch that has records to hand out; answers whether there is one. */
  #openBatch(): boolean {
    for (;;) {
      const from = this.#at
      const head = this.#checked(() => readHead(this.#bytes, from))
      if (head === undefined) return false
      this.#checked(() => check(this.#bytes, from, head))
      const skipped = head.last < this.next || head.isControl || this.#aborted.skips(head)
      if (head.isControl) this.#aborted.ended(head)
      if (!skipped) {
        this.#enter(head, from + headBytes)
      }
      this.#at = head.end
      if (!skipped) return true
      this.next = Math.max(this.next, head.last + 1)
    }
  }

  // What is not packed is handed out as the bytes that came: a sink that keeps them keeps one buffer, not one for each batch.
  #enter(head: BatchHead, from: number): void {
    const cursor = this.#cursor
    if (head.codec === 0) cursor.over(this.#bytes, from, head.end)
    else {
      const unpacked = this.#checked(() => unpack(head.codec, this.#bytes.subarray(from, head.end)))
      cursor.over(unpacked, 0, unpacked.length)
    }
    this.#left = head.count
    this.#batch = head
  }

  // The loop that every record passes.
  #slice(sink: RecordSink): number {
    const batch = this.#batch
    if (batch === undefined) return 0
    const cursor = this.#cursor
    const { bytes } = cursor
    const record = this.#record
    let count = 0
    while (this.#left > 0) {
      this.#left--
      try {
        readRecord(cursor, batch, record)
      } catch (error) {
        throw this.#damaged(error)
      }
      // a batch may begin before the offset that was asked for
      if (record.offset < this.next) continue
      sink.take(bytes, record)
      this.next = record.offset + 1
      count++
      if (sink.full) break
    }
    if (this.#left === 0) {
      this.next = Math.max(this.next, batch.last + 1)
      this.#batch = undefined
    }
    return count
  }

  #checked<T>(read: () => T): T {
    try {
      return read()
    } catch (error) {
      throw this.#damaged(error)
    }
  }

  #damaged(error: unknown): MillraceError {
    const at = `${placeOf(this.topic, this.partition)}, offset ${this.next} or behind it`
    const message = error instanceof Error ? error.message : String(error)
    if (error instanceof OldFormatError) {
      const hint =
        'write the topic anew with a client of this decade (Kafka 0.11 or later), or begin behind these records'
      return new MillraceError('TOPIC_DAMAGED', { at, message, hint, retry: false, cause: error })
    }
    return new MillraceError('TOPIC_DAMAGED', {
      at,
      message: `a batch of records cannot be read: ${message}`,
      hint: "it is fetched again, in case it was damaged on its way; if this stays, the broker's disk holds it so",
      retry: true,
      cause: error,
    })
  }
}

function check(bytes: Buffer, from: number, head: BatchHead): void {
  if (checksum(bytes.subarray(from + checkedFrom, head.end)) !== head.crc) throw new Error('its checksum is another')
  if (head.codec >= codecNames.length) throw new Error(`codec ${head.codec} is not known`)
}

function readRecord(cursor: RecordCursor, batch: BatchHead, record: RecordAt): void {
  const length = cursor.varint()
  const end = cursor.at + length
  if (length < 0 || end > cursor.end) throw new Error('a record is cut off')
  // its attributes: none are in use
  cursor.at++
  const timestampDelta = cursor.varlong()
  record.timestampMs = batch.appendedAtMs ?? batch.baseTimestampMs + timestampDelta
  record.offset = batch.base + cursor.varint()
  const keyLength = cursor.varint()
  record.keyFrom = keyLength < 0 ? -1 : cursor.at
  if (keyLength > 0) cursor.at += keyLength
  record.keyTo = keyLength < 0 ? -1 : cursor.at
  const valueLength = cursor.varint()
  record.valueFrom = valueLength < 0 ? -1 : cursor.at
  if (valueLength > 0) cursor.at += valueLength
  record.valueTo = valueLength < 0 ? -1 : cursor.at
  record.headers = cursor.varint()
  record.headersFrom = cursor.at
  for (let i = 0; i < record.headers * 2 && cursor.at <= end; i++) {
    const partLength = cursor.varint()
    if (partLength > 0) cursor.at += partLength
  }
  record.headersTo = cursor.at
  if (cursor.at !== end || record.headers < 0) throw new Error('a record does not end where it says')
}
