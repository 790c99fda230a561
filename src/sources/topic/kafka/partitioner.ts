/** Which partition a key belongs to, as every client of Kafka says it. */

/** The partition of a key among so many. */
export function partitionOf(key: Buffer, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions
}

// 32 bits of MurmurHash 2, with the seed of Kafka's own clients. The library's adds up numbers without end for long keys.
function murmur2(bytes: Buffer): number {
  const mix = 0x5bd1e995
  let hash = 0x9747b28c ^ bytes.length
  const whole = bytes.length - (bytes.length % 4)
  for (let i = 0; i < whole; i += 4) {
    let four = Math.imul(bytes.readInt32LE(i), mix)
    four ^= four >>> 24
    hash = Math.imul(hash, mix) ^ Math.imul(four, mix)
  }
  const rest = bytes.length - whole
  if (rest > 0) hash = Math.imul(hash ^ bytes.readUIntLE(whole, rest), mix)
  hash = Math.imul(hash ^ (hash >>> 13), mix)
  return hash ^ (hash >>> 15)
}
