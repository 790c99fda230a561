/**
 * Sample traffic of a shop: visitors who look at products, put some in a cart, and sometimes buy. It takes the road of a
 * user's own files: written in `temp/`, and moved into `raw/` when whole.
 */
import { link, mkdir, mkdtemp, open, rename, rm, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Faker, Randomizer } from '@faker-js/faker'
import {
  type Generator as EventGenerator,
  type GeneratedFile,
  type GenerateRequest,
  type GenerateSummary,
  MillraceError,
} from 'millrace'

const header = 'event_id,user_id,event_type,product_id,price,event_timestamp\n'
const usualEventsPerSecond = 10
const fileEveryMs = 500
const rowsAtOnce = 10_000

export const generator: EventGenerator = {
  says: 'visitors of a shop who view products, add some to a cart and buy some, as CSV files in SHOP_EVENTS_DIR/raw',
  run: (request) => generate(request, systemClock),
}

export interface Clock {
  wallMs(): number
  /** Only ever goes forward, at an even pace. */
  steadyMs(): number
  /** Resolves at that time of the steady clock, or when the signal fires. */
  until(steadyMs: number, signal: AbortSignal): Promise<void>
}

const systemClock: Clock = {
  wallMs: () => Date.now(),
  steadyMs: () => performance.now(),
  async until(steadyMs, signal) {
    await sleep(Math.max(0, steadyMs - performance.now()), undefined, { signal }).catch((error: unknown) => {
      if (!signal.aborted) throw error
    })
  },
}

/** Writes the files asked for, until their number, the duration or the signal ends it. */
export async function generate(request: GenerateRequest, clock: Clock): Promise<GenerateSummary> {
  const shop = await openShop(request)
  const files = request.to === undefined ? droppedFiles(request, shop, clock) : oneFile(request.to, request, shop)
  const summary: GenerateSummary = { events: 0, bad: 0, duplicates: 0, files: 0 }
  for await (const file of files) {
    summary.events += file.events
    summary.bad += file.bad
    summary.duplicates += file.duplicates
    summary.files += 1
    await request.onFile(file)
  }
  return summary
}

// Where the rows go

async function* droppedFiles(request: GenerateRequest, shop: Shop, clock: Clock): AsyncGenerator<GeneratedFile> {
  const folder = String(request.settings['SHOP_EVENTS_DIR'])
  const raw = join(folder, 'raw')
  const temp = join(folder, 'temp')
  await mkdir(raw, { recursive: true })
  await mkdir(temp, { recursive: true })
  const desk = await mkdtemp(join(temp, 'run-'))
  try {
    let sequence = 0
    for await (const portion of portions(request, clock)) {
      const { text, ...counts } = shop.rows(portion)
      const time = new Date(portion.firstMs).toISOString().replace(/[-:.]/g, '')
      const name = `events_${time}_${String(sequence).padStart(6, '0')}`
      const written = join(desk, `${name}.csv`)
      const bytes = await write(written, [header, text])
      yield { path: await publish(written, raw, name), ...counts, bytes }
      sequence++
    }
  } finally {
    await rm(desk, { recursive: true, force: true })
  }
}

// A link is refused where the name is taken; a rename would replace what another generator has dropped there.
async function publish(written: string, folder: string, name: string): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    const path = join(folder, attempt === 1 ? `${name}.csv` : `${name}_${attempt}.csv`)
    try {
      await link(written, path)
      await unlink(written)
      return path
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    }
  }
}

async function* oneFile(path: string, request: GenerateRequest, shop: Shop): AsyncGenerator<GeneratedFile> {
  const written = join(dirname(path), `.${basename(path)}.${process.pid}`)
  const counts = { events: 0, bad: 0, duplicates: 0 }
  function* texts() {
    yield header
    for (const portion of atOnce(request)) {
      const rows = shop.rows(portion)
      counts.events += rows.events
      counts.bad += rows.bad
      counts.duplicates += rows.duplicates
      yield rows.text
    }
  }
  await mkdir(dirname(path), { recursive: true })
  try {
    const bytes = await write(written, texts())
    if (request.signal.aborted) return
    await rename(written, path)
    yield { path, ...counts, bytes }
  } finally {
    await rm(written, { force: true })
  }
}

async function write(path: string, texts: Iterable<string>): Promise<number> {
  let bytes = 0
  await using file = await open(path, 'w')
  for (const text of texts) {
    await file.appendFile(text)
    bytes += Buffer.byteLength(text)
  }
  // A file whose times were set back is complete when it appears: nobody has to wait and see whether it still grows.
  const aSecondAgo = Date.now() / 1000 - 1
  await file.utimes(aSecondAgo, aSecondAgo)
  return bytes
}

