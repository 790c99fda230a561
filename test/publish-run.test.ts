/** Bounded runs whose topic takes nothing. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MillraceError } from '../src/errors.ts'
import { files, integer, pipeline, publish, table, text } from '../src/pipeline.ts'
import type { Plan } from '../src/plan/plan.ts'
import type { TopicRecord, TopicWriter } from '../src/sources/topic/topic.ts'
import { planRuns } from './plan-run.ts'

const columns = { id: text(), n: integer() }
const from = () => pipeline('orders').from(files('in', { format: 'csv', columns }))
const publishing: Plan = from()
  .into(table('orders'))
  .into(publish('made', { key: 'id' })).plan
const silent: Plan = from().into(table('orders')).plan
const given = (first: number, last: number): Record<string, string> => ({
  'orders.csv': `id,n\n${Array.from({ length: last - first + 1 }, (_, i) => `k${first + i},${first + i}\n`).join('')}`,
})

const shut = async (): Promise<TopicWriter> => {
  throw new MillraceError('BROKER_UNREACHABLE', { message: 'Kafka does not answer', retry: true })
}

function open(taken: TopicRecord[]) {
  return async (): Promise<TopicWriter> => ({
    async append(records) {
      taken.push(...records)
      return []
    },
    appendValues: async () => [],
    async [Symbol.asyncDispose]() {},
  })
}

const values = (taken: TopicRecord[]): unknown[] => taken.map(({ value }) => JSON.parse(String(value)).n)

test('a run ends with an error when its messages cannot be published; its rows are committed, and the next run sends them', async () => {
  await using runs = await planRuns()
  const stuck = runs.run(publishing, given(1, 5), {
    rows: 2,
    publish: { openWriter: shut, mostRows: 100, patienceMs: 300 },
  })
  await assert.rejects(stuck, {
    code: 'NOT_PUBLISHED',
    message: '5 messages wait: BROKER_UNREACHABLE: Kafka does not answer',
  })
  const { rows } = await runs.client.query('select count(*)::int as n from orders')
  assert.deepEqual(rows, [{ n: 5 }])
  const taken: TopicRecord[] = []
  await runs.run(publishing, given(6, 6), { publish: { openWriter: open(taken), mostRows: 100, patienceMs: 60_000 } })
  assert.deepEqual(values(taken), [1, 2, 3, 4, 5, 6])
})

test('a run whose outbox is full reads no more', async () => {
  await using runs = await planRuns()
  const full = runs.run(publishing, given(1, 40), {
    rows: 2,
    publish: { openWriter: shut, mostRows: 4, patienceMs: 300 },
  })
  await assert.rejects(full, { code: 'NOT_PUBLISHED' })
  const { rows } = await runs.client.query('select count(*)::int as n from orders')
  // one batch more was under way
  assert.ok(rows[0].n >= 4 && rows[0].n <= 6, `${rows[0].n} rows are committed`)
})

test('what waits when a pipeline publishes no more is published all the same', async () => {
  await using runs = await planRuns()
  const publish = { openWriter: shut, mostRows: 100, patienceMs: 300 }
  await assert.rejects(runs.run(publishing, given(1, 2), { publish }), { code: 'NOT_PUBLISHED' })
  const taken: TopicRecord[] = []
  const opened = { openWriter: open(taken), mostRows: 100, patienceMs: 60_000 }
  await runs.run(silent, given(3, 3), { publish: opened })
  assert.deepEqual(values(taken), [1, 2])
})
