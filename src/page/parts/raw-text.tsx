import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import { bytes } from '../format.ts'
import { type TextPart, textParts } from './text-parts.ts'

// A row may be 32 MB long; a browser lays out this much at once.
const shownAtOnce = 20_000
const before = 2_000

interface RawTextProps {
  text: string
  fault: { start: number; end: number } | null
  /** The physical line its first line has in its file. */
  line: number | null
}

/** A row as it was read: what was wrong is marked, and what cannot be seen is written out. Never as markup. */
export function RawText({ text, fault, line }: RawTextProps) {
  const [whole, setWhole] = useState(false)
  const start = whole || fault === null || fault.start < before ? 0 : fault.start - before
  const end = whole ? text.length : Math.min(text.length, start + shownAtOnce)
  const mark = fault === null ? undefined : { start: fault.start - start, end: Math.min(fault.end, end) - start }
  const lines = intoLines(textParts(text.slice(start, end), mark))
  const firstLine = line === null ? undefined : line + text.slice(0, start).split('\n').length - 1
  return (
    <div class="raw">
      {start > 0 && <p class="raw-cut">… {bytes(start)} before this</p>}
      <pre>
        {lines.map((parts, index) => (
          <div class="raw-line" key={index}>
            {firstLine !== undefined && <span class="raw-number">{firstLine + index}</span>}
            <code>{parts.map(shown)}</code>
          </div>
        ))}
      </pre>
      {end < text.length && <p class="raw-cut">… {bytes(text.length - end)} after this</p>}
      {(start > 0 || end < text.length) && (
        <button type="button" class="button" onClick={() => setWhole(true)}>
          Show all of it
        </button>
      )}
    </div>
  )
}

function shown({ text, unseen, marked }: TextPart, index: number): JSX.Element | string {
  const inner = unseen === undefined ? text : <span class="unseen-character">{unseen}</span>
  if (!marked) return unseen === undefined ? text : <span key={index}>{inner}</span>
  return (
    <mark
      key={index}
      class={text === '' ? 'nothing-here' : undefined}
      title={text === '' ? 'there is nothing here' : undefined}
    >
      {inner}
    </mark>
  )
}

function intoLines(parts: TextPart[]): TextPart[][] {
  const lines: TextPart[][] = [[]]
  for (const part of parts) {
    lines.at(-1)?.push(part)
    if (part.text === '\n') lines.push([])
  }
  return lines
}
