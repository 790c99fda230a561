/** Numbers, times and states as a person says them. All times are UTC, as in the tables and on the command line. */
import type { State } from './types.ts'

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })
const fine = new Intl.NumberFormat('en', { maximumFractionDigits: 2 })

export function number(value: number): string {
  return Number.isInteger(value) || Math.abs(value) >= 100 ? whole.format(value) : fine.format(value)
}

/** For narrow places; the title or a table beside it has the whole number. */
export function shortNumber(value: number): string {
  return Math.abs(value) < 10_000 ? number(Math.round(value)) : short.format(value)
}

export function rate(perSecond: number): string {
  return perSecond > 0 && perSecond < 10 ? (Math.round(perSecond * 10) / 10).toString() : whole.format(perSecond)
}

export function counted(count: number, one: string, many = `${one}s`): string {
  return `${number(count)} ${count === 1 ? one : many}`
}

export function duration(ms: number): string {
  if (ms < 1) return ms <= 0 ? '0 ms' : '< 1 ms'
  if (ms < 1000) return `${Math.round(ms)} ms`
  const seconds = ms / 1000
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`
  if (seconds < 120) return `${Math.round(seconds)} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 120) return `${minutes} min`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`
  return counted(Math.floor(hours / 24), 'day')
}

export function ago(iso: string, now: number): string {
  const ms = now - Date.parse(iso)
  return ms < 1000 ? 'just now' : `${duration(Math.floor(ms / 1000) * 1000)} ago`
}

/** `2026-01-01 12:03:41` */
export function dayAndTime(iso: string): string {
  return iso.replace('T', ' ').slice(0, 19)
}

/** `12:03:41`, with the day before it when it is not today's. */
export function clockTime(iso: string, now: number): string {
  const time = new Date(iso)
  if (Number.isNaN(time.getTime())) return iso
  const text = time.toISOString()
  const clock = text.slice(11, 19)
  return text.slice(0, 10) === new Date(now).toISOString().slice(0, 10) ? clock : `${text.slice(0, 10)} ${clock}`
}

/** How event time stands to the clock: `4 s behind`. */
export function behind(watermark: string, now: number): string {
  const ms = now - Date.parse(watermark)
  return ms < 0 ? `${duration(-ms)} ahead` : `${duration(ms)} behind`
}

/** For narrow places: the time of today, or the day. */
export function clockOrDay(iso: string, now: number): string {
  const [first = iso] = clockTime(iso, now).split(' ')
  return first
}

export function bytes(size: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = size
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

export type Tone = 'good' | 'busy' | 'calm' | 'warn' | 'bad'

export function toneOf(state: State): Tone {
  switch (state.is) {
    case 'running':
      return 'good'
    case 'starting':
    case 'lending':
      return 'busy'
    case 'standing by':
      return 'calm'
    case 'retrying':
      return 'warn'
    case 'stopped':
      return 'bad'
  }
}

/** One word or two, for a badge. */
export function stateName(state: State): string {
  switch (state.is) {
    case 'starting':
      return 'Starting'
    case 'running':
      return 'Running'
    case 'standing by':
      return 'Standing by'
    case 'lending':
      return 'Lent out'
    case 'retrying':
      return 'Trying again'
    case 'stopped':
      return 'Stopped'
  }
}

/** What follows the name of the state, when there is more to say. */
export function stateMore(state: State): string | undefined {
  switch (state.is) {
    case 'starting':
      return undefined
    case 'running':
      return state.owner === undefined ? undefined : `by ${state.owner}`
    case 'standing by':
      return state.owner === undefined ? undefined : `${state.owner} runs it`
    case 'lending':
      return state.to === undefined ? undefined : `to ${state.to}, until that is done`
    case 'retrying': {
      const next = state.next_in_ms === undefined ? '' : `in ${duration(state.next_in_ms)}`
      const tries = state.tries === undefined ? '' : `${counted(state.tries, 'try', 'tries')} so far`
      const times = [next, tries].filter((text) => text !== '').join(', ')
      return [times, state.why].filter((text) => text !== undefined && text !== '').join(': ')
    }
    case 'stopped':
      return state.why
  }
}

/** The last part of a path, for a narrow place. */
export function fileName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

/** Problems come as clauses: "this server asks for an access token". */
export function sentence(clause: string): string {
  const text = clause.trim()
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?:]$/.test(text) ? '' : '.'}`
}
