import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Generated, testSeed } from '../../test/duckdb.ts'
import { endOfTime as lastMoment } from '../../test/reference-times.ts'
import { type Moment, referenceWatermarks } from '../../test/reference-watermarks.ts'
import { count } from '../functions/aggregate.ts'
import { type EventTimeOptions, pipeline, table, text, timestamp, topic } from '../pipeline.ts'
import type { Plan } from '../plan/plan.ts'
import type { Committed } from '../store/store.ts'
import { endOfTime, eventTimes, Watermarks } from './watermark.ts'

type Options = Partial<EventTimeOptions<{ at: 'timestamp' }>>

const columns = { at: timestamp(), who: text() }
const source = (name: string, options: Options) =>
  topic(name, { columns, eventTime: { column: 'at', futureSkew: 1000, idleAfter: 100, ...options } })

/** Windows over one source, called `one`, or `two` beside it. */
function planOf(first: Options, second?: Options): Plan {
  const windows = pipeline('test')
    .from(source('one', first))
    .window({ size: 10, by: 'who' }, () => ({ n: count() }))
  const both = second === undefined ? windows : windows.alongside(source('two', second), () => ({ m: count() }))
  return both.into(table('windows', { key: ['who', 'window_start'] })).plan
}

/** A pipeline that goes through moments, as the worker drives it. */
class Driven {
  readonly #plan: Plan
  readonly #now = { ms: 0 }
  #committed: Committed = { batch: 0, epoch: 1, positions: [], watermark: undefined }
  #watermarks: Watermarks | undefined

  constructor(plan: Plan) {
    this.#plan = plan
  }

  /** The watermark after a batch. */
  next(moment: Moment): number | undefined {
    this.#now.ms = moment.nowMs
    if (moment.is === 'begins') {
      this.#watermarks = new Watermarks(this.#plan, this.#committed, () => this.#now.ms)
      return this.#committed.watermark
    }
    const watermarks = this.#watermarks ?? new Watermarks(this.#plan, this.#committed, () => this.#now.ms)
    this.#watermarks = watermarks
    const [from] = moment.rows
    const own = Map.groupBy(moment.rows, ({ partition }) => partition)
    const seen = [...own].map(([partition, rows]) => {
      const trusted = rows.filter(({ timeUs }) => timeUs <= BigInt(watermarks.trustedUntil(from?.source ?? '')) * 1000n)
      const latest = trusted.map(({ timeUs }) => Math.floor(Number(timeUs) / 1000))
      return { partition, latest: latest.length === 0 ? undefined : Math.max(...latest) }
    })
    const shown = from === undefined ? undefined : { source: from.source, seen }
    const lags = new Map(moment.heardOf.map((name) => [name, moment.lags.filter((lag) => lag.source === name)]))
    const after = {
      stream: () => watermarks.after(shown, lags),
      reads: () => watermarks.committed,
      ends: () => watermarks.after(undefined, lags, true),
      final: () => endOfTime,
    }[moment.kind]()
    const partitions = from === undefined ? [] : watermarks.partitionsAfter(from.source, seen)
    watermarks.settle(after, from?.source, partitions)
    for (const { partition, watermark } of partitions) {
      const others = this.#committed.positions.filter(
        (each) => each.source !== from?.source || each.partition !== partition,
      )
      const position = { source: from?.source ?? '', partition, position: 1, watermark }
      this.#committed = { ...this.#committed, positions: [...others, position] }
    }
    this.#committed = { ...this.#committed, watermark: after }
    return after
  }
}

const at = (
  nowMs: number,
  rows: [partition: string, ms: number][],
  more: Partial<Extract<Moment, { is: 'batch' }>> = {},
) => ({
  is: 'batch' as const,
  nowMs,
  rows: rows.map(([partition, ms]) => ({ source: 'one', partition, timeUs: BigInt(Math.round(ms * 1000)) })),
  lags: [],
  heardOf: ['one', 'two'],
  kind: 'stream' as const,
  ...more,
})
const lag = (partition: string, rows: number, source = 'one') => ({ source, partition, rows })

function watermarksOf(plan: Plan, story: Moment[]): (number | undefined)[] {
  const driven = new Driven(plan)
  return story.map((moment) => driven.next(moment))
}

