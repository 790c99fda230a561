/** Millrace as a whole, killed while events are posted: what it has acknowledged is in the table, once, when it runs again. */
import assert from 'node:assert/strict'
import { mkdtempDisposable, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { eventually, type Millrace, startMillrace } from './crash/process.ts'
import { click, clicksTopic } from './ingest/clicks.ts'
import { type Answer, post } from './ingest/world.ts'
import { testDatabase } from './postgres.ts'

const system = join(import.meta.dirname, 'ingest', 'clicks.ts')
const posters = 8

describe('Millrace that is killed while events are posted', () => {
  for (const point of ['ingest durable', 'log synced', 'staged', 'commit sent', 'commit acknowledged']) {
    test(`at "${point}" has all that it acknowledged in its table, once`, async () => {
      await using room = await mkdtempDisposable(join(tmpdir(), 'millrace-ingest-'))
      await using database = await testDatabase()
      const start = async (env: Record<string, string> = {}): Promise<Millrace & { url: string }> => {
        // that of one who was killed names nobody
        await rm(join(room.path, 'data', 'server.json'), { force: true })
        const running = startMillrace(['start', system, '--json'], room.path, {
          DATABASE_URL: database.url,
          PORT: '0',
          BATCH_INTERVAL: '1 ms',
          INGEST_DISK_RESERVE: '0',
          ...env,
        })
        const url = await eventually(() => addressIn(room.path), { what: () => running.story() })
        return Object.assign(running, { url: `${url}/api/topics/${clicksTopic}` })
      }
      const acknowledged: string[] = []
      const unanswered: string[] = []
      for (const occurrence of [12, 40]) {
        await using running = await start({ MILLRACE_FAILPOINT: `${point}@${occurrence}=kill` })
        const one = async (poster: number): Promise<void> => {
          for (let n = 0; ; n++) {
            const id = `${occurrence} ${poster} ${n}`
            const answer = await send(running.url, id).catch((error: unknown) => {
              // fetch says so when nobody answers
              if (!(error instanceof TypeError)) throw error
            })
            if (answer === undefined) return void unanswered.push(id)
            acknowledged.push(id)
          }
        }
        await Promise.all(Array.from({ length: posters }, (_, poster) => one(poster)))
        assert.deepEqual(await running.ended(), { code: null, signal: 'SIGKILL' })
      }
      assert.ok(acknowledged.length > 0)
      await using running = await start()
      for (const id of [...unanswered, ...acknowledged.slice(0, 20)]) await send(running.url, id)
      const last = await eventually(
        async () => {
          const answer = await post(`${running.url}?wait=commit`, click('last'))
          return answer.status === 200 && answer
        },
        { what: () => running.story() },
      )
      assert.equal(last.body.batches.length > 0, true)
      const client = await database.connect()
      const { rows } = await client.query<{ id: string }>('select id from clicks')
      const wanted = [...new Set([...acknowledged, ...unanswered, 'last'])]
      assert.deepEqual(rows.map(({ id }) => id).toSorted(), wanted.toSorted())
      // the table would take an event twice as a duplicate: there was none, but of the last, if it was posted again
      const books = await client.query<{ duplicates: number }>(
        'select sum(duplicates)::int as duplicates from millrace.batches where not (rows_in = 1 and duplicates = 1)',
      )
      assert.equal(books.rows[0]?.duplicates, 0)
    })
  }
})

async function addressIn(folder: string): Promise<string | undefined> {
  const text = await readFile(join(folder, 'data', 'server.json'), 'utf8').catch(() => '{}')
  const { host, port } = JSON.parse(text)
  return port === undefined ? undefined : `http://${host}:${port}`
}

async function send(url: string, id: string): Promise<Answer> {
  const answer = await post(url, click(id), { 'idempotency-key': id })
  assert.equal(answer.status, 202, JSON.stringify(answer.body))
  return answer
}
