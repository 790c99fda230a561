/** Progress of a bounded run on stderr: one line that is rewritten on a terminal, a line now and then elsewhere. */
import type { Progress } from '../engine/run.ts'

export function progressLine(pipeline: string): { update: (progress: Progress) => void; end: () => void } {
  const started = performance.now()
  const terminal = process.stderr.isTTY
  let shownAt = 0
  const line = (progress: Progress): string => {
    const seconds = (performance.now() - started) / 1000
    const { books } = progress
    const rate = Math.round(books.rowsIn / Math.max(seconds, 0.001))
    const state = progress.state.is === 'retrying' ? `, retrying: ${progress.state.why}` : progress.state.is === 'standing by' ? `, waiting for ${progress.state.owner}` : ''
    return `${pipeline}: ${books.rowsIn.toLocaleString('en')} rows, ${books.written.toLocaleString('en')} written, ${books.duplicates.toLocaleString('en')} duplicates, ${books.dead.toLocaleString('en')} dead, ${rate.toLocaleString('en')} rows/s${state}`
  }
  return {
    update(progress) {
      const now = performance.now()
      if (now - shownAt < (terminal ? 100 : 2000)) return
      shownAt = now
      process.stderr.write(terminal ? `\r\u001b[2K${line(progress)}` : `${line(progress)}\n`)
    },
    end() {
      if (terminal && shownAt > 0) process.stderr.write('\n')
    },
  }
}
