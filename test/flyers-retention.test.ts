/** Sessions of flyers go when they are old; what was made of them stays. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { flyers } from '../pipelines/flyers/pipeline.ts'
import { clientConfig, connect } from '../src/store/connection.ts'
import { openPostgres } from '../src/store/postgres.ts'
import { testDatabase } from './postgres.ts'

test('old sessions go in parts, open ones and young ones stay', async () => {
  await using database = await testDatabase()
  const migrations = flyers.migrations ? [{ owner: flyers.name, folder: flyers.migrations }] : []
  await using _store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations })
  const client = await connect(clientConfig(database.url))
  try {
    await client.query(`
      insert into flyer_sessions (pair_id, user_id, flyer_id, outcome, landed_at)
      select outcome || n, 'u', 'f', outcome, now() - age
      from   generate_series(1, 12000) n,
             (values ('paired', interval '31 days'), ('open', interval '31 days'), ('expired', interval '29 days')) old (outcome, age)`)
    await client.query(`insert into flyer_time_per_user values ('u', 5, 2)`)
    const asked: string[][] = []
    const run = () =>
      flyers.tasks?.['forget_old_sessions']?.run(
        { keys: [''], settings: { FLYERS_SESSIONS_KEEP: 30 * 86_400_000 } },
        {
          sql: async (statement, values) => (await client.query(statement, values)).rows,
          enqueue: async (task, keys) => {
            asked.push([task, ...keys])
          },
          drop: async () => {},
          signal: new AbortController().signal,
        },
      )
    await run()
    assert.deepEqual(asked, [['forget_old_sessions', '']], 'there are more of them')
    await run()
    assert.equal(asked.length, 1)
    const { rows } = await client.query(
      'select outcome, count(*)::int as n from flyer_sessions group by outcome order by outcome',
    )
    assert.deepEqual(rows, [
      { outcome: 'expired', n: 12_000 },
      { outcome: 'open', n: 12_000 },
    ])
    assert.equal((await client.query('select from flyer_time_per_user')).rowCount, 1)
  } finally {
    await client.end()
  }
})
