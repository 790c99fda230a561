import assert from 'node:assert/strict'
import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { openCache } from '../src/cache/open.ts'
import { createLog } from '../src/log.ts'
import { notReady } from '../src/server/board.ts'
import { openServer } from '../src/server/server.ts'
import { newToken, openTokenFile, writeTokens } from '../src/server/tokens.ts'
import type { Route } from '../src/system.ts'
import { openServed, type Served } from './served.ts'

let served: Served
let url: string
before(async () => {
  served = await openServed()
  url = served.url
})
after(() => served[Symbol.asyncDispose]())

// biome-ignore lint/suspicious/noExplicitAny: what an answer holds, each test says
type Told = any

async function ask(path: string, init: RequestInit = {}): Promise<{ status: number; body: Told; headers: Headers }> {
  const answer = await fetch(`${url}${path}`, init)
  const type = answer.headers.get('content-type') ?? ''
  const body: Told = type.includes('json') ? await answer.json() : await answer.text()
  return { status: answer.status, body, headers: answer.headers }
}

function json(method: string, body: unknown, headers: Record<string, string> = {}): RequestInit {
  return { method, body: JSON.stringify(body), headers: { 'content-type': 'application/json', ...headers } }
}

/** Sends a head as it stands, which fetch would not. */
function raw(head: {
  path: string
  method?: string
  headers?: Record<string, string>
  port?: number
}): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port: served.server.port, agent: false, ...head }, (answer) => {
      answer.resume()
      answer.on('end', () => resolve(answer.statusCode ?? 0))
    })
    asked.on('error', reject)
    asked.end()
  })
}

