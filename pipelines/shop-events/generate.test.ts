import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { GenerateRequest } from 'millrace'
import type { Clock } from '../sample-pace.ts'
import { sampleRequest } from '../sample-request.ts'
import { generate, generator } from './generate.ts'

const header = 'event_id,user_id,event_type,product_id,price,event_timestamp'

test('the same seed gives the same file names and the same bytes', async () => {
  await using first = await folder()
  await using second = await folder()
  await using other = await folder()
  const spoilt = { badPercent: 2, duplicatePercent: 1 }
  await generator.run(request(first.path, { count: 25_000, ...spoilt }))
  await generator.run(request(second.path, { count: 25_000, ...spoilt }))
  await generator.run(request(other.path, { count: 25_000, ...spoilt, seed: 2 }))
  const files = await filesIn(first.path)
  assert.deepEqual(
    [...files.keys()],
    [
      'events_20260101T000000000Z_000000.csv',
      'events_20260101T000010000Z_000001.csv',
      'events_20260101T000020000Z_000002.csv',
    ],
  )
  assert.deepEqual(await filesIn(second.path), files)
  assert.notDeepEqual(await filesIn(other.path), files)
})

test('as many rows are bad or repeated as was asked, and every way to be bad is met', async () => {
  await using shop = await folder()
  const summary = await generator.run(request(shop.path, { count: 20_000, badPercent: 10, duplicatePercent: 5 }))
  const seen = new Map<string, string[]>()
  const reasons: Record<string, number> = {}
  let duplicates = 0
  for (const fields of rowsOf(await filesIn(shop.path))) {
    const reason = reasonToRefuse(fields)
    if (reason !== undefined) {
      reasons[reason] = (reasons[reason] ?? 0) + 1
      continue
    }
    const [id = '', ...rest] = fields
    const earlier = seen.get(id)
    if (earlier === undefined) {
      seen.set(id, rest)
      continue
    }
    duplicates++
    assert.deepEqual(rest.slice(0, -1), earlier.slice(0, -1), 'a repeat says what the event said')
    assert.ok((rest.at(-1) ?? '') > (earlier.at(-1) ?? ''), 'but was sent later')
  }
  const bad = Object.values(reasons).reduce((sum, n) => sum + n, 0)
  assert.deepEqual(summary, { events: 20_000, bad, duplicates, files: 2 })
  assert.equal(seen.size, 20_000 - bad - duplicates)
  assert.ok(Math.abs(bad - 2_000) < 100, `${bad} bad rows`)
  assert.ok(Math.abs(duplicates - 1_000) < 100, `${duplicates} repeats`)
  assert.deepEqual(Object.keys(reasons).sort(), [
    'BELOW_MINIMUM',
    'EMPTY',
    'NOT_A_NUMBER',
    'NOT_A_TIMESTAMP',
    'NOT_ONE_OF',
    'TOO_FEW_FIELDS',
    'TOO_MANY_DECIMALS',
    'TOO_MANY_FIELDS',
  ])
})

test('who adds to the cart has viewed the product, and who buys it has it in the cart', async () => {
  await using shop = await folder()
  await generator.run(request(shop.path, { count: 30_000, badPercent: 5 }))
  const done = { view: new Set<string>(), add_to_cart: new Set<string>(), purchase: new Set<string>() }
  const prices = new Map<string, string>()
  let latest = ''
  const counts = { view: 0, add_to_cart: 0, purchase: 0 }
  for (const fields of rowsOf(await filesIn(shop.path))) {
    if (reasonToRefuse(fields) !== undefined) continue
    const [, user, type, product = '', price = '', time = ''] = fields
    const pair = `${user} ${product}`
    assert.ok(type === 'view' || type === 'add_to_cart' || type === 'purchase')
    if (type === 'add_to_cart') assert.ok(done.view.has(pair), `${pair} was not viewed`)
    if (type === 'purchase') assert.ok(done.add_to_cart.has(pair), `${pair} was not in the cart`)
    done[type].add(pair)
    counts[type]++
    assert.equal(prices.get(product) ?? price, price, `${product} has one price`)
    prices.set(product, price)
    assert.ok(time > latest, 'event time goes on')
    latest = time
  }
  assert.ok(counts.view > counts.add_to_cart && counts.add_to_cart > counts.purchase && counts.purchase > 1_000)
})

