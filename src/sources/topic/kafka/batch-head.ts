/** The head of a record batch, format 2: what Kafka has written since 0.11. */

export interface BatchHead {
  /** The offset of its first record, and of its last one, which may be gone by now. */
  base: number
  last: number
  /** Where it ends in the bytes that it was read from. */
  end: number
  crc: number
  codec: number
  baseTimestampMs: number
  /** Set when the broker's clock counts: every record has it. */
  appendedAtMs: number | undefined
  isTransactional: boolean
  /** Written by Kafka itself: the end of a transaction, and no record of a user. */
  isControl: boolean
  producer: number
  count: number
}

/** From the batch's begin to its records. */
export const headBytes = 61
/** The checksum covers what is behind it: from the attributes on. */
export const checkedFrom = 21
const lengthEnd = 12

/** The head of the batch that begins at `at`; nothing when the batch is cut off. */
export function readHead(bytes: Buffer, at: number): BatchHead | undefined {
  if (at + lengthEnd > bytes.length) return undefined
  const end = at + lengthEnd + bytes.readInt32BE(at + 8)
  if (end > bytes.length) return undefined
  const format = at + 17 <= end ? bytes.readInt8(at + 16) : -1
  if (format === 0 || format === 1) throw new OldFormatError(format)
  if (format !== 2) throw new Error(`the format of a batch is ${format}, and 2 is known`)
  if (at + headBytes > end) throw new Error('a batch is shorter than its head')

  const base = readInt64(bytes, at)
  const attributes = bytes.readInt16BE(at + checkedFrom)
  return {
    base,
    last: base + bytes.readInt32BE(at + 23),
    end,
    crc: bytes.readUInt32BE(at + 17),
    codec: attributes & 7,
    baseTimestampMs: readInt64(bytes, at + 27),
    appendedAtMs: attributes & 8 ? readInt64(bytes, at + 35) : undefined,
    isTransactional: (attributes & 0x10) !== 0,
    isControl: (attributes & 0x20) !== 0,
    producer: readInt64(bytes, at + 43),
    count: bytes.readInt32BE(at + 57),
  }
}

/** The records were written before Kafka 0.11, or by a client of that time. */
export class OldFormatError extends Error {
  constructor(format: number) {
    super(`its records are written in message format ${format}, and 2 is read`)
  }
}

/** A 64-bit number, as near as a number can be: offsets and times stay far below 2^53. */
export function readInt64(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at) * 0x1_0000_0000 + bytes.readUInt32BE(at + 4)
}
