import assert from 'node:assert/strict'
import { mkdtempDisposable, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { test } from 'node:test'
import { pipeline, table, text, timestamp, topic } from '../pipeline.ts'
import type { SourceReader } from '../sources/source.ts'
import { memoryDatabase, openMemoryStore } from '../store/memory.ts'
import { KeyedRun, takesWholeKeys } from './keyed-run.ts'

const events = topic('doors', {
  columns: { at: timestamp(), who: text(), event: text() },
  eventTime: { column: 'at' },
})
const { plan } = pipeline('doors')
  .from(events)
  .pairs({
    by: ['who'],
    open: (row) => row.event.equals('in'),
    close: (row) => row.event.equals('out'),
    lateness: '1 hour',
  })
  .into(table('visits', { key: 'pair_id', whenFinal: 'files' }))

const nothing: SourceReader = {
  next: async () => undefined,
  lags: () => new Map(),
  unsettled: false,
  wait: async () => {},
  rewind: async () => {},
  async [Symbol.asyncDispose]() {},
}

async function open(
  folder: string,
  more: { request?: string; final?: boolean; keeps?: boolean; version?: string } = {},
) {
  const { request = 'a.csv', final = true, keeps = false, version = '1' } = more
  const sql = {
    run: async () => {},
    // as: the only question of it is for the version
    rows: async <Row>() => [{ version }] as Row[],
    [Symbol.dispose]() {},
  }
  const store = openMemoryStore(memoryDatabase(Date.now))
  const startedAt = new Date(0)
  return await KeyedRun.open({ plan, store, sql, folder, request, final, keeps, rows: 10, startedAt }, nothing)
}

test('a run that has committed nothing leaves nothing; one that has goes on with the same request', async () => {
  await using folder = await mkdtempDisposable(`${tmpdir()}/millrace-runs-`)
  assert.ok(takesWholeKeys(plan))
  {
    await using run = await open(folder.path)
    assert.ok(run.atOnce)
    assert.deepEqual(
      run.plan.steps.map(({ op }) => op),
      ['validate', 'pairs', 'files'],
    )
  }
  assert.deepEqual(await readdir(folder.path), [])
  {
    await using run = await open(folder.path)
    await run.begin()
  }
  const [id] = await readdir(folder.path)
  await assert.rejects(
    open(folder.path, { request: 'b.csv' }),
    /a run of a\.csv was interrupted.*run it again as it was/s,
  )
  await assert.rejects(open(folder.path, { version: '2' }), { code: 'RUN_UNFINISHED' })
  // a live pipeline has stored what the run took for absent
  await assert.rejects(open(folder.path, { keeps: true }), /others have come between/)
  {
    await using run = await open(folder.path, { final: false })
    assert.ok(run.atOnce, 'as it began')
    assert.ok((await run.finish())?.endsWith(id ?? ''))
  }
  await using other = await open(folder.path, { request: 'b.csv', keeps: true })
  assert.equal(other.atOnce, false)
  assert.deepEqual(other.plan, plan)
})
