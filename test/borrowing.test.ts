import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { firstWave, goodFile, type InputFile, modelOf, secondWave } from './crash/events.ts'
import { judge } from './crash/judge.ts'
import { eventually, type Millrace } from './crash/process.ts'
import { standsInTransaction } from './crash/standing.ts'
import { openWorld, type World } from './crash/world.ts'
import { type TestDatabase, testDatabase } from './postgres.ts'

// the files of the run share no event with those of the folder: their order is not fixed
const watched = firstWave
const given: InputFile[] = [
  goodFile('x-given.csv', ['x1', 'x2', 'x3', 'x4', 'x5', 'x6']),
  ...secondWave.map((file) => ({
    ...file,
    name: `x-${file.name}`,
    rows: file.rows.map((row) => row.map((field, i) => (i === 0 && field !== '' ? `x-${field}` : field))),
  })),
]
const later = goodFile('z-later.csv', ['z1', 'z2', 'z3'])
const work = ['work', 'shop-events']

describe('a bounded run beside a worker of the same pipeline', { concurrency: 3 }, () => {
  let server: TestDatabase
  before(async () => {
    server = await testDatabase()
  })
  after(async () => await server[Symbol.asyncDispose]())

  test('borrows the lease from a busy server, is seen to have it, and gives it back', async () => {
    await using database = await testDatabase()
    await using world = await openWorld(database)
    await world.lay(given)
    await using owner = world.start(['start'], { PORT: '0' })
    await owner.says('running')
    await world.drop(watched)
    await using run = startRun(world, { MILLRACE_FAILPOINT: 'after rows@2=delay:1500' })
    await lentTo(world, run)
    assert.partialDeepStrictEqual(await world.status(), {
      lent_by: ownerName(owner),
      owner: ownerName(run),
      state: { is: 'lending', to: ownerName(run) },
    })
    assert.deepEqual(await run.ended(), { code: 0, signal: null }, run.story())
    const { rowsIn, written } = modelOf(given).books
    assert.partialDeepStrictEqual(JSON.parse(run.out), { rows_in: rowsIn, written })
    await goesOn(world, owner)
    assert.partialDeepStrictEqual(await world.status(), {
      lent_by: null,
      owner: ownerName(owner),
      state: { is: 'running' },
    })
    assert.deepEqual(await owner.stop(), { code: 0, signal: null })
    await judge(world, [...watched, ...given, later], given)
  })

  test('that is killed in mid-transaction leaves the lease to the worker at once', async () => {
    await using database = await testDatabase()
    await using world = await openWorld(database)
    await world.lay(given)
    await world.drop(watched)
    await using owner = world.start(work)
    await owner.says('running')
    await using run = startRun(world, { MILLRACE_FAILPOINT: 'after positions@2=kill' })
    assert.deepEqual(await run.ended(), { code: null, signal: 'SIGKILL' }, run.story())
    const died = performance.now()
    await owner.says('running', { from: indexOf(owner, 'lending the lease') })
    assert.ok(performance.now() - died < 5_000, 'it is not left to expiry')
    await goesOn(world, owner)
    await using again = startRun(world)
    assert.deepEqual(await again.ended(), { code: 0, signal: null }, again.story())
    await owner.says('running', { from: owner.log.findLastIndex(({ event }) => event === 'lending the lease') })
    assert.deepEqual(await owner.stop(), { code: 0, signal: null })
    await judge(world, [...watched, later, ...given], given)
  })

  test('that is stopped in mid-transaction loses the lease to the worker, and completes when it wakes', async () => {
    await using database = await testDatabase()
    await using world = await openWorld(database)
    await world.lay(given)
    await world.drop(watched)
    await using owner = world.start(work)
    await owner.says('running')
    await using run = startRun(world, { MILLRACE_FAILPOINT: 'commit sent@2=delay:6000' })
    await lentTo(world, run)
    run.signal('SIGSTOP')
    await owner.says('running', { from: indexOf(owner, 'lending the lease') })
    await goesOn(world, owner)
    run.signal('SIGCONT')
    assert.deepEqual(await run.ended(), { code: 0, signal: null }, run.story())
    const { rowsIn, written } = modelOf(given).books
    assert.partialDeepStrictEqual(JSON.parse(run.out), { rows_in: rowsIn, written }, 'its books are right all the same')
    await owner.says('running', { from: owner.log.findLastIndex(({ event }) => event === 'lending the lease') })
    assert.deepEqual(await owner.stop(), { code: 0, signal: null })
    await judge(world, [...watched, later, ...given], given)
  })

  test('takes its turn when there are several', async () => {
    await using database = await testDatabase()
    await using world = await openWorld(database)
    await world.lay(given)
    await world.drop(watched)
    await using owner = world.start(work)
    await owner.says('running')
    // each reads one file of its own, so that all of them have something to do, and the others ask while the first has it
    const [one = '', ...others] = given.slice(0, 3).map(({ name }) => join(world.inputs, name))
    await using first = startRun(world, { MILLRACE_FAILPOINT: 'after rows@1=delay:2500' }, one)
    await lentTo(world, first)
    const runs = [first, ...others.map((path) => startRun(world, {}, path))]
    for (const run of runs) assert.deepEqual(await run.ended(), { code: 0, signal: null }, run.story())
    await using rest = startRun(world)
    assert.deepEqual(await rest.ended(), { code: 0, signal: null }, rest.story())
    await goesOn(world, owner)
    assert.deepEqual(await owner.stop(), { code: 0, signal: null })
    await judge(world, [...watched, ...given, later], given)
  })

  test('that is told to stop while it waits is not waited for', async () => {
    await using database = await testDatabase()
    await using world = await openWorld(database)
    await world.lay(given)
    await using owner = world.start(work, { MILLRACE_FAILPOINT: 'after rows@1=delay:2500' })
    await owner.says('running')
    await world.drop(watched)
    await using run = startRun(world)
    await eventually(
      async () => {
        const [row] = await world.sql<{ wanted_by: string | null }>(
          `select wanted_by from millrace.leases where pipeline = 'shop-events'`,
        )
        return row?.wanted_by === ownerName(run)
      },
      { what: () => `the lease is wanted: ${run.story()}` },
    )
    assert.deepEqual(await run.stop(), { code: 1, signal: null })
    const epoch = () => world.sql<{ epoch: string }>(`select epoch from millrace.leases where pipeline = 'shop-events'`)
    await eventually(async () => Number((await epoch())[0]?.epoch) === 2, {
      what: () => `the worker has the lease again, sooner than it would run out: ${owner.story()}`,
      withinMs: 9_000,
    })
    await goesOn(world, owner)
    assert.deepEqual(await owner.stop(), { code: 0, signal: null })
    assert.deepEqual(JSON.parse(run.out)['rows_in'], 0)
    await using again = startRun(world)
    assert.deepEqual(await again.ended(), { code: 0, signal: null }, again.story())
    await judge(world, [...watched, later, ...given], given)
  })
})

function startRun(world: World, env: Record<string, string> = {}, input = world.inputs): Millrace {
  return world.start(['run', 'shop-events', '--input', input, '--json'], env)
}

// Waits until the run has the lease and stands in a transaction.
async function lentTo(world: World, run: Millrace): Promise<void> {
  await eventually(
    async () => {
      const [row] = await world.sql<{ owner: string; lent: boolean }>(
        `select owner, lent_by is not null as lent from millrace.leases where pipeline = 'shop-events'`,
      )
      return row?.owner === ownerName(run) && row.lent
    },
    { what: () => `the lease is lent: ${run.story()}` },
  )
  await standsInTransaction(world, run)
}

// The worker has the lease again when it reads a file that comes only now.
async function goesOn(world: World, owner: Millrace): Promise<void> {
  await world.drop([later])
  await world.drained([...watched, later], { worker: owner })
}

function indexOf(process: Millrace, event: string): number {
  return process.log.findIndex((line) => line.event === event)
}

function ownerName(process: Millrace): string {
  return `${hostname()}:${process.pid}`
}
