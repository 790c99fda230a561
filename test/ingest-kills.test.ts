/** A server that is killed while events are posted: what it has acknowledged is there, and under a key nothing is there twice. */
import assert from 'node:assert/strict'
import { mkdtempDisposable, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { ingestFailpoints, logFailpoints } from '../src/failpoint.ts'
import { openLocalTopics } from '../src/sources/topic/log/open.ts'
import { click, clicksTopic } from './ingest/clicks.ts'
import { post, type Told } from './ingest/world.ts'
import { readAll } from './topic-contract/world.ts'
import { startChild } from './topic-log/child.ts'

const program = '../ingest/serve.ts'
const posters = 8

interface Request {
  key: string
  ids: string[]
  /** The answer, if there was one. */
  ranges?: Told
}

interface Server extends AsyncDisposable {
  url: string
  kill(): Promise<unknown>
}

async function serve(folder: string, env: Record<string, string> = {}): Promise<Server> {
  const child = startChild(program, [folder], env)
  const port = await child.line()
  return {
    url: `http://127.0.0.1:${port}/api/topics/${clicksTopic}`,
    kill: () => child.kill(),
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  }
}

/** Posts until the server is gone, and answers what was posted. */
async function postUntilGone(url: string, run: string, keyed: boolean): Promise<Request[]> {
  const requests: Request[] = []
  const one = async (poster: number): Promise<void> => {
    for (let n = 0; ; n++) {
      const key = `${run}-${poster}-${n}`
      const request: Request = { key, ids: Array.from({ length: 1 + ((n * 7) % 30) }, (_, i) => `${key}-${i}`) }
      requests.push(request)
      const answer = await send(url, request, keyed).catch((error: unknown) => {
        // fetch says so when nobody answers
        if (!(error instanceof TypeError)) throw error
      })
      if (answer === undefined) return
      request.ranges = answer.body.ranges
    }
  }
  await Promise.all(Array.from({ length: posters }, (_, poster) => one(poster)))
  return requests
}

async function send(url: string, { key, ids }: Request, keyed: boolean) {
  const answer = await post(
    url,
    ids.map((id) => click(id)),
    keyed ? { 'idempotency-key': key } : {},
  )
  assert.equal(answer.status, 202, JSON.stringify(answer.body))
  return answer
}

async function idsIn(folder: string): Promise<string[]> {
  const records = await readAll(openLocalTopics(join(folder, 'topics')), clicksTopic)
  return records.map(({ value }) => JSON.parse(value ?? '').id)
}

function assertAcknowledged(ids: readonly string[], requests: readonly Request[]): void {
  for (const request of requests) {
    if (request.ranges === undefined) continue
    const there = request.ranges.flatMap(({ first, end }: Told) => ids.slice(first, end))
    assert.deepEqual(there, request.ids, request.key)
  }
}

describe('a server that is killed while events are posted', () => {
  for (const point of [...logFailpoints, ...ingestFailpoints]) {
    test(`at "${point}": under keys, everything is there once when it is posted again`, async () => {
      await using room = await mkdtempDisposable(join(tmpdir(), 'millrace-ingest-'))
      const requests: Request[] = []
      for (const [run, occurrence] of [2, 40].entries()) {
        await using server = await serve(room.path, { MILLRACE_FAILPOINT: `${point}@${occurrence}=kill` })
        requests.push(...(await postUntilGone(server.url, String(run), true)))
        assertAcknowledged(await idsIn(room.path), requests)
      }
      assert.ok(
        requests.some(({ ranges }) => ranges !== undefined) && requests.some(({ ranges }) => ranges === undefined),
      )
      // the index of keys is made anew from the records, if it is lost
      if (point === 'log synced') await rm(join(room.path, 'ingest'), { recursive: true })
      const wanted = requests.flatMap(({ ids }) => ids).sort()
      for (let again = 0; again < 2; again++) {
        await using server = await serve(room.path)
        for (const request of requests) {
          const { body } = await send(server.url, request, true)
          // the same answer as before, if there was one
          assert.deepEqual(body.ranges, request.ranges ?? body.ranges)
          assert.equal(body.accepted, request.ids.length)
          request.ranges = body.ranges
        }
        const ids = await idsIn(room.path)
        assertAcknowledged(ids, requests)
        assert.deepEqual(ids.toSorted(), wanted)
        await server.kill()
      }
    })
  }

  test('at any moment: without keys, everything that was acknowledged is there once, where it was said to be', async () => {
    await using room = await mkdtempDisposable(join(tmpdir(), 'millrace-ingest-'))
    const requests: Request[] = []
    for (let run = 0; run < 3; run++) {
      await using server = await serve(room.path)
      const posting = postUntilGone(server.url, String(run), false)
      await pause(100 + Math.random() * 200)
      await server.kill()
      requests.push(...(await posting))
    }
    const ids = await idsIn(room.path)
    assertAcknowledged(ids, requests)
    assert.equal(new Set(ids).size, ids.length)
  })
})