describe('the API', () => {
  test('tells of pipelines, their plans, ledger and files', async () => {
    const { pipelines } = (await ask('/api/pipelines')).body
    const shop = pipelines.find(({ pipeline }: { pipeline: string }) => pipeline === 'shop-events')
    assert.partialDeepStrictEqual(shop, {
      batch: 3,
      books: { rows_in: 18, written: 9, duplicates: 0, dead: 9 },
      dead_letters_open: 9,
      state: { is: 'stopped', why: 'nothing left to read' },
    })
    const { body: detail } = await ask('/api/pipelines/shop-events')
    assert.deepEqual(
      detail.steps.map(({ id, duckdb, store }: Told) => [id, duckdb.length > 0, store.length > 0]),
      [
        ['validate', true, false],
        ['table', true, true],
      ],
    )
    assert.ok(detail.steps[0].rows_per_second > 0)
    assert.equal(detail.plan.name, 'shop-events')

    const first = (await ask('/api/pipelines/shop-events/batches?limit=2')).body
    assert.deepEqual(
      first.batches.map(({ batch, rows_in, step_rows }: Told) => [batch, rows_in, step_rows.validate]),
      [
        [3, 6, 3],
        [2, 6, 3],
      ],
    )
    const second = (await ask(`/api/pipelines/shop-events/batches?limit=2&before=${first.next}`)).body
    assert.deepEqual([second.batches.length, second.next], [1, null])
    assert.ok(second.batches[0].phases_ms.land >= 0)
    const { files } = (await ask('/api/pipelines/shop-events/files?limit=1')).body
    assert.partialDeepStrictEqual(files, [{ state: 'done', rows_done: 6 }])
    assert.deepEqual((await ask('/api/pipelines/shop-events/late-rows')).body, { late_rows: [], next: null })
  })

  test('pages through dead letters, newest first, by what is known of them', async () => {
    const first = (await ask('/api/dead-letters?limit=4')).body
    const second = (await ask(`/api/dead-letters?limit=50&before=${first.next}`)).body
    const ids = [...first.dead_letters, ...second.dead_letters].map(({ id }: { id: number }) => id)
    assert.deepEqual(
      ids,
      ids.toSorted((a, b) => b - a),
    )
    assert.deepEqual([ids.length, second.next], [9, null])
    const { counts } = (await ask('/api/dead-letters/counts?pipeline=shop-events')).body
    assert.deepEqual(
      counts.map(({ code, letters, replayable }: Told) => [code, letters, replayable]),
      [
        ['BELOW_MINIMUM', 3, 3],
        ['NOT_A_NUMBER', 3, 3],
        ['NOT_ONE_OF', 3, 3],
      ],
    )
    const [letter] = (await ask('/api/dead-letters?code=NOT_ONE_OF&file=part-2')).body.dead_letters
    assert.equal(letter.raw.slice(letter.fault.start, letter.fault.end), 'steal')
    assert.match(letter.meaning, /not one of/)
    assert.deepEqual((await ask('/api/dead-letters?since=2100-01-01T00:00:00Z')).body.dead_letters, [])
  })

  test('edits, tries and replays a dead letter, and discards others', async () => {
    const [letter] = (await ask('/api/dead-letters?code=NOT_ONE_OF&limit=1')).body.dead_letters
    const edited = await ask(`/api/dead-letters/${letter.id}`, json('PATCH', { fields: { event_type: 'view' } }))
    assert.equal(edited.body.fields.event_type, 'view')
    assert.equal(edited.body.raw, letter.raw)
    const where = { ids: [letter.id] }
    const dry = (await ask('/api/dead-letters/replay', json('POST', { where, dry_run: true }))).body
    assert.deepEqual([dry.counts, dry.first.length], [[{ would: 'land', code: null, letters: 1 }], 1])
    const many = Array.from({ length: 4 }, () =>
      ask('/api/dead-letters/replay', json('POST', { where: {}, dry_run: true })),
    )
    for (const { status, body } of await Promise.all(many)) assert.equal(status, 200, JSON.stringify(body))
    const left = (await ask('/api/dead-letters/replay', json('POST', { where, by_worker: true }))).body
    assert.deepEqual([left.replayed, left.left_to_workers], [[], ['shop-events']])
    const done = (await ask('/api/dead-letters/replay', json('POST', { where }))).body
    assert.partialDeepStrictEqual(done.replayed, [{ pipeline: 'shop-events', rows_in: 1, written: 1, dead_again: [] }])
    const settled = (await ask(`/api/dead-letters/${letter.id}`)).body
    assert.equal(settled.settled, 'replayed')
    // again: there is nothing left of it to do
    assert.deepEqual((await ask('/api/dead-letters/replay', json('POST', { where }))).body.replayed, [])
    assert.equal((await ask(`/api/dead-letters/${letter.id}`, json('PATCH', { fields: { price: '1' } }))).status, 409)

    const failing = { code: 'BELOW_MINIMUM', pipeline: 'shop-events' }
    const again = (await ask('/api/dead-letters/replay', json('POST', { where: failing, set: { price: '-2' } }))).body
    assert.deepEqual(again.replayed[0].dead_again, [{ code: 'BELOW_MINIMUM', letters: 3 }])
    const mended = await ask(
      '/api/dead-letters/replay',
      json('POST', { where: failing, set: { price: '2' }, dry_run: true }),
    )
    assert.deepEqual(mended.body.counts, [{ would: 'land', code: null, letters: 3 }])
    const discarded = await ask('/api/dead-letters/discard', json('POST', { where: failing, reason: 'a test' }))
    assert.deepEqual(discarded.body, { discarded: 3 })
    const gone = (await ask('/api/dead-letters?code=BELOW_MINIMUM&settled=true&limit=1')).body.dead_letters[0]
    assert.deepEqual([gone.settled, gone.settled_by], ['discarded', 'a test'])
  })

  test('answers with the results of systems, and gives them away as files without formulas', async () => {
    const { systems: told } = (await ask('/api/systems')).body
    const routes = told.flatMap(({ charts }: Told) =>
      charts.flatMap(({ route, marks }: Told) => (marks === undefined ? [route] : [route, marks.route])),
    )
    assert.ok(routes.length >= 6)
    for (const route of routes) {
      const { status, body } = await ask(route)
      assert.equal(status, 200, `${route}: ${JSON.stringify(body)}`)
      assert.ok(Array.isArray(body.rows))
    }
    const products = (await ask('/api/results/shop-events/top-products?limit=1')).body
    assert.partialDeepStrictEqual(products.rows, [{ product_id: '=HYPERLINK("x")', revenue: 9 }])
    const csv = (await ask('/api/results/shop-events/top-products?format=csv')).body
    assert.match(csv, /^product_id,purchases,revenue,buyers\r\n"'=HYPERLINK\(""x""\)",3,9,1\r\n/)
    const parquet = await fetch(`${url}/api/results/shop-events/hourly?format=parquet`)
    assert.equal(Buffer.from(await parquet.arrayBuffer()).toString('latin1', 0, 4), 'PAR1')
    assert.match(parquet.headers.get('content-disposition') ?? '', /shop-events-hourly\.parquet/)
    assert.equal((await ask('/api/results/shop-events/top-products?limit=0')).status, 400)
  })

  test('has numbers for Prometheus, each of them documented', async () => {
    const { body } = await ask('/metrics')
    assert.match(body, /millrace_rows_total\{pipeline="shop-events",verdict="written"\} \d+/)
    assert.match(body, /millrace_batch_duration_seconds_count\{pipeline="shop-events",phase="land"\} 3/)
    assert.match(body, /millrace_end_to_end_latency_seconds_count\{pipeline="shop-events"\} 3/)
    assert.match(body, /millrace_http_request_duration_seconds_count\{route="\/api\/pipelines",code="200"\}/)
    assert.match(body, /millrace_duckdb_memory_bytes \d+/)
    assert.match(body, /process_resident_memory_bytes \d+/)
  })

  test('tells events as they come, and after an interruption those that were missed', async () => {
    const stop = new AbortController()
    const answer = await fetch(`${url}/api/events?rows=shop-events`, {
      signal: stop.signal,
      headers: { 'last-event-id': 'shop-events=2,user-activity=0' },
    })
    assert.equal(answer.headers.get('content-type'), 'text/event-stream')
    const found: { event: string; data: Told }[] = []
    let rest = ''
    const decoder = new TextDecoder()
    for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
      rest += decoder.decode(chunk, { stream: true })
      const blocks = rest.split('\n\n')
      rest = blocks.pop() ?? ''
      for (const block of blocks) {
        const event = /^event: (.*)$/m.exec(block)?.[1]
        const data = /^data: (.*)$/m.exec(block)?.[1]
        if (event !== undefined && data !== undefined) found.push({ event, data: JSON.parse(data) })
      }
      if (found.some(({ event }) => event === 'dead') && found.some(({ event }) => event === 'pipelines')) break
    }
    stop.abort()
    const batches = found.filter(({ event, data }) => event === 'batch' && data.pipeline === 'shop-events')
    assert.equal(batches[0]?.data.batch, 3)
    const dead = found.find(({ event }) => event === 'dead')
    assert.deepEqual(dead?.data.codes, { BELOW_MINIMUM: 1, NOT_A_NUMBER: 1, NOT_ONE_OF: 1 })
  })

  test('describes itself, and its documentation needs nothing from elsewhere', async () => {
    const { body: document } = await ask('/api/openapi.json')
    assert.equal(document.openapi, '3.1.0')
    const paths = Object.keys(document.paths)
    for (const path of ['/api/pipelines', '/api/dead-letters/{id}', '/api/events', '/api/results/shop-events/funnel'])
      assert.ok(paths.includes(path), path)
    const page = await ask('/api/docs/')
    assert.equal(page.status, 200)
    assert.doesNotMatch(page.body, /https?:\/\//)
  })
})

