/** What the API says of event time, lag and late rows, held against the database and a real local topic. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { newsOf } from '../src/server/routes/events.ts'
import { openServed } from './served.ts'
import { chatTopic, openTelemetraWork, type TelemetraWork } from './served-telemetra.ts'

// biome-ignore lint/suspicious/noExplicitAny: what an answer holds, each test says
type Told = any

let work: TelemetraWork
const stack = new AsyncDisposableStack()
before(async () => {
  work = await openTelemetraWork(stack.use(await openServed()))
})
after(() => stack.disposeAsync())

async function ask(path = ''): Promise<Told> {
  const answer = await fetch(`${work.served.url}/api/pipelines/telemetra${path}`)
  assert.equal(answer.status, 200)
  return await answer.json()
}

async function metric(name: string): Promise<number | undefined> {
  const text = await (await fetch(`${work.served.url}/metrics`)).text()
  const found = text.split('\n').find((line) => line.startsWith(`${name}{pipeline="telemetra"} `))
  return found === undefined ? undefined : Number(found.split(' ')[1])
}

/** The ends of topics are looked at once a second. */
async function untilBehind(rows: number): Promise<Told> {
  for (;;) {
    const told = await ask()
    if (told.lag.rows === rows) return told
  }
}

const noon = Date.parse('2026-01-01T12:00:00Z')

test('the watermark, its distance and the state are those of the database, and nothing is behind', async () => {
  // half a minute, so that no window of a minute is full
  await work.chat(0, noon, 30)
  await work.run()
  const asked = Date.now()
  const told = await untilBehind(0)
  const [stored] = await work.sql(`
    select extract(epoch from watermark)::float8 * 1000 as watermark,
           (select count(*) from millrace.pane_numbers where pipeline = 'telemetra')
           + (select count(*) from millrace.pane_sets where pipeline = 'telemetra') as panes
    from   millrace.pipelines
    where  pipeline = 'telemetra'`)
  assert.equal(told.watermark, new Date(noon + 19_000).toISOString())
  assert.equal(Date.parse(told.watermark), stored?.['watermark'])
  assert.equal(told.watermark_closed, false)
  assert.ok(Math.abs(told.watermark_lag_ms - (asked - noon - 19_000)) < 60_000)
  assert.ok(told.state_rows > 0)
  assert.equal(told.state_rows, Number(stored?.['panes']))
  assert.ok(told.state_bytes > 20 * told.state_rows, `${told.state_bytes} bytes`)
  assert.deepEqual(told.lag, {
    files_waiting: 0,
    files_claimed: 0,
    rows: 0,
    rows_estimated: false,
    why: null,
    seconds: 0,
  })
  assert.equal(await metric('millrace_source_lag_rows'), 0)
  assert.equal(await metric('millrace_state_rows'), told.state_rows)
  assert.ok(Math.abs(((await metric('millrace_watermark_lag_seconds')) ?? 0) - told.watermark_lag_ms / 1000) < 60)
})

test('lag is told by partition, though no worker of this process reads', async () => {
  await work.chat(2, noon + 30_000, 7)
  await work.chat(1, noon + 30_000, 4)
  const told = await untilBehind(11)
  const chat = told.positions.filter(({ topic }: Told) => topic === chatTopic)
  assert.deepEqual(
    chat.map(({ partition, position, end, lag_rows }: Told) => [partition, position, end, lag_rows]),
    [
      ['0', 30, 30, 0],
      ['1', null, 4, 4],
      ['2', null, 7, 7],
    ],
  )
  assert.equal(chat[0].watermark, new Date(noon + 19_000).toISOString())
  assert.equal(told.lag.seconds, null)
  assert.equal(await metric('millrace_source_lag_rows'), 11)
  assert.equal(await metric('millrace_source_lag_seconds'), undefined)
  const { pipelines } = (await (await fetch(`${work.served.url}/api/pipelines`)).json()) as Told
  assert.equal(pipelines.find(({ pipeline }: Told) => pipeline === 'telemetra').lag.rows, 11)
  await work.run()
  await untilBehind(0)
})

test('that the clock goes on is no news to whoever listens, and a watermark that moves is', async () => {
  const told = await ask()
  const later = { ...told, watermark_lag_ms: told.watermark_lag_ms + 5000 }
  assert.equal(newsOf([later]), newsOf([told]))
  assert.notEqual(newsOf([{ ...told, watermark: new Date(noon).toISOString() }]), newsOf([told]))
})

