import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pipeline, table, text, topic } from '../pipeline.ts'
import { testPipeline } from '../testing/index.ts'

test('columns may be called as functions of SQL are, and their empty texts are no nulls', async () => {
  const names = ['user', 'current_date', 'order', 'null', 'select', 'value']
  const columns = { ...Object.fromEntries(names.map((name) => [name, text()])), absent: text().optional() }
  await using test = await testPipeline(pipeline('names').from(topic('names', { columns })).into(table('names')))
  const row = Object.fromEntries(names.map((name) => [name, '']))
  await test.feed('names', [row])
  assert.deepEqual(test.rows('names'), [{ ...row, absent: null }])
})
