/** A worker that goes on when it is told to, until it has nothing left to do. */
export class Steps {
  /** Resolves when the worker has ended, or rejects with what has stopped it. */
  readonly ended: Promise<void>
  readonly #stop = new AbortController()
  #idle = Promise.withResolvers<void>()
  #go = Promise.withResolvers<void>()

  /** Begins at once. `onIdle` is what the worker calls when it has nothing left to do. */
  constructor(work: (signal: AbortSignal, onIdle: () => Promise<void>) => Promise<void>) {
    this.ended = work(this.#stop.signal, () => {
      this.#go = Promise.withResolvers()
      this.#idle.resolve()
      return this.#go.promise
    })
    // who waits for it hears of it
    this.ended.catch(() => {})
  }

  /** Resolves when nothing is left to do, and rejects with what has stopped the worker. */
  async idle(): Promise<void> {
    await Promise.race([this.#idle.promise, this.ended])
  }

  /** Lets it look again, and resolves when nothing is left to do. */
  async goOn(): Promise<void> {
    this.#idle = Promise.withResolvers()
    this.#go.resolve()
    await this.idle()
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    this.#go.resolve()
    await this.ended
  }
}
