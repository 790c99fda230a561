import assert from 'node:assert/strict'
import { test } from 'node:test'
import { testDatabase } from '../../test/postgres.ts'
import { letterPages } from './letter-pages.ts'
import { openPostgres } from './postgres.ts'

test('letters of very long rows are read a few at a time, and none is left out', async () => {
  await using database = await testDatabase()
  await using store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations: [] })
  const client = await database.connect()
  await client.query(`
    insert into millrace.dead_letters (pipeline, batch, source, place, stage, code, message, raw)
    select 'shop', 1, 'files', 'a.csv', 'validate', 'EMPTY', '', repeat('x', (megabytes * 1000000)::int)
    from   unnest(array[0, 0, 1.5, 1.5, 0, 20, 20, 0]) megabytes`)
  const pages: number[][] = []
  for await (const page of letterPages(store, {})) pages.push(page.map(({ raw }) => raw.length / 1_000_000))
  assert.deepEqual(pages, [[0, 0, 1.5, 1.5], [0, 20], [20], [0]])
})
