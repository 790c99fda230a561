/** Transactions that were taken back: their records stay in the log, and a reader of what is committed skips them. */

/** As a broker lists them beside the records that it hands over. */
export interface AbortedTransaction {
  producer: number
  /** The first of its records in this partition. */
  first: number
}

/** Knows, while the batches of one answer are gone through in order, which producers' records do not count. */
export class AbortedTransactions {
  readonly #coming: AbortedTransaction[]
  readonly #open = new Set<number>()

  constructor(listed: readonly AbortedTransaction[]) {
    // the next one is the last of the array
    this.#coming = listed.toSorted((a, b) => b.first - a.first)
  }

  /** Whether the records of this batch were taken back. */
  skips(batch: { producer: number; last: number; isTransactional: boolean }): boolean {
    this.#beginUpTo(batch.last)
    return batch.isTransactional && this.#open.has(batch.producer)
  }

  /** An end marker of a producer's transaction was passed: what it writes from here on counts, until the list says otherwise. */
  ended(batch: { producer: number; last: number }): void {
    this.#beginUpTo(batch.last)
    this.#open.delete(batch.producer)
  }

  #beginUpTo(offset: number): void {
    for (let next = this.#coming.at(-1); next !== undefined && next.first <= offset; next = this.#coming.at(-1)) {
      this.#open.add(next.producer)
      this.#coming.pop()
    }
  }
}