describe('the server refuses', () => {
  const cases: { says: string; head: Parameters<typeof raw>[0]; status: number }[] = [
    {
      says: 'a name that is not its own',
      head: { path: '/api/pipelines', headers: { host: 'evil.example' } },
      status: 421,
    },
    {
      says: 'a page of another site',
      head: { path: '/api/pipelines', headers: { origin: 'http://evil.example' } },
      status: 403,
    },
    {
      says: 'a preflight of another site',
      head: {
        path: '/api/dead-letters/discard',
        method: 'OPTIONS',
        headers: { origin: 'http://evil.example', 'access-control-request-method': 'POST' },
      },
      status: 403,
    },
    { says: 'what is not there', head: { path: '/api/nothing' }, status: 404 },
    { says: 'another way to ask', head: { path: '/api/pipelines', method: 'DELETE' }, status: 405 },
    { says: 'a pipeline that is not there', head: { path: '/api/pipelines/nothing' }, status: 404 },
    { says: 'a name that is too long', head: { path: `/api/pipelines/${'x'.repeat(600)}` }, status: 400 },
    { says: 'a number that is none', head: { path: '/api/dead-letters?limit=x' }, status: 400 },
    { says: 'a parameter that it does not know', head: { path: '/api/dead-letters?colour=red' }, status: 400 },
  ]
  for (const { says, head, status } of cases) {
    test(says, async () => assert.equal(await raw(head), status))
  }

  test('a body that is no JSON, too large, or says what it should not', async () => {
    const path = '/api/dead-letters/discard'
    const body = JSON.stringify({ where: {}, reason: 'x' })
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']) {
      const answer = await ask(path, { method: 'POST', body, headers: { 'content-type': type } })
      assert.deepEqual([answer.status, answer.body.code], [415, 'WRONG_TYPE_OF_BODY'], type)
    }
    assert.equal((await ask(path, json('POST', { where: {}, reason: 'x'.repeat(5_000_000) }))).status, 413)
    for (const wrong of [{}, { where: {} }, { where: { id: 1 }, reason: 'x' }, { where: {}, reason: '' }, [], null]) {
      const { status, body } = await ask(path, json('POST', wrong))
      assert.deepEqual([status, body.status], [400, 400], JSON.stringify(wrong))
    }
    const broken = await ask(path, { method: 'POST', body: '{', headers: { 'content-type': 'application/json' } })
    assert.deepEqual(
      [broken.status, broken.headers.get('content-type')],
      [400, 'application/problem+json; charset=utf-8'],
    )
    const [letter] = (await ask('/api/dead-letters?limit=1')).body.dead_letters
    for (const name of ['nothing', '__proto__', 'constructor']) {
      const fields = Object.fromEntries([[name, '1']])
      const stranger = await ask(`/api/dead-letters/${letter.id}`, json('PATCH', { fields }))
      assert.deepEqual([stranger.status, stranger.body.code], [404, 'UNKNOWN_COLUMN'], name)
      const asked = { where: { pipeline: 'shop-events' }, set: fields, dry_run: true }
      const all = await ask('/api/dead-letters/replay', json('POST', asked))
      assert.deepEqual([all.status, all.body.code], [404, 'UNKNOWN_COLUMN'], name)
    }
  })

  test('everything but health without a token, where there are tokens', async () => {
    const { board, folder } = served
    const path = join(folder, 'tokens.json')
    const now = new Date()
    const [reader, writer] = [newToken('reader', 'read', now), newToken('writer', 'write', now)]
    await writeTokens(path, [reader.kept, writer.kept])
    const told: string[] = []
    const log = createLog('debug', { write: (line) => told.push(line) })
    const desk = {
      board,
      config: served.config,
      log,
      signal: new AbortController().signal,
      cache: openCache(served.config, log),
    }
    await using guarded = await openServer({
      host: '127.0.0.1',
      port: 0,
      desk,
      tokens: openTokenFile(path),
      notReady: () => notReady({ ...board, store: undefined, waitingFor: 'connect ECONNREFUSED db.internal:5432' }),
    })
    const readiness = async (token?: string) => {
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
      const answer = await fetch(`http://127.0.0.1:${guarded.port}/health/ready`, { headers })
      return { status: answer.status, body: await answer.text() }
    }
    for (const token of [undefined, 'mr_wrong']) {
      const { status, body } = await readiness(token)
      assert.equal(status, 503)
      assert.match(body, /the database does not answer/)
      assert.doesNotMatch(body, /ECONNREFUSED|db\.internal/)
    }
    assert.match((await readiness(reader.token)).body, /ECONNREFUSED db\.internal:5432/)
    const status = async (where: string, token?: string, init: RequestInit = {}) => {
      const headers = {
        ...(init.headers as Record<string, string>),
        ...(token ? { authorization: `Bearer ${token}` } : {}),
      }
      return (await fetch(`http://127.0.0.1:${guarded.port}${where}`, { ...init, headers })).status
    }
    const discard = json('POST', { where: { ids: [1_000_000] }, reason: 'x' })
    assert.deepEqual(
      [
        await status('/health/live'),
        await status('/api/pipelines'),
        await status('/metrics'),
        await status('/api/events'),
        await status('/api/pipelines', 'mr_wrong'),
        await status('/api/pipelines', reader.token),
        await status('/api/dead-letters/discard', reader.token, discard),
        await status('/api/dead-letters/discard', writer.token, discard),
      ],
      [200, 401, 401, 401, 401, 200, 403, 200],
    )
    assert.ok(!told.join('').includes(reader.token))
    // one address can be written in many ways
    for (const path of [
      '/%61pi/pipelines',
      'http://x/api/pipelines',
      '/%6detrics',
      '/api/pipelines?x=1',
      '//api/pipelines',
    ]) {
      const found = await raw({ path, port: guarded.port })
      assert.ok([401, 404].includes(found), `${path}: ${found}`)
    }
  })
})

