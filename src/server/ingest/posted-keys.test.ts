import assert from 'node:assert/strict'
import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { memoryTopics } from '../../sources/topic/memory.ts'
import { headersOf, PostedKeys } from './posted-keys.ts'

const day = 24 * 60 * 60 * 1000
const now = 10 * day

async function world() {
  const room = await mkdtempDisposable(join(tmpdir(), 'millrace-keys-'))
  const topics = memoryTopics(() => now)
  const put = (key: string, of: { hash?: string; events: number; there?: number; timestampMs?: number }) => {
    const headers = headersOf({ key, hash: of.hash ?? 'h', events: of.events })
    const record = { value: Buffer.from('{}'), headers, timestampMs: of.timestampMs ?? now }
    return topics.put(
      'events',
      0,
      Array.from({ length: of.there ?? of.events }, () => record),
    )
  }
  const path = join(room.path, 'events.keys')
  return {
    topics,
    put,
    path,
    /** Opens the index, brings it up to date, and asks it. */
    async find(key: string, from: 'first' | 'end' = 'first') {
      using keys = new PostedKeys(path)
      await keys.catchUp(await topics.openReader('events'), from, now - day)
      return keys.find(key, now - day)
    },
    [Symbol.asyncDispose]: () => room[Symbol.asyncDispose](),
  }
}

test('an index knows the requests of the records, also those that came after it was last brought up to date', async () => {
  await using it = await world()
  it.topics.make('events', 1)
  it.put('a', { events: 3 })
  assert.deepEqual((await it.find('a'))?.ranges, [{ partition: 0, first: 0, end: 3 }])
  it.topics.put('events', 0, [{ value: Buffer.from('{}') }])
  it.put('b', { events: 2 })
  assert.deepEqual((await it.find('b'))?.ranges, [{ partition: 0, first: 4, end: 6 }])
  assert.deepEqual((await it.find('a'))?.ranges, [{ partition: 0, first: 0, end: 3 }])
  assert.equal(await it.find('c'), undefined)
})

test('the rest of a request that was there in part is added to what was known of it', async () => {
  await using it = await world()
  it.topics.make('events', 1)
  it.put('a', { events: 3, there: 1 })
  assert.deepEqual((await it.find('a'))?.ranges, [{ partition: 0, first: 0, end: 1 }])
  it.put('b', { events: 1 })
  it.put('a', { events: 3, there: 2 })
  assert.deepEqual((await it.find('a'))?.ranges, [
    { partition: 0, first: 0, end: 1 },
    { partition: 0, first: 2, end: 4 },
  ])
})

test('a key is forgotten after a day, and may come with another request then', async () => {
  await using it = await world()
  it.topics.make('events', 1)
  it.put('old', { events: 1, timestampMs: now - day - 1 })
  it.put('again', { events: 1, hash: 'first', timestampMs: now - day - 1 })
  it.put('again', { events: 1, hash: 'second' })
  assert.equal(await it.find('old'), undefined)
  assert.partialDeepStrictEqual(await it.find('again'), {
    hash: 'second',
    ranges: [{ partition: 0, first: 2, end: 3 }],
  })
})

test('a topic that it begins to know at its end is known from there on, and a partition that comes later as a whole', async () => {
  await using it = await world()
  assert.equal(await it.find('a', 'end'), undefined)
  it.topics.make('events', 1)
  it.put('a', { events: 1 })
  assert.deepEqual((await it.find('a', 'end'))?.ranges, [{ partition: 0, first: 0, end: 1 }])

  await using other = await world()
  other.topics.make('events', 1)
  other.put('a', { events: 1 })
  assert.equal(await other.find('a', 'end'), undefined)
  other.put('b', { events: 1 })
  assert.deepEqual((await other.find('b', 'end'))?.ranges, [{ partition: 0, first: 1, end: 2 }])
})

test('a topic that was made anew has none of the keys of the old one', async () => {
  await using it = await world()
  it.topics.make('events', 1)
  it.put('a', { events: 3 })
  assert.notEqual(await it.find('a'), undefined)
  const anew = await world()
  anew.topics.make('events', 1)
  anew.put('b', { events: 1 })
  using keys = new PostedKeys(it.path)
  await keys.catchUp(await anew.topics.openReader('events'), 'first', now - day)
  assert.equal(keys.find('a', now - day), undefined)
  assert.deepEqual(keys.find('b', now - day)?.ranges, [{ partition: 0, first: 0, end: 1 }])
  await anew[Symbol.asyncDispose]()
})

test('an index that was spoilt is made anew from the records', async () => {
  await using it = await world()
  it.topics.make('events', 1)
  it.put('a', { events: 1 })
  await writeFile(it.path, 'this is no database, and it is long enough to be taken for one at first sight '.repeat(20))
  assert.deepEqual((await it.find('a'))?.ranges, [{ partition: 0, first: 0, end: 1 }])
})
