import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type TestDatabase, testDatabase } from '../../test/postgres.ts'
import { sampleRequest } from '../sample-request.ts'
import { generator } from './generate.ts'

const eventTypes = ['add_to_cart', 'purchase', 'view']

interface Event {
  event_id: string
  user_id: string
  event_type: string
  product_id: string
  price: string
  event_timestamp: string
}

type Client = Awaited<ReturnType<TestDatabase['connect']>>

describe('the views of shop-events', () => {
  let database: TestDatabase
  let client: Client
  let events: Event[]

  before(async () => {
    database = await testDatabase()
    client = await database.connect()
    // Half an hour beside UTC, and not the schema of most people: neither may show in a view.
    await client.query(`set time zone 'Asia/Kolkata'`)
    await client.query('create schema shop')
    await client.query('set search_path = shop')
    await client.query(await readFile(new URL('./migrations/0001_user_events.sql', import.meta.url), 'utf8'))
  })

  after(async () => {
    await database[Symbol.asyncDispose]()
  })

  test('have the columns of the contract, and answer for an empty table', async () => {
    const views: Record<string, string[]> = {
      v_event_summary: ['event_type', 'events', 'users', 'revenue', 'avg_price', 'first_event', 'last_event'],
      v_hourly_events: ['hour', 'event_type', 'events', 'users', 'revenue'],
      v_purchase_funnel: ['viewers', 'carts', 'buyers', 'cart_rate', 'purchase_rate'],
      v_top_products: ['product_id', 'purchases', 'revenue', 'buyers'],
      v_recent_activity: [
        'id',
        'event_id',
        'user_id',
        'event_type',
        'product_id',
        'price',
        'event_timestamp',
        'created_at',
      ],
    }
    for (const [view, columns] of Object.entries(views)) {
      const { fields, rows } = await client.query(`select * from ${view}`)
      assert.deepEqual(
        fields.map((field) => field.name),
        columns,
      )
      const nobody = { viewers: 0, carts: 0, buyers: 0, cart_rate: null, purchase_rate: null }
      assert.deepEqual(rows, view === 'v_purchase_funnel' ? [nobody] : [])
    }
  })

  test('refuse nothing that is good: the generated events are landed', async () => {
    events = await generatedEvents(4_000)
    // The newest of all at the same moment: the one landed later is the newer.
    for (const [i, event] of events.slice(0, 3).entries()) {
      events.push({ ...event, event_id: `tie ${i}`, event_timestamp: '2026-01-02T00:00:00.000Z' })
    }
    // Two products of the same revenue, the later name bought first.
    for (const product_id of ['tie b', 'tie a']) {
      const time = '2026-01-01T12:00:00.000Z'
      const bought = { user_id: 'tie', event_type: 'purchase', price: '7.00', event_timestamp: time }
      events.push({ event_id: product_id, product_id, ...bought })
    }
    // Landed in another order than they happened.
    const landed = events.slice(0, 4_000).reverse().concat(events.slice(4_000))
    await client.query(
      `insert into user_events (event_id, user_id, event_type, product_id, price, event_timestamp)
      select e.*
      from json_to_recordset($1) as e(
        event_id varchar, user_id varchar, event_type varchar,
        product_id varchar, price numeric, event_timestamp timestamptz
      )`,
      [JSON.stringify(landed)],
    )
    await client.query('analyze user_events')
  })

  test('v_event_summary counts events, users and prices of each type', async () => {
    const expected = eventTypes.map((type) => {
      const ofType = events.filter((event) => event.event_type === type)
      const times = ofType.map((event) => Date.parse(event.event_timestamp))
      return {
        event_type: type,
        events: ofType.length,
        users: usersOf(ofType),
        revenue: revenueOf(ofType),
        avg_price: fraction(cents(ofType), 100 * ofType.length, 2),
        first_event: new Date(Math.min(...times)),
        last_event: new Date(Math.max(...times)),
      }
    })
    const { rows } = await client.query('select * from v_event_summary order by event_type')
    assert.deepEqual(rows, expected)
  })

  test('v_hourly_events does so by the hour of UTC', async () => {
    const hourOf = (event: Event) => `${event.event_timestamp.slice(0, 13)}:00:00.000Z`
    const groups = Map.groupBy(events, (event) => `${hourOf(event)} ${event.event_type}`)
    const expected = [...groups]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, group]) => {
        const [hour = '', type] = key.split(' ')
        return {
          hour: new Date(hour),
          event_type: type,
          events: group.length,
          users: usersOf(group),
          revenue: revenueOf(group),
        }
      })
    assert.ok(expected.length > 60, 'the events spread over a day')
    const { rows } = await client.query('select * from v_hourly_events order by hour, event_type')
    assert.deepEqual(rows, expected)
  })

  test('v_purchase_funnel counts the users who came so far', async () => {
    const [carts = 0, buyers = 0, viewers = 0] = eventTypes.map((type) =>
      usersOf(events.filter((event) => event.event_type === type)),
    )
    assert.ok(viewers > carts && carts > buyers && buyers > 0)
    const { rows } = await client.query('select * from v_purchase_funnel')
    const cart_rate = fraction(carts, viewers, 4)
    assert.deepEqual(rows, [{ viewers, carts, buyers, cart_rate, purchase_rate: fraction(buyers, carts, 4) }])
  })

  test('v_top_products is ordered by revenue, then product', async () => {
    const purchases = events.filter((event) => event.event_type === 'purchase')
    const products = Map.groupBy(purchases, (event) => event.product_id)
    const expected = [...products]
      .map(([product_id, sold]) => ({
        product_id,
        purchases: sold.length,
        revenue: revenueOf(sold),
        buyers: usersOf(sold),
      }))
      .sort((a, b) => Number(b.revenue) - Number(a.revenue) || (a.product_id < b.product_id ? -1 : 1))
    const { rows } = await client.query('select * from v_top_products')
    assert.deepEqual(rows, expected)
  })

  test('v_recent_activity is the latest 100 by event time, read from an index', async () => {
    const { rows } = await client.query('select event_id from v_recent_activity')
    const expected = events
      .map((event, i) => ({ ...event, i }))
      .sort((a, b) => Date.parse(b.event_timestamp) - Date.parse(a.event_timestamp) || b.i - a.i)
      .slice(0, 100)
    assert.deepEqual(
      rows.map((row) => row.event_id),
      expected.map((event) => event.event_id),
    )
    assert.equal(rows[0].event_id, 'tie 2')
    const plan = await client.query('explain select * from v_recent_activity')
    assert.match(JSON.stringify(plan.rows), /user_events_event_timestamp/)
  })
})

