/** The Kafka driver on a real broker, which is started once for all that can be tried on it. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Admin, Producer } from '@platformatic/kafka'
import type { KafkaSettings } from '../src/config.ts'
import { MillraceError } from '../src/errors.ts'
import { pipeline, table, text, topic as topicSource } from '../src/index.ts'
import { openKafka } from '../src/sources/topic/kafka/open.ts'
import { rowsBehind, TopicEnds, topicLags } from '../src/sources/topic/lag.ts'
import type { PartitionEnds, TopicReader, TopicRecord, Topics } from '../src/sources/topic/topic.ts'
import { noOpenssl } from './crash/certificates.ts'
import { eventually } from './crash/process.ts'
import { SeenRecords } from './kafka-batch.ts'
import { type Broker, noKafka, startBroker, user } from './kafka-broker.ts'
import { topicContract } from './topic-contract.ts'

describe('topics of Kafka', { skip: noKafka || noOpenssl, timeout: 10 * 60_000 }, () => {
  let broker: Broker
  let topics: Topics
  let admin: Admin
  let made = 0

  before(async () => {
    broker = await startBroker({ listeners: ['SASL_PLAINTEXT', 'SSL', 'SASL_SSL', 'CERTIFIED'] })
    topics = await openKafka(broker.settings())
    admin = new Admin({ clientId: 'tests', bootstrapBrokers: [broker.address()] })
  })
  after(async () => {
    await admin?.close()
    await topics?.[Symbol.asyncDispose]()
    await broker?.[Symbol.asyncDispose]()
  })

  async function newTopic(partitions = 1, config: Record<string, string> = {}): Promise<string> {
    const topic = `topic-${made++}`
    const configs = Object.entries(config).map(([name, value]) => ({ name, value }))
    await admin.createTopics({ topics: [topic], partitions, replicas: 1, configs })
    await untilThere(topic, partitions)
    return topic
  }

  // the library's producer sends all of its partitions again when one of them has no leader yet
  async function untilThere(topic: string, partitions: number): Promise<void> {
    await using reader = await topics.openReader(topic)
    const there = async (): Promise<boolean> => (await reader.partitions()).length === partitions
    await eventually(there, { what: () => `${topic} has ${partitions} partitions` })
  }

  topicContract('Kafka', async () => {
    const contractTopics = await openKafka(broker.settings())
    return {
      topics: contractTopics,
      async make(topic, partitions) {
        await admin.createTopics({ topics: [topic], partitions, replicas: 1 })
        await untilThere(topic, partitions)
      },
      async forget(topic) {
        await admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 0, offset: 210n }] }] })
      },
      close: async () => contractTopics[Symbol.asyncDispose](),
    }
  })

  /** Everything from the first offset to the ends of now. */
  async function readAll(topic: string, room?: number): Promise<SeenRecords> {
    await using reader = await topics.openReader(topic)
    const ends = await reader.partitions()
    const sink = new SeenRecords(room)
    await readTo(reader, ends, new Map(ends.map(({ partition, first }) => [partition, first])), sink)
    return sink
  }

  async function readTo(
    reader: TopicReader,
    ends: PartitionEnds[],
    from: ReadonlyMap<number, number>,
    sink: SeenRecords,
  ): Promise<ReadonlyMap<number, number>> {
    let at = from
    while (!sink.full && ends.some(({ partition, end }) => (at.get(partition) ?? 0) < end)) {
      at = await reader.read(at, sink, 1000)
    }
    return at
  }

  test('what is appended is read, with key, headers and time, from where the append says it is', async () => {
    const topic = await newTopic(3)
    const records: TopicRecord[] = Array.from({ length: 100 }, (_, i) => ({
      key: Buffer.from(`key ${i % 10}`),
      value: i === 50 ? null : Buffer.from(`value ${i}`),
      headers: i % 2 === 0 ? [['n', Buffer.from(String(i))]] : [],
      timestampMs: 1_700_000_000_000 + i,
    }))
    await using writer = await topics.openWriter(topic)
    const landed = await writer.append(records)
    const { seen } = await readAll(topic)
    assert.equal(seen.length, 100)
    assert.deepEqual(
      new Set(seen.map(({ key, value, headers, timestampMs }) => JSON.stringify([key, value, headers, timestampMs]))),
      new Set(
        records.map(({ key, value, headers, timestampMs }) =>
          JSON.stringify([
            String(key),
            value === null ? null : String(value),
            headers?.map(([name, content]) => [name, String(content)]),
            timestampMs,
          ]),
        ),
      ),
    )
    for (let key = 0; key < 10; key++) {
      const ofKey = seen.filter((record) => record.key === `key ${key}`)
      assert.equal(new Set(ofKey.map(({ partition }) => partition)).size, 1, 'one key is in one partition')
      assert.deepEqual(
        ofKey.map(({ timestampMs }) => timestampMs - 1_700_000_000_000),
        Array.from({ length: 10 }, (_, i) => i * 10 + key),
      )
    }
    assert.equal(
      landed.reduce((sum, { first, end }) => sum + end - first, 0),
      100,
    )
    await using reader = await topics.openReader(topic)
    assert.deepEqual(
      (await reader.partitions()).filter(({ end }) => end > 0),
      landed.toSorted((a, b) => a.partition - b.partition),
    )
  })

  test("a key goes where Kafka's own producer puts it, and what that one writes is read, packed in any way", async () => {
    const lines = Array.from({ length: 3_000 }, (_, i) => [`k${i % 17}`, `value ${i} ${'so it goes '.repeat(i % 30)}`])
    const input = lines.map(([key, value], i) => `n:${i},m:x\t${i % 5 === 0 ? 'NULL' : key}\t${value}\n`).join('')
    const parse = ['parse.key=true', 'parse.headers=true', 'null.marker=NULL'].flatMap((each) => ['--property', each])
    const expected = lines.map(([key, value], i) => [
      i % 5 === 0 ? null : key,
      value,
      [
        ['n', String(i)],
        ['m', 'x'],
      ],
    ])
    const partitionOfKey = new Map<string | null, number>()
    await Promise.all(
      ['none', 'gzip', 'snappy', 'lz4', 'zstd'].map(async (codec) => {
        const topic = await newTopic(5)
        const packed = codec === 'none' ? [] : ['--compression-codec', codec]
        await broker.tool('org.apache.kafka.tools.ConsoleProducer', ['--topic', topic, ...packed, ...parse], input)
        const { seen } = await readAll(topic)
        const inOrder = seen.toSorted((a, b) => Number(a.headers[0]?.[1]) - Number(b.headers[0]?.[1]))
        assert.deepEqual(
          inOrder.map(({ key, value, headers }) => [key, value, headers]),
          expected,
          codec,
        )
        for (const { key, partition } of seen) partitionOfKey.set(key, partition)
      }),
    )
    const ours = await newTopic(5)
    await using writer = await topics.openWriter(ours)
    await writer.append(
      lines.map(([key, value]) => ({ key: Buffer.from(String(key)), value: Buffer.from(String(value)) })),
    )
    for (const { key, partition } of (await readAll(ours)).seen) assert.equal(partition, partitionOfKey.get(key))
  })

  test('a full sink ends a read in the middle of a batch, and the next one goes on there, or elsewhere', async () => {
    const topic = await newTopic(2)
    await using producer = new Client(broker)
    for (const compression of ['none', 'lz4'] as const) {
      const messages = Array.from({ length: 1_000 }, (_, i) => ({
        topic,
        partition: i % 2,
        value: Buffer.from(`${i}`),
      }))
      await producer.send({ messages, compression })
    }
    await using reader = await topics.openReader(topic)
    const ends = await reader.partitions()
    let at = new Map(ends.map(({ partition }) => [partition, 0]))
    const offsets = new Map<number, number[]>([
      [0, []],
      [1, []],
    ])
    while (ends.some(({ partition, end }) => (at.get(partition) ?? 0) < end)) {
      const sink = new SeenRecords(77)
      at = await reader.read(at, sink, 1000)
      for (const { partition, offset } of sink.seen) offsets.get(partition)?.push(offset)
    }
    for (const each of offsets.values()) {
      assert.deepEqual(
        each,
        Array.from({ length: 1000 }, (_, i) => i),
      )
    }
    // elsewhere: what was fetched ahead does not belong there
    for (const from of [990, 10, 500, 501, 3]) {
      const sink = new SeenRecords(3)
      await reader.read(new Map([[1, from]]), sink, 1000)
      assert.deepEqual(sink.offsets, [from, from + 1, from + 2])
    }
  })

  test('what was fetched ahead of a partition that is not asked for any more is not handed out', async () => {
    const topic = await newTopic(2)
    await using writer = await topics.openWriter(topic)
    // more than a broker answers at once
    const large = Array.from({ length: 10 }, () => ({ value: Buffer.alloc(80_000) }))
    for (let i = 0; i < 20; i++) await writer.append(large)
    await using reader = await topics.openReader(topic)
    const both = await reader.read(
      new Map([
        [0, 0],
        [1, 0],
      ]),
      new SeenRecords(1),
      1000,
    )
    const from = both.get(1) ?? 0
    const rest = new SeenRecords()
    assert.deepEqual(await reader.read(new Map([[1, from]]), rest, 1000), new Map([[1, 100]]))
    assert.deepEqual([...new Set(rest.seen.map(({ partition }) => partition))], [1])
    assert.equal(rest.seen.length, 100 - from)
  })

  test('a read waits for the first record, and for no longer than it was told to', async () => {
    const topic = await newTopic(2)
    await using reader = await topics.openReader(topic)
    const from = new Map([
      [0, 0],
      [1, 0],
    ])
    const begun = performance.now()
    assert.deepEqual(await reader.read(from, new SeenRecords(), 300), from)
    const waited = performance.now() - begun
    assert.ok(waited >= 290 && waited < 2_000, `${waited} ms`)

    await using writer = await topics.openWriter(topic)
    const sink = new SeenRecords()
    const reading = reader.read(from, sink, 20_000)
    await sleep(200)
    await writer.append([{ value: Buffer.from('late') }])
    const appended = performance.now()
    await reading
    assert.deepEqual(sink.values, ['late'])
    assert.ok(performance.now() - appended < 2_000)
    // without waiting too, all that is there is handed over
    await writer.append([{ value: Buffer.from('later') }])
    const again = new SeenRecords()
    await reader.read(from, again, 0)
    assert.deepEqual(again.values.toSorted(), ['late', 'later'])
  })

  test('a read that is called off ends at once', async () => {
    const topic = await newTopic()
    const off = new AbortController()
    await using reader = await topics.openReader(topic, { signal: off.signal })
    const reading = reader.read(new Map([[0, 0]]), new SeenRecords(), 60_000)
    await sleep(100)
    const begun = performance.now()
    off.abort(new Error('called off'))
    await assert.rejects(reading, /called off/)
    assert.ok(performance.now() - begun < 1_000)
  })

  test('records of transactions that were taken back are not read, nor those of open ones before they end', async () => {
    const topic = await newTopic()
    await using writer = await topics.openWriter(topic)
    await using first = new Client(broker, 'first')
    await using second = new Client(broker, 'second')
    const send = (transaction: { send: Client['send'] }, ...values: string[]): Promise<unknown> =>
      transaction.send({ messages: values.map((value) => ({ topic, partition: 0, value: Buffer.from(value) })) })

    const back = await first.beginTransaction()
    await send(back, 'back 1', 'back 2')
    await writer.append([{ value: Buffer.from('plain') }])
    const kept = await second.beginTransaction()
    await send(kept, 'kept 1')
    await back.abort()

    await using reader = await topics.openReader(topic)
    const endIs = (offset: number): Promise<true> =>
      eventually(async () => (await reader.partitions())[0]?.end === offset, { what: () => `the end is ${offset}` })
    // before the transaction that is open still; the mark of the one that was taken back has the offset 4 by now
    await endIs(3)
    await send(kept, 'kept 2')
    const before = new SeenRecords()
    const at = await reader.read(new Map([[0, 0]]), before, 500)
    assert.deepEqual(before.values, ['plain'])
    assert.deepEqual(at, new Map([[0, 3]]))

    await kept.commit()
    await endIs(7)
    await writer.append([{ value: Buffer.from('plain too') }])
    await endIs(8)
    const rest = new SeenRecords()
    assert.deepEqual(await readTo(reader, await reader.partitions(), at, rest), new Map([[0, 8]]))
    assert.deepEqual(rest.values, ['kept 1', 'kept 2', 'plain too'])
    for (let from = 0; from < 8; from++) {
      const sink = new SeenRecords()
      await reader.read(new Map([[0, from]]), sink, 500)
      const all: [number, string][] = [
        [2, 'plain'],
        [3, 'kept 1'],
        [5, 'kept 2'],
        [7, 'plain too'],
      ]
      assert.deepEqual(
        sink.seen.map(({ offset, value }) => [offset, value]),
        all.filter(([offset]) => offset >= from),
      )
    }

    // nothing but a transaction that was taken back: the position moves nevertheless
    const last = await first.beginTransaction()
    await send(last, 'back 3')
    await last.abort()
    const none = new SeenRecords()
    await endIs(10)
    assert.deepEqual(await reader.read(new Map([[0, 8]]), none, 500), new Map([[0, 10]]))
    assert.deepEqual(none.values, [])
  })

  test('a topic that is not there has no partitions, is not made by asking, and may come and grow later', async () => {
    const topic = 'not-there-yet'
    await using reader = await topics.openReader(topic)
    assert.deepEqual(await reader.partitions(), [])
    assert.deepEqual(await reader.read(new Map(), new SeenRecords(), 50), new Map())
    assert.ok(!(await admin.listTopics()).includes(topic))

    await admin.createTopics({ topics: [topic], partitions: 1, replicas: 1 })
    await eventually(async () => (await reader.partitions()).length === 1, { what: () => 'it has a partition' })
    await using writer = await topics.openWriter(topic)
    await writer.append([{ value: Buffer.from('one') }])
    const sink = new SeenRecords()
    await reader.read(new Map([[0, 0]]), sink, 5_000)

    await admin.createPartitions({ topics: [{ name: topic, count: 3, assignments: null }] })
    await eventually(async () => (await reader.partitions()).length === 3, { what: () => 'it has three' })
    await using producer = new Client(broker)
    await producer.send({ messages: [{ topic, partition: 2, value: Buffer.from('two') }] })
    const from = new Map([
      [0, 1],
      [1, 0],
      [2, 0],
    ])
    assert.deepEqual(await reader.read(from, sink, 5_000), from.set(2, 1))
    assert.deepEqual(sink.values, ['one', 'two'])
    const error = await faultOf(reader.read(new Map([[9, 4]]), sink, 0))
    assert.match(String(error), /topic not-there-yet, partition 9/)
    assert.match(String(error), /the topic has 3/)
  })

  test('a writer makes its topic where brokers are set to make topics', async () => {
    await using writer = await topics.openWriter('made-by-writing')
    assert.deepEqual(await writer.append([{ value: Buffer.from('one') }]), [{ partition: 0, first: 0, end: 1 }])
  })

  test('an offset that retention has overtaken is an error with both offsets, and so is one behind the end', async () => {
    const topic = await newTopic(2)
    await using producer = new Client(broker)
    const messages = Array.from({ length: 20 }, (_, i) => ({ topic, partition: 1, value: Buffer.from(`${i}`) }))
    await producer.send({ messages })
    await admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 1, offset: 12n }] }] })
    await using reader = await topics.openReader(topic)
    assert.deepEqual((await reader.partitions())[1], { partition: 1, first: 12, end: 20 })

    const lost = await faultOf(reader.read(new Map([[1, 5]]), new SeenRecords(), 1_000))
    assert.equal(lost.code, 'POSITION_LOST')
    assert.equal(lost.retry, false)
    for (const part of [`topic ${topic}, partition 1`, 'offset 5', '12'])
      assert.ok(String(lost).includes(part), String(lost))
    const cut = await faultOf(reader.read(new Map([[1, 21]]), new SeenRecords(), 1_000))
    assert.equal(cut.code, 'LOG_TRUNCATED')
    for (const part of [`topic ${topic}, partition 1`, 'offset 21', 'ends at offset 20'])
      assert.ok(String(cut).includes(part), String(cut))
    // and the reader goes on where there are records
    const sink = new SeenRecords()
    await reader.read(new Map([[1, 12]]), sink, 1_000)
    assert.equal(sink.seen.length, 8)
    assert.deepEqual(await reader.read(new Map([[1, 20]]), sink, 0), new Map([[1, 20]]))
  })

  test('a record that is too large is named, and takes no others with it', async () => {
    const topic = await newTopic(1, { 'max.message.bytes': '5000' })
    await using writer = await topics.openWriter(topic)
    const small = Array.from({ length: 300 }, (_, i) => ({ value: Buffer.from(`${i} ${'x'.repeat(90)}`) }))
    const outcomes = await Promise.allSettled([
      writer.append([{ value: Buffer.from('first') }]),
      writer.append(small),
      writer.append([{ value: Buffer.alloc(10_000) }]),
      writer.append([{ value: Buffer.from('last') }]),
    ])
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'rejected', 'fulfilled'],
    )
    const error = outcomes[2].status === 'rejected' ? outcomes[2].reason : undefined
    assert.ok(error instanceof MillraceError && error.code === 'RECORD_TOO_LARGE', String(error))
    assert.equal(error.retry, false)
    assert.match(String(error), new RegExp(`100\\d\\d bytes.*${topic}, partition 0`))
    const { values } = await readAll(topic)
    assert.deepEqual(values, ['first', ...small.map(({ value }) => String(value)), 'last'])
    assert.equal((await faultOf(writer.append([{ value: Buffer.alloc(101_000_000) }]))).code, 'RECORD_TOO_LARGE')
  })

  test('many appends at once land in the order of the calls, each with its own offsets', async () => {
    const topic = await newTopic(1)
    await using writer = await topics.openWriter(topic)
    const landed = await Promise.all(
      Array.from({ length: 2_000 }, (_, i) =>
        writer.append([{ value: Buffer.from(`${i}a`) }, { value: Buffer.from(`${i}b`) }]),
      ),
    )
    landed.forEach((each, i) => {
      assert.deepEqual(each, [{ partition: 0, first: 2 * i, end: 2 * i + 2 }])
    })
    assert.deepEqual((await readAll(topic)).values, Array.from({ length: 2_000 }, (_, i) => [`${i}a`, `${i}b`]).flat())
    assert.deepEqual(await writer.append([]), [])
  })

  test("positions are told to the group of the pipeline's name, for tools that show how far behind it is", async () => {
    const topic = await newTopic(2)
    await using writer = await topics.openWriter(topic)
    for (let i = 0; i < 6; i++) await writer.append([{ value: Buffer.from(`${i}`) }])
    await using reader = await topics.openReader(topic, { pipeline: 'shop-events' })
    await reader.publish(
      new Map([
        [0, 2],
        [1, 3],
      ]),
    )
    await reader.publish(new Map([[0, 3]]))
    const told = await broker.tool('org.apache.kafka.tools.consumer.group.ConsumerGroupCommand', [
      '--describe',
      '--group',
      'shop-events',
    ])
    const rows = told.split('\n').map((line) => line.trim().split(/\s+/))
    assert.deepEqual(
      rows
        .filter(([group]) => group === 'shop-events')
        .map((row) => row.slice(1, 6))
        .toSorted(),
      [
        [topic, '0', '3', '3', '0'],
        [topic, '1', '3', '3', '0'],
      ],
    )
    await using outsider = await topics.openReader(topic)
    await outsider.publish(new Map([[0, 1]]))
  })

  test('the lag is what lies behind the committed positions, and brokers that do not answer are named', async () => {
    const topic = await newTopic(2)
    await using writer = await topics.openWriter(topic)
    const landed = await writer.append(
      Array.from({ length: 12 }, (_, n) => ({ key: Buffer.from(`${n}`), value: null })),
    )
    const { plan } = pipeline('reads')
      .from(topicSource(topic, { columns: { id: text() } }))
      .into(table('reads', { oncePer: 'id' }))
    const [source = ''] = Object.keys(plan.sources)
    const committed = [{ source, partition: '0', position: 1 }]
    await using ends = new TopicEnds(() => openKafka(broker.settings()), 10_000)
    const [lag] = await topicLags(plan, committed, ends)
    const endOf = (partition: number): number =>
      Math.max(...landed.map((each) => (each.partition === partition ? each.end : 0)))
    assert.deepEqual(
      lag?.partitions.map(({ partition, end, rows }) => [partition, end, rows]),
      [
        ['0', endOf(0), endOf(0) - 1],
        ['1', endOf(1), endOf(1)],
      ],
    )
    assert.equal(rowsBehind(lag === undefined ? [] : [lag]), 11)

    // nobody listens there
    const nowhere = { ...broker.settings(), servers: [{ host: '127.0.0.1', port: 1 }] }
    await using silent = new TopicEnds(() => openKafka(nowhere), 10_000)
    const [unknown] = await topicLags(plan, committed, silent)
    assert.match(unknown?.why ?? '', /127\.0\.0\.1:1/)
    assert.deepEqual(unknown?.partitions, [{ partition: '0', committed: 1, end: undefined, rows: undefined }])
  })

  describe('who may read', () => {
    let topic = ''
    before(async () => {
      topic = await newTopic(3)
    })
    const open = async (settings: KafkaSettings): Promise<PartitionEnds[]> => {
      await using topics = await openKafka(settings)
      await using reader = await topics.openReader(topic)
      return await reader.partitions()
    }

    test('every way of logging in is let in', async () => {
      const mechanisms = ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const
      for (const listener of ['SASL_PLAINTEXT', 'SASL_SSL'] as const) {
        for (const mechanism of mechanisms) {
          const settings = { ...broker.settings(listener), sasl: { mechanism, ...user } }
          assert.equal((await open(settings)).length, 3, `${listener} ${mechanism}`)
        }
      }
      assert.equal((await open(broker.settings('SSL'))).length, 3)
      assert.equal((await open(broker.settings('CERTIFIED'))).length, 3)
    })

    test('a refusal says what to mend, and never the password', async () => {
      const password = 'not-the-password-7'
      const settings = broker.settings('SASL_PLAINTEXT')
      for (const mechanism of ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const) {
        const error = await faultOf(open({ ...settings, sasl: { mechanism, username: 'alice', password } }))
        assert.equal(error.code, 'BROKER_REFUSED')
        assert.equal(error.retry, false)
        assert.match(String(error), /"alice"[\s\S]*KAFKA_SASL_PASSWORD/)
        assert.ok(!JSON.stringify(everythingIn(error)).includes(password))
      }
    })

    const wrong: [what: string, settings: () => KafkaSettings, says: RegExp, retry: boolean][] = [
      [
        'an authority that did not sign its certificate',
        () => ({ ...broker.settings('SSL'), tls: { ca: undefined, cert: undefined, key: undefined } }),
        /BROKER_REFUSED: its certificate is not accepted[\s\S]*KAFKA_SSL_CA/,
        false,
      ],
      [
        'a name that its certificate is not for',
        () => ({
          ...broker.settings('SSL'),
          servers: broker.settings('SSL').servers.map(({ port }) => ({ host: '127.0.0.1', port })),
        }),
        /BROKER_REFUSED: its certificate is not accepted[\s\S]*127\.0\.0\.1/,
        false,
      ],
      [
        'no certificate where the broker asks for one',
        () => ({ ...broker.settings('SSL'), servers: broker.settings('CERTIFIED').servers }),
        /BROKER_REFUSED[\s\S]*KAFKA_SSL_CERT/,
        false,
      ],
      [
        'TLS where there is none',
        () => ({ ...broker.settings('SSL'), servers: broker.settings('PLAINTEXT').servers }),
        /BROKER_UNREACHABLE[\s\S]*KAFKA_SECURITY_PROTOCOL/,
        true,
      ],
      [
        'no TLS where there is',
        () => ({ ...broker.settings('PLAINTEXT'), servers: broker.settings('SSL').servers }),
        /BROKER_REFUSED: the broker speaks TLS[\s\S]*KAFKA_SECURITY_PROTOCOL/,
        false,
      ],
      [
        'no login where there is one',
        () => ({ ...broker.settings('PLAINTEXT'), servers: broker.settings('SASL_PLAINTEXT').servers }),
        /BROKER_UNREACHABLE[\s\S]*KAFKA_SECURITY_PROTOCOL/,
        true,
      ],
      [
        'a port where nobody listens',
        () => ({ ...broker.settings('PLAINTEXT'), servers: [{ host: '127.0.0.1', port: 1 }] }),
        /BROKER_UNREACHABLE[\s\S]*127\.0\.0\.1:1/,
        true,
      ],
      [
        'a host that there is not',
        () => ({ ...broker.settings('PLAINTEXT'), servers: [{ host: 'nobody.invalid', port: 9092 }] }),
        /BROKER_UNREACHABLE[\s\S]*nobody\.invalid/,
        true,
      ],
    ]
    for (const [what, settings, says, retry] of wrong) {
      test(`${what} is told`, async () => {
        const error = await faultOf(open(settings()))
        assert.match(String(error), says)
        assert.equal(error.retry, retry)
      })
    }
  })

  test('a broker that is killed and comes back three times costs no record, and doubles none', async () => {
    const topic = await newTopic(4)
    const count = 200_000
    await using writer = await topics.openWriter(topic)
    // written while the broker is killed, too: the writer sends again what it does not know to have landed
    const writing = (async () => {
      for (let i = 0; i < count; i += 1_000) {
        const batch = Array.from({ length: 1_000 }, (_, k) => ({
          key: Buffer.from(`${i + k}`),
          value: Buffer.from(`${i + k}`),
        }))
        await writer.append(batch)
      }
    })()
    await using reader = await topics.openReader(topic)
    let at: ReadonlyMap<number, number> = new Map([0, 1, 2, 3].map((partition) => [partition, 0]))
    const read: string[] = []
    const next = [0, 0, 0, 0]
    const faults: string[] = []
    const sink = {
      room: 0,
      get full() {
        return this.room <= 0
      },
      take(bytes: Buffer, record: { partition: number; offset: number; valueFrom: number; valueTo: number }) {
        this.room--
        assert.equal(record.offset, next[record.partition], 'each offset once, in order')
        next[record.partition] = record.offset + 1
        read.push(bytes.toString('latin1', record.valueFrom, record.valueTo))
      },
    }
    let kills = 0
    let restarting: Promise<void> | undefined
    while (read.length < count) {
      if (kills < 3 && read.length > (kills + 0.5) * (count / 4) && restarting === undefined) {
        kills++
        restarting = broker
          .kill()
          .then(() => broker.start())
          .finally(() => {
            restarting = undefined
          })
      }
      sink.room = 500
      try {
        at = await reader.read(at, sink, 200)
      } catch (error) {
        assert.ok(error instanceof MillraceError && error.retry, String(error))
        faults.push(error.code)
        await sleep(50)
      }
      assert.deepEqual([...at.values()], next)
    }
    await restarting
    await writing
    assert.equal(kills, 3)
    assert.equal(read.length, count)
    assert.equal(new Set(read).size, count)
    // a broker that is coming back may not know yet what it leads
    assert.ok(faults.includes('BROKER_UNREACHABLE'), 'the reader met the broker when it was gone')
    assert.deepEqual(
      faults.filter((code) => code !== 'BROKER_UNREACHABLE' && code !== 'BROKER_REFUSED'),
      [],
    )
    assert.deepEqual(
      (await reader.partitions()).map(({ end }) => end),
      next,
    )
  })
})

class Client extends Producer {
  constructor(broker: Broker, transactionalId?: string) {
    super({
      clientId: 'tests',
      bootstrapBrokers: [broker.address()],
      acks: -1,
      autocreateTopics: false,
      ...(transactionalId === undefined ? {} : { idempotent: true, transactionalId }),
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

async function faultOf(act: Promise<unknown>): Promise<MillraceError> {
  const error: unknown = await act.then(
    (answer) => assert.fail(`it should be refused: ${JSON.stringify(answer)}`),
    (thrown) => thrown,
  )
  assert.ok(error instanceof MillraceError, String(error))
  return error
}

/** All that is kept of an error, down to what caused it. */
function everythingIn(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  return [
    error.message,
    error.stack,
    { ...error },
    everythingIn(error.cause),
    ...(error instanceof AggregateError ? error.errors.map(everythingIn) : []),
  ]
}
