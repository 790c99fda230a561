/** telemetra from Kafka through Spark: the windows that it has here, though the server and the worker die on the way. */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Admin } from '@platformatic/kafka'
import { sampleRequest } from '../pipelines/sample-request.ts'
import { generate } from '../pipelines/telemetra/generate.ts'
import { telemetra } from '../pipelines/telemetra/pipeline.ts'
import { openKafka } from '../src/sources/topic/kafka/open.ts'
import { type End, eventually, type Millrace, startMillrace } from './crash/process.ts'
import { noKafka, startBroker } from './kafka-broker.ts'
import { noSpark, TestSpark } from './spark/server.ts'
import { openSparkWorld } from './spark/world.ts'

const connector = process.env['MILLRACE_SPARK_KAFKA_JARS']
const absent =
  noSpark ||
  noKafka ||
  (connector === undefined &&
    "Spark's connector to Kafka is absent: .ci/setup brings it, and names it in MILLRACE_SPARK_KAFKA_JARS")
const jars = readdirSync(connector ?? import.meta.dirname).filter((name) => name.endsWith('.jar'))
const server =
  absent === false
    ? await TestSpark.start({
        'spark.driver.extraClassPath': jars.map((name) => join(connector ?? '', name)).join(':'),
      })
    : undefined
after(() => server?.[Symbol.asyncDispose]())

const topics = ['telemetra.events.chat', 'telemetra.events.viewer'] as const
const partitions = 2
/** Spark starts its first query in many seconds on a busy machine. */
const withinMs = 180_000

test('telemetra has the windows, moments and letters through Spark that it has here', {
  skip: absent,
  timeout: 15 * 60_000,
}, async () => {
  assert.ok(server)
  await using broker = await startBroker()
  await makeTopics(broker.address())
  await using kafka = await openKafka(broker.settings())
  const place = { KAFKA_BOOTSTRAP_SERVERS: broker.address() }
  await using world = await openSparkWorld(telemetra, server.remote, place)
  const work = (more: Record<string, string> = {}): Millrace =>
    startMillrace(['work', 'telemetra', '--engine', 'spark'], world.folder, {
      ...place,
      ...more,
      DATABASE_URL: world.sparkDatabase.url,
      SPARK_REMOTE: server.remote,
      MILLRACE_DATA: world.folder,
    })
  let sent = 0
  const append = async (topic: string, records: { key?: Buffer; value: Buffer | null }[]): Promise<void> => {
    await using writer = await kafka.openWriter(topic)
    await writer.append(records)
    sent += records.length
  }
  const wave = async (n: number): Promise<void> => {
    const startTime = new Date(Date.UTC(2026, 0, 1) + n * 900_000)
    const sample = { count: 3000, durationSeconds: 900, badPercent: 2, duplicatePercent: 1, seed: n + 1, startTime }
    await generate(
      sampleRequest({
        ...sample,
        options: { 'late-percent': '0' },
        topic: (topic) => ({
          append: (messages) =>
            append(
              topic,
              messages.map(({ key, value }) => ({
                ...(key ? { key: Buffer.from(key) } : {}),
                value: bytesOf(value),
              })),
            ),
        }),
      }),
    )
  }
  const landed = async (worker: Millrace): Promise<void> => {
    await worker.says('running', { withinMs })
    const look = async (): Promise<boolean> => {
      assert.equal(worker.end, undefined, worker.story())
      const [sum] = await world.sql('select coalesce(sum(rows_in), 0)::int as rows from millrace.batches')
      return sum?.['rows'] === sent
    }
    await eventually(look, { what: () => `${sent} messages are in: ${worker.story()}`, withinMs })
  }

  await wave(0)
  // what the broker takes and JSON is not
  const odd = [null, '', '  ', '[1]', '\n{"stream_id":"odd"}\n', '{} {}', Buffer.from([0x22, 0xff, 0x22])]
  await append(
    topics[0],
    odd.map((value) => ({ value: bytesOf(value) })),
  )
  {
    await using doomed = work({ MILLRACE_FAILPOINT: 'commit acknowledged@2=kill' })
    const killed: End = { code: null, signal: 'SIGKILL' }
    assert.deepEqual(await doomed.ended(withinMs), killed, doomed.story())
  }
  await using worker = work()
  await landed(worker)
  await server.kill()
  await wave(1)
  await server.start()
  await landed(worker)
  await wave(2)
  // in every partition: all windows before it close
  const timestamp = '2026-01-02T00:00:00Z'
  const closers = Array.from({ length: 20 }, (_, n) => `closer-${n}`)
  const closing = (more: object) =>
    closers.map((stream_id) => ({
      key: Buffer.from(stream_id),
      value: Buffer.from(JSON.stringify({ stream_id, timestamp, ...more })),
    }))
  await append(topics[0], closing({ user_id: 'u', message: 'm' }))
  await append(topics[1], closing({ viewer_count: 1 }))
  await landed(worker)
  const open = `select from chat_summary_minute where not final and stream_id not like 'closer-%'`
  await eventually(async () => (await world.sql(open)).length === 0, { what: () => worker.story(), withinMs })
  assert.deepEqual(await worker.stop(60_000), { code: 0, signal: null }, worker.story())

  const books = await world.here()
  const selects: [string, number][] = [
    [
      `select stream_id, window_start, window_end, chat_count, unique_chatters, avg_sentiment, positive_count, negative_count,
              top_emotes, emote_counts, chat_rate, avg_viewers, peak_viewers
       from   chat_summary_minute where stream_id not like 'closer-%' order by stream_id, window_start`,
      500,
    ],
    ['select moment_type, stream_id, window_start, value, mean, deviation, z_score from moments order by 2, 3, 1', 5],
    [
      `select source, place, stage, code, column_name, regexp_replace(message, ' \\(at byte \\d+\\)$', '') as message,
              case when code <> 'INVALID_UTF8' then raw end as raw, encode(raw_bytes, 'hex') as bytes, fields
       from   millrace.dead_letters order by place`,
      100,
    ],
  ]
  for (const [select, least] of selects) {
    const { here, onSpark: there } = await world.both(select)
    assert.ok(here.length >= least, `${here.length} rows of ${select}`)
    assert.deepEqual(there, here, select)
  }
  const [sum] = await world.sql(`
    select sum(rows_in)::int as "rowsIn", sum(written)::int as written, sum(filtered)::int as filtered,
           sum(duplicates)::int as duplicates, sum(late)::int as late, sum(dead)::int as dead
    from   millrace.batches`)
  assert.deepEqual(sum, books)
  assert.equal(books.rowsIn, sent)
})

function bytesOf(value: string | Uint8Array | null): Buffer | null {
  return value === null ? null : Buffer.from(value)
}

async function makeTopics(address: string): Promise<void> {
  const admin = new Admin({ clientId: 'tests', bootstrapBrokers: [address] })
  try {
    await admin.createTopics({ topics: [...topics], partitions, replicas: 1 })
    const there = async (): Promise<boolean> => {
      const { topics: found } = await admin.metadata({ topics: [...topics], forceUpdate: true })
      return topics.every((topic) => found.get(topic)?.partitionsCount === partitions)
    }
    await eventually(there, { what: () => 'the topics have their partitions' })
  } finally {
    await admin.close()
  }
}
