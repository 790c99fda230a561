import { number } from '../format.ts'
import { onOneLine } from '../parts/text-parts.ts'
import type { Chart, Results } from '../types.ts'
import { numberOf } from './chart-data.ts'

interface PictureProps {
  chart: Chart
  results: Results
}

/** A bar beside each name. */
export function Bars({ chart, results }: PictureProps) {
  const bars = barsOf(chart, results)
  const most = Math.max(1, ...bars.map(({ value }) => value))
  return (
    <ol class="bars">
      {bars.map(({ name, value }, index) => (
        <li key={`${name} ${index}`}>
          <span class="bar-name" title={name}>
            {name}
          </span>
          <span class="bar-room" aria-hidden="true">
            <span class="bar" style={{ width: `${(value / most) * 100}%` }} />
          </span>
          <span class="number">
            {number(value)}
            {unitOf(chart, value)}
          </span>
        </li>
      ))}
    </ol>
  )
}

/** Steps of which each keeps a part of the one before. */
export function Funnel({ chart, results }: PictureProps) {
  const steps = barsOf(chart, results)
  const most = Math.max(1, ...steps.map(({ value }) => value))
  return (
    <ol class="funnel">
      {steps.map(({ name, value }, index) => {
        const before = steps[index - 1]?.value
        return (
          <li key={`${name} ${index}`}>
            <span class="funnel-words">
              <span class="funnel-name">{name}</span>
              <span class="number">
                {number(value)}
                {unitOf(chart, value)}
              </span>
              {before !== undefined && before > 0 && (
                <span class="quiet">{percent(value / before)} of those before</span>
              )}
            </span>
            <span class="funnel-room" aria-hidden="true">
              <span class="funnel-bar" style={{ width: `${(value / most) * 100}%` }} />
            </span>
          </li>
        )
      })}
    </ol>
  )
}

function barsOf({ x, y, by }: Chart, { rows }: Results): { name: string; value: number }[] {
  return rows.flatMap((row) =>
    y.map((column) => {
      const parts = [row[x], by === undefined ? undefined : row[by], y.length > 1 ? column : undefined]
      const name = onOneLine(
        parts
          .filter((part) => part !== undefined)
          .map(String)
          .join(' '),
      )
      return { name, value: numberOf(row[column]) ?? 0 }
    }),
  )
}

function unitOf({ unit }: Chart, value: number): string {
  if (unit === undefined) return ''
  // "1 user", where the unit is a word in the plural
  return ` ${value === 1 && /^[a-z]{3,}s$/.test(unit) ? unit.slice(0, -1) : unit}`
}

function percent(part: number): string {
  return `${(part * 100).toFixed(part > 0 && part < 0.1 ? 1 : 0)} %`
}
