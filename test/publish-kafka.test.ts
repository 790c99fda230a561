/** Publishing to a real broker that goes away in the middle. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Admin } from '@platformatic/kafka'
import { openKafka } from '../src/sources/topic/kafka/open.ts'
import type { Topics } from '../src/sources/topic/topic.ts'
import { eventually } from './crash/process.ts'
import { judgeMessages, madeTopic, messagesIn, ordersOf, publishingModule } from './crash/published.ts'
import { openWorld } from './crash/world.ts'
import { type Broker, noKafka, startBroker } from './kafka-broker.ts'
import { type TestDatabase, testDatabase } from './postgres.ts'

describe('a topic of Kafka', { skip: noKafka, timeout: 5 * 60_000 }, () => {
  let broker: Broker
  let database: TestDatabase
  let kafka: Topics
  before(async () => {
    broker = await startBroker()
    database = await testDatabase()
    kafka = await openKafka(broker.settings())
    const admin = new Admin({ clientId: 'tests', bootstrapBrokers: [broker.address()] })
    await admin.createTopics({ topics: [madeTopic], partitions: 3, replicas: 1 })
    await admin.close()
  })
  after(async () => {
    await kafka?.[Symbol.asyncDispose]()
    await broker?.[Symbol.asyncDispose]()
    await database?.[Symbol.asyncDispose]()
  })

  test('gets each committed row, in the order of its key, though the broker is killed while it publishes', async () => {
    await using world = await openWorld(database)
    const module = await publishingModule(world)
    const env = { KAFKA_BOOTSTRAP_SERVERS: broker.address() }
    const [first, second, third] = [ordersOf(0, 6), ordersOf(6, 12), ordersOf(12, 14)]
    const committed = async (rows: number): Promise<void> => {
      await eventually(
        async () => {
          const [now] = await world.sql<{ n: number }>('select count(*)::int as n from made')
          return now?.n === rows
        },
        { what: () => `${rows} rows are committed: ${worker.story()}`, withinMs: 60_000 },
      )
    }
    await using worker = world.start(['work', module], env)
    await world.drop(first.files)
    await eventually(async () => (await messagesIn(kafka)).length > 5, {
      what: () => `some are published: ${worker.story()}`,
    })
    await broker.kill()
    await world.drop(second.files)
    // commits go on
    await committed(first.rows + second.rows)
    await worker.says('publishing is held up', { withinMs: 30_000 })
    await broker.start()
    await world.drained([...first.files, ...second.files], { worker, withinMs: 90_000 })

    await broker.kill()
    await world.drop(third.files)
    await committed(first.rows + second.rows + third.rows)
    // what waits is no reason to stay
    assert.deepEqual(await worker.stop(30_000), { code: 0, signal: null })
    const [{ waiting } = { waiting: 0 }] = await world.sql<{ waiting: number }>(
      'select count(*)::int as waiting from millrace.outbox',
    )
    assert.equal(waiting, third.rows)
    await broker.start()
    await using next = world.start(['run', module, '--json'], env)
    assert.deepEqual(await next.ended(90_000), { code: 0, signal: null }, next.story())
    judgeMessages(await messagesIn(kafka), await world.sql('select who, n, batch from made'))
  })
})
