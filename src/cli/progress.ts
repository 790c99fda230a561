/** Progress of a bounded run on stderr: one line that is rewritten on a terminal, a line now and then elsewhere. */
import type { Progress } from '../engine/run.ts'
import { cut, number, printable } from './text.ts'

export function progressLine(pipeline: string): { update: (progress: Progress) => void; end: () => void } {
  const started = performance.now()
  const terminal = process.stderr.isTTY === true
  let dueAt = started + (terminal ? 100 : 2000)
  let shown = false
  return {
    update(progress) {
      const now = performance.now()
      if (now < dueAt) return
      dueAt = now + (terminal ? 100 : 2000)
      shown = true
      const text = `${pipeline}: ${progressText(progress, (now - started) / 1000)}`
      // a line that wraps could not be written over
      process.stderr.write(terminal ? `\r\u001b[2K${cut(text, (process.stderr.columns || 80) - 1)}` : `${text}\n`)
    },
    end() {
      if (terminal && shown) process.stderr.write('\n')
    },
  }
}

/** What hinders it, else how far it is and how fast. */
export function progressText({ state, books }: Progress, seconds: number): string {
  switch (state.is) {
    case 'retrying':
      return `retrying: ${printable(state.why.split('\n')[0] ?? '')}`
    case 'standing by':
      return `waiting for ${state.owner} to lend it`
    case 'starting':
    case 'running':
    case 'lending':
    case 'stopped': {
      const rate = number(Math.round(books.rowsIn / Math.max(seconds, 0.001)))
      return `${number(books.rowsIn)} rows, ${rate}/s: ${number(books.written)} written, ${number(books.duplicates)} duplicates, ${number(books.dead)} dead`
    }
  }
}
