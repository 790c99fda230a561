import assert from 'node:assert/strict'
import { describe } from 'node:test'
import type { TableStep } from '../../src/plan/plan.ts'
import {
  appended,
  contents,
  freshInto,
  inOrder,
  into,
  latestPerId,
  oncePerId,
  ordered,
  outcome,
  type Scenario,
  sink,
  work,
} from './world.ts'

const everyMode = [
  sink({ is: 'append' }, 'appended'),
  sink({ is: 'insert if new', key: ['id'] }, 'once'),
  sink({ is: 'upsert', key: ['id'] }, 'latest'),
]

export function tables(scenario: Scenario): void {
  describe('rows come into a table', () => {
    scenario('as they are, whatever their texts', async (world) => {
      const texts = [
        '',
        ' ',
        ',',
        '"',
        '""',
        'a"b',
        'a\nb',
        'a\r\nb',
        '\r',
        '\\',
        '\\.',
        '\\N',
        '\t',
        'null',
        'NULL',
        "';--",
        'é',
        '🐎',
        '{}',
      ]
      const rows = [...texts.map((text, n) => [`k${n}`, text, String(n)]), ['none', null, '-1']]
      for (const step of everyMode) {
        const worker = await work(world.store, [step], { pipeline: step.id })
        await worker.commit({ sinks: [await into(world, step, rows)] })
        assert.deepEqual(await contents(world, step.table), inOrder(rows))
      }
    })

    scenario('by the file’s columns, in whatever order they are', async (world) => {
      const worker = await work(world.store)
      const file = await world.file(['amount', 'id', 'city'], [['1', 'a', 'Graz']])
      await worker.commit({ sinks: [await into(world, oncePerId, [], { rows: file })] })
      assert.deepEqual(await contents(world), [['a', 'Graz', '1']])
    })

    scenario('appended, however often they are there', async (world) => {
      const worker = await work(world.store, [appended])
      const rows = [
        ['a', 'Graz', '1'],
        ['a', 'Graz', '1'],
      ]
      for (const _ of [1, 2]) {
        const { sinks, rowsOut } = await worker.commit({ sinks: [await into(world, appended, rows)] })
        assert.deepEqual(sinks, [outcome({ inserted: 2 })])
        assert.deepEqual(rowsOut, { orders: { inserted: 2, updated: 0, deleted: 0 } })
      }
      assert.equal((await contents(world)).length, 4)
    })

    scenario('none at all, when there are none', async (world) => {
      for (const step of everyMode) {
        const worker = await work(world.store, [step], { pipeline: step.id })
        const { sinks, rowsOut } = await worker.commit({ sinks: [await into(world, step, [])] })
        assert.deepEqual(sinks, [outcome({ step: step.id })])
        assert.deepEqual(rowsOut, { [step.id]: { inserted: 0, updated: 0, deleted: 0 } })
      }
    })

    scenario('of several sinks in one commit, each with its own outcome', async (world) => {
      const journal = sink({ is: 'append' }, 'journal')
      const worker = await work(world.store, [oncePerId, journal])
      const rows = [
        ['a', 'Graz', '1'],
        ['b', 'Linz', '2'],
      ]
      await worker.commit({ sinks: [await into(world, oncePerId, rows), await into(world, journal, rows)] })
      const { sinks, rowsOut } = await worker.commit({
        sinks: [await into(world, oncePerId, [...rows, ['c', null, '3']]), await into(world, journal, rows)],
      })
      assert.deepEqual(sinks, [
        outcome({ inserted: 1, duplicates: 2, duplicateOrdinals: [0, 1] }),
        outcome({ step: 'journal', inserted: 2 }),
      ])
      assert.deepEqual(rowsOut, {
        orders: { inserted: 1, updated: 0, deleted: 0 },
        journal: { inserted: 2, updated: 0, deleted: 0 },
      })
      assert.deepEqual([(await contents(world)).length, (await contents(world, 'journal')).length], [3, 4])
    })

    scenario('of two sinks, each knowing what the other brought', async (world) => {
      const step = (id: string): TableStep => ({ ...oncePerId, id })
      const worker = await work(world.store, [step('web'), step('shop')])
      const { sinks } = await worker.commit({
        sinks: [
          await into(world, step('web'), [
            ['a', 'web', '1'],
            ['b', 'web', '2'],
          ]),
          await into(world, step('shop'), [
            ['b', 'shop', '3'],
            ['c', 'shop', '4'],
          ]),
        ],
      })
      assert.deepEqual(sinks, [
        outcome({ step: 'web', inserted: 2 }),
        outcome({ step: 'shop', inserted: 1, duplicates: 1, duplicateOrdinals: [0] }),
      ])
      assert.deepEqual(await contents(world), [
        ['a', 'web', '1'],
        ['b', 'web', '2'],
        ['c', 'shop', '4'],
      ])
    })
  })

  describe('insert if new', () => {
    scenario('keeps the first row of a key, in the same file and over all batches', async (world) => {
      const worker = await work(world.store)
      const first = await worker.commit({
        sinks: [
          await into(world, oncePerId, [
            ['a', '1st', '1'],
            ['b', '2nd', '2'],
            ['a', '3rd', '3'],
            ['a', '4th', '4'],
            ['b', '5th', '5'],
          ]),
        ],
      })
      assert.deepEqual(first.sinks, [outcome({ inserted: 2, duplicates: 3, duplicateOrdinals: [2, 3, 4] })])
      assert.deepEqual(first.verdicts, { rowsIn: 5, written: 2, filtered: 0, duplicates: 3, late: 0, dead: 0 })
      const second = await worker.commit({
        sinks: [
          await into(world, oncePerId, [
            ['b', '6th', '6'],
            ['c', '7th', '7'],
            ['c', '8th', '8'],
            ['a', '9th', '9'],
          ]),
        ],
      })
      assert.deepEqual(second.sinks, [outcome({ inserted: 1, duplicates: 3, duplicateOrdinals: [0, 2, 3] })])
      assert.deepEqual(second.rowsOut, { orders: { inserted: 1, updated: 0, deleted: 0 } })
      assert.deepEqual(await contents(world), [
        ['a', '1st', '1'],
        ['b', '2nd', '2'],
        ['c', '7th', '7'],
      ])
    })

    scenario('says how many duplicates there were, and only when asked which', async (world) => {
      const worker = await work(world.store)
      const rows = [
        ['a', null, '1'],
        ['b', null, '2'],
      ]
      await worker.commit({ sinks: [await into(world, oncePerId, rows, { ordinals: false })] })
      for (const ordinals of [false, true, false, true]) {
        const { sinks } = await worker.commit({ sinks: [await into(world, oncePerId, rows, { ordinals })] })
        assert.deepEqual(sinks, [outcome({ duplicates: 2, duplicateOrdinals: ordinals ? [0, 1] : [] })])
      }
    })

    scenario('knows a key of several columns, and one with a null in it', async (world) => {
      const step = sink({ is: 'insert if new', key: ['id', 'city'] })
      const worker = await work(world.store, [step])
      const rows = [
        ['a', 'Graz', '1'],
        ['a', 'Linz', '2'],
        ['a', null, '3'],
        ['a', '', '4'],
        ['a', null, '5'],
        ['a,"Graz"', null, '6'],
      ]
      const { sinks } = await worker.commit({ sinks: [await into(world, step, rows)] })
      assert.deepEqual(sinks, [outcome({ inserted: 5, duplicates: 1, duplicateOrdinals: [4] })])
      const again = await worker.commit({ sinks: [await into(world, step, rows)] })
      assert.deepEqual(again.sinks, [outcome({ duplicates: 6, duplicateOrdinals: [0, 1, 2, 3, 4, 5] })])
    })

    // In Postgres they may come in by a road of their own, which is closed when one of them is there after all.
    scenario('takes rows that are likely new before the others, whether they are new or not', async (world) => {
      const worker = await work(world.store)
      const land = async (rows: (string | null)[][], fresh: number) =>
        (await worker.commit({ sinks: [await freshInto(world, oncePerId, rows, fresh)] })).sinks.map(ordered)
      const row = (id: string, city: string, amount: string | null = '1') => [id, city, amount]
      assert.deepEqual(await land([row('a', '1st'), row('b', '1st')], 2), [outcome({ inserted: 2 })])
      assert.deepEqual(await land([row('c', '2nd'), row('d', '2nd'), row('c', 'no'), row('a', 'no')], 2), [
        outcome({ inserted: 2, duplicates: 2, duplicateOrdinals: [2, 3] }),
      ])
      assert.deepEqual(
        await land([row('e', '3rd'), row('a', 'no'), row('f', '3rd'), row('e', 'no'), row('g', '3rd')], 4),
        [outcome({ inserted: 3, duplicates: 2, duplicateOrdinals: [1, 3] })],
      )
      assert.deepEqual(await land([row('h', '4th'), row('b', 'no'), row('h', 'no')], 2), [
        outcome({ inserted: 1, duplicates: 2, duplicateOrdinals: [1, 2] }),
      ])
      assert.deepEqual(await land([row('k', '5th')], 1), [outcome({ inserted: 1 })])
      assert.deepEqual(await land([row('l', '6th')], 0), [outcome({ inserted: 1 })])
      assert.deepEqual(
        (await contents(world)).map(([id, city]) => `${id} ${city}`),
        ['a 1st', 'b 1st', 'c 2nd', 'd 2nd', 'e 3rd', 'f 3rd', 'g 3rd', 'h 4th', 'k 5th', 'l 6th'],
      )
    })

    scenario('does not take back a row because its batch was refused once', async (world) => {
      const worker = await work(world.store)
      const rows = [
        ['a', null, '1'],
        ['b', null, '2'],
      ]
      const sinks = [await into(world, oncePerId, rows)]
      await assert.rejects(worker.commit({ sinks, books: () => Promise.reject(new Error('no')) }), { message: 'no' })
      const { sinks: landed } = await worker.commit({ sinks })
      assert.deepEqual(landed, [outcome({ inserted: 2 })])
    })
  })

  describe('upsert', () => {
    scenario('replaces what is there by rows that were said to be new, too', async (world) => {
      const worker = await work(world.store, [latestPerId])
      const row = (id: string, city: string) => [id, city, '1']
      const land = async (rows: (string | null)[][], fresh: number) =>
        (await worker.commit({ sinks: [await freshInto(world, latestPerId, rows, fresh)] })).sinks
      assert.deepEqual(await land([row('a', '1st'), row('b', '1st')], 2), [outcome({ inserted: 2 })])
      assert.deepEqual(await land([row('c', '2nd'), row('a', '2nd')], 2), [outcome({ inserted: 1, updated: 1 })])
      assert.deepEqual(await land([row('d', '3rd'), row('b', '3rd'), row('e', '3rd')], 1), [
        outcome({ inserted: 2, updated: 1 }),
      ])
      assert.deepEqual(
        (await contents(world)).map(([id, city]) => `${id} ${city}`),
        ['a 2nd', 'b 3rd', 'c 2nd', 'd 3rd', 'e 3rd'],
      )
    })

    scenario('replaces the row of a key, and counts what it inserted and what it updated', async (world) => {
      const worker = await work(world.store, [latestPerId])
      const first = await worker.commit({
        sinks: [
          await into(world, latestPerId, [
            ['a', 'Graz', '1'],
            ['b', 'Linz', '2'],
          ]),
        ],
      })
      assert.deepEqual(first.sinks, [outcome({ inserted: 2 })])
      const second = await worker.commit({
        sinks: [
          await into(world, latestPerId, [
            ['b', null, '3'],
            ['c', 'Wels', '4'],
            ['a', 'Graz', '1'],
          ]),
        ],
      })
      assert.deepEqual(second.sinks, [outcome({ inserted: 1, updated: 2 })])
      assert.deepEqual(second.rowsOut, { orders: { inserted: 1, updated: 2, deleted: 0 } })
      assert.deepEqual(second.verdicts, { rowsIn: 3, written: 3, filtered: 0, duplicates: 0, late: 0, dead: 0 })
      assert.deepEqual(await contents(world), [
        ['a', 'Graz', '1'],
        ['b', null, '3'],
        ['c', 'Wels', '4'],
      ])
    })

    scenario('knows a key with a null in it', async (world) => {
      const step = sink({ is: 'upsert', key: ['city'] })
      const worker = await work(world.store, [step])
      await worker.commit({
        sinks: [
          await into(world, step, [
            ['a', null, '1'],
            ['b', '', '2'],
          ]),
        ],
      })
      const { sinks } = await worker.commit({ sinks: [await into(world, step, [['c', null, '3']])] })
      assert.deepEqual(sinks, [outcome({ updated: 1 })])
      assert.deepEqual(await contents(world), [
        ['b', '', '2'],
        ['c', null, '3'],
      ])
    })

    // A table may take two keys for one that the batch has told apart: a collation without upper and lower case.
    scenario('takes the later row when a key comes twice in a batch after all', async (world) => {
      const worker = await work(world.store, [latestPerId])
      const rows = [
        ['a', null, '1'],
        ['b', null, '1'],
        ['a', null, '2'],
      ]
      const { sinks } = await worker.commit({ sinks: [await into(world, latestPerId, rows)] })
      assert.deepEqual(sinks, [outcome({ inserted: 2, updated: 1 })])
      assert.deepEqual(await contents(world), [
        ['a', null, '2'],
        ['b', null, '1'],
      ])
    })
  })
}
