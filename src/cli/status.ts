import { setTimeout as sleep } from 'node:timers/promises'
import { closedInWords, timeView } from '../server/behind.ts'
import { leftAloneInWords } from '../sources/files/waiting.ts'
import { rowsBehind, type TopicLag } from '../sources/topic/lag.ts'
import { hasCluster, openDatabase, readConfig } from './open.ts'
import {
  type DatabaseStanding,
  type PipelineStanding,
  type Standing,
  standing,
  stateInWords,
  stateOf,
  trouble,
} from './standing.ts'
import {
  counted,
  cut,
  duration,
  labelledLines,
  number,
  printable,
  shortNumber,
  type TableColumn,
  tableLines,
  widthsOf,
  wrapped,
} from './text.ts'
import { jsonOption, noWords, type Verb } from './verb.ts'

const watchMs = 2000

export const status: Verb = {
  says: 'Shows what runs, how far it is, what waits, and how psql connects.',
  usage: '[--watch] [--json]',
  options: {
    watch: { type: 'boolean', says: 'show it anew every two seconds, with rows per second, until stopped' },
    ...jsonOption,
  },
  examples: ['millrace status', 'millrace status --watch', 'millrace status --json'],
  async run({ words, options, signal, out }) {
    noWords(words)
    const { config, log } = readConfig()
    const watching = options['watch'] === true
    // held while watching, or it would start and stop each time
    await using _held = watching && (await hasCluster(config)) ? await openDatabase(config, log) : undefined
    using screen = watching && options['json'] !== true && process.stdout.isTTY === true ? openScreen() : undefined
    let before: Look | undefined
    for (;;) {
      const look: Look = { at: new Date(), standing: await standing(config, log, signal) }
      // what is asked as it stops has no answer
      if (signal.aborted) return 0
      if (options['json'] === true) out(JSON.stringify(asJson(look)))
      else {
        const lines = statusLines(look, { width: process.stdout.columns || 80, before })
        if (screen !== undefined) screen.show([...lines, '', `every ${watchMs / 1000} s; Ctrl-C ends it`])
        else out(lines.join('\n'))
      }
      if (!watching) return look.standing.database.fault === undefined ? 0 : 1
      before = look
      await sleep(watchMs, undefined, { signal }).catch(() => {})
      if (signal.aborted) return 0
    }
  },
}

/** What stood where, when. */
export interface Look {
  at: Date
  standing: Standing
}

/** `before`: an earlier look, from which rows per second are told. */
export function statusLines(
  { at, standing: { database, server, pipelines } }: Look,
  { width, before }: { width: number; before?: Look | undefined },
): string[] {
  const lines = [
    ...overview(pipelines, database, at, width, before),
    '',
    ...books(pipelines, width),
    ...pipelines.flatMap((pipeline) => ['', ...pipelineLines(pipeline, database, at, width)]),
    '',
    'server',
  ]
  if (server === undefined) lines.push('  does not run on this data directory: `millrace start`')
  else lines.push(`  ${server.url} (pid ${server.pid})${server.answers ? '' : ', which does not answer'}`)
  lines.push('', database.embedded ? 'database, embedded' : 'database')
  if (database.fault !== undefined) {
    for (const line of database.fault.split('\n')) lines.push(...wrapped(line, width - 2).map((part) => `  ${part}`))
  } else if (database.access === undefined) lines.push('  there is none yet; the first start makes it')
  if (database.access !== undefined) {
    const { host, port, user, database: name, password, url } = database.access
    lines.push(
      ...labelledLines([
        ['host', host],
        ['port', String(port)],
        ['user', user],
        ['database', name],
        // whoever set the address knows the password, and it need not stand on a screen
        ['password', database.embedded ? password : 'as configured'],
      ]),
    )
    if (database.embedded)
      lines.push('', `  psql "${url}"`, ...(server ? [] : ['  (it runs only while a process of Millrace does)']))
  }
  return lines
}

