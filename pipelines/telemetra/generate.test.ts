import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { GenerateRequest, SampleMessage } from 'millrace'
import type { Clock } from '../sample-pace.ts'
import { sampleRequest } from '../sample-request.ts'
import { generate, generator } from './generate.ts'

const start = Date.parse('2026-01-01T00:00:00Z')
const settings = { WINDOW_DURATION: 60_000, WATERMARK_DELAY: 10_000 }

interface Sent extends SampleMessage {
  topic: string
}

interface Chat {
  stream_id: string
  user_id: string
  message: string
  emotes?: string[]
  timestamp: string
}

/** What is appended for a request, in the order of each topic. */
async function made(asked: Partial<GenerateRequest>, clock?: Clock) {
  const sent: Sent[] = []
  const sizes: number[] = []
  const summary = await generate(
    sampleRequest({
      settings,
      ...asked,
      topic: (topic) => ({
        append: async (messages) => {
          sizes.push(messages.length)
          for (const message of messages) sent.push({ topic, ...message })
        },
      }),
    }),
    clock,
  )
  const of = (kind: string) => sent.filter(({ topic }) => topic === `telemetra.events.${kind}`)
  return { chat: of('chat'), viewers: of('viewer'), summary, sizes }
}

const parsed = (sent: Sent[]): Chat[] => sent.map(({ value }) => JSON.parse(String(value)))

test('the same seed makes the same bytes, at once or paced, and another seed others', async () => {
  const spoilt = { badPercent: 5, duplicatePercent: 2, options: { 'late-percent': '3' } }
  const one = await made({ count: 12_000, ...spoilt })
  const again = await made({ count: 12_000, ...spoilt })
  const paced = await made({ count: 12_000, eventsPerSecond: 1000, ...spoilt }, fakeClock())
  assert.deepEqual(again, one)
  assert.deepEqual([paced.chat, paced.viewers, paced.summary], [one.chat, one.viewers, one.summary])
  assert.notDeepEqual((await made({ count: 12_000, ...spoilt, seed: 2 })).chat, one.chat)
})

test('every message is keyed by its stream, of which there are as many as asked for, and all say something', async () => {
  for (const streams of ['1', '8', '40']) {
    const { chat, viewers, summary } = await made({ count: 20_000, durationSeconds: 1000, options: { streams } })
    assert.deepEqual(summary, { events: 20_000, bad: 0, duplicates: 0, late: 0, files: 0 })
    for (const { key, value } of [...chat, ...viewers]) assert.equal(JSON.parse(String(value)).stream_id, key)
    for (const sent of [chat, viewers]) assert.equal(new Set(sent.map(({ key }) => key)).size, Number(streams))
  }
})

test('the viewers of each stream come every five seconds, but never as more than a quarter of all messages', async () => {
  const { viewers } = await made({ count: 20_000, durationSeconds: 1000 })
  assert.ok(Math.abs(viewers.length - (8 * 1000) / 5) < 20, `${viewers.length}`)
  const many = await made({ count: 2_000, durationSeconds: 1000, options: { streams: '100' } })
  assert.ok(many.viewers.length > 400 && many.viewers.length <= 505, `${many.viewers.length}`)
})

test('a few seconds of disorder stay within the watermark; late messages come when all their windows are closed', async () => {
  const nowMs = (i: number): number => start + i * 100
  const inOrder = await made({ count: 10_000, eventsPerSecond: undefined, durationSeconds: 1000 })
  let newest = 0
  let outOfOrder = 0
  for (const { timestamp } of parsed(inOrder.chat)) {
    const time = Date.parse(timestamp)
    assert.ok(time > newest - settings.WATERMARK_DELAY)
    if (time < newest) outOfOrder++
    newest = Math.max(newest, time)
  }
  assert.ok(newest <= nowMs(10_000), 'none is of the future')
  assert.ok(outOfOrder > 500, `${outOfOrder} out of order`)
  const { chat, viewers, summary } = await made({
    count: 10_000,
    durationSeconds: 1000,
    options: { 'late-percent': '5' },
  })
  let late = 0
  for (const sent of [chat, viewers]) {
    let latest = 0
    for (const { timestamp } of parsed(sent)) {
      const time = new Date(timestamp).getTime()
      if (time + settings.WINDOW_DURATION <= latest - settings.WATERMARK_DELAY) late++
      latest = Math.max(latest, time)
    }
  }
  // the very first may have nothing before them that they could be late to
  assert.ok(Math.abs(late - (summary.late ?? 0)) <= 5 && late > 400, `${late} of ${summary.late}`)
})

