import assert from 'node:assert/strict'
import { test } from 'node:test'
import { batchOf, planOf, request, taken } from '../../test/store-contract/world.ts'
import { storeContract } from '../../test/store-contract.ts'
import { memoryDatabase, openMemoryStore } from './memory.ts'

storeContract('memory', async () => {
  const database = memoryDatabase(Date.now)
  const store = openMemoryStore(database)
  return {
    store,
    rowsOf: async (table) => database.rowsOf(table),
    lateRows: async () =>
      database.lateRows.map((row) => ['step', 'place', 'late_by_ms', 'raw', 'batch'].map((name) => row[name] ?? null)),
    requests: async () =>
      [...database.pipelines.values()].flatMap(({ requests }) =>
        requests.map(({ task, key, batch }) => [task, key, batch]),
      ),
    again: async () => openMemoryStore(database),
    expire: async (pipeline) => database.expire(pipeline),
    close: async () => await store[Symbol.asyncDispose](),
  }
})

test('time comes from the clock it was given', async () => {
  let now = 1000
  const store = openMemoryStore(memoryDatabase(() => now))
  await store.register(planOf([]))
  taken(await store.lease(request('one:1')))
  const books = async () => {
    now = 1250
    return { rowsIn: 0, written: 0, filtered: 0, duplicates: 0, late: 0, dead: 0 }
  }
  const { committedAt } = await store.commit(batchOf({ batch: 1, books }))
  assert.equal(committedAt.getTime(), 1250)
  assert.partialDeepStrictEqual(await store.ledger('shop', {}), [{ committedAt, phasesMs: { land: 250 } }])
})

test('what was handed out or in changes nothing that is stored', async () => {
  const store = openMemoryStore(memoryDatabase(Date.now))
  const plan = planOf([])
  await store.register(plan)
  taken(await store.lease(request('one:1')))
  const position = { source: 'files', partition: 'in', position: 1, watermark: 1 }
  const ranges = [{ from: 0 }]
  await store.commit(batchOf({ batch: 1, positions: [position], ranges }))
  plan.steps.pop()
  position.position = 2
  ranges.push({ from: 2 })
  const handedOut = await store.committed('shop')
  for (const stored of handedOut.positions) stored.position = 3
  await store.register(planOf([]))
  assert.partialDeepStrictEqual((await store.committed('shop')).positions, [{ position: 1 }])
  assert.deepEqual((await store.ledger('shop', {}))[0]?.ranges, [{ from: 0 }])
})