function overview(
  pipelines: PipelineStanding[],
  database: DatabaseStanding,
  now: Date,
  width: number,
  before: Look | undefined,
): string[] {
  const columns: TableColumn[] = [
    { title: 'pipeline' },
    { title: 'state' },
    { title: 'last commit' },
    ...(before === undefined ? [] : [{ title: 'rows/s', to: 'right' } as const]),
    { title: 'files waiting', to: 'right' },
    { title: 'dead letters', to: 'right' },
  ]
  const rows = pipelines.map((pipeline) => {
    const { stored, files } = pipeline
    const state = stateOf(pipeline, database)
    return [
      pipeline.pipeline,
      state === 'left' ? 'owner died' : state,
      stored?.lastCommittedAt == null ? '-' : ago(now.getTime() - stored.lastCommittedAt.getTime()),
      ...(before === undefined ? [] : [rate(pipeline, now, before)]),
      shortNumber(files.waiting + files.claimed),
      stored === undefined ? '-' : shortNumber(stored.deadLettersOpen),
    ]
  })
  return fittingTable(columns, rows, width)
}

function ago(ms: number): string {
  return ms < 1000 ? 'just now' : `${duration(ms)} ago`
}

function rate({ pipeline, stored }: PipelineStanding, now: Date, before: Look): string {
  const earlier = before.standing.pipelines.find((each) => each.pipeline === pipeline)?.stored
  const seconds = (now.getTime() - before.at.getTime()) / 1000
  if (stored === undefined || earlier === undefined || seconds <= 0) return '-'
  // a reset takes the books back
  return shortNumber(Math.max(0, Math.round((stored.rowsIn - earlier.rowsIn) / seconds)))
}

function books(pipelines: PipelineStanding[], width: number): string[] {
  const verdicts = ['written', 'filtered', 'duplicates', 'late', 'dead'] as const
  const columns: TableColumn[] = [
    { title: 'books' },
    { title: 'rows in', to: 'right' },
    ...verdicts.map((title) => ({ title, to: 'right' }) as const),
  ]
  const rows = pipelines.map(({ pipeline, stored }) => [
    pipeline,
    ...(['rowsIn', ...verdicts] as const).map((name) => (stored === undefined ? '-' : shortNumber(stored[name]))),
  ])
  return fittingTable(columns, rows, width)
}

// A name gives way where the line would be too long.
function fittingTable(columns: TableColumn[], rows: string[][], width: number): string[] {
  const [first = 0, ...others] = widthsOf(columns, rows)
  const room = Math.max(8, width - others.reduce((sum, each) => sum + each + 2, 0))
  return tableLines(
    columns,
    rows.map(([name = '', ...cells]) => [cut(name, room), ...cells]),
    [Math.min(first, room), ...others],
  )
}

const labelWidth = 14

function pipelineLines(standing: PipelineStanding, database: DatabaseStanding, now: Date, width: number): string[] {
  const { pipeline, stored, files, folders, topics, numbers, lags } = standing
  const why = trouble(standing)
  const pairs: [string, string][] = [['state', stateInWords(standing, database)]]
  if (why !== undefined) pairs.push(['why', why.split('\n').map(printable).join('\n')])
  if (stored !== undefined) {
    pairs.push(['last batch', stored.batch === 0 ? 'none yet' : `${number(stored.batch)} (epoch ${stored.epoch})`])
    if (stored.deadLettersOpen > 0) {
      pairs.push(['dead letters', `${number(stored.deadLettersOpen)} open: \`millrace dead-letters list\``])
    }
    if (stored.outboxRows > 0) pairs.push(['outbox', `${counted(stored.outboxRows, 'message')} to be published`])
    if (stored.filesQuarantined > 0) pairs.push(['quarantined', counted(stored.filesQuarantined, 'file')])
  }
  const claimed = files.claimed === 0 ? '' : `, ${number(files.claimed)} more claimed`
  if (folders.length > 0)
    pairs.push(['waiting', `${counted(files.waiting, 'file')}${claimed}, in ${folders.join(', ')}`])
  if (topics.length > 0) pairs.push(['reads', topics.join(', ')])
  if (lags.length > 0) pairs.push(['lag', lagInWords(lags)])
  if (numbers !== undefined) {
    const time = timeInWords(numbers.watermark, now)
    if (time !== undefined) pairs.push(['watermark', time])
    if (numbers.stateRows > 0) pairs.push(['keeps', `${counted(numbers.stateRows, 'row')} of state`])
    if (numbers.lateRows > 0) pairs.push(['late', `${counted(numbers.lateRows, 'row')}, in millrace.late_rows`])
  }
  if (files.leftAlone.length > 0) pairs.push(['left alone', printable(leftAloneInWords(files.leftAlone))])
  const room = Math.max(20, width - labelWidth - 2)
  const told = pairs.map(([label, text]): [string, string] => [
    label.padEnd(labelWidth - 2),
    text
      .split('\n')
      .flatMap((line) => wrapped(line, room))
      .join('\n'),
  ])
  return [pipeline, ...labelledLines(told)]
}

