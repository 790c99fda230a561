import assert from 'node:assert/strict'
import { test } from 'node:test'
import { testDatabase } from '../../test/postgres.ts'
import { files, pipeline, table, text } from '../index.ts'
import { openPostgres } from './postgres.ts'

const source = files('in', { format: 'csv', columns: { id: text(), name: text() } })
const plan = pipeline('staged')
  .from(source)
  .also((flow) => flow.into(table('once', { oncePer: 'id' })))
  .also((flow) => flow.into(table('last', { key: 'id' })))
  .into(table('every')).plan

test('what another engine has written twice is merged once, and a second try finds nothing of the first', async () => {
  await using database = await testDatabase()
  await using store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations: [] })
  await store.register(plan)
  const client = await database.connect()
  await client.query(`insert into once values ('a', 'was there'); insert into last values ('a', 'was there')`)
  const steps = plan.steps.filter((step) => step.op === 'table')

  const first = await store.stage('a run', steps)
  await client.query(`insert into ${first.tables[0]?.table} values ('left', 'over')`)
  const staged = await store.stage('a run', steps)
  for (const { step, table: into } of staged.tables) {
    // a machine was lost behind its write, and another did its work again
    const rows = ['a', 'b', 'b'].map(
      (id, n) => `('${id}', 'new'${step.mode.is === 'append' ? `, ${Math.min(n, 1)}` : ''})`,
    )
    await client.query(`insert into ${into} values ${rows.join(', ')}`)
  }
  const letter = `('files', 'f.csv', null, 'read', 'NOT_JSON', null, 'm', 'raw', '\\x00ff', null, 7)`
  await client.query(`insert into ${staged.deadLetters} values ${letter}, ${letter}`)

  const lease = await store.lease({
    pipeline: 'staged',
    owner: 'test',
    borrow: false,
    onWanted: () => {},
    onLost: () => {},
  })
  assert.ok(lease.is === 'taken')
  const { rowsOut } = await store.commit({
    pipeline: 'staged',
    epoch: lease.lease.epoch,
    batch: 1,
    kind: 'spark',
    startedAt: new Date(),
    sinks: [],
    staged,
    deadLetters: undefined,
    dedupKeys: undefined,
    files: [],
    positions: [],
    filesQuarantined: 0,
    ranges: [{ run: 'a run' }],
    settles: [],
    phases: {},
    stepRows: {},
    books: async () => ({ rowsIn: 3, written: 2, filtered: 0, duplicates: 0, late: 0, dead: 1 }),
  })
  await store.unstage('a run')
  await lease.lease.release()

  assert.deepEqual(
    steps.map(({ id }) => rowsOut[id]),
    [
      { inserted: 1, updated: 0, deleted: 0 },
      { inserted: 1, updated: 1, deleted: 0 },
      { inserted: 2, updated: 0, deleted: 0 },
    ],
  )
  const rowsOf = async (name: string): Promise<unknown[]> =>
    (await client.query(`select id || ' ' || name as row from ${name} order by 1`)).rows.map(({ row }) => row)
  assert.deepEqual(await rowsOf('once'), ['a was there', 'b new'])
  assert.deepEqual(await rowsOf('last'), ['a new', 'b new'])
  assert.deepEqual(await rowsOf('every'), ['a new', 'b new'])
  const { rows: letters } = await client.query('select batch, code, raw, raw_bytes from millrace.dead_letters')
  assert.deepEqual(letters, [{ batch: 1, code: 'NOT_JSON', raw: 'raw', raw_bytes: Buffer.from([0, 255]) }])
  const { rows: left } = await client.query(`select from pg_tables where schemaname = 'millrace_staging'`)
  assert.equal(left.length, 0)
})

test('who writes for another engine may write what is staged, and nothing else', async () => {
  await using database = await testDatabase()
  await using store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations: [] })
  await store.register(plan)
  const client = await database.connect()
  const role = `loader "of" ${process.pid}`
  const quoted = `"${role.replaceAll('"', '""')}"`
  await client.query(`create role ${quoted}`)
  try {
    const steps = plan.steps.filter((step) => step.op === 'table')
    const { tables, deadLetters } = await store.stage('a run', steps, role)
    await client.query(`set role ${quoted}`)
    await client.query(`insert into ${tables[0]?.table} values ('a', 'b')`)
    await client.query(`select * from ${deadLetters} where false`)
    await assert.rejects(client.query(`insert into once values ('a', 'b')`), /permission denied/)
    await client.query('reset role')
    await store.unstage('a run')
    await store.stage('a run', steps, 'nobody has this name')
  } finally {
    await client.query('reset role')
    await client.query(`drop owned by ${quoted}`)
    await client.query(`drop role ${quoted}`)
  }
})
