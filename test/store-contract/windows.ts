/** What a store keeps of open windows, of event time, and of rows that came too late for it. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { describe } from 'node:test'
import { parseCsv } from '../../src/store/csv-rows.ts'
import {
  type CsvRows,
  lateColumns,
  numberColumns,
  type StateChange,
  type Store,
  type StoredState,
  setColumns,
} from '../../src/store/store.ts'
import { oncePerId, type Scenario, type World, work } from './world.ts'

const nothing: StateChange = { numbers: undefined, sets: undefined, gone: undefined, closed: [] }

export function windows(scenario: Scenario): void {
  describe('the state of windows', () => {
    scenario('is none before the first batch', async (world) => {
      await work(world.store)
      assert.deepEqual(await stateOf(world.store, world.folder), { numbers: [], sets: [] })
    })

    scenario('has the numbers of a pane as the last batch left them', async (world) => {
      const worker = await work(world.store)
      await worker.commit({
        state: { ...nothing, numbers: await numbers(world, ['w', 'a', 1, '5'], ['w', 'b', 1, '1']) },
      })
      await worker.commit({
        state: { ...nothing, numbers: await numbers(world, ['w', 'a', 1, '7'], ['w', 'a', -2, '2']) },
      })
      const { numbers: kept } = await stateOf(world.store, world.folder)
      assert.deepEqual(kept, [
        ['w', '["a"]', '-2', '{"n":"2"}'],
        ['w', '["a"]', '1', '{"n":"7"}'],
        ['w', '["b"]', '1', '{"n":"1"}'],
      ])
    })

    scenario('has what each batch added to a set, and nothing of it is lost when many are folded', async (world) => {
      const worker = await work(world.store)
      const batches = 130
      for (let n = 1; n <= batches; n++) {
        const items = n % 2 === 0 ? `{"x":1,"it's \\"y\\"":${n}}` : '{"x":2}'
        const sets = await world.file(
          [...setColumns],
          [
            ['w', 'users', '["a"]', '3', `{${n},${n + 1000}}`, null],
            ['w', 'emotes', '["a"]', '3', null, items],
          ],
        )
        await worker.commit({ state: { ...nothing, sets } })
      }
      const { sets } = await stateOf(world.store, world.folder)
      const members = sets
        .filter(([, aggregate]) => aggregate === 'users')
        .flatMap((row) => (row[4] ?? '').replace(/[{}]/g, '').split(','))
      assert.equal(new Set(members).size, 2 * batches)
      assert.equal(members.length, 2 * batches)
      const counts = new Map<string, number>()
      for (const row of sets.filter(([, aggregate]) => aggregate === 'emotes')) {
        for (const [item, n] of Object.entries<number>(JSON.parse(row[5] ?? '{}')))
          counts.set(item, (counts.get(item) ?? 0) + n)
      }
      assert.equal(counts.get('x'), 65 + 2 * 65)
      assert.equal(counts.get(`it's "y"`), (65 / 2) * (2 + 130))
      if (world.store.kind === 'postgres') assert.ok(sets.length < 20, `${sets.length} rows`)
    })

    scenario('loses what is closed of its step alone, what is gone, and in the end all', async (world) => {
      const worker = await work(world.store)
      const row = (step: string, pane: number) => [step, 'users', '["a"]', String(pane), '{1}', null]
      await worker.commit({
        state: {
          ...nothing,
          numbers: await numbers(
            world,
            ['w', 'a', 1, '1'],
            ['w', 'a', 2, '1'],
            ['other', 'a', 1, '1'],
            ['z', 'a', 9, '1'],
          ),
          sets: await world.file([...setColumns], [row('w', 1), row('w', 2), row('other', 1)]),
        },
      })
      const gone = await world.file(['step', 'key', 'pane'], [['z', '["a"]', '9']])
      await worker.commit({ state: { ...nothing, gone, closed: [{ step: 'w', before: 2 }] } })
      const left = await stateOf(world.store, world.folder)
      assert.deepEqual(
        left.numbers.map(([step, , pane]) => `${step} ${pane}`),
        ['other 1', 'w 2'],
      )
      assert.deepEqual(
        left.sets.map(([step, , , pane]) => `${step} ${pane}`),
        ['other 1', 'w 2'],
      )
      await worker.commit({ state: { ...nothing, forget: true } })
      assert.deepEqual(await stateOf(world.store, world.folder), { numbers: [], sets: [] })
    })

    scenario('of a batch that is refused is as it was', async (world) => {
      const worker = await work(world.store)
      await worker.commit({ state: { ...nothing, numbers: await numbers(world, ['w', 'a', 1, '1']) }, watermark: 5 })
      const before = await stateOf(world.store, world.folder)
      const state = {
        ...nothing,
        numbers: await numbers(world, ['w', 'a', 1, '2']),
        closed: [{ step: 'w', before: 9 }],
      }
      await assert.rejects(
        worker.commit({
          state,
          watermark: 9,
          books: async () => {
            throw new Error('no books')
          },
        }),
      )
      assert.deepEqual(await stateOf(world.store, world.folder), before)
      assert.equal((await world.store.committed('shop')).watermark, 5)
    })

    scenario('of one pipeline is nothing to another', async (world) => {
      const one = await work(world.store)
      const two = await work(world.store, [oncePerId], { pipeline: 'other' })
      await one.commit({ state: { ...nothing, numbers: await numbers(world, ['w', 'a', 1, '1']) } })
      await two.commit({ state: { ...nothing, closed: [{ step: 'w', before: 9 }], forget: true } })
      assert.equal((await stateOf(world.store, world.folder)).numbers.length, 1)
    })
  })

  describe('the watermark', () => {
    scenario('is where a batch moved it, and never moves back', async (world) => {
      const worker = await work(world.store)
      assert.equal((await world.store.committed('shop')).watermark, undefined)
      await worker.commit({ watermark: 1_767_225_600_123 })
      await worker.commit({ watermark: 1_767_225_600_000 })
      await worker.commit({})
      assert.equal((await world.store.committed('shop')).watermark, 1_767_225_600_123)
      const endOfTime = 8_640_000_000_000_000
      await worker.commit({ watermark: endOfTime })
      assert.equal((await world.store.committed('shop')).watermark, endOfTime)
    })
  })

  describe('late rows', () => {
    scenario('are kept with the batch that brought them', async (world) => {
      const worker = await work(world.store)
      const lateRows = await world.file(
        [...lateColumns],
        [['w', 'in/a.csv:3', '2026-01-01 00:00:01.5+00', '2026-01-01 00:00:00+00', '61000', 'a,"b"']],
      )
      await worker.commit({ lateRows })
      assert.deepEqual(await world.lateRows(), [['w', 'in/a.csv:3', '61000', 'a,"b"', '1']])
    })
  })
}

async function numbers(
  world: World,
  ...rows: [step: string, key: string, pane: number, n: string][]
): Promise<CsvRows> {
  return await world.file(
    [...numberColumns],
    rows.map(([step, key, pane, n]) => [step, JSON.stringify([key]), String(pane), JSON.stringify({ n })]),
  )
}

type Rows = (string | null)[][]

async function stateOf(store: Store, folder: string): Promise<{ numbers: Rows; sets: Rows }> {
  const state = await store.state('shop', folder)
  const rows = async ({ path, rows: count }: StoredState['sets']): Promise<Rows> => {
    const found = parseCsv(await readFile(path, 'utf8'))
    assert.equal(found.length, count)
    return found.map((row) => row.map((field, i) => (i === 3 ? plain(field) : field))).sort()
  }
  return { numbers: await rows(state.numbers), sets: await rows(state.sets) }
}

// JSON as it is, whatever blanks a database puts into it.
function plain(field: string | null): string | null {
  return field?.startsWith('{"') ? JSON.stringify(JSON.parse(field)) : field
}