function lagInWords(lags: readonly TopicLag[]): string {
  const rows = rowsBehind(lags)
  if (rows === undefined) {
    const silent = lags.filter(({ why }) => why !== undefined)
    return `not known: ${silent.map(({ topic, why }) => `topic ${topic}: ${printable(why ?? '')}`).join('; ')}`
  }
  if (rows === 0) return 'none: all messages are committed'
  const each = lags.map((lag) => ({ topic: lag.topic, own: rowsBehind([lag]) ?? 0 }))
  const behind = each.filter(({ own }) => own > 0).map(({ topic, own }) => `${number(own)} in ${topic}`)
  return `${counted(rows, 'row')} to read: ${behind.join(', ')}`
}

function timeInWords(stored: Date | null, now: Date): string | undefined {
  const { watermark, watermark_closed: closed, watermark_lag_ms: lagMs } = timeView(stored, now.getTime())
  if (closed) return closedInWords
  if (watermark === null || lagMs === null) return undefined
  const moment = watermark.toISOString().replace('T', ' ').slice(0, 19)
  return `${moment}, ${duration(Math.abs(lagMs))} ${lagMs < 0 ? 'ahead of' : 'behind'} the clock`
}

interface Screen extends Disposable {
  show(lines: string[]): void
}

// Written over line by line: a screen that is cleared first flickers.
function openScreen(): Screen {
  const write = (text: string): void => void process.stdout.write(text)
  write('\u001b[?25l\u001b[H\u001b[2J')
  return {
    show(lines) {
      // a terminal that does not know its size says 0
      const rows = process.stdout.rows || lines.length + 1
      const shown =
        lines.length < rows ? lines : [...lines.slice(0, rows - 2), `... ${lines.length - rows + 2} lines more`]
      // a line that the terminal broke would push the first one out
      const width = process.stdout.columns || Number.POSITIVE_INFINITY
      write(`\u001b[H${shown.map((line) => `${cut(line, width)}\u001b[K\n`).join('')}\u001b[J`)
    },
    [Symbol.dispose]() {
      write('\u001b[?25h')
    },
  }
}

function asJson({ at, standing: { database, server, pipelines } }: Look): unknown {
  return {
    pipelines: pipelines.map((standing) => ({
      pipeline: standing.pipeline,
      state: stateOf(standing, database),
      why: trouble(standing) ?? null,
      owner: standing.stored?.owner ?? null,
      alive: standing.stored?.alive ?? null,
      lent_by: standing.stored?.lentBy ?? null,
      doing: standing.stored?.doing ?? null,
      epoch: standing.stored?.epoch ?? null,
      batch: standing.stored?.batch ?? null,
      last_committed_at: standing.stored?.lastCommittedAt ?? null,
      rows_in: standing.stored?.rowsIn ?? null,
      written: standing.stored?.written ?? null,
      filtered: standing.stored?.filtered ?? null,
      duplicates: standing.stored?.duplicates ?? null,
      late: standing.stored?.late ?? null,
      dead: standing.stored?.dead ?? null,
      dead_letters_open: standing.stored?.deadLettersOpen ?? null,
      files_quarantined: standing.stored?.filesQuarantined ?? null,
      outbox_rows: standing.stored?.outboxRows ?? null,
      files_waiting: standing.files.waiting,
      files_claimed: standing.files.claimed,
      left_alone: standing.files.leftAlone,
      ...timeView(standing.numbers?.watermark ?? null, at.getTime()),
      state_rows: standing.numbers?.stateRows ?? null,
      late_rows: standing.numbers?.lateRows ?? null,
      // of topics: how many rows files have is not counted
      lag_rows: standing.lags.length === 0 ? null : (rowsBehind(standing.lags) ?? null),
      topics: standing.lags.map(({ topic, why, partitions }) => ({
        topic,
        why: why ?? null,
        partitions: partitions.map(({ partition, committed, end, rows }) => ({
          partition,
          position: committed ?? null,
          end: end ?? null,
          lag_rows: rows ?? null,
        })),
      })),
    })),
    server: server ?? null,
    database: {
      answers: database.fault === undefined,
      why: database.fault ?? null,
      embedded: database.embedded,
      ...(database.access === undefined || database.embedded
        ? database.access
        : { ...database.access, password: null, url: null }),
    },
  }
}
