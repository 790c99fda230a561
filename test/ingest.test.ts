import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { faultsTold, mostEvents } from '../src/server/ingest/cut-events.ts'
import { newToken } from '../src/server/tokens.ts'
import { maxDepth } from '../src/sources/json-scanner.ts'
import { readHeaders } from '../src/sources/topic/headers.ts'
import { openLocalTopics } from '../src/sources/topic/log/open.ts'
import { click, clicksTopic } from './ingest/clicks.ts'
import { type IngestWorld, ingestWorld, post, type Told } from './ingest/world.ts'

const lines = { 'content-type': 'application/x-ndjson' }

describe('events posted to a topic', () => {
  let world: IngestWorld
  let url: string
  before(async () => {
    world = await ingestWorld({
      env: { INGEST_MAX_BODY: '100 kB', INGEST_MAX_UNPACKED: '1 MB', INGEST_MAX_EVENT: '10 kB' },
    })
    url = `${world.url}/api/topics/${clicksTopic}`
  })
  after(() => world[Symbol.asyncDispose]())

  const values = async () => (await world.records()).map(({ value }) => value ?? '')

  const taken: { says: string; body: string | Buffer; headers?: Record<string, string>; events: string[] }[] = [
    { says: 'an object, as its bytes are', body: ' {"id": "a",  "n":1e0}\n', events: ['{"id": "a",  "n":1e0}'] },
    { says: 'an array', body: '[{"id":"b"},\n {"id":"c"}]', events: ['{"id":"b"}', '{"id":"c"}'] },
    { says: 'an empty array', body: '[]', events: [] },
    {
      says: 'lines, with CR LF and blank ones',
      body: '{"id":"d"}\r\n\r\n  \n{"id":"ä"}',
      headers: lines,
      events: ['{"id":"d"}', '{"id":"ä"}'],
    },
    { says: 'gzip', body: gzipSync('[{"id":"e"}]'), headers: { 'content-encoding': 'gzip' }, events: ['{"id":"e"}'] },
    {
      says: 'zstd',
      body: zstdCompressSync('{"id":"f"}\n{"id":"g"}\n'),
      headers: { ...lines, 'content-encoding': 'ZSTD' },
      events: ['{"id":"f"}', '{"id":"g"}'],
    },
    {
      says: 'a type with a charset',
      body: '{"id":"h"}',
      headers: { 'content-type': 'application/json; charset=utf-8' },
      events: ['{"id":"h"}'],
    },
  ]
  for (const { says, body, headers, events } of taken) {
    test(`are taken from ${says}, and lie where the answer says`, async () => {
      const first = (await values()).length
      const { status, body: told } = await post(url, body, headers)
      const ranges = events.length === 0 ? [] : [{ partition: 0, first, end: first + events.length }]
      assert.deepEqual([status, told], [202, { topic: clicksTopic, accepted: events.length, ranges }])
      assert.deepEqual(
        (await values()).slice(first).map((value) => Buffer.from(value, 'latin1').toString()),
        events,
      )
    })
  }

  const refused: {
    says: string
    body: string | Buffer
    headers?: Record<string, string>
    path?: string
    status: number
    code: string
    errors?: object[]
  }[] = [
    { says: 'nothing', body: '', status: 400, code: 'BAD_EVENTS', errors: [{ index: 0, code: 'NOT_JSON' }] },
    {
      says: 'no JSON',
      body: '[{"id":"x"},{]',
      status: 400,
      code: 'BAD_EVENTS',
      errors: [{ index: 1, code: 'NOT_JSON' }],
    },
    {
      says: 'some that are no objects',
      body: '[{"id":"x"},1,{},null]',
      status: 400,
      code: 'BAD_EVENTS',
      errors: [
        { index: 1, code: 'NOT_AN_OBJECT' },
        { index: 3, code: 'NOT_AN_OBJECT' },
      ],
    },
    {
      says: 'some lines that are wrong',
      body: '{"id":"x"}\r\n\r\n{"id"\n[]\n',
      headers: lines,
      status: 400,
      code: 'BAD_EVENTS',
      errors: [
        { index: 1, line: 3, code: 'NOT_JSON' },
        { index: 2, line: 4, code: 'NOT_AN_OBJECT' },
      ],
    },
    { says: 'very many that are wrong', body: `[${'1,'.repeat(9000)}1]`, status: 400, code: 'BAD_EVENTS' },
    {
      says: 'one that is too deep',
      body: `[{"a":${'['.repeat(maxDepth)}${']'.repeat(maxDepth)}}]`,
      status: 400,
      code: 'BAD_EVENTS',
      errors: [{ index: 0, code: 'TOO_DEEP' }],
    },
    { says: 'brackets without end', body: '['.repeat(90_000), status: 400, code: 'BAD_EVENTS' },
    {
      says: 'one that is too long',
      body: JSON.stringify([{}, { id: 'x'.repeat(10_000) }]),
      status: 413,
      code: 'BAD_EVENTS',
      errors: [{ index: 1, code: 'ROW_TOO_LONG' }],
    },
    { says: 'what is no UTF-8', body: Buffer.from('{"id":"\xff"}', 'latin1'), status: 400, code: 'BAD_EVENTS' },
    {
      says: 'a body that is too large',
      body: JSON.stringify(Array(20_000).fill({ a: 1 })),
      status: 413,
      code: 'TOO_LARGE',
    },
    {
      says: 'a bomb',
      body: gzipSync(Buffer.alloc(20_000_000, ' ')),
      headers: { 'content-encoding': 'gzip' },
      status: 413,
      code: 'TOO_LARGE',
    },
    {
      says: 'another bomb',
      body: zstdCompressSync(Buffer.alloc(100_000_000, ' ')),
      headers: { 'content-encoding': 'zstd' },
      status: 413,
      code: 'TOO_LARGE',
    },
    {
      says: 'more events than one body may have',
      body: gzipSync(`[${'{},'.repeat(mostEvents)}{}]`),
      headers: { 'content-encoding': 'gzip' },
      status: 413,
      code: 'TOO_LARGE',
    },
    {
      says: 'what was cut short after it was packed',
      body: gzipSync('{"id":"x"}').subarray(0, 20),
      headers: { 'content-encoding': 'gzip' },
      status: 400,
      code: 'NOT_PACKED_RIGHT',
    },
    {
      says: 'what is not packed as it says',
      body: '{"id":"x"}',
      headers: { 'content-encoding': 'zstd' },
      status: 400,
      code: 'NOT_PACKED_RIGHT',
    },
    {
      says: 'another packing',
      body: '{}',
      headers: { 'content-encoding': 'br' },
      status: 415,
      code: 'WRONG_TYPE_OF_BODY',
    },
    { says: 'text', body: '{}', headers: { 'content-type': 'text/plain' }, status: 415, code: 'WRONG_TYPE_OF_BODY' },
    {
      says: 'a form',
      body: 'a=1',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      status: 415,
      code: 'WRONG_TYPE_OF_BODY',
    },
    { says: 'an unknown topic', body: '{}', path: '/api/topics/nothing', status: 404, code: 'UNKNOWN_TOPIC' },
    {
      says: 'what cannot be a topic',
      body: '{}',
      path: '/api/topics/..%2f..%2fetc',
      status: 404,
      code: 'UNKNOWN_TOPIC',
    },
    {
      says: 'an unknown parameter',
      body: '{}',
      path: `/api/topics/${clicksTopic}?now=1`,
      status: 400,
      code: 'BAD_REQUEST',
    },
    {
      says: 'a key that is none',
      body: '{}',
      headers: { 'idempotency-key': 'x'.repeat(300) },
      status: 400,
      code: 'BAD_REQUEST',
    },
    { says: 'another site', body: '{}', headers: { origin: 'http://evil.example' }, status: 403, code: 'WRONG_ORIGIN' },
  ]
  for (const { says, body, headers, path, status, code, errors } of refused) {
    test(`are refused: ${says}; and nothing is stored`, async () => {
      const before = (await values()).length
      const {
        status: got,
        body: told,
        headers: answered,
      } = await post(path === undefined ? url : world.url + path, body, headers)
      assert.deepEqual([got, told.code], [status, code], JSON.stringify(told))
      assert.match(answered.get('content-type') ?? '', /^application\/problem\+json/)
      if (errors !== undefined) assert.partialDeepStrictEqual(told.errors, errors)
      assert.ok((told.errors ?? []).length <= faultsTold)
      assert.equal((await values()).length, before)
    })
  }

  test('a topic that no pipeline reads takes events when it is there', async () => {
    await using writer = await openLocalTopics(world.topics).openWriter('other')
    await writer.append([])
    const { status, body } = await post(`${world.url}/api/topics/other`, { id: 'a' })
    assert.deepEqual([status, body.accepted], [202, 1])
    const waiting = await post(`${world.url}/api/topics/other?wait=commit`, { id: 'a' })
    assert.deepEqual([waiting.status, waiting.body.code], [409, 'NO_PIPELINE'])
  })
})