test('what is asked of the server and what the workers ask keep out of each other’s way', async () => {
  const { store } = served.board
  assert.ok(store)
  const sleep = 'select pg_sleep(60)'
  const cancel = `select pg_cancel_backend(pid) from pg_stat_activity where query = '${sleep}' and datname = current_database()`
  const client = await served.connect()
  const limits = [await store.select('show statement_timeout'), await store.reads.select('show statement_timeout')]
  assert.deepEqual(limits, [[{ statement_timeout: '0' }], [{ statement_timeout: '15s' }]])
  const working = Array.from({ length: 10 }, () => store.select(sleep).catch(String))
  const asked: Promise<unknown>[] = []
  try {
    const paths = ['/api/dead-letters', '/api/pipelines/shop-events', '/api/results/shop-events/funnel', '/metrics']
    for (const path of paths) assert.equal((await ask(path)).status, 200, path)
    asked.push(...Array.from({ length: 10 }, () => store.reads.select(sleep).catch(String)))
    assert.equal((await ask('/health/ready')).status, 200)
    assert.ok((await store.committed('shop-events')).batch > 0)
  } finally {
    let left = true
    const ended = Promise.all([...working, ...asked]).then(() => {
      left = false
    })
    while (left) await client.query(cancel)
    await ended
  }
})

