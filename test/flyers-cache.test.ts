/** What caches keep of readers, and when they forget it: behind every commit that changes one, whatever is killed meanwhile. */
import assert from 'node:assert/strict'
import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { flyers } from '../pipelines/flyers/pipeline.ts'
import { eventually, type Millrace, startMillrace } from './crash/process.ts'
import { freePort } from './free-port.ts'
import { type Answer, type IngestWorld, ingestWorld, post as postTo } from './ingest/world.ts'
import { type TestDatabase, testDatabase } from './postgres.ts'
import { noRedis, startRedis } from './redis.ts'

const event = (user: string, name: string, minute: number) => ({
  timestamp: new Date(Date.parse('2026-01-01T12:00:00Z') + minute * 60_000).toISOString(),
  user_id: user,
  event: name,
  flyer_id: 'f',
  merchant_id: 'm',
})
const session = (user: string, minutes: number, from = 0) => [
  event(user, 'flyer_open', from),
  event(user, 'flyer_close', from + minutes),
]
const keyOf = (user: string): string => `flyer_time:${user}`

const post = (url: string, body: object, query = ''): Promise<Answer> => postTo(`${url}/api/process${query}`, body)

async function hoursOf(url: string, user: string): Promise<number | undefined> {
  const answer = await fetch(`${url}/api/report/users/${encodeURIComponent(user)}`)
  if (answer.status === 404) return undefined
  assert.equal(answer.status, 200)
  // as: what the route answers
  return ((await answer.json()) as { avg_time_on_flyer_per_user_hours: number }).avg_time_on_flyer_per_user_hours
}

/** Until it is told of a reader as it is now: the drop comes some milliseconds behind its commit. */
async function tells(url: string, user: string, hours: number): Promise<void> {
  await eventually(async () => (await hoursOf(url, user)) === hours, { what: () => `${user} has ${hours} hours` })
}

/** Changes a reader without a commit of a batch: only who asks the cache does not see it. */
async function changeUnseen(world: IngestWorld, user: string, seconds: number): Promise<void> {
  assert.ok(world.board.store !== undefined)
  await using sessions = world.board.store.sessions(1)
  await sessions.query('update flyer_time_per_user set total_seconds = $2 * sessions where user_id = $1', [
    user,
    seconds,
  ])
}

const drops = async (world: IngestWorld) =>
  (await world.board.store?.select('select prefix, keys from millrace.cache_drops order by id')) ?? []

test('in a process: a reader is kept, and dropped by the commit that changes him; posts are answered from the tables', async () => {
  await using world = await ingestWorld({ system: flyers, database: true })
  await using _worker = world.work()
  assert.equal(await hoursOf(world.url, 'a'), undefined)
  await post(world.url, [...session('a', 60), ...session('b', 60)])
  await tells(world.url, 'a', 1)
  // kept as soon as the process hears of drops
  await eventually(
    async () => {
      await changeUnseen(world, 'a', 3600)
      const before = await hoursOf(world.url, 'a')
      await changeUnseen(world, 'a', 7200)
      return (await hoursOf(world.url, 'a')) === before
    },
    { what: () => 'it is kept' },
  )
  const kept = await hoursOf(world.url, 'a')
  const told = (await post(world.url, event('c', 'flyer_open', 0), '?users=all')).body
  assert.deepEqual(told[0], { user_id: 'a', avg_time_on_flyer_per_user_hours: 2 })
  const posted = await post(world.url, event('a', 'flyer_close', 999), '?users=posted')
  assert.deepEqual(posted.body, [{ user_id: 'a', avg_time_on_flyer_per_user_hours: 2 }])
  // an event that changes no row of the reader drops nothing
  assert.equal(await hoursOf(world.url, 'a'), kept)
  await post(world.url, session('a', 333, 2000))
  await eventually(async () => (await hoursOf(world.url, 'a')) !== kept, { what: () => 'it is dropped' })
  assert.deepEqual(await drops(world), [])
})

