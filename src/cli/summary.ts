/** The live summary of `start`: what runs, how fast, how far behind, and where to look. Redrawn in place. */
import { styleText } from 'node:util'
import type { Config } from '../config.ts'
import type { Progress, WorkerState } from '../engine/run.ts'

export interface LiveSummary extends Disposable {
  changed(): void
}

interface SummaryOptions {
  progress: Map<string, Progress>
  config: Config
  url: string
  port: number
  out: NodeJS.WriteStream
}

export function liveSummary(options: SummaryOptions): LiveSummary {
  const { out } = options
  const started = Date.now()
  const rates = new Map<string, { rows: number; at: number; perSecond: number }>()
  let drawn = 0
  const draw = (): void => {
    const lines = summaryLines(options, rates, started)
    const up = drawn === 0 ? '' : `\u001b[${drawn}A\r\u001b[0J`
    out.write(`${up}${lines.join('\n')}\n`)
    drawn = lines.length
  }
  draw()
  const timer = setInterval(draw, 500)
  return {
    changed() {},
    [Symbol.dispose]() {
      clearInterval(timer)
      draw()
    },
  }
}

function summaryLines(
  { progress, config, url, port }: SummaryOptions,
  rates: Map<string, { rows: number; at: number; perSecond: number }>,
  started: number,
): string[] {
  const now = Date.now()
  const lines = [
    `${styleText('bold', 'Millrace')} has been running for ${duration(now - started)}`,
    '',
    styleText('gray', `  ${cells(['pipeline', 'state', 'rows/s', 'rows in', 'written', 'duplicates', 'dead', 'last batch'])}`),
  ]
  for (const [name, { state, books, lastCommittedAt }] of progress) {
    const rate = rates.get(name) ?? { rows: books.rowsIn, at: now, perSecond: 0 }
    if (now - rate.at >= 2000) {
      rate.perSecond = ((books.rowsIn - rate.rows) * 1000) / (now - rate.at)
      rate.rows = books.rowsIn
      rate.at = now
    }
    rates.set(name, rate)
    const ago = lastCommittedAt === undefined ? '-' : `${duration(now - lastCommittedAt.getTime())} ago`
    lines.push(
      `  ${cells([name, inWords(state), rate.perSecond.toFixed(1), count(books.rowsIn), count(books.written), count(books.duplicates), count(books.dead), ago])}`,
    )
    if (state.is === 'retrying' || state.is === 'stopped') lines.push(styleText('yellow', `    ${state.why}`))
  }
  lines.push(
    '',
    `  server    http://${config.host}:${port}/api/pipelines`,
    `  database  psql "${url}"`,
    `  files     ${config.dataDirectory}`,
    '',
    styleText('gray', '  Ctrl-C stops it; what is committed stays.'),
  )
  return lines
}

const widths = [16, 14, 10, 12, 12, 12, 10, 12]

function cells(texts: string[]): string {
  return texts.map((text, i) => (i < 2 ? text.padEnd(widths[i] ?? 12) : text.padStart(widths[i] ?? 12))).join(' ')
}

function inWords(state: WorkerState): string {
  switch (state.is) {
    case 'starting':
    case 'running':
    case 'retrying':
    case 'stopped':
      return state.is
    case 'standing by':
      return 'standing by'
    case 'lending':
      return 'lent'
  }
}

function count(value: number): string {
  return value.toLocaleString('en')
}

function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000))
  if (seconds < 60) return `${seconds} s`
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
}
