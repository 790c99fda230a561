import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { testDatabase } from '../../test/postgres.ts'
import { rowFile } from '../../test/row-file.ts'
import { latestPerId, planOf, work } from '../../test/store-contract/world.ts'
import { openPostgres } from './postgres.ts'
import type { SinkRows } from './store.ts'

const kept = { ...latestPerId, cachedAs: 'order:' }
const plan = planOf([kept])
const columns = kept.columns.map(({ name }) => name)

interface Noted {
  prefix: string
  keys: string[] | null
}

test('a commit notes the rows it writes and those it deletes; very many, or those it only adds, by how their keys begin', async () => {
  await using database = await testDatabase()
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-drops-'))
  const options = { url: database.url, waitMs: 0, onWait: () => {}, migrations: [], sharedCache: true }
  await using store = await openPostgres(options)
  const worker = await work(store, [kept])
  const client = await database.connect()
  async function noted(): Promise<Noted[]> {
    const { rows } = await client.query('delete from millrace.cache_drops returning prefix, keys')
    return rows
  }
  const file = (...ids: string[]) =>
    rowFile(
      folder.path,
      columns,
      ids.map((id) => [id, 'Linz', '1']),
    )
  const ids = (n: number) => Array.from({ length: n }, (_, i) => `n${i}`)
  const commit = async (sink: Omit<SinkRows, 'step' | 'ordinals'>) =>
    await worker.commit({ sinks: [{ step: kept, ordinals: false, ...sink }] })

  await commit({ rows: await file('a', 'b') })
  assert.deepEqual(await noted(), [{ prefix: 'order:', keys: ['order:a', 'order:b'] }])
  await commit({ rows: await file(), deleted: await rowFile(folder.path, ['id'], [['a']]) })
  assert.deepEqual(await noted(), [{ prefix: 'order:', keys: ['order:a'] }])
  await commit({ rows: await file(...ids(1_000)) })
  assert.equal((await noted())[0]?.keys?.length, 1_000)
  await commit({ rows: await file(...ids(1_001)) })
  assert.deepEqual(await noted(), [{ prefix: 'order:', keys: null }])
  await commit({ rows: await file(), fresh: await file('c') })
  assert.deepEqual(await noted(), [{ prefix: 'order:', keys: null }])
  // nothing has changed
  await commit({ rows: await file() })
  assert.deepEqual(await noted(), [])
  await store.reset(plan, [], [], ['sums:'])
  assert.deepEqual(await noted(), [])
  await store.reset(plan, [kept.table], [], ['sums:'])
  assert.deepEqual(await noted(), [
    { prefix: 'order:', keys: null },
    { prefix: 'sums:', keys: null },
  ])
})

test('what is staged by another engine is noted by how its keys begin', async () => {
  await using database = await testDatabase()
  const options = { url: database.url, waitMs: 0, onWait: () => {}, migrations: [], sharedCache: true }
  await using store = await openPostgres(options)
  const worker = await work(store, [kept])
  const staged = await store.stage('a run', [kept])
  const client = await database.connect()
  await client.query(`insert into ${staged.tables[0]?.table} values ('a', 'Linz', 1)`)
  await worker.commit({ staged })
  const { rows } = await client.query('select prefix, keys from millrace.cache_drops')
  assert.deepEqual(rows, [{ prefix: 'order:', keys: null }])
})
