/** One call of `append`: told where its records landed when the last of them has, or why one did not. */
import type { Appended } from '../topic.ts'

export class Append {
  readonly done: Promise<Appended[]>
  readonly #resolve: (landed: Appended[]) => void
  readonly #reject: (error: unknown) => void
  readonly #landed: Appended[] = []
  #left: number
  #failed = false

  constructor(records: number) {
    const { promise, resolve, reject } = Promise.withResolvers<Appended[]>()
    this.done = promise
    this.#resolve = resolve
    this.#reject = reject
    this.#left = records
  }

  /** Its records that are not sent yet need not be. */
  get failed(): boolean {
    return this.#failed
  }

  /** A record of it is durable; those of one partition come in the order of their offsets. */
  landed(partition: number, offset: number): void {
    const last = this.#landed.findLast((each) => each.partition === partition)
    if (last?.end === offset) last.end = offset + 1
    else this.#landed.push({ partition, first: offset, end: offset + 1 })
    this.#left--
    if (this.#left === 0) this.#resolve(this.#landed)
  }

  fail(error: unknown): void {
    this.#failed = true
    this.#reject(error)
  }
}
