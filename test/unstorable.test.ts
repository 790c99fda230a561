import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { jsonText } from '../src/functions/json.ts'
import { sql } from '../src/functions/sql.ts'
import { files, json, pipeline, table, text } from '../src/pipeline.ts'
import { planRuns } from './plan-run.ts'

const source = files('in', { format: 'csv', columns: { id: text(), doc: json() } })

/** A file with these rows of id and doc; line 1 is the header. */
function csv(rows: [string, string][]): string {
  return ['id,doc', ...rows.map(([id, doc]) => `${id},"${doc.replaceAll('"', '""')}"`), ''].join('\n')
}

describe('what Postgres cannot hold', () => {
  test('a NUL in JSON is a dead letter; an escaped backslash before u0000 is not one', async () => {
    await using runs = await planRuns()
    const plan = pipeline('nul-in-json')
      .from(source)
      .select((row) => ({ id: row.id, doc: row.doc, word: jsonText(row.doc, '$.t') }))
      .into(table('words', { oncePer: 'id' })).plan
    const input = csv([
      ['a', '{"t":"x"}'],
      ['b', String.raw`{"t":"x\u0000y"}`],
      ['c', String.raw`{"t":"x\\u0000y"}`],
      ['d', String.raw`{"t":"x\\\u0000y"}`],
      ['e', String.raw`{"t":"\\\\u0000"}`],
    ])
    const { books } = await runs.run(plan, { 'a.csv': input })
    assert.partialDeepStrictEqual(books, { rowsIn: 5, written: 3, dead: 2 })
    const letters = await runs.store.deadLetters({})
    assert.deepEqual(
      letters.map(({ line, code, columnName }) => [line, code, columnName]),
      [
        [3, 'NUL_BYTE', 'doc'],
        [5, 'NUL_BYTE', 'doc'],
      ],
    )
    const { rows } = await runs.client.query('select id, word from words order by id')
    assert.deepEqual(rows, [
      { id: 'a', word: 'x' },
      { id: 'c', word: String.raw`x\u0000y` },
      { id: 'e', word: String.raw`\\u0000` },
    ])
  })

  test('a NUL that an expression makes is a dead letter with the row as it was read, and the others land', async () => {
    for (const mode of ['append', 'insert if new', 'upsert'] as const) {
      await using runs = await planRuns()
      const made = sql(`'{"t":"' || id || case when id = 'b' then '\\u0000' else '' end || '"}'`, 'json')
      const sink = { append: table('words'), 'insert if new': table('words', { oncePer: 'id' }) }
      const plan = pipeline('nul-made')
        .from(source)
        .select((row) => ({ id: row.id, word: jsonText(made, '$.t') }))
        .into(mode === 'upsert' ? table('words', { key: 'id' }) : sink[mode]).plan
      const input = csv(['a', 'b', 'c', 'd'].map((id) => [id, '{}']))
      const { books } = await runs.run(plan, { 'a.csv': input })
      assert.partialDeepStrictEqual(books, { rowsIn: 4, written: 3, dead: 1 }, mode)
      const [letter, ...others] = await runs.store.deadLetters({})
      assert.deepEqual(others, [])
      assert.partialDeepStrictEqual(letter, {
        line: 3,
        stage: 'table',
        code: 'REFUSED',
        raw: 'b,"{}"',
        fields: { id: 'b', doc: '{}' },
      })
      assert.match(letter?.message ?? '', /22021.*0x00/)
      const { rows } = await runs.client.query('select word from words order by id')
      assert.deepEqual(
        rows.map(({ word }) => word),
        ['a', 'c', 'd'],
        mode,
      )
    }
  })
})
