/**
 * Which keys a worker has surely not written yet: a Bloom filter of fixed size over the keys of its batches. A key it does
 * not hold is new, unless somebody wrote it before this worker began; so rows of such keys may take the short way into
 * the table (a straight COPY), and the database still has the last word.
 */

// 2^22 words of 32 bits: 16 MB, whatever the number of keys. All bits of a key are in one word, so that a key costs one look
// at memory. At ten million keys about two new keys in a hundred look known, and take the long way.
const wordBits = 22

export class KeyFilter {
  readonly #words = new Uint32Array(2 ** wordBits)

  /** Adds a key by a hash of 53 bits and answers whether it may have been added before. */
  add(hash: number): boolean {
    const low = hash >>> 0
    const high = Math.floor(hash / 2 ** 32)
    const word = low & (2 ** wordBits - 1)
    // three of the word's bits, from three times five bits of the hash that the word's number did not use
    const bits = (1 << (high & 31)) | (1 << ((high >>> 5) & 31)) | (1 << ((high >>> 10) & 31))
    const before = this.#words[word] ?? 0
    this.#words[word] = before | bits
    return (before & bits) === bits
  }
}
