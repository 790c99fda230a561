/** The Kafka driver where the network loses requests and replies, or damages them. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { MillraceError } from '../src/errors.ts'
import { openKafka } from '../src/sources/topic/kafka/open.ts'
import type { Topics } from '../src/sources/topic/topic.ts'
import { SeenRecords } from './kafka-batch.ts'
import { type Broker, noKafka, startBroker } from './kafka-broker.ts'
import { type Harm, type KafkaProxy, openKafkaProxy, requests } from './kafka-proxy.ts'

describe('a network that loses', { skip: noKafka, timeout: 3 * 60_000 }, () => {
  let proxy: KafkaProxy
  let broker: Broker
  let topics: Topics

  before(async () => {
    proxy = await openKafkaProxy()
    broker = await startBroker({ behind: proxy.port })
    proxy.target = Number(broker.address().split(':')[1])
    topics = await openKafka({ ...broker.settings(), servers: [{ host: '127.0.0.1', port: proxy.port }] })
  })
  after(async () => {
    await topics?.[Symbol.asyncDispose]()
    await broker?.[Symbol.asyncDispose]()
    await proxy?.[Symbol.asyncDispose]()
  })

  async function valuesOf(topic: string): Promise<(string | null)[]> {
    await using reader = await topics.openReader(topic)
    const sink = new SeenRecords()
    await reader.read(new Map([[0, 0]]), sink, 1000)
    return sink.values
  }

  test('records whose request or whose reply was lost are there once, in order', async () => {
    const topic = 'written'
    await using writer = await topics.openWriter(topic)
    await writer.append([{ value: Buffer.from('first') }])
    const harms: Harm[] = ['lose the reply', 'lose the request', 'lose the reply', 'lose the reply', 'cut the reply']
    proxy.harm(requests.produce, [...harms])
    const begun = proxy.harmed.length
    const landed = await Promise.all(
      Array.from({ length: 50 }, (_, i) => writer.append([{ value: Buffer.from(`${i}`) }])),
    )
    await writer.append([{ value: Buffer.from('last') }])
    assert.deepEqual(proxy.harmed.slice(begun), harms)
    landed.forEach((each, i) => {
      assert.deepEqual(each, [{ partition: 0, first: i + 1, end: i + 2 }])
    })
    assert.deepEqual(await valuesOf(topic), ['first', ...Array.from({ length: 50 }, (_, i) => `${i}`), 'last'])
  })

  test('while no broker answers, appends wait, and those that memory has no room for are refused', async () => {
    const topic = 'waiting'
    await using writer = await topics.openWriter(topic)
    await writer.append([{ value: Buffer.from('first') }])
    const { target } = proxy
    // a port where nobody listens
    proxy.target = 1
    proxy.hangUp()
    const appends = Array.from({ length: 80 }, (_, i) => writer.append([{ value: Buffer.alloc(900_000, `${i} `) }]))
    const refused = await Promise.allSettled(appends.slice(75))
    for (const outcome of refused) {
      assert.ok(outcome.status === 'rejected' && outcome.reason instanceof MillraceError)
      assert.equal(outcome.reason.code, 'BROKER_UNREACHABLE')
      assert.equal(outcome.reason.retry, true)
    }
    proxy.target = target
    const landed = (await Promise.allSettled(appends)).filter(({ status }) => status === 'fulfilled')
    assert.equal(landed.length, 72)
    await using reader = await topics.openReader(topic)
    assert.deepEqual(await reader.partitions(), [{ partition: 0, first: 0, end: 73 }])
  })

  test('what is read comes once, in order, whatever becomes of the replies', async () => {
    const topic = 'read'
    const count = 20_000
    await using writer = await topics.openWriter(topic)
    for (let i = 0; i < count; i += 1000) {
      await writer.append(Array.from({ length: 1000 }, (_, k) => ({ value: Buffer.alloc(1000, `${i + k} `) })))
    }
    const harms: Harm[] = ['lose the reply', 'lose the request', 'cut the reply', 'damage the reply', 'cut the reply']
    proxy.harm(requests.fetch, [...harms], 50_000)
    const begun = proxy.harmed.length
    await using reader = await topics.openReader(topic)
    const sink = new SeenRecords()
    const faults: string[] = []
    let at = new Map([[0, 0]])
    while (sink.seen.length < count) {
      sink.room = sink.seen.length + 300
      try {
        at = await reader.read(at, sink, 1000)
      } catch (error) {
        assert.ok(error instanceof MillraceError && error.retry, String(error))
        faults.push(error.code)
      }
    }
    assert.deepEqual(proxy.harmed.slice(begun), harms)
    assert.deepEqual(
      sink.offsets,
      Array.from({ length: count }, (_, i) => i),
    )
    sink.values.forEach((value, i) => {
      assert.equal(value, String(Buffer.alloc(1000, `${i} `)))
    })
    // what is lost is got over without a word, and what is damaged too, where a read had handed out something before
    assert.ok(faults.length <= 1 && faults.every((code) => code === 'TOPIC_DAMAGED'), faults.join())
  })
})
