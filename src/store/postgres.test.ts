import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { eventually } from '../../test/crash/process.ts'
import { testDatabase } from '../../test/postgres.ts'
import { rowFile } from '../../test/row-file.ts'
import {
  amount,
  batchOf,
  city,
  id,
  latestPerId,
  noBooks,
  oncePerId,
  planOf,
  request,
  sink,
  taken,
  work,
} from '../../test/store-contract/world.ts'
import { storeContract } from '../../test/store-contract.ts'
import { MillraceError } from '../errors.ts'
import { type Column, text } from '../plan/columns.ts'
import { isTransient } from './connection.ts'
import { openPostgres, type PostgresStore } from './postgres.ts'
import { outboxColumns } from './store.ts'

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
    async lateRows() {
      const { rows } = await client.query<Record<string, unknown>>(
        'select step, place, late_by_ms, raw, batch from millrace.late_rows order by id',
      )
      return rows.map((row) => Object.values(row).map(String))
    },
    async requests() {
      const { rows } = await client.query('select task, key, batch from millrace.task_requests order by id')
      return rows.map(({ task, key, batch }) => [task, key, batch])
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

describe('a session that breaks', () => {
  test('in the middle of a transaction ends that transaction, and nothing else', async () => {
    await using database = await testDatabase()
    const client = await database.connect()
    await using store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations: [] })
    const asked = store.select('select pg_sleep(60)')
    asked.catch(() => {})
    await eventually(
      async () => {
        const { rowCount } = await client.query(`
          select pg_terminate_backend(pid)
          from   pg_stat_activity
          where  datname = current_database() and query = 'select pg_sleep(60)' and pid <> pg_backend_pid()`)
        return rowCount === 1
      },
      { what: () => 'its session is ended' },
    )
    await assert.rejects(asked, (error) => isTransient(error))
    assert.deepEqual(await store.select('select 1 as one'), [{ one: 1 }])
  })

  test('is none of those that wait: a file that is gone fails what needs it, at once', async () => {
    await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-gone-'))
    await using database = await testDatabase()
    await using store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations: [] })
    const gone = join(folder.path, 'gone', 'file.csv')
    // more than fits the buffers on the way
    const keys = Array.from({ length: 50_000 }, (_, n) => `${n} ${'key '.repeat(20)}`)
    const file = (columns: string[], rows: string[][]) => rowFile(folder.path, columns, rows)
    const wanted = await file(
      ['key'],
      keys.map((key) => [key]),
    )
    const dedupKeys = await file(
      ['step', 'key'],
      keys.map((key) => ['dedup', key]),
    )
    const { epoch } = (await work(store)).lease
    await store.commit(batchOf({ batch: 1, epoch, dedupKeys }))
    // more often than the pool has sessions
    for (let n = 0; n < 6; n++) {
      await assert.rejects(store.seenKeys('shop', 'dedup', wanted, gone), { code: 'ENOENT' })
      await assert.rejects(store.seenKeys('shop', 'dedup', { ...wanted, csv: { path: gone } }, gone), {
        code: 'ENOENT',
      })
      const rows = { csv: { path: gone }, columns: ['id', 'city', 'amount'], rows: 1 }
      const sinks = [{ step: oncePerId, rows, ordinals: false }]
      await assert.rejects(store.commit(batchOf({ batch: 2, epoch, sinks })), { code: 'ENOENT' })
    }
    await store.commit(batchOf({ batch: 2, epoch }))
    assert.equal((await store.seenKeys('shop', 'dedup', wanted, join(folder.path, 'seen.csv'))).rows, keys.length)
  })
})

test('many pipelines are registered at once, though the owner of one stands in its commit', async () => {
  await using database = await testDatabase()
  const [owner, observer] = [await database.connect(), await database.connect()]
  await using store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations: [] })
  const names = Array.from({ length: 8 }, (_, n) => `shop-${n}`)
  for (const name of names) await store.register(planOf([oncePerId], name))
  await owner.query('insert into millrace.leases (pipeline) select pipeline from millrace.pipelines')
  await owner.query('begin')
  await owner.query('select from millrace.pipelines for no key update')
  const journal = sink({ is: 'append' }, 'journal')
  const registered = Promise.all(names.map((name) => store.register(planOf([oncePerId, journal], name))))
  registered.catch(() => {})
  // the owner stands for longer than anybody waits for a session of the pool
  const standing = `
    select extract(epoch from clock_timestamp() - xact_start) > 11 as long
    from   pg_stat_activity
    where  datname = current_database() and state = 'idle in transaction' and query like 'select from millrace.pipelines for no key update'`
  await eventually(async () => (await observer.query<{ long: boolean }>(standing)).rows[0]?.long, {
    what: () => 'the owner has stood long',
  })
  await owner.query('rollback')
  await registered
})

