/**
 * Sample traffic of a shop: visitors who look at products, put some in a cart, and sometimes buy. It takes the road of a
 * user's own files: written in `temp/`, and moved into `raw/` when whole.
 */
import { link, mkdir, mkdtemp, open, rename, rm, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Faker } from '@faker-js/faker'
import { type GeneratedFile, type GenerateRequest, type GenerateSummary, type Generator, MillraceError } from 'millrace'

const header = 'event_id,user_id,event_type,product_id,price,event_timestamp\n'
const usualEventsPerSecond = 10
const fileEveryMs = 500
const rowsAtOnce = 10_000
const products = 500
const users = 20_000
const visitsAtATime = 32

export const shopTraffic: Generator = {
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

/** Writes the files that are asked for, until their number, the duration or the signal ends it. */
export async function generate(request: GenerateRequest, clock: Clock): Promise<GenerateSummary> {
  const shop = await openShop(request)
  const summary: GenerateSummary = { events: 0, bad: 0, duplicates: 0, files: 0 }
  const record = async (file: GeneratedFile) => {
    summary.events += file.events
    summary.bad += file.bad
    summary.duplicates += file.duplicates
    summary.files += 1
    await request.onFile(file)
  }
  if (request.to === undefined) await dropFiles(String(request.settings['SHOP_EVENTS_DIR']), shop, request, clock, record)
  else await writeOneFile(request.to, shop, request, record)
  return summary
}

// How much, and when

/** Events that follow each other at an even step of event time. */
interface Portion {
  events: number
  firstMs: number
  stepMs: number
}

function portions(request: GenerateRequest, clock: Clock): Iterable<Portion> | AsyncIterable<Portion> {
  const { count, eventsPerSecond, durationSeconds } = request
  if (eventsPerSecond === undefined && count !== undefined) return allAtOnce(request, count, 1)
  const rate = eventsPerSecond ?? usualEventsPerSecond
  const inDuration = durationSeconds === undefined ? Infinity : eventsBy(rate, durationSeconds * 1000)
  return paced(request, rate, Math.min(count ?? Infinity, inDuration), clock)
}

async function* paced(request: GenerateRequest, rate: number, limit: number, clock: Clock): AsyncIterable<Portion> {
  const { signal, live, startTime } = request
  const startedMs = clock.steadyMs()
  const stepMs = 1000 / rate
  let firstEventMs = startTime.getTime()
  let made = 0
  for (let tick = 1; made < limit; tick++) {
    // Each file is due at a multiple since the start, so that a late one delays none after it.
    await clock.until(startedMs + tick * fileEveryMs, signal)
    if (signal.aborted) return
    // While a computer sleeps the steady clock may stand still, but what is now moves on.
    const driftMs = clock.wallMs() - (clock.steadyMs() - startedMs) - firstEventMs
    if (live && Math.abs(driftMs) > 1000) firstEventMs += driftMs
    const due = Math.min(limit, eventsBy(rate, tick * fileEveryMs))
    if (due > made) yield { events: due - made, firstMs: firstEventMs + made * stepMs, stepMs }
    made = due
  }
}

function* allAtOnce(request: GenerateRequest, count: number, stepMs: number): Iterable<Portion> {
  const { live, startTime, signal } = request
  const firstMs = startTime.getTime() - (live ? count * stepMs : 0)
  for (let made = 0; made < count && !signal.aborted; made += rowsAtOnce) {
    yield { events: Math.min(rowsAtOnce, count - made), firstMs: firstMs + made * stepMs, stepMs }
  }
}

// The small addition keeps 0.29 × 100 from being 28.
function eventsBy(rate: number, elapsedMs: number): number {
  return Math.floor((rate * elapsedMs) / 1000 + 1e-6)
}

// Where it goes

type Record = (file: GeneratedFile) => Promise<void>

async function dropFiles(folder: string, shop: Shop, request: GenerateRequest, clock: Clock, record: Record) {
  const raw = join(folder, 'raw')
  await mkdir(raw, { recursive: true })
  await mkdir(join(folder, 'temp'), { recursive: true })
  const desk = await mkdtemp(join(folder, 'temp', 'run-'))
  let sequence = 0
  try {
    for await (const portion of portions(request, clock)) {
      const { text, ...counts } = shop.rows(portion)
      const written = join(desk, 'next.csv')
      const bytes = await writeWhole(written, [text])
      const time = new Date(portion.firstMs).toISOString().replace(/[-:.]/g, '')
      const path = await publish(written, raw, `events_${time}_${String(sequence++).padStart(6, '0')}`)
      await record({ path, ...counts, bytes })
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

async function writeOneFile(path: string, shop: Shop, request: GenerateRequest, record: Record) {
  const { eventsPerSecond, durationSeconds, signal } = request
  const rate = eventsPerSecond ?? (request.count === undefined ? usualEventsPerSecond : 1000)
  const inDuration = durationSeconds === undefined ? undefined : eventsBy(rate, durationSeconds * 1000)
  const count = request.count ?? inDuration
  if (count === undefined) {
    throw new MillraceError('WRONG_USAGE', {
      message: 'a single file needs an end',
      at: 'generate shop-events --to',
      hint: 'add --count N, or --duration S',
    })
  }
  const counts = { events: 0, bad: 0, duplicates: 0 }
  function* texts() {
    yield header
  }
  await mkdir(dirname(path), { recursive: true })
}
