import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { MillraceError } from '../../src/errors.ts'
import { type Column, integer, text } from '../../src/plan/columns.ts'
import type { FilterStep, Plan, Step, TableStep } from '../../src/plan/plan.ts'
import type { Verdicts } from '../../src/store/store.ts'
import {
  amount,
  appended,
  batchOf,
  city,
  contents,
  id,
  inOrder,
  into,
  latestPerId,
  noBooks,
  oncePerId,
  planOf,
  request,
  type Scenario,
  sink,
  taken,
  work,
} from './world.ts'

const large: FilterStep = {
  id: 'large',
  op: 'filter',
  from: ['validate'],
  where: { column: 'paid' },
  columns: [id, city, amount],
}
const remark: Column = { name: 'remark', type: text, nullable: true }
const remarked: TableStep = { ...oncePerId, columns: [id, city, amount, remark] }
const topic: Step = { id: 'topic', op: 'topic', from: ['validate'], topic: 'orders', key: [], columns: [id, amount] }

export function registering(scenario: Scenario): void {
  describe('registering a plan', () => {
    scenario('makes the pipeline known, with nothing committed', async ({ store }) => {
      await store.register(planOf([oncePerId]))
      assert.deepEqual(await store.committed('shop'), { batch: 0, epoch: 0, positions: [], watermark: undefined })
      assert.deepEqual(
        (await store.status()).map(({ pipeline, owner, alive, batch }) => ({ pipeline, owner, alive, batch })),
        [{ pipeline: 'shop', owner: null, alive: false, batch: 0 }],
      )
    })

    scenario('makes its tables', async ({ store, rowsOf }) => {
      await store.register(planOf([oncePerId, sink({ is: 'append' }, 'journal')]))
      assert.deepEqual([await rowsOf('orders'), await rowsOf('journal')], [[], []])
    })

    const compatible: { says: string; after: Plan }[] = [
      { says: 'the same plan', after: planOf([large, oncePerId]) },
      { says: 'a plan that reads another folder', after: moved(planOf([large, oncePerId])) },
      { says: 'a plan with one table more', after: planOf([large, oncePerId, sink({ is: 'append' }, 'journal')]) },
      { says: 'a plan with one topic more', after: planOf([large, topic, oncePerId]) },
    ]
    for (const { says, after } of compatible) {
      scenario(`goes on with what is stored under ${says}`, async (world) => {
        const { store } = world
        await store.register(planOf([large, oncePerId]))
        await store.register(after)
        // and it is the new plan that the next one is compared with
        await store.register(after)
        assert.equal((await store.status()).length, 1)
        for (const step of after.steps) if (step.op === 'table') assert.deepEqual(await world.rowsOf(step.table), [])
      })
    }

    scenario('keeps the rows and the position of the pipeline', async (world) => {
      const worker = await work(world.store)
      await worker.commit({ sinks: [await into(world, oncePerId, [['a', 'Graz', '1']])] })
      await world.store.register(planOf([oncePerId, topic]))
      assert.equal((await world.store.committed('shop')).batch, 1)
      assert.deepEqual(await contents(world), [['a', 'Graz', '1']])
      await worker.commit({
        sinks: [
          await into(world, oncePerId, [
            ['a', 'Graz', '2'],
            ['b', null, '3'],
          ]),
        ],
      })
      assert.deepEqual(await contents(world), [
        ['a', 'Graz', '1'],
        ['b', null, '3'],
      ])
    })

    scenario('refuses a plan that means something else, says what, and stays with the old one', async ({ store }) => {
      await store.register(planOf([large, oncePerId]))
      await assert.rejects(
        store.register(planOf([{ ...large, where: { column: 'free' } }, oncePerId])),
        (error: Error) => {
          assert.ok(error instanceof MillraceError && error.code === 'PLAN_CHANGED' && !error.retry)
          assert.match(error.message, /step "large" has another "where"/)
          assert.match(String(error), /millrace reset shop/)
          return true
        },
      )
      await store.register(planOf([large, oncePerId]))
    })

    scenario('compares with the plan that was taken last', async ({ store }) => {
      await store.register(planOf([oncePerId]))
      await store.register(planOf([oncePerId, sink({ is: 'append' }, 'others')]))
      await assert.rejects(store.register(planOf([oncePerId])), { code: 'PLAN_CHANGED' })
    })

    const note: Column = { name: 'note', type: text, nullable: false }
    const differing: { says: string; step: TableStep }[] = [
      { says: 'lacks a column', step: sink({ is: 'append' }, 'orders', [id, city, amount, note]) },
      {
        says: 'has a column of another type',
        step: sink({ is: 'append' }, 'orders', [id, { ...city, type: integer }, amount]),
      },
      { says: 'must have a value that the plan does not bring', step: sink({ is: 'append' }, 'orders', [id, city]) },
      { says: 'has no unique key', step: oncePerId },
      { says: 'has no unique key to replace by', step: latestPerId },
    ]
    for (const { says, step } of differing) {
      scenario(`refuses a table that ${says}, and then knows no such pipeline`, async ({ store }) => {
        await store.register(planOf([appended]))
        await assert.rejects(store.register(planOf([step], 'other')), { code: 'TABLE_DIFFERS' })
        assert.deepEqual(
          (await store.status()).map(({ pipeline }) => pipeline),
          ['shop'],
        )
      })
    }

    scenario('gives its table a nullable column that the plan has gained, and keeps the rows', async (world) => {
      const before = await work(world.store)
      await before.commit({ sinks: [await into(world, oncePerId, [['a', 'Graz', '1']])] })
      await before.lease.release()
      await world.store.register(planOf([remarked]))
      const { lease } = await work(world.store, [remarked])
      assert.deepEqual(await world.rowsOf('orders'), [{ id: 'a', city: 'Graz', amount: '1', remark: null }])
      const rows = await into(world, remarked, [
        ['a', 'Linz', '2', 'again'],
        ['b', 'Linz', '2', 'new'],
      ])
      await world.store.commit(batchOf({ batch: 2, epoch: lease.epoch, sinks: [rows] }))
      // one whose plan does not have it goes on without
      const other = await work(world.store, [oncePerId], { pipeline: 'other' })
      await other.commit({ sinks: [await into(world, oncePerId, [['c', null, '3']])] })
      assert.deepEqual(inOrder(await world.rowsOf('orders')), [
        { id: 'a', city: 'Graz', amount: '1', remark: null },
        { id: 'b', city: 'Linz', amount: '2', remark: 'new' },
        { id: 'c', city: null, amount: '3', remark: null },
      ])
    })

    scenario('gives a table what two sinks of the plan have gained, each its own', async (world) => {
      const note: Column = { name: 'note', type: integer, nullable: true }
      await world.store.register(planOf([appended]))
      const notes: TableStep = { ...appended, id: 'notes', columns: [id, amount, note] }
      const remarks: TableStep = { ...appended, columns: [id, city, amount, remark] }
      await world.store.register(planOf([remarks, notes]))
      const { epoch } = taken(await world.store.lease(request('one:1')))
      const sinks = [
        await into(world, remarks, [['a', 'Graz', '1', 'good']]),
        await into(world, notes, [['b', '2', '7']]),
      ]
      await world.store.commit(batchOf({ batch: 1, epoch, sinks }))
      assert.deepEqual(inOrder(await world.rowsOf('orders')), [
        { id: 'a', city: 'Graz', amount: '1', remark: 'good', note: null },
        { id: 'b', city: null, amount: '2', remark: null, note: '7' },
      ])
    })

    scenario('changes no table for a plan that it refuses', async (world) => {
      const worker = await work(world.store)
      await worker.commit({ sinks: [await into(world, oncePerId, [['a', 'Graz', '1']])] })
      await assert.rejects(world.store.register(planOf([large, remarked])), { code: 'PLAN_CHANGED' })
      assert.deepEqual(await world.rowsOf('orders'), [{ id: 'a', city: 'Graz', amount: '1' }])
    })

    scenario('waits for no owner that was stopped in its commit, once its lease has run out', async (world) => {
      const stopped = await work(world.store)
      const stands = Promise.withResolvers<void>()
      const wakes = Promise.withResolvers<Verdicts>()
      const commit = stopped.commit({
        sinks: [await into(world, oncePerId, [['a', 'Graz', '1']])],
        books: async () => {
          stands.resolve()
          return await wakes.promise
        },
      })
      commit.catch(() => {})
      await stands.promise
      await using store = await world.again()
      // this process is not stopped, and so renews it
      const runsOut = setInterval(() => world.expire('shop').catch(() => {}), 100)
      await store.register(planOf([remarked])).finally(() => clearInterval(runsOut))
      await world.expire('shop')
      const successor = taken(await store.lease(request('two:2')))
      wakes.resolve({ ...noBooks, rowsIn: 1, written: 1 })
      await assert.rejects(commit, { code: 'LEASE_LOST' })
      const rows = await into(world, remarked, [['b', 'Linz', '2', 'new']])
      await store.commit(batchOf({ batch: 1, epoch: successor.epoch, sinks: [rows] }))
      assert.deepEqual(await world.rowsOf('orders'), [{ id: 'b', city: 'Linz', amount: '2', remark: 'new' }])
    })

    scenario('lets two pipelines write to one table', async (world) => {
      const one = await work(world.store, [oncePerId])
      const two = await work(world.store, [oncePerId], { pipeline: 'other' })
      await one.commit({ sinks: [await into(world, oncePerId, [['a', 'Graz', '1']])] })
      const { sinks } = await two.commit({
        sinks: [
          await into(world, oncePerId, [
            ['a', 'Linz', '2'],
            ['b', 'Linz', '2'],
          ]),
        ],
      })
      assert.deepEqual(sinks[0]?.duplicateOrdinals, [0])
      assert.deepEqual(await contents(world), [
        ['a', 'Graz', '1'],
        ['b', 'Linz', '2'],
      ])
    })

    scenario('comes before leasing', async ({ store }) => {
      await assert.rejects(store.lease(request('one:1')), { code: 'UNKNOWN_PIPELINE' })
      assert.deepEqual(await store.committed('shop'), { batch: 0, epoch: 0, positions: [], watermark: undefined })
    })
  })
}

function moved(plan: Plan): Plan {
  return {
    ...plan,
    sources: {
      files: {
        is: 'files',
        folder: 'elsewhere',
        format: { is: 'csv', delimiter: ',', quote: '"' },
        columns: [id, city, amount],
      },
    },
  }
}
