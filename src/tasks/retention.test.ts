import assert from 'node:assert/strict'
import { mkdtempDisposable, readdir, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { testDatabase } from '../../test/postgres.ts'
import { loadConfig } from '../config.ts'
import { createLog } from '../log.ts'
import { openPostgres } from '../store/postgres.ts'
import { TaskQueue } from './queue.ts'
import { archiveOld } from './retention.ts'

const day = 86_400_000

async function openWorld() {
  await using stack = new AsyncDisposableStack()
  const folder = stack.use(await mkdtempDisposable(join(tmpdir(), 'millrace-retention-')))
  const { url } = stack.use(await testDatabase())
  const store = stack.use(await openPostgres({ url, waitMs: 0, onWait: () => {}, migrations: [] }))
  const sessions = stack.use(store.sessions(2))
  const queue = stack.use(await TaskQueue.open(sessions, { works: true, log: createLog('error') }))
  const config = loadConfig({}, { MILLRACE_DATA: folder.path }, folder.path)
  const owned = stack.move()
  const asked: string[] = []
  return {
    sessions,
    queue,
    config,
    asked,
    async archive(fails = false): Promise<void> {
      await sessions.transaction(async (client) => {
        const sql = async (statement: string, values?: unknown[]) => (await client.query(statement, values)).rows
        await archiveOld(config, { sql, enqueue: async (task) => void asked.push(task) })
        if (fails) throw new Error('the commit fails')
      })
    },
    async lines(kind: string): Promise<{ id: number }[]> {
      const place = join(folder.path, 'archived', kind)
      const names = await readdir(place).catch(() => [])
      const texts = await Promise.all(names.sort().map(async (name) => gunzipSync(await readFile(join(place, name)))))
      return texts.flatMap((text) => text.toString().trimEnd().split('\n')).map((line) => JSON.parse(line))
    },
    files: async (kind: string) => (await readdir(join(folder.path, 'archived', kind))).sort(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

type World = Awaited<ReturnType<typeof openWorld>>

async function letters(
  { sessions }: World,
  count: number,
  settledMsAgo: number | null,
  text = 'a "row"',
): Promise<void> {
  await sessions.query(
    `
    insert into millrace.dead_letters (pipeline, batch, source, place, stage, code, message, raw, rejected_at, settled, settled_at)
    select 'shop', 1, 'files', 'a.csv', 'validate', 'EMPTY', 'it is empty', $3, now() - interval '1 year',
           case when $2::float8 is not null then 'discarded' end, now() - $2 * interval '1 millisecond'
    from   generate_series(1, $1)`,
    [count, settledMsAgo, text],
  )
}

async function ids({ sessions }: World, table: string): Promise<number[]> {
  const { rows } = await sessions.query(`select id from millrace.${table} order by id`)
  return rows.map(({ id }) => Number(id))
}

describe('what is old', { concurrency: 1 }, () => {
  test('dead letters that are done with go into a file after 30 days; open ones stay for ever', async () => {
    await using world = await openWorld()
    await letters(world, 3, 31 * day)
    await letters(world, 2, 29 * day)
    await letters(world, 2, null)
    await world.archive()
    assert.deepEqual(await ids(world, 'dead_letters'), [4, 5, 6, 7])
    const archived = await world.lines('dead-letters')
    assert.deepEqual(
      archived.map(({ id }) => id),
      [1, 2, 3],
    )
    assert.partialDeepStrictEqual(archived[0], { pipeline: 'shop', raw: 'a "row"', settled: 'discarded' })
    assert.deepEqual(await world.files('dead-letters'), ['1-3.jsonl.gz'])
    // nothing is old any more
    await world.archive()
    assert.deepEqual(await world.files('dead-letters'), ['1-3.jsonl.gz'])
    assert.deepEqual(world.asked, [])
  })

  test('late rows go after 30 days', async () => {
    await using world = await openWorld()
    await world.sessions.query(`
      insert into millrace.late_rows (pipeline, batch, step, place, event_time, late_by_ms, raw, arrived_at)
      select 'shop', 1, 'window', 'a.csv', now(), 5, 'x', now() - days * interval '1 day'
      from   unnest(array[40, 31, 29]) days`)
    await world.archive()
    assert.deepEqual(await ids(world, 'late_rows'), [3])
    assert.deepEqual(
      (await world.lines('late-rows')).map(({ id }) => id),
      [1, 2],
    )
  })

  test('a file whose transaction fails is written again under the same name, and nothing is lost', async () => {
    await using world = await openWorld()
    await letters(world, 2, 31 * day)
    await assert.rejects(() => world.archive(true), /the commit fails/)
    assert.deepEqual(await ids(world, 'dead_letters'), [1, 2])
    await world.archive()
    assert.deepEqual(await world.files('dead-letters'), ['1-2.jsonl.gz'])
    assert.equal((await world.lines('dead-letters')).length, 2)
  })

  test('of very many each run takes some, and asks for the next', async () => {
    await using world = await openWorld()
    await letters(world, 20_001, 31 * day, 'x')
    await world.archive()
    assert.deepEqual([(await ids(world, 'dead_letters')).length, world.asked], [1, ['archive_old']])
    await world.archive()
    assert.equal((await world.lines('dead-letters')).length, 20_001)
  })

  test('dead tasks are forgotten after 30 days', async () => {
    await using world = await openWorld()
    await world.queue.prepare('shop/sum', { retries: { times: 0, afterSeconds: 1 } })
    await world.sessions.transaction(async (client) => await world.queue.put('shop/sum', ['old', 'new'], client))
    for (const { id } of await world.queue.take('shop/sum', 2)) await world.queue.failed('shop/sum', id, 'no')
    await world.sessions.query(
      `update millrace_tasks.job set completed_on = now() - interval '31 days' where data ->> 'key' = 'old'`,
    )
    await world.archive()
    const { rows } = await world.sessions.query(`select data ->> 'key' as key from millrace_tasks.job`)
    assert.deepEqual(rows, [{ key: 'new' }])
  })
})
