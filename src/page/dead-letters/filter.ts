/** Which dead letters are looked at: it stands in the address, and is what bulk replay and discard are given. */
import { counted } from '../format.ts'
import type { Where } from '../types.ts'

export interface Filter {
  pipeline?: string
  code?: string
  column?: string
  file?: string
  batch?: number
  since?: string
  until?: string
  settled?: 'true'
}

const texts = ['pipeline', 'code', 'column', 'file', 'since', 'until'] as const

export function filterFrom(query: URLSearchParams): Filter {
  const filter: Filter = {}
  for (const name of texts) {
    const value = query.get(name)
    if (value !== null && value !== '') filter[name] = value
  }
  const batch = Number(query.get('batch') ?? '')
  if (Number.isSafeInteger(batch) && batch > 0) filter.batch = batch
  if (query.get('settled') === 'true') filter.settled = 'true'
  return filter
}

/** The conditions alone: only open letters can be replayed or discarded. */
export function whereOf({ settled: _, ...where }: Filter): Where {
  return where
}

export function isEmpty(filter: Filter): boolean {
  return Object.keys(whereOf(filter)).length === 0
}

/** "312 dead letters with EMPTY of the column user_id" */
export function inWords(where: Where, count: number): string {
  const parts = [counted(count, 'dead letter')]
  if (where.ids?.length === 1) return `dead letter ${where.ids[0]}`
  if (where.code !== undefined) parts.push(`with ${where.code}`)
  if (where.column !== undefined) parts.push(`in the column ${where.column}`)
  if (where.pipeline !== undefined) parts.push(`of ${where.pipeline}`)
  if (where.file !== undefined) parts.push(`from files named like “${where.file}”`)
  if (where.batch !== undefined) parts.push(`of batch ${where.batch}`)
  if (where.since !== undefined) parts.push(`since ${where.since}`)
  if (where.until !== undefined) parts.push(`until ${where.until}`)
  return parts.join(' ')
}

const unitsMs: Record<string, number> = { s: 1000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 }

/** "2h" ago, or a date or time of ISO 8601, in UTC unless it says otherwise; nothing when it is neither. */
export function momentOf(text: string, now: number): string | undefined {
  const [, count = '', unit = ''] = /^(\d{1,6}) *(s|m|min|h|d)( ago)?$/.exec(text) ?? []
  const unitMs = unitsMs[unit]
  if (unitMs !== undefined) return new Date(now - Number(count) * unitMs).toISOString().replace(/\.\d+/, '')
  if (!/^\d{4}-\d\d-\d\d/.test(text)) return undefined
  const hasZone = /(Z|[+-]\d\d:?\d\d)$/.test(text.slice(10))
  const time = new Date(text.length <= 10 || hasZone ? text : `${text}Z`)
  return Number.isNaN(time.getTime()) ? undefined : time.toISOString().replace(/\.\d+/, '')
}
