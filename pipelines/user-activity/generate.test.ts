import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { GenerateRequest } from 'millrace'
import { sampleRequest } from '../sample-request.ts'
import { generate, generator } from './generate.ts'

const header = 'event_id,user_id,event_type,product_id,product_name,category,price,quantity,event_time'

test('the same seed gives the same file names and the same bytes', async () => {
  await using first = await folder()
  await using second = await folder()
  await using other = await folder()
  const spoilt = { badPercent: 5, duplicatePercent: 1 }
  await generator.run(request(first.path, { count: 12_000, ...spoilt }))
  await generator.run(request(second.path, { count: 12_000, ...spoilt }))
  await generator.run(request(other.path, { count: 12_000, ...spoilt, seed: 2 }))
  const files = await filesIn(first.path)
  assert.deepEqual(
    [...files.keys()],
    ['activity_20260101T000000000Z_000000.csv', 'activity_20260101T000010000Z_000001.csv'],
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
  assert.ok(Math.abs(bad - 2_000) < 100, `${bad} bad rows`)
  assert.ok(Math.abs(duplicates - 1_000) < 100, `${duplicates} repeats`)
  assert.deepEqual(Object.keys(reasons).sort(), [
    'a field too few',
    'a field too many',
    'a negative price',
    'a price that is no number',
    'a price with three decimals',
    'a purchase of nothing',
    'a quantity that is no number',
    'a stray quote',
    'a time that is none',
    'a view with a quantity',
    'an unknown type of event',
    'no event_id',
    'no price',
    'no user_id',
  ])
})

test('who buys a product has viewed it, and a product keeps its name, category and price', async () => {
  await using shop = await folder()
  await generator.run(request(shop.path, { count: 30_000, badPercent: 5 }))
  const viewed = new Set<string>()
  const products = new Map<string, string>()
  const quantities = new Set<string>()
  const counts = { view: 0, purchase: 0 }
  let latest = ''
  for (const fields of rowsOf(await filesIn(shop.path))) {
    if (reasonToRefuse(fields) !== undefined) continue
    const [, user, type, id = '', name, category, price, quantity = '', time = ''] = fields
    assert.ok(type === 'view' || type === 'purchase')
    if (type === 'purchase') {
      assert.ok(viewed.has(`${user} ${id}`), `${user} has not viewed ${id}`)
      quantities.add(quantity)
    } else viewed.add(`${user} ${id}`)
    counts[type]++
    const product = `${name}, ${category}, ${price}`
    assert.equal(products.get(id) ?? product, product)
    products.set(id, product)
    assert.ok(time > latest, 'event time goes on')
    latest = time
  }
  assert.deepEqual([...quantities].sort(), ['1', '2', '3', '4'])
  assert.ok(counts.view > counts.purchase && counts.purchase > 1_000, JSON.stringify(counts))
})

test('files are written in temp/ and moved into input/, complete by their times', async () => {
  await using shop = await folder()
  const stop = new AbortController()
  let steadyMs = 0
  const clock = {
    wallMs: () => steadyMs,
    steadyMs: () => steadyMs,
    until: async (atMs: number) => {
      steadyMs = atMs
    },
  }
  const paths: string[] = []
  const onFile = ({ path }: { path: string }) => {
    if (paths.push(path) === 3) stop.abort()
  }
  const summary = await generate(request(shop.path, { eventsPerSecond: 100, signal: stop.signal, onFile }), clock)
  assert.deepEqual(summary, { events: 150, bad: 0, duplicates: 0, files: 3 })
  assert.deepEqual(
    paths,
    [...(await filesIn(shop.path)).keys()].map((name) => join(shop.path, 'input', name)),
  )
  for (const path of paths) {
    const { mtimeMs, ctimeMs } = await stat(path)
    assert.ok(ctimeMs - mtimeMs > 900, `${path} was set back by ${ctimeMs - mtimeMs} ms`)
  }
  assert.deepEqual(await readdir(join(shop.path, 'temp')), [])
})

function request(userActivityDir: string, asked: Partial<GenerateRequest>): GenerateRequest {
  return sampleRequest({ settings: { USER_ACTIVITY_DIR: userActivityDir }, ...asked })
}

async function folder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'millrace-activity-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) }
}

async function filesIn(userActivityDir: string): Promise<Map<string, string>> {
  const input = join(userActivityDir, 'input')
  const names = (await readdir(input)).sort()
  return new Map(
    await Promise.all(names.map(async (name) => [name, await readFile(join(input, name), 'utf8')] as const)),
  )
}

function* rowsOf(files: Map<string, string>): Iterable<string[]> {
  for (const [name, text] of files) {
    const [first, ...lines] = text.split('\n')
    assert.equal(first, header)
    assert.equal(lines.pop(), '', `${name} ends with a newline`)
    for (const line of lines) yield line.split(',')
  }
}

// What is wrong with a row, in plain words.
function reasonToRefuse(fields: string[]): string | undefined {
  if (fields.length < 9) return 'a field too few'
  if (fields.length > 9) return 'a field too many'
  if (/"[^,"]+"[^,]/.test(fields.join(','))) return 'a stray quote'
  const [id = '', user = '', type = '', product = '', name = '', category = '', price = '', quantity = '', time = ''] =
    fields
  if (id === '') return 'no event_id'
  if (user === '') return 'no user_id'
  if (product === '' || name === '' || category === '') return 'no product'
  if (type !== 'view' && type !== 'purchase') return 'an unknown type of event'
  if (price === '') return 'no price'
  if (/^-\d/.test(price)) return 'a negative price'
  if (!/^\d+(\.\d+)?$/.test(price)) return 'a price that is no number'
  if (!/^\d+\.\d{2}$/.test(price)) return 'a price with three decimals'
  if (!/^\d*$/.test(quantity)) return 'a quantity that is no number'
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(time)) return 'a time that is none'
  if (type === 'purchase' && Number(quantity) < 1) return 'a purchase of nothing'
  if (type === 'view' && quantity !== '' && quantity !== '0') return 'a view with a quantity'
  return undefined
}
