/** CRC-32C (Castagnoli), the checksum of Kafka's batches and of our own frames. */

// Eight tables, one behind the other, so that eight bytes are taken at a time.
const tables = new Int32Array(8 * 256)
for (let at = 0; at < 256; at++) {
  let crc = at
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  tables[at] = crc
}
for (let at = 256; at < tables.length; at++) {
  const before = entry(at - 256)
  tables[at] = (before >>> 8) ^ entry(before & 255)
}

/**
 * The checksum of `bytes[from, to)`. On records of some hundred bytes it is faster than `zlib.crc32`, which is another
 * polynomial, and whose call alone costs more than this loop.
 */
export function crc32c(bytes: Buffer, from: number, to: number): number {
  let crc = -1
  let at = from
  for (; at + 8 <= to; at += 8) {
    crc ^= byte(bytes, at) | (byte(bytes, at + 1) << 8) | (byte(bytes, at + 2) << 16) | (byte(bytes, at + 3) << 24)
    crc =
      entry(1792 | (crc & 255)) ^
      entry(1536 | ((crc >>> 8) & 255)) ^
      entry(1280 | ((crc >>> 16) & 255)) ^
      entry(1024 | (crc >>> 24)) ^
      entry(768 | byte(bytes, at + 4)) ^
      entry(512 | byte(bytes, at + 5)) ^
      entry(256 | byte(bytes, at + 6)) ^
      entry(byte(bytes, at + 7))
  }
  for (; at < to; at++) crc = (crc >>> 8) ^ entry((crc ^ byte(bytes, at)) & 255)
  return ~crc >>> 0
}

function byte(bytes: Buffer, at: number): number {
  return bytes[at] ?? 0
}

function entry(at: number): number {
  return tables[at] ?? 0
}