test('late rows come page by page, newest first, and as files', async () => {
  await work.chat(0, noon - 3_600_000, 5, '=<img src=x>')
  await work.run()
  assert.equal((await ask()).late_rows, 5)
  const pages: Told[][] = []
  let next: number | null = null
  do {
    const page: Told = await ask(`/late-rows?limit=2${next === null ? '' : `&before=${next}`}`)
    pages.push(page.late_rows)
    next = page.next
  } while (next !== null)
  assert.deepEqual(
    pages.map((page) => page.length),
    [2, 2, 1],
  )
  const late = pages.flat()
  const ids = late.map(({ id }) => id)
  assert.deepEqual(
    ids,
    [...new Set(ids)].toSorted((a, b) => b - a),
  )
  // five fill the page, and none follows
  assert.equal((await ask('/late-rows?limit=5')).next, null)
  const [newest] = late
  assert.partialDeepStrictEqual(newest, {
    place: `${chatTopic}/0/34`,
    event_time: new Date(noon - 3_596_000).toISOString(),
    raw_cut: false,
  })
  const committed = Date.parse((await ask()).watermark)
  assert.ok(newest.late_by_ms > 3_590_000 && newest.late_by_ms <= committed - (noon - 3_596_000))
  assert.ok(Date.parse(newest.window_start) <= noon - 3_596_000)
  assert.match(newest.raw, /=<img src=x>/)

  const csv = await fetch(`${work.served.url}/api/pipelines/telemetra/late-rows?format=csv`)
  assert.match(csv.headers.get('content-disposition') ?? '', /telemetra-late-rows\.csv/)
  assert.equal((await csv.text()).trim().split('\r\n').length, 6)
  const parquet = await fetch(`${work.served.url}/api/pipelines/telemetra/late-rows?format=parquet`)
  assert.equal(Buffer.from(await parquet.arrayBuffer()).toString('latin1', 0, 4), 'PAR1')
  const json = await fetch(`${work.served.url}/api/pipelines/telemetra/late-rows?format=json`)
  assert.equal(((await json.json()) as Told).length, 5)
})

test('a long late row is cut, and says so', async () => {
  await work.chat(0, noon - 3_600_000, 1, 'x'.repeat(3000))
  await work.run()
  const { late_rows } = await ask('/late-rows?limit=1')
  assert.deepEqual([late_rows[0].raw.length, late_rows[0].raw_cut], [2000, true])
})

test('the end of time is no date: it is closed', async () => {
  await work.run({ final: true })
  const [stored] = await work.sql(
    `select watermark > '200000-01-01' as ended from millrace.pipelines where pipeline = 'telemetra'`,
  )
  assert.equal(stored?.['ended'], true)
  assert.partialDeepStrictEqual(await ask(), {
    watermark: null,
    watermark_closed: true,
    watermark_lag_ms: null,
    state_rows: 0,
    state_bytes: 0,
  })
  assert.equal(await metric('millrace_watermark_lag_seconds'), undefined)
})

test('of files the rows that wait are an estimate, once any was read', async () => {
  const { pipelines } = (await (await fetch(`${work.served.url}/api/pipelines`)).json()) as Told
  const of = (name: string): Told => pipelines.find(({ pipeline }: Told) => pipeline === name).lag
  assert.partialDeepStrictEqual(of('shop-events'), { rows: 0, rows_estimated: false, seconds: 0 })
  const line = work.served.board.lines.get('shop-events')
  const other = work.served.board.lines.get('user-activity')
  assert.ok(line !== undefined && other !== undefined)
  line.files = { ...line.files, waiting: 3 }
  other.files = { ...other.files, waiting: 1 }
  const later = (await (await fetch(`${work.served.url}/api/pipelines`)).json()) as Told
  const waits = (name: string): Told => later.pipelines.find(({ pipeline }: Told) => pipeline === name).lag
  // each of the three that were read had six
  assert.partialDeepStrictEqual(waits('shop-events'), { rows: 18, rows_estimated: true, why: null })
  assert.partialDeepStrictEqual(waits('user-activity'), { rows: null, rows_estimated: false })
  assert.match(waits('user-activity').why, /no file has been read yet/)
})
