/** The Kafka driver on two brokers: partitions have a leader each, and it changes. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Admin } from '@platformatic/kafka'
import { MillraceError } from '../src/errors.ts'
import { openKafka } from '../src/sources/topic/kafka/open.ts'
import type { Topics } from '../src/sources/topic/topic.ts'
import { eventually } from './crash/process.ts'
import { SeenRecords } from './kafka-batch.ts'
import { type Broker, noKafka, startBroker } from './kafka-broker.ts'

describe('topics of two brokers', { skip: noKafka, timeout: 5 * 60_000 }, () => {
  const replicated = { 'offsets.topic.replication.factor': 2, 'default.replication.factor': 2 }
  let first: Broker
  let second: Broker
  let topics: Topics
  let admin: Admin

  before(async () => {
    first = await startBroker({ config: replicated })
    second = await startBroker({ joins: { cluster: first, number: 2 }, config: replicated })
    topics = await openKafka(first.settings())
    admin = new Admin({ clientId: 'tests', bootstrapBrokers: [first.address()] })
    await eventually(async () => (await admin.metadata({ forceUpdate: true })).brokers.size === 2, {
      what: () => 'both are part of the cluster',
    })
  })
  after(async () => {
    await admin?.close()
    await topics?.[Symbol.asyncDispose]()
    await second?.[Symbol.asyncDispose]()
    await first?.[Symbol.asyncDispose]()
  })

  /** Which broker leads, by partition. */
  async function leaders(topic: string): Promise<number[]> {
    const { topics: known } = await admin.metadata({ topics: [topic], forceUpdate: true })
    return [...(known.get(topic)?.partitions ?? [])].map(({ leader }) => leader)
  }

  function leadersAre(topic: string, wanted: number[]): Promise<boolean> {
    return eventually(async () => JSON.stringify(await leaders(topic)) === JSON.stringify(wanted), {
      what: () => `the leaders of ${topic} are ${wanted}`,
    })
  }

  test('a partition whose broker has nothing more can be read from an earlier offset at once', async () => {
    const topic = 'waiting'
    await admin.createTopics({
      topics: [topic],
      assignments: [
        { partition: 0, brokers: [1] },
        { partition: 1, brokers: [2] },
      ],
    })
    await leadersAre(topic, [1, 2])
    await using writer = await topics.openWriter(topic)
    const partitions = new Set<number>()
    for (let i = 0; partitions.size < 2; i++) {
      for (const { partition } of await writer.append([{ value: Buffer.from(`${i}`) }])) partitions.add(partition)
    }
    await using reader = await topics.openReader(topic)
    const ends = await reader.partitions()
    const atEnd = new Map(ends.map(({ partition, end }) => [partition, end]))
    for (const { partition, end } of ends) {
      // the other one has a record: the read is over, and this one's broker waits on
      const from = new Map(atEnd).set(1 - partition, 0)
      const some = new SeenRecords()
      await reader.read(from, some, 5_000)
      assert.ok(some.seen.length > 0)
      const all = new SeenRecords()
      const began = performance.now()
      await reader.read(new Map(atEnd).set(partition, 0), all, 0)
      assert.equal(all.seen.length, end)
      assert.ok(performance.now() - began < 2_000)
    }
  })

  test('records are read and written while their leaders change, and while one broker is gone', async () => {
    const topic = 'moving'
    const partitions = [0, 1, 2, 3]
    await admin.createTopics({
      topics: [topic],
      assignments: partitions.map((partition) => ({ partition, brokers: partition % 2 === 0 ? [1, 2] : [2, 1] })),
      configs: [{ name: 'min.insync.replicas', value: '1' }],
    })
    await eventually(async () => JSON.stringify(await leaders(topic)) === '[1,2,1,2]', { what: () => 'it has leaders' })

    const count = 60_000
    await using writer = await topics.openWriter(topic)
    let written = 0
    const writing = (async () => {
      for (; written < count; written += 200) {
        await writer.append(
          Array.from({ length: 200 }, (_, i) => {
            const text = Buffer.from(String(written + i))
            return { key: text, value: text }
          }),
        )
      }
    })()
    const seen = new SeenRecords()
    const faults: MillraceError[] = []
    const off = new AbortController()
    await using reader = await topics.openReader(topic, { signal: off.signal })
    let at: ReadonlyMap<number, number> = new Map(partitions.map((partition) => [partition, 0]))
    const reading = (async () => {
      while (seen.seen.length < count) {
        seen.room = Math.min(count, seen.seen.length + 300)
        try {
          at = await reader.read(at, seen, 200)
        } catch (error) {
          assert.ok(error instanceof MillraceError && error.retry, String(error))
          faults.push(error)
          await sleep(50)
        }
      }
    })()

    const readSome = (share: number): Promise<boolean> =>
      eventually(async () => seen.seen.length > count * share, {
        what: () => `${share} of it is read; ${seen.seen.length} is`,
        withinMs: 120_000,
      })
    await readSome(0.1)
    await second.kill()
    await readSome(0.3)
    await leadersAre(topic, [1, 1, 1, 1])
    await second.start()
    await readSome(0.4)
    // both are there, and half of the partitions go back to the second one
    const preferred = ['--election-type', 'preferred', '--all-topic-partitions']
    const handBack = async (): Promise<boolean> => {
      await first.tool('org.apache.kafka.tools.LeaderElectionCommand', preferred)
      return JSON.stringify(await leaders(topic)) === '[1,2,1,2]'
    }
    await eventually(handBack, { what: () => 'the second broker leads again', withinMs: 60_000, everyMs: 500 })
    await readSome(0.7)
    await second.stop()
    await leadersAre(topic, [1, 1, 1, 1])
    await reading
    await writing

    assert.equal(new Set(seen.values).size, count)
    for (const partition of partitions) {
      const offsets = seen.seen.filter((record) => record.partition === partition).map(({ offset }) => offset)
      assert.deepEqual(
        offsets,
        offsets.map((_, i) => i),
      )
    }
  })
})
