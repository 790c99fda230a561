/** Record batches as producers other than ours write them: packed, of transactions, with gaps. */
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { compressionsAlgorithms, crc32c } from '@platformatic/kafka'
import { headBytes } from '../src/sources/topic/kafka/batch-head.ts'
import { writeBatch } from '../src/sources/topic/kafka/write-batch.ts'
import type { RecordAt, RecordSink, TopicRecord } from '../src/sources/topic/topic.ts'

export const packings = ['none', 'gzip', 'snappy', 'xerial', 'lz4', 'zstd'] as const
export type Packing = (typeof packings)[number]

export interface BatchOptions {
  base?: number
  packing?: Packing
  /** The offset of the last record there once was: compaction takes records away and leaves this. */
  last?: number
  /** Part of a transaction of this producer. */
  producer?: number
  /** The end of that transaction, and no records. */
  isControl?: boolean
  appendedAtMs?: number
}

const codecs: Record<Packing, number> = { none: 0, gzip: 1, snappy: 2, xerial: 2, lz4: 3, zstd: 4 }

export function madeBatch(records: readonly TopicRecord[], options: BatchOptions = {}): Buffer {
  const { base = 0, packing = 'none', producer, isControl = false, appendedAtMs } = options
  const plain = writeBatch(records, 1_700_000_000_000)
  const bytes = Buffer.concat([plain.subarray(0, headBytes), pack(packing, plain.subarray(headBytes))])
  bytes.writeBigInt64BE(BigInt(base), 0)
  bytes.writeInt32BE(bytes.length - 12, 8)
  const ofTransaction = producer === undefined ? 0 : 0x10
  const byBroker = appendedAtMs === undefined ? 0 : 8
  bytes.writeInt16BE(codecs[packing] | byBroker | ofTransaction | (isControl ? 0x20 : 0), 21)
  if (options.last !== undefined) bytes.writeInt32BE(options.last - base, 23)
  if (appendedAtMs !== undefined) bytes.writeBigInt64BE(BigInt(appendedAtMs), 35)
  if (producer !== undefined) bytes.writeBigInt64BE(BigInt(producer), 43)
  return sealed(bytes)
}

/** The same bytes with the checksum that belongs to them. */
export function sealed(bytes: Buffer): Buffer {
  bytes.writeUInt32BE(crc32c(bytes.subarray(21)), 17)
  return bytes
}

export function pack(packing: Packing, bytes: Buffer): Buffer {
  switch (packing) {
    case 'none':
      return bytes
    case 'gzip':
      return gzipSync(bytes)
    case 'zstd':
      return zstdCompressSync(bytes)
    case 'snappy':
      return compressionsAlgorithms.snappy.compressSync(bytes)
    case 'lz4':
      return compressionsAlgorithms.lz4.compressSync(bytes)
    case 'xerial':
      return xerial(bytes)
  }
}

// As Java's clients write snappy: a head, and blocks of 32 KB, each with its length before it.
function xerial(bytes: Buffer): Buffer {
  const parts: Buffer[] = [Buffer.from('82534e41505059000000000100000001', 'hex')]
  for (let at = 0; at < bytes.length; at += 32 * 1024) {
    const block = compressionsAlgorithms.snappy.compressSync(bytes.subarray(at, at + 32 * 1024))
    const length = Buffer.alloc(4)
    length.writeUInt32BE(block.length)
    parts.push(length, block)
  }
  return Buffer.concat(parts)
}

/** A record as it was handed over, with texts in place of bytes. */
export interface Seen {
  partition: number
  offset: number
  timestampMs: number
  key: string | null
  value: string | null
  headers: [string, string | null][]
}

/** Keeps what it is handed; full when it holds so many. */
export class SeenRecords implements RecordSink {
  readonly seen: Seen[] = []
  room: number

  constructor(room = Number.POSITIVE_INFINITY) {
    this.room = room
  }

  get full(): boolean {
    return this.seen.length >= this.room
  }

  take(bytes: Buffer, at: RecordAt): void {
    this.seen.push({
      partition: at.partition,
      offset: at.offset,
      timestampMs: at.timestampMs,
      key: at.keyFrom < 0 ? null : bytes.toString('utf8', at.keyFrom, at.keyTo),
      value: at.valueFrom < 0 ? null : bytes.toString('utf8', at.valueFrom, at.valueTo),
      headers: readHeaders(bytes, at),
    })
  }

  get values(): (string | null)[] {
    return this.seen.map(({ value }) => value)
  }

  get offsets(): number[] {
    return this.seen.map(({ offset }) => offset)
  }
}

// Written apart from the driver's own reading, slow and obvious.
function readHeaders(bytes: Buffer, { headers, headersFrom, headersTo }: RecordAt): [string, string | null][] {
  let at = headersFrom
  const length = (): number => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = BigInt(bytes.readUInt8(at++))
      value |= (byte & 0x7fn) << shift
      if (byte < 0x80n) return Number((value >> 1n) ^ -(value & 1n))
    }
  }
  const text = (): string | null => {
    const size = length()
    if (size < 0) return null
    at += size
    return bytes.toString('utf8', at - size, at)
  }
  const found = Array.from({ length: headers }, (): [string, string | null] => [text() ?? '', text()])
  if (at !== headersTo) throw new Error('the headers do not end where they are said to')
  return found
}
