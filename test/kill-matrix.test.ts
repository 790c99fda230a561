import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type Failpoint, failpoints } from '../src/failpoint.ts'
import { firstWave, secondWave } from './crash/events.ts'
import { judge } from './crash/judge.ts'
import { eventually } from './crash/process.ts'
import { namesIn, openWorld, type World } from './crash/world.ts'
import { type TestDatabase, testDatabase } from './postgres.ts'

// CI runs this a second time, on another Postgres: there the core is enough.
const again = process.env['MILLRACE_TEST_DATABASE_URL'] !== undefined
const full = Boolean(process.env['MILLRACE_FULL'] || (process.env['CI'] && !again))
const everything = [...firstWave, ...secondWave]

interface Case {
  point: Failpoint
  occurrence: number
}

// One of each kind of place: a file taken, rows staged, within the transaction, on both sides of its end, the effects.
const core: Case[] = [
  { point: 'claimed', occurrence: 1 },
  { point: 'staged', occurrence: 2 },
  { point: 'after rows', occurrence: 2 },
  { point: 'commit sent', occurrence: 1 },
  { point: 'commit acknowledged', occurrence: 2 },
  { point: 'effect quarantine', occurrence: 1 },
  { point: 'effect move files', occurrence: 4 },
  { point: 'effect metrics', occurrence: 2 },
]
// An effect's point is reached twice in a batch, on both of its sides.
const all: Case[] = failpoints.flatMap((point) =>
  (isEffect(point) ? [1, 2, 3, 4] : [1, 2]).map((occurrence) => ({ point, occurrence })),
)
const chosen = full ? all : core
// The files of a bounded run are neither listed nor claimed: they stay where they are.
const bounded = chosen.filter(({ point }) => point !== 'listed' && point !== 'claimed')

describe(`killed with SIGKILL at a fail point, ${full ? 'all' : 'the core (MILLRACE_FULL=1: all)'}`, {
  concurrency: 2,
}, () => {
  // keeps the shared server up from case to case
  let server: TestDatabase
  before(async () => {
    server = await testDatabase()
  })
  after(async () => await server[Symbol.asyncDispose]())

  for (const { point, occurrence } of chosen) {
    test(`a worker killed at "${point}", time ${occurrence}, loses and doubles nothing`, async () => {
      await using database = await testDatabase()
      await using world = await openWorld(database)
      await world.drop(firstWave)
      await using doomed = world.start(['work', 'shop-events'], { MILLRACE_FAILPOINT: `${point}@${occurrence}=kill` })
      let second = false
      await eventually(
        async () => {
          // once the first files are taken, others come
          if (!second && !(await namesIn(world.raw)).some((name) => name.endsWith('.csv'))) {
            second = true
            await world.drop(secondWave)
          }
          return doomed.end
        },
        { what: () => `the worker dies: ${doomed.story()}` },
      )
      assert.deepEqual(doomed.end, { code: null, signal: 'SIGKILL' }, doomed.story())
      await diedThere(world, { point, occurrence })
      if (!second) await world.drop(secondWave)
      await using worker = world.start(['work', 'shop-events'])
      await world.drained(everything, { worker })
      assert.deepEqual(await worker.stop(), { code: 0, signal: null })
      await judge(world, everything)
    })
  }

  for (const { point, occurrence } of bounded) {
    test(`a bounded run killed at "${point}", time ${occurrence}, is completed by the same command`, async () => {
      await using database = await testDatabase()
      await using world = await openWorld(database)
      await world.lay(everything)
      const command = ['run', 'shop-events', '--input', world.inputs, '--json']
      await using doomed = world.start(command, { MILLRACE_FAILPOINT: `${point}@${occurrence}=kill` })
      assert.deepEqual(await doomed.ended(), { code: null, signal: 'SIGKILL' }, doomed.story())
      await diedThere(world, { point, occurrence })
      await using second = world.start(command)
      assert.deepEqual(await second.ended(), { code: 0, signal: null }, second.story())
      await judge(world, everything, everything)
      if (occurrence > 1) return
      await using third = world.start(command)
      assert.deepEqual(await third.ended(), { code: 0, signal: null }, third.story())
      assert.partialDeepStrictEqual(JSON.parse(third.out), { pipeline: 'shop-events', rows_in: 0, batches: 0 })
      await judge(world, everything, everything)
    })
  }
})

// How many batches were committed when it died says that it died where it was told to.
async function diedThere(world: World, { point, occurrence }: Case): Promise<void> {
  const [stored] = await world.sql<{ batch: number }>(
    `select batch from millrace.pipelines where pipeline = 'shop-events'`,
  )
  const batch = stored?.batch ?? 0
  switch (point) {
    case 'listed':
    case 'claimed':
      if (occurrence === 1) assert.equal(batch, 0)
      return
    case 'staged':
    case 'validated':
      assert.ok(batch < occurrence, `${batch} batches were committed`)
      return
    case 'before begin':
    case 'after rows':
    case 'after state':
    case 'after positions':
    case 'commit sent':
      assert.equal(batch, occurrence - 1)
      return
    case 'commit acknowledged':
      assert.equal(batch, occurrence)
      return
    case 'effect quarantine':
    case 'effect move files':
    case 'effect metrics':
      assert.ok(batch >= Math.ceil(occurrence / 2), `${batch} batches were committed`)
      return
    case 'effects done':
      assert.ok(batch >= occurrence, `${batch} batches were committed`)
  }
}

function isEffect(point: Failpoint): boolean {
  return point.startsWith('effect ')
}
