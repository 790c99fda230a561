/** The live summary of `start`: what runs, how fast, how far behind, and what to do about what is wrong. */
import { styleText } from 'node:util'
import type { Board, BoardLine } from '../server/board.ts'
import type { Verdicts } from '../store/store.ts'
import { counted, cut, duration, number, padded, printable, shortNumber, type TableColumn, tableLines } from './text.ts'

export interface LiveSummary extends Disposable {
  /** Writes a line above the summary. */
  print(line: string): void
}

type Screen = Pick<NodeJS.WriteStream, 'write' | 'columns' | 'rows'>

/** Draws the summary, and draws it anew in its place, until it is disposed. */
export function liveSummary(board: Board, out: Screen): LiveSummary {
  const rates = new Rates()
  let drawn = 0
  const redraw = (above: string[] = []): void => {
    const now = new Date()
    for (const [name, { progress }] of board.lines) rates.note(name, progress.books.rowsIn, now)
    const width = Math.max(20, (out.columns || 80) - 1)
    // what has scrolled away cannot be drawn again
    const lines = summaryLines(board, (name) => rates.of(name), now, width).slice(0, Math.max(3, (out.rows || 24) - 1))
    const back = drawn === 0 ? '' : `\u001b[${drawn}A\r\u001b[0J`
    out.write(`${back}${[...above, ...lines].join('\n')}\n`)
    drawn = lines.length
  }
  redraw()
  const timer = setInterval(redraw, 500)
  return {
    print: (line) => redraw([line]),
    [Symbol.dispose]() {
      clearInterval(timer)
      redraw()
    },
  }
}

const rateOverMs = 5000

/** Rows a second over the last few seconds. */
export class Rates {
  readonly #seen = new Map<string, { rows: number; at: number }[]>()

  note(name: string, rows: number, now: Date): void {
    const seen = this.#seen.get(name) ?? []
    seen.push({ rows, at: now.getTime() })
    while (seen.length > 2 && (seen[1]?.at ?? 0) <= now.getTime() - rateOverMs) seen.shift()
    this.#seen.set(name, seen)
  }

  of(name: string): number {
    const seen = this.#seen.get(name) ?? []
    const [first, last] = [seen[0], seen.at(-1)]
    if (first === undefined || last === undefined || last.at <= first.at) return 0
    return ((last.rows - first.rows) * 1000) / (last.at - first.at)
  }
}

/** Lines of at most `width` cells. */
export function summaryLines(board: Board, rateOf: (name: string) => number, now: Date, width: number): string[] {
  const books = [...board.lines.values()].map(({ progress }) => progress.books)
  // a verdict that no row has had needs no column; what a narrow terminal cuts off stands last
  const rare = (['filtered', 'late'] as const).filter((verdict) => books.some((each) => each[verdict] > 0))
  const verdicts: (keyof Verdicts)[] = ['written', 'duplicates', 'dead', ...rare]
  const columns: TableColumn[] = [
    { title: 'pipeline' },
    { title: 'state' },
    ...['rows/s', 'files left', 'in', ...verdicts].map((title) => ({ title, to: 'right' as const })),
  ]
  const rows = [...board.lines].map(([name, { progress, files }]) => [
    name,
    progress.state.is === 'lending' ? 'lent' : progress.state.is,
    rateText(rateOf(name)),
    shortNumber(files.waiting + files.claimed),
    shortNumber(progress.books.rowsIn),
    ...verdicts.map((verdict) => shortNumber(progress.books[verdict])),
  ])
  const [titles = '', ...lines] = tableLines(columns, rows)
  const head = `Millrace, for ${duration(now.getTime() - board.startedAt.getTime())}`
  const end = ends[board.phase]
  const shown = [cut(`${padded(head, width - end.length - 2)}  ${end}`, width), '', styled('gray', titles, width)]
  ;[...board.lines.values()].forEach((line, i) => {
    shown.push(cut(lines[i] ?? '', width))
    for (const { text, colour } of notes(board, line)) shown.push(styled(colour, `  ${text}`, width))
  })
  return shown
}

const ends: Record<Board['phase'], string> = {
  'at work': 'Ctrl-C stops it cleanly',
  stopping: 'stopping: the batch in hand is finished first',
  stopped: 'stopped; what is committed stays',
}

function rateText(rate: number): string {
  return rate < 99.95 ? rate.toFixed(1) : shortNumber(Math.round(rate))
}

function styled(colour: 'gray' | 'yellow' | 'red', text: string, width: number): string {
  return styleText(colour, cut(text, width))
}

interface Note {
  text: string
  colour: 'gray' | 'yellow' | 'red'
}

// What a person should know of a pipeline, and what to do about it.
function notes(board: Board, { progress, deadLettersOpen, quarantine }: BoardLine): Note[] {
  const said = stateNotes(board, progress.state)
  if (progress.retries > 0 && progress.state.is === 'running') {
    said.push({ colour: 'gray', text: `it has retried ${counted(progress.retries, 'time')} since the start` })
  }
  if (progress.archiver?.is === 'paused') {
    said.push({
      colour: 'yellow',
      text: `archiving is paused, and goes on by itself: ${printable(progress.archiver.why)}`,
    })
  }
  if (progress.publisher?.is === 'held up') {
    const { waiting, why } = progress.publisher
    said.push({ colour: 'yellow', text: `${counted(waiting, 'message')} to be published: ${printable(why)}` })
  }
  if (progress.filesQuarantined > 0) {
    const where = quarantine === undefined ? 'millrace status' : `see ${quarantine}`
    said.push({ colour: 'yellow', text: `${counted(progress.filesQuarantined, 'file')} could not be read: ${where}` })
  }
  if (deadLettersOpen > 0) {
    const are = deadLettersOpen === 1 ? 'row is a dead letter' : 'rows are dead letters'
    said.push({ colour: 'gray', text: `${number(deadLettersOpen)} ${are}: millrace dead-letters list` })
  }
  return said
}

function stateNotes({ waitingFor, phase }: Board, state: BoardLine['progress']['state']): Note[] {
  const firstLine = (why: string): string => printable(why.split('\n')[0] ?? '')
  switch (state.is) {
    case 'running':
      return []
    case 'starting':
      return waitingFor === undefined
        ? []
        : [{ colour: 'yellow', text: `waiting for Postgres: ${firstLine(waitingFor)}` }]
    case 'standing by':
      return [{ colour: 'gray', text: `${state.owner} runs it; this process takes over when that one ends` }]
    case 'lending':
      return [{ colour: 'gray', text: `lent to ${state.to} for a bounded run; it comes back by itself` }]
    case 'retrying':
      return [
        { colour: 'yellow', text: firstLine(state.why) },
        { colour: 'yellow', text: `try ${state.tries}; nothing is lost, and it goes on by itself: millrace doctor` },
      ]
    case 'stopped':
      return phase !== 'at work'
        ? []
        : [
            { colour: 'red', text: firstLine(state.why) },
            { colour: 'red', text: 'mend that and start again; what is committed stays' },
          ]
  }
}
