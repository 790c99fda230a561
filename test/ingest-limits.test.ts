/** A server that cannot take more: it says so, takes nothing by halves, and goes on when it can. */
import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import { describe, test } from 'node:test'
import { eventually } from './crash/process.ts'
import { noDisks, smallDisk } from './crash/small-disk.ts'
import { click, clicksTopic } from './ingest/clicks.ts'
import { ingestWorld, post } from './ingest/world.ts'
import { startChild } from './topic-log/child.ts'

const path = `/api/topics/${clicksTopic}`

test('three hundred who post slowly are cut off, and leave others unharmed', { timeout: 60_000 }, async () => {
  await using world = await ingestWorld()
  const head = `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n`
  const slow = await Promise.all(
    Array.from({ length: 300 }, (_, n) => {
      return new Promise<Socket>((resolve, reject) => {
        const socket = connect(world.port, '127.0.0.1', () => resolve(socket))
        socket.on('error', reject)
        const length = n % 2 === 0 ? 'content-length: 100000\r\n\r\n' : 'transfer-encoding: chunked\r\n\r\na\r\n'
        socket.write(head + length)
      })
    }),
  )
  const ended = slow.map((socket) => new Promise((resolve) => socket.on('close', resolve)))
  for (const socket of slow) socket.on('error', () => {}).resume()
  // a whole event now and then, and never an end
  const trickle = setInterval(() => {
    for (const socket of slow) if (socket.writable) socket.write('{"id":"x"}')
  }, 500)
  try {
    const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => post(world.url + path, click(`${n}`))))
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [202])
    await Promise.all(ended)
  } finally {
    clearInterval(trickle)
    for (const socket of slow) socket.destroy()
  }
  assert.equal((await world.records()).length, 100)
})

test('a topic that is too far ahead of its pipeline takes no more until the pipeline has come nearer', async () => {
  await using world = await ingestWorld({ database: true, env: { INGEST_MAX_AHEAD: '100', BATCH_INTERVAL: '1 ms' } })
  let accepted = 0
  const postSome = async () => {
    const answer = await post(
      world.url + path,
      Array.from({ length: 50 }, (_, n) => click(`${accepted + n}`)),
    )
    if (answer.status === 202) accepted += 50
    return answer
  }
  const refused = await eventually(
    async () => {
      const answer = await postSome()
      return answer.status !== 202 && answer
    },
    { what: () => `more than ${accepted} are refused`, withinMs: 10_000 },
  )
  assert.deepEqual([refused.status, refused.body.code], [503, 'TOO_FAR_AHEAD'], JSON.stringify(refused.body))
  assert.match(refused.headers.get('retry-after') ?? '', /^\d+$/)
  assert.equal((await world.records()).length, accepted)
  await using _worker = world.work()
  await eventually(async () => (await postSome()).status === 202, { what: () => 'events are taken again' })
  const last = await eventually(
    async () => {
      const answer = await post(`${world.url}${path}?wait=commit`, click('last'))
      return answer.status === 200 && answer
    },
    { what: () => 'the last is committed' },
  )
  assert.equal(last.body.batches.at(-1)?.pipeline, 'clicks')
  const [rows] = (await world.board.store?.select('select count(*)::int as n from clicks')) ?? []
  assert.equal(rows?.['n'], accepted + 1)
})

test('a topic that another process writes takes events when that one has ended', async () => {
  await using world = await ingestWorld()
  await using holder = startChild('hold.ts', [world.topics, clicksTopic])
  assert.equal(await holder.line(), 'holds')
  const { status, body, headers } = await post(world.url + path, click('a'))
  assert.deepEqual([status, body.code], [503, 'TOPIC_LOCKED'])
  assert.match(headers.get('retry-after') ?? '', /^\d+$/)
  await holder.kill()
  assert.equal((await post(world.url + path, click('a'))).status, 202)
})

describe('a full disk under the topics', { skip: noDisks() }, () => {
  for (const key of ['none', 'a new one', 'one more']) {
    test(`refuses events until there is room; their key: ${key}`, async () => {
      const headers: Record<string, string> = key === 'none' ? {} : { 'idempotency-key': key }
      await using world = await ingestWorld()
      await using disk = await smallDisk(world.config.dataDirectory)
      // with it the index of keys is open already
      const before: Record<string, string> = key === 'one more' ? { 'idempotency-key': 'first' } : {}
      assert.equal((await post(world.url + path, click('first'), before)).status, 202)
      await disk.fill()
      const many = Array.from({ length: 2000 }, (_, n) => click(`large ${n}`))
      for (let n = 0; n < 3; n++) {
        const { status, body } = await post(world.url + path, many, headers)
        assert.deepEqual([status, body.code], [507, 'DISK_FULL'], JSON.stringify(body))
      }
      assert.equal((await world.records()).length, 1)
      await disk.free()
      assert.equal((await post(world.url + path, many, headers)).status, 202)
      assert.equal((await world.records()).length, 2001)
    })
  }

  test('is not reached: some room is kept free', async () => {
    await using world = await ingestWorld({ env: { INGEST_DISK_RESERVE: '8 MB' } })
    await using disk = await smallDisk(world.config.dataDirectory)
    assert.equal((await post(world.url + path, click('a'))).status, 202)
    await disk.fill()
    const refused = await eventually(
      async () => {
        const answer = await post(world.url + path, click('b'))
        return answer.status !== 202 && answer
      },
      { what: () => 'events are refused' },
    )
    assert.deepEqual([refused.status, refused.body.code], [507, 'DISK_FULL'])
    assert.match(refused.body.detail, /8000000 are kept free/)
    await disk.free()
    await eventually(async () => (await post(world.url + path, click('c'))).status === 202, {
      what: () => 'events are taken again',
    })
  })
})
