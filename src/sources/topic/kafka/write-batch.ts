/** Writes records as one batch, format 2. */
import type { TopicRecord } from '../topic.ts'
import { checkedFrom, headBytes } from './batch-head.ts'
import { checksum } from './checksum.ts'

/** Whose batch it is, so that a broker that gets it twice writes it once. */
export interface Sequence {
  producer: bigint
  epoch: number
  /** The number of the batch's first record among all that this producer sent to the partition. */
  first: number
}

/** Neither packed nor part of a transaction; `nowMs` is for records without a time. */
export function writeBatch(records: readonly TopicRecord[], nowMs: number, sequence?: Sequence): Buffer {
  const times = records.map(({ timestampMs }) => timestampMs ?? nowMs)
  const base = times[0] ?? nowMs
  const lengths = records.map((record, i) => recordLength(record, i, (times[i] ?? base) - base))
  const size = lengths.reduce((sum, length) => sum + varintLength(length) + length, headBytes)

  const pen = new Pen(Buffer.allocUnsafe(size), headBytes)
  records.forEach((record, i) => {
    writeRecord(pen, record, lengths[i] ?? 0, i, (times[i] ?? base) - base)
  })

  const { bytes } = pen
  bytes.writeBigInt64BE(0n, 0)
  bytes.writeInt32BE(size - 12, 8)
  bytes.writeInt32BE(-1, 12)
  bytes.writeInt8(2, 16)
  bytes.writeInt16BE(0, checkedFrom)
  bytes.writeInt32BE(records.length - 1, 23)
  bytes.writeBigInt64BE(BigInt(base), 27)
  bytes.writeBigInt64BE(BigInt(times.reduce((a, b) => Math.max(a, b), base)), 35)
  bytes.writeBigInt64BE(sequence?.producer ?? -1n, 43)
  bytes.writeInt16BE(sequence?.epoch ?? -1, 51)
  bytes.writeInt32BE(sequence?.first ?? -1, 53)
  bytes.writeInt32BE(records.length, 57)
  bytes.writeUInt32BE(checksum(bytes.subarray(checkedFrom)), 17)
  return bytes
}

/** What a record takes in a batch, at most. */
export function recordSize(record: TopicRecord): number {
  const most = 2 ** 31 - 1
  return recordLength(record, most, most) + 5
}

function recordLength({ key, value, headers = [] }: TopicRecord, offset: number, timestamp: number): number {
  let length = 1 + varintLength(timestamp) + varintLength(offset)
  length += bytesLength(key) + bytesLength(value) + varintLength(headers.length)
  for (const [name, content] of headers) {
    const nameLength = Buffer.byteLength(name)
    length += varintLength(nameLength) + nameLength + bytesLength(content)
  }
  return length
}

function writeRecord(pen: Pen, record: TopicRecord, length: number, offset: number, timestamp: number): void {
  const { key, value, headers = [] } = record
  pen.varint(length)
  pen.bytes[pen.at++] = 0
  pen.varint(timestamp)
  pen.varint(offset)
  pen.lengthAndBytes(key)
  pen.lengthAndBytes(value)
  pen.varint(headers.length)
  for (const [name, content] of headers) {
    pen.lengthAndBytes(Buffer.from(name))
    pen.lengthAndBytes(content)
  }
}

function bytesLength(bytes: Buffer | null | undefined): number {
  return bytes === null || bytes === undefined ? 1 : varintLength(bytes.length) + bytes.length
}

// Zigzag: 0, -1, 1, -2 ... are 0, 1, 2, 3. Times are too large for the operators that know 32 bits.
function zigzag(value: number): number {
  return value < 0 ? -2 * value - 1 : 2 * value
}

function varintLength(value: number): number {
  let length = 1
  for (let rest = zigzag(value); rest >= 128; rest = Math.floor(rest / 128)) length++
  return length
}

class Pen {
  readonly bytes: Buffer
  at: number

  constructor(bytes: Buffer, at: number) {
    this.bytes = bytes
    this.at = at
  }

  varint(value: number): void {
    let rest = zigzag(value)
    for (; rest >= 128; rest = Math.floor(rest / 128)) this.bytes[this.at++] = (rest % 128) + 128
    this.bytes[this.at++] = rest
  }

  lengthAndBytes(bytes: Buffer | null | undefined): void {
    this.varint(bytes?.length ?? -1)
    if (bytes === null || bytes === undefined) return
    this.bytes.set(bytes, this.at)
    this.at += bytes.length
  }
}
