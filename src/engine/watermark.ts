/**
 * How far event time has come. A partition's watermark is the latest trusted event time in its committed batches, less
 * what rows may be out of order; the pipeline's is the smallest of its partitions that are not idle, and never moves back.
 * Rows of a batch are judged by the one that was committed before it.
 */
import type { EventTime, Plan } from '../plan/plan.ts'
import type { Lag } from '../sources/source.ts'
import type { Committed } from '../store/store.ts'

/** What a partition of a batch has shown. */
export interface Seen {
  partition: string
  /** The latest event time that is not too far ahead of the clock; milliseconds, rounded down. */
  latest: number | undefined
}

interface Partition {
  source: string
  name: string
  watermark: number | undefined
  /** By the clock; when the worker began, where nothing is known. */
  lastRowAt: number
}

export { endOfTime } from '../plan/plan.ts'

/** Where event time comes from, by source; undefined when the plan has none. */
export function eventTimes(plan: Plan): Map<string, EventTime> {
  return new Map(
    plan.steps.flatMap((step) =>
      step.op === 'validate' && step.eventTime !== undefined ? [[step.from[0] ?? '', step.eventTime] as const] : [],
    ),
  )
}

export class Watermarks {
  readonly #times: Map<string, EventTime>
  readonly #now: () => number
  readonly #begun: number
  readonly #partitions = new Map<string, Partition>()
  #committed: number | undefined

  constructor(plan: Plan, committed: Committed, now: () => number) {
    this.#times = eventTimes(plan)
    this.#now = now
    this.#begun = now()
    this.#committed = committed.watermark
    for (const { source, partition, watermark } of committed.positions) {
      if (this.#times.has(source)) this.#partition(source, partition).watermark = watermark
    }
  }

  /** By which rows are judged. */
  get committed(): number | undefined {
    return this.#committed
  }

  /** An event time later than this moves no watermark; milliseconds. */
  trustedUntil(source: string): number {
    return this.#now() + (this.#times.get(source)?.futureSkewMs ?? 0)
  }

  /** The watermarks of a source's partitions with what a batch has shown of them. */
  partitionsAfter(source: string, seen: readonly Seen[]): { partition: string; watermark: number | undefined }[] {
    const time = this.#times.get(source)
    return seen.map(({ partition, latest }) => {
      const before = this.#partition(source, partition).watermark
      const shown = latest === undefined || time === undefined ? undefined : latest - time.outOfOrderMs
      return { partition, watermark: later(before, shown) }
    })
  }

  /** Where the pipeline's watermark goes, once a batch has shown this. `bounded`: a run ends, and its clock says nothing. */
  after(
    shown: { source: string; seen: readonly Seen[] } | undefined,
    lags: ReadonlyMap<string, readonly Lag[]>,
    bounded = false,
  ): number | undefined {
    const smallest: number[] = []
    let holds = false
    let clock = Number.POSITIVE_INFINITY
    for (const [source, time] of this.#times) {
      const own = shown?.source === source ? shown.seen : []
      const names = new Set([
        ...[...this.#partitions.values()].filter((each) => each.source === source).map(({ name }) => name),
        ...own.map(({ partition }) => partition),
        ...(lags.get(source) ?? []).map(({ partition }) => partition),
      ])
      // it may have rows that nobody has looked for yet, or begin a moment after the others
      const isYoung = names.size === 0 && this.#now() - this.#begun < time.idleAfterMs
      if (!bounded && (!lags.has(source) || isYoung)) holds = true
      const active = [...names].filter((name) => {
        if (own.some(({ partition }) => partition === name)) return true
        return !this.#isIdle(this.#partition(source, name), time, lags.get(source) ?? [], bounded)
      })
      for (const { watermark } of this.partitionsAfter(
        source,
        active.map((partition) => own.find((each) => each.partition === partition) ?? { partition, latest: undefined }),
      )) {
        if (watermark === undefined) holds = true
        else smallest.push(watermark)
      }
      clock =
        time.whenAllIdle === 'follow the clock'
          ? Math.min(clock, this.#now() - time.outOfOrderMs)
          : Number.NEGATIVE_INFINITY
    }
    if (holds) return this.#committed
    if (smallest.length > 0) return later(this.#committed, Math.min(...smallest))
    return Number.isFinite(clock) && this.#times.size > 0 && !bounded ? later(this.#committed, clock) : this.#committed
  }

  /** What was committed: where the watermark is now, and those of the partitions that a batch had rows of. */
  settle(
    watermark: number | undefined,
    source: string | undefined,
    shown: readonly { partition: string; watermark: number | undefined }[],
  ): void {
    this.#committed = later(this.#committed, watermark)
    if (source === undefined || !this.#times.has(source)) return
    for (const { partition, watermark: own } of shown) {
      const known = this.#partition(source, partition)
      known.watermark = later(known.watermark, own)
      known.lastRowAt = this.#now()
    }
  }

  // Its lag is 0, and for a while it had no row; one that has more to read is never idle.
  #isIdle(
    { name, lastRowAt, watermark }: Partition,
    { idleAfterMs }: EventTime,
    lags: readonly Lag[],
    bounded: boolean,
  ): boolean {
    const lag = lags.find(({ partition }) => partition === name)?.rows ?? 0
    if (lag > 0) return false
    // a bounded run goes by what the data say, however long it took: who has shown nothing is all that is left out
    return bounded ? watermark === undefined : this.#now() - lastRowAt >= idleAfterMs
  }

  #partition(source: string, name: string): Partition {
    const key = JSON.stringify([source, name])
    const known = this.#partitions.get(key) ?? { source, name, watermark: undefined, lastRowAt: this.#begun }
    this.#partitions.set(key, known)
    return known
  }
}

function later(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return Math.max(a, b)
}
