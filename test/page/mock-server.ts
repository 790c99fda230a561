/**
 * A server that answers as the real one does, with data made from a seed, and can be told what happens next. Run it to
 * look at the page: node test/page/mock-server.ts [port]
 */
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { extname, join, normalize } from 'node:path'
import { pageFolder } from '../../src/page/build.ts'
import type { Batch, LateRow, Letter, Pipeline, Where } from '../../src/page/types.ts'
import {
  charts,
  makeBatch,
  makeDetails,
  makeFiles,
  makeLateRows,
  makeLetter,
  makeLetters,
  makePipelines,
  makeResults,
  randomFrom,
  views,
} from './mock-data.ts'

export const contentSecurityPolicy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

export interface MockServer extends AsyncDisposable {
  readonly port: number
  readonly url: string
  readonly pipelines: Pipeline[]
  readonly letters: Letter[]
  /** Those of user-activity. */
  readonly lateRows: LateRow[]
  /** What was asked of it, newest last: "POST /api/dead-letters/replay". */
  readonly asked: string[]
  /** A batch is committed, now, with these rows. */
  commit(pipeline: string, rows?: (string | null)[][]): Batch
  /** Tells all who listen how the pipelines are. */
  tell(): void
  /** Asks for this token from now on. */
  wantToken(token: string | undefined): void
}

interface MockOptions {
  port?: number
  seed?: number
  letters?: number
  now?: () => number
  /** Makes batches by itself. */
  alive?: boolean
}

const types: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
  '.txt': 'text/plain; charset=utf-8',
}

