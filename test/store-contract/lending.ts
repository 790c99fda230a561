import assert from 'node:assert/strict'
import { describe } from 'node:test'
import type { LeaseAnswer } from '../../src/store/store.ts'
import { batchOf, oncePerId, request, type Scenario, soon, taken, type Worker, type World, work } from './world.ts'

const never = () => new AbortController().signal

export function lending(scenario: Scenario): void {
  describe('a lease that is borrowed', () => {
    scenario('is taken at once when it is free', async ({ store }) => {
      const { lease } = await work(store, [oncePerId], { borrow: true })
      assert.equal(lease.epoch, 1)
      assert.partialDeepStrictEqual(await store.status(), [{ owner: 'one:1', lentBy: null }])
    })

    scenario('says what its owner does, until it is given back', async ({ store }) => {
      const { lease } = await work(store, [oncePerId])
      const told = async (doing: string): Promise<void> => {
        for (let look = 0; (await store.status())[0]?.doing !== doing; look++) {
          assert.ok(look < 500, `nobody is told of "${doing}"`)
          await new Promise((next) => setTimeout(next, 20))
        }
      }
      lease.says('reading')
      await told('reading')
      lease.says('writing')
      await told('writing')
      await lease.release()
      assert.partialDeepStrictEqual(await store.status(), [{ owner: null, doing: null }])
    })

    // A replay may run inside the worker's own process.
    for (const borrower of ['run:2', 'one:1']) {
      scenario(`goes to the borrower ${borrower} with the next epoch, and comes back to one:1`, async (world) => {
        const { store } = world
        await using second = await world.again()
        const { owner, wantedBy, answer } = await wanting(world, second, borrower)
        assert.equal(await soon(wantedBy, 'the owner is told'), borrower)
        // the owner finishes the batch in hand
        await owner.commit()
        let back = false
        const lent = lend(owner)
        const cameBack = () => {
          back = true
        }
        lent.then(cameBack, cameBack)
        const borrowed = taken(await soon(answer, 'the borrower has the lease'))
        assert.equal(borrowed.epoch, 2)
        assert.partialDeepStrictEqual(await store.status(), [
          { owner: borrower, lentBy: 'one:1', epoch: 2, alive: true },
        ])
        assert.equal(back, false, 'the borrower has it still')
        await borrowed.release()
        await soon(lent, 'the lender may take it again')
        assert.partialDeepStrictEqual(await store.status(), [{ owner: null, lentBy: null, alive: false }])
        const again = taken(await store.lease(request('one:1')))
        assert.equal(again.epoch, 3)
        assert.partialDeepStrictEqual(await store.status(), [{ owner: 'one:1', lentBy: null, epoch: 3, alive: true }])
      })
    }

    scenario(
      'may go to a borrower of the same store, and the sessions of neither end those of the other',
      async (world) => {
        const { owner, wantedBy, answer } = await wanting(world, world.store, 'one:1')
        await soon(wantedBy, 'the owner is told')
        await owner.commit()
        const lent = lend(owner)
        const borrowed = taken(await soon(answer, 'the borrower has the lease'))
        await world.store.commit(batchOf({ batch: 2, epoch: borrowed.epoch, kind: 'replay' }))
        await owner.lease.release()
        await world.store.commit(batchOf({ batch: 3, epoch: borrowed.epoch, kind: 'replay' }))
        await borrowed.release()
        await soon(lent, 'the lender may take it again')
        await (await work(world.store)).commit()
      },
    )

    scenario('is the borrower’s to commit under, and no longer the lender’s', async (world) => {
      await using second = await world.again()
      const { owner, wantedBy, answer } = await wanting(world, second)
      await soon(wantedBy, 'the owner is told')
      await owner.commit()
      const lent = lend(owner)
      const borrowed = taken(await soon(answer, 'the borrower has the lease'))
      await assert.rejects(owner.commit(), { code: 'LEASE_LOST' })
      await second.commit(batchOf({ batch: 2, epoch: borrowed.epoch, kind: 'backfill' }))
      await borrowed.release()
      await soon(lent, 'the lender may take it again')
      const back = await work(world.store)
      await back.commit()
      assert.deepEqual(
        (await world.store.ledger('shop', {})).map(({ batch, epoch, kind }) => [batch, epoch, kind]),
        [
          [1, 1, 'stream'],
          [2, 2, 'backfill'],
          [3, 3, 'stream'],
        ],
      )
    })

    scenario('comes back when the borrower is gone', async (world) => {
      const second = await world.again()
      const { owner, wantedBy, answer } = await wanting(world, second)
      await soon(wantedBy, 'the owner is told')
      const lent = lend(owner)
      taken(await soon(answer, 'the borrower has the lease'))
      await second[Symbol.asyncDispose]()
      await soon(lent, 'the lender may take it again')
      assert.equal(taken(await world.store.lease(request('one:1'))).epoch, 3)
    })

    scenario('comes back when the borrower’s lease runs out', async (world) => {
      await using second = await world.again()
      const { owner, wantedBy, answer } = await wanting(world, second)
      await soon(wantedBy, 'the owner is told')
      const lent = lend(owner)
      taken(await soon(answer, 'the borrower has the lease'))
      await world.expire('shop')
      await soon(lent, 'the lender may take it again')
      assert.equal(taken(await world.store.lease(request('one:1'))).epoch, 3)
    })

    scenario('is not waited for by a lender that is to stop', async (world) => {
      await using second = await world.again()
      const { owner, wantedBy, answer } = await wanting(world, second)
      await soon(wantedBy, 'the owner is told')
      const stop = new AbortController()
      const lent = lend(owner, stop.signal)
      const borrowed = taken(await soon(answer, 'the borrower has the lease'))
      stop.abort()
      await soon(lent, 'the lender stops')
      assert.partialDeepStrictEqual(await second.status(), [{ owner: 'run:2', epoch: borrowed.epoch, alive: true }])
    })

    scenario('is lent by one who is to stop, too, and he does not wait for it', async (world) => {
      await using second = await world.again()
      const { owner, wantedBy, answer } = await wanting(world, second)
      await soon(wantedBy, 'the owner is told')
      const lent = lend(owner, AbortSignal.abort())
      taken(await soon(answer, 'the borrower has the lease'))
      await soon(lent, 'the lender stops')
    })

    scenario('is not lent by one who has lost it', async (world) => {
      const owner = await work(world.store)
      await world.expire('shop')
      await using second = await world.again()
      const { epoch } = taken(await second.lease(request('two:2')))
      await soon(lend(owner), 'the former owner goes on').catch(() => {})
      assert.partialDeepStrictEqual(await second.status(), [{ owner: 'two:2', lentBy: null, epoch, alive: true }])
    })

    scenario('is lent to nobody when nobody wants it, and may be taken again at once', async ({ store }) => {
      const { lease } = await work(store)
      await soon(lease.lend(never()), 'the lender may take it again')
      assert.equal(taken(await store.lease(request('one:1'))).epoch, 2)
    })
  })

  describe('a borrower that gives up', () => {
    scenario('is told who holds the lease', async (world) => {
      await using second = await world.again()
      const stop = new AbortController()
      const { wantedBy, answer } = await wanting(world, second, 'run:2', stop.signal)
      await soon(wantedBy, 'the owner is told')
      stop.abort()
      assert.partialDeepStrictEqual(await soon(answer, 'the borrower has its answer'), { is: 'held', by: 'one:1' })
    })

    scenario('before it began to wait has its answer at once', async ({ store, again }) => {
      await work(store)
      await using second = await again()
      const answer = second.lease(request('run:2', { borrow: true, signal: AbortSignal.abort() }))
      assert.partialDeepStrictEqual(await soon(answer, 'the borrower has its answer'), { is: 'held', by: 'one:1' })
    })

    scenario('is not waited for by the owner that would have lent', async (world) => {
      await using second = await world.again()
      const stop = new AbortController()
      const { owner, wantedBy, answer } = await wanting(world, second, 'run:2', stop.signal)
      await soon(wantedBy, 'the owner is told')
      stop.abort()
      await soon(answer, 'the borrower has its answer')
      await soon(owner.lease.lend(never()), 'the lender may take it again')
      assert.equal(taken(await world.store.lease(request('one:1'))).epoch, 2)
    })
  })
}

/** An owner at work, and a borrower that waits in another opening. */
async function wanting(
  world: World,
  second: World['store'],
  borrower = 'run:2',
  signal: AbortSignal = never(),
): Promise<{ owner: Worker; wantedBy: Promise<string>; answer: Promise<LeaseAnswer> }> {
  const wanted = Promise.withResolvers<string>()
  const owner = await work(world.store, [oncePerId], { onWanted: wanted.resolve })
  const answer = second.lease(request(borrower, { borrow: true, signal }))
  // a scenario that fails earlier is told of by its own error
  answer.catch(() => {})
  return { owner, wantedBy: wanted.promise, answer }
}

// A scenario that fails before the lease is back is told of by its own error.
function lend(owner: Worker, signal: AbortSignal = never()): Promise<void> {
  const back = owner.lease.lend(signal)
  back.catch(() => {})
  return back
}
