import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { arm, type Failpoint } from '../../src/failpoint.ts'
import type { BatchCommit, FileProgress, Store, Verdicts } from '../../src/store/store.ts'
import {
  contents,
  into,
  letterFile,
  letterOf,
  noBooks,
  oncePerId,
  request,
  type Scenario,
  sink,
  taken,
  type Worker,
  type World,
  work,
} from './world.ts'

const latest = sink({ is: 'upsert', key: ['id'] }, 'latest')
const sinks = [oncePerId, latest]

export function commits(scenario: Scenario): void {
  describe('a commit', () => {
    const points: Failpoint[] = ['before begin', 'after rows', 'after state', 'after positions', 'commit sent']
    for (const point of points) {
      scenario(`that fails at "${point}" leaves nothing, and can be made again`, async (world) => {
        const { worker, next } = await started(world)
        const before = await everything(world)
        arm(`${point}=throw`)
        await assert.rejects(worker.commit(next), { code: 'FAILPOINT' })
        assert.deepEqual(await everything(world), before)
        await worker.commit(next)
        await assertNext(world)
      })
    }

    scenario('whose outcome the worker does not learn is whole, and what is committed says so', async (world) => {
      const { worker, next } = await started(world)
      arm('commit acknowledged=throw')
      await assert.rejects(
        worker.commit(next),
        ({ code }: { code?: string }) => code === 'FAILPOINT' || code === 'COMMIT_UNKNOWN',
      )
      await assertNext(world)
      await using second = await world.again()
      const { batch, epoch, positions } = await second.committed('shop')
      assert.deepEqual([batch, epoch, positions[0]?.position], [2, worker.lease.epoch, 20])
      // trying it again blindly does not double it
      const whole = await everything(world)
      await assert.rejects(worker.commit({ ...next, batch: 2 }))
      assert.deepEqual(await everything(world), whole)
      await worker.commit({ batch: 3 })
      assert.equal((await second.committed('shop')).batch, 3)
    })

    scenario('whose books cannot be made leaves nothing', async (world) => {
      const { worker, next } = await started(world)
      const before = await everything(world)
      const books = () => Promise.reject(new TypeError('no books'))
      await assert.rejects(worker.commit({ ...next, books }), { name: 'TypeError' })
      assert.deepEqual(await everything(world), before)
    })

    scenario('of which the database refuses rows leaves nothing', async (world) => {
      const { worker, next } = await started(world)
      const before = await everything(world)
      const refused = await into(world, oncePerId, [
        ['x', null, '1'],
        ['y', null, null],
      ])
      await assert.rejects(worker.commit({ ...next, sinks: [refused] }), { name: 'RowsRefused' })
      assert.deepEqual(await everything(world), before)
    })

    scenario('is seen by others whole or not at all', async (world) => {
      const { worker, next } = await started(world)
      await using second = await world.again()
      const before = await everything(world, second)
      let during: unknown
      await worker.commit({
        ...next,
        books: async () => {
          during = await everything(world, second)
          return { rowsIn: 4, written: 2, filtered: 0, duplicates: 1, late: 0, dead: 1 }
        },
      })
      assert.deepEqual(during, before)
      await assertNext(world)
    })

    const unbalanced: { says: string; books: Verdicts }[] = [
      { says: 'do not add up', books: { ...noBooks, rowsIn: 3, written: 1, dead: 1 } },
      { says: 'have more verdicts than rows', books: { ...noBooks, rowsIn: 1, written: 1, late: 1 } },
      { says: 'add up only with a negative number', books: { ...noBooks, rowsIn: 1, written: 2, filtered: -1 } },
      { says: 'are negative altogether', books: { ...noBooks, rowsIn: -1, duplicates: -1 } },
    ]
    for (const { says, books } of unbalanced) {
      scenario(`whose books ${says} is refused, and leaves nothing`, async (world) => {
        const { worker, next } = await started(world)
        const before = await everything(world)
        await assert.rejects(worker.commit({ ...next, books: async () => books }))
        assert.deepEqual(await everything(world), before)
      })
    }

    scenario('counts every verdict', async ({ store }) => {
      const worker = await work(store)
      const books = { rowsIn: 31, written: 1, filtered: 2, duplicates: 4, late: 8, dead: 16 }
      const { verdicts } = await worker.commit({ books: async () => books })
      assert.deepEqual(verdicts, books)
      assert.partialDeepStrictEqual(await store.ledger('shop', {}), [books])
    })

    for (const [says, batch] of [
      ['is there already', 1],
      ['leaves a gap', 3],
      ['is not one', 0],
    ] as const) {
      scenario(`whose number ${says} is refused, and leaves nothing`, async (world) => {
        const { worker, next } = await started(world)
        const before = await everything(world)
        await assert.rejects(worker.commit({ ...next, batch }))
        assert.deepEqual(await everything(world), before)
        await worker.commit(next)
      })
    }

    scenario('of one pipeline is nothing to another', async (world) => {
      const one = await work(world.store)
      const two = await work(world.store, [oncePerId], { pipeline: 'other' })
      await one.commit({ positions: [{ source: 'files', partition: 'in', position: 1, watermark: 1 }] })
      await one.commit()
      assert.deepEqual(await world.store.committed('other'), {
        batch: 0,
        epoch: 1,
        positions: [],
        watermark: undefined,
      })
      await two.commit({ batch: 1 })
      assert.equal((await world.store.committed('shop')).batch, 2)
    })

    scenario('of another pipeline into the same table waits for it', async (world) => {
      const one = await work(world.store)
      await using second = await world.again()
      const two = await work(second, [oncePerId], { pipeline: 'other' })
      const rows = Array.from({ length: 50 }, (_, n) => [`k${n}`, null, String(n)])
      const [ones, twos] = [await into(world, oncePerId, rows), await into(world, oncePerId, rows)]
      let late: ReturnType<Worker['commit']> | undefined
      const early = await one.commit({
        sinks: [ones],
        books: async () => {
          late = two.commit({ sinks: [twos] })
          // time enough for a commit that does not wait
          for (let n = 0; n < 5; n++) await seen(world, world.store)
          return { ...noBooks, rowsIn: 50, written: 50 }
        },
      })
      const counts = [early, await late].map((landed) => [landed?.sinks[0]?.inserted, landed?.sinks[0]?.duplicates])
      assert.deepEqual(counts, [
        [50, 0],
        [0, 50],
      ])
      assert.equal((await contents(world)).length, 50)
    })

    scenario('reaches those who open the store later', async (world) => {
      const { worker, next } = await started(world)
      await worker.commit(next)
      await worker.lease.release()
      await using second = await world.again()
      assert.deepEqual(await everything(world, second), await everything(world))
      const lease = taken(await second.lease(request('two:2')))
      assert.equal(lease.epoch, worker.lease.epoch + 1)
    })
  })
}

