import assert from 'node:assert/strict'
import { test } from 'node:test'
import { olderServer } from '../../test/crash/older-server.ts'
import { testDatabase } from '../../test/postgres.ts'
import { MillraceError } from '../errors.ts'
import { openPostgres } from './postgres.ts'

test('a database that is not encoded in UTF8 is refused before anything is made in it', async () => {
  for (const encoding of ['LATIN1', 'SQL_ASCII']) {
    await using database = await testDatabase(
      `encoding '${encoding}' locale_provider libc locale 'C' template template0`,
    )
    const refused = await refusal(database.url)
    assert.equal(refused.code, 'DATABASE_ENCODING')
    assert.match(refused.message, new RegExp(`encoded in ${encoding}; Millrace needs UTF8`))
    assert.match(refused.hint ?? '', /create database .* encoding 'UTF8'/)
    const client = await database.connect()
    const { rows } = await client.query(`select from pg_namespace where nspname = 'millrace'`)
    assert.equal(rows.length, 0)
  }
})

test('the statement that the refusal proposes makes a database that is taken', async () => {
  await using database = await testDatabase(`encoding 'UTF8' locale 'C' template template0`)
  await using store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations: [] })
  assert.ok(store.applied.length > 0)
})

test('a server before 15 is refused', async () => {
  await using database = await testDatabase()
  await using older = await olderServer(database.url, '140019')
  const refused = await refusal(older.url)
  assert.equal(refused.code, 'DATABASE_TOO_OLD')
  assert.match(refused.message, /the server is Postgres 14; Millrace needs 15 or later/)
  assert.match(refused.hint ?? '', /DATABASE_URL/)
})

async function refusal(url: string): Promise<MillraceError> {
  try {
    await using store = await openPostgres({ url, waitMs: 0, onWait: () => {}, migrations: [] })
    assert.fail(`it was taken, as ${store.kind}`)
  } catch (error) {
    if (error instanceof MillraceError) return error
    throw error
  }
}