// How many rows, and of what time

/** Rows that follow each other at an even step of event time. */
interface Portion {
  events: number
  firstMs: number
  stepMs: number
}

function portions(request: GenerateRequest, clock: Clock): Iterable<Portion> | AsyncIterable<Portion> {
  return rateOf(request) === undefined ? atOnce(request) : paced(request, clock)
}

// A number of events without a rate is written as fast as it can be.
function rateOf({ eventsPerSecond, count }: GenerateRequest): number | undefined {
  return eventsPerSecond ?? (count === undefined ? usualEventsPerSecond : undefined)
}

function limitOf(request: GenerateRequest): number {
  const { count = Infinity, durationSeconds } = request
  const rate = rateOf(request)
  if (rate === undefined || durationSeconds === undefined) return count
  return Math.min(count, eventsBy(rate, durationSeconds * 1000))
}

// The small addition keeps 0.29 a second from making 28 in 100 seconds.
function eventsBy(eventsPerSecond: number, elapsedMs: number): number {
  return Math.floor((eventsPerSecond * elapsedMs) / 1000 + 1e-6)
}

async function* paced(request: GenerateRequest, clock: Clock): AsyncGenerator<Portion> {
  const { signal, live, startTime } = request
  const rate = rateOf(request) ?? usualEventsPerSecond
  const limit = limitOf(request)
  const stepMs = 1000 / rate
  const startedMs = clock.steadyMs()
  let firstEventMs = startTime.getTime()
  let made = 0
  for (let tick = 1; made < limit; tick++) {
    // Every file is due at a multiple since the start, so a late one delays none after it.
    await clock.until(startedMs + tick * fileEveryMs, signal)
    if (signal.aborted) return
    // While a computer sleeps the steady clock may stand still, but what is now moves on.
    const behindMs = clock.wallMs() - (clock.steadyMs() - startedMs) - firstEventMs
    if (live && Math.abs(behindMs) > 1000) firstEventMs += behindMs
    const due = Math.min(limit, eventsBy(rate, tick * fileEveryMs))
    if (due > made) yield { events: due - made, firstMs: firstEventMs + made * stepMs, stepMs }
    made = due
  }
}

function* atOnce(request: GenerateRequest): Iterable<Portion> {
  const { signal, live, startTime } = request
  const stepMs = 1000 / (rateOf(request) ?? 1000)
  const limit = limitOf(request)
  if (limit === Infinity) {
    throw new MillraceError('WRONG_USAGE', {
      message: 'a single file needs an end',
      at: 'generate shop-events --to',
      hint: 'add --count N, or --duration S',
    })
  }
  // Rows made in a moment can not all be of now: the last one is, and none is of the future.
  const firstMs = startTime.getTime() - (live ? limit * stepMs : 0)
  for (let made = 0; made < limit && !signal.aborted; made += rowsAtOnce) {
    yield { events: Math.min(rowsAtOnce, limit - made), firstMs: firstMs + made * stepMs, stepMs }
  }
}

// What the rows say

interface Shop {
  rows(portion: Portion): { text: string; events: number; bad: number; duplicates: number }
}

/** The fields in the order of the header. None holds a comma or a quote, so none needs quoting. */
type Row = string[]
const column = { event_id: 0, event_type: 2, price: 4, event_timestamp: 5 } as const

/** Each breaks one rule, so that every reason for a dead letter is met. */
const faults: ((row: Row) => Row)[] = [
  (row) => row.with(column.event_id, ''),
  (row) => row.with(column.event_type, 'refund'),
  (row) => row.with(column.price, `-${row[column.price]}`),
  (row) => row.with(column.price, `${row[column.price]}5`),
  (row) => row.with(column.price, 'free'),
  (row) => row.with(column.event_timestamp, '31/12/2025 23:59'),
  (row) => row.slice(0, -1),
  (row) => [...row, 'web'],
]