describe('with Redis', { concurrency: 1, skip: noRedis }, () => {
  test('who was asked for lies there for CACHE_TTL, and goes when he changes or has no session any more', async () => {
    await using redis = await startRedis()
    const env = { REDIS_URL: redis.url, CACHE_TTL: '1800' }
    await using world = await ingestWorld({ system: flyers, database: true, env })
    await using _worker = world.work()
    const strange = 'a reader: with "quotes", *, %2F and é/:mark'
    await post(world.url, [...session('a', 90), ...session('b', 60), ...session(strange, 60)])
    await eventually(async () => (await drops(world)).length === 0, { what: () => 'the drops are done' })
    assert.equal(await hoursOf(world.url, 'nobody'), undefined)
    for (const user of ['a', 'b', strange]) await hoursOf(world.url, user)
    const keys = (await redis.client.keys('*')).filter((key) => !key.startsWith('millrace:'))
    assert.deepEqual(keys.sort(), ['a', 'b', strange].map(keyOf).sort())
    assert.deepEqual(JSON.parse((await redis.client.get(keyOf('a'))) ?? ''), {
      user_id: 'a',
      avg_time_on_flyer_per_user_hours: 1.5,
      sessions: 1,
      total_hours: 1.5,
    })
    const left = await redis.client.ttl(keyOf('a'))
    assert.ok(left > 1700 && left <= 1800, `it stays for ${left} s`)

    await post(world.url, [...session('a', 30, 200), ...session(strange, 30, 200)])
    await eventually(async () => (await redis.client.exists([keyOf('a'), keyOf(strange)])) === 0, {
      what: () => 'those who changed are dropped',
    })
    assert.equal(await redis.client.exists(keyOf('b')), 1)
    await tells(world.url, 'a', 1)
    // a second open in between: the only session of b becomes another
    await post(world.url, event('b', 'flyer_open', 30))
    await tells(world.url, 'b', 0.5)
    // a close before it: none is left
    await post(world.url, event('b', 'flyer_close', 15))
    await tells(world.url, 'b', 0.38)
  })

  test('a batch of more readers than can be named drops all of them by one note', async () => {
    await using redis = await startRedis()
    await using world = await ingestWorld({ system: flyers, database: true, env: { REDIS_URL: redis.url } })
    const users = Array.from({ length: 1_200 }, (_, i) => `u${i}`)
    await redis.client.mSet(Object.fromEntries(users.map((user) => [keyOf(user), '{"old":true}'])))
    await redis.client.set('flyer', 'another’s')
    await post(
      world.url,
      users.flatMap((user) => session(user, 60)),
      '?wait=0',
    )
    redis.freeze()
    await using _worker = world.work()
    await eventually(async () => (await drops(world)).length > 0, { what: () => 'it is committed' })
    assert.deepEqual(await drops(world), [{ prefix: 'flyer_time:', keys: null }])
    redis.thaw()
    await eventually(async () => (await drops(world)).length === 0, { what: () => 'the drops are done' })
    assert.deepEqual(await redis.client.keys('*'), ['flyer'])
  })

  test('when it is away everything is answered, and what was to be dropped is dropped when it is back', async () => {
    await using redis = await startRedis()
    await using world = await ingestWorld({ system: flyers, database: true, env: { REDIS_URL: redis.url } })
    await using _worker = world.work()
    await post(world.url, session('a', 60))
    await tells(world.url, 'a', 1)
    redis.freeze()
    assert.deepEqual((await post(world.url, session('a', 120, 200))).body, [
      { user_id: 'a', avg_time_on_flyer_per_user_hours: 1.5 },
    ])
    assert.equal(await hoursOf(world.url, 'a'), 1.5)
    redis.thaw()
    await eventually(async () => (await drops(world)).length === 0, { what: () => 'the drops are done' })
    await tells(world.url, 'a', 1.5)
  })

  test('a process that is killed between a commit and its drops has noted them: the next one drops', async () => {
    await using redis = await startRedis()
    await using database = await testDatabase()
    await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-cache-'))
    const old = await (async () => {
      const first = await start(folder.path, database, redis.url)
      await using millrace = first.millrace
      assert.equal((await post(first.url, session('a', 60))).status, 200)
      await tells(first.url, 'a', 1)
      await eventually(async () => (await redis.client.get(keyOf('a'))) !== null, { what: () => 'it is kept' })
      await millrace.stop()
      return await redis.client.get(keyOf('a'))
    })()
    assert.match(old ?? '', /"avg_time_on_flyer_per_user_hours":1,/)
    {
      const second = await start(folder.path, database, redis.url, { MILLRACE_FAILPOINT: 'cache drop=kill' })
      await using millrace = second.millrace
      // it may be gone before it has answered
      await post(second.url, session('a', 180, 200)).catch(() => {})
      assert.equal((await millrace.ended()).signal, 'SIGKILL')
    }
    assert.equal(await redis.client.get(keyOf('a')), old)
    const client = await database.connect()
    const { rows } = await client.query('select prefix, keys from millrace.cache_drops')
    assert.deepEqual(rows, [{ prefix: 'flyer_time:', keys: [keyOf('a')] }])
    const third = await start(folder.path, database, redis.url)
    await using _millrace = third.millrace
    await eventually(async () => (await redis.client.get(keyOf('a'))) !== old, { what: () => 'what is old is dropped' })
    await tells(third.url, 'a', 2)
  })

  test('a bounded run drops what it has made old, with one note however many readers, and so does a reset', async () => {
    await using redis = await startRedis()
    await using database = await testDatabase()
    await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-cache-'))
    await redis.client.mSet([
      [keyOf('u1'), '1'],
      [keyOf('another'), '1'],
      ['other', '1'],
    ])
    const users = Array.from({ length: 3 }, (_, i) => `u${i}`)
    const lines = users.flatMap((user) => session(user, 60)).map((each) => JSON.stringify(each))
    await writeFile(join(folder.path, 'events.jsonl'), `${lines.join('\n')}\n`)
    const env = { DATABASE_URL: database.url, REDIS_URL: redis.url, MILLRACE_DATA: join(folder.path, 'data') }
    const does = async (...args: string[]) => {
      await using millrace = startMillrace(args, folder.path, env)
      assert.equal((await millrace.ended(60_000)).code, 0, millrace.story())
    }
    await does('run', 'flyers', '--final', '--input', 'events.jsonl')
    assert.deepEqual(await redis.client.keys('*'), ['other'])
    const client = await database.connect()
    assert.equal((await client.query('select from flyer_time_per_user')).rowCount, 3)
    // it counts on: one number for all readers
    assert.equal(
      (await client.query(`select nextval(pg_get_serial_sequence('millrace.cache_drops', 'id'))`)).rows[0].nextval,
      2,
    )
    assert.equal((await client.query('select from millrace.cache_drops')).rowCount, 0)
    await redis.client.set(keyOf('u1'), '1')
    await does('reset', 'flyers', '--results', '--yes')
    assert.deepEqual(await redis.client.keys('*'), ['other'])
  })
})

async function start(
  folder: string,
  database: TestDatabase,
  redisUrl: string,
  env: Record<string, string> = {},
): Promise<{ millrace: Millrace; url: string }> {
  const port = await freePort()
  const millrace = startMillrace(['start', 'flyers', '--json'], folder, {
    DATABASE_URL: database.url,
    REDIS_URL: redisUrl,
    MILLRACE_DATA: join(folder, 'data'),
    PORT: String(port),
    INGEST_DISK_RESERVE: '0',
    ...env,
  })
  const url = `http://127.0.0.1:${port}`
  await eventually(
    async () => {
      assert.equal(millrace.end, undefined, millrace.story())
      return (await fetch(`${url}/health/ready`).catch(() => undefined))?.ok === true
    },
    { what: () => millrace.story() },
  )
  return { millrace, url }
}
