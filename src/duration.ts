/** Durations as people write them. */
import { MillraceError } from './errors.ts'

/** A length of time: milliseconds, or as in `250 ms`, `10 seconds`, `2 h`. */
export type Duration = number | `${number} ${string}`

const durationUnits: Record<string, number> = { ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 }
const durationNames: Record<string, string> = {
  millisecond: 'ms',
  second: 's',
  sec: 's',
  minute: 'min',
  hour: 'h',
  day: 'd',
}

/** Milliseconds of `250 ms`, `10 seconds`, `2h`; a bare number is seconds. */
export function parseDuration(value: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(value.trim())
  if (!match) return undefined
  const name = (match[2] ?? '').toLowerCase()
  const unit = durationUnits[durationNames[name.replace(/s$/, '')] ?? (name === '' ? 's' : name)]
  return unit === undefined ? undefined : Math.round(Number(match[1]) * unit)
}

/** A duration of a plan in whole milliseconds; INVALID_PLAN when it is none. */
export function milliseconds(duration: Duration): number {
  const ms = typeof duration === 'number' ? duration : parseDuration(duration)
  if (ms !== undefined && Number.isInteger(ms) && ms >= 0) return ms
  throw new MillraceError('INVALID_PLAN', {
    message: `${JSON.stringify(duration)} is no duration`,
    hint: 'write whole milliseconds, or a text such as "250 ms", "10 seconds" or "2 hours"',
  })
}
