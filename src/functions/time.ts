/** Time is UTC, whatever the time zone of the session, and lies in the years 0001 to 9999. */
import { integer, text, timestamp } from '../plan/columns.ts'
import { define } from './define.ts'
import { firstMoment, lastMoment } from './timestamp-text.ts'
import type { Operand, Value } from './value.ts'

type PartOfTime = (moment: Operand<'timestamp'>) => Value<'integer'>
type TimeBetween = (from: Operand<'timestamp'>, to: Operand<'timestamp'>) => Value<'integer'>

const microseconds = { second: 1_000_000, minute: 60_000_000, hour: 3_600_000_000, day: 86_400_000_000 } as const

export type TimeUnit = keyof typeof microseconds

const units = Object.keys(microseconds)

export const truncateTo = define<(moment: Operand<'timestamp'>, unit: TimeUnit) => Value<'timestamp'>>({
  name: 'truncateTo',
  says: 'The moment at which the second, minute, hour or day of this moment began.',
  args: [
    'timestamp',
    { constant: 'text', must: `be one of ${units.join(', ')}`, allows: (unit) => units.includes(String(unit)) },
  ],
  result: timestamp,
  // Whole numbers, and not date_trunc, which asks the time zone's calendar and takes fifteen times as long.
  duckdb: ([a], _, [, unit]) => {
    // as: `allows` has let through only these
    const size = microseconds[unit as TimeUnit]
    return `make_timestamptz(epoch_us(${a}) - ${floorRest(`epoch_us(${a})`, size)})`
  },
  spark: ([a], _, [, unit]) => {
    // as: `allows` has let through only these
    const size = microseconds[unit as TimeUnit]
    return `timestamp_micros(unix_micros(${a}) - pmod(unix_micros(${a}), ${size}))`
  },
  examples: [
    { in: ['2026-01-31T12:34:56.789012Z', 'minute'], out: '2026-01-31T12:34:00.000Z' },
    { in: ['2026-01-31T12:34:56.789012Z', 'second'], out: '2026-01-31T12:34:56.000Z' },
    { in: ['1969-12-31T23:59:59.999Z', 'hour'], out: '1969-12-31T23:00:00.000Z' },
    { in: ['2026-01-31T12:34:56Z', 'day'], out: '2026-01-31T00:00:00.000Z' },
    { in: [null, 'day'], out: null, types: [timestamp, text] },
  ],
})

export const secondsBetween = define<TimeBetween>({
  name: 'secondsBetween',
  says: 'The whole seconds from the first moment to the second, rounded towards 0; below 0 when the second is earlier.',
  args: ['timestamp', 'timestamp'],
  result: integer,
  duckdb: ([from, to]) => `((epoch_us(${to}) - epoch_us(${from})) // 1000000)`,
  spark: ([from, to]) => `((unix_micros(${to}) - unix_micros(${from})) div 1000000)`,
  examples: [
    { in: ['2026-01-01T00:00:00Z', '2026-01-01T00:01:00.999Z'], out: 60 },
    { in: ['2026-01-01T00:00:01.500Z', '2026-01-01T00:00:00Z'], out: -1 },
    { in: ['2026-01-01T00:00:00Z', null], out: null, types: [timestamp, timestamp] },
  ],
})

export const millisecondsBetween = define<TimeBetween>({
  name: 'millisecondsBetween',
  says: 'The whole milliseconds from the first moment to the second, rounded towards 0; below 0 when the second is earlier.',
  args: ['timestamp', 'timestamp'],
  result: integer,
  duckdb: ([from, to]) => `((epoch_us(${to}) - epoch_us(${from})) // 1000)`,
  spark: ([from, to]) => `((unix_micros(${to}) - unix_micros(${from})) div 1000)`,
  examples: [
    { in: ['2026-01-01T00:00:00Z', '2026-01-01T00:00:01.0019Z'], out: 1001 },
    { in: ['2026-01-01T00:00:00Z', '2025-12-31T23:59:59.999Z'], out: -1 },
  ],
})

export const plusMilliseconds = define<
  (moment: Operand<'timestamp'>, milliseconds: Operand<'integer'>) => Value<'timestamp'>
>({
  name: 'plusMilliseconds',
  says: 'The moment so many milliseconds later, or earlier when below 0; null outside the years 0001 to 9999.',
  args: ['timestamp', 'integer'],
  result: timestamp,
  nullable: () => true,
  duckdb: ([a, ms]) => {
    const span = (lastMoment - firstMoment) / 1000n
    const sum = `epoch_us(${a}) + ${ms} * 1000`
    return (
      `(case when ${ms} between -${span} and ${span} then ` +
      `case when ${sum} between ${firstMoment} and ${lastMoment} then make_timestamptz(${sum}) end end)`
    )
  },
  spark: ([a, ms]) => {
    const span = (lastMoment - firstMoment) / 1000n
    const sum = `unix_micros(${a}) + ${ms} * 1000`
    return (
      `(case when ${ms} between -${span} and ${span} then ` +
      `case when ${sum} between ${firstMoment} and ${lastMoment} then timestamp_micros(${sum}) end end)`
    )
  },
  examples: [
    { in: ['2026-01-01T00:00:00.000001Z', 1500], out: '2026-01-01T00:00:01.500001Z' },
    { in: ['2026-01-01T00:00:00Z', -1], out: '2025-12-31T23:59:59.999Z' },
    { in: ['9999-12-31T23:59:59.999Z', 1], out: null },
    { in: ['2026-01-01T00:00:00Z', '9223372036854775807'], out: null, types: [timestamp, integer] },
  ],
})

