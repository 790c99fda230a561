/** Windows that are open for hundreds of batches: what a worker keeps of them is written anew every hundred. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { count, countDistinct, pipeline, table, text, timestamp, top, topic } from 'millrace'
import { testPipeline } from 'millrace/testing'
import { Generated } from './duckdb.ts'

const seconds = 1000
const [size, slide] = [60 * seconds, 10 * seconds]
const start = Date.parse('2026-01-01T00:00:00Z')

test('windows that are open for hundreds of batches count each user once, and every message', async () => {
  const columns = { room: text(), user: text(), at: timestamp() }
  const rooms = pipeline('rooms')
    .from(topic('messages', { columns, eventTime: { column: 'at', outOfOrder: '30 seconds' } }))
    .window({ size: '1 minute', slide: '10 seconds', by: 'room', emit: 'close' }, (row) => ({
      messages: count(),
      users: countDistinct(row.user),
      loudest: top(1, row.user),
    }))
    .into(table('rooms', { key: ['room', 'window_start'] }))
  const made = new Generated(7)
  const messages = Array.from({ length: 220 }, (_, n) => ({
    room: made.oneOf(['a', 'b']),
    user: `user ${made.whole(1, 9)}`,
    // no more than thirty seconds out of order
    at: new Date(start + n * seconds - made.whole(0, 29) * seconds).toISOString(),
  }))
  await using kit = await testPipeline(rooms)
  for (const first of [0, 110]) await kit.feed('messages', messages.slice(first, first + 110), { batches: 110 })
  await kit.close()
  const expected = new Map<string, { messages: number; times: Map<string, number> }>()
  for (const { room, user, at } of messages) {
    const last = Math.floor(Date.parse(at) / slide) * slide
    for (let from = last; from > last - size; from -= slide) {
      const key = `${room} ${new Date(from).toISOString()}`
      const window = expected.get(key) ?? { messages: 0, times: new Map() }
      expected.set(key, window)
      window.messages++
      window.times.set(user, (window.times.get(user) ?? 0) + 1)
    }
  }
  const told = kit.rows('rooms').map(({ room, window_start, messages, users, loudest }) => ({
    key: `${room} ${new Date(String(window_start)).toISOString()}`,
    messages: Number(messages),
    users: Number(users),
    loudest,
  }))
  const byKey = (a: { key: string }, b: { key: string }): number => (a.key < b.key ? -1 : 1)
  assert.deepEqual(
    told.toSorted(byKey),
    [...expected]
      .map(([key, { messages, times }]) => {
        const [loudest] = [...times].toSorted(([a, n], [b, m]) => m - n || (a < b ? -1 : 1))
        return { key, messages, users: times.size, loudest: [loudest?.[0]] }
      })
      .toSorted(byKey),
  )
})