describe('the unique key of a table', () => {
  const cases: { says: string; create: string; fits: boolean }[] = [
    { says: 'of a constraint', create: 'create table orders (id text unique, city text, amount bigint)', fits: true },
    {
      says: 'of an index with a column more in it',
      create: `create table orders (id text, city text, amount bigint);
               create unique index on orders (id) include (city)`,
      fits: true,
    },
    {
      says: 'that is only checked at the end of a transaction',
      create: 'create table orders (id text unique deferrable, city text, amount bigint)',
      fits: false,
    },
  ]
  for (const { says, create, fits } of cases) {
    test(`${says} ${fits ? 'is one' : 'is none'}`, async () => {
      await using world = await tableWorld(create)
      const registered = world.store.register(planOf([oncePerId]))
      if (!fits) return await assert.rejects(registered, { code: 'TABLE_DIFFERS', message: /no unique key on \(id\)/ })
      await registered
      const { epoch } = taken(await world.store.lease(request('one:1')))
      const rows = await rowFile(world.folder, ['id', 'city', 'amount'], [['a', 'Graz', '1']])
      const sinks = [{ step: oncePerId, rows, ordinals: false }]
      await world.store.commit(batchOf({ batch: 1, epoch, sinks }))
    })
  }

  test('takes a null for a key of its own, as the batch does, or is none', async () => {
    const perCity = sink({ is: 'insert if new', key: ['city'] })
    for (const [key, fits] of [
      ['unique (city)', false],
      ['unique nulls not distinct (city)', true],
      ['primary key (city)', true],
    ] as const) {
      await using world = await tableWorld(`create table orders (id text, city text, amount bigint, ${key})`)
      const registered = world.store.register(planOf([perCity]))
      if (fits) await registered
      else await assert.rejects(registered, { code: 'TABLE_DIFFERS', message: /nulls not distinct/ })
    }
  })

  test('may know two texts as one: the later row replaces the earlier', async () => {
    await using world = await tableWorld(`
      create collation either_case (provider = icu, deterministic = false, locale = 'und-u-ks-level2');
      create table orders (id text collate either_case unique, city text, amount bigint)`)
    await world.store.register(planOf([latestPerId]))
    const { epoch } = taken(await world.store.lease(request('one:1')))
    const rows = await rowFile(
      world.folder,
      ['id', 'city', 'amount'],
      [
        ['a', 'Graz', '1'],
        ['b', 'Graz', '1'],
        ['A', 'Linz', '2'],
      ],
    )
    const sinks = [{ step: latestPerId, rows, ordinals: false }]
    await world.store.commit(batchOf({ batch: 1, epoch, sinks, books: async () => noBooks }))
    const stored = await world.store.select('select city, amount::int from orders order by id')
    assert.deepEqual(stored, [
      { city: 'Linz', amount: 2 },
      { city: 'Graz', amount: 1 },
    ])
  })
})

async function tableWorld(create: string): Promise<{ store: PostgresStore; folder: string } & AsyncDisposable> {
  const folder = await mkdtempDisposable(join(tmpdir(), 'millrace-table-'))
  const database = await testDatabase()
  await (await database.connect()).query(create)
  const store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations: [] })
  return {
    store,
    folder: folder.path,
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]()
      await database[Symbol.asyncDispose]()
      await folder.remove()
    },
  }
}

test('a reset leaves the messages that wait to be published, unless the results go too', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-reset-'))
  await using database = await testDatabase()
  await using store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations: [] })
  const worker = await work(store)
  const rows = await rowFile(folder.path, [...outboxColumns], [['publish', 'made', '1', null, '{}']])
  await worker.commit({ outbox: async () => [{ step: 'publish', rows }] })
  await worker.lease.release()
  await store.reset(planOf([oncePerId]), [])
  assert.equal(await store.outboxRows('shop'), 1)
  await store.reset(planOf([oncePerId]), ['orders'])
  assert.equal(await store.outboxRows('shop'), 0)
})
