/**
 * A worker rests between small batches, so that rows gather. When all who post wait for a commit, nobody is left to give it
 * more: then the next batch begins at once. Where those who are answered post again at once, as a number of connections
 * does, it is the commit under way that they wait for, and the rest lasts until they are back: else every other batch would
 * be made of the few who came between.
 */

/** What is known of those who post to one pipeline and wait for the commit. */
interface Flow {
  /** Posts whose events are on their way to be durable. */
  underWay: number
  /** When the last events that somebody waits for became durable. */
  durableAtMs: number
  /** Answers that came one after the other, until so long after the last of them. */
  answered: number
  /** Posts that have begun since the first of these. */
  back: number
  /** Of those answered lately, the share that was back at once: from 0 to 1. */
  returning: number
  counting: NodeJS.Timeout | undefined
}

interface Rest {
  pipeline: string
  sinceMs: number
  /** Somebody was answered since it began. */
  answered: boolean
  end(): void
}

/** Whoever posts again at once has begun to within so many milliseconds. */
const backWithinMs = 5
const weightOfLast = 0.3

export class Haste {
  readonly #flows = new Map<string, Flow>()
  readonly #resting = new Set<Rest>()
  readonly #now: () => number

  constructor(now: () => number) {
    this.#now = now
  }

  /** Runs what makes events durable that somebody will wait for. */
  async during<T>(pipelines: readonly string[], work: () => Promise<T>): Promise<T> {
    for (const pipeline of pipelines) {
      const flow = this.#of(pipeline)
      flow.underWay++
      if (flow.answered > 0) flow.back++
    }
    try {
      const done = await work()
      for (const pipeline of pipelines) this.#of(pipeline).durableAtMs = this.#now()
      return done
    } finally {
      for (const pipeline of pipelines) this.#of(pipeline).underWay--
      for (const rest of this.#resting) this.#look(rest)
    }
  }

  /** Somebody who waited for the commit of their events is answered. */
  answered(pipelines: readonly string[]): void {
    for (const pipeline of pipelines) {
      const flow = this.#of(pipeline)
      flow.answered++
      clearTimeout(flow.counting)
      flow.counting = setTimeout(() => this.#count(flow), backWithinMs)
      for (const rest of this.#resting) {
        if (rest.pipeline === pipeline) rest.answered = true
      }
    }
  }

  /** Waits so long, or until all who post to a pipeline wait for events that came after `sinceMs`. */
  async rest(pipeline: string, ms: number, sinceMs: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const rest: Rest = { pipeline, sinceMs, answered: false, end: resolve }
    this.#resting.add(rest)
    this.#look(rest)
    signal.addEventListener('abort', rest.end)
    const timer = setTimeout(rest.end, ms)
    await promise
    clearTimeout(timer)
    signal.removeEventListener('abort', rest.end)
    this.#resting.delete(rest)
  }

  #look(rest: Rest): void {
    const { underWay, durableAtMs, returning, answered, back } = this.#of(rest.pipeline)
    if (underWay > 0 || durableAtMs <= rest.sinceMs) return
    if (returning < 0.5 || (rest.answered && back >= answered)) rest.end()
  }

  // Who is not back by now is not waited for.
  #count(flow: Flow): void {
    const share = Math.min(1, flow.back / flow.answered)
    flow.returning += weightOfLast * (share - flow.returning)
    Object.assign(flow, { answered: 0, back: 0, counting: undefined })
    for (const rest of this.#resting) this.#look(rest)
  }

  #of(pipeline: string): Flow {
    const known = this.#flows.get(pipeline)
    if (known !== undefined) return known
    const flow: Flow = {
      underWay: 0,
      durableAtMs: Number.NEGATIVE_INFINITY,
      answered: 0,
      back: 0,
      returning: 0,
      counting: undefined,
    }
    this.#flows.set(pipeline, flow)
    return flow
  }
}
