/** A stream on Spark: what lands is what lands without it, however often the worker and the server die on the way. */
import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { generate } from '../pipelines/flyers/generate.ts'
import { flyers } from '../pipelines/flyers/pipeline.ts'
import { sampleRequest } from '../pipelines/sample-request.ts'
import { SparkSession } from '../src/spark/connect.ts'
import { type End, eventually, type Millrace, startMillrace } from './crash/process.ts'
import { freePort } from './free-port.ts'
import { noSpark, TestSpark } from './spark/server.ts'
import { openSparkWorld, type SparkWorld } from './spark/world.ts'

// the manifest is compacted within a few batches
const server =
  noSpark === false ? await TestSpark.start({ 'spark.sql.streaming.fileSink.log.compactInterval': '3' }) : undefined
after(() => server?.[Symbol.asyncDispose]())
const onSpark = { skip: noSpark, timeout: 15 * 60_000 }
const ownServer = {
  ...onSpark,
  skip: noSpark || (process.env['MILLRACE_TEST_SPARK_REMOTE'] === undefined ? false : 'the server is not of this test'),
}
const remote = server?.remote ?? ''

/** Spark starts its first query in many seconds on a busy machine. */
const withinMs = 180_000

test('flyers is the same through Spark as here, of files that come while workers come and go', onSpark, async () => {
  await using world = await openSparkWorld(flyers, remote, { FLYERS_SESSIONS: 'table' })
  const waves = await wavesOf(world, 4)
  for (const [i, wave] of waves.entries()) {
    await using worker = workOn(world)
    await wave.drop()
    await landed(world, worker, waves.slice(0, i + 1))
    assert.deepEqual(await worker.stop(60_000), { code: 0, signal: null }, worker.story())
  }
  await sameAsHere(world, waves)
  const rows = join(streamFolder(world), 'rows')
  assert.ok((await readdir(join(rows, '_spark_metadata'))).includes('2.compact'), 'the manifest was compacted')
  const left = (await readdir(rows)).filter((name) => name.includes('.parquet'))
  assert.deepEqual(left, [], 'what is in the tables is gone from there')
})

test(
  'a worker that is killed before, in and behind its commit loses nothing and doubles nothing',
  onSpark,
  async () => {
    await using world = await openSparkWorld(flyers, remote, { FLYERS_SESSIONS: 'table' })
    const waves = await wavesOf(world, 3)
    const [first, second, third] = waves
    const dies = async (point: string): Promise<void> => {
      await using worker = workOn(world, { MILLRACE_FAILPOINT: `${point}=kill` })
      const killed: End = { code: null, signal: 'SIGKILL' }
      assert.deepEqual(await worker.ended(withinMs), killed, worker.story())
    }
    await first?.drop()
    for (const point of ['validated', 'after rows', 'commit acknowledged']) await dies(point)
    await second?.drop()
    await dies('commit sent')
    await using worker = workOn(world)
    await third?.drop()
    await landed(world, worker, waves)
    await sameAsHere(world, waves)
  },
)

test('a Spark server that is killed between its batches and in one goes on where it was', ownServer, async () => {
  assert.ok(server)
  await using world = await openSparkWorld(flyers, remote, { FLYERS_SESSIONS: 'table' })
  const waves = await wavesOf(world, 3)
  const [first, second, third] = waves
  await using worker = workOn(world)
  await first?.drop()
  await landed(world, worker, waves.slice(0, 1))
  await server.kill()
  await second?.drop()
  await server.start()
  await landed(world, worker, waves.slice(0, 2))
  const offsets = join(streamFolder(world), 'checkpoint', 'offsets')
  const begun = (await readdir(offsets)).length
  await third?.drop()
  // it has written down what it is about to read
  await eventually(async () => (await readdir(offsets)).length > begun, { what: () => worker.story(), withinMs })
  await server.kill()
  await server.start()
  await landed(world, worker, waves)
  assert.ok(
    worker.log.some(({ event }) => event === 'starting the queries on Spark again'),
    worker.story(),
  )
  assert.deepEqual(await worker.stop(60_000), { code: 0, signal: null }, worker.story())
  await sameAsHere(world, waves)
})

