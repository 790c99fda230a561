/** What a store keeps of messages that wait to be published. */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { arm } from '../../src/failpoint.ts'
import { type OutboxRows, outboxColumns, outboxEffect, type Store } from '../../src/store/store.ts'
import { noBooks, type Scenario, type Worker, type World, work } from './world.ts'

const start = { batch: 1, step: '', n: 0 }
const everything = { rows: 1000, bytes: 1_000_000 }

export function outbox(scenario: Scenario): void {
  describe('the outbox', () => {
    scenario('is empty before the first batch', async ({ store }) => {
      await work(store)
      assert.deepEqual(await store.outbox('shop', start, everything), { messages: [], more: false })
      assert.equal(await store.outboxRows('shop'), 0)
    })

    scenario('has the messages of each batch as they were written, and the ledger says how many', async (world) => {
      const worker = await work(world.store)
      const value = '{"a":"\\u0000, \\"x\\"\\n"}'
      const rows = await world.file([...outboxColumns], [['late', 'made', '1', '"k \\u0000"', value]])
      const { rowsOut } = await worker.commit({ outbox: async () => [{ step: 'late', rows }] })
      assert.deepEqual(rowsOut, { late: { inserted: 1, updated: 0, deleted: 0 } })
      assert.partialDeepStrictEqual(await world.store.ledger('shop', {}), [{ rowsOut }])
      assert.deepEqual(await world.store.outbox('shop', start, everything), {
        messages: [{ batch: 1, step: 'late', n: 1, topic: 'made', key: '"k \\u0000"', value }],
        more: false,
      })
    })

    scenario('is read in the order of batches, steps and numbers, from any place on', async (world) => {
      const worker = await work(world.store)
      await send(world, worker, ['z', 2], ['a', 11], ['a-b', 1])
      await send(world, worker, ['Z', 1])
      assert.deepEqual(await places(world.store), [...range('1 a', 1, 11), '1 a-b 1', '1 z 1', '1 z 2', '2 Z 1'])
      assert.deepEqual(await places(world.store, { batch: 1, step: 'a', n: 9 }), [
        '1 a 10',
        '1 a 11',
        '1 a-b 1',
        '1 z 1',
        '1 z 2',
        '2 Z 1',
      ])
      assert.deepEqual(await places(world.store, { batch: 2, step: '', n: 0 }), ['2 Z 1'])
    })

    scenario('is read by so many rows and bytes at most, but by one however large', async (world) => {
      const worker = await work(world.store)
      await send(world, worker, ['a', 5])
      const read = async (rows: number, bytes: number, n = 0) => {
        const { messages, more } = await world.store.outbox('shop', { batch: 1, step: 'a', n }, { rows, bytes })
        return [messages.map((message) => message.n), more]
      }
      // a message is `"1"` and `{"n":1}`: ten bytes
      assert.deepEqual(await read(2, 1000), [[1, 2], true])
      assert.deepEqual(await read(5, 1000), [[1, 2, 3, 4, 5], false])
      assert.deepEqual(await read(5, 1), [[1], true])
      assert.deepEqual(await read(5, 29), [[1, 2], true])
      assert.deepEqual(await read(5, 30), [[1, 2, 3], true])
      assert.deepEqual(await read(5, 1, 4), [[5], false])
      assert.deepEqual(await read(5, 1, 5), [[], false])
    })

    scenario('loses what is published and nothing else, and its cursor never moves back', async (world) => {
      const worker = await work(world.store)
      const other = await work(world.store, [], { pipeline: 'other' })
      await send(world, worker, ['a', 3], ['b', 1])
      await send(world, worker, ['a', 1])
      await send(world, other, ['a', 1])
      await world.store.forgetPublished('shop', { after: start, upTo: { batch: 1, step: 'a', n: 2 }, batchDone: 0 })
      assert.deepEqual(await places(world.store), ['1 a 3', '1 b 1', '2 a 1'])
      assert.equal(await world.store.effectCursor('shop', outboxEffect), 0)
      await world.store.forgetPublished('shop', { after: start, upTo: { batch: 1, step: 'b', n: 1 }, batchDone: 1 })
      await world.store.forgetPublished('shop', { after: start, upTo: { batch: 1, step: 'a', n: 1 }, batchDone: 0 })
      assert.equal(await world.store.effectCursor('shop', outboxEffect), 1)
      assert.deepEqual(await places(world.store), ['2 a 1'])
      assert.deepEqual([await world.store.outboxRows('shop'), await world.store.outboxRows('other')], [1, 1])
      const waiting = (await world.store.status()).map(({ pipeline, outboxRows }) => [pipeline, outboxRows])
      assert.deepEqual(waiting, [
        ['other', 1],
        ['shop', 1],
      ])
      await using again = await world.again()
      assert.deepEqual(await places(again), ['2 a 1'])
    })

    scenario('has nothing of a batch that is not committed', async (world) => {
      const worker = await work(world.store)
      await send(world, worker, ['a', 1])
      arm('commit sent=throw')
      await assert.rejects(send(world, worker, ['a', 2]), { code: 'FAILPOINT' })
      assert.deepEqual(await places(world.store), ['1 a 1'])
    })

    scenario('is asked for once the books are made, and told what each table took', async (world) => {
      const worker = await work(world.store)
      const calls: string[] = []
      await worker.commit({
        books: async () => {
          calls.push('books')
          return noBooks
        },
        outbox: async (outcomes) => {
          calls.push(`outbox ${outcomes.length}`)
          return []
        },
      })
      assert.deepEqual(calls, ['books', 'outbox 0'])
    })
  })
}

/** Commits a batch with so many messages of each step. */
async function send(world: World, worker: Worker, ...steps: [string, number][]): Promise<void> {
  const written: OutboxRows[] = []
  for (const [step, messages] of steps) {
    const rows = Array.from({ length: messages }, (_, i) => [
      step,
      'made',
      String(i + 1),
      `"${i + 1}"`,
      `{"n":${i + 1}}`,
    ])
    written.push({ step, rows: await world.file([...outboxColumns], rows) })
  }
  await worker.commit({ outbox: async () => written })
}

async function places(store: Store, after = start): Promise<string[]> {
  const { messages } = await store.outbox('shop', after, everything)
  return messages.map(({ batch, step, n }) => `${batch} ${step} ${n}`)
}

function range(before: string, from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, i) => `${before} ${from + i}`)
}
