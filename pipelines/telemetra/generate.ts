/** Sample chat: streams where people talk, now more and now less, and where others look on. */
import {
  type GenerateRequest,
  type GenerateSummary,
  MillraceError,
  type Generator as SampleGenerator,
  type SampleMessage,
} from 'millrace'
import { type Clock, portions, systemClock } from '../sample-pace.ts'
import { randomFrom } from '../sample-random.ts'
import { spoilt } from './spoilt.ts'
import { openStreams, type Talk } from './streams.ts'

const chatTopic = 'telemetra.events.chat'
const viewerTopic = 'telemetra.events.viewer'
const messagesEveryMs = 50
/** A sender repeats what it has just sent. */
const messagesRemembered = 100

export const generator: SampleGenerator = {
  says: 'chat and viewers of live streams, with hype, raids and quiet spells, as messages of the topics',
  options: {
    streams: { default: '8', says: 'so many streams' },
    'late-percent': { default: '0', says: 'of the messages, so many come when their windows are closed' },
  },
  run: (request) => generate(request),
}

/** Appends the messages asked for, until their number, the duration or the signal ends it. */
export async function generate(request: GenerateRequest, clock: Clock = systemClock): Promise<GenerateSummary> {
  const messages = openMessages(request)
  const [chat, viewers] = [request.topic(chatTopic), request.topic(viewerTopic)]
  const pace = { clock, everyMs: messagesEveryMs }
  let appended: Promise<unknown> = Promise.resolve()
  for await (const { events, firstMs, stepMs } of portions('telemetra', request, pace)) {
    const made = { chat: [] as SampleMessage[], viewers: [] as SampleMessage[] }
    for (let i = 0; i < events; i++) {
      const { message, isChat } = messages.next(firstMs + i * stepMs, stepMs)
      if (isChat) made.chat.push(message)
      else made.viewers.push(message)
    }
    // the next ones are made while these are on their way
    await appended
    appended = Promise.all([
      ...(made.chat.length === 0 ? [] : [chat.append(made.chat)]),
      ...(made.viewers.length === 0 ? [] : [viewers.append(made.viewers)]),
    ])
    // it is waited for a little later, and must not be called unhandled until then
    appended.catch(() => {})
  }
  await appended
  return { ...messages.counts, files: 0 }
}

interface Sent {
  message: SampleMessage
  isChat: boolean
}

// Good messages, spoilt ones, repeats and late ones, as many as were asked for.
function openMessages(request: GenerateRequest) {
  const random = randomFrom(request.seed)
  const streams = openStreams(random, wholeOption(request, 'streams', 1, 100_000))
  const latePercent = percentOption(request, 'late-percent')
  const { badPercent, duplicatePercent } = request
  const outOfOrderMs = Number(request.settings['WATERMARK_DELAY'] ?? 10_000)
  const closedAfterMs = Number(request.settings['WINDOW_DURATION'] ?? 60_000) + outOfOrderMs
  const run = `${Math.floor(random() * 36 ** 6).toString(36)}-`
  const recent: Sent[] = []
  let remembered = 0
  const counts = { events: 0, bad: 0, duplicates: 0, late: 0 }

  // Most come at once, some a little later than what is sent after them, and none later than the watermark allows.
  const timeOf = (nowMs: number): number => nowMs - (random() < 0.9 ? 0.02 : 0.8) * random() * outOfOrderMs

  function next(nowMs: number, stepMs: number): Sent {
    counts.events++
    const chance = random() * 100
    if (chance < badPercent) {
      counts.bad++
      const talk = streams.next(nowMs, stepMs)
      return sentOf(talk, spoilt(talk, timeOf(nowMs), random))
    }
    if (chance < badPercent + duplicatePercent && remembered > 0) {
      const again = recent[Math.floor(random() * Math.min(remembered, messagesRemembered))]
      if (again !== undefined) {
        counts.duplicates++
        return again
      }
    }
    const isLate = chance >= badPercent + duplicatePercent && chance < badPercent + duplicatePercent + latePercent
    if (isLate) counts.late++
    const timeMs = isLate ? nowMs - closedAfterMs - 60_000 * (1 + 4 * random()) : timeOf(nowMs)
    const talk = streams.next(nowMs, stepMs)
    const sent = sentOf(talk, valueOf(talk, timeMs, `${run}${counts.events.toString(36)}`))
    // a repeat of a late one would be late, and counted as a repeat
    if (!isLate) recent[remembered++ % messagesRemembered] = sent
    return sent
  }
  return { next, counts }
}

function sentOf(talk: Talk, value: SampleMessage['value']): Sent {
  return { message: { key: talk.stream, value }, isChat: talk.is === 'chat' }
}

// Texts and names hold nothing that JSON would escape, so that no message has to be printed character by character.
function valueOf(talk: Talk, timeMs: number, id: string): string {
  const at = Math.floor(timeMs)
  if (talk.is === 'viewers') return `{"stream_id":"${talk.stream}","viewer_count":${talk.viewers},"timestamp":${at}}`
  const { stream, user, name, text, emotes } = talk
  const named = emotes.length === 0 ? '' : `,"emotes":["${emotes.join('","')}"]`
  return `{"event_id":"${id}","stream_id":"${stream}","user_id":"${user}","username":"${name}","message":"${text}"${named},"timestamp":"${new Date(at).toISOString()}"}`
}

function wholeOption({ options }: GenerateRequest, name: string, least: number, most: number): number {
  const text = optionOf(options, name)
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= least && value <= most) return value
  throw wrong(name, text, `a whole number from ${least} to ${most}`)
}

function percentOption({ options }: GenerateRequest, name: string): number {
  const text = optionOf(options, name)
  const value = Number(text)
  if (/^\d+(\.\d+)?$/.test(text) && value <= 100) return value
  throw wrong(name, text, 'a number from 0 to 100')
}

function optionOf(options: Record<string, string>, name: string): string {
  return options[name] ?? generator.options?.[name]?.default ?? ''
}

function wrong(name: string, text: string, which: string): MillraceError {
  return new MillraceError('WRONG_USAGE', { at: `--${name}`, message: `"${text}" is not ${which}` })
}
