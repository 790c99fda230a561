/**
 * What Millrace reads as a timestamp: ISO 8601 as `2026-01-31`, `2026-01-31T12:00:00` or with up to nine digits of a
 * second (six are kept), then `Z`, an offset, or nothing, which means UTC. The years 0001 to 9999.
 */

/** The form, for JavaScript and for RE2 alike. The calendar (30 February) and the range are checked apart. */
export const timestampPattern =
  '[0-9]{4}-[0-9]{2}-[0-9]{2}([T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)?)?'

/** The first and the last moment, in microseconds since 1970. */
export const firstMoment = -62_135_596_800_000_000n
export const lastMoment = 253_402_300_799_999_999n

/** Microseconds since 1970, or nothing when the text is no timestamp. */
export function microsecondsOf(text: string): bigint | undefined {
  if (!new RegExp(`^(?:${timestampPattern})$`).test(text)) return undefined
  const time = text.slice(11)
  const zone = /(?:Z|[+-][0-9:]+)$/.exec(time)?.[0] ?? 'Z'
  const [clock = '', fraction = ''] = time.replace(zone, '').split('.')
  const utc = new Date(`${text.slice(0, 10)}T${clock || '00:00:00'}Z`)
  if (Number.isNaN(utc.getTime()) || utc.toISOString().slice(0, 10) !== text.slice(0, 10)) return undefined
  const moment = BigInt(utc.getTime()) * 1000n + BigInt(fraction.slice(0, 6).padEnd(6, '0')) - offsetOf(zone)
  return moment < firstMoment || moment > lastMoment ? undefined : moment
}

/** `2026-01-31T12:00:00.000Z`, with six digits of a second where three would lose some. */
export function isoText(microseconds: bigint): string {
  const rest = ((microseconds % 1000n) + 1000n) % 1000n
  const text = new Date(Number((microseconds - rest) / 1000n)).toISOString()
  return rest === 0n ? text : text.replace('Z', `${String(rest).padStart(3, '0')}Z`)
}

function offsetOf(zone: string): bigint {
  if (zone === 'Z') return 0n
  const digits = zone.slice(1).replace(':', '').padEnd(4, '0')
  const minutes = BigInt(digits.slice(0, 2)) * 60n + BigInt(digits.slice(2))
  return (zone.startsWith('-') ? -minutes : minutes) * 60_000_000n
}
