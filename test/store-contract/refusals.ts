import assert from 'node:assert/strict'
import { describe } from 'node:test'
import type { TableStep } from '../../src/plan/plan.ts'
import type { RefusedRow, SinkOutcome } from '../../src/store/store.ts'
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
  refusedOf,
  type Scenario,
  sink,
  work,
} from './world.ts'

type Cells = (string | null)[]

export function refusals(scenario: Scenario): void {
  describe('a row that the database refuses is named, and without it the others land', () => {
    const modes: TableStep[] = [appended, oncePerId, latestPerId]
    const places = [[0], [8], [4], [3, 4], [0, 2, 8], [0, 1, 2, 3, 4, 5, 6, 7, 8]]
    for (const step of modes) {
      for (const refused of places) {
        scenario(`${step.mode.is}, row ${refused.join(', ')} of 9`, async (world) => {
          const worker = await work(world.store, [step])
          const rows = Array.from({ length: 9 }, (_, n) => [`k${n}`, 'Graz', refused.includes(n) ? null : String(n)])
          const found = await refusedOf(worker.commit({ sinks: [await into(world, step, rows)] }))
          assert.deepEqual(
            placed(found),
            refused.map((n) => [n, '23502']),
          )
          assert.deepEqual(await contents(world), [])
          const others = rows.filter((_, n) => !refused.includes(n))
          const { sinks } = await worker.commit({ sinks: [await into(world, step, others)] })
          assert.deepEqual(sinks.map(ordered), [outcome({ inserted: others.length })])
          assert.deepEqual(await contents(world), others)
        })
      }
    }

    scenario('told by the database’s own code and words', async (world) => {
      const worker = await work(world.store)
      const rows = [
        ['a', 'Graz', '1'],
        ['b', 'Gr\0z', '2'],
        [null, 'Graz', '3'],
      ]
      const found = await refusedOf(worker.commit({ sinks: [await into(world, oncePerId, rows)] }))
      assert.deepEqual(placed(found), [
        [1, '22021'],
        [2, '23502'],
      ])
      assert.ok(found.every(({ message }) => message.length > 0))
      assert.match(found.find(({ sqlState }) => sqlState === '23502')?.message ?? '', /"id"/)
    })

    scenario(
      'among duplicates and rows of both files, each with the ordinal it has in both together',
      async (world) => {
        const worker = await work(world.store)
        await worker.commit({ sinks: [await into(world, oncePerId, [['old', null, '0']])] })
        const rows = [
          ['a', null, '0'],
          ['old', null, '1'],
          ['a', null, '2'],
          ['bad', null, null],
          ['b', null, '4'],
          ['a', null, '5'],
          ['bad', 'two\n"lines"', null],
          ['b', null, '7'],
          ['old', null, '8'],
          ['c', null, '9'],
        ]
        for (const fresh of [0, 1, 4, 9, 10]) {
          const found = await refusedOf(worker.commit({ sinks: [await freshInto(world, oncePerId, rows, fresh)] }))
          assert.deepEqual(placed(found), [
            [3, '23502'],
            [6, '23502'],
          ])
        }
      },
    )

    scenario('though a good row of its key comes before it', async (world) => {
      const worker = await work(world.store)
      const rows = [
        ['a', 'Linz', '2'],
        ['a', 'Graz', null],
      ]
      const found = await refusedOf(worker.commit({ sinks: [await into(world, oncePerId, rows)] }))
      assert.deepEqual(placed(found), [[1, '23502']])
    })

    scenario('by the sink that does not take it, though another does', async (world) => {
      const keyed = sink({ is: 'insert if new', key: ['id'] }, 'keyed')
      const loose: TableStep = {
        ...sink({ is: 'append' }, 'loose'),
        columns: appended.columns.map((column) => ({ ...column, nullable: true })),
      }
      const worker = await work(world.store, [keyed, loose])
      const rows = [
        ['a', null, '1'],
        ['b', null, null],
      ]
      const sinks = [await into(world, keyed, rows), await into(world, loose, rows)]
      const found = await refusedOf(worker.commit({ sinks }))
      assert.deepEqual(
        found.map(({ step, ordinal }) => [step, ordinal]),
        [['keyed', 1]],
      )
      assert.deepEqual(await contents(world, 'loose'), [])
    })

    scenario('when it is appended to a table that has its key already', async (world) => {
      await work(world.store, [oncePerId], { pipeline: 'other' })
      const worker = await work(world.store, [appended])
      const rows = [
        ['a', null, '1'],
        ['a', null, '2'],
        ['b', null, '3'],
      ]
      const found = await refusedOf(worker.commit({ sinks: [await into(world, appended, rows)] }))
      assert.deepEqual(placed(found), [[1, '23505']])
    })
  })

  for (const mode of ['insert if new', 'upsert'] as const) {
    for (const seed of [1, 2, 3, 4]) {
      scenario(
        `${mode} gives the same as a slow and obvious table, whatever the cut into batches (seed ${seed})`,
        async (world) => {
          const random = generator(seed)
          const step = sink({ is: mode, key: ['id', 'city'] })
          const worker = await work(world.store, [step])
          const there = new Map<string, Cells>()
          for (let batch = 0; batch < 6; batch++) {
            let rows = Array.from({ length: Math.floor(random() * 30) }, () => rowFrom(random))
            // an upsert gets one row per key
            if (mode === 'upsert') rows = [...new Map(rows.map((row) => [keyOf(row), row])).values()]
            const fresh = mode === 'upsert' ? 0 : Math.floor(random() * rows.length)
            const whole = [await freshInto(world, step, rows, fresh)]
            const refused = rows.flatMap((row, ordinal) => (row[2] === null ? [ordinal] : []))
            if (refused.length > 0) {
              const found = await refusedOf(worker.commit({ sinks: whole }))
              assert.deepEqual(
                found.map(({ ordinal }) => ordinal),
                refused,
              )
              continue
            }
            const { sinks } = await worker.commit({ sinks: [await freshInto(world, step, rows, fresh)] })
            assert.deepEqual(sinks.map(ordered), [obvious(mode, there, rows)])
            assert.deepEqual(await contents(world), inOrder([...there.values()]))
          }
        },
      )
    }
  }
}

// ---- the slow and obvious table --------------------------------------------------------------------------------------

function obvious(mode: 'insert if new' | 'upsert', there: Map<string, Cells>, rows: Cells[]): SinkOutcome {
  const expected = outcome({})
  rows.forEach((row, ordinal) => {
    const known = there.has(keyOf(row))
    if (known && mode === 'insert if new') expected.duplicateOrdinals.push(ordinal)
    else {
      there.set(keyOf(row), row)
      if (known) expected.updated++
      else expected.inserted++
    }
  })
  return { ...expected, duplicates: expected.duplicateOrdinals.length }
}

function keyOf(row: Cells): string {
  return JSON.stringify(row.slice(0, 2))
}

function rowFrom(random: () => number): Cells {
  const city = ['Graz', 'Linz', null][Math.floor(random() * 3)] ?? null
  return [`k${Math.floor(random() * 12)}`, city, random() < 0.04 ? null : String(Math.floor(random() * 1000))]
}

// mulberry32: the same seed gives the same rows
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

function placed(rows: RefusedRow[]): [number, string][] {
  return rows.map(({ ordinal, sqlState }) => [ordinal, sqlState])
}
