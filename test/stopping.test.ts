import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { type Cluster, ownServer } from './crash/cluster.ts'
import { firstWave, goodFile, secondWave } from './crash/events.ts'
import { judge } from './crash/judge.ts'
import type { Millrace } from './crash/process.ts'
import { standsInTransaction } from './crash/standing.ts'
import { openWorld } from './crash/world.ts'
import { testDatabase } from './postgres.ts'

const everything = [...firstWave, ...secondWave]
const many = Array.from({ length: 40 }, (_, i) =>
  goodFile(
    `m-${i}.csv`,
    Array.from({ length: 6 }, (_, n) => `${i}/${n}`),
  ),
)
const work = ['work', 'shop-events']

describe('a worker that is told to stop', { concurrency: 3 }, () => {
  for (const verb of ['work shop-events', 'start']) {
    test(`in the middle of a transaction ("${verb}") finishes it, ends well, and leaves the rest for later`, async () => {
      await using database = await testDatabase()
      await using world = await openWorld(database)
      await world.drop(everything)
      await using worker = world.start(verb.split(' '), { PORT: '0', MILLRACE_FAILPOINT: 'after rows@2=delay:1500' })
      await standsInTransaction(world, worker)
      await stopsSoon(worker)
      assert.deepEqual(await world.sql(`select batch::int from millrace.pipelines where pipeline = 'shop-events'`), [
        { batch: 2 },
      ])
      assert.deepEqual(await world.sql(`select owner from millrace.leases where pipeline = 'shop-events'`), [
        { owner: null },
      ])
      await using second = world.start(work)
      await world.drained(everything, { worker: second })
      await stopsSoon(second)
      await judge(world, everything)
    })
  }

  test('with a full folder before it stops between two batches', async () => {
    await using database = await testDatabase()
    await using world = await openWorld(database)
    await world.drop(many)
    await using worker = world.start(work)
    await worker.says('running')
    await stopsSoon(worker)
    const [stopped] = await world.sql<{ batch: number }>(
      `select batch from millrace.pipelines where pipeline = 'shop-events'`,
    )
    assert.ok((stopped?.batch ?? 0) < many.length, 'it was busy')
    await using second = world.start(work)
    await world.drained(many, { worker: second })
    await stopsSoon(second)
    await judge(world, many)
  })

  test('while it stands by, or while its lease is lent, does not wait for the other one', async () => {
    await using database = await testDatabase()
    await using world = await openWorld(database)
    await world.lay(everything)
    await using owner = world.start(work)
    await owner.says('running')
    await using standby = world.start(work)
    await standby.says('standing by')
    await stopsSoon(standby)
    await using run = world.start(['run', 'shop-events', '--input', world.inputs, '--json'], {
      MILLRACE_FAILPOINT: 'after rows@2=delay:4000',
    })
    await owner.says('lending the lease')
    await standsInTransaction(world, run)
    await stopsSoon(owner, 3_000)
    assert.deepEqual(await run.ended(), { code: 0, signal: null }, run.story())
    await judge(world, everything, everything)
  })

  const failures: [string, number, (cluster: Cluster) => Promise<void>][] = [
    ['is shut down', 0, (cluster) => cluster.shutDown()],
    // the commit in hand may wait for ever: the process ends without it, and says so
    ['is silent', 1, (cluster) => cluster.freeze()],
  ]
  for (const [what, code, fail] of failures) {
    test(`while Postgres ${what} ends all the same, and loses nothing`, async () => {
      await using folder = await temporary()
      await using server = await ownServer(folder.path)
      await using world = await openWorld(server.postgres)
      await world.drop(everything)
      await using worker = world.start(work, { MILLRACE_FAILPOINT: 'after rows@2=delay:1500' })
      await standsInTransaction(world, worker)
      await fail(server.cluster)
      await stopsSoon(worker, 10_000, code)
      await server.cluster.goOn()
      await server.postgres.ensureUp()
      await using second = world.start(work)
      await world.drained(everything, { worker: second })
      await stopsSoon(second)
      await judge(world, everything)
    })
  }
})

test('a worker that cannot do what follows a commit says so and tries again, also when no batch follows', async () => {
  await using database = await testDatabase()
  await using world = await openWorld(database)
  await writeFile(world.error, 'in the way of the quarantine folder')
  const single = secondWave.slice(0, 1)
  await world.drop(single)
  await using worker = world.start(work)
  await worker.says('retrying')
  await rm(world.error)
  await world.drained(single, { worker })
  await stopsSoon(worker)
  await judge(world, single)
})

async function stopsSoon(worker: Millrace, withinMs = 10_000, code = 0): Promise<void> {
  const told = performance.now()
  assert.deepEqual(await worker.stop(30_000), { code, signal: null }, worker.story())
  if (code !== 0) assert.match(worker.story(), /did not stop in time/)
  assert.ok(performance.now() - told < withinMs, `it took ${performance.now() - told} ms`)
}

async function temporary(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'millrace-crash-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}
