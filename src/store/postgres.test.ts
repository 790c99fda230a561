import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { testDatabase } from '../../test/postgres.ts'
import { amount, city, id, oncePerId, planOf, sink } from '../../test/store-contract/world.ts'
import { storeContract } from '../../test/store-contract.ts'
import { MillraceError } from '../errors.ts'
import { type Column, text } from '../plan/columns.ts'
import { openPostgres } from './postgres.ts'

storeContract('Postgres', async () => {
  const database = await testDatabase()
  const open = () => openPostgres({ url: database.url, waitMs: 10_000, onWait: () => {}, migrations: [] })
  const store = await open()
  const client = await database.connect()
  return {
    store,
    async rowsOf(table) {
      const { rows } = await client.query<Record<string, unknown>>(`select * from ${table}`)
      return rows.map((row) =>
        Object.fromEntries(Object.entries(row).map(([name, value]) => [name, value === null ? null : String(value)])),
      )
    },
    again: open,
    async expire(pipeline) {
      await client.query(
        `update millrace.leases set expires_at = clock_timestamp() - interval '1 second' where pipeline = $1`,
        [pipeline],
      )
    },
    async close() {
      await store[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
    },
  }
})

describe('a table that Millrace did not make', () => {
  const note: Column = { name: 'note', type: text, nullable: true }
  const noted = sink({ is: 'insert if new', key: ['id'] }, 'orders', [id, city, amount, note])

  test('gains no column, and the error says what to run', async () => {
    await using database = await testDatabase()
    const client = await database.connect()
    await client.query('create table orders (id text primary key, city text, amount bigint not null)')
    await using store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations: [] })
    await store.register(planOf([oncePerId]))
    const error: unknown = await store.register(planOf([noted])).catch((thrown) => thrown)
    assert.ok(error instanceof MillraceError && error.code === 'TABLE_DIFFERS', String(error))
    assert.match(error.message, /it has no column note \(text\)/)
    const [, statement = ''] = /^run: (.*)$/.exec(error.hint ?? '') ?? []
    assert.equal(statement, 'alter table orders add column if not exists note text;')
    await client.query(statement)
    await store.register(planOf([noted]))
  })

  test('is told from one it made by a comment, which somebody may take away', async () => {
    await using database = await testDatabase()
    const client = await database.connect()
    await using store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations: [] })
    await store.register(planOf([oncePerId]))
    await client.query(`comment on table orders is 'ours now'`)
    await assert.rejects(store.register(planOf([noted])), { code: 'TABLE_DIFFERS' })
  })

  test('of which more is amiss is told of all of it', async () => {
    await using database = await testDatabase()
    const client = await database.connect()
    await client.query('create table orders (id text, city text)')
    await using store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations: [] })
    const error: unknown = await store.register(planOf([noted])).catch((thrown) => thrown)
    assert.ok(error instanceof MillraceError)
    assert.match(
      error.message,
      /no unique key on \(id\); it has no column amount \(bigint not null\); .* note \(text\)/,
    )
    assert.match(error.hint ?? '', /add column if not exists amount bigint not null, .*default in it\)\n.*for the rest/)
  })
})

test("a target table is none of Millrace's own, whatever its name and whoever the user", async () => {
  await using database = await testDatabase()
  const client = await database.connect()
  await using store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations: [] })
  // the user of the embedded Postgres is called millrace, as the schema is
  await store.register(planOf([sink({ is: 'append' }, 'files')]))
  const { rows } = await client.query(`select schemaname from pg_tables where tablename = 'files' order by 1`)
  assert.deepEqual(rows, [{ schemaname: 'millrace' }, { schemaname: 'public' }])
  assert.deepEqual(await store.select('select * from files'), [])
})