test(
  'what was read is read again from the beginning when it was forgotten, and not by another engine',
  onSpark,
  async () => {
    await using world = await openSparkWorld(flyers, remote, { FLYERS_SESSIONS: 'table' })
    const waves = await wavesOf(world, 1)
    await waves[0]?.drop()
    const worker = workOn(world)
    await using _ = worker
    await landed(world, worker, waves)
    await using here = startMillrace(['work', 'flyers'], world.folder, environment(world))
    await here.says('standing by')
    assert.deepEqual(await worker.stop(60_000), { code: 0, signal: null }, worker.story())
    assert.equal((await here.ended(60_000)).code, 2, here.story())
    assert.match(here.story(), /its topic was read by Spark, and would be read from the beginning once more/)

    await using again = workOn(world)
    await again.says('running', { withinMs })
    await using reset = startMillrace(['reset', 'flyers', '--results', '--yes'], world.folder, environment(world))
    assert.deepEqual(await reset.ended(60_000), { code: 0, signal: null }, reset.story())
    await landed(world, again, waves)
    await sameAsHere(world, waves)
  },
)

test(
  'a late row and a dead letter are told with the line they came in, and the letter is replayed',
  onSpark,
  async () => {
    await using world = await openSparkWorld(flyers, remote, { FLYERS_SESSIONS: 'table' })
    const event = (timestamp: string, what: string): string =>
      JSON.stringify({ timestamp, user_id: 'u', event: what, flyer_id: 'f', merchant_id: 'm' })
    const late = event('2026-01-01T00:00:00Z', 'flyer_open')
    const bad = event('2026-01-10T00:00:00Z', 'flyer_close').replace('"f"', '""')
    const folder = join(world.folder, 'in')
    await mkdir(folder)
    const drop = async (name: string, ...lines: string[]): Promise<Wave> => {
      await writeFile(join(world.folder, name), `${lines.join('\n')}\n`)
      return { rows: lines.length, drop: async () => await rename(join(world.folder, name), join(folder, name)) }
    }
    const waves = [
      await drop('a.jsonl', event('2026-01-09T23:00:00Z', 'flyer_open'), event('2026-01-10T00:00:00Z', 'scroll')),
      await drop('b.jsonl', late, bad),
    ]
    await using worker = workOn(world)
    for (const [i, wave] of waves.entries()) {
      await wave.drop()
      await landed(world, worker, waves.slice(0, i + 1))
    }
    const path = join(folder, 'b.jsonl')
    assert.deepEqual(await world.sql('select place, raw, late_by_ms::int from millrace.late_rows'), [
      { place: path, raw: late, late_by_ms: 8 * 86_400_000 - 3_600_000 },
    ])
    assert.deepEqual(await world.sql('select place, raw, code, stage from millrace.dead_letters'), [
      { place: path, raw: bad, code: 'NO_FLYER', stage: 'validate' },
    ])
    const [letter] = await world.sql('select id::text from millrace.dead_letters')
    const words = ['dead-letters', 'replay', String(letter?.['id']), '--set', 'flyer_id=f']
    await using replay = startMillrace([...words, '--yes'], world.folder, environment(world))
    assert.deepEqual(await replay.ended(60_000), { code: 0, signal: null }, replay.story())
    assert.deepEqual(await world.sql(`select outcome, seconds::int from flyer_sessions`), [
      { outcome: 'paired', seconds: 3600 },
    ])
  },
)

test('a worker whose Spark is away says so, and stops when it is told to', onSpark, async () => {
  await using world = await openSparkWorld(flyers, remote)
  await mkdir(join(world.folder, 'in'))
  await using worker = workOn(world, { SPARK_REMOTE: `sc://127.0.0.1:${await freePort()}` })
  await worker.says('starting the queries on Spark again', { withinMs })
  assert.deepEqual(await worker.stop(), { code: 0, signal: null }, worker.story())
})

test('Parquet that is dropped is read too, with the columns of the files that were there', onSpark, async () => {
  await using world = await openSparkWorld(flyers, remote, { FLYERS_SESSIONS: 'table' })
  const waves = await wavesOf(world, 2)
  const folder = join(world.folder, 'in')
  const drop = async (n: number): Promise<void> => {
    await waves[n]?.drop()
    const [lines, made] = [join(folder, `wave ${n}.jsonl`), join(world.folder, `parquet ${n}`)]
    await using session = await SparkSession.open({ remote })
    const sql = `select timestamp, user_id, event, flyer_id, merchant_id from json.\`${lines}\``
    await session.write({ sql, format: 'parquet', options: {}, path: made })
    const [part = ''] = (await readdir(made)).filter((name) => name.startsWith('part-'))
    await rename(join(made, part), join(folder, `wave ${n}.parquet`))
    await rm(lines)
  }
  await drop(0)
  await using worker = workOn(world, {}, join(world.folder, 'in', '*.parquet'))
  await landed(world, worker, waves.slice(0, 1))
  await drop(1)
  await landed(world, worker, waves)
  await sameAsHere(world, waves)
})