test('of 64 who post at once each finds its own events, once, where its answer says', async () => {
  await using world = await ingestWorld()
  const url = `${world.url}/api/topics/${clicksTopic}`
  const answers = await Promise.all(
    Array.from({ length: 64 }, async (_, poster) => {
      const told: { first: number; end: number; poster: number; round: number }[] = []
      for (let round = 0; round < 10; round++) {
        const events = Array.from({ length: 1 + ((poster + round) % 5) }, (_, n) => click(`${poster} ${round} ${n}`))
        const { status, body } = await post(url, events)
        assert.equal(status, 202)
        assert.equal(body.accepted, events.length)
        told.push({ ...body.ranges[0], poster, round })
      }
      return told
    }),
  )
  const records = await world.records()
  let counted = 0
  for (const { first, end, poster, round } of answers.flat()) {
    const ids = records.slice(first, end).map(({ value }) => JSON.parse(value ?? '').id)
    assert.deepEqual(
      ids,
      Array.from({ length: 1 + ((poster + round) % 5) }, (_, n) => `${poster} ${round} ${n}`),
    )
    counted += end - first
  }
  assert.equal(records.length, counted)
})

describe('an Idempotency-Key', () => {
  const key = (name: string) => ({ 'idempotency-key': name })

  test('is answered again as it was the first time, however the same events are packed', async () => {
    await using world = await ingestWorld()
    const url = `${world.url}/api/topics/${clicksTopic}`
    const events = [click('a'), click('b')]
    const first = await post(url, events, key('k1'))
    assert.deepEqual([first.status, first.headers.get('idempotent-replayed')], [202, null])
    const packed = gzipSync(events.map((event) => JSON.stringify(event)).join('\n'))
    const again = await post(url, packed, { ...key('k1'), ...lines, 'content-encoding': 'gzip' })
    assert.deepEqual([again.status, again.body, again.headers.get('idempotent-replayed')], [202, first.body, 'true'])
    const other = await post(url, events, key('k2'))
    assert.deepEqual(other.body.ranges, [{ partition: 0, first: 2, end: 4 }])
    assert.equal((await world.records()).length, 4)
    // those that came again count once
    const metrics = await (await fetch(`${world.url}/metrics`)).text()
    assert.match(metrics, /^millrace_events_posted_total\{topic="clicks"\} 4$/m)
    const reused = await post(url, [click('c')], key('k1'))
    assert.deepEqual([reused.status, reused.body.code], [422, 'KEY_REUSED'])
    assert.equal((await world.records()).length, 4)
  })

  test('is taken once by many who come at once', async () => {
    await using world = await ingestWorld()
    const url = `${world.url}/api/topics/${clicksTopic}`
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, n) => post(url, [click(`${n % 4}`)], key(`k${n % 4}`))),
    )
    assert.equal((await world.records()).length, 4)
    for (let n = 0; n < 4; n++) {
      const own = answers.filter((_, i) => i % 4 === n)
      assert.equal(new Set(own.map(({ body }) => JSON.stringify(body))).size, 1)
      assert.equal(own.filter(({ headers }) => headers.get('idempotent-replayed') === null).length, 1)
    }
  })

  test('of a request that was refused is free', async () => {
    await using world = await ingestWorld()
    const url = `${world.url}/api/topics/${clicksTopic}`
    assert.equal((await post(url, '[1]', key('k'))).status, 400)
    assert.equal((await post(url, [click('a')], key('k'))).status, 202)
  })
})

