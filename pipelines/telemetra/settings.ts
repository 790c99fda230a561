/** The settings of telemetra, and the words it knows. */
import { readFileSync } from 'node:fs'
import { MillraceError, type SettingSpec, type SettingValues } from 'millrace'

export const settings: Record<string, SettingSpec> = {
  WINDOW_DURATION: { type: 'duration', default: '1 minute', says: 'length of the windows of telemetra' },
  SLIDE_DURATION: {
    type: 'duration',
    default: '10 seconds',
    says: 'how far each window begins after the one before it',
  },
  WATERMARK_DELAY: { type: 'duration', default: '10 seconds', says: 'how far messages may come out of their order' },
  ANOMALY_THRESHOLD: { type: 'number', default: '3.0', says: 'how many deviations from the mean make a moment' },
  TOP_EMOTES: { type: 'whole number', default: '5', says: 'how many of the most used emotes a window tells' },
  SENTIMENT_LEXICON: {
    type: 'text',
    default: '',
    says: 'JSON file with lists of words, "positive" and "negative"; empty: the one that ships',
  },
  EMOTE_LIST: {
    type: 'text',
    default: '',
    says: 'JSON file with a list of emotes, found in messages that name none; empty: the one that ships',
  },
}

/** In milliseconds. */
export function windowsOf(values: SettingValues): { size: number; slide: number; outOfOrder: number } {
  const size = within(values, 'WINDOW_DURATION', 1, Number.POSITIVE_INFINITY, 'at least 1 ms')
  const slide = within(values, 'SLIDE_DURATION', 1, size, 'from 1 ms to WINDOW_DURATION')
  return { size, slide, outOfOrder: Number(values['WATERMARK_DELAY']) }
}

export function momentsOf(values: SettingValues): { topEmotes: number; threshold: number } {
  return {
    topEmotes: within(values, 'TOP_EMOTES', 1, 1000, 'from 1 to 1,000'),
    threshold: within(values, 'ANOMALY_THRESHOLD', Number.MIN_VALUE, Number.MAX_VALUE, 'more than 0'),
  }
}

function within(values: SettingValues, name: string, least: number, most: number, which: string): number {
  const value = Number(values[name])
  if (value >= least && value <= most) return value
  throw new MillraceError('INVALID_SETTING', { at: name, message: `it has to be ${which}` })
}

export interface Words {
  lexicon: { positive: string[]; negative: string[] }
  emotes: string[]
}

export function readWords(values: SettingValues): Words {
  const lexicon = readJson(values, 'SENTIMENT_LEXICON', './lexicon.json')
  const emotes = readJson(values, 'EMOTE_LIST', './emotes.json')
  if (!isRecord(lexicon) || !isWords(lexicon['positive']) || !isWords(lexicon['negative'])) {
    throw wrong('SENTIMENT_LEXICON', 'has no lists of words called "positive" and "negative"')
  }
  if (!isWords(emotes)) throw wrong('EMOTE_LIST', 'is no list of texts')
  const [positive, negative] = [lexicon['positive'], lexicon['negative']].map((words) =>
    words.map((word) => word.toLowerCase()),
  )
  const both = positive?.find((word) => negative?.includes(word))
  if (both !== undefined) throw wrong('SENTIMENT_LEXICON', `has "${both}" in both lists`)
  return { lexicon: { positive: positive ?? [], negative: negative ?? [] }, emotes }
}

function readJson(values: SettingValues, name: string, shipped: string): unknown {
  const given = String(values[name] ?? '')
  try {
    return JSON.parse(readFileSync(given === '' ? new URL(shipped, import.meta.url) : given, 'utf8'))
  } catch (error) {
    throw wrong(name, `cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function wrong(name: string, why: string): MillraceError {
  return new MillraceError('INVALID_SETTING', { at: name, message: `the file ${why}` })
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function isWords(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((word) => typeof word === 'string')
}