test('what Spark has written and nobody has taken is not begun without', onSpark, async () => {
  await using world = await openSparkWorld(flyers, remote, { FLYERS_SESSIONS: 'table' })
  const waves = await wavesOf(world, 1)
  await waves[0]?.drop()
  await using worker = workOn(world)
  await landed(world, worker, waves)
  await worker.stop(60_000)
  await rename(join(world.folder, 'spark'), join(world.folder, 'elsewhere'))
  await using other = workOn(world)
  assert.equal((await other.ended(60_000)).code, 1)
  assert.match(other.story(), /1 files of Spark are in the tables, and its manifest names 0/)
})

interface Wave {
  rows: number
  /** Moves its file into the folder. */
  drop(): Promise<void>
}

/** A day of events in files, some of them bad or no events of flyers; what comes last moves event time past all others. */
async function wavesOf(world: SparkWorld, count: number): Promise<Wave[]> {
  const made = join(world.folder, 'made.jsonl')
  const sample = { count: 1200, durationSeconds: 90_000, seed: 7, badPercent: 3, duplicatePercent: 3, to: made }
  await generate(sampleRequest(sample))
  const lines = (await readFile(made, 'utf8')).trimEnd().split('\n')
  const last = { timestamp: '2026-02-01T00:00:00Z', user_id: 'last', event: 'flyer_close', flyer_id: 'last' }
  const folder = join(world.folder, 'in')
  await mkdir(folder)
  const size = Math.ceil(lines.length / count)
  return Array.from({ length: count }, (_, i) => {
    const own = lines.slice(i * size, (i + 1) * size)
    if (i === count - 1) own.push(JSON.stringify(last))
    return {
      rows: own.length,
      async drop() {
        const whole = join(world.folder, `wave ${i}.jsonl`)
        await writeFile(whole, `${own.join('\n')}\n`)
        await rename(whole, join(folder, `wave ${i}.jsonl`))
      },
    }
  })
}

function environment(world: SparkWorld): Record<string, string> {
  return {
    DATABASE_URL: world.sparkDatabase.url,
    SPARK_REMOTE: remote,
    MILLRACE_DATA: world.folder,
    FLYERS_SESSIONS: 'table',
  }
}

function workOn(
  world: SparkWorld,
  more: Record<string, string> = {},
  input: string = join(world.folder, 'in'),
): Millrace {
  const words = ['work', 'flyers', '--engine', 'spark', '--input', input]
  return startMillrace(words, world.folder, { ...environment(world), ...more })
}

/** Of the first reading of the source. */
function streamFolder(world: SparkWorld): string {
  return join(world.folder, 'spark', 'flyers', 'flyers.events', '0')
}

async function landed(world: SparkWorld, worker: Millrace, waves: readonly Wave[]): Promise<void> {
  const wanted = waves.reduce((sum, { rows }) => sum + rows, 0)
  await worker.says('running', { withinMs })
  const look = async (): Promise<boolean> => {
    assert.equal(worker.end, undefined, worker.story())
    const [sum] = await world.sql('select coalesce(sum(rows_in), 0)::int as rows from millrace.batches')
    return sum?.['rows'] === wanted
  }
  await eventually(look, { what: () => `${wanted} rows are in: ${worker.story()}`, withinMs })
}

const sessions =
  'select pair_id, user_id, flyer_id, merchant_id, opened_at, closed_at, outcome, seconds from flyer_sessions order by pair_id'
const letters = `
  select source, place, stage, code, column_name, regexp_replace(message, ' \\(at byte \\d+\\)$', '') as message, raw, fields
  from   millrace.dead_letters
  order by place, raw collate "C"`

/** Tables, letters and books are those of a run over the same files here. */
async function sameAsHere(world: SparkWorld, waves: readonly Wave[]): Promise<void> {
  const books = await world.here([join(world.folder, 'in')])
  const tables = [
    sessions,
    'select * from flyer_time_per_user order by user_id',
    'select * from merchant_flyer_daily order by merchant_id, flyer_id, day',
    letters,
  ]
  // an open expires in a batch behind that of the last row
  const open = "select from flyer_sessions where outcome = 'open'"
  await eventually(async () => (await world.sql(open)).length === 0, { what: () => 'every open has expired' })
  for (const select of tables) {
    const { here, onSpark: there } = await world.both(select)
    assert.ok(here.length > 20, select)
    assert.deepEqual(there, here, select)
  }
  assert.equal(
    books.rowsIn,
    waves.reduce((sum, { rows }) => sum + rows, 0),
  )
  const [sum] = await world.sql(`
    select sum(rows_in)::int as "rowsIn", sum(written)::int as written, sum(filtered)::int as filtered,
           sum(duplicates)::int as duplicates, sum(late)::int as late, sum(dead)::int as dead
    from   millrace.batches
    where  kind = 'stream'`)
  assert.deepEqual(sum, books)
}
