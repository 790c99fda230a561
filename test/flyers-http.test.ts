/** What the API of flyers promises: durable events, and answers that have what was posted. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { flyers } from '../pipelines/flyers/pipeline.ts'
import { type IngestWorld, ingestWorld, post as postTo } from './ingest/world.ts'

const event = (user: string, name: string, minute: number, more: object = {}) => ({
  timestamp: new Date(Date.parse('2026-01-01T12:00:00Z') + minute * 60_000).toISOString(),
  user_id: user,
  event: name,
  flyer_id: 'f',
  merchant_id: 'm',
  ...more,
})
const session = (user: string, minutes: number, from = 0) => [
  event(user, 'flyer_open', from),
  event(user, 'flyer_close', from + minutes),
]

const post = (world: IngestWorld, query: string, body: object | Buffer, headers?: Record<string, string>) =>
  postTo(`${world.url}/api/process${query}`, body, headers)

describe('POST /api/process', { concurrency: 1 }, () => {
  test('answers with the mean hours of every reader, by name, with those that were posted', async () => {
    await using world = await ingestWorld({ system: flyers, database: true })
    await using _worker = world.work()
    const first = await post(world, '', [...session('b', 10.2), ...session('b', 20, 60), ...session('a', 90, 100)])
    assert.equal(first.status, 200)
    assert.equal(first.headers.get('millrace-rejected'), '0')
    assert.deepEqual(first.body, [
      { user_id: 'a', avg_time_on_flyer_per_user_hours: 1.5 },
      { user_id: 'b', avg_time_on_flyer_per_user_hours: 0.25 },
    ])
    // the other half of a session comes before the first
    await post(world, '', event('c', 'flyer_close', 36))
    assert.deepEqual((await post(world, '', event('c', 'flyer_open', 0))).body, [
      { user_id: 'a', avg_time_on_flyer_per_user_hours: 1.5 },
      { user_id: 'b', avg_time_on_flyer_per_user_hours: 0.25 },
      { user_id: 'c', avg_time_on_flyer_per_user_hours: 0.6 },
    ])
  })

  test('answers of those posted only, also of NDJSON that is packed', async () => {
    await using world = await ingestWorld({ system: flyers, database: true })
    await using _worker = world.work()
    await post(world, '', session('a', 6))
    const lines = session('b', 12)
      .map((each) => JSON.stringify(each))
      .join('\n')
    const answer = await post(world, '?users=posted', gzipSync(lines), {
      'content-type': 'application/x-ndjson',
      'content-encoding': 'gzip',
    })
    assert.deepEqual(answer.body, [{ user_id: 'b', avg_time_on_flyer_per_user_hours: 0.2 }])
  })

  test('readers that were posted are those that are stored, however they were written', async () => {
    await using world = await ingestWorld({ system: flyers, database: true })
    await using _worker = world.work()
    const hours = (user_id: string) => ({ user_id, avg_time_on_flyer_per_user_hours: 0.1 })
    const named = (user: string) =>
      session('x', 6)
        .map((each) => JSON.stringify(each).replace('"x"', user))
        .join('\n')
    const lines = (text: string, more: Record<string, string> = {}) =>
      post(world, '?users=posted', Buffer.from(text), { 'content-type': 'application/jsonl', ...more })
    assert.deepEqual((await lines(named('5.0'))).body, [hours('5.0')], 'a number is as it is written')
    assert.deepEqual((await lines(named('true'))).body, [hours('true')])
    const nul = await lines(`${named('"n\\u0000l"')}\n${named('"y"')}`)
    assert.deepEqual([nul.status, nul.headers.get('millrace-rejected'), nul.body], [200, '2', [hours('y')]])
    const packed = await post(world, '?users=posted', gzipSync(named('"z"')), {
      'content-type': 'application/x-ndjson',
      'content-encoding': 'GZIP',
    })
    assert.deepEqual(packed.body, [hours('z')])
  })

  test('an answer has what was committed before it, also when it brings nothing new itself', async () => {
    await using world = await ingestWorld({ system: flyers, database: true })
    await using _worker = world.work()
    await post(world, '', session('a', 6))
    await post(world, '?users=posted', session('b', 6))
    const { body } = await post(world, '', [])
    assert.deepEqual(
      body.map(({ user_id }: { user_id: string }) => user_id),
      ['a', 'b'],
    )
  })

  test('an answer to a repeat has what was committed since it was first answered', async () => {
    await using world = await ingestWorld({ system: flyers, database: true })
    await using _worker = world.work()
    const repeat = () => post(world, '', session('a', 6), { 'idempotency-key': 'k' })
    await repeat()
    await post(world, '?users=posted', session('b', 6))
    // those who come at once share an answer
    await sleep(1100)
    const { body } = await repeat()
    assert.deepEqual(
      body.map(({ user_id }: { user_id: string }) => user_id),
      ['a', 'b'],
    )
  })

  test('files of the merchants report have more than the page shows', async () => {
    await using world = await ingestWorld({ system: flyers, database: true })
    const { systems } = await (await fetch(`${world.url}/api/systems`)).json()
    const [chart] = systems.flatMap(({ charts }: { charts: { title: string }[] }) =>
      charts.filter(({ title }) => title === 'Report for merchants'),
    )
    assert.match(chart.route, /\?limit=50$/)
    assert.equal(chart.takes, chart.route.replace('limit=50', 'limit=10000'))
    assert.equal((await fetch(`${world.url}${chart.takes}&format=csv`)).status, 200)
  })

  test('an event that is dated far ahead hides nothing of the reports', async () => {
    await using world = await ingestWorld({ system: flyers, database: true })
    await using _worker = world.work()
    await post(world, '', session('a', 6))
    await post(world, '', event('b', 'flyer_open', 0, { timestamp: '2200-01-01T00:00:00Z' }))
    for (const path of ['/api/report/merchants?days=3660', '/api/results/flyers/top-flyers?days=3660']) {
      const { rows } = await (await fetch(`${world.url}${path}`)).json()
      assert.ok(JSON.stringify(rows).includes('"sessions":1'), `${path}: ${JSON.stringify(rows)}`)
    }
  })

  test('with wait=0 answers 202 at once; what is durable is counted when there is a worker', async () => {
    await using world = await ingestWorld({ system: flyers, database: true })
    const answer = await post(world, '?wait=0', session('a', 6))
    assert.equal(answer.status, 202)
    await using _worker = world.work()
    assert.deepEqual((await post(world, '', event('z', 'flyer_open', 0))).body, [
      { user_id: 'a', avg_time_on_flyer_per_user_hours: 0.1 },
    ])
  })

  test('bad events do not spoil good ones, unless it is told to be strict', async () => {
    await using world = await ingestWorld({ system: flyers, database: true })
    await using _worker = world.work()
    const bad = event('a', 'flyer_open', 0, { flyer_id: '' })
    const answer = await post(world, '', [bad, ...session('a', 6)])
    assert.equal(answer.headers.get('millrace-rejected'), '1')
    assert.deepEqual(answer.body, [{ user_id: 'a', avg_time_on_flyer_per_user_hours: 0.1 }])
    const refused = await post(world, '?strict=1', [bad, ...session('b', 6)])
    assert.equal(refused.status, 422)
    assert.deepEqual(
      refused.body.errors.map(({ index, code }: { index: number; code: string }) => [index, code]),
      [[0, 'NO_FLYER']],
    )
    assert.equal((await post(world, '?users=posted', event('b', 'flyer_close', 6))).status, 200)
  })

  test('32 posters at once each find their own', async () => {
    await using world = await ingestWorld({ system: flyers, database: true })
    await using _worker = world.work()
    const users = Array.from({ length: 32 }, (_, i) => `u${String(i).padStart(2, '0')}`)
    const answers = await Promise.all(
      users.map(async (user) => (await post(world, '', session(user, 6))).body as { user_id: string }[]),
    )
    for (const [i, answer] of answers.entries()) {
      assert.ok(
        answer.some(({ user_id }) => user_id === users[i]),
        `${users[i]} is not in its answer`,
      )
    }
  })
})

test('health is exactly what it was, and reports are rows of JSON and files', async () => {
  await using world = await ingestWorld({ system: flyers, database: true })
  await using _worker = world.work()
  await post(world, '', [...session('a', 6), ...session('b', 12)])
  assert.equal(await (await fetch(`${world.url}/api/health`)).text(), '{"status":"OK"}')
  const report = (await (await fetch(`${world.url}/api/report?after=a`)).json()) as { rows: unknown[] }
  assert.deepEqual(report.rows, [
    { user_id: 'b', avg_time_on_flyer_per_user_hours: 0.2, sessions: 1, total_hours: 0.2 },
  ])
  assert.equal((await fetch(`${world.url}/api/report?after=%00`)).status, 400)
  const merchants = await (await fetch(`${world.url}/api/report/merchants?format=csv`)).text()
  assert.deepEqual(
    merchants
      .trim()
      .split('\n')
      .map((line) => line.trim()),
    [
      'day,merchant_id,flyer_id,opens,readers,sessions,mean_minutes,median_minutes,expired_share',
      '2026-01-01T00:00:00.000Z,m,f,2,2,2,9,9,0',
    ],
  )
})