test('no file is ever seen half written, and each is complete by its times at once', async () => {
  await using shop = await folder()
  let done = false
  const written = generator.run(request(shop.path, { count: 60_000 })).finally(() => {
    done = true
  })
  while (!done) {
    for (const [name, text] of await filesIn(shop.path)) assert.equal(text.split('\n').length, 10_002, name)
    await turn()
  }
  await written
  for (const name of await readdir(join(shop.path, 'raw'))) {
    const { mtimeMs, ctimeMs } = await stat(join(shop.path, 'raw', name))
    assert.ok(ctimeMs - mtimeMs > 900, `${name} was set back by ${ctimeMs - mtimeMs} ms`)
  }
  assert.deepEqual(await readdir(join(shop.path, 'temp')), [])
})

test('a name that is taken is not written over', async () => {
  await using shop = await folder()
  await generator.run(request(shop.path, { count: 10 }))
  const before = await filesIn(shop.path)
  await generator.run(request(shop.path, { count: 20 }))
  const after = await filesIn(shop.path)
  const [name = ''] = before.keys()
  assert.deepEqual([...after.keys()], [name, name.replace('.csv', '_2.csv')])
  assert.equal(after.get(name), before.get(name))
})

test('with a rate, a file is due every half second since the start, however late the last one was', async () => {
  await using shop = await folder()
  const clock = fakeClock()
  const times: number[] = []
  const summary = await generate(
    request(shop.path, {
      eventsPerSecond: 10,
      durationSeconds: 60,
      onFile: (file) => {
        times.push(clock.steadyMs())
        assert.equal(file.events, 5)
        // Someone held it up: the files that became due meanwhile follow at once, the others on time.
        if (times.length === 10) clock.pass(1_700)
      },
    }),
    clock,
  )
  assert.deepEqual(summary, { events: 600, bad: 0, duplicates: 0, files: 120 })
  assert.deepEqual(times.slice(8, 15), [4_500, 5_000, 6_700, 6_700, 6_700, 7_000, 7_500])
  assert.equal(times.at(-1), 60_000)
  const rows = [...rowsOf(await filesIn(shop.path))]
  assert.deepEqual([rows[0]?.at(-1), rows[599]?.at(-1)], ['2026-01-01T00:00:00.000Z', '2026-01-01T00:00:59.900Z'])
})

test('rates that do not divide into files lose no event', async () => {
  const cases: [eventsPerSecond: number, durationSeconds: number, events: number, files: number][] = [
    [3, 10, 30, 20],
    [0.5, 10, 5, 5],
    [0.29, 100, 29, 29],
    [1_001, 2, 2_002, 4],
  ]
  for (const [eventsPerSecond, durationSeconds, events, files] of cases) {
    await using shop = await folder()
    const summary = await generate(request(shop.path, { eventsPerSecond, durationSeconds }), fakeClock())
    assert.deepEqual(summary, { events, bad: 0, duplicates: 0, files }, `${eventsPerSecond} events/s`)
  }
})

test('without a seed times are now, also after the computer has slept', async () => {
  await using shop = await folder()
  const clock = fakeClock()
  const startTime = new Date(clock.wallMs())
  const onFile = () => clock.sleepFor(3_600_000)
  await generate(request(shop.path, { eventsPerSecond: 2, count: 3, live: true, startTime, onFile }), clock)
  const times = [...rowsOf(await filesIn(shop.path))].map((fields) => fields.at(-1))
  assert.deepEqual(times, ['2026-11-21T12:00:00.000Z', '2026-11-21T13:00:00.500Z', '2026-11-21T14:00:01.000Z'])
})

test('events written at once without a seed end now', async () => {
  await using shop = await folder()
  const startTime = new Date('2026-11-21T12:00:00.000Z')
  await generator.run(request(shop.path, { count: 1_000, live: true, startTime }))
  const times = [...rowsOf(await filesIn(shop.path))].map((fields) => fields.at(-1))
  assert.deepEqual([times[0], times.at(-1)], ['2026-11-21T11:59:59.000Z', '2026-11-21T11:59:59.999Z'])
})

