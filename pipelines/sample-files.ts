/**
 * Sample data takes the road of a user's own files: written in `temp/`, and moved into the watched folder when whole, as
 * many and as often as was asked.
 */
import { link, mkdir, mkdtemp, open, rename, rm, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type GeneratedFile, type GenerateRequest, type GenerateSummary, MillraceError } from 'millrace'

const usualEventsPerSecond = 10
const fileEveryMs = 500
const rowsAtOnce = 10_000

export interface Samples {
  pipeline: string
  /** The variable that names the system's folder. */
  folder: string
  /** The watched folder in it. */
  into: string
  /** What the files' names begin with. */
  name: string
  columns: string[]
  open(request: GenerateRequest): Promise<Rows>
}

export interface Rows {
  next(portion: Portion): { text: string; events: number; bad: number; duplicates: number }
}

/** Rows that follow each other at an even step of event time. */
export interface Portion {
  events: number
  firstMs: number
  stepMs: number
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
export async function writeSamples(
  samples: Samples,
  request: GenerateRequest,
  clock = systemClock,
): Promise<GenerateSummary> {
  const rows = await samples.open(request)
  const files =
    request.to === undefined ? droppedFiles(samples, request, rows, clock) : oneFile(request.to, samples, request, rows)
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

async function* droppedFiles(
  samples: Samples,
  request: GenerateRequest,
  rows: Rows,
  clock: Clock,
): AsyncGenerator<GeneratedFile> {
  const folder = String(request.settings[samples.folder])
  const watched = join(folder, samples.into)
  const temp = join(folder, 'temp')
  await mkdir(watched, { recursive: true })
  await mkdir(temp, { recursive: true })
  const desk = await mkdtemp(join(temp, 'run-'))
  try {
    let sequence = 0
    for await (const portion of portions(samples, request, clock)) {
      const { text, ...counts } = rows.next(portion)
      const time = new Date(portion.firstMs).toISOString().replace(/[-:.]/g, '')
      const name = `${samples.name}_${time}_${String(sequence).padStart(6, '0')}`
      const written = join(desk, `${name}.csv`)
      const bytes = await write(written, [headerOf(samples), text])
      yield { path: await publish(written, watched, name), ...counts, bytes }
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

async function* oneFile(
  path: string,
  samples: Samples,
  request: GenerateRequest,
  rows: Rows,
): AsyncGenerator<GeneratedFile> {
  const written = join(dirname(path), `.${basename(path)}.${process.pid}`)
  const counts = { events: 0, bad: 0, duplicates: 0 }
  function* texts() {
    yield headerOf(samples)
    for (const portion of atOnce(samples, request)) {
      const { text, events, bad, duplicates } = rows.next(portion)
      counts.events += events
      counts.bad += bad
      counts.duplicates += duplicates
      yield text
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

function headerOf({ columns }: Samples): string {
  return `${columns.join(',')}\n`
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

function portions(
  samples: Samples,
  request: GenerateRequest,
  clock: Clock,
): Iterable<Portion> | AsyncIterable<Portion> {
  return rateOf(request) === undefined ? atOnce(samples, request) : paced(request, clock)
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

function* atOnce({ pipeline }: Samples, request: GenerateRequest): Iterable<Portion> {
  const { signal, live, startTime } = request
  const stepMs = 1000 / (rateOf(request) ?? 1000)
  const limit = limitOf(request)
  if (limit === Infinity) {
    throw new MillraceError('WRONG_USAGE', {
      message: 'a single file needs an end',
      at: `generate ${pipeline} --to`,
      hint: 'add --count N, or --duration S',
    })
  }
  // Rows made in a moment can not all be of now: the last one is, and none is of the future.
  const firstMs = startTime.getTime() - (live ? limit * stepMs : 0)
  for (let made = 0; made < limit && !signal.aborted; made += rowsAtOnce) {
    yield { events: Math.min(rowsAtOnce, limit - made), firstMs: firstMs + made * stepMs, stepMs }
  }
}