async function openShop({ seed, badPercent, duplicatePercent }: GenerateRequest): Promise<Shop> {
  // Loaded here, for it takes 0.2 s and only this verb needs it.
  const { Faker, en, generateMersenne53Randomizer } = await import('@faker-js/faker')
  const random = generateMersenne53Randomizer(seed)
  const faker = new Faker({ locale: en, randomizer: random })
  const catalogue = openCatalogue(faker)
  const steps = traffic(faker, catalogue)
  const recent: Row[] = []
  const rowsRemembered = 10_000
  let goodRows = 0

  function rows({ events, firstMs, stepMs }: Portion) {
    const lines: string[] = []
    const counts = { events, bad: 0, duplicates: 0 }
    for (let i = 0; i < events; i++) {
      const timeMs = firstMs + i * stepMs
      const chance = random.next() * 100
      let row: Row
      if (chance < badPercent) {
        // Not a step of a visit: it never lands, and a cart could be left without its view.
        const fault = faker.helpers.arrayElement(faults)
        row = fault(rowOf(passerBy(faker, catalogue), timeMs, random))
        counts.bad++
      } else if (chance < badPercent + duplicatePercent && goodRows > 0) {
        // The sender stamps what it sends again with the time of sending, so that one can see which of the two was kept.
        row = faker.helpers.arrayElement(recent).with(column.event_timestamp, isoTime(timeMs))
        counts.duplicates++
      } else {
        row = rowOf(steps.next().value, timeMs, random)
        recent[goodRows++ % rowsRemembered] = row
      }
      lines.push(row.join(','))
    }
    return { text: `${lines.join('\n')}\n`, ...counts }
  }
  return { rows }
}

interface Product {
  id: string
  price: string
}

interface Catalogue {
  all: Product[]
  bestsellers: Product[]
}

interface Step {
  user: string
  type: 'view' | 'add_to_cart' | 'purchase'
  product: Product
}

function openCatalogue(faker: Faker): Catalogue {
  const all = Array.from({ length: 500 }, (_, i) => ({
    id: `prod_${String(i + 1).padStart(5, '0')}`,
    price: faker.commerce.price({ min: 1, max: 500 }),
  }))
  return { all, bestsellers: faker.helpers.arrayElements(all, 25) }
}

/** The steps of some visitors who are in the shop at the same time, for ever. */
function* traffic(faker: Faker, catalogue: Catalogue): Generator<Step, never> {
  const visits = Array.from({ length: 32 }, () => visit(faker, catalogue))
  for (;;) {
    const i = faker.number.int(visits.length - 1)
    const step = visits[i]?.next()
    if (step?.done === false) yield step.value
    else visits[i] = visit(faker, catalogue)
  }
}

/** One visitor: looks at some products, puts some of them in the cart, and buys the cart or leaves it. */
function* visit(faker: Faker, catalogue: Catalogue): Generator<Step, void> {
  const user = someUser(faker)
  const cart: Product[] = []
  for (let looks = faker.number.int({ min: 1, max: 6 }); looks > 0; looks--) {
    const product = someProduct(faker, catalogue)
    yield { user, type: 'view', product }
    if (faker.datatype.boolean(0.2)) yield { user, type: 'view', product }
    if (faker.datatype.boolean(0.3)) {
      cart.push(product)
      yield { user, type: 'add_to_cart', product }
    }
  }
  if (faker.datatype.boolean(0.45)) for (const product of cart) yield { user, type: 'purchase', product }
}

function passerBy(faker: Faker, catalogue: Catalogue): Step {
  return { user: someUser(faker), type: 'view', product: someProduct(faker, catalogue) }
}

function someUser(faker: Faker): string {
  return `user_${String(faker.number.int({ min: 1, max: 20_000 })).padStart(6, '0')}`
}

function someProduct(faker: Faker, { all, bestsellers }: Catalogue): Product {
  return faker.helpers.arrayElement(faker.datatype.boolean(0.5) ? bestsellers : all)
}

function rowOf({ user, type, product }: Step, timeMs: number, random: Randomizer): Row {
  return [uuid(timeMs, random), user, type, product.id, product.price, isoTime(timeMs)]
}

function isoTime(timeMs: number): string {
  return new Date(timeMs).toISOString()
}

// Version 7: it begins with the time, so that the unique index of a table grows at its end.
function uuid(timeMs: number, random: Randomizer): string {
  // Six digits at a time: whole numbers of 31 bits are much faster to print than longer ones.
  const hex = (value: number) => Math.floor(value).toString(16).padStart(6, '0')
  const sixRandom = () => hex(random.next() * 0x1000000)
  const time = hex(timeMs / 0x1000000) + hex(timeMs % 0x1000000)
  const middle = sixRandom()
  return `${time.slice(0, 8)}-${time.slice(8)}-7${middle.slice(0, 3)}-8${middle.slice(3)}-${sixRandom()}${sixRandom()}`
}
