/** Rows of results as lines of numbers. */
import type { Chart, Results } from '../types.ts'

export interface Series {
  name: string
  values: (number | null)[]
}

export interface Lines {
  /** Seconds since 1970 when x is a time. */
  x: number[]
  isTime: boolean
  series: Series[]
}

/** Something that happened, at a place along the axis. */
export interface Mark {
  x: number
  /** The line it belongs to; without one it stands on the axis. */
  series: number | undefined
  says: string
}

export function isTimeColumn({ columns }: Results, name: string): boolean {
  const type = columns.find((column) => column.name === name)?.type ?? ''
  return /^(timestamp|date)/i.test(type)
}

/** Whether x is a time or a number, and not a name. */
export function isPoint({ x }: Chart, results: Results): boolean {
  if (isTimeColumn(results, x)) return true
  return results.rows.every((row) => typeof row[x] === 'number')
}

/** A line for each y; with `by`, one for each of its values too. */
export function linesOf(chart: Chart, results: Results): Lines {
  const isTime = isTimeColumn(results, chart.x)
  const at = (row: Record<string, unknown>): number => placeOf(row[chart.x], isTime)
  const x = [...new Set(results.rows.map(at))].filter(Number.isFinite).sort((a, b) => a - b)
  const index = new Map(x.map((value, position) => [value, position]))
  const lines = new Map<string, (number | null)[]>()
  for (const row of results.rows) {
    const position = index.get(at(row))
    if (position === undefined) continue
    for (const column of chart.y) {
      const name = nameOf(chart, row, column)
      const values = lines.get(name) ?? new Array<number | null>(x.length).fill(null)
      values[position] = numberOf(row[column])
      lines.set(name, values)
    }
  }
  return { x, isTime, series: [...lines].map(([name, values]) => ({ name, values })) }
}

/** Where the chart's marks stand on its lines. Those beyond its ends are left out. */
export function marksOf({ marks, by, y }: Chart, found: Results | undefined, lines: Lines): Mark[] {
  const [first = 0, last = 0] = [lines.x[0], lines.x.at(-1)]
  if (marks === undefined || found === undefined || lines.x.length === 0) return []
  return found.rows.flatMap((row) => {
    const x = placeOf(row[marks.x], lines.isTime)
    if (!(x >= first && x <= last)) return []
    const [column] = y
    const named = by !== undefined && by in row
    const name = named && column !== undefined ? nameOf({ by, y }, row, column) : column
    const series = lines.series.findIndex((each) => each.name === name)
    // of a line that is not drawn, nothing is marked
    if (series < 0 && named) return []
    const what = String(row[marks.label] ?? '')
    return [{ x, series: series < 0 ? undefined : series, says: named ? `${name} ${what}` : what }]
  })
}

function placeOf(value: unknown, isTime: boolean): number {
  return isTime ? Date.parse(String(value)) / 1000 : Number(value)
}

function nameOf({ by, y }: Pick<Chart, 'by' | 'y'>, row: Record<string, unknown>, column: string): string {
  if (by === undefined) return column
  const value = String(row[by] ?? 'none')
  return y.length === 1 ? value : `${value} ${column}`
}

/** Decimals and big integers come as texts. */
export function numberOf(value: unknown): number | null {
  if (value === null || value === undefined || value === '') return null
  const number = Number(value)
  return Number.isFinite(number) ? number : null
}
