/** Dead letters sent down their pipeline again by processes of their own, of which some die on the way. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { event, goodFile, type InputFile } from './crash/events.ts'
import { eventually, type Millrace } from './crash/process.ts'
import { standsInTransaction } from './crash/standing.ts'
import { openWorld, type World } from './crash/world.ts'
import { testDatabase } from './postgres.ts'

const refund = { event_type: 'refund' }
const header = goodFile('', []).header
// with an event_type that is allowed, twelve of them land, in batches of five
const input: InputFile = {
  name: 'till.csv',
  header,
  rows: [
    event('there', 'good'),
    event('there', 'is a duplicate', refund),
    ...Array.from({ length: 12 }, (_, i) => event(`r${i}`, `row ${i}`, refund)),
    event('r3', 'repeats one of another batch', refund),
    event('r11', 'repeats one of its own batch', refund),
    event('free', 'wrong twice', { ...refund, price: 'free' }),
    event('priceless', 'wrong otherwise', { price: '-1' }),
    event('short', 'too short').slice(0, 3),
  ],
}
const refunds = ['--code', 'NOT_ONE_OF']
const mended = [...refunds, '--set', 'event_type=view']
const inDoubt = { MILLRACE_FAILPOINT: 'after rows@2=delay:1500' }

describe('a replay', { concurrency: 2 }, () => {
  test('is foretold by a dry run, which changes nothing', async () => {
    await using database = await testDatabase()
    await using world = await till(database)
    const before = await everything(world)
    const forecasts = await said(world, ['replay', ...mended, '--dry-run'])
    assert.deepEqual(await everything(world), before)
    assert.deepEqual(
      countBy(forecasts, ({ would, code }) => `${would} ${code}`),
      { 'be a duplicate null': 3, 'land null': 12, 'fail again NOT_A_NUMBER': 1 },
    )
    const [replayed] = await said(world, ['replay', ...mended])
    assert.partialDeepStrictEqual(replayed, {
      rows_in: 16,
      written: 12,
      duplicates: 3,
      dead: 1,
      batches: 4,
      dead_again: { NOT_A_NUMBER: 1 },
    })
    assert.deepEqual(
      await world.sql(
        'select kind, rows_in::int, written::int, duplicates::int, dead::int from millrace.batches where batch > 4',
      ),
      [
        { kind: 'replay', rows_in: 5, written: 4, duplicates: 1, dead: 0 },
        { kind: 'replay', rows_in: 5, written: 5, duplicates: 0, dead: 0 },
        { kind: 'replay', rows_in: 5, written: 3, duplicates: 2, dead: 0 },
        { kind: 'replay', rows_in: 1, written: 0, duplicates: 0, dead: 1 },
      ],
    )
    await landedOnce(world)
  })

  test('of letters that fail again for the same reason ends', async () => {
    await using database = await testDatabase()
    await using world = await till(database)
    const [replayed] = await said(world, ['replay', ...refunds])
    assert.partialDeepStrictEqual(replayed, { rows_in: 16, dead: 16, dead_again: { NOT_ONE_OF: 16 } })
    assert.deepEqual(
      await world.sql(`select settled, count(*)::int from millrace.dead_letters group by 1 order by 2`),
      [
        { settled: 'replayed', count: 16 },
        { settled: null, count: 18 },
      ],
    )
  })

  test('beside another of the same letters waits, and finds them settled', async () => {
    await using database = await testDatabase()
    await using world = await till(database)
    await using first = replay(world, mended, inDoubt)
    await standsInTransaction(world, first)
    await using second = replay(world, mended)
    for (const each of [first, second]) assert.deepEqual(await each.ended(), { code: 0, signal: null }, each.story())
    const rows = [first, second].map(({ out }) => (JSON.parse(out || '{"rows_in":0}') as { rows_in: number }).rows_in)
    assert.deepEqual(rows, [16, 0])
    await landedOnce(world)
  })

  test('that is killed in its second batch can be given again as it was', async () => {
    await using database = await testDatabase()
    await using world = await till(database)
    await using killed = replay(world, mended, { MILLRACE_FAILPOINT: 'after positions@2=kill' })
    assert.deepEqual(await killed.ended(), { code: null, signal: 'SIGKILL' }, killed.story())
    const [again] = await said(world, ['replay', ...mended])
    assert.partialDeepStrictEqual(again, { rows_in: 11, written: 8, duplicates: 2, dead: 1 })
    await landedOnce(world)
  })

  test('that is left to a worker is done by one, or by the next when that is killed in it', async () => {
    await using database = await testDatabase()
    await using world = await till(database)
    const [left] = await said(world, ['replay', ...mended, '--by-worker'])
    assert.deepEqual(left, { pipeline: 'shop-events', left_to: 'a worker' })
    await using killed = world.start(['work', 'shop-events'], { MILLRACE_FAILPOINT: 'after positions@2=kill' })
    assert.deepEqual(await killed.ended(), { code: null, signal: 'SIGKILL' }, killed.story())
    const taskSql = `select state::text from millrace_tasks.job where name = 'shop-events/replay_dead_letters'`
    assert.deepEqual(await world.sql(taskSql), [{ state: 'active' }])
    await using next = world.start(['work', 'shop-events'])
    await eventually(async () => (await world.sql(taskSql)).length === 0, {
      what: () => `the task is done: ${next.story()}`,
      withinMs: 120_000,
    })
    await landedOnce(world)
    const kinds = await world.sql(
      `select kind, sum(rows_in)::int as rows_in from millrace.batches where kind = 'replay' group by 1`,
    )
    assert.deepEqual(kinds, [{ kind: 'replay', rows_in: 16 }])
  })

  test('that is left to a worker goes on with the next one when that is told to stop in it', async () => {
    await using database = await testDatabase()
    await using world = await till(database)
    await said(world, ['replay', ...mended, '--by-worker'])
    await using first = world.start(['work', 'shop-events'], inDoubt)
    await standsInTransaction(world, first)
    assert.deepEqual(await first.stop(), { code: 0, signal: null }, first.story())
    const replayed = () =>
      world.sql(`select count(*)::int as rows from millrace.dead_letters where settled = 'replayed'`)
    assert.deepEqual(await replayed(), [{ rows: 10 }])
    await using next = world.start(['work', 'shop-events'])
    await eventually(async () => JSON.stringify(await replayed()) === JSON.stringify([{ rows: 16 }]), {
      what: () => `all letters are replayed: ${next.story()}`,
      withinMs: 120_000,
    })
    await landedOnce(world)
  })

  test('leaves out what is discarded while it is under way', async () => {
    await using database = await testDatabase()
    await using world = await till(database)
    await using running = replay(world, mended, inDoubt)
    await standsInTransaction(world, running)
    const discarded = await world.sql<{ id: number }>(`
      update millrace.dead_letters
      set    settled = 'discarded', settled_at = now(), settled_by = 'a test'
      where  fields->>'event_id' in ('r5', 'r11') and settled is null
      returning id`)
    assert.equal(discarded.length, 3)
    assert.deepEqual(await running.ended(), { code: 0, signal: null }, running.story())
    assert.partialDeepStrictEqual(JSON.parse(running.out), { rows_in: 13, written: 10, duplicates: 2, dead: 1 })
    await landedOnce(world, ['r5', 'r11'])
  })

  test('lands what a letter says that was edited while it was under way', async () => {
    await using database = await testDatabase()
    await using world = await till(database)
    await using running = replay(world, mended, inDoubt)
    await standsInTransaction(world, running)
    const edited = await world.sql<{ id: number }>(`
      update millrace.dead_letters
      set    fields = fields || '{"user_id": "edited"}', revision = revision + 1
      where  fields->>'event_id' = 'r5' and settled is null
      returning id`)
    assert.equal(edited.length, 1)
    assert.deepEqual(await running.ended(), { code: 0, signal: null }, running.story())
    assert.partialDeepStrictEqual(JSON.parse(running.out), { rows_in: 16, written: 12, duplicates: 3, dead: 1 })
    await landedOnce(world, [], { r5: 'edited' })
  })

  test('brings a killed embedded Postgres up again, and completes', async () => {
    await using world = await till(undefined)
    await using running = replay(world, mended, inDoubt)
    await standsInTransaction(world, running)
    await world.cluster.kill()
    assert.deepEqual(await running.ended(60_000), { code: 0, signal: null }, running.story())
    assert.partialDeepStrictEqual(JSON.parse(running.out), { rows_in: 16, written: 12, duplicates: 3, dead: 1 })
    await using holder = world.start(['work', 'shop-events'])
    await holder.says('running')
    await landedOnce(world)
    assert.deepEqual(await holder.stop(), { code: 0, signal: null })
  })
})

/** A world in which the till's file has been read. */
async function till(database: { url: string } | undefined): Promise<World> {
  const world = await openWorld(database)
  await world.lay([input])
  await using run = world.start(['run', 'shop-events', '--input', world.inputs])
  assert.deepEqual(await run.ended(), { code: 0, signal: null }, run.story())
  return world
}

