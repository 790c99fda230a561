/**
 * A bounded run of flyers that goes through buckets, killed at a fail point and given again. Long, for each case starts
 * processes of its own on a Postgres.
 */
import assert from 'node:assert/strict'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { generate } from '../pipelines/flyers/generate.ts'
import { sampleRequest } from '../pipelines/sample-request.ts'
import { Duck } from '../src/engine/duckdb.ts'
import { failpoints, runFailpoints } from '../src/failpoint.ts'
import { sqlText } from '../src/plan/identifier.ts'
import { casesOf, howMany, type KillCase, keepDatabase, killRun, ofBoundedRuns } from './crash/kill-cases.ts'
import { openWorld, type World } from './crash/world.ts'
import { testDatabase } from './postgres.ts'

const core: KillCase[] = [
  { point: 'rows left', occurrence: 3 },
  { point: 'commit acknowledged', occurrence: 8 },
  { point: 'effect publish files', occurrence: 12 },
]
const points = [...failpoints, ...runFailpoints].filter((point) => point !== 'effect move files')
const all = points.flatMap((point): KillCase[] => [2, 7].map((occurrence) => ({ point, occurrence })))
const chosen = ofBoundedRuns(casesOf(core, all))

describe(`a run through buckets, killed with SIGKILL, ${howMany}`, { concurrency: 2 }, () => {
  keepDatabase()
  let wanted: unknown

  before(async () => {
    await using database = await testDatabase()
    await using world = await openWorld(database)
    const command = await lay(world)
    await using run = world.start(command, { BATCH_MAX_ROWS: '60' })
    assert.deepEqual(await run.ended(), { code: 0, signal: null }, run.story())
    wanted = await outcome(world)
  })

  for (const { point, occurrence } of chosen) {
    test(`at "${point}", time ${occurrence}, is completed by the same command`, async () => {
      await using database = await testDatabase()
      await using world = await openWorld(database)
      const command = await lay(world)
      await killRun(world, command, { point, occurrence }, async () => {}, { BATCH_MAX_ROWS: '60' })
      assert.deepEqual(await outcome(world), wanted)
    })
  }

  test('another run waits until it is given again, or given up', async () => {
    await using database = await testDatabase()
    await using world = await openWorld(database)
    const command = await lay(world)
    const env = { BATCH_MAX_ROWS: '60' }
    await using doomed = world.start(command, { ...env, MILLRACE_FAILPOINT: 'commit acknowledged@4=kill' })
    await doomed.ended()
    await using other = world.start(['run', 'flyers', '--input', join(world.inputs, 'a.csv'), '--json'], env)
    assert.deepEqual(await other.ended(), { code: 1, signal: null }, other.story())
    assert.match(other.story(), /RUN_UNFINISHED.*was interrupted/s)
    await using reset = world.start(['reset', 'flyers', '--results', '--yes'], env)
    assert.deepEqual(await reset.ended(), { code: 0, signal: null }, reset.story())
    await using again = world.start(command, env)
    assert.deepEqual(await again.ended(), { code: 0, signal: null }, again.story())
    const { users } = await outcome(world)
    assert.deepEqual(users, (wanted as Awaited<ReturnType<typeof outcome>>).users)
  })
})

async function lay(world: World): Promise<string[]> {
  const paths = ['a.csv', 'b.csv'].map((name) => join(world.inputs, name))
  for (const [i, to] of paths.entries())
    await generate(
      sampleRequest({ count: 300, durationSeconds: 3000, seed: i + 1, badPercent: 2, duplicatePercent: 3, to }),
    )
  return ['run', 'flyers', '--input', ...paths, '--final', '--json']
}

/** The tables, the files and the books of a run. */
async function outcome({ sql, data }: World) {
  const users = await sql('select * from flyer_time_per_user order by user_id')
  const merchants = await sql('select * from merchant_flyer_daily order by merchant_id, flyer_id, day')
  const letters = await sql(
    `select regexp_replace(place, '.*/', '') as file, line, code from millrace.dead_letters order by 1, 2`,
  )
  const [books] = await sql(`
    select sum(rows_in)::int as rows_in, sum(written)::int as written, sum(filtered)::int as filtered,
           sum(duplicates)::int as duplicates, sum(late)::int as late, sum(dead)::int as dead
    from   millrace.batches
    where  pipeline = 'flyers'`)
  const kept = await sql(`select from millrace.keyed_state where pipeline = 'flyers'`)
  assert.deepEqual(kept, [], 'what is kept of keys')
  const runs = join(data, 'runs')
  const files = await readdir(runs, { recursive: true })
  assert.deepEqual(
    files.filter((path) => path.includes('buckets')),
    [],
    'buckets are gone',
  )
  const parquet = files.filter((path) => path.endsWith('.parquet')).map((path) => sqlText(join(runs, path)))
  const temporary = join(data, 'reading')
  await using duck = await Duck.open({ folders: [runs], temporary, memoryLimitMb: 128, threads: 1 })
  using session = await duck.connect()
  const sessions = await session.rows(`select * from read_parquet([${parquet.join(', ')}]) order by all`)
  await rm(temporary, { recursive: true, force: true })
  assert.ok(sessions.length > 100, 'there are sessions')
  return { users, merchants, letters, books, sessions }
}
