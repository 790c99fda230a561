import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { ownServer } from './crash/cluster.ts'
import { firstWave, goodFile, modelOf, secondWave } from './crash/events.ts'
import { judge } from './crash/judge.ts'
import { eventually } from './crash/process.ts'
import { standsInTransaction } from './crash/standing.ts'
import { openWorld } from './crash/world.ts'
import { testDatabase } from './postgres.ts'

const full = Boolean(process.env['CI'] || process.env['MILLRACE_FULL'])
const awayMs = full ? 20_000 : 5_000
const everything = [...firstWave, ...secondWave]
const later = goodFile('z-later.csv', ['z1', 'z2', 'z3'])

describe(`a Postgres that fails, for ${awayMs / 1000} s`, { concurrency: 4 }, () => {
  for (const verb of ['start', 'work shop-events']) {
    for (const point of ['after rows', 'commit sent']) {
      // without all of them, each verb and each point once
      if (!full && (verb === 'start') !== (point === 'after rows')) continue
      test(`killed with kill -9 under "${verb}" at "${point}", it is brought up again, and nothing is lost or double`, async () => {
        await using world = await openWorld()
        await world.drop(firstWave)
        await using worker = world.start(verb.split(' '), { PORT: '0', MILLRACE_FAILPOINT: `${point}@2=delay:1500` })
        await standsInTransaction(world, worker)
        await world.cluster.kill()
        const before = worker.log.length
        await worker.says('retrying')
        await worker.says('running', { from: before, withinMs: 60_000 })
        await world.drop(secondWave)
        await world.drained(everything, { worker })
        // once more, while it has nothing to do
        const idle = worker.log.length
        await world.cluster.kill()
        await worker.says('retrying', { from: idle })
        await worker.says('running', { from: idle, withinMs: 60_000 })
        await world.drop([later])
        await world.drained([...everything, later], { worker })
        await judge(world, [...everything, later])
        assert.deepEqual(await worker.stop(), { code: 0, signal: null })
      })
    }
  }

  test('killed with kill -9 under a bounded run, it is brought up again, and the run completes', async () => {
    await using world = await openWorld()
    await world.lay(everything)
    await using run = world.start(['run', 'shop-events', '--input', world.inputs, '--json'], {
      MILLRACE_FAILPOINT: 'after rows@2=delay:1500',
    })
    await standsInTransaction(world, run)
    await world.cluster.kill()
    assert.deepEqual(await run.ended(60_000), { code: 0, signal: null }, run.story())
    const { rowsIn, written, duplicates, dead } = modelOf(everything).books
    assert.partialDeepStrictEqual(JSON.parse(run.out), { rows_in: rowsIn, written, duplicates, dead })
    await using holder = world.start(['work', 'shop-events'])
    await holder.says('running')
    await judge(world, everything, everything)
    assert.deepEqual(await holder.stop(), { code: 0, signal: null })
  })

  test('for one transaction alone, it is asked again by the worker that still has the lease', async () => {
    await using database = await testDatabase()
    await using world = await openWorld(database)
    await using migrate = world.start(['migrate'])
    assert.equal((await migrate.ended()).code, 0, migrate.story())
    await world.sql('create sequence tries')
    await world.sql(`
      create function fail_twice() returns trigger language plpgsql as $$
      begin
        -- a sequence is not rolled back
        if nextval('tries') <= 2 then raise exception 'could not serialize access' using errcode = '40001'; end if;
        return null;
      end $$`)
    await world.sql('create trigger fail_twice before insert on user_events execute function fail_twice()')
    await world.lay(firstWave)
    await using run = world.start(['run', 'shop-events', '--input', world.inputs])
    assert.deepEqual(await run.ended(), { code: 0, signal: null }, run.story())
    assert.equal(run.log.filter(({ event }) => event === 'retrying').length, 2, run.story())
    const [{ n } = { n: 0 }] = await world.sql<{ n: number }>('select count(*)::int as n from user_events')
    assert.equal(n, modelOf(firstWave).books.written)
  })

  test('shut down for a while, it is waited for, visibly', async () => {
    await using folder = await temporary()
    await using server = await ownServer(folder.path)
    await using world = await openWorld(server.postgres)
    await using worker = world.start(['start'], { PORT: '0', MILLRACE_FAILPOINT: 'after rows@2=delay:1500' })
    await worker.says('running')
    await world.drop(firstWave)
    await standsInTransaction(world, worker)
    await server.cluster.shutDown()
    const away = performance.now()
    await worker.says('retrying')
    await world.drop(secondWave)
    const tries = await eventually(
      async () => {
        const times = worker.log
          .filter(({ event, pipeline }) => event === 'retrying' && pipeline === 'shop-events')
          .map((line) => Number(line['next_in_ms']))
        return times.length >= 4 && times
      },
      { what: () => `it tries again and again: ${worker.story()}` },
    )
    assert.deepEqual(
      tries,
      tries.toSorted((a, b) => a - b),
      'it waits longer each time',
    )
    assert.partialDeepStrictEqual(await world.status(), { pipeline: 'shop-events', state: { is: 'retrying' } })
    await pause(Math.max(0, awayMs - (performance.now() - away)))
    const before = worker.log.length
    await server.postgres.ensureUp()
    await worker.says('running', { from: before })
    await world.drained(everything, { worker })
    assert.deepEqual(await worker.stop(), { code: 0, signal: null })
    await judge(world, everything)
  })

  test('silent for a while, it is waited for', async () => {
    await using folder = await temporary()
    await using server = await ownServer(folder.path)
    await using world = await openWorld(server.postgres)
    await using worker = world.start(['work', 'shop-events'], { MILLRACE_FAILPOINT: 'after rows@2=delay:1500' })
    await worker.says('running')
    await world.drop(firstWave)
    await standsInTransaction(world, worker)
    await server.cluster.freeze()
    const before = worker.log.length
    await world.drop(secondWave)
    await pause(awayMs)
    // a short silence may be a slow disk; a long one is a failure
    if (full)
      assert.ok(
        worker.log.slice(before).some(({ event }) => event === 'retrying'),
        worker.story(),
      )
    await server.cluster.goOn()
    await world.drained(everything, { worker })
    assert.deepEqual(await worker.stop(), { code: 0, signal: null })
    await judge(world, everything)
  })
})

async function temporary(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'millrace-crash-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}
