/**
 * A worker rests between small batches, so that rows gather. When all who post wait for a commit, nobody is left to give it
 * more: then the next batch begins at once.
 */

export class Haste {
  /** Posts that are under way to each pipeline, whose events will be waited for. */
  readonly #underWay = new Map<string, number>()
  /** When the last events that somebody waits for became durable. */
  readonly #durableAtMs = new Map<string, number>()
  readonly #resting = new Set<() => void>()
  readonly #now: () => number

  constructor(now: () => number) {
    this.#now = now
  }

  /** Runs what makes events durable that somebody will wait for. */
  async during<T>(pipelines: readonly string[], work: () => Promise<T>): Promise<T> {
    for (const pipeline of pipelines) this.#underWay.set(pipeline, this.#of(pipeline) + 1)
    try {
      const done = await work()
      for (const pipeline of pipelines) this.#durableAtMs.set(pipeline, this.#now())
      return done
    } finally {
      for (const pipeline of pipelines) this.#underWay.set(pipeline, this.#of(pipeline) - 1)
      for (const look of this.#resting) look()
    }
  }

  /** Waits so long, or until all who post to a pipeline wait for events that came after `sinceMs`. */
  async rest(pipeline: string, ms: number, sinceMs: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const look = (): void => {
      const waitedFor = (this.#durableAtMs.get(pipeline) ?? Number.NEGATIVE_INFINITY) > sinceMs
      if (signal.aborted || (waitedFor && this.#of(pipeline) === 0)) resolve()
    }
    look()
    this.#resting.add(look)
    signal.addEventListener('abort', look)
    const timer = setTimeout(resolve, ms)
    await promise
    clearTimeout(timer)
    signal.removeEventListener('abort', look)
    this.#resting.delete(look)
  }

  #of(pipeline: string): number {
    return this.#underWay.get(pipeline) ?? 0
  }
}
