/** Progress of a bounded run on stderr: a bar drawn over itself on a terminal, a line now and then elsewhere. */
import type { Progress } from '../engine/progress.ts'
import { bytes, counted, cut, duration, number, printable, shortNumber } from './text.ts'

export interface ProgressLine extends Disposable {
  update(progress: Progress): void
  /** Writes a line above the bar. */
  print(line: string): void
}

export type Screen = Pick<NodeJS.WriteStream, 'write' | 'columns' | 'isTTY'>

/** Since the run had its lease: up to the last batch, and up to now. */
export interface Elapsed {
  movedMs: number
  nowMs: number
}

const drawMs = 100
const sayMs = 2000
const erase = '\r\u001b[2K'

export function progressLine(
  pipeline: string,
  screen: Screen = process.stderr,
  now: () => number = () => performance.now(),
): ProgressLine {
  const isDrawn = screen.isTTY === true && process.env['TERM'] !== 'dumb'
  let latest: Progress | undefined
  let began: number | undefined
  let movedMs = 0
  let batches = 0
  let said = ''
  const elapsed = (): Elapsed => ({ movedMs, nowMs: began === undefined ? 0 : now() - began })
  const say = (): void => {
    if (latest === undefined) return
    // a line that wraps could not be drawn over
    const text = isDrawn
      ? `${erase}${barLine(pipeline, latest, elapsed(), (screen.columns || 80) - 1)}`
      : `${pipeline}: ${progressText(latest, elapsed())}\n`
    if (text !== said) screen.write(text)
    said = text
  }
  const timer = setInterval(say, isDrawn ? drawMs : sayMs)
  return {
    update(progress) {
      latest = progress
      // it may wait long for the database, or for the lease
      if (progress.state.is === 'running') began ??= now()
      if (progress.batches > batches) movedMs = elapsed().nowMs
      batches = progress.batches
    },
    print(line) {
      screen.write(`${isDrawn ? erase : ''}${line}\n`)
      if (!isDrawn) return
      said = ''
      say()
    },
    [Symbol.dispose]() {
      clearInterval(timer)
      if (!isDrawn || latest === undefined) return
      const { books, bytesDone } = latest
      const did = `${counted(books.rowsIn, 'row')} of ${bytes(bytesDone)} in ${duration(elapsed().nowMs)}`
      screen.write(`${erase}${pipeline}: ${did}, ${rateOf(latest, elapsed().nowMs)}\n`)
      latest = undefined
    },
  }
}

/** What hinders it, else how far it is and how fast, in at most `width` cells. */
export function barLine(pipeline: string, progress: Progress, elapsed: Elapsed, width: number): string {
  const { books } = progress
  const share = shareOf(progress)
  if (share === undefined) return cut(`${pipeline}: ${progressText(progress, elapsed)}`, width)
  const leftMs = leftOf(progress, elapsed)
  const cells = Math.max(10, Math.min(30, Math.floor(width / 6)))
  const full = Math.floor(share * cells)
  const far = [
    `${pipeline}  [${'='.repeat(full)}${' '.repeat(cells - full)}] ${percent(share).padStart(5)}`,
    rateOf(progress, elapsed.movedMs),
    ...(leftMs === undefined ? [] : [`${duration(leftMs)} left`]),
  ].join('  ')
  const whole = `${far}  ${booksText(books, shortNumber)}`
  if (whole.length <= width) return whole
  return cut(`${far}  ${shortNumber(books.rowsIn)} in, ${shortNumber(books.dead)} dead`, width)
}

/** The same in words. */
export function progressText(progress: Progress, { movedMs }: Elapsed): string {
  const { state, books } = progress
  switch (state.is) {
    case 'retrying':
      return `retrying: ${printable(state.why.split('\n')[0] ?? '')}`
    case 'standing by':
      return `waiting for ${state.owner} to lend it`
    case 'starting':
      return 'starting'
    case 'running':
    case 'lending':
    case 'stopped': {
      const share = shareOf(progress)
      if (share === undefined && progress.batches === 0) return 'reading'
      const far = share === undefined ? '' : `${percent(share)}, `
      return `${far}${counted(books.rowsIn, 'row')}, ${rateOf(progress, movedMs)}: ${booksText(books, number)}`
    }
  }
}

// Undefined where it is not known, or does not matter.
function shareOf({ state, bytesDone, bytesTotal }: Progress): number | undefined {
  if (bytesTotal === undefined || state.is !== 'running') return undefined
  return bytesTotal === 0 ? 1 : Math.min(1, bytesDone / bytesTotal)
}

// What the bytes so far have taken, for those to come; it goes down also while a batch is being made.
function leftOf({ bytesDone, bytesTotal = 0 }: Progress, { movedMs, nowMs }: Elapsed): number | undefined {
  if (bytesDone === 0 || bytesDone >= bytesTotal) return undefined
  const leftMs = (movedMs / bytesDone) * (bytesTotal - bytesDone) - (nowMs - movedMs)
  return Math.max(1000, Math.ceil(leftMs / 1000) * 1000)
}

function percent(share: number): string {
  return `${Math.floor(share * 100)} %`
}

function rateOf({ books }: Progress, ms: number): string {
  return `${number(Math.round((books.rowsIn * 1000) / Math.max(ms, 1)))}/s`
}

function booksText({ written, filtered, duplicates, late, dead }: Progress['books'], print: typeof number): string {
  const rare = Object.entries({ filtered, late }).filter(([, rows]) => rows > 0)
  return Object.entries({ written, duplicates, ...Object.fromEntries(rare), dead })
    .map(([verdict, rows]) => `${print(rows)} ${verdict}`)
    .join(', ')
}