test('what a killed server has left of a request is completed under its key, once', async () => {
  const headers = { 'idempotency-key': 'half' }
  const events = Array.from({ length: 10 }, (_, n) => click(`half-${n}`))
  await using whole = await ingestWorld()
  await post(`${whole.url}/api/topics/${clicksTopic}`, events, headers)
  const records = await whole.records()
  await using room = await mkdtempDisposable(join(tmpdir(), 'millrace-ingest-'))
  {
    await using writer = await openLocalTopics(join(room.path, 'topics')).openWriter(clicksTopic)
    const left = records.slice(0, 4).map(({ value, headers, headerBytes }) => ({
      value: Buffer.from(value ?? ''),
      headers: readHeaders(headerBytes, { headers, headersFrom: 0 }).map(
        ([name, text]) => [name, text ?? Buffer.alloc(0)] as const,
      ),
    }))
    await writer.append([{ value: Buffer.from('{"id":"before"}') }, ...left, { value: Buffer.from('{"id":"after"}') }])
  }
  for (let again = 0; again < 2; again++) {
    await using world = await ingestWorld({ folder: room.path })
    const url = `${world.url}/api/topics/${clicksTopic}`
    const reused = await post(url, [click('other')], headers)
    assert.equal(reused.status, 422)
    const { status, body } = await post(url, events, headers)
    const ranges = [
      { partition: 0, first: 1, end: 5 },
      { partition: 0, first: 6, end: 12 },
    ]
    assert.deepEqual([status, body], [202, { topic: clicksTopic, accepted: 10, ranges }])
    const ids = (await world.records()).map(({ value }) => JSON.parse(value ?? '').id)
    const [first, ...rest] = events.map(({ id }) => id)
    assert.deepEqual(ids, ['before', first, ...rest.slice(0, 3), 'after', ...rest.slice(3)])
  }
})

