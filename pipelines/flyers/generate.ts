/** Sample traffic of flyers: as messages of the topic, or as a file of JSON lines or CSV. */
import {
  type GenerateRequest,
  type GenerateSummary,
  MillraceError,
  type Generator as SampleGenerator,
  type SampleMessage,
} from 'millrace'
import { type Samples, writeSamples } from '../sample-files.ts'
import { type Clock, type Portion, portions, systemClock } from '../sample-pace.ts'
import { randomFrom } from '../sample-random.ts'
import { type FlyerEvent, openReaders } from './readers.ts'

export const flyersTopic = 'flyers.events'
const eventsEveryMs = 50
const eventsRemembered = 1000
/** Of the events, so many are handed in after some that came later. */
const outOfOrder = 0.1

export const generator: SampleGenerator = {
  says: 'readers who open and close flyers of merchants, out of order, some twice and some never',
  options: {
    users: { default: '1000', says: 'so many readers' },
    flyers: { default: '200', says: 'so many flyers' },
    merchants: { default: '20', says: 'of so many merchants' },
  },
  run: (request) => generate(request),
}

const columns = ['timestamp', 'user_id', 'event', 'flyer_id', 'merchant_id'] as const

/** Hands in the events asked for, until their number, the duration or the signal ends it. */
export async function generate(request: GenerateRequest, clock: Clock = systemClock): Promise<GenerateSummary> {
  if (request.to !== undefined) return await writeSamples(samplesFor(request.to), request, clock)
  const events = openEvents(request)
  const topic = request.topic(flyersTopic)
  let appended: Promise<void> = Promise.resolve()
  for await (const portion of portions('flyers', request, { clock, everyMs: eventsEveryMs })) {
    const messages = events.next(portion).map(messageOf)
    // the next ones are made while these are on their way
    await appended
    appended = topic.append(messages)
    // it is waited for a little later, and must not be called unhandled until then
    appended.catch(() => {})
  }
  await appended
  return { ...events.counts, files: 0 }
}

// What is sent again with the same bytes is the same event.
function messageOf(event: Partial<FlyerEvent>): SampleMessage {
  return { key: event.user_id ?? '', value: JSON.stringify(event) }
}

// A line each: of JSON, or of CSV where the file is called so.
function samplesFor(path: string): Samples {
  const isCsv = /\.csv$/i.test(path)
  const lineOf = (event: Partial<FlyerEvent>): string =>
    isCsv ? columns.map((column) => event[column] ?? '').join(',') : JSON.stringify(event)
  return {
    pipeline: 'flyers',
    folder: '',
    into: '',
    name: 'flyers',
    columns: isCsv ? [...columns] : [],
    async open(request) {
      const events = openEvents(request)
      return {
        next(portion) {
          const before = { ...events.counts }
          const text = events
            .next(portion)
            .map((event) => `${lineOf(event)}\n`)
            .join('')
          const { bad, duplicates } = events.counts
          return {
            text,
            events: portion.events,
            bad: bad - before.bad,
            duplicates: duplicates - before.duplicates,
          }
        },
      }
    },
  }
}

const faults: ((event: FlyerEvent) => Partial<FlyerEvent>)[] = [
  (event) => ({ ...event, timestamp: 'yesterday' }),
  (event) => ({ ...event, user_id: '' }),
  ({ timestamp, ...event }) => event,
  (event) => ({ ...event, event: 'flyer_open', flyer_id: '' }),
]

// As many as were asked for: good ones, spoilt ones, and ones that were sent before.
function openEvents(request: GenerateRequest) {
  const random = randomFrom(request.seed)
  const readers = openReaders(random, {
    users: wholeOption(request, 'users'),
    flyers: wholeOption(request, 'flyers'),
    merchants: wholeOption(request, 'merchants'),
  })
  const { badPercent, duplicatePercent } = request
  const recent: FlyerEvent[] = []
  let made = 0
  const counts = { events: 0, bad: 0, duplicates: 0 }

  function one(timeMs: number, stepMs: number): Partial<FlyerEvent> {
    counts.events++
    const chance = random() * 100
    if (chance < badPercent) {
      counts.bad++
      const fault = faults[Math.floor(random() * faults.length)]
      const event = { timestamp: new Date(timeMs).toISOString(), user_id: 'user-1', event: 'flyer_close' }
      return fault?.({ ...event, flyer_id: 'flyer-1', merchant_id: 'merchant-1' }) ?? {}
    }
    if (chance < badPercent + duplicatePercent && made > 0) {
      const again = recent[Math.floor(random() * Math.min(made, eventsRemembered))]
      if (again !== undefined) {
        counts.duplicates++
        return again
      }
    }
    const event = readers.next(timeMs, stepMs)
    recent[made++ % eventsRemembered] = event
    return event
  }

  function next({ events, firstMs, stepMs }: Portion): Partial<FlyerEvent>[] {
    const rows: Partial<FlyerEvent>[] = []
    for (let i = 0; i < events; i++) {
      rows.push(one(firstMs + i * stepMs, stepMs))
      if (random() >= outOfOrder) continue
      const other = Math.max(0, i - Math.floor(random() * 100))
      const [a, b] = [rows[i], rows[other]]
      if (a !== undefined && b !== undefined) [rows[i], rows[other]] = [b, a]
    }
    return rows
  }
  return { next, counts }
}

function wholeOption({ options }: GenerateRequest, name: string): number {
  const text = options[name] ?? generator.options?.[name]?.default ?? ''
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= 1 && value <= 1e9) return value
  throw new MillraceError('WRONG_USAGE', {
    at: `--${name}`,
    message: `"${text}" is not a whole number from 1 to 1,000,000,000`,
  })
}
