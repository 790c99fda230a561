import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openKafka } from '../src/sources/topic/kafka/open.ts'
import { click, clicksTopic } from './ingest/clicks.ts'
import { ingestWorld, post } from './ingest/world.ts'
import { noKafka, startBroker } from './kafka-broker.ts'
import { readAll } from './topic-contract/world.ts'

test('events are posted to a topic of Kafka, once under a key, and waited for', {
  skip: noKafka,
  timeout: 3 * 60_000,
}, async () => {
  await using broker = await startBroker({ listeners: ['PLAINTEXT'] })
  await using topics = await openKafka(broker.settings('PLAINTEXT'))
  await using world = await ingestWorld({
    database: true,
    env: { KAFKA_BOOTSTRAP_SERVERS: broker.address('PLAINTEXT'), BATCH_INTERVAL: '1 ms' },
  })
  const url = `${world.url}/api/topics/${clicksTopic}`
  const headers = { 'idempotency-key': 'k' }
  const first = await post(url, [click('a'), click('b')], headers)
  assert.equal(first.status, 202, JSON.stringify(first.body))
  assert.equal(first.body.accepted, 2)
  const again = await post(url, [click('a'), click('b')], headers)
  assert.deepEqual(again.body, first.body)
  assert.equal((await post(url, [click('c')], headers)).status, 422)
  await using _worker = world.work()
  const waited = await post(`${url}?wait=commit`, [click('d'), click('', 1)])
  assert.deepEqual([waited.status, waited.body.rejected], [200, 1], JSON.stringify(waited.body))
  const values = (await readAll(topics, clicksTopic)).map(({ value }) => JSON.parse(value ?? '').id)
  assert.deepEqual(values.toSorted(), ['', 'a', 'b', 'd'])
  assert.equal((await post(`${world.url}/api/topics/nothing`, click('a'))).status, 404)
})
