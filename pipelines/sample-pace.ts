/** How many events a generator makes, of what time, and when: paced by a clock, or all at once. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type GenerateRequest, MillraceError } from 'millrace'

const usualEventsPerSecond = 10
/** Of events that are made at once and have no duration. */
const eventsPerSecondAtOnce = 1000
const eventsAtOnce = 10_000

/** Events that follow each other at an even step of event time. */
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

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  steadyMs: () => performance.now(),
  async until(steadyMs, signal) {
    await sleep(Math.max(0, steadyMs - performance.now()), undefined, { signal }).catch((error: unknown) => {
      if (!signal.aborted) throw error
    })
  },
}

/** The portions asked for: at the rate of the request, so often, or at once where it is a file, or a number without a rate. */
export function portions(
  pipeline: string,
  request: GenerateRequest,
  pace: { clock: Clock; everyMs: number },
): Iterable<Portion> | AsyncIterable<Portion> {
  const isAtOnce = request.to !== undefined || rateOf(request) === undefined
  return isAtOnce ? atOnce(pipeline, request) : paced(request, pace)
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

async function* paced(
  request: GenerateRequest,
  { clock, everyMs }: { clock: Clock; everyMs: number },
): AsyncGenerator<Portion> {
  const { signal, live, startTime } = request
  const rate = rateOf(request) ?? usualEventsPerSecond
  const limit = limitOf(request)
  const stepMs = 1000 / rate
  const startedMs = clock.steadyMs()
  let firstEventMs = startTime.getTime()
  let made = 0
  for (let tick = 1; made < limit; tick++) {
    // Every portion is due at a multiple since the start, so a late one delays none after it.
    await clock.until(startedMs + tick * everyMs, signal)
    if (signal.aborted) return
    // While a computer sleeps the steady clock may stand still, but what is now moves on.
    const behindMs = clock.wallMs() - (clock.steadyMs() - startedMs) - firstEventMs
    if (live && Math.abs(behindMs) > 1000) firstEventMs += behindMs
    const due = Math.min(limit, eventsBy(rate, tick * everyMs))
    if (due > made) yield { events: due - made, firstMs: firstEventMs + made * stepMs, stepMs }
    made = due
  }
}

/** Everything at once. A number and a duration without a rate: so many events, spread over so long. */
export function* atOnce(pipeline: string, request: GenerateRequest): Iterable<Portion> {
  const { signal, live, startTime, count, durationSeconds } = request
  const spread = count === undefined || durationSeconds === undefined ? undefined : count / durationSeconds
  const stepMs = 1000 / (rateOf(request) ?? spread ?? eventsPerSecondAtOnce)
  const limit = limitOf(request)
  if (limit === Infinity) {
    throw new MillraceError('WRONG_USAGE', {
      message: 'a single file needs an end',
      at: `generate ${pipeline} --to`,
      hint: 'add --count N, or --duration S',
    })
  }
  // Events made in a moment can not all be of now: the last one is, and none is of the future.
  const firstMs = startTime.getTime() - (live ? limit * stepMs : 0)
  for (let made = 0; made < limit && !signal.aborted; made += eventsAtOnce) {
    yield { events: Math.min(eventsAtOnce, limit - made), firstMs: firstMs + made * stepMs, stepMs }
  }
}
