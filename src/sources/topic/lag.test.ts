import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MillraceError } from '../../errors.ts'
import { pipeline, table, text, topic } from '../../index.ts'
import { rowsBehind, TopicEnds, topicLags } from './lag.ts'
import { memoryTopics } from './memory.ts'
import type { Topics } from './topic.ts'

const { plan } = pipeline('shouts')
  .from(topic('shouts', { columns: { id: text(), shout: text() } }))
  .into(table('shouts', { oncePer: 'id' }))
const [source = ''] = Object.keys(plan.sources)

const record = { value: Buffer.from('{}') }
const at = (partition: string, position: number) => ({ source, partition, position })

test('the lag of a partition is what lies behind its committed position, as far as it was not deleted', async () => {
  const topics = memoryTopics(Date.now)
  topics.make('shouts', 4)
  for (const partition of [0, 1, 2, 3]) topics.put('shouts', partition, Array(10).fill(record))
  topics.forget('shouts', 3, 6)
  await using ends = new TopicEnds(async () => topics, 1000)
  const lags = await topicLags(plan, [at('0', 10), at('1', 4), at('3', 2), { ...at('2', 9), source: 'other' }], ends)
  assert.deepEqual(lags, [
    {
      source,
      topic: 'shouts',
      partitions: [
        { partition: '0', committed: 10, end: 10, rows: 0 },
        { partition: '1', committed: 4, end: 10, rows: 6 },
        { partition: '2', committed: undefined, end: 10, rows: 10 },
        { partition: '3', committed: 2, end: 10, rows: 4 },
      ],
      why: undefined,
    },
  ])
  assert.equal(rowsBehind(lags), 20)
})

test('of a topic that is not there yet nothing waits, nor of one that was cut off behind the position', async () => {
  const topics = memoryTopics(Date.now)
  await using ends = new TopicEnds(async () => topics, 1000)
  assert.equal(rowsBehind(await topicLags(plan, [], ends)), 0)
  topics.make('shouts', 1)
  topics.put('shouts', 0, [record])
  await using later = new TopicEnds(async () => topics, 1000)
  assert.equal(rowsBehind(await topicLags(plan, [at('0', 7)], later)), 0)
})

test('a topic that cannot be asked says why, and its committed positions stay known', async () => {
  const broken: Topics = {
    ...memoryTopics(Date.now),
    openReader: async () => {
      throw new MillraceError('BROKER_UNREACHABLE', { message: 'no broker answers', at: 'host:1', hint: 'start one' })
    },
  }
  await using ends = new TopicEnds(async () => broken, 1000)
  const lags = await topicLags(plan, [at('10', 3), at('2', 4)], ends)
  assert.deepEqual(lags, [
    {
      source,
      topic: 'shouts',
      partitions: [
        { partition: '2', committed: 4, end: undefined, rows: undefined },
        { partition: '10', committed: 3, end: undefined, rows: undefined },
      ],
      why: 'no broker answers (host:1)',
    },
  ])
  assert.equal(rowsBehind(lags), undefined)
})

test('a topic that is silent keeps nobody waiting for long, is asked once, and is let go', async () => {
  const topics = memoryTopics(Date.now)
  let asked = 0
  const silent: Topics = {
    ...topics,
    openReader: async (name, options) => ({
      ...(await topics.openReader(name, options)),
      partitions: () => {
        asked++
        const { promise, reject } = Promise.withResolvers<never>()
        options?.signal?.addEventListener('abort', () => reject(options.signal?.reason))
        return promise
      },
    }),
  }
  const began = performance.now()
  await using stack = new AsyncDisposableStack()
  const ends = stack.use(new TopicEnds(async () => silent, 100))
  const told = await Promise.all([ends.of('shouts'), ends.of('shouts')])
  for (const each of [...told, await ends.of('shouts')])
    assert.deepEqual(each, { is: 'unknown', why: 'the topic has not said yet where it ends' })
  assert.equal(asked, 1)
  await stack.disposeAsync()
  assert.ok(performance.now() - began < 1000)
})