const file: FileProgress = {
  source: 'files',
  id: 'claim-1',
  path: 'in/a.csv',
  size: 100,
  mtimeNs: 1n,
  inode: 2n,
  state: 'reading',
  bytesDone: 50,
  linesDone: 10,
  rowsDone: 9,
  arrivedAt: new Date('2026-01-01T00:00:00Z'),
}

/** A worker with one batch committed, and the next one, which changes something of every kind. */
async function started(world: World): Promise<{ worker: Worker; next: Partial<BatchCommit> }> {
  const worker = await work(world.store, sinks)
  await worker.commit({
    sinks: [await into(world, oncePerId, [['a', null, '1']]), await into(world, latest, [['a', null, '1']])],
    deadLetters: await letterFile(world, [letterOf({ raw: 'first' })]),
    dedupKeys: await world.file(['step', 'key'], [['dedup', 'a']]),
    files: [file],
    positions: [{ source: 'files', partition: 'in', position: 10, watermark: 1000 }],
  })
  const [letter] = await world.store.deadLetters({})
  return {
    worker,
    next: {
      kind: 'replay',
      sinks: [
        await into(world, oncePerId, [
          ['a', null, '7'],
          ['b', null, '2'],
        ]),
        await into(world, latest, [
          ['a', 'Graz', '2'],
          ['b', null, '2'],
        ]),
      ],
      deadLetters: await letterFile(world, [letterOf({ raw: 'second' })]),
      dedupKeys: await world.file(['step', 'key'], [['dedup', 'b']]),
      files: [{ ...file, state: 'done', bytesDone: 100, linesDone: 20, rowsDone: 19 }],
      positions: [{ source: 'files', partition: 'in', position: 20, watermark: 2000 }],
      filesQuarantined: 1,
      settles: letter ? [letter] : [],
      books: async () => ({ rowsIn: 4, written: 1, filtered: 0, duplicates: 1, late: 0, dead: 2 }),
    },
  }
}

async function assertNext(world: World): Promise<void> {
  assert.deepEqual(await contents(world), [
    ['a', null, '1'],
    ['b', null, '2'],
  ])
  assert.deepEqual(await contents(world, 'latest'), [
    ['a', 'Graz', '2'],
    ['b', null, '2'],
  ])
  const { batch, positions } = await world.store.committed('shop')
  assert.deepEqual([batch, positions], [2, [{ source: 'files', partition: 'in', position: 20, watermark: 2000 }]])
  assert.partialDeepStrictEqual(await world.store.ledger('shop', {}), [
    { batch: 1 },
    { batch: 2, rowsIn: 4, filesQuarantined: 1 },
  ])
  const letters = await world.store.deadLetters({ settled: true })
  assert.deepEqual(letters.map(({ raw, batch, settled }) => [raw, batch, settled]).toSorted(), [
    ['first', 1, 'replayed'],
    ['second', 2, null],
  ])
  assert.partialDeepStrictEqual(await world.store.filesOfBatch('shop', 2), [{ id: 'claim-1', state: 'done' }])
  assert.equal(await seen(world, world.store), 2)
}

/** All that can be seen of a store. */
async function everything(world: World, store: Store = world.store): Promise<unknown> {
  return {
    tables: [await contents(world), await contents(world, 'latest')],
    committed: await store.committed('shop'),
    ledger: await store.ledger('shop', {}),
    letters: await store.deadLetters({ settled: true }),
    files: [...(await store.files('shop', 'files', ['claim-1']))],
    ofBatch: [await store.filesOfBatch('shop', 1), await store.filesOfBatch('shop', 2)],
    seen: await seen(world, store),
    status: await store.status(),
  }
}

async function seen(world: World, store: Store): Promise<number> {
  const wanted = await world.file(['key'], [['a'], ['b']])
  return (await store.seenKeys('shop', 'dedup', wanted, `${world.folder}/seen.csv`)).rows
}
