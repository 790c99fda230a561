import assert from 'node:assert/strict'
import { describe } from 'node:test'
import type { TableStep } from '../../src/plan/plan.ts'
import type { SinkOutcome } from '../../src/store/store.ts'
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
  type World,
  work,
} from './world.ts'

type Cells = (string | null)[]

export function refusals(scenario: Scenario): void {
  describe('a row that the database refuses becomes a dead letter, and the others land', () => {
    const modes: TableStep[] = [appended, oncePerId, latestPerId]
    const places = [[0], [8], [4], [3, 4], [0, 2, 8], [0, 1, 2, 3, 4, 5, 6, 7, 8]]
    for (const step of modes) {
      for (const refused of places) {
        scenario(`${step.mode.is}, row ${refused.join(', ')} of 9`, async (world) => {
          const worker = await work(world.store, [step])
          const rows = Array.from({ length: 9 }, (_, n) => [`k${n}`, 'Graz', refused.includes(n) ? null : String(n)])
          const { sinks, verdicts } = await worker.commit({ sinks: [await into(world, step, rows)] })
          assert.deepEqual(sinks.map(ordered), [outcome({ inserted: 9 - refused.length, refusedOrdinals: refused })])
          assert.deepEqual(verdicts, {
            rowsIn: 9,
            written: 9 - refused.length,
            filtered: 0,
            duplicates: 0,
            late: 0,
            dead: refused.length,
          })
          assert.deepEqual(
            await contents(world),
            rows.filter((_, n) => !refused.includes(n)),
          )
          assert.deepEqual(
            await lettersOf(world),
            refused.map((n) => [`row ${n}`, '23502']),
          )
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
      await worker.commit({ sinks: [await into(world, oncePerId, rows)] })
      assert.deepEqual(await lettersOf(world), [
        ['row 1', '22021'],
        ['row 2', '23502'],
      ])
      const letters = await world.store.deadLetters({})
      assert.ok(letters.every(({ message }) => message.length > 0))
      assert.match(letters.find(({ code }) => code === '23502')?.message ?? '', /"id"/)
      assert.deepEqual(await contents(world), [['a', 'Graz', '1']])
    })

    scenario('among duplicates, each with the ordinal it has in the whole file', async (world) => {
      const worker = await work(world.store)
      await worker.commit({ sinks: [await into(world, oncePerId, [['old', null, '0']])] })
      const rows = [
        ['a', null, '0'],
        ['old', null, '1'],
        ['a', null, '2'],
        ['bad', null, null],
        ['b', null, '4'],
        ['a', null, '5'],
        ['bad', null, null],
        ['b', null, '7'],
        ['old', null, '8'],
        ['c', null, '9'],
      ]
      const { sinks } = await worker.commit({ sinks: [await into(world, oncePerId, rows)] })
      assert.deepEqual(sinks.map(ordered), [
        outcome({ inserted: 3, duplicates: 5, duplicateOrdinals: [1, 2, 5, 7, 8], refusedOrdinals: [3, 6] }),
      ])
      assert.deepEqual(await contents(world), [
        ['a', null, '0'],
        ['b', null, '4'],
        ['c', null, '9'],
        ['old', null, '0'],
      ])
    })

    scenario('and a later row of its key is the first', async (world) => {
      const worker = await work(world.store)
      const { sinks } = await worker.commit({
        sinks: [
          await into(world, oncePerId, [
            ['a', 'Graz', null],
            ['a', 'Linz', '2'],
          ]),
        ],
      })
      assert.deepEqual(sinks, [outcome({ inserted: 1, refusedOrdinals: [0] })])
      assert.deepEqual(await contents(world), [['a', 'Linz', '2']])
    })

    scenario('in one sink, though another sink takes it', async (world) => {
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
      const { sinks } = await worker.commit({ sinks: [await into(world, keyed, rows), await into(world, loose, rows)] })
      assert.deepEqual(sinks, [
        outcome({ step: 'keyed', inserted: 1, refusedOrdinals: [1] }),
        outcome({ step: 'loose', inserted: 2 }),
      ])
      assert.deepEqual(await contents(world, 'loose'), rows)
    })

    scenario('when it is appended to a table that has its key already', async (world) => {
      await work(world.store, [oncePerId], { pipeline: 'other' })
      const worker = await work(world.store, [appended])
      const { sinks } = await worker.commit({
        sinks: [
          await into(world, appended, [
            ['a', null, '1'],
            ['a', null, '2'],
            ['b', null, '3'],
          ]),
        ],
      })
      assert.deepEqual(sinks, [outcome({ inserted: 2, refusedOrdinals: [1] })])
      assert.deepEqual(await lettersOf(world), [['row 1', '23505']])
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
            const expected = obvious(mode, there, rows)
            const fresh = mode === 'upsert' ? 0 : Math.floor(random() * rows.length)
            const { sinks } = await worker.commit({ sinks: [await freshInto(world, step, rows, fresh)] })
            assert.deepEqual(sinks.map(ordered), [expected])
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
    if (row[2] === null) expected.refusedOrdinals.push(ordinal)
    else if (known && mode === 'insert if new') expected.duplicateOrdinals.push(ordinal)
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
  return [`k${Math.floor(random() * 12)}`, city, random() < 0.1 ? null : String(Math.floor(random() * 1000))]
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

async function lettersOf(world: World): Promise<string[][]> {
  return inOrder((await world.store.deadLetters({})).map(({ place, code }) => [place, code]))
}
