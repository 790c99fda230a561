/** The row of a dead letter as it was read, with an arrow under what was wrong. */
import type { Source } from '../plan/plan.ts'
import { faultOf, type Span } from '../sources/letter-fault.ts'
import type { DeadLetter } from '../store/store.ts'
import { counted, cut, padded, printable, widthOf } from './text.ts'

// A row with a quote that was forgotten may have swallowed thousands of lines.
const shownAtMost = 12
const shownBefore = 2

/** Lines of at most `width` cells. Those of a row of several lines have the numbers they have in the file. */
export function rawLines(letter: DeadLetter, source: Source | undefined, width: number): string[] {
  const { raw } = letter
  const fault = faultOf(letter, source)
  let start = lineStart(raw, fault?.start ?? 0)
  for (let i = 0; i < shownBefore && start > 0; i++) start = lineStart(raw, start - 1)
  const firstLine = (letter.line ?? 1) + lineEnds(raw.slice(0, start))
  const left = lineEnds(raw.slice(start)) + 1
  const shown = Math.min(left, shownAtMost)
  const gutter = raw.includes('\n') ? String(firstLine + shown - 1).length : 0
  const beside = (label: string): string => (gutter === 0 ? '  ' : `  ${padded(label, gutter, 'right')} | `)
  const room = Math.max(20, width - beside('').length)

  const lines = start > 0 ? [`${beside('')}...`] : []
  for (let i = 0; i < shown; i++) {
    const end = lineEnd(raw, start)
    const { text, arrow } = pointed(raw.slice(start, end), within(fault, start, end), room)
    lines.push(`${beside(String(firstLine + i))}${text}`)
    if (arrow !== undefined) lines.push(`${beside('')}${arrow}`)
    start = end + 1
  }
  if (left > shown) lines.push(`${beside('')}... and ${counted(left - shown, 'more line')}`)
  return lines
}

function lineStart(raw: string, at: number): number {
  return at === 0 ? 0 : raw.lastIndexOf('\n', at - 1) + 1
}

function lineEnd(raw: string, at: number): number {
  const end = raw.indexOf('\n', at)
  return end < 0 ? raw.length : end
}

function lineEnds(raw: string): number {
  let count = 0
  for (let at = raw.indexOf('\n'); at >= 0; at = raw.indexOf('\n', at + 1)) count++
  return count
}

// The part of the fault on a line, counted from its start.
function within(fault: Span | undefined, start: number, end: number): Span | undefined {
  if (fault === undefined || fault.start > end || (fault.end <= start && fault.start < start)) return undefined
  return { start: Math.max(fault.start - start, 0), end: Math.min(fault.end, end) - start }
}

// A long line is shown from a little before what was wrong.
function pointed(line: string, fault: Span | undefined, room: number): { text: string; arrow?: string } {
  if (fault === undefined) return { text: cut(printable(line.slice(0, 4 * room)), room) }
  const third = Math.floor(room / 3)
  let from = startOf(line, fault.start, room - third)
  if (from > 0) from = startOf(line, fault.start, third)
  const lead = `${from > 0 ? '...' : ''}${printable(line.slice(from, fault.start))}`
  const wrong = printable(line.slice(fault.start, Math.min(fault.end, fault.start + 4 * room)))
  const rest = printable(line.slice(fault.end, fault.end + 4 * room))
  const length = Math.max(1, Math.min(widthOf(wrong), room - widthOf(lead)))
  return { text: cut(`${lead}${wrong}${rest}`, room), arrow: `${' '.repeat(widthOf(lead))}${'^'.repeat(length)}` }
}

// Where a text begins that ends at `end` and takes so many cells at most.
function startOf(line: string, end: number, cells: number): number {
  let used = 0
  let at = end
  for (const character of [...line.slice(Math.max(0, end - 4 * cells), end)].reverse()) {
    used += widthOf(printable(character))
    if (used > cells) break
    at -= character.length
  }
  return at
}