function replay(world: World, words: string[], env: Record<string, string> = {}): Millrace {
  return world.start(['dead-letters', 'replay', ...words, '--json'], env)
}

async function said(world: World, words: string[]): Promise<Record<string, unknown>[]> {
  await using command = world.start(['dead-letters', ...words, '--json'])
  assert.deepEqual(await command.ended(), { code: 0, signal: null }, command.story())
  return command.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

// Every row that the till sent and could be mended is there once, and every letter of it is settled once.
async function landedOnce(world: World, without: string[] = [], edited: Record<string, string> = {}): Promise<void> {
  const ids = Array.from({ length: 12 }, (_, i) => `r${i}`).filter((id) => !without.includes(id))
  const landed = await world.sql('select event_id, user_id from user_events order by 1')
  const expected = [...ids.map((id) => [id, edited[id] ?? `row ${id.slice(1)}`]), ['there', 'good']]
  assert.deepEqual(
    landed,
    expected
      .map(([event_id, user_id]) => ({ event_id, user_id }))
      .sort((a, b) => ((a.event_id ?? '') < (b.event_id ?? '') ? -1 : 1)),
  )
  assert.deepEqual(await world.sql(`select code from millrace.dead_letters where settled is null order by 1`), [
    { code: 'BELOW_MINIMUM' },
    { code: 'NOT_A_NUMBER' },
    { code: 'TOO_FEW_FIELDS' },
  ])
  assert.deepEqual(
    await world.sql(`
      select sum(rows_in)::int = (select count(*)::int from millrace.dead_letters where settled = 'replayed') as settled_as_read
      from   millrace.batches
      where  kind = 'replay'`),
    [{ settled_as_read: true }],
  )
}

async function everything(world: World): Promise<unknown> {
  const tables = [
    'user_events',
    ...['pipelines', 'leases', 'files', 'batches', 'dead_letters', 'effects'].map((name) => `millrace.${name}`),
  ]
  const found: unknown[] = []
  for (const table of tables) found.push(await world.sql(`select * from ${table} t order by t::text`))
  return found
}

function countBy<T>(all: T[], name: (each: T) => string): Record<string, number> {
  return Object.fromEntries([...Map.groupBy(all, name)].map(([key, those]) => [key, those.length]))
}