describe('the watermark', () => {
  test('is the latest event time less what rows may be out of order, and never moves back', () => {
    const plan = planOf({ outOfOrder: 10 })
    assert.deepEqual(
      watermarksOf(plan, [at(1000, [['0', 50]]), at(1000, [['0', 20]]), at(1000, [['0', 100.9]])]),
      [40, 40, 90],
    )
    assert.deepEqual(watermarksOf(plan, [at(0, [['0', -5]]), at(0, [['0', -4.5]])]), [-15, -15])
  })

  test('is the smallest of its partitions, one that has shown nothing yet among them', () => {
    const plan = planOf({})
    assert.deepEqual(
      watermarksOf(plan, [
        at(1000, [
          ['0', 50],
          ['1', 70],
        ]),
        at(1000, [['1', 90]]),
        at(1000, [['0', 80]]),
        at(
          1000,
          [
            ['0', 95],
            ['1', 95],
          ],
          { lags: [lag('2', 0)] },
        ),
        at(1000, [['2', 85]]),
      ]),
      [50, 50, 80, 80, 85],
    )
  })

  test('does not wait for a partition that is read to its end and had no row for a while', () => {
    const plan = planOf({ idleAfter: 100 })
    const lags = [lag('0', 0), lag('1', 0)]
    assert.deepEqual(
      watermarksOf(plan, [
        at(
          1000,
          [
            ['0', 50],
            ['1', 70],
          ],
          { lags },
        ),
        at(1099, [['1', 90]], { lags }),
        at(1100, [['1', 95]], { lags }),
        at(1100, [['0', 60]], { lags }),
      ]),
      [50, 50, 95, 95],
    )
  })

  test('waits for a partition that has more to read, however long it takes', () => {
    const story = (rows: number) => [
      at(1000, [
        ['0', 50],
        ['1', 70],
      ]),
      at(90_000, [['1', 90]], { lags: [lag('0', rows), lag('1', 0)] }),
    ]
    assert.deepEqual(watermarksOf(planOf({}), story(1)), [50, 50])
    assert.deepEqual(watermarksOf(planOf({}), story(0)), [50, 90])
  })

  test('holds when all are idle, or follows the clock', () => {
    const story = [at(1000, [['0', 950]]), at(5000, [], { lags: [lag('0', 0)] })]
    assert.deepEqual(watermarksOf(planOf({ outOfOrder: 10 }), story), [940, 940])
    assert.deepEqual(watermarksOf(planOf({ outOfOrder: 10, whenAllIdle: 'follow the clock' }), story), [940, 4990])
    const ends = [at(1000, [['0', 950]]), at(5000, [], { kind: 'ends' as const })]
    assert.deepEqual(watermarksOf(planOf({ outOfOrder: 10, whenAllIdle: 'follow the clock' }), ends), [940, 940])
  })

  test('is not moved by a clock that is too far ahead, to the millisecond', () => {
    const plan = planOf({ futureSkew: 1000 })
    assert.deepEqual(
      watermarksOf(plan, [
        at(0, [
          ['0', 5],
          ['0', 1001],
        ]),
        at(0, [['0', 1000]]),
      ]),
      [5, 1000],
    )
    assert.deepEqual(watermarksOf(plan, [at(0, [['0', 99_999]]), at(0, [['0', 3]])]), [undefined, 3])
  })

  test('of two sources is the smaller one, and waits for one that has shown nothing', () => {
    const plan = planOf({}, { outOfOrder: 100 })
    const two = (ms: number) => ({ source: 'two', partition: '0', timeUs: BigInt(ms) * 1000n })
    const lags = [lag('0', 0), lag('0', 0, 'two')]
    assert.deepEqual(
      watermarksOf(plan, [
        at(1000, [['0', 500]], { lags }),
        at(1000, [], { rows: [two(550)], lags }),
        at(1000, [['0', 800]], { lags }),
        at(1000, [], { rows: [two(1000)], lags }),
      ]),
      [undefined, 450, 450, 800],
    )
  })

  test('of two sources follows the clock only when both are told to', () => {
    const story = [at(1000, [['0', 500]]), at(1100, []), at(9000, [])]
    const follow = { whenAllIdle: 'follow the clock' } as const
    assert.deepEqual(watermarksOf(planOf(follow, { ...follow, outOfOrder: 100 }), story), [undefined, 1000, 8900])
    for (const plan of [planOf(follow, {}), planOf({}, follow)])
      assert.deepEqual(watermarksOf(plan, story), [undefined, undefined, undefined])
  })

  test('of a bounded run stands still, and moves once to what the data say, whoever was idle meanwhile', () => {
    const reads = { kind: 'reads' as const }
    assert.deepEqual(
      watermarksOf(planOf({ idleAfter: 0 }), [
        at(
          1000,
          [
            ['0', 50],
            ['1', 70],
          ],
          reads,
        ),
        at(9000, [['1', 90]], reads),
        at(99_000, [], { kind: 'ends', lags: [lag('0', 0), lag('1', 0), lag('2', 0)] }),
      ]),
      [undefined, undefined, 50],
    )
  })

  test('waits for a source of which nobody knows yet what is there, and a while for one that has nothing', () => {
    const plan = planOf({ idleAfter: 5000 }, { idleAfter: 100 })
    const story = (heardOf: string[], nowMs: number): Moment[] => [
      { is: 'begins', nowMs: 1000 },
      at(nowMs, [['0', 50]], { heardOf }),
    ]
    assert.deepEqual(watermarksOf(plan, story(['one'], 1500)).at(-1), undefined)
    assert.deepEqual(watermarksOf(plan, story(['one', 'two'], 1099)).at(-1), undefined)
    assert.deepEqual(watermarksOf(plan, story(['one', 'two'], 1100)).at(-1), 50)
  })

  test('goes on after a restart from what each partition had shown', () => {
    const story: Moment[] = [
      at(
        1000,
        [
          ['0', 50],
          ['1', 70],
        ],
        { kind: 'reads' },
      ),
      { is: 'begins', nowMs: 1000 },
      at(1000, [['0', 90]]),
    ]
    assert.deepEqual(watermarksOf(planOf({}), story), [undefined, undefined, 70])
  })

  test('a worker that begins does not know how long a partition has been idle, and waits for it', () => {
    const lags = [lag('0', 0), lag('1', 0)]
    const story = (nowMs: number): Moment[] => [
      at(
        1000,
        [
          ['0', 50],
          ['1', 70],
        ],
        { lags },
      ),
      { is: 'begins', nowMs: 1100 },
      at(nowMs, [['1', 90]], { lags }),
    ]
    assert.deepEqual(watermarksOf(planOf({}), story(1199)).at(-1), 50)
    assert.deepEqual(watermarksOf(planOf({}), story(1200)).at(-1), 90)
  })

  test('goes where the reference says, through any story', () => {
    assert.equal(endOfTime, lastMoment)
    const chance = new Generated()
    for (let i = 0; i < 2000; i++) {
      const options = (): Options => ({
        outOfOrder: chance.oneOf([0, 5, 50]),
        futureSkew: chance.oneOf([0, 100]),
        idleAfter: chance.oneOf([0, 1, 50]),
        whenAllIdle: chance.oneOf(['wait', 'follow the clock']),
      })
      const plan = planOf(options(), ...(chance.whole(0, 1) === 0 ? [] : [options()]))
      const story = storyOf(plan, chance)
      const found = watermarksOf(plan, story).filter((_, n) => story[n]?.is === 'batch')
      assert.deepEqual(found, referenceWatermarks(eventTimes(plan), story), `story ${i} of seed ${testSeed}`)
    }
  })
})