export const yearOf = define<PartOfTime>({
  name: 'yearOf',
  says: 'The year of the moment in UTC.',
  args: ['timestamp'],
  result: integer,
  duckdb: ([a]) => `year(${clock(a)})`,
  spark: ([a]) => `cast(year(${a}) as bigint)`,
  examples: [
    { in: ['2025-12-31T23:59:59Z'], out: 2025 },
    { in: ['2025-12-31T23:59:59-01:00'], out: 2026 },
  ],
})

export const monthOf = define<PartOfTime>({
  name: 'monthOf',
  says: 'The month of the moment in UTC, 1 to 12.',
  args: ['timestamp'],
  result: integer,
  duckdb: ([a]) => `month(${clock(a)})`,
  spark: ([a]) => `cast(month(${a}) as bigint)`,
  examples: [{ in: ['2025-12-31T23:59:59Z'], out: 12 }],
})

export const dayOf = define<PartOfTime>({
  name: 'dayOf',
  says: 'The day of the month of the moment in UTC, 1 to 31.',
  args: ['timestamp'],
  result: integer,
  duckdb: ([a]) => `day(${clock(a)})`,
  spark: ([a]) => `cast(day(${a}) as bigint)`,
  examples: [
    { in: ['2024-02-29T23:59:59.999999Z'], out: 29 },
    { in: ['0001-01-01T00:00:00Z'], out: 1 },
  ],
})

export const hourOf = define<PartOfTime>({
  name: 'hourOf',
  says: 'The hour of the day of the moment in UTC, 0 to 23.',
  args: ['timestamp'],
  result: integer,
  duckdb: ([a]) => `hour(${clock(a)})`,
  spark: ([a]) => `cast(hour(${a}) as bigint)`,
  examples: [
    { in: ['2026-01-31T23:59:59Z'], out: 23 },
    { in: ['1969-12-31T00:00:00+05:30'], out: 18 },
  ],
})

export const weekdayOf = define<PartOfTime>({
  name: 'weekdayOf',
  says: 'The day of the week of the moment in UTC as ISO 8601 counts: 1 is Monday, 7 is Sunday.',
  args: ['timestamp'],
  result: integer,
  duckdb: ([a]) => `isodow(${clock(a)})`,
  spark: ([a]) => `cast(weekday(${a}) + 1 as bigint)`,
  examples: [
    { in: ['2026-01-04T12:00:00Z'], out: 7 },
    { in: ['1969-12-29T00:00:00Z'], out: 1 },
  ],
})

export const fromEpochMilliseconds = define<(milliseconds: Operand<'integer'>) => Value<'timestamp'>>({
  name: 'fromEpochMilliseconds',
  says: 'The moment so many milliseconds after the start of 1970 in UTC; null outside the years 0001 to 9999.',
  args: ['integer'],
  result: timestamp,
  nullable: () => true,
  duckdb: ([ms]) =>
    `(case when ${ms} between ${firstMoment / 1000n} and ${lastMoment / 1000n} then make_timestamptz(${ms} * 1000) end)`,
  spark: ([ms]) =>
    `(case when ${ms} between ${firstMoment / 1000n} and ${lastMoment / 1000n} then timestamp_micros(${ms} * 1000) end)`,
  examples: [
    { in: [1767225600123], out: '2026-01-01T00:00:00.123Z' },
    { in: [-1], out: '1969-12-31T23:59:59.999Z' },
    { in: ['9223372036854775807'], out: null, types: [integer] },
  ],
})

export const toEpochMilliseconds = define<PartOfTime>({
  name: 'toEpochMilliseconds',
  says: 'The whole milliseconds that had passed since the start of 1970 in UTC, as Date.getTime counts them.',
  args: ['timestamp'],
  result: integer,
  duckdb: ([a]) => `((epoch_us(${a}) - ${floorRest(`epoch_us(${a})`, 1000)}) // 1000)`,
  spark: ([a]) => `((unix_micros(${a}) - pmod(unix_micros(${a}), 1000)) div 1000)`,
  examples: [
    { in: ['2026-01-01T00:00:00.123999Z'], out: 1767225600123 },
    { in: ['1969-12-31T23:59:59.999500Z'], out: -1 },
  ],
})

// The rest of a division that is rounded down, so never below 0: % has the sign of its first number.
function floorRest(number: string, size: number): string {
  return `(${number} % ${size} + ${size}) % ${size}`
}

// The moment as UTC's clock shows it; of a timestamptz DuckDB would ask the time zone's calendar.
function clock(moment: string | undefined): string {
  return `make_timestamp(epoch_us(${moment}))`
}