test('the signal ends it, with whole files only', async () => {
  await using shop = await folder()
  const stop = new AbortController()
  let files = 0
  const onFile = () => {
    if (++files === 2) stop.abort()
  }
  const summary = await generate(request(shop.path, { eventsPerSecond: 10, signal: stop.signal, onFile }), fakeClock())
  assert.deepEqual(summary, { events: 10, bad: 0, duplicates: 0, files: 2 })
  assert.equal([...rowsOf(await filesIn(shop.path))].length, 10)
  assert.deepEqual(await readdir(join(shop.path, 'temp')), [])
})

test('the signal ends it while it waits', async () => {
  await using shop = await folder()
  const stop = new AbortController()
  const running = generator.run(request(shop.path, { eventsPerSecond: 10, signal: stop.signal }))
  stop.abort()
  assert.equal((await running).files, 0)
})

test('one file is written where it was asked for, or not at all', async () => {
  await using shop = await folder()
  const to = join(shop.path, 'there', 'events.csv')
  const paths: string[] = []
  const onFile = ({ path }: { path: string }) => {
    paths.push(path)
  }
  const stopped = { to, count: 10, onFile, signal: AbortSignal.abort() }
  assert.equal((await generator.run(request(shop.path, stopped))).files, 0)
  assert.deepEqual(await readdir(join(shop.path, 'there')), [])

  const summary = await generator.run(request(shop.path, { to, eventsPerSecond: 0.5, count: 10_001, onFile }))
  assert.deepEqual(summary, { events: 10_001, bad: 0, duplicates: 0, files: 1 })
  assert.deepEqual(paths, [to])
  assert.deepEqual(await readdir(shop.path), ['there'])
  assert.deepEqual(await readdir(join(shop.path, 'there')), ['events.csv'])
  const lines = (await readFile(to, 'utf8')).split('\n')
  assert.equal(lines.length, 10_003)
  assert.match(lines[10_001] ?? '', /,2026-01-01T05:33:20\.000Z$/)

  await assert.rejects(generator.run(request(shop.path, { to, eventsPerSecond: 10 })), { code: 'WRONG_USAGE' })
})

function request(shopEventsDir: string, asked: Partial<GenerateRequest>): GenerateRequest {
  return sampleRequest({ settings: { SHOP_EVENTS_DIR: shopEventsDir }, ...asked })
}

/** A clock on which waiting takes no time. It sleeps as a computer does: only the wall clock goes on. */
function fakeClock(): Clock & { pass(ms: number): void; sleepFor(ms: number): void } {
  let steadyMs = 0
  let wallMs = Date.parse('2026-11-21T12:00:00Z')
  const pass = (ms: number) => {
    steadyMs += ms
    wallMs += ms
  }
  return {
    wallMs: () => wallMs,
    steadyMs: () => steadyMs,
    until: async (atMs) => pass(Math.max(0, atMs - steadyMs)),
    pass,
    sleepFor(ms) {
      wallMs += ms
    },
  }
}

async function folder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'millrace-shop-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) }
}

async function filesIn(shopEventsDir: string): Promise<Map<string, string>> {
  const raw = join(shopEventsDir, 'raw')
  const names = (await readdir(raw).catch(() => [])).sort()
  return new Map(await Promise.all(names.map(async (name) => [name, await readFile(join(raw, name), 'utf8')] as const)))
}

function* rowsOf(files: Map<string, string>): Iterable<string[]> {
  for (const [name, text] of files) {
    const [first, ...lines] = text.split('\n')
    assert.equal(first, header)
    assert.equal(lines.pop(), '', `${name} ends with a newline`)
    for (const line of lines) yield line.split(',')
  }
}

// What the pipeline's validation would say, written once more in plain words.
function reasonToRefuse(fields: string[]): string | undefined {
  if (fields.length < 6) return 'TOO_FEW_FIELDS'
  if (fields.length > 6) return 'TOO_MANY_FIELDS'
  const [id = '', user = '', type = '', product = '', price = '', time = ''] = fields
  if (id === '' || user === '' || product === '') return 'EMPTY'
  if (!['view', 'add_to_cart', 'purchase'].includes(type)) return 'NOT_ONE_OF'
  if (price.startsWith('-')) return 'BELOW_MINIMUM'
  if (!/^\d+(\.\d+)?$/.test(price)) return 'NOT_A_NUMBER'
  if (!/^\d+\.\d{2}$/.test(price)) return 'TOO_MANY_DECIMALS'
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(time)) return 'NOT_A_TIMESTAMP'
  return undefined
}
