/**
 * A worker rests between small batches, so that rows gather. When all who post wait for a commit, nobody is left to give it
 * more: then the next batch begins at once. Where those who are answered post again at once, as a number of connections
 * does, it is the commit under way that they wait for, and the rest lasts until they are back: else every other batch would
 * be made of the few who came between. While posts that nobody waits for take the whole thread, rests become longer: a
 * batch of a second costs hardly more than one of a twentieth, and the processor is theirs.
 */
import { performance } from 'node:perf_hooks'

/** What is known of those who post to one pipeline; but for the last two, of those who wait for the commit. */
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
  /** When events that nobody waits for were last posted. */
  leftAtMs: number
  /** How long the last rest was to be. */
  restedMs: number
}

interface Rest {
  pipeline: string
  sinceMs: number
  /** Somebody was answered since it began. */
  answered: boolean
  /** It would be over, if it were not for posts that nobody waits for. */
  isOverdue: boolean
  end(): void
}

/** Whoever posts again at once has begun to within so many milliseconds. */
const backWithinMs = 5
const weightOfLast = 0.3
/** Of the time since the last look, so much was work. */
const busyShare = 0.8
const longestRestMs = 1_000

export class Haste {
  readonly #flows = new Map<string, Flow>()
  readonly #resting = new Set<Rest>()
  readonly #now: () => number
  readonly #busy: () => number

  /** `busy`: the share of the time since it was last asked that this thread has worked. */
  constructor(now: () => number, busy = sharesOfWork()) {
    this.#now = now
    this.#busy = busy
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

  /** Events have become durable, and whoever posted them does not wait for their commit. */
  left(pipelines: readonly string[]): void {
    for (const pipeline of pipelines) this.#of(pipeline).leftAtMs = this.#now()
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

  /**
   * Waits until `ms` after `sinceMs`, or until all who post to a pipeline wait for events that came after `sinceMs`. Where
   * this thread has no time left for others, and nobody waits, it is twice as long as the time before, and at most a second.
   */
  async rest(pipeline: string, ms: number, sinceMs: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    const flow = this.#of(pipeline)
    const { promise, resolve } = Promise.withResolvers<void>()
    const isCrowded = this.#busy() >= busyShare && flow.leftAtMs > sinceMs
    flow.restedMs = isCrowded ? Math.min(longestRestMs, 2 * Math.max(ms, flow.restedMs)) : ms
    const rest: Rest = { pipeline, sinceMs, answered: false, isOverdue: false, end: resolve }
    const left = (whole: number): number => Math.max(0, sinceMs + whole - this.#now())
    const over = (): void => {
      rest.isOverdue = true
      if (!isCrowded || flow.underWay > 0 || flow.durableAtMs > sinceMs) rest.end()
    }
    this.#resting.add(rest)
    this.#look(rest)
    signal.addEventListener('abort', rest.end)
    const timers = [setTimeout(over, left(ms)), setTimeout(rest.end, left(flow.restedMs))]
    // a timer would come a millisecond later
    if (left(ms) === 0) over()
    await promise
    for (const timer of timers) clearTimeout(timer)
    signal.removeEventListener('abort', rest.end)
    this.#resting.delete(rest)
  }

  #look(rest: Rest): void {
    const { underWay, durableAtMs, returning, answered, back } = this.#of(rest.pipeline)
    if (durableAtMs <= rest.sinceMs) return
    const allWait = underWay === 0 && (returning < 0.5 || (rest.answered && back >= answered))
    if (allWait || rest.isOverdue) rest.end()
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
      leftAtMs: Number.NEGATIVE_INFINITY,
      restedMs: 0,
    }
    this.#flows.set(pipeline, flow)
    return flow
  }
}

function sharesOfWork(): () => number {
  let before = performance.eventLoopUtilization()
  return () => {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, before)
    before = now
    return utilization
  }
}
