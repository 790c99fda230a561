import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { sql } from '../src/functions/sql.ts'
import { files, pipeline, table, text } from '../src/pipeline.ts'
import { planRuns } from './plan-run.ts'

const source = files('in', { format: 'csv', columns: { id: text() } })

/** A file with these ids. */
function csv(...ids: string[]): string {
  return ['id', ...ids, ''].join('\n')
}

describe('a key of a dedup', () => {
  test('that is absent is another than an empty one', async () => {
    await using runs = await planRuns()
    const plan = pipeline('absent')
      .from(source)
      .select((row) => ({
        id: row.id,
        key: sql(`case left(id, 1) when 'a' then '' when 'n' then null else id end`, 'text'),
      }))
      .dedup('key')
      .into(table('kept')).plan
    const first = await runs.run(plan, { '1.csv': csv('a1', 'n1', 'x') })
    assert.partialDeepStrictEqual(first.books, { rowsIn: 3, written: 3 })
    const second = await runs.run(plan, { '2.csv': csv('n2', 'a2', 'y') })
    assert.partialDeepStrictEqual(second.books, { rowsIn: 3, written: 1, duplicates: 2 })
  })

  test('that no index holds is told from others all the same, over batches and runs', async () => {
    await using runs = await planRuns()
    const long = sql(`(select string_agg(md5(i::varchar), '') from range(300) r(i)) || left(id, 1)`, 'text')
    const plans = {
      long: pipeline('long-keys')
        .from(source)
        .select((row) => ({ id: row.id, key: long }))
        .dedup('key')
        .into(table('long')).plan,
      'long of two': pipeline('long-pairs')
        .from(source)
        .select((row) => ({ id: row.id, key: long }))
        .dedup('key', 'key')
        .into(table('pairs')).plan,
    }
    for (const [says, plan] of Object.entries(plans)) {
      const first = await runs.run(plan, { '1.csv': csv('a1', 'a2', 'b1') }, { rows: 1 })
      assert.partialDeepStrictEqual(first.books, { rowsIn: 3, written: 2, duplicates: 1 }, says)
      const second = await runs.run(plan, { '2.csv': csv('a3', 'c1', 'b2') })
      assert.partialDeepStrictEqual(second.books, { rowsIn: 3, written: 1, duplicates: 2 }, says)
    }
  })

  test('with a NUL stops nothing', async () => {
    await using runs = await planRuns()
    const plan = pipeline('nul-keys')
      .from(source)
      .select((row) => ({ id: row.id, key: sql(`left(id, 1) || chr(0)`, 'text') }))
      .dedup('key')
      .select((row) => ({ id: row.id }))
      .into(table('kept')).plan
    const { books } = await runs.run(plan, { '1.csv': csv('a1', 'a2', 'b1') })
    assert.partialDeepStrictEqual(books, { rowsIn: 3, written: 2, duplicates: 1 })
  })
})
