/** How the records of a batch are packed. */
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { compressionsAlgorithms } from '@platformatic/kafka'

/** By the number that the attributes of a batch have for it. */
export const codecNames = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const

/** A batch of a few bytes can unpack to any size: this much is held in memory, and no more. */
export const maxUnpackedBytes = 256 * 1024 * 1024

/** The records of a packed batch. Throws what is wrong with them as a plain Error. */
export function unpack(codec: number, bytes: Buffer, limit = maxUnpackedBytes): Buffer {
  switch (codecNames[codec]) {
    case 'none':
      return bytes
    case 'gzip':
      return gunzipSync(bytes, { maxOutputLength: limit })
    case 'zstd':
      return zstdDecompressSync(bytes, { maxOutputLength: limit })
    case 'snappy':
      return unpackSnappy(bytes, limit)
    case 'lz4':
      return unpackLz4(bytes, limit)
  }
  throw new Error(`codec ${codec} is not known: Kafka has ${codecNames.join(', ')}`)
}

// ---- snappy --------------------------------------------------------------------------------------------------------

// Java's clients write this before the blocks: the magic, a version and the least version that reads it; others write
// one block and nothing else.
const xerialMagic = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0])
const xerialHeadBytes = 16

function unpackSnappy(bytes: Buffer, limit: number): Buffer {
  if (!bytes.subarray(0, xerialMagic.length).equals(xerialMagic)) return unpackSnappyBlock(bytes, limit)
  const blocks: Buffer[] = []
  let left = limit
  for (let at = xerialHeadBytes; at < bytes.length; ) {
    const from = at + 4
    const to = from + (from <= bytes.length ? bytes.readUInt32BE(at) : 0)
    if (to <= from || to > bytes.length) throw new Error('a snappy block is cut off')
    const block = unpackSnappyBlock(bytes.subarray(from, to), left)
    blocks.push(block)
    left -= block.length
    at = to
  }
  return blocks.length === 1 && blocks[0] !== undefined ? blocks[0] : Buffer.concat(blocks)
}

function unpackSnappyBlock(bytes: Buffer, limit: number): Buffer {
  within(limit, snappyLength(bytes))
  return whole('snappy', () => compressionsAlgorithms.snappy.decompressSync(bytes))
}

// A block begins with the length of what it holds, as a varint.
function snappyLength(bytes: Buffer): number {
  let length = 0
  for (let i = 0; i < Math.min(bytes.length, 5); i++) {
    const byte = bytes.readUInt8(i)
    length += (byte & 0x7f) * 2 ** (7 * i)
    if (byte < 0x80) return length
  }
  throw new Error('a snappy block has no length')
}

// ---- lz4 -----------------------------------------------------------------------------------------------------------

const lz4Magic = 0x184d2204
const lz4BlockBytes: Record<number, number> = { 4: 64 * 1024, 5: 256 * 1024, 6: 1024 * 1024, 7: 4 * 1024 * 1024 }

function unpackLz4(bytes: Buffer, limit: number): Buffer {
  within(limit, lz4AtMost(bytes))
  return whole('lz4', () => compressionsAlgorithms.lz4.decompressSync(bytes))
}

// A frame need not say how much it holds: its blocks hold at most what its head allows for one.
function lz4AtMost(bytes: Buffer): number {
  if (bytes.length < 7 || bytes.readUInt32LE(0) !== lz4Magic) throw new Error('it is no lz4 frame')
  const flags = bytes.readUInt8(4)
  const blockBytes = lz4BlockBytes[(bytes.readUInt8(5) >> 4) & 7] ?? 0
  const blockChecksum = flags & 0x10 ? 4 : 0
  let at = 6 + (flags & 0x08 ? 8 : 0) + (flags & 0x01 ? 4 : 0) + 1
  let most = 0
  while (at + 4 <= bytes.length) {
    const length = bytes.readUInt32LE(at) & 0x7fffffff
    if (length === 0) return most
    // a block of n bytes cannot unpack to more than 255 times as many
    most += Math.min(blockBytes, length * 255)
    at += 4 + length + blockChecksum
  }
  throw new Error('an lz4 frame is cut off')
}

// ---- both ----------------------------------------------------------------------------------------------------------

function within(limit: number, length: number): void {
  if (length > limit) throw new Error(`it unpacks to ${length} bytes, and ${limit} are the most`)
}

// It is WebAssembly, and says "unreachable" of whatever it cannot unpack.
function whole(codec: string, read: () => Buffer): Buffer {
  try {
    return read()
  } catch (error) {
    throw new Error(`the ${codec} bytes are damaged`, { cause: error })
  }
}
