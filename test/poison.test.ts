/** Messages that are none, through the whole of telemetra: each a dead letter with its place and its bytes, its neighbours counted. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { telemetra } from '../pipelines/telemetra/pipeline.ts'
import { loadConfig } from '../src/config.ts'
import { openTopics } from '../src/sources/topic/open.ts'
import { noKafka, startBroker } from './kafka-broker.ts'
import { openWorld } from './telemetra/world.ts'

const topic = 'telemetra.events.chat'
const good = { stream_id: 's', user_id: 'u', message: 'hello', timestamp: '2026-01-01T12:00:01Z' }
const text = JSON.stringify(good)
const open = text.slice(0, -1)
/** So much of a message is kept. */
const kept = 64 * 1024

interface Poison {
  what: string
  value: Buffer | null
  code: string
  raw: string
  /** Where text cannot hold it. */
  rawBytes?: Buffer
}

function ofText(what: string, value: string, code: string): Poison {
  const more = value.length > kept ? ` [cut: the first ${kept} of ${value.length} bytes]` : ''
  return { what, value: Buffer.from(value), code, raw: `${value.slice(0, kept)}${more}` }
}

const broken = Buffer.concat([Buffer.from(`${open},"note":"`), Buffer.from([0xc3, 0x28, 0xff]), Buffer.from('"}')])
const poison: Poison[] = [
  ofText('cut off', open, 'NOT_JSON'),
  ofText('no JSON at all', 'hello', 'NOT_JSON'),
  ofText('an empty value', '', 'NOT_JSON'),
  ofText('a list', `[${text}]`, 'NOT_AN_OBJECT'),
  ofText('an object where a text should be', JSON.stringify({ ...good, user_id: { is: 'u' } }), 'WRONG_TYPE'),
  ofText('a text where a list should be', JSON.stringify({ ...good, emotes: 'Kappa' }), 'NOT_A_LIST'),
  ofText('nested 10,000 deep', `${open},"reply":${'['.repeat(10_000)}${']'.repeat(10_000)}}`, 'TOO_DEEP'),
  ofText('a key twice', `${open},"user_id":"v"}`, 'DUPLICATE_KEY'),
  ofText('10 MB that never end', `${open},"note":"${'x'.repeat(10_000_000)}`, 'NOT_JSON'),
  ofText('10 MB of a wrong type', JSON.stringify({ ...good, emotes: 'x'.repeat(10_000_000) }), 'NOT_A_LIST'),
  { what: 'no value', value: null, code: 'NO_VALUE', raw: '' },
  {
    what: 'bytes that are no text',
    value: broken,
    code: 'INVALID_UTF8',
    raw: `${open},"note":"\\xc3(\\xff"}`,
    rawBytes: broken,
  },
  {
    what: 'bytes that begin no text',
    value: Buffer.from([0, 0xff]),
    code: 'INVALID_UTF8',
    raw: '\\x00\\xff',
    rawBytes: Buffer.from([0, 0xff]),
  },
  {
    what: 'a byte of zero',
    value: Buffer.from(text.replace('hello', 'hel\0lo')),
    code: 'NOT_JSON',
    raw: text.replace('hello', 'hel\\x00lo'),
    rawBytes: Buffer.from(text.replace('hello', 'hel\0lo')),
  },
]

async function judge(settings: Record<string, string>): Promise<void> {
  await using world = await openWorld({ WINDOW_DURATION: '10 seconds', ...settings })
  const config = loadConfig(telemetra.settings, { MILLRACE_DATA: world.folder, ...settings }, world.folder)
  const places = new Map<string, Poison>()
  {
    await using topics = await openTopics(config)
    await using writer = await topics.openWriter(topic)
    const neighbour = (n: number) => ({ value: Buffer.from(JSON.stringify({ ...good, user_id: `${n}` })) })
    for (const [i, each] of poison.entries()) {
      // of one key, so that they lie beside each other
      const records = [neighbour(2 * i), { value: each.value }, neighbour(2 * i + 1)]
      const [at, ...others] = await writer.append(records.map((record) => ({ key: Buffer.from(each.what), ...record })))
      assert.ok(at !== undefined && others.length === 0, 'they are in one partition')
      places.set(`${topic}/${at.partition}/${at.first + 1}`, each)
    }
  }
  const { books } = await world.run({ final: true })
  assert.partialDeepStrictEqual(books, { rowsIn: 3 * poison.length, written: 2 * poison.length, dead: poison.length })
  const letters = await world.sql('select place, code, raw, raw_bytes from millrace.dead_letters')
  for (const letter of letters) {
    const each = places.get(String(letter['place']))
    assert.ok(each !== undefined, `nothing wrong was at ${letter['place']}`)
    places.delete(String(letter['place']))
    const { what, code, raw, rawBytes = null } = each
    assert.deepEqual([letter['code'], letter['raw'], letter['raw_bytes']], [code, raw, rawBytes], what)
  }
  assert.deepEqual(
    [...places.values()].map(({ what }) => what),
    [],
    'they are letters, each once',
  )
  assert.deepEqual(await world.sql('select chat_count::int, unique_chatters::int from chat_summary_minute'), [
    { chat_count: 2 * poison.length, unique_chatters: 2 * poison.length },
  ])
}

describe('a message that is none is a dead letter with its place and its bytes, and those beside it count', () => {
  test('in a local log', async () => {
    await judge({})
  })

  test('in a topic of Kafka', { skip: noKafka, timeout: 5 * 60_000 }, async () => {
    await using broker = await startBroker({ config: { 'num.partitions': 4, 'message.max.bytes': 12_000_000 } })
    await judge({ KAFKA_BOOTSTRAP_SERVERS: broker.address() })
  })
})
