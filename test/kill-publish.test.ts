import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { failpoints, publishFailpoints } from '../src/failpoint.ts'
import { openLocalTopics } from '../src/sources/topic/log/open.ts'
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
import { firstOrders, judgeMessages, messagesIn, publishingModule, secondOrders } from './crash/published.ts'
import { openWorld, type World } from './crash/world.ts'
import { testDatabase } from './postgres.ts'

const everything = [...firstOrders, ...secondOrders]

// Before, within and after the transaction; and of publishing, before the append, behind it, and behind the cursor.
const core: KillCase[] = [
  { point: 'after rows', occurrence: 2 },
  { point: 'commit sent', occurrence: 3 },
  { point: 'commit acknowledged', occurrence: 2 },
  ...[1, 2, 3, 5].map((occurrence): KillCase => ({ point: 'effect publish', occurrence })),
]
// This pipeline writes no files.
const reached = [...failpoints.filter((point) => point !== 'effect publish files'), ...publishFailpoints]
const all: KillCase[] = reached.flatMap((point) =>
  (point === 'effect publish' ? [1, 2, 3, 4, 5, 6] : [1, 3]).map((occurrence) => ({ point, occurrence })),
)
const chosen = casesOf(core, all)

describe(`a pipeline that publishes, killed with SIGKILL at a fail point, ${howMany}`, {
  concurrency: 2,
}, () => {
  keepDatabase()

  for (const { point, occurrence } of chosen) {
    test(`a worker killed at "${point}", time ${occurrence}, publishes each committed row, and no other`, async () => {
      await using database = await testDatabase()
      await using world = await openWorld(database)
      const module = await publishingModule(world)
      await killWorker(world, module, [firstOrders, secondOrders], { point, occurrence }, async () => {
        const committed = await batches(world)
        for (const { headers } of await messagesOf(world)) {
          const batch = Number(headers[0]?.[1]?.split('/')[1])
          assert.ok(batch <= committed, `batch ${batch} is published, and ${committed} are committed`)
        }
      })
      await replaceWorker(world, module, everything)
      const { repeats } = await judge(world)
      // appended, and killed before that was noted
      if (point === 'effect publish' && occurrence % 3 === 2) assert.ok(repeats > 0, 'there are repeats')
    })
  }

  for (const { point, occurrence } of ofBoundedRuns(chosen)) {
    test(`a bounded run killed at "${point}", time ${occurrence}, is completed by the same command`, async () => {
      await using database = await testDatabase()
      await using world = await openWorld(database)
      const module = await publishingModule(world)
      await world.lay(everything)
      const command = ['run', module, '--input', world.inputs, '--json']
      await killRun(world, command, { point, occurrence })
      await judge(world)
    })
  }
})

async function messagesOf(world: World) {
  return await messagesIn(openLocalTopics(join(world.data, 'topics')))
}

async function batches(world: World): Promise<number> {
  const [stored] = await world.sql<{ batch: number }>('select batch from millrace.pipelines')
  return stored?.batch ?? 0
}

/** Holds the topic against the table, and both against what was given. */
async function judge(world: World) {
  const rows = await world.sql<{ who: string; n: number; batch: number }>('select who, n, batch from made')
  const given = everything.flatMap(({ rows }) => rows.map(([, n]) => Number(n))).filter((n) => n > 0)
  assert.deepEqual(rows.map(({ n }) => n).sort(), given.sort())
  const [left] = await world.sql<{ n: number }>('select count(*)::int as n from millrace.outbox')
  assert.equal(left?.n, 0, 'nothing waits')
  const [books] = await world.sql<{ written: number; published: number }>(`
    select sum(written)::int as written, sum((rows_out -> 'publish' ->> 'inserted')::int)::int as published
    from   millrace.batches`)
  assert.deepEqual(books, { written: given.length, published: given.length })
  return judgeMessages(await messagesOf(world), rows)
}
