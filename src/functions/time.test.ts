import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { agree, evaluate, Generated, openTestDuckdb } from '../../test/duckdb.ts'
import { integer, text, timestamp } from '../plan/columns.ts'
import { truncateTo } from './time.ts'
import { microsecondsOf } from './timestamp-text.ts'
import { type Value, valueOf } from './value.ts'

const db = await openTestDuckdb()
after(() => db[Symbol.asyncDispose]())
const made = new Generated()
const moments = made.many(200, () => [made.timestamp()])
const ofMoment = (reference: (date: Date) => unknown) => (at: string) => reference(new Date(at))

test('a moment is truncated to the second, minute, hour and day before it, also before 1970', async () => {
  const sizes = { second: 1000, minute: 60_000, hour: 3_600_000, day: 86_400_000 }
  for (const [unit, sizeMs] of Object.entries(sizes)) {
    const truncated = (date: Date) => new Date(Math.floor(date.getTime() / sizeMs) * sizeMs).toISOString()
    await agree(db, 'truncateTo', [timestamp], moments, ofMoment(truncated), [{ literal: unit, type: text }])
  }
})

test('the parts of a moment are those of the calendar in UTC', async () => {
  await agree(
    db,
    'yearOf',
    [timestamp],
    moments,
    ofMoment((date) => date.getUTCFullYear()),
  )
  await agree(
    db,
    'monthOf',
    [timestamp],
    moments,
    ofMoment((date) => date.getUTCMonth() + 1),
  )
  await agree(
    db,
    'dayOf',
    [timestamp],
    moments,
    ofMoment((date) => date.getUTCDate()),
  )
  await agree(
    db,
    'hourOf',
    [timestamp],
    moments,
    ofMoment((date) => date.getUTCHours()),
  )
  await agree(
    db,
    'weekdayOf',
    [timestamp],
    moments,
    ofMoment((date) => date.getUTCDay() || 7),
  )
})

test('the time between two moments is rounded towards 0', async () => {
  const pairs = made.many(200, () => [made.timestamp(), made.timestamp()])
  const micros = (from: string, to: string) => (microsecondsOf(to) ?? 0n) - (microsecondsOf(from) ?? 0n)
  await agree(db, 'secondsBetween', [timestamp, timestamp], pairs, (a, b) => Number(micros(a, b) / 1_000_000n))
  await agree(db, 'millisecondsBetween', [timestamp, timestamp], pairs, (a, b) => Number(micros(a, b) / 1000n))
})

test('milliseconds since 1970 are those of Date, both ways', async () => {
  await agree(
    db,
    'toEpochMilliseconds',
    [timestamp],
    moments,
    ofMoment((date) => date.getTime()),
  )
  const counts = made.many(200, () => [made.oneOf([made.whole(-1e12, 3e12), made.integer()])])
  await agree(db, 'fromEpochMilliseconds', [integer], counts, (count) => inRange(Number(count)))
})

test('milliseconds are added up to the ends of the calendar, and beyond them give null', async () => {
  const rows = made.many(200, () => [
    made.timestamp().replace(/\.(\d{3})\d*Z/, '.$1Z'),
    made.oneOf([made.whole(-1e15, 1e15), made.integer()]),
  ])
  await agree(db, 'plusMilliseconds', [timestamp, integer], rows, (at, ms) => inRange(Date.parse(at) + Number(ms)))
})

test('the time zone of the session changes nothing', async () => {
  await db.run("set TimeZone = 'Asia/Kolkata'")
  const columns = [{ name: 'moment', type: timestamp, nullable: false }]
  const at = [{ column: 'moment' }]
  const rows = [['2026-01-31T20:10:00.000Z']]
  const day = { call: 'truncateTo', args: [...at, { literal: 'day', type: text }] }
  assert.deepEqual(await evaluate(db, day, columns, rows), ['2026-01-31T00:00:00.000Z'])
  assert.deepEqual(await evaluate(db, { call: 'hourOf', args: at }, columns, rows), [20])
  assert.deepEqual(await evaluate(db, { call: 'toText', args: at }, columns, rows), ['2026-01-31T20:10:00.000000Z'])
  await db.run("set TimeZone = 'UTC'")
})

test('a unit of time that is not there does not compile, and is refused at run time', () => {
  const at: Value<'timestamp'> = valueOf({ column: 'at' }, timestamp, false)
  // @ts-expect-error weeks begin on different days in different places
  assert.throws(() => truncateTo(at, 'week'), {
    code: 'WRONG_TYPE',
    message: 'argument 2 of truncateTo must be one of second, minute, hour, day, but is the constant "week" (text)',
  })
})

function inRange(milliseconds: number): string | null {
  if (milliseconds < -62_135_596_800_000 || milliseconds > 253_402_300_799_999) return null
  return new Date(milliseconds).toISOString()
}