test('the table refuses what the pipeline should have', async () => {
  await using database = await testDatabase()
  const client = await database.connect()
  await client.query(await readFile(new URL('./migrations/0001_user_events.sql', import.meta.url), 'utf8'))
  const good = {
    event_id: 'e1',
    user_id: 'u1',
    event_type: 'view',
    product_id: 'p1',
    price: '0.00',
    event_timestamp: '2026-01-01T00:00:00Z',
  }
  const insert = (event: Event) =>
    client.query(
      `insert into user_events (event_id, user_id, event_type, product_id, price, event_timestamp)
      values ($1, $2, $3, $4, $5, $6)`,
      Object.values(event),
    )
  await insert(good)
  const cases: [Partial<Event>, code: string][] = [
    [{}, '23505'],
    [{ event_id: '' }, '23514'],
    [{ event_id: 'e2', user_id: '' }, '23514'],
    [{ event_id: 'e2', product_id: '' }, '23514'],
    [{ event_id: 'e2', event_type: 'refund' }, '23514'],
    [{ event_id: 'e2', price: '-0.01' }, '23514'],
    [{ event_id: 'e2', price: 'NaN' }, '23514'],
    [{ event_id: 'e2', price: '10000000000' }, '22003'],
  ]
  for (const [change, code] of cases)
    await assert.rejects(insert({ ...good, ...change }), { code }, JSON.stringify(change))
})

async function generatedEvents(count: number): Promise<Event[]> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-views-'))
  const to = join(folder, 'events.csv')
  try {
    // one every 20 s, so that they spread over 22 hours
    await generator.run(sampleRequest({ eventsPerSecond: 0.05, count, to }))
    const [, ...lines] = (await readFile(to, 'utf8')).trimEnd().split('\n')
    return lines.map((line) => {
      const [event_id = '', user_id = '', event_type = '', product_id = '', price = '', event_timestamp = ''] =
        line.split(',')
      return { event_id, user_id, event_type, product_id, price, event_timestamp }
    })
  } finally {
    await rm(folder, { recursive: true })
  }
}

function usersOf(events: Event[]): number {
  return new Set(events.map((event) => event.user_id)).size
}

function cents(events: Event[]): number {
  return events.reduce((sum, event) => sum + Math.round(Number(event.price) * 100), 0)
}

function revenueOf(events: Event[]): string {
  return (cents(events.filter((event) => event.event_type === 'purchase')) / 100).toFixed(2)
}

/** The quotient rounded as Postgres rounds a numeric: half away from zero, in whole numbers. */
function fraction(numerator: number, denominator: number, digits: number): string {
  const scaled = Math.floor((2 * numerator * 10 ** digits + denominator) / (2 * denominator))
  return (scaled / 10 ** digits).toFixed(digits)
}
