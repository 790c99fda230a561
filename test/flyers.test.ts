/** Every line of what flyers promises of time spent, held against a computation over all events at once. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { generate } from '../pipelines/flyers/generate.ts'
import { flyers } from '../pipelines/flyers/pipeline.ts'
import { sampleRequest } from '../pipelines/sample-request.ts'
import { type TestPipeline, testPipeline } from '../src/testing/index.ts'

interface Event extends Record<string, unknown> {
  timestamp: string
  user_id: string
  event: string
  flyer_id: string
  merchant_id: string
}

const noon = Date.parse('2026-01-01T12:00:00Z')
const at = (minutes: number): string => new Date(noon + minutes * 60_000).toISOString()
const event = (minutes: number, name: string, more: Partial<Event> = {}): Event => ({
  timestamp: at(minutes),
  user_id: 'u',
  event: name,
  flyer_id: 'f',
  merchant_id: 'm',
  ...more,
})
const open = (minutes: number, more?: Partial<Event>): Event => event(minutes, 'flyer_open', more)
const close = (minutes: number, more?: Partial<Event>): Event => event(minutes, 'flyer_close', more)

const source = 'flyers.events'

/** The clock is past all that happens. */
const openFlyers = (settings: Record<string, string> = {}): Promise<TestPipeline> =>
  testPipeline(flyers, { now: '2026-02-01T00:00:00Z', settings })

function outcomes(flow: TestPipeline): string[] {
  return flow
    .rows('flyer_sessions')
    .map(({ outcome, opened_at, closed_at }) => `${outcome} ${short(opened_at)} ${short(closed_at)}`)
    .sort()
}

const short = (moment: unknown): string => (moment === null ? '-' : String(moment).slice(11, 16))

describe('pairs', () => {
  test('an open directly followed by a close is a session', async () => {
    await using flow = await openFlyers()
    await flow.feed(source, [open(0), close(10)])
    assert.deepEqual(outcomes(flow), ['paired 12:00 12:10'])
    assert.deepEqual(flow.rows('flyer_time_per_user'), [{ user_id: 'u', total_seconds: 600, sessions: 1 }])
  })

  test('a second open before a close replaces the first, and is counted', async () => {
    await using flow = await openFlyers()
    await flow.feed(source, [open(0), open(5), close(10)])
    assert.deepEqual(outcomes(flow), ['paired 12:05 12:10', 'replaced 12:00 -'])
  })

  test('a close without an open is counted', async () => {
    await using flow = await openFlyers()
    await flow.feed(source, [close(10), open(20), close(30), close(31)])
    assert.deepEqual(outcomes(flow), ['orphan - 12:10', 'orphan - 12:31', 'paired 12:20 12:30'])
    assert.deepEqual(
      flow.rows('merchant_flyer_daily').map(({ opens, sessions }) => [opens, sessions]),
      [[1, 1]],
    )
  })

  test('an open with no close within FLYERS_MAX_GAP has expired, and its close is an orphan', async () => {
    await using flow = await openFlyers({ FLYERS_MAX_GAP: '1 hour' })
    await flow.feed(source, [open(0), close(61), open(100), close(160)])
    assert.deepEqual(outcomes(flow), ['expired 12:00 -', 'orphan - 13:01', 'paired 13:40 14:40'])
  })

  test('an open that waits expires when event time has passed it, and is still matched if its close comes', async () => {
    await using flow = await openFlyers({ FLYERS_MAX_GAP: '1 hour' })
    await flow.feed(source, [open(0)])
    assert.deepEqual(outcomes(flow), ['open 12:00 -'])
    // somebody else moves event time on
    await flow.feed(source, [open(61, { user_id: 'v' })])
    assert.deepEqual(outcomes(flow), ['expired 12:00 -', 'open 13:01 -'])
    await flow.feed(source, [close(30)])
    assert.deepEqual(outcomes(flow), ['open 13:01 -', 'paired 12:00 12:30'])
  })

  test('flyers of a reader, and readers of a flyer, do not meet', async () => {
    await using flow = await openFlyers()
    await flow.feed(source, [open(0), close(1, { flyer_id: 'g' }), close(2, { user_id: 'v' }), close(3)])
    assert.deepEqual(outcomes(flow), ['orphan - 12:01', 'orphan - 12:02', 'paired 12:00 12:03'])
  })

  test('the same event again is one', async () => {
    await using flow = await openFlyers()
    await flow.feed(source, [open(0), open(0), close(10)])
    await flow.feed(source, [close(10)])
    assert.deepEqual(outcomes(flow), ['paired 12:00 12:10'])
    assert.equal(flow.books.duplicates, 2)
  })

  test('events at one instant: a close first when an open waits, else an open before its close', async () => {
    await using flow = await openFlyers()
    await flow.feed(source, [open(0), open(10), close(10), close(20), close(30), open(30)])
    assert.deepEqual(outcomes(flow), ['paired 12:00 12:10', 'paired 12:10 12:20', 'paired 12:30 12:30'])
  })

  test('an event older than FLYERS_LATENESS before the newest of its reader and flyer is late, and kept', async () => {
    await using flow = await openFlyers({ FLYERS_LATENESS: '10 minutes' })
    await flow.feed(source, [open(60)])
    await flow.feed(source, [open(49), open(50), open(0, { user_id: 'v' })])
    assert.deepEqual(outcomes(flow), ['open 12:00 -', 'open 13:00 -', 'replaced 12:50 -'])
    assert.equal(flow.books.late, 1)
    assert.deepEqual(
      flow.lateRows().map(({ windowStart, lateByMs }) => [windowStart, lateByMs]),
      [[null, 60_000]],
    )
  })
})

