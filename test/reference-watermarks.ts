/** Where event time goes, batch by batch, from the rules alone. */
import type { EventTime } from '../src/plan/plan.ts'
import { endOfTime, floorBy } from './reference-times.ts'

/** What happens to a pipeline, in order. */
export type Moment =
  /** A worker begins, and knows nothing of when rows came before it. */
  | { is: 'begins'; nowMs: number }
  /** A batch is committed. */
  | {
      is: 'batch'
      nowMs: number
      /** Rows that were validated. */
      rows: { source: string; partition: string; timeUs: bigint }[]
      /** What was left to read, of every partition that there is. */
      lags: { source: string; partition: string; rows: number }[]
      /** Sources of which it is known what partitions there are. */
      heardOf: readonly string[]
      /**
       * `stream`: it moves the watermark. `reads`: a bounded run that goes on, and holds it. `ends`: the last batch of
       * one. `final`: nothing will follow.
       */
      kind: 'stream' | 'reads' | 'ends' | 'final'
    }

interface Partition {
  source: string
  watermarkMs: number | undefined
  lastRowMs: number
  hadRows: boolean
}

/** The watermark after each batch. */
export function referenceWatermarks(times: ReadonlyMap<string, EventTime>, story: Moment[]): (number | undefined)[] {
  const partitions = new Map<string, Partition>()
  const after: (number | undefined)[] = []
  let begunMs = 0
  let watermark: number | undefined
  for (const moment of story) {
    if (moment.is === 'begins') {
      begunMs = moment.nowMs
      for (const [name, partition] of partitions) {
        // one that had no row was only heard of
        if (partition.hadRows) partition.lastRowMs = begunMs
        else partitions.delete(name)
      }
      continue
    }
    const fresh = new Set<string>()
    // who does not move the watermark does not ask what there is
    const heard = moment.kind === 'reads' ? [] : moment.lags
    for (const { source, partition } of [...heard, ...moment.rows]) {
      const name = `${source}/${partition}`
      if (!partitions.has(name))
        partitions.set(name, { source, watermarkMs: undefined, lastRowMs: begunMs, hadRows: false })
    }
    for (const { source, partition, timeUs } of moment.rows) {
      const time = times.get(source)
      const known = partitions.get(`${source}/${partition}`)
      if (time === undefined || known === undefined) continue
      known.lastRowMs = moment.nowMs
      known.hadRows = true
      fresh.add(`${source}/${partition}`)
      // nobody trusts a clock so far ahead
      if (timeUs > BigInt(moment.nowMs + time.futureSkewMs) * 1000n) continue
      known.watermarkMs = latest(known.watermarkMs, Number(floorBy(timeUs, 1000n)) - time.outOfOrderMs)
    }
    if (moment.kind === 'final') watermark = endOfTime
    else if (moment.kind !== 'reads') {
      const counting = [...partitions].filter(([name, partition]) => {
        const lag = moment.lags.find(({ source, partition: own }) => `${source}/${own}` === name)?.rows ?? 0
        if (fresh.has(name) || lag > 0) return true
        // a bounded run waits for nobody: what a partition has shown is all it will show
        if (moment.kind === 'ends') return partition.watermarkMs !== undefined
        return moment.nowMs - partition.lastRowMs < (times.get(partition.source)?.idleAfterMs ?? 0)
      })
      const shown = counting.map(([, { watermarkMs }]) => watermarkMs)
      for (const [source, { idleAfterMs }] of times) {
        const isThere = [...partitions.values()].some((partition) => partition.source === source)
        const mayCome = !isThere && moment.nowMs - begunMs < idleAfterMs
        // of what nobody has seen yet, nobody knows how old it is
        if ((!moment.heardOf.includes(source) || mayCome) && moment.kind === 'stream') shown.push(undefined)
      }
      const followsClock = [...times.values()].every(({ whenAllIdle }) => whenAllIdle === 'follow the clock')
      if (shown.length === 0 && followsClock && moment.kind === 'stream') {
        const furthest = Math.max(...[...times.values()].map(({ outOfOrderMs }) => outOfOrderMs))
        watermark = latest(watermark, moment.nowMs - furthest)
      } else if (shown.length > 0 && !shown.includes(undefined)) {
        watermark = latest(
          watermark,
          shown.reduce((a, b) => Math.min(a ?? 0, b ?? 0)),
        )
      }
    }
    after.push(watermark)
  }
  return after
}

function latest(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.max(a, b)
}
