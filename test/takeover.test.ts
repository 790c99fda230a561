import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Failpoint } from '../src/failpoint.ts'
import { firstWave, goodFile, secondWave } from './crash/events.ts'
import { judge } from './crash/judge.ts'
import type { Millrace } from './crash/process.ts'
import { standsStill } from './crash/standing.ts'
import { openWorld, type World } from './crash/world.ts'
import { type TestDatabase, testDatabase } from './postgres.ts'

const everything = [...firstWave, ...secondWave]
const later = goodFile('z-later.csv', ['z1', 'z2', 'z3'])
const work = ['work', 'shop-events']

// Long enough for the test to see that it is there and to stop it; it is over when the process goes on.
const delay = 'delay:6000'

describe('a worker that is stopped while it holds the lease', { concurrency: 5 }, () => {
  let server: TestDatabase
  before(async () => {
    server = await testDatabase()
  })
  after(async () => await server[Symbol.asyncDispose]())

  const cases = [
    { point: 'staged', holds: 'with half a batch in its own files', successor: 'stands by' },
    { point: 'after rows', holds: 'with rows that nobody else may write', successor: 'stands by' },
    { point: 'after rows', holds: 'with rows that nobody else may write', successor: 'comes later' },
    { point: 'commit sent', holds: 'after its epoch was found right', successor: 'stands by' },
    { point: 'commit sent', holds: 'after its epoch was found right', successor: 'comes later' },
    { point: 'commit sent', holds: 'after its epoch was found right', successor: 'comes later with another plan' },
    { point: 'commit acknowledged', holds: 'between a commit and its effects', successor: 'stands by' },
    { point: 'effect move files', holds: 'in the middle of the effects', successor: 'stands by' },
  ] as const

  for (const { point, holds, successor } of cases) {
    test(`${holds}, does not block one that ${successor}, and cannot write any more (${point})`, async () => {
      await using database = await testDatabase()
      await using world = await openWorld(database)
      await using first = world.start(work, { MILLRACE_FAILPOINT: `${point}@2=${delay}` })
      await first.says('running')
      await using standby = successor === 'stands by' ? world.start(work) : undefined
      await standby?.says('standing by')
      await world.drop(everything)
      await standingAt(world, first, point)
      first.signal('SIGSTOP')
      const stoppedAt = performance.now()
      // the folder by another name is another plan, though not one that means something else
      const shop = successor === 'comes later with another plan' ? { SHOP_EVENTS_DIR: await world.alias() } : {}
      await using second = standby ?? world.start(work, shop)
      await second.says('running', { withinMs: 30_000 })
      assert.ok(performance.now() - stoppedAt > 5_000, 'the lease is not taken before it runs out')
      await world.drained(everything, { worker: second })

      const before = first.log.length
      first.signal('SIGCONT')
      await first.says('retrying', { from: before })
      await first.says('standing by', { from: before })
      await judge(world, everything)

      // it is whole: when the other one leaves, it goes on
      assert.deepEqual(await second.stop(), { code: 0, signal: null })
      await first.says('running', { from: before })
      await world.drop([later])
      await world.drained([...everything, later], { worker: first })
      assert.deepEqual(await first.stop(), { code: 0, signal: null })
      await judge(world, [...everything, later])
    })
  }

  // Behind a pooler the sessions that a worker wrote down may be nobody's; nothing is left but its epoch.
  test('and whose sessions cannot be ended, is refused by its epoch alone', async () => {
    await using database = await testDatabase()
    await using world = await openWorld(database)
    await using first = world.start(work, { MILLRACE_FAILPOINT: `after rows@2=${delay}` })
    await first.says('running')
    await using second = world.start(work, { MILLRACE_FAILPOINT: `staged@1=${delay}` })
    await second.says('standing by')
    await world.drop(everything)
    await standingAt(world, first, 'after rows')
    first.signal('SIGSTOP')
    await world.sql(`update millrace.leases set expires_at = '-infinity', backends = '[]'`)
    await second.says('running')
    // the other one owns the pipeline, but has not committed yet
    const before = first.log.length
    first.signal('SIGCONT')
    assert.match(String((await first.says('retrying', { from: before }))['why']), /LEASE_LOST/)
    assert.deepEqual(await world.sql('select batch, epoch from millrace.batches'), [{ batch: 1, epoch: 1 }])
    await world.drained(everything, { worker: second })
    assert.deepEqual(await second.stop(), { code: 0, signal: null })
    await first.says('running', { from: before })
    assert.deepEqual(await first.stop(), { code: 0, signal: null })
    await judge(world, everything)
  })

  test('does not block a bounded run that would borrow the lease', async () => {
    await using database = await testDatabase()
    await using world = await openWorld(database)
    await world.drop(everything)
    await world.lay([later])
    await using first = world.start(work, { MILLRACE_FAILPOINT: `commit sent@2=${delay}` })
    await standingAt(world, first, 'commit sent')
    first.signal('SIGSTOP')
    await using run = world.start(['run', 'shop-events', '--input', world.inputs, '--json'])
    assert.deepEqual(await run.ended(), { code: 0, signal: null }, run.story())
    assert.partialDeepStrictEqual(JSON.parse(run.out), { rows_in: 3, written: 3 })
    const before = first.log.length
    first.signal('SIGCONT')
    await first.says('running', { from: before })
    await world.drained([...everything, later], { worker: first })
    assert.deepEqual(await first.stop(), { code: 0, signal: null })
    await judge(world, [...everything, later], [later])
  })
})

// Waits until the worker stands at a fail point of its second batch.
async function standingAt(world: World, worker: Millrace, point: Failpoint): Promise<void> {
  const open = point === 'after rows' || point === 'commit sent'
  await standsStill(world, worker, { open, batches: open || point === 'staged' ? 1 : 2 })
}
