/** LZ4 as Java's `LZ4BlockOutputStream` frames it, which is neither the frame format of LZ4 nor one that Node knows. */

const magic = Buffer.from('LZ4Block')
const headBytes = 21
/** Of its header, and of what xxHash says of a block, whose upper bits Java drops. */
const checksumSeed = 0x9747b28c
const checksumBits = 0xfffffff
/** What Java writes at most in one block. */
const mostBytes = 32 * 1024 * 1024

/** The input ended in the middle of a block, or before the empty one that ends a stream. */
export class Lz4Cut extends Error {}

/** The bytes are no such frames. */
export class Lz4Damaged extends Error {}

/** Unpacks blocks as they come. Throws at the end when the stream was cut; all that was whole has been given by then. */
export async function* unpackLz4(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0)
  let isEnded = true
  for await (const chunk of chunks) {
    rest = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk])
    let at = 0
    for (;;) {
      const block = blockAt(rest, at)
      if (block === undefined) break
      at = block.end
      isEnded = block.bytes.length === 0
      if (!isEnded) yield block.bytes
    }
    rest = rest.subarray(at)
  }
  if (rest.length > 0 || !isEnded) throw new Lz4Cut('the stream ends in the middle of a block')
}

interface Block {
  bytes: Buffer
  /** Where the next one begins. */
  end: number
}

// Nothing, while it is not whole.
function blockAt(input: Buffer, at: number): Block | undefined {
  if (input.length - at < headBytes) return undefined
  if (!input.subarray(at, at + magic.length).equals(magic)) throw new Lz4Damaged('a block without its head')
  const method = (input[at + 8] ?? 0) & 0xf0
  const packedBytes = input.readInt32LE(at + 9)
  const bytes = input.readInt32LE(at + 13)
  const checksum = input.readInt32LE(at + 17)
  if (packedBytes < 0 || bytes < 0 || bytes > mostBytes || packedBytes > mostBytes) {
    throw new Lz4Damaged('a block of an impossible size')
  }
  const end = at + headBytes + packedBytes
  if (end > input.length) return undefined
  const packed = input.subarray(at + headBytes, end)
  const isPacked = method === 0x20
  if (!isPacked && (method !== 0x10 || packedBytes !== bytes)) throw new Lz4Damaged('a block of no known method')
  const unpacked = isPacked ? unpackBlock(packed, bytes) : packed
  if (bytes > 0 && (xxHash32(unpacked, checksumSeed) & checksumBits) !== checksum) {
    throw new Lz4Damaged('a block that does not fit its checksum')
  }
  return { bytes: unpacked, end }
}

/** One block of LZ4: literals, and copies of what was written before. */
export function unpackBlock(packed: Uint8Array, bytes: number): Buffer {
  const out = Buffer.allocUnsafe(bytes)
  let read = 0
  let written = 0
  const damaged = (): never => {
    throw new Lz4Damaged('a block that cannot be unpacked')
  }
  const next = (): number => packed[read++] ?? damaged()
  const length = (start: number): number => {
    if (start < 15) return start
    for (let total = start; ; ) {
      const more = next()
      total += more
      if (more < 255) return total
    }
  }
  while (read < packed.length) {
    const token = next()
    const literals = length(token >> 4)
    if (read + literals > packed.length || written + literals > bytes) damaged()
    out.set(packed.subarray(read, read + literals), written)
    read += literals
    written += literals
    // the last sequence has literals alone
    if (read === packed.length) break
    const back = next() | (next() << 8)
    const copied = length(token & 15) + 4
    if (back === 0 || back > written || written + copied > bytes) damaged()
    if (back >= copied) out.copyWithin(written, written - back, written - back + copied)
    else for (let i = 0; i < copied; i++) out[written + i] = out[written + i - back] ?? 0
    written += copied
  }
  if (written !== bytes) damaged()
  return out
}

const prime1 = 0x9e3779b1
const prime2 = 0x85ebca77
const prime3 = 0xc2b2ae3d
const prime4 = 0x27d4eb2f
const prime5 = 0x165667b1

const turned = (x: number, by: number): number => (x << by) | (x >>> (32 - by))

/** xxHash, 32 bits, as a signed integer. */
export function xxHash32(input: Buffer, seed: number): number {
  let at = 0
  let hash = (seed + prime5) | 0
  if (input.length >= 16) {
    const lanes = [seed + prime1 + prime2, seed + prime2, seed, seed - prime1] as const
    let [a, b, c, d] = [lanes[0] | 0, lanes[1] | 0, lanes[2] | 0, lanes[3] | 0]
    for (; at <= input.length - 16; at += 16) {
      a = Math.imul(turned((a + Math.imul(input.readInt32LE(at), prime2)) | 0, 13), prime1)
      b = Math.imul(turned((b + Math.imul(input.readInt32LE(at + 4), prime2)) | 0, 13), prime1)
      c = Math.imul(turned((c + Math.imul(input.readInt32LE(at + 8), prime2)) | 0, 13), prime1)
      d = Math.imul(turned((d + Math.imul(input.readInt32LE(at + 12), prime2)) | 0, 13), prime1)
    }
    hash = (turned(a, 1) + turned(b, 7) + turned(c, 12) + turned(d, 18)) | 0
  }
  hash = (hash + input.length) | 0
  for (; at <= input.length - 4; at += 4) {
    hash = Math.imul(turned((hash + Math.imul(input.readInt32LE(at), prime3)) | 0, 17), prime4)
  }
  for (; at < input.length; at++) {
    hash = Math.imul(turned((hash + Math.imul(input[at] ?? 0, prime5)) | 0, 11), prime1)
  }
  hash = Math.imul(hash ^ (hash >>> 15), prime2)
  hash = Math.imul(hash ^ (hash >>> 13), prime3)
  return hash ^ (hash >>> 16)
}