export async function openMockServer(options: MockOptions = {}): Promise<MockServer> {
  const { seed = 7, now = Date.now, letters: count = 10_360, alive = false } = options
  const random = randomFrom(seed)
  const letters = makeLetters(random, count, now() - 3000)
  const openOf = (pipeline: string): number =>
    letters.filter((letter) => letter.pipeline === pipeline && letter.settled === null).length
  const pipelines = makePipelines(openOf('shop-events'), openOf('user-activity'), now())
  const batches = new Map(
    pipelines.map(({ pipeline, batch }): [string, Batch[]] => [
      pipeline,
      Array.from({ length: 260 }, (_, i) => makeBatch(random, (batch ?? 0) - i, now() - 400 - i * 900)),
    ]),
  )
  const files = makeFiles(random, now())
  // of its own: what else is made stays what it was
  const lateRows = makeLateRows(randomFrom(seed), now())
  const listeners = new Map<ServerResponse, string | null>()
  const asked: string[] = []
  let events = 0
  let token: string | undefined

  const tellOne = (response: ServerResponse, event: string, data: unknown): void => {
    response.write(`id: ${++events}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`)
  }
  const tellAll = (event: string, data: unknown): void => {
    for (const response of listeners.keys()) tellOne(response, event, data)
  }
  const tell = (): void => {
    for (const pipeline of pipelines) pipeline.dead_letters_open = openOf(pipeline.pipeline)
    tellAll('pipelines', { pipelines })
  }
  const commit: MockServer['commit'] = (name, rows) => {
    const pipeline = pipelines.find((each) => each.pipeline === name)
    const known = batches.get(name)
    if (pipeline === undefined || known === undefined) throw new Error(`no pipeline ${name}`)
    const batch = makeBatch(random, (pipeline.batch ?? 0) + 1, now())
    known.unshift(batch)
    pipeline.batch = batch.batch
    pipeline.last_committed_at = batch.committed_at
    pipeline.rows_per_second = Math.round(batch.rows_in * (1 + random() * 0.3))
    for (let i = 0; i < batch.dead; i++) letters.unshift(makeLetter(random, (letters[0]?.id ?? 0) + 1, now()))
    tellAll('batch', { pipeline: name, ...batch })
    if (batch.dead > 0) tellAll('dead', { pipeline: name, batch: batch.batch, codes: { NOT_ONE_OF: batch.dead } })
    for (const [response, wanted] of listeners) {
      if (wanted === name)
        tellOne(response, 'rows', {
          pipeline: name,
          step: 'table',
          table: 'user_events',
          columns: ['event_id', 'user_id', 'event_type', 'product_id', 'price', 'event_timestamp'],
          rows: rows ?? landedRows(random, now()),
        })
    }
    tell()
    return batch
  }

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', 'http://mock')
    asked.push(`${request.method} ${url.pathname}`)
    response.setHeader('content-security-policy', contentSecurityPolicy)
    const isMetrics = url.pathname === '/metrics'
    if (!isMetrics && !url.pathname.startsWith('/api/')) return sendFile(response, url.pathname)
    if (token !== undefined && request.headers.authorization !== `Bearer ${token}`) {
      return problem(response, 401, 'TOKEN_NEEDED', 'This server asks for a token.')
    }
    if (isMetrics) {
      response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4' }).end('millrace_rows_total 7\n')
      return
    }
    if (url.pathname === '/api/events') {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
      listeners.set(response, url.searchParams.get('rows'))
      response.on('close', () => listeners.delete(response))
      tellOne(response, 'pipelines', { pipelines })
      return
    }
    const body = request.method === 'GET' ? undefined : JSON.parse(await textOf(request))
    const said = answerTo(request.method ?? 'GET', url, body)
    if (said === undefined) return problem(response, 404, 'NOT_FOUND', `there is nothing at ${url.pathname}`)
    send(response, 200, said)
  }

  const tasks = makeTasks()
  const answerTo = (method: string, url: URL, body: unknown): unknown => {
    const query = url.searchParams
    const words = url.pathname.split('/').slice(2).map(decodeURIComponent)
    if (words[0] === 'pipelines') {
      if (words[1] === undefined) return { pipelines }
      const pipeline = pipelines.find((each) => each.pipeline === words[1])
      if (pipeline === undefined) return undefined
      if (words[2] === 'batches')
        return paged('batches', batches.get(pipeline.pipeline) ?? [], ({ batch }) => batch, query)
      if (words[2] === 'files')
        return paged('files', pipeline.pipeline === 'shop-events' ? files : [], ({ id }) => Number(id), query)
      if (words[2] === 'late-rows') {
        const own = pipeline.pipeline === 'user-activity' ? lateRows : []
        return query.has('format') ? own : paged('late_rows', own, ({ id }) => id, query)
      }
      return makeDetails(pipeline, random)
    }
    if (words[0] === 'systems') {
      return {
        systems: pipelines.map(({ pipeline, says }) => ({
          name: pipeline,
          says,
          charts: charts[pipeline] ?? [],
          views: views[pipeline] ?? [],
        })),
      }
    }
    if (words[0] === 'tasks') return method === 'POST' ? runAgain(tasks, body) : tasksOf(tasks)
    if (words[0] === 'results') return makeResults(url.pathname, random, now())
    if (words[0] !== 'dead-letters') return undefined
    if (method === 'GET' && words[1] === undefined) {
      return paged('dead_letters', letters.filter(chosenBy(query)), ({ id }) => id, query)
    }
    if (words[1] === 'counts') return { counts: countsOf(letters.filter(chosenBy(query))) }
    if (words[1] === 'replay') return replay(letters, body, commit, now)
    if (words[1] === 'discard') return discard(letters, body, tell, now)
    const letter = letters.find(({ id }) => id === Number(words[1]))
    // as: what the page sends, which is what is tested
    if (letter !== undefined && method === 'PATCH')
      letter.fields = { ...letter.fields, ...(body as { fields: Letter['fields'] }).fields }
    return letter
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => problem(response, 500, 'FAILED', String(error)))
  })
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const timer = alive ? setInterval(() => commit('shop-events'), 700) : undefined
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    pipelines,
    letters,
    lateRows,
    asked,
    commit,
    tell,
    wantToken(wanted) {
      token = wanted
      for (const response of listeners.keys()) response.destroy()
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function chosenBy(query: URLSearchParams): (letter: Letter) => boolean {
  const where: Where = {
    ...Object.fromEntries([...query].filter(([name]) => ['pipeline', 'code', 'file', 'column'].includes(name))),
    ...(query.has('batch') ? { batch: Number(query.get('batch')) } : {}),
  }
  return (letter) => (query.get('settled') === 'true' || letter.settled === null) && meets(letter, where)
}

function meets(letter: Letter, where: Where): boolean {
  return (
    (where.ids === undefined || where.ids.includes(letter.id)) &&
    (where.pipeline === undefined || where.pipeline === letter.pipeline) &&
    (where.code === undefined || where.code === letter.code) &&
    (where.column === undefined || where.column === letter.column) &&
    (where.batch === undefined || where.batch === letter.batch) &&
    (where.file === undefined || letter.place.includes(where.file))
  )
}

function countsOf(letters: Letter[]): { pipeline: string; code: string; letters: number; replayable: number }[] {
  const counts = new Map<string, { pipeline: string; code: string; letters: number; replayable: number }>()
  for (const { pipeline, code, fields } of letters) {
    const count = counts.get(`${pipeline} ${code}`) ?? { pipeline, code, letters: 0, replayable: 0 }
    counts.set(`${pipeline} ${code}`, {
      ...count,
      letters: count.letters + 1,
      replayable: count.replayable + (fields === null ? 0 : 1),
    })
  }
  return [...counts.values()].sort((a, b) => b.letters - a.letters)
}

interface ReplayBody {
  where: Where
  set?: Record<string, string | null>
  dry_run?: boolean
}

function replay(letters: Letter[], body: unknown, commit: MockServer['commit'], now: () => number): unknown {
  const { where, set = {}, dry_run: dry = false } = body as ReplayBody // as: what the page sends
  const chosen = letters.filter((letter) => letter.settled === null && meets(letter, where))
  const judged = chosen.map((letter) => ({ letter, ...judge({ ...letter.fields, ...set }, letter) }))
  if (dry) {
    const counts = new Map<string, { would: string; code: string | null; letters: number }>()
    for (const { would, code } of judged) {
      const count = counts.get(`${would} ${code}`) ?? { would, code, letters: 0 }
      counts.set(`${would} ${code}`, { ...count, letters: count.letters + 1 })
    }
    const staying = judged.filter(({ would }) => would === 'stay').length
    const left = staying === 0 ? [] : [`${staying} that could not be told into columns`]
    counts.delete('stay WRONG_FIELD_COUNT')
    const first = judged.slice(0, 50).map(({ letter, would, code, why }) => ({ id: letter.id, would, code, why }))
    return { dry_run: true, counts: [...counts.values()].sort((a, b) => b.letters - a.letters), first, left }
  }
  const replayable = judged.filter(({ would }) => would !== 'stay')
  for (const { letter } of replayable)
    Object.assign(letter, { settled: 'replayed', settled_at: new Date(now()).toISOString() })
  const again = replayable.filter(({ would }) => would === 'fail again')
  const codes = Map.groupBy(again, ({ code }) => code ?? '')
  if (replayable.length > 0) commit('shop-events')
  return {
    replayed:
      replayable.length === 0
        ? []
        : [
            {
              pipeline: 'shop-events',
              rows_in: replayable.length,
              written: replayable.length - again.length,
              filtered: 0,
              duplicates: 0,
              late: 0,
              dead: again.length,
              batches: 1,
              dead_again: [...codes].map(([code, each]) => ({ code, letters: each.length })),
            },
          ],
    left:
      judged.length > replayable.length
        ? [`${judged.length - replayable.length} that could not be told into columns`]
        : [],
  }
}

function judge(
  fields: Record<string, string | null>,
  letter: Letter,
): { would: string; code: string | null; why: string | null } {
  if (letter.fields === null) return { would: 'stay', code: letter.code, why: 'the row could not be told into columns' }
  const fails = (code: string, why: string): ReturnType<typeof judge> => ({ would: 'fail again', code, why })
  if (!['view', 'add_to_cart', 'purchase'].includes(fields['event_type'] ?? '')) {
    return fails('NOT_ONE_OF', `event_type: "${fields['event_type']}" is not one of view, add_to_cart, purchase`)
  }
  if (fields['user_id'] === null) return fails('MISSING', 'user_id: the value is missing')
  if (fields['product_id'] === '') return fails('EMPTY', 'product_id: the text is empty')
  if (!/^\d+(\.\d\d?)?$/.test(fields['price'] ?? ''))
    return fails('NOT_A_NUMBER', 'price: not a number that may stand there')
  if (fields['event_timestamp']?.startsWith('2026-02-30'))
    return fails('NOT_A_TIMESTAMP', 'event_timestamp: not a day of the calendar')
  return { would: 'land', code: null, why: null }
}

function discard(letters: Letter[], body: unknown, tell: () => void, now: () => number): unknown {
  const { where, reason } = body as { where: Where; reason: string } // as: what the page sends
  const chosen = letters.filter((letter) => letter.settled === null && meets(letter, where))
  for (const letter of chosen) {
    Object.assign(letter, { settled: 'discarded', settled_at: new Date(now()).toISOString(), settled_by: reason })
  }
  tell()
  return { discarded: chosen.length }
}

function landedRows(random: () => number, now: number): string[][] {
  return Array.from({ length: 8 }, () => [
    `e-${Math.floor(random() * 1e9).toString(36)}`,
    `user-${Math.floor(random() * 4000)}`,
    ['view', 'add_to_cart', 'purchase'][Math.floor(random() * 3)] ?? 'view',
    `sku-${100 + Math.floor(random() * 900)}`,
    (random() * 200).toFixed(2),
    new Date(now - random() * 2000).toISOString(),
  ])
}

function paged<T>(name: string, all: T[], idOf: (each: T) => number, query: URLSearchParams): unknown {
  const before = Number(query.get('before') ?? Number.MAX_SAFE_INTEGER)
  const limit = Number(query.get('limit') ?? 50)
  const rest = all.filter((each) => idOf(each) < before)
  const page = rest.slice(0, limit)
  const last = page.at(-1)
  return { [name]: page, next: rest.length > limit && last !== undefined ? idOf(last) : null }
}

async function textOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part)
  return Buffer.concat(parts).toString()
}

