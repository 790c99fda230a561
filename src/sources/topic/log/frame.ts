/**
 * A record in a segment is one frame. All numbers are little endian.
 *
 *  byte
 *     0  u32  length of the frame, with these four bytes
 *     4  u32  CRC-32C of everything behind this field
 *     8  u32  number of the record in its segment, from 0: a frame that lies where it does not belong is found out
 *    12  i64  timestamp, milliseconds
 *    20  i32  length of the key, -1 when there is none
 *    24  i32  length of the value, -1 when there is none
 *    28  u32  number of headers
 *    32  the key, the headers as Kafka's record format writes them, the value
 */
import { MillraceError } from '../../../errors.ts'
import { crc32c } from '../crc32c.ts'
import { headerBytes } from '../headers.ts'
import type { RecordAt, RecordSink, TopicRecord, Values } from '../topic.ts'

export const frameHead = 32

/** Above what a producer sends, and small enough to be held in memory a few times. */
export const largestFrame = 64 * 1024 * 1024

const twoTo32 = 2 ** 32

/** A record with everything known that its frame needs. */
export interface Framed {
  record: TopicRecord
  headers: Buffer
  bytes: number
}

/** Values with everything known that their frames need. */
export interface FramedValues {
  values: Values
  headers: Buffer
}

/** Measures a record. Throws RECORD_TOO_LARGE. */
export function framed(record: TopicRecord, topic: string): Framed {
  const headers = headerBytes(record.headers ?? [])
  const bytes = frameHead + (record.key?.length ?? 0) + headers.length + (record.value?.length ?? 0)
  refuseTooLarge(bytes, topic)
  return { record, headers, bytes }
}

/** Measures values. Throws RECORD_TOO_LARGE. */
export function framedValues(values: Values, topic: string): FramedValues {
  const headers = headerBytes(values.headers ?? [])
  const { spans } = values
  let longest = 0
  for (let n = 0; n < spans.length; n += 2) longest = Math.max(longest, (spans[n + 1] ?? 0) - (spans[n] ?? 0))
  refuseTooLarge(frameHead + headers.length + longest, topic)
  return { values, headers }
}

function refuseTooLarge(bytes: number, topic: string): void {
  if (bytes <= largestFrame) return
  throw new MillraceError('RECORD_TOO_LARGE', {
    at: `topic ${topic}`,
    message: `a record of ${bytes} bytes is larger than a local topic takes, which is ${largestFrame}`,
    hint: 'keep what is that large in a file, and send its name',
  })
}

/** Writes the frame of a record at a place that has room for it. */
export function writeFrame(into: Buffer, at: number, number: number, framed: Framed, nowMs: number): void {
  const { record, headers, bytes } = framed
  const { key, value } = record
  writeHead(into, at, bytes, number, record.timestampMs ?? nowMs)
  into.writeInt32LE(key === undefined ? -1 : key.length, at + 20)
  into.writeInt32LE(value === null ? -1 : value.length, at + 24)
  into.writeUInt32LE(record.headers?.length ?? 0, at + 28)
  let to = at + frameHead
  if (key !== undefined) to += key.copy(into, to)
  if (headers.length > 0) to += headers.copy(into, to)
  if (value !== null) value.copy(into, to)
  into.writeUInt32LE(crc32c(into, at + 8, at + bytes), at + 4)
}

/** Writes the frame of a value, which lies in `[from, end)` of its bytes, at a place that has room for it. */
export function writeValueFrame(
  into: Buffer,
  at: number,
  number: number,
  { values, headers }: FramedValues,
  from: number,
  end: number,
  nowMs: number,
): void {
  const bytes = frameHead + headers.length + end - from
  writeHead(into, at, bytes, number, nowMs)
  into.writeInt32LE(-1, at + 20)
  into.writeInt32LE(end - from, at + 24)
  into.writeUInt32LE(values.headers?.length ?? 0, at + 28)
  const to = at + frameHead
  if (headers.length > 0) headers.copy(into, to)
  values.bytes.copy(into, to + headers.length, from, end)
  into.writeUInt32LE(crc32c(into, at + 8, at + bytes), at + 4)
}

function writeHead(into: Buffer, at: number, bytes: number, number: number, timestampMs: number): void {
  const high = Math.floor(timestampMs / twoTo32)
  into.writeUInt32LE(bytes, at)
  into.writeUInt32LE(number, at + 8)
  into.writeUInt32LE(timestampMs - high * twoTo32, at + 12)
  into.writeInt32LE(high, at + 16)
}

/**
 * The length of the frame at a place, if it is whole and the record of this number; 0 when the bytes end before it does;
 * -1 when this is no such frame.
 */
export function frameLength(bytes: Buffer, at: number, to: number, number: number): number {
  if (to - at < 4) return 0
  const length = bytes.readUInt32LE(at)
  if (length < frameHead || length > largestFrame) return -1
  if (to - at < length) return 0
  if (bytes.readUInt32LE(at + 8) !== number) return -1
  return crc32c(bytes, at + 8, at + length) === bytes.readUInt32LE(at + 4) ? length : -1
}

/** Hands over the record of a frame that was found to be whole. */
export function take(bytes: Buffer, at: number, length: number, record: RecordAt, sink: RecordSink): void {
  const key = bytes.readInt32LE(at + 20)
  const value = bytes.readInt32LE(at + 24)
  record.timestampMs = bytes.readInt32LE(at + 16) * twoTo32 + bytes.readUInt32LE(at + 12)
  record.keyFrom = key < 0 ? -1 : at + frameHead
  record.keyTo = key < 0 ? -1 : at + frameHead + key
  record.headers = bytes.readUInt32LE(at + 28)
  record.headersFrom = at + frameHead + (key < 0 ? 0 : key)
  record.headersTo = at + length - (value < 0 ? 0 : value)
  record.valueFrom = value < 0 ? -1 : record.headersTo
  record.valueTo = value < 0 ? -1 : at + length
  sink.take(bytes, record)
}
