import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Failpoint, failpoints, publishFailpoints } from '../src/failpoint.ts'
import { openLocalTopics } from '../src/sources/topic/log/open.ts'
import { eventually } from './crash/process.ts'
import { firstOrders, judgeMessages, messagesIn, publishingModule, secondOrders } from './crash/published.ts'
import { namesIn, openWorld, type World } from './crash/world.ts'
import { type TestDatabase, testDatabase } from './postgres.ts'

// CI runs this a second time, on another Postgres: there the core is enough.
const again = process.env['MILLRACE_TEST_DATABASE_URL'] !== undefined
const full = Boolean(process.env['MILLRACE_FULL'] || (process.env['CI'] && !again))
const everything = [...firstOrders, ...secondOrders]

interface Case {
  point: Failpoint
  occurrence: number
}

// Before, within and after the transaction; and of publishing, before the append, behind it, and behind the cursor.
const core: Case[] = [
  { point: 'after rows', occurrence: 2 },
  { point: 'commit sent', occurrence: 3 },
  { point: 'commit acknowledged', occurrence: 2 },
  ...[1, 2, 3, 5].map((occurrence): Case => ({ point: 'effect publish', occurrence })),
]
// This pipeline writes no files.
const reached = [...failpoints.filter((point) => point !== 'effect publish files'), ...publishFailpoints]
const all: Case[] = reached.flatMap((point) =>
  (point === 'effect publish' ? [1, 2, 3, 4, 5, 6] : [1, 3]).map((occurrence) => ({ point, occurrence })),
)
const chosen = full ? all : core
const bounded = chosen.filter(({ point }) => point !== 'listed' && point !== 'claimed')

describe(`a pipeline that publishes, killed with SIGKILL at a fail point, ${full ? 'all' : 'the core (MILLRACE_FULL=1: all)'}`, {
  concurrency: 2,
}, () => {
  // keeps the shared server up from case to case
  let server: TestDatabase
  before(async () => {
    server = await testDatabase()
  })
  after(async () => await server[Symbol.asyncDispose]())

  for (const { point, occurrence } of chosen) {
    test(`a worker killed at "${point}", time ${occurrence}, publishes each committed row, and no other`, async () => {
      await using database = await testDatabase()
      await using world = await openWorld(database)
      const module = await publishingModule(world)
      await world.drop(firstOrders)
      await using doomed = world.start(['work', module], { MILLRACE_FAILPOINT: `${point}@${occurrence}=kill` })
      let second = false
      await eventually(
        async () => {
          // once the first files are taken, others come
          if (!second && !(await namesIn(world.raw)).some((name) => name.endsWith('.csv'))) {
            second = true
            await world.drop(secondOrders)
          }
          return doomed.end
        },
        { what: () => `the worker dies: ${doomed.story()}` },
      )
      assert.deepEqual(doomed.end, { code: null, signal: 'SIGKILL' }, doomed.story())
      const committed = await batches(world)
      for (const { headers } of await messagesOf(world)) {
        const batch = Number(headers[0]?.[1]?.split('/')[1])
        assert.ok(batch <= committed, `batch ${batch} is published, and ${committed} are committed`)
      }
      if (!second) await world.drop(secondOrders)
      await using worker = world.start(['work', module])
      // the killed one may have read everything, and one that has not begun cannot end in peace
      await worker.says('running')
      await world.drained(everything, { worker })
      assert.deepEqual(await worker.stop(), { code: 0, signal: null })
      const { repeats } = await judge(world)
      // appended, and killed before that was noted
      if (point === 'effect publish' && occurrence % 3 === 2) assert.ok(repeats > 0, 'there are repeats')
    })
  }

  for (const { point, occurrence } of bounded) {
    test(`a bounded run killed at "${point}", time ${occurrence}, is completed by the same command`, async () => {
      await using database = await testDatabase()
      await using world = await openWorld(database)
      const module = await publishingModule(world)
      await world.lay(everything)
      const command = ['run', module, '--input', world.inputs, '--json']
      await using doomed = world.start(command, { MILLRACE_FAILPOINT: `${point}@${occurrence}=kill` })
      assert.deepEqual(await doomed.ended(), { code: null, signal: 'SIGKILL' }, doomed.story())
      await using second = world.start(command)
      assert.deepEqual(await second.ended(), { code: 0, signal: null }, second.story())
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