describe('what comes in', () => {
  test('other events are accepted and counted as filtered', async () => {
    await using flow = await openFlyers()
    await flow.feed(source, [event(0, 'shopping_list_open', { flyer_id: '' }), open(1), close(2)])
    assert.equal(flow.books.filtered, 1)
    assert.equal(flow.books.dead, 0)
  })

  test('bad events do not spoil good ones', async () => {
    await using flow = await openFlyers()
    const bad = [open(0, { flyer_id: '' }), open(0, { user_id: '' }), open(0, { timestamp: 'yesterday' })]
    await flow.feed(source, [...bad, open(1), close(2)])
    assert.deepEqual(
      flow
        .deadLetters()
        .map(({ code }) => code)
        .sort(),
      ['EMPTY', 'NOT_A_TIMESTAMP', 'NO_FLYER'],
    )
    assert.deepEqual(outcomes(flow), ['paired 12:01 12:02'])
  })

  test('times have any offset', async () => {
    await using flow = await openFlyers()
    await flow.feed(source, [open(0, { timestamp: '2026-01-01T14:00:00+02:00' }), close(10)])
    assert.deepEqual(outcomes(flow), ['paired 12:00 12:10'])
  })
})

describe('the report for merchants', () => {
  test('tells opens, readers, sessions, mean and median minutes and the share of expired opens, by day', async () => {
    await using flow = await openFlyers({ FLYERS_MAX_GAP: '1 hour' })
    const sessions = [1, 2, 9].flatMap((minutes, i) => [
      open(100 * i, { user_id: `u${i % 2}` }),
      close(100 * i + minutes, { user_id: `u${i % 2}` }),
    ])
    await flow.feed(source, [...sessions, open(300, { user_id: 'lost' }), open(1000, { user_id: 'next' })])
    assert.deepEqual(flow.rows('merchant_flyer_daily').sort(byDay), [
      {
        merchant_id: 'm',
        flyer_id: 'f',
        day: '2026-01-01T00:00:00Z',
        opens: 4,
        readers: 3,
        sessions: 3,
        mean_minutes: 4,
        median_minutes: 2,
        expired: 1,
        expired_share: 0.25,
      },
      {
        merchant_id: 'm',
        flyer_id: 'f',
        day: '2026-01-02T00:00:00Z',
        opens: 1,
        readers: 1,
        sessions: 0,
        mean_minutes: null,
        median_minutes: null,
        expired: 0,
        expired_share: 0,
      },
    ])
  })
})

const byDay = (a: Record<string, unknown>, b: Record<string, unknown>): number =>
  String(a['day']) < String(b['day']) ? -1 : 1

describe('FLYERS_COMPAT', () => {
  test('every event and the next of its reader and flyer, whatever they are, is a session, in whole seconds', async () => {
    await using flow = await openFlyers({ FLYERS_COMPAT: '1' })
    await flow.feed(source, [open(0), open(1.0551), close(2), close(3000)])
    assert.deepEqual(flow.rows('flyer_time_per_user'), [
      { user_id: 'u', total_seconds: 63 + 56 + 179_880, sessions: 3 },
    ])
  })
})

test('in whatever order events come, and however they are cut, the tables are those of all at once', async () => {
  const events: Event[] = []
  await generate(
    sampleRequest({
      count: 3000,
      durationSeconds: 20_000,
      seed: 7,
      options: { users: '40', flyers: '10', merchants: '3' },
      topic: () => ({
        append: async (messages) => {
          for (const { value } of messages) events.push(JSON.parse(String(value)) as Event)
        },
      }),
    }),
  )
  const expected = secondsPerUser(events)
  assert.ok(expected.length === 40, 'everybody has read something')
  for (const [order, parts] of [
    [events, 1],
    [events.toReversed(), 7],
    [events.toSorted((a, b) => (a.flyer_id < b.flyer_id ? -1 : 1)), 3],
  ] as const) {
    await using flow = await openFlyers()
    for (let part = 0; part < parts; part++) {
      await flow.feed(
        source,
        order.filter((_, i) => Math.floor((i * parts) / order.length) === part),
      )
    }
    const found = flow
      .rows('flyer_time_per_user')
      .map(({ user_id, total_seconds, sessions }) => `${user_id} ${Number(total_seconds).toFixed(3)} ${sessions}`)
    assert.deepEqual(found.sort(), expected)
    assert.equal(flow.books.late, 0)
  }
})

// Event by event, in the order of their times.
function secondsPerUser(events: Event[]): string[] {
  const totals = new Map<string, { ms: number; sessions: number }>()
  const ofFlyers = events.filter(({ event: name }) => name !== 'shopping_list_open')
  for (const own of Map.groupBy(ofFlyers, ({ user_id, flyer_id }) => `${user_id} ${flyer_id}`).values()) {
    let opened: Event | undefined
    for (const next of own.toSorted((a, b) => Date.parse(a.timestamp) - Date.parse(b.timestamp))) {
      if (next.event === 'flyer_close' && opened !== undefined) {
        const total = totals.get(next.user_id) ?? { ms: 0, sessions: 0 }
        totals.set(next.user_id, {
          ms: total.ms + Date.parse(next.timestamp) - Date.parse(opened.timestamp),
          sessions: total.sessions + 1,
        })
      }
      opened = next.event === 'flyer_open' ? next : undefined
    }
  }
  return [...totals].map(([user, { ms, sessions }]) => `${user} ${(ms / 1000).toFixed(3)} ${sessions}`).sort()
}
