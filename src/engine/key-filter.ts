/**
 * Which keys a worker has surely not written yet: a Bloom filter of fixed size over the keys of its batches. A key it does
 * not hold is new, unless somebody wrote it before this worker began; so rows of such keys may take the short way into
 * the table (a straight COPY), and the database still has the last word.
 */

// 2^18 blocks of 512 bits: 16 MB, whatever the number of keys. At ten million keys about one new key in a hundred looks
// known, and takes the long way.
const blockBits = 18
const wordsPerBlock = 16

export class KeyFilter {
  readonly #words = new Uint32Array(2 ** blockBits * wordsPerBlock)

  /** Adds a key by a hash of 53 bits and answers whether it may have been added before. */
  add(hash: number): boolean {
    const low = hash >>> 0
    const high = Math.floor(hash / 2 ** 32)
    const block = (low & (2 ** blockBits - 1)) * wordsPerBlock
    // three bits of the block, from three times nine bits of the hash that the block's number did not use
    const first = this.#set(block, high & 511)
    const second = this.#set(block, (high >>> 9) & 511)
    const third = this.#set(block, (low >>> 18) & 511)
    return first && second && third
  }

  #set(block: number, bit: number): boolean {
    const word = block + (bit >>> 5)
    const mask = 1 << (bit & 31)
    const before = this.#words[word] ?? 0
    this.#words[word] = before | mask
    return (before & mask) !== 0
  }
}
