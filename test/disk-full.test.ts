import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { Duck } from '../src/engine/duckdb.ts'
import { claimedFolder } from '../src/sources/files/claims.ts'
import { withLock } from '../src/store/embedded/lock.ts'
import { ownServer } from './crash/cluster.ts'
import { columns, event, firstWave, type InputFile, secondWave } from './crash/events.ts'
import { judge } from './crash/judge.ts'
import { eventually, type Millrace } from './crash/process.ts'
import { noDisks, smallDisk } from './crash/small-disk.ts'
import { openWorld, type World } from './crash/world.ts'
import { openTestDuckdb } from './duckdb.ts'
import { testDatabase } from './postgres.ts'

const everything = [...firstWave, ...secondWave]
// they come first, and take a while
const packed = [gzipSync, zstdCompressSync].map((pack, i): InputFile => {
  const rows = Array.from({ length: 60 }, (_, n) =>
    event(`${i}/${n}`, 'packed', { product_id: `${n}-`.repeat(20_000) }),
  )
  return { name: `${i}-packed.csv`, header: columns, rows, pack }
})

interface Full {
  what: string
  /** The folder whose disk is full. */
  folder(world: World): string
  env?: Record<string, string>
  first?: InputFile[]
  /** There would be no room for them later. */
  filesFirst?: boolean
  /** A pipeline beside it that has nothing on that disk goes on. */
  neighbour: boolean
}

const cases: Full[] = [
  { what: 'the data directory', folder: ({ data }) => data, neighbour: false },
  {
    what: 'the data directory, into which files are unpacked',
    folder: ({ data }) => data,
    first: packed,
    neighbour: false,
  },
  { what: 'the quarantine folder', folder: ({ error }) => error, neighbour: true },
  {
    what: 'the folder that a pipeline writes',
    folder: processed,
    env: { SHOP_EVENTS_PROCESSED: 'parquet' },
    neighbour: true,
  },
  // there is no room for another folder, so no file can be claimed
  { what: 'the watched folder', folder: ({ raw }) => raw, neighbour: true, filesFirst: true },
]

describe('a full disk', { skip: noDisks(), concurrency: 2 }, () => {
  for (const { what, folder, env = {}, first = [], filesFirst = false, neighbour } of cases) {
    test(`under ${what} is waited for: nothing is lost, double, or taken for a bad file`, async () => {
      await using database = await testDatabase()
      await using world = await openWorld(database)
      const at = folder(world)
      const dropped = [...first, ...everything]
      await using disk = await smallDisk(at)
      await addNeighbour(world)
      const pipelines = ['shop-events', ...(neighbour ? ['./neighbour.ts'] : [])]
      if (filesFirst) {
        await mkdir(claimedFolder(world.raw))
        await world.drop(dropped)
        await disk.fill()
      }
      await using worker = world.start(['start', ...pipelines], { PORT: '0', ...env })
      await worker.says('running')
      if (!filesFirst) {
        await disk.fill()
        await world.drop(dropped)
      }
      await pauses(worker, at)
      await isRetrying(world, worker)
      if (neighbour) await neighbourGoesOn(world)
      await stopsSoon(worker)

      await using second = world.start(['work', ...pipelines], env)
      await pauses(second, at)
      await disk.free()
      await world.drained(dropped, { worker: second })
      await stopsSoon(second)
      await judge(world, dropped)
      if (env['SHOP_EVENTS_PROCESSED']) await judgeProcessed(world)
    })
  }

  test('under the database is waited for: nothing is lost or double', async () => {
    await using room = await temporary()
    await using disk = await smallDisk(room.path, { megabytes: 160, files: 20_000 })
    await using server = await ownServer(room.path)
    await using world = await openWorld(server.postgres)
    await using worker = world.start(['start', 'shop-events'], { PORT: '0' })
    await worker.says('running')
    await disk.fill()
    await world.drop(everything)
    await pauses(worker, 'the database')
    await stopsSoon(worker)

    await using second = world.start(['work', 'shop-events'])
    await pauses(second, 'the database')
    await disk.free()
    await server.postgres.ensureUp()
    await world.drained(everything, { worker: second })
    await stopsSoon(second)
    await judge(world, everything)
  })

  test('under the embedded Postgres, which falls, is waited for until Postgres can be started again', async () => {
    await using world = await openWorld()
    await using disk = await smallDisk(world.data, { megabytes: 160, files: 20_000 })
    await using worker = world.start(['start', 'shop-events'], { PORT: '0' })
    await worker.says('running')
    await disk.fill()
    // there is no room for the log that Postgres writes first, without which it cannot run
    for (let i = 0; i < 20; i++) await world.sql('select pg_switch_wal()').catch(() => {})
    await world.drop(everything)
    const { why } = await worker.says('the embedded Postgres does not come up')
    assert.match(String(why), /^DISK_FULL: .*postgres/)
    assert.partialDeepStrictEqual(await isRetrying(world, worker), { why })
    await disk.free()
    await world.drained(everything, { worker, withinMs: 60_000 })
    await stopsSoon(worker)
    await using holder = world.start(['work', 'shop-events'])
    await holder.says('running')
    await judge(world, everything)
    await stopsSoon(holder)
  })
})