test('a question that takes the database too long ends with a problem that says so', async () => {
  const { board, config } = served
  const { store } = board
  const [line] = board.lines.values()
  assert.ok(line && store)
  const route: Route = {
    name: 'slow',
    says: 'Is ended by the database, as it ends what takes too long.',
    answers: { n: 'integer' },
    handle: (_, { sql }) => sql('select pg_cancel_backend(pg_backend_pid()), pg_sleep(60)'),
  }
  const slow = { ...line, system: { ...line.system, name: 'slow', routes: [route] } }
  const log = createLog('error', { write: () => {} })
  const desk = { config, log, signal: new AbortController().signal, cache: openCache(config, log) }
  const lines = new Map([['slow', slow]])
  await using server = await openServer({
    host: '127.0.0.1',
    port: 0,
    desk: { ...desk, board: { ...board, lines } },
    notReady: async () => undefined,
  })
  const answer = await fetch(`http://127.0.0.1:${server.port}/api/results/slow/slow`)
  const told: Told = await answer.json()
  assert.deepEqual([answer.status, told.status, told.code], [504, 504, 'TOO_SLOW'])
  assert.match(told.hint, /ask for less/)
})

test('headers keep a browser from doing more than the page needs, and a second look is cheap', async () => {
  const first = await ask('/api/systems')
  const policy = first.headers.get('content-security-policy') ?? ''
  assert.match(policy, /default-src 'none'/)
  assert.doesNotMatch(policy, /unsafe/)
  assert.equal(first.headers.get('x-content-type-options'), 'nosniff')
  const tag = first.headers.get('etag')
  assert.ok(tag)
  const second = await fetch(`${url}/api/systems`, { headers: { 'if-none-match': tag } })
  assert.equal(second.status, 304)
})

test('three hundred sockets that say nothing, or little, leave others unharmed', async () => {
  const slow = await Promise.all(
    Array.from({ length: 300 }, (_, i) => {
      return new Promise<Socket>((resolve, reject) => {
        const socket = connect(served.server.port, '127.0.0.1', () => {
          if (i % 3 === 1) socket.write('GET /api/pipelines HT')
          if (i % 3 === 2)
            socket.write(
              'POST /api/dead-letters/discard HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{',
            )
          resolve(socket)
        })
        socket.on('error', reject)
      })
    }),
  )
  for (const socket of slow) socket.on('error', () => {}).resume()
  const answered = await Promise.all(Array.from({ length: 50 }, () => ask('/api/pipelines')))
  assert.deepEqual([...new Set(answered.map(({ status }) => status))], [200])
  // each is ended by the server, within its limits for heads and bodies
  const ended = slow
    .filter((_, i) => i % 3 !== 0)
    .map((socket) => (socket.closed ? undefined : new Promise((resolve) => socket.on('close', resolve))))
  await Promise.all(ended)
  for (const socket of slow) socket.destroy()
})
