import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Failpoint, failpoints } from '../src/failpoint.ts'
import { firstWave, secondWave } from './crash/events.ts'
import { judge } from './crash/judge.ts'
import {
  casesOf,
  howMany,
  type KillCase,
  keepDatabase,
  killRun,
  killWorker,
  ofBoundedRuns,
  replaceWorker,
} from './crash/kill-cases.ts'
import { openWorld, type World } from './crash/world.ts'
import { testDatabase } from './postgres.ts'

const everything = [...firstWave, ...secondWave]

// One of each kind of place: a file taken, rows staged, within the transaction, on both sides of its end, the effects.
const core: KillCase[] = [
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
const all: KillCase[] = failpoints.flatMap((point) =>
  (isEffect(point) ? [1, 2, 3, 4] : [1, 2]).map((occurrence) => ({ point, occurrence })),
)
const chosen = casesOf(core, all)

describe(`killed with SIGKILL at a fail point, ${howMany}`, {
  concurrency: 2,
}, () => {
  keepDatabase()

  for (const { point, occurrence } of chosen) {
    test(`a worker killed at "${point}", time ${occurrence}, loses and doubles nothing`, async () => {
      await using database = await testDatabase()
      await using world = await openWorld(database)
      await killWorker(world, 'shop-events', [firstWave, secondWave], { point, occurrence }, () =>
        diedThere(world, { point, occurrence }),
      )
      await replaceWorker(world, 'shop-events', everything)
      await judge(world, everything)
    })
  }

  for (const { point, occurrence } of ofBoundedRuns(chosen)) {
    test(`a bounded run killed at "${point}", time ${occurrence}, is completed by the same command`, async () => {
      await using database = await testDatabase()
      await using world = await openWorld(database)
      await world.lay(everything)
      const command = ['run', 'shop-events', '--input', world.inputs, '--json']
      await killRun(world, command, { point, occurrence }, () => diedThere(world, { point, occurrence }))
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
async function diedThere(world: World, { point, occurrence }: KillCase): Promise<void> {
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