test('as many messages are bad or repeated as was asked, and every way to be bad is met', async () => {
  const { chat, viewers, summary } = await made({
    count: 40_000,
    durationSeconds: 4000,
    badPercent: 10,
    duplicatePercent: 5,
  })
  const seen = new Set<string>()
  const reasons: Record<string, number> = {}
  let duplicates = 0
  for (const { value } of [...chat, ...viewers]) {
    const reason = reasonToRefuse(value)
    if (reason !== undefined) reasons[reason] = (reasons[reason] ?? 0) + 1
    else if (String(value).includes('event_id') && seen.has(String(value))) duplicates++
    else seen.add(String(value))
  }
  const bad = Object.values(reasons).reduce((sum, n) => sum + n, 0)
  assert.equal(bad, summary.bad)
  assert.ok(Math.abs(bad - 4_000) < 250, `${bad} bad`)
  assert.ok(Math.abs(summary.duplicates - 2_000) < 200 && duplicates > 1_500, `${duplicates} of ${summary.duplicates}`)
  assert.deepEqual(
    Object.keys(reasons).sort(),
    [
      'a list that is none',
      'a missing field',
      'a number that is none',
      'a time that is none',
      'an empty field',
      'an object for a text',
      'below 0',
      'more than an object, or less',
      'nested too deep',
      'no JSON',
      'no object',
      'no text',
      'no value',
    ].sort(),
  )
})

test('streams have their hours: hype, quiet, and raids that bring many new people and their eyes', async () => {
  const { chat, viewers } = await made({ count: 120_000, durationSeconds: 7200 })
  const perMinute = new Map<string, number[]>()
  for (const { stream_id, timestamp } of parsed(chat)) {
    const minutes = perMinute.get(stream_id) ?? new Array<number>(121).fill(0)
    perMinute.set(stream_id, minutes)
    const minute = Math.max(0, Math.floor((Date.parse(timestamp) - start) / 60_000))
    minutes[minute] = (minutes[minute] ?? 0) + 1
  }
  for (const [stream, minutes] of perMinute) {
    const sorted = minutes.slice(0, 120).sort((a, b) => a - b)
    const [middle = 0, most = 0, least = 0] = [sorted[60], sorted.at(-2), sorted[1]]
    assert.ok(most > 2.5 * middle && least < middle / 2, `${stream}: from ${least} by ${middle} to ${most}`)
  }
  const jumps = [...Map.groupBy(viewers, ({ key }) => key).values()].map((sent) => {
    const counts = sent.map(({ value }): number => JSON.parse(String(value)).viewer_count)
    return Math.max(...counts.map((count, i) => count / (counts[i - 1] ?? count)))
  })
  assert.ok(
    jumps.some((jump) => jump > 1.4),
    `${jumps}`,
  )
  assert.ok(parsed(chat).some(({ message }) => message === 'hello from the raid'))
})

test('a rate is kept by the clock, in messages every twentieth of a second', async () => {
  const { summary, sizes } = await made({ eventsPerSecond: 100, durationSeconds: 2 }, fakeClock())
  assert.equal(summary.events, 200)
  assert.ok(sizes.every((size) => size <= 5))
})

test('it ends when it is told to', async () => {
  const stop = new AbortController()
  const clock = fakeClock()
  const until = clock.until
  clock.until = async (ms, signal) => {
    if (ms > 1000) stop.abort()
    await until(ms, signal)
  }
  const { summary } = await made({ eventsPerSecond: 100, signal: stop.signal }, clock)
  assert.ok(summary.events > 50 && summary.events <= 100, `${summary.events}`)
})

test('what cannot be appended ends it with the reason', async () => {
  const failing = { append: async () => Promise.reject(new Error('no room')) }
  await assert.rejects(generate(sampleRequest({ count: 30_000, topic: () => failing })), /no room/)
})

test('an option that makes no sense is a wrong usage', async () => {
  const cases: [option: string, values: string[]][] = [
    ['streams', ['0', '-1', '1.5', 'many', '', '100001']],
    ['late-percent', ['-1', '101', 'NaN', '']],
  ]
  for (const [option, values] of cases)
    for (const value of values)
      await assert.rejects(made({ count: 1, options: { [option]: value } }), { code: 'WRONG_USAGE', at: `--${option}` })
  assert.deepEqual(Object.keys(generator.options ?? {}), ['streams', 'late-percent'])
})

function fakeClock(): Clock {
  let steadyMs = 0
  return {
    wallMs: () => steadyMs,
    steadyMs: () => steadyMs,
    until: async (atMs) => {
      steadyMs = atMs
    },
  }
}

// What is wrong with a message, in plain words.
function reasonToRefuse(value: SampleMessage['value']): string | undefined {
  if (value === null) return 'no value'
  if (typeof value !== 'string') return 'no text'
  if (value.includes('[[[[')) return 'nested too deep'
  if (value.includes('}{')) return 'more than an object, or less'
  let fields: Record<string, unknown>
  try {
    fields = JSON.parse(value)
  } catch {
    return 'no JSON'
  }
  if (Array.isArray(fields)) return 'no object'
  const { stream_id, user_id, message, emotes, viewer_count, timestamp } = fields
  const isChat = message !== undefined
  if (stream_id === undefined || timestamp === undefined) return 'a missing field'
  if (isChat ? user_id === undefined : viewer_count === undefined) return 'a missing field'
  if (typeof stream_id !== 'string') return 'an object for a text'
  if (stream_id === '' || user_id === '') return 'an empty field'
  if (typeof timestamp === 'string' && !/^\d{4}-(?!02-30)\d\d-\d\dT[\d:.]+Z$/.test(timestamp))
    return 'a time that is none'
  if (emotes !== undefined && !Array.isArray(emotes)) return 'a list that is none'
  if (!isChat && typeof viewer_count !== 'number') return 'a number that is none'
  if (Number(viewer_count) < 0) return 'below 0'
  return undefined
}
