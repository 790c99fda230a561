import assert from 'node:assert/strict'
import { describe } from 'node:test'
import type { CommitOutcome, Store } from '../../src/store/store.ts'
import {
  batchOf,
  contents,
  into,
  noBooks,
  oncePerId,
  planOf,
  request,
  type Scenario,
  soon,
  taken,
  work,
} from './world.ts'

export function leases(scenario: Scenario): void {
  describe('a lease', () => {
    scenario('begins with epoch 1 and gets the next one each time it is taken', async ({ store }) => {
      await store.register(planOf([oncePerId]))
      for (const epoch of [1, 2, 3]) {
        const lease = taken(await store.lease(request('one:1')))
        assert.deepEqual([lease.pipeline, lease.epoch], ['shop', epoch])
        assert.equal((await store.committed('shop')).epoch, epoch)
        await lease.release()
      }
    })

    scenario('shows in the status, with its owner, until it is given back', async ({ store }) => {
      const { lease } = await work(store, [oncePerId], { owner: 'mill:17' })
      assert.partialDeepStrictEqual(await store.status(), [{ owner: 'mill:17', lentBy: null, epoch: 1, alive: true }])
      await lease.release()
      assert.partialDeepStrictEqual(await store.status(), [{ owner: null, lentBy: null, epoch: 1, alive: false }])
    })

    scenario('of a living owner is not taken, and the answer says whose it is', async ({ store, again }) => {
      await work(store, [oncePerId], { owner: 'mill:17' })
      await using second = await again()
      const answer = await second.lease(request('race:4'))
      assert.partialDeepStrictEqual(answer, { is: 'held', by: 'mill:17' })
      assert.ok(answer.is === 'held' && answer.expiresInMs > 0 && answer.expiresInMs <= 10_000, JSON.stringify(answer))
    })

    // In containers every worker may be process 1.
    scenario(
      'is held by a worker, not by a name: another worker of that name waits like any other',
      async ({ store, again }) => {
        const first = await work(store, [oncePerId], { owner: 'mill:1' })
        await using second = await again()
        assert.partialDeepStrictEqual(await second.lease(request('mill:1')), { is: 'held', by: 'mill:1' })
        await first.commit()
      },
    )

    scenario('is held against a second request of the same store too, and the first goes on', async (world) => {
      const first = await work(world.store, [oncePerId], { onLost: (why) => assert.fail(`it lost it: ${why}`) })
      for (const owner of ['one:1', 'two:2']) {
        assert.partialDeepStrictEqual(await world.store.lease(request(owner)), { is: 'held', by: 'one:1' })
      }
      await first.commit({ sinks: [await into(world, oncePerId, [['a', 'Graz', '1']])] })
      assert.partialDeepStrictEqual(await world.store.status(), [{ epoch: 1, alive: true }])
    })

    scenario('is held for each pipeline by itself', async ({ store, again }) => {
      await work(store)
      await using second = await again()
      const other = await work(second, [oncePerId], { pipeline: 'other', owner: 'race:4' })
      assert.equal(other.lease.epoch, 1)
      assert.deepEqual(
        (await store.status()).map(({ pipeline, owner }) => [pipeline, owner]),
        [
          ['other', 'race:4'],
          ['shop', 'one:1'],
        ],
      )
    })

    scenario('may be given back twice', async ({ store }) => {
      const { lease } = await work(store)
      await lease.release()
      await lease.release()
      assert.equal(taken(await store.lease(request('two:2'))).epoch, 2)
    })

    scenario('is free at once when its owner is gone', async ({ store, again }) => {
      const first = await again()
      await work(first)
      assert.partialDeepStrictEqual(await store.lease(request('two:2')), { is: 'held' })
      await first[Symbol.asyncDispose]()
      assert.equal(taken(await store.lease(request('two:2'))).epoch, 2)
    })
  })

  describe('a lease that ran out', () => {
    scenario('is taken with the next epoch, and its owner is told', async ({ store, again, expire }) => {
      const lost = Promise.withResolvers<string>()
      await work(store, [oncePerId], { onLost: lost.resolve })
      await expire('shop')
      await using second = await again()
      const lease = taken(await second.lease(request('two:2')))
      assert.equal(lease.epoch, 2)
      assert.partialDeepStrictEqual(await second.status(), [{ owner: 'two:2', epoch: 2, alive: true }])
      assert.ok((await soon(lost.promise, 'the owner is told')).length > 0)
    })

    scenario('is its owner’s still, but shows that nobody is there', async ({ store, expire }) => {
      const worker = await work(store)
      await expire('shop')
      assert.partialDeepStrictEqual(await store.status(), [{ owner: 'one:1', epoch: 1, alive: false }])
      // nobody has taken it: what the owner commits is right
      await worker.commit()
    })

    scenario('is worth nothing any more: a commit under it is refused, and nothing of it is there', async (world) => {
      const first = await work(world.store)
      await first.commit({ sinks: [await into(world, oncePerId, [['a', 'Graz', '1']])] })
      await world.expire('shop')
      await using store = await world.again()
      const second = await work(store, [oncePerId], { owner: 'two:2' })
      await assert.rejects(first.commit({ sinks: [await into(world, oncePerId, [['b', 'Graz', '1']])] }), {
        code: 'LEASE_LOST',
      })
      assert.deepEqual(await contents(world), [['a', 'Graz', '1']])
      assert.deepEqual(await store.committed('shop'), { batch: 1, epoch: 2, positions: [], watermark: undefined })
      await second.commit({ sinks: [await into(world, oncePerId, [['c', 'Graz', '1']])] })
      assert.deepEqual(await contents(world), [
        ['a', 'Graz', '1'],
        ['c', 'Graz', '1'],
      ])
      assert.deepEqual(
        (await store.ledger('shop', {})).map(({ batch, epoch }) => [batch, epoch]),
        [
          [1, 1],
          [2, 2],
        ],
      )
    })

    // A worker that was stopped before its commit wakes up after its successor has committed the same batch.
    scenario('is worth nothing to a batch that its successor has committed', async (world) => {
      const first = await work(world.store)
      await world.expire('shop')
      await using store = await world.again()
      const second = await work(store, [oncePerId], { owner: 'two:2' })
      const position = { source: 'files', partition: 'in', position: 7, watermark: undefined }
      await second.commit({
        batch: 1,
        sinks: [await into(world, oncePerId, [['a', 'Graz', '1']])],
        positions: [position],
      })
      await assert.rejects(
        first.commit({
          batch: 1,
          sinks: [await into(world, oncePerId, [['b', 'Graz', '1']])],
          positions: [{ ...position, position: 5 }],
        }),
        { code: 'LEASE_LOST' },
      )
      assert.deepEqual(await contents(world), [['a', 'Graz', '1']])
      assert.deepEqual(await store.committed('shop'), {
        batch: 1,
        epoch: 2,
        positions: [position],
        watermark: undefined,
      })
    })

    scenario('and was taken is not given back by the one who lost it', async ({ store, again, expire }) => {
      const { lease } = await work(store)
      await expire('shop')
      await using second = await again()
      taken(await second.lease(request('two:2')))
      await lease.release().catch(() => {})
      assert.partialDeepStrictEqual(await second.status(), [{ owner: 'two:2', alive: true }])
    })

    scenario(
      'is taken by its own store like any other, and giving back the old one leaves the new one',
      async (world) => {
        const lost = Promise.withResolvers<string>()
        const old = await work(world.store, [oncePerId], { onLost: lost.resolve })
        await world.expire('shop')
        const { lease } = await work(world.store)
        assert.equal(lease.epoch, 2)
        await soon(lost.promise, 'the owner is told')
        await old.lease.release()
        await world.store.commit(batchOf({ batch: 1, epoch: 2 }))
        assert.partialDeepStrictEqual(await world.store.status(), [{ epoch: 2, alive: true }])
      },
    )

    scenario('and was taken during a commit lets none of it through', async (world) => {
      const first = await work(world.store)
      await using store = await world.again()
      const commit = first.commit({
        sinks: [await into(world, oncePerId, [['b', 'Graz', '1']])],
        books: async () => {
          await world.expire('shop')
          taken(await store.lease(request('two:2')))
          return { ...noBooks, rowsIn: 1, written: 1 }
        },
      })
      await assert.rejects(commit, { code: 'LEASE_LOST' })
      assert.deepEqual(await contents(world), [])
      assert.deepEqual(await store.committed('shop'), { batch: 0, epoch: 2, positions: [], watermark: undefined })
    })
  })

  describe('a commit without the lease is refused', () => {
    scenario('before it was taken', async ({ store }) => {
      await store.register(planOf([oncePerId]))
      for (const epoch of [0, 1]) await assert.rejects(commitOf(store, epoch), { code: 'LEASE_LOST' })
    })

    scenario('after it was given back', async ({ store }) => {
      const worker = await work(store)
      await worker.commit()
      await worker.lease.release()
      await assert.rejects(worker.commit(), { code: 'LEASE_LOST' })
    })

    scenario('with the epoch of a lease that one had before', async ({ store }) => {
      const before = await work(store)
      await before.lease.release()
      const now = await work(store)
      await assert.rejects(before.commit(), { code: 'LEASE_LOST' })
      await now.commit()
    })

    scenario('with the epoch of another worker', async ({ store, again }) => {
      const worker = await work(store)
      await using second = await again()
      await assert.rejects(commitOf(second, worker.lease.epoch), { code: 'LEASE_LOST' })
      assert.equal((await store.committed('shop')).batch, 0)
    })
  })
}

async function commitOf(store: Store, epoch: number): Promise<CommitOutcome> {
  return await store.commit(batchOf({ batch: 1, epoch }))
}
