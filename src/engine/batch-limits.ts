import type { Limits } from '../sources/source.ts'

/** By how much less is taken where a batch needed more memory than there is. */
const lessByTimes = 8

/**
 * How much a batch may take: what is set, and less for a while after a batch that needed more memory than DuckDB has. When
 * one row alone needs more, that row is set aside.
 */
export class BatchLimits {
  readonly #whole: Limits
  #share = 1
  #setAside: 'no' | 'next' | 'tried' = 'no'
  /** Rows of the range at hand. */
  #taken: number | undefined

  constructor(whole: Limits) {
    this.#whole = whole
  }

  /** For the next range. */
  next(): Limits {
    const setAside = this.#setAside === 'next'
    if (setAside) this.#setAside = 'tried'
    this.#taken = undefined
    return { ...this.now, ...(setAside ? { setAside } : {}) }
  }

  get now(): Limits {
    const part = (whole: number): number => Math.max(1, Math.floor(whole * this.#share))
    return { rows: part(this.#whole.rows), bytes: part(this.#whole.bytes) }
  }

  /** Nothing has been too large of late. */
  get areWhole(): boolean {
    return this.#share === 1 && this.#setAside === 'no'
  }

  taken(rows: number | undefined): void {
    this.#taken = rows
  }

  /** A batch has fitted. */
  more(): void {
    this.#share = Math.min(1, 2 * this.#share)
    this.#setAside = 'no'
  }

  /** The range at hand has not fitted. Answers what will be tried, or nothing when even setting a row aside took too much. */
  less(): 'smaller batches' | 'setting a row aside' | undefined {
    if (this.#setAside === 'tried') return undefined
    if (this.now.rows === 1) {
      this.#setAside = 'next'
      return 'setting a row aside'
    }
    const { rows } = this.#whole
    this.#share = Math.min(this.#share, (this.#taken || rows) / rows) / lessByTimes
    return 'smaller batches'
  }
}