function storyOf(plan: Plan, chance: Generated): Moment[] {
  const sources = Object.keys(plan.sources)
  let nowMs = chance.oneOf([0, -1000, 1e12])
  const story: Moment[] = [{ is: 'begins', nowMs }]
  for (let left = chance.whole(1, 12); left > 0; left--) {
    nowMs += chance.oneOf([0, 0, 1, 10, 60])
    if (chance.whole(0, 9) === 0) story.push({ is: 'begins', nowMs })
    const kind = chance.oneOf(['stream', 'stream', 'stream', 'reads', 'ends'] as const)
    const source = chance.oneOf(sources)
    const rows =
      kind === 'ends'
        ? []
        : Array.from({ length: chance.whole(0, 3) }, () => ({
            source,
            partition: String(chance.whole(0, 2)),
            timeUs: BigInt(nowMs + chance.whole(-100, 150)) * 1000n + BigInt(chance.oneOf([0, 0, 1, 999])),
          }))
    const partitions = sources.flatMap((from) => ['0', '1', '2'].map((partition) => ({ source: from, partition })))
    const lags = partitions
      .filter(() => chance.whole(0, 2) > 0)
      .map((partition) => ({ ...partition, rows: chance.oneOf([0, 0, 0, 5]) }))
    const heardOf = chance.oneOf([sources, sources, []])
    story.push({ is: 'batch', nowMs, rows, lags: lags.filter((each) => heardOf.includes(each.source)), heardOf, kind })
  }
  return story
}
