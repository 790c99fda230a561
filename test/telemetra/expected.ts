/**
 * What telemetra should say of messages, reckoned over all of them at once: slow, obvious, and written without a look at the
 * engine.
 */
export interface Chat {
  stream_id: string
  user_id: string
  message: string
  emotes?: string[]
  timestamp: string | number
}

export interface Viewers {
  stream_id: string
  viewer_count: number
  timestamp: string | number
}

export interface Words {
  positive: string[]
  negative: string[]
  emotes: string[]
}

export interface Rules {
  sizeMs: number
  slideMs: number
  topEmotes: number
  threshold: number
}

export const usualRules: Rules = { sizeMs: 60_000, slideMs: 10_000, topEmotes: 5, threshold: 3 }

export interface Summary {
  stream_id: string
  window_start: Date
  window_end: Date
  chat_count: number
  unique_chatters: number
  avg_sentiment: number | null
  positive_count: number
  negative_count: number
  top_emotes: string[]
  emote_counts: Record<string, number>
  chat_rate: number
  avg_viewers: number | null
  peak_viewers: number | null
}

export function timeOf({ timestamp }: { timestamp: string | number }): number {
  return typeof timestamp === 'number' ? timestamp : Date.parse(timestamp)
}

/** From -1 to 1; 0 where no word is in the lexicon. */
export function sentimentOf(message: string, { positive, negative }: Words): number {
  const words = message.toLowerCase().match(/[\p{L}\p{M}\p{N}_']+/gu) ?? []
  const good = words.filter((word) => positive.includes(word)).length
  const bad = words.filter((word) => negative.includes(word)).length
  return good + bad === 0 ? 0 : (good - bad) / (good + bad)
}

export function emotesOf({ emotes, message }: Chat, words: Words): string[] {
  return emotes ?? message.split(' ').filter((word) => words.emotes.includes(word))
}

/** The windows in which there is anything, by stream and start. */
export function summaries(chat: Chat[], viewers: Viewers[], words: Words, rules = usualRules): Summary[] {
  const windows = new Map<string, { stream: string; start: number; chat: Chat[]; viewers: Viewers[] }>()
  const windowsOf = (event: Chat | Viewers) => {
    const time = timeOf(event)
    const found = []
    for (
      let start = Math.floor(time / rules.slideMs) * rules.slideMs;
      start > time - rules.sizeMs;
      start -= rules.slideMs
    ) {
      const key = JSON.stringify([event.stream_id, start])
      const window = windows.get(key) ?? { stream: event.stream_id, start, chat: [], viewers: [] }
      windows.set(key, window)
      found.push(window)
    }
    return found
  }
  for (const event of chat) for (const window of windowsOf(event)) window.chat.push(event)
  for (const event of viewers) for (const window of windowsOf(event)) window.viewers.push(event)
  return [...windows.values()]
    .sort((a, b) => byBytes(a.stream, b.stream) || a.start - b.start)
    .map((window): Summary => {
      const moods = window.chat.map(({ message }) => sentimentOf(message, words))
      const counts = new Map<string, number>()
      for (const event of window.chat)
        for (const emote of emotesOf(event, words)) counts.set(emote, (counts.get(emote) ?? 0) + 1)
      const ranked = [...counts].sort(([a, n], [b, m]) => m - n || byBytes(a, b))
      const watched = window.viewers.map(({ viewer_count }) => viewer_count)
      return {
        stream_id: window.stream,
        window_start: new Date(window.start),
        window_end: new Date(window.start + rules.sizeMs),
        chat_count: window.chat.length,
        unique_chatters: new Set(window.chat.map(({ user_id }) => user_id)).size,
        avg_sentiment: meanOf(moods),
        positive_count: moods.filter((mood) => mood > 0).length,
        negative_count: moods.filter((mood) => mood < 0).length,
        top_emotes: ranked.slice(0, rules.topEmotes).map(([emote]) => emote),
        emote_counts: Object.fromEntries(counts),
        chat_rate: window.chat.length / (rules.sizeMs / 1000),
        avg_viewers: meanOf(watched),
        peak_viewers: watched.length === 0 ? null : Math.max(...watched),
      }
    })
}

export interface Moment {
  stream_id: string
  window_start: Date
  moment_type: string
  value: number
  mean: number
  deviation: number
  z_score: number
}

/** What is unlike the ten windows before it, of closed windows in the order of `summaries`. */
export function moments(closed: Summary[], { threshold, sizeMs } = usualRules): Moment[] {
  const found: Moment[] = []
  const judged: [of: (row: Summary) => number | null, spike: string, drop: string | undefined][] = [
    [({ chat_rate }) => chat_rate, 'chat_spike', 'chat_drop'],
    [({ avg_viewers }) => avg_viewers, 'viewer_spike', 'viewer_drop'],
    [
      ({ emote_counts }) => Object.values(emote_counts).reduce((sum, n) => sum + n, 0) / (sizeMs / 1000),
      'emote_spike',
      undefined,
    ],
  ]
  for (const rows of Map.groupBy(closed, ({ stream_id }) => stream_id).values()) {
    for (const [of, spike, drop] of judged) {
      const before: number[] = []
      for (const row of rows) {
        const value = of(row)
        if (value === null) continue
        const moment = momentOf(value, before.slice(-10))
        before.push(value)
        if (moment === undefined || Math.abs(moment.z_score) < threshold) continue
        const moment_type = moment.z_score > 0 ? spike : drop
        if (moment_type !== undefined)
          found.push({ stream_id: row.stream_id, window_start: row.window_start, moment_type, ...moment })
      }
    }
  }
  return found
}

// In whole billionths, which is how numbers are rounded: a value just at the threshold is on the same side everywhere.
function momentOf(value: number, before: number[]) {
  if (before.length < 10) return undefined
  const whole = before.map((each) => BigInt(Math.round(each * 1e9)))
  const sum = whole.reduce((a, b) => a + b, 0n)
  const squares = whole.reduce((a, b) => a + b * b, 0n)
  const mean = rounded(Number(sum) / 10 / 1e9)
  const deviation = rounded(Math.sqrt(Number(10n * squares - sum * sum)) / 10 / 1e9)
  if (deviation === 0) return undefined
  return { value: rounded(value), mean, deviation, z_score: rounded((rounded(value) - mean) / deviation) }
}

function rounded(value: number): number {
  return Math.round(value * 1e9) / 1e9
}

function meanOf(values: number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length
}

export function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}
