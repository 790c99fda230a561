import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { eventually } from '../../test/crash/process.ts'
import { rowFile } from '../../test/row-file.ts'
import { work } from '../../test/store-contract/world.ts'
import { MillraceError } from '../errors.ts'
import { arm } from '../failpoint.ts'
import { createLog } from '../log.ts'
import type { TopicRecord } from '../sources/topic/topic.ts'
import { memoryDatabase, openMemoryStore } from '../store/memory.ts'
import { outboxColumns, outboxEffect } from '../store/store.ts'
import { Publisher, type PublisherOptions, type PublisherState } from './publisher.ts'

/** A topic that takes what it is given, unless it is told otherwise. */
class Outlet {
  readonly taken: TopicRecord[] = []
  readonly closed: string[] = []
  refuses: MillraceError | undefined
  silent = false

  async openWriter(topic: string) {
    return {
      appendValues: async () => [],
      append: async (records: readonly TopicRecord[]) => {
        if (this.refuses !== undefined) throw this.refuses
        if (this.silent) return await new Promise<never>(() => {})
        this.taken.push(...records)
        return []
      },
      [Symbol.asyncDispose]: async () => void this.closed.push(topic),
    }
  }

  get ids(): string[] {
    return this.taken.map(({ headers }) => String(headers?.[0]?.[1]))
  }
}

async function bench(more: Partial<PublisherOptions> = {}) {
  const folder = await mkdtempDisposable(join(tmpdir(), 'millrace-publisher-'))
  const store = openMemoryStore(memoryDatabase(Date.now))
  const worker = await work(store)
  const outlet = new Outlet()
  const states: PublisherState[] = []
  let batch = 0
  const said: string[] = []
  const log = createLog('info', { write: (line: string) => void said.push(line) })
  return {
    store,
    outlet,
    states,
    said,
    open: async () =>
      await Publisher.open(
        {
          pipeline: 'shop',
          store,
          openWriter: (topic) => outlet.openWriter(topic),
          mostRows: 1000,
          patienceMs: 1000,
          log,
          onState: (state) => void states.push(state),
          ...more,
        },
        batch,
      ),
    commit: async (messages: number): Promise<number> => {
      const rows = Array.from({ length: messages }, (_, i) => ['out', 'made', String(i + 1), null, `{"n":${i + 1}}`])
      const file = await rowFile(folder.path, [...outboxColumns], rows)
      await worker.commit({ outbox: async () => (messages === 0 ? [] : [{ step: 'out', rows: file }]) })
      return ++batch
    },
    cursor: () => store.effectCursor('shop', outboxEffect),
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

async function done(publisher: Publisher): Promise<void> {
  await eventually(async () => publisher.isDone, { what: () => publisher.why })
}

test('what waited before it began is published first, and the cursor follows', async () => {
  await using b = await bench()
  await b.commit(2)
  await b.commit(0)
  await using publisher = await b.open()
  await done(publisher)
  publisher.committed(await b.commit(1), 1)
  await done(publisher)
  assert.deepEqual(b.outlet.ids, ['shop/1/out/1', 'shop/1/out/2', 'shop/3/out/1'])
  assert.deepEqual([await b.cursor(), await b.store.outboxRows('shop')], [3, 0])
  publisher.committed(await b.commit(0), 0)
  await done(publisher)
  assert.equal(await b.cursor(), 4)
})

test('many messages go page by page, in order', async () => {
  await using b = await bench()
  await b.commit(11_000)
  await using publisher = await b.open()
  await done(publisher)
  assert.deepEqual(
    b.outlet.ids,
    Array.from({ length: 11_000 }, (_, i) => `shop/1/out/${i + 1}`),
  )
})

test('a topic that takes nothing holds it up, visibly, and it goes on by itself', async () => {
  await using b = await bench({ mostRows: 3, patienceMs: 50 })
  b.outlet.refuses = new MillraceError('TOPIC_LOCKED', { message: 'mill:7 writes this topic', retry: true })
  await b.commit(2)
  await using publisher = await b.open()
  await eventually(async () => publisher.isStuck, { what: () => 'it is held up for long' })
  assert.deepEqual(b.states.at(-1), { is: 'held up', waiting: 2, why: 'TOPIC_LOCKED: mill:7 writes this topic' })
  assert.match(b.said.join(''), /publishing is held up.*mill:7 writes this topic/)
  assert.equal(publisher.isFull, false)
  publisher.committed(await b.commit(1), 1)
  assert.equal(publisher.isFull, true)
  assert.equal(publisher.why, '3 messages wait: TOPIC_LOCKED: mill:7 writes this topic')
  b.outlet.refuses = undefined
  await done(publisher)
  assert.deepEqual(b.outlet.ids, ['shop/1/out/1', 'shop/1/out/2', 'shop/2/out/1'])
  assert.deepEqual(b.states.at(-1), { is: 'working', waiting: 0 })
  assert.deepEqual([publisher.isFull, publisher.isStuck], [false, false])
})

test('one that ends while a topic is silent leaves what it does not take to the next', async () => {
  await using b = await bench()
  b.outlet.silent = true
  await b.commit(2)
  const publisher = await b.open()
  await publisher[Symbol.asyncDispose]()
  assert.deepEqual([b.outlet.ids, b.outlet.closed, await b.cursor()], [[], ['made'], 0])
  b.outlet.silent = false
  await using next = await b.open()
  await done(next)
  assert.deepEqual(b.outlet.ids, ['shop/1/out/1', 'shop/1/out/2'])
})

test('one that ends publishes first what is committed', async () => {
  await using b = await bench()
  const publisher = await b.open()
  publisher.committed(await b.commit(7000), 7000)
  await publisher[Symbol.asyncDispose]()
  assert.deepEqual([b.outlet.ids.length, b.outlet.closed, await b.cursor()], [7000, ['made'], 1])
})

for (const occurrence of [1, 2, 3]) {
  test(`a failure at its step ${occurrence} leaves nothing that seems to wait`, async () => {
    await using b = await bench({ mostRows: 2 })
    await b.commit(2)
    arm(`effect publish@${occurrence}=throw`)
    await using publisher = await b.open()
    assert.equal(publisher.isFull, true)
    await eventually(async () => publisher.isDone && b.states.at(-1)?.is === 'working', { what: () => publisher.why })
    assert.deepEqual([publisher.isFull, b.states.at(-1)], [false, { is: 'working', waiting: 0 }])
    const ids = ['shop/1/out/1', 'shop/1/out/2']
    assert.deepEqual(b.outlet.ids, occurrence === 2 ? [...ids, ...ids] : ids)
  })
}

test('messages that it finds before it is told of them are not counted twice', async () => {
  await using b = await bench({ mostRows: 2 })
  await using publisher = await b.open()
  await b.commit(1)
  await b.commit(2)
  publisher.committed(1, 1)
  await done(publisher)
  assert.equal(b.outlet.ids.length, 3)
  // the worker tells of a batch when it hears that it is committed
  publisher.committed(2, 2)
  await done(publisher)
  assert.deepEqual([publisher.isFull, b.states.at(-1)], [false, { is: 'working', waiting: 0 }])
})
