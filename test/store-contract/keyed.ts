/** What steps keep by key, and rows that go from tables. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { readFields } from '../../src/store/csv-rows.ts'
import { type KeyedChange, type KeyedQuery, keyedColumns } from '../../src/store/store.ts'
import { into, latestPerId, type Scenario, type World, work } from './world.ts'

export function keyed(scenario: Scenario): void {
  scenario('what is kept of a key is read by key or item, replaced and taken away', async (world) => {
    const { store } = world
    const worker = await work(store)
    await worker.commit({
      keyed: await change(world, [
        ['pairs', '["a"]', 'one', '{"us":"1"}', '500'],
        ['pairs', '["a"]', 'two', '{"us":"2"}', null],
        ['pairs', '["b"]', 'one', '{"text":"it\'s \\"q\\" \\u0000, ü"}', null],
        ['total', '["a"]', '', '{}', null],
      ]),
    })
    assert.deepEqual(await read(world, 'pairs', [['["a"]', null]]), [
      ['["a"]', 'one', '{"us":"1"}', '500'],
      ['["a"]', 'two', '{"us":"2"}', null],
    ])
    assert.deepEqual(
      await read(world, 'pairs', [
        ['["b"]', 'one'],
        ['["b"]', 'three'],
        ['["c"]', null],
      ]),
      [['["b"]', 'one', '{"text":"it\'s \\"q\\" \\u0000, ü"}', null]],
    )
    assert.deepEqual(await read(world, 'total', [['["a"]', '']]), [['["a"]', '', '{}', null]])
    // of several steps in one go, and many keys as few
    const several = [
      ['pairs', '["a"]', 'two'],
      ['total', '["a"]', ''],
      ['total', '["b"]', null],
    ]
    const many = Array.from({ length: 1500 }, (_, i) => ['pairs', `["none ${i}"]`, null])
    for (const asked of [several, [...several, ...many]])
      assert.deepEqual(await readAll(world, asked, { steps: ['total'], beforeUs: 9999n }), [
        ['pairs', '["a"]', 'two', '{"us":"2"}', null],
        ['total', '["a"]', '', '{}', null],
      ])
    assert.deepEqual(
      (await readAll(world, many, { steps: ['total', 'pairs'], beforeUs: 501n })).map(([step, , item]) => [step, item]),
      [
        ['pairs', 'one'],
        ['pairs', 'two'],
      ],
    )

    await worker.commit({
      keyed: await change(world, [['pairs', '["a"]', 'two', '{"us":"3"}', '700']], [['pairs', '["a"]', 'one']]),
    })
    assert.deepEqual(await read(world, 'pairs', [['["a"]', null]]), [['["a"]', 'two', '{"us":"3"}', '700']])
  })

  scenario('keys that are due are read without being asked for, and the first is known', async (world) => {
    const { store } = world
    const worker = await work(store)
    assert.equal(await store.nextDue('shop'), undefined)
    assert.equal(await store.keepsByKey('shop'), false)
    await worker.commit({
      keyed: await change(world, [
        ['pairs', '["a"]', 'one', '{}', '-5'],
        ['pairs', '["a"]', 'two', '{}', null],
        ['pairs', '["b"]', 'one', '{}', '9007199254740993'],
      ]),
    })
    assert.equal(await store.nextDue('shop'), -5n)
    assert.equal(await store.keepsByKey('shop'), true)
    assert.deepEqual(await read(world, 'pairs', [], -5n), [])
    assert.deepEqual(await read(world, 'pairs', [], -4n), [
      ['["a"]', 'one', '{}', '-5'],
      ['["a"]', 'two', '{}', null],
    ])
    await worker.commit({ keyed: await change(world, [['pairs', '["a"]', 'one', '{}', null]]) })
    assert.equal(await store.nextDue('shop'), 9007199254740993n)
  })

  scenario('steps after which nothing follows keep nothing, and others what they have', async (world) => {
    const { store } = world
    const worker = await work(store)
    const rows = [
      ['pairs', '["a"]', 'one', '{}', '5'],
      ['total/x', '["a"]', 'one', '{}', null],
      ['total', '["a"]', '', '{}', null],
    ]
    await worker.commit({ keyed: await change(world, rows) })
    await worker.commit({ keyed: { set: undefined, gone: undefined, forget: ['pairs', 'total/x'] } })
    assert.deepEqual(await read(world, 'pairs', [['["a"]', null]]), [])
    assert.deepEqual(await read(world, 'total/x', [['["a"]', null]]), [])
    assert.deepEqual(await read(world, 'total', [['["a"]', null]]), [['["a"]', '', '{}', null]])
    assert.equal(await store.nextDue('shop'), undefined)
  })

  scenario('of a batch that is not committed nothing is kept', async (world) => {
    const { store } = world
    const worker = await work(store)
    await assert.rejects(
      worker.commit({ epoch: 99, keyed: await change(world, [['pairs', '["a"]', 'one', '{}', '5']]) }),
      { code: 'LEASE_LOST' },
    )
    assert.deepEqual(await read(world, 'pairs', [['["a"]', null]]), [])
  })

  scenario('rows go from a table by their keys, and are counted', async (world) => {
    const { store } = world
    const worker = await work(store, [latestPerId])
    const rows = [
      ['a', 'Linz', '1'],
      ['b', 'Graz', '2'],
      ['c', null, '0'],
    ]
    await worker.commit({ sinks: [await into(world, latestPerId, rows)] })
    const deleted = await world.file(['id'], [['b'], ['nobody']])
    const { rowsOut } = await worker.commit({
      sinks: [await into(world, latestPerId, [['c', 'Wien', '3']], { deleted })],
    })
    assert.deepEqual(Object.values(rowsOut), [{ inserted: 0, updated: 1, deleted: 1 }])
    assert.deepEqual((await world.rowsOf(latestPerId.table)).map(({ id, city }) => [id, city]).sort(), [
      ['a', 'Linz'],
      ['c', 'Wien'],
    ])
    const only = await world.file(['id'], [['a']])
    await worker.commit({ sinks: [await into(world, latestPerId, [], { deleted: only })] })
    assert.deepEqual(
      (await world.rowsOf(latestPerId.table)).map(({ id }) => id),
      ['c'],
    )
    // and may come again
    await worker.commit({ sinks: [await into(world, latestPerId, [['a', 'Enns', '1']])] })
    assert.equal((await world.rowsOf(latestPerId.table)).length, 2)
  })
}

async function change(world: World, set: (string | null)[][], gone: (string | null)[][] = []): Promise<KeyedChange> {
  return {
    set: await world.file([...keyedColumns], set),
    gone: gone.length === 0 ? undefined : await world.file(['step', 'key', 'item'], gone),
  }
}

async function read(
  world: World,
  step: string,
  wanted: (string | null)[][],
  dueBeforeUs?: bigint,
): Promise<(string | null)[][]> {
  const asked = wanted.map((row) => [step, ...row])
  const rows = await readAll(
    world,
    asked,
    dueBeforeUs === undefined ? undefined : { steps: [step], beforeUs: dueBeforeUs },
  )
  for (const [own] of rows) assert.equal(own, step)
  return rows.map(([, ...row]) => row)
}

async function readAll(
  world: World,
  wanted: (string | null)[][],
  due?: KeyedQuery['due'],
): Promise<(string | null)[][]> {
  const query: KeyedQuery = {
    wanted: await world.file(['step', 'key', 'item'], wanted),
    due,
    into: join(world.folder, 'kept.csv'),
  }
  const found = await world.store.keyed('shop', query)
  const rows = await readFields(found)
  assert.equal(rows.length, found.rows)
  return rows.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
}