test('the lock of the embedded Postgres says which disk is full, and can be taken when it has room again', {
  skip: noDisks(),
}, async () => {
  await using room = await temporary()
  await using disk = await smallDisk(room.path, { megabytes: 4 })
  const path = join(room.path, 'postgres.lock')
  await disk.fill()
  await assert.rejects(
    withLock(path, 1000, async () => {}),
    { code: 'DISK_FULL', at: path, retry: true },
  )
  await disk.free()
  assert.equal(await withLock(path, 1000, async () => 'taken'), 'taken')
})

test('DuckDB says which disk is full, and can be used when it has room again', { skip: noDisks() }, async () => {
  await using room = await temporary()
  await using disk = await smallDisk(room.path, { megabytes: 4 })
  const [spool, temporaryFolder] = [join(room.path, 'spool'), join(room.path, 'temporary')]
  await using duck = await Duck.open({ folders: [spool], temporary: temporaryFolder, memoryLimitMb: 32, threads: 1 })
  using session = await duck.connect()
  const path = join(spool, 'rows.csv')
  const copy = (rows: number) =>
    session.run(`copy (select i, hash(i) from range(${rows}) r(i)) to '${path}' (format csv)`)
  await assert.rejects(copy(1_000_000), { code: 'DISK_FULL', at: path, retry: true })
  const spill = session.run('create table t as select i, hash(i)::varchar as h from range(5_000_000) r(i) order by h')
  await assert.rejects(spill, { code: 'DISK_FULL', retry: true })
  await disk.fill()
  await assert.rejects(copy(1), { code: 'DISK_FULL', at: path })
  await disk.free()
  assert.equal(await copy(1), 1)
})

function processed({ error }: World): string {
  return join(dirname(error), 'processed')
}

/** It says that it waits, for which disk, and what is to be done. */
async function pauses(worker: Millrace, place: string): Promise<void> {
  const { why } = await worker.says('retrying')
  assert.match(String(why), /^DISK_FULL: /, worker.story())
  assert.ok(String(why).includes(place), String(why))
  assert.match(String(why), /make room on it .* goes on by itself/)
}

/** The status says so too: between two tries a worker runs. */
async function isRetrying(world: World, worker: Millrace): Promise<unknown> {
  return await eventually(
    async () => {
      const { state } = await world.status()
      return (state as { is: string }).is === 'retrying' && state
    },
    { what: () => worker.story() },
  )
}

async function stopsSoon(worker: Millrace): Promise<void> {
  const told = performance.now()
  assert.deepEqual(await worker.stop(30_000), { code: 0, signal: null }, worker.story())
  assert.ok(performance.now() - told < 10_000, `it took ${performance.now() - told} ms`)
}

// ---- the pipeline beside it ----------------------------------------------------------------------------------------

async function addNeighbour(world: World): Promise<void> {
  const folder = dirname(world.data)
  await mkdir(join(folder, 'node_modules'))
  await symlink(dirname(import.meta.dirname), join(folder, 'node_modules', 'millrace'))
  await mkdir(join(folder, 'neighbour'))
  await writeFile(
    join(folder, 'neighbour.ts'),
    `import { files, pipeline, table, text } from 'millrace'
export default pipeline('neighbour')
  .from(files('${join(folder, 'neighbour')}', { format: 'csv', columns: { id: text() } }))
  .into(table('neighbour'))`,
  )
}

async function neighbourGoesOn(world: World): Promise<void> {
  await writeFile(join(dirname(world.data), 'neighbour', 'a.csv'), 'id\n1\n2\n')
  await eventually(
    async () => {
      const [found] = await world.sql<{ n: number }>('select count(*)::int as n from neighbour')
      return found?.n === 2
    },
    { what: () => 'the pipeline beside it lands its rows' },
  )
}

// ---- what was written ----------------------------------------------------------------------------------------------

async function judgeProcessed(world: World): Promise<void> {
  await using db = await openTestDuckdb()
  const { rows } = await db.query(
    `select event_id, user_id from read_parquet('${processed(world)}/*/*.parquet') order by event_id`,
  )
  const landed = await world.sql<{ event_id: string; user_id: string }>('select event_id, user_id from user_events')
  assert.deepEqual(rows.sort(), landed.map(({ event_id, user_id }) => [event_id, user_id]).sort())
}

async function temporary(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'millrace-disk-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}