function send(response: ServerResponse, status: number, body: unknown, type = 'application/json'): void {
  response.writeHead(status, { 'content-type': type }).end(JSON.stringify(body))
}

function problem(response: ServerResponse, status: number, code: string, detail: string): void {
  send(response, status, { type: 'about:blank', title: code, status, code, detail }, 'application/problem+json')
}

async function sendFile(response: ServerResponse, path: string): Promise<void> {
  const file = join(pageFolder, normalize(path === '/' ? '/index.html' : path))
  const content = await readFile(file).catch(() => undefined)
  if (content === undefined || !file.startsWith(pageFolder))
    return problem(response, 404, 'NOT_FOUND', `there is nothing at ${path}`)
  response.writeHead(200, { 'content-type': types[extname(file)] ?? 'application/octet-stream' }).end(content)
}

if (import.meta.main) {
  const server = await openMockServer({ port: Number(process.argv[2] ?? 4041), alive: true })
  process.stdout.write(`${server.url}\n`)
}

interface MockTask {
  id: string
  pipeline: string
  task: string
  key: string
  state: string
  failures: number
  asked_at: string
  next_at: null
  failed_at: null
  why: string | null
}

function makeTasks(): MockTask[] {
  const task = (n: number, state: string, failures: number, why: string | null): MockTask => ({
    id: `00000000-0000-4000-8000-00000000000${n}`,
    pipeline: 'shop-events',
    task: 'sum_up',
    key: `customer-${n}`,
    state,
    failures,
    asked_at: '2026-01-01T12:00:00.000Z',
    next_at: null,
    failed_at: null,
    why,
  })
  const why = 'duplicate key value violates unique constraint "customers_pkey" <b>of which there is more to say</b>'
  return [
    task(1, 'dead', 6, why),
    task(2, 'dead', 6, 'no such customer'),
    task(3, 'failed, tried again', 2, 'the bank does not answer'),
    task(4, 'running', 0, null),
    task(5, 'waiting', 0, null),
  ]
}

function tasksOf(tasks: MockTask[]) {
  const counted = (state: string) => tasks.filter((task) => task.state === state).length
  const counts = {
    pipeline: 'shop-events',
    task: 'sum_up',
    waiting: counted('waiting'),
    running: counted('running'),
    retrying: counted('failed, tried again'),
    dead: counted('dead'),
  }
  return { tasks, counts: [counts], fault: null }
}

function runAgain(tasks: MockTask[], body: unknown) {
  // as: what the page sends, which is what is tested
  const { ids } = body as { ids: string[] }
  for (const task of tasks) if (ids.includes(task.id)) task.state = 'waiting'
  return { retried: ids.length }
}
