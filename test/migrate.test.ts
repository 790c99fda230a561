import assert from 'node:assert/strict'
import { test } from 'node:test'
import { migrate } from '../src/cli/migrate.ts'
import { systemMigrations } from '../src/cli/open.ts'
import { openPostgres } from '../src/store/postgres.ts'
import { firstWave, modelOf } from './crash/events.ts'
import { openWorld } from './crash/world.ts'
import { testDatabase } from './postgres.ts'

test('what migrate --print says makes a database that a role without the right to create can run on', async () => {
  const script = await printed({ print: true })
  await using database = await testDatabase()
  const administrator = await database.connect()
  await administrator.query(script)
  await using role = await limitedRole(database.url, async (sql) => {
    await administrator.query(sql)
  })
  for (const grant of [
    'grant usage on schema millrace to the_role',
    'grant select, insert, update, delete, truncate on all tables in schema millrace to the_role',
    'grant select, insert, update, delete, truncate on all tables in schema public to the_role',
    'grant usage on all sequences in schema public to the_role',
  ]) {
    if (grant.includes('millrace')) assert.ok(script.includes(`--   ${grant};`), `the script says: ${grant}`)
    await administrator.query(grant.replace('the_role', role.name))
  }

  await using store = await openPostgres({
    url: role.url,
    waitMs: 0,
    onWait: () => {},
    migrations: systemMigrations(),
  })
  assert.deepEqual(store.applied, [], 'nothing is left to do')
  await assert.rejects(administrator.query(script), /already exists|duplicate key/, 'a second time it does nothing')
  await administrator.query('rollback')

  await using world = await openWorld({ url: role.url })
  await world.lay(firstWave)
  await using run = world.start(['run', 'shop-events', '--input', world.inputs, '--json'])
  assert.deepEqual(await run.ended(), { code: 0, signal: null }, run.story())
  assert.partialDeepStrictEqual(JSON.parse(run.out), { written: modelOf(firstWave).books.written })
})

test('each line of migrate --print --json is a part of the same SQL', async () => {
  const parts = (await printed({ print: true, json: true }))
    .split('\n')
    .map((line) => JSON.parse(line) as { sql: string })
  await using database = await testDatabase()
  const client = await database.connect()
  for (const { sql } of parts) await client.query(sql)
  await using store = await openPostgres({
    url: database.url,
    waitMs: 0,
    onWait: () => {},
    migrations: systemMigrations(),
  })
  assert.deepEqual(store.applied, [])
})

async function printed(options: Record<string, boolean>): Promise<string> {
  const lines: string[] = []
  const { signal } = new AbortController()
  assert.equal(await migrate.run({ words: [], options, signal, out: (line) => lines.push(line) }), 0)
  return lines.join('\n')
}

/** A role that may connect and no more, until it is disposed of. */
async function limitedRole(
  databaseUrl: string,
  administer: (sql: string) => Promise<void>,
): Promise<{ name: string; url: string } & AsyncDisposable> {
  const url = new URL(databaseUrl)
  const name = `limited_${url.pathname.slice(1)}`
  await administer(`create role ${name} login password 'limited'`)
  url.username = name
  url.password = 'limited'
  return {
    name,
    url: url.href,
    async [Symbol.asyncDispose]() {
      await administer(`drop owned by ${name}`)
      await administer(`drop role ${name}`)
    },
  }
}