test('events need a token that may write, where there are tokens', async () => {
  const [reader, writer] = [newToken('reader', 'read', new Date()), newToken('writer', 'write', new Date())]
  const tokens = {
    holder: (token: string) => [reader, writer].find((each) => each.token === token)?.kept,
  }
  await using world = await ingestWorld({ tokens })
  const url = `${world.url}/api/topics/${clicksTopic}`
  const statuses: number[] = []
  for (const token of [undefined, reader.token, writer.token]) {
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
    statuses.push((await post(url, click('a'), headers)).status)
  }
  assert.deepEqual(statuses, [401, 403, 202])
  assert.equal((await world.records()).length, 1)
})

describe('events that are waited for', () => {
  let world: IngestWorld
  let url: string
  before(async () => {
    world = await ingestWorld({ database: true, env: { BATCH_INTERVAL: '1 ms', INGEST_WAIT: '2 s' } })
    url = `${world.url}/api/topics/${clicksTopic}`
  })
  after(() => world[Symbol.asyncDispose]())

  test('are committed when they are answered: in which batch, and what was wrong with some', async () => {
    await using _worker = world.work()
    const { status, body } = await post(`${url}?wait=commit`, [
      click('a'),
      { id: '', n: 1 },
      click('b', -1),
      click('a'),
    ])
    assert.equal(status, 200, JSON.stringify(body))
    const { committed_at: _, ...batch } = body.batches[0]
    assert.deepEqual(
      [body.batches.length, batch],
      [1, { pipeline: 'clicks', batch: 1, rows_in: 4, written: 1, filtered: 0, duplicates: 1, late: 0, dead: 2 }],
    )
    assert.equal(body.rejected, 2)
    assert.deepEqual(
      body.rejections.map(({ index, code, column }: Told) => [index, code, column]),
      [
        [1, 'EMPTY', 'id'],
        [2, 'BELOW_MINIMUM', 'n'],
      ],
    )
  })

  test('are committed by another process, too', async () => {
    await using _worker = world.work({ told: false })
    const { status, body } = await post(`${url}?wait=commit`, [click('elsewhere')])
    assert.deepEqual([status, body.batches.at(-1)?.written], [200, 1], JSON.stringify(body))
  })

  test('are read by whoever has the answer, with 32 who post at once', async () => {
    await using _worker = world.work()
    await Promise.all(
      Array.from({ length: 32 }, async (_, n) => {
        const answer = await post(`${world.url}/api/clicks`, [click(`own-${n}`, n), { id: 'x' }])
        assert.equal(answer.status, 200, JSON.stringify(answer.body))
        assert.equal(answer.headers.get('millrace-rejected'), '1')
        assert.ok(answer.body.some(({ id, n: value }: Told) => id === `own-${n}` && value === n))
      }),
    )
  })

  test('are told of under one key as they were the first time', async () => {
    await using _worker = world.work()
    const headers = { 'idempotency-key': 'once' }
    const first = await post(`${url}?wait=commit`, [click('once')], headers)
    await post(`${url}?wait=commit`, [click('later')])
    const again = await post(`${url}?wait=commit`, [click('once')], headers)
    assert.deepEqual([first.status, again.status, again.body], [200, 200, first.body])
  })

  test('and that nobody commits, are told of later at the address of the answer', async () => {
    const { status, body, headers } = await post(`${url}?wait=commit`, [click('patient')])
    assert.deepEqual([status, body.accepted], [202, 1])
    const location = headers.get('location') ?? ''
    const early = await fetch(world.url + location)
    assert.deepEqual([early.status, ((await early.json()) as Told).ranges], [202, body.ranges])
    await using _worker = world.work()
    await post(`${url}?wait=commit`, [click('impatient')])
    const late = await fetch(world.url + location)
    const told: Told = await late.json()
    assert.deepEqual([late.status, told.ranges, told.batches.length], [200, body.ranges, 1])
  })

  test('are all or none when they are judged strictly', async () => {
    await using _worker = world.work()
    const before = (await world.records()).length
    const bad = await post(`${url}?strict=1`, [click('s1'), click('s2', -1), { id: ['s3'], n: 1 }, click('s4')])
    assert.deepEqual([bad.status, bad.body.code], [422, 'BAD_EVENTS'], JSON.stringify(bad.body))
    assert.deepEqual(
      bad.body.errors.map(({ index, code, column }: Told) => [index, code, column]),
      [
        [1, 'BELOW_MINIMUM', 'n'],
        [2, 'WRONG_TYPE', 'id'],
      ],
    )
    assert.equal((await world.records()).length, before)
    const good = await post(`${url}?strict=1&wait=commit`, [click('s1'), click('s4')])
    assert.deepEqual([good.status, good.body.batches[0].written], [200, 2])
  })
})
