/**
 * The story of a log: what is new of it goes into Parquet, results are told anew from all of it, and both are committed
 * together with how far the log was read. A process that is killed leaves files that nothing refers to, and no more.
 */
import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Follower, FollowerTools, WriteTransaction } from 'millrace'
import { analysis, type Subject, taskRepeats, tasksDistinct, tasksOnce } from './analyse.ts'
import { tasksCut } from './cut-tasks.ts'
import { chainsBegun, chainsCarried, findingsTable } from './findings.ts'
import { type EventLog, findLogs, type LogFile, postedKey, withPosted } from './logs.ts'
import { eventsIn, eventsOf, linesIn, tasksOf } from './parse.ts'
import { type Piece, pieceBytes, pieces, removePiece } from './pieces.ts'
import { thresholdsOf } from './settings.ts'
import { forgetSummaries } from './summaries.ts'
import { printTables, replaceRows } from './tables.ts'
import type { FileEnd } from './unpack.ts'

/** Small parts of a log that has grown often are made one. */
const mostParts = 12
/** Of the pieces that it was made of: a larger part stays what it is, however long its log becomes. */
const smallPartBytes = pieceBytes / 2
/** What nothing refers to may still be read by somebody who asked a moment ago, or be written by another process. */
const unusedKeptMs = 600_000

export const followerName = 'event-logs'
/** The folder, in that of the follower, of lines that were posted. */
const postedFolder = 'posted'

export const eventLogFollower: Follower = {
  name: followerName,
  says: "Spark's event logs, as tables of applications, jobs, stages and what is wrong with them",
  everyMs: (settings) => Number(settings['SPARK_EVENT_LOG_EVERY']),
  memoryMb: 256,
  round: (tools) => round(tools),
}

interface Stored {
  mark: string
  position: Record<string, Reading>
  parts: Parts
  rounds: number
}

/** How far a file was read. */
interface Reading {
  bytes: number
  upTo: number
  end: FileEnd
  rest: number
  lines: number
  badLines: number
  /** It was closed then: nothing came after. */
  closed?: boolean
}

interface Parts {
  tasks: string[]
  events: string[]
}

async function round(tools: FollowerTools): Promise<boolean> {
  const folder = String(tools.settings['SPARK_EVENT_LOG_DIR'])
  const { logs, leftAlone } = await withPosted(await findLogs(folder), join(tools.folder, postedFolder))
  for (const { path, why } of leftAlone) warnOnce(tools, path, why)
  const stored = await storedLogs(tools)
  const failures: unknown[] = []
  let worked = false
  for (const log of chosen(tools, logs)) {
    if (tools.signal.aborted) break
    const before = stored.get(keyOf(log))
    if (before?.mark === log.mark) continue
    try {
      await follow(tools, log, before)
      worked = true
    } catch (error) {
      // the others go on
      failures.push(error)
    }
  }
  if (failures.length > 0) throw failures[0]
  return worked
}

const warned = new WeakMap<AbortSignal, Set<string>>()

function warnOnce({ warn, signal }: FollowerTools, path: string, why: string): void {
  const known = warned.get(signal) ?? new Set()
  warned.set(signal, known)
  if (known.has(path)) return
  known.add(path)
  warn('a log is left alone', { path, why })
}

function keyOf({ appId, attempt }: { appId: string; attempt: string }): string {
  return `${appId}\n${attempt}`
}

// Of several files of the same attempt one is read: one that is closed, else the first by name.
function chosen(tools: FollowerTools, logs: EventLog[]): EventLog[] {
  const best = new Map<string, EventLog>()
  for (const log of logs) {
    const other = best.get(keyOf(log))
    if (other === undefined || (other.inProgress && !log.inProgress)) best.set(keyOf(log), log)
    if (other !== undefined && other.inProgress === log.inProgress) {
      warnOnce(tools, log.path, `${other.path} is of the same attempt`)
    }
  }
  return [...best.values()]
}

async function storedLogs({ write }: FollowerTools): Promise<Map<string, Stored>> {
  const rows = await write((transaction) =>
    transaction.sql('select app_id, attempt, mark, position, parts, rounds from spark_event_logs'),
  )
  return new Map(
    // as: the columns of the statement above
    (rows as unknown as (Stored & { app_id: string; attempt: string })[]).map((row) => [
      keyOf({ appId: row.app_id, attempt: row.attempt }),
      row,
    ]),
  )
}

async function follow(tools: FollowerTools, log: EventLog, before: Stored | undefined): Promise<void> {
  const { duck, folder, settings, now } = tools
  // a log that has become shorter is another one
  const goesOn =
    before !== undefined && log.files.every(({ key, bytes }) => bytes >= (before.position[key]?.bytes ?? 0))
  const position = goesOn ? { ...before.position } : {}
  const parts: Parts = goesOn ? structuredClone(before.parts) : { tasks: [], events: [] }
  const home = join(folder, encodeURIComponent(`${log.appId} ${log.attempt}`))
  await mkdir(home, { recursive: true })
  const made = new PartsMaker(tools, home, parts)
  for (const file of filesToRead(log, position)) {
    position[file.key] = await read(tools, made, log, file, position[file.key])
  }
  await made.atLeastOne()
  await made.compact()

  const paths = (names: string[]): string[] => names.map((each) => join(home, each))
  const subject = subjectOf(log, position, Number(settings['SPARK_CORE_HOUR_PRICE']))
  const [events, ...more] = analysis(subject, { tasks: paths(parts.tasks), events: paths(parts.events) })
  const [everyTask, ...rest] = more
  for (const statement of [events, everyTask]) if (statement !== undefined) await duck.run(statement)
  const [answer] = await duck.rows(taskRepeats)
  await duck.run('drop view if exists tasks').catch(() => duck.run('drop table if exists tasks'))
  await duck.run(answer?.['repeated'] === true ? tasksDistinct : tasksOnce)
  for (const statement of rest) await duck.run(statement)
  await duck.run(chainsBegun)
  while ((await duck.run(chainsCarried)) > 0);
  await duck.run(findingsTable(log, thresholdsOf(settings)))

  const printed = await printTables(tools)
  try {
    await tools.write(async (transaction) => {
      const rounds = before?.rounds ?? 0
      const [held] = await transaction.sql(
        `
        insert into spark_event_logs as l (app_id, attempt, path, mark, position, parts, rounds, read_at)
        select $1, $2, $3, $4, $5, $6, $7::int + 1, $8
        -- what was forgotten meanwhile is read again
        where  $7 = 0 or exists (select from spark_event_logs where app_id = $1 and attempt = $2)
        on conflict (app_id, attempt) do update
        set    path = excluded.path, mark = excluded.mark, position = excluded.position, parts = excluded.parts,
               rounds = excluded.rounds, read_at = excluded.read_at
        -- unless another process was faster: what it has read is not what this one went on from
        where  l.rounds = $7 and $7 > 0
        returning l.rounds`,
        [
          log.appId,
          log.attempt,
          log.path,
          log.mark,
          JSON.stringify(position),
          JSON.stringify(parts),
          rounds,
          new Date(now()),
        ],
      )
      if (held === undefined) return
      // results may be there of a log of which it was forgotten how far it was read
      const [known] = await transaction.sql('select from spark_apps where app_id = $1 and attempt = $2', [
        log.appId,
        log.attempt,
      ])
      const days = known === undefined ? new Map<string, string>() : await jobsByDay(transaction, log)
      for (const table of printed) await replaceRows(transaction, table, { ...log, isNew: known === undefined })
      const daysAfter = await jobsByDay(transaction, log)
      const changed = [...new Set([...days.keys(), ...daysAfter.keys()])].filter(
        (day) => days.get(day) !== daysAfter.get(day),
      )
      await transaction.enqueue(forgetSummaries, changed)
    })
  } finally {
    for (const { path } of printed) await rm(path, { force: true })
  }
  await removeUnused(home, [...parts.tasks, ...parts.events], now())
}

// What is told of the jobs that ended on a day, as a number that is another one when anything of it is.
async function jobsByDay(
  { sql }: WriteTransaction,
  { appId, attempt }: { appId: string; attempt: string },
): Promise<Map<string, string>> {
  const rows = await sql(
    `
    select to_char(end_time at time zone 'UTC', 'YYYY-MM-DD') as day, sum(hashtextextended(j::text, 0))::text as told
    from   spark_job_analytics j
    where  app_id = $1 and attempt = $2
    group by 1`,
    [appId, attempt],
  )
  return new Map(rows.map(({ day, told }) => [String(day), String(told)]))
}

// What Spark has compacted stands for the files up to its number, and has less than they: it is read where one of them
// is gone and was not read to its end. Lines that are in both count once.
function filesToRead({ files }: EventLog, position: Record<string, Reading>): LogFile[] {
  const compacts = files.filter(({ key }) => isCompact(key))
  const newest = compacts.at(-1)
  if (newest === undefined) return files
  const compactedBefore = Object.keys(position).filter((key) => isCompact(key) && key !== newest.key)
  const from = Math.max(0, ...compactedBefore.map(numberOf)) + 1
  const lying = new Set(files.map(({ key }) => key))
  const numbers = Array.from({ length: Math.max(0, numberOf(newest.key) - from + 1) }, (_, i) => String(from + i))
  const misses = numbers.some((key) => !lying.has(key) && position[key]?.closed !== true)
  return files.filter((file) => !isCompact(file.key) || (file === newest && (misses || file.key in position)))
}

const isCompact = (key: string): boolean => key.endsWith(' compact')
const numberOf = (key: string): number => Number.parseInt(key, 10)

async function read(
  { duck, scratch }: FollowerTools,
  made: PartsMaker,
  log: EventLog,
  file: LogFile,
  before: Reading | undefined,
): Promise<Reading> {
  // of a rolling log all files but the last are closed
  const closed = file.key !== postedKey && (!log.inProgress || file !== log.files.at(-1))
  if (before !== undefined && before.bytes === file.bytes && before.rest === 0 && before.end === 'whole')
    return { ...before, closed }
  let { lines = 0, badLines = 0 } = before ?? {}
  const stretch = { path: file.path, codec: file.codec, bytes: file.bytes, from: before?.upTo ?? 0 }
  const cut = pieces(stretch, scratch, { takeRest: closed })
  try {
    for (;;) {
      const next = await cut.next()
      if (next.done === true) {
        const { end, upTo, rest, tooLong } = next.value
        return { bytes: file.bytes, upTo, end, rest, lines: lines + tooLong, badLines: badLines + tooLong, closed }
      }
      const taken = await made.add(next.value)
      lines += taken.lines
      badLines += taken.badLines
      await removePiece(next.value)
    }
  } finally {
    await cut.return({ end: 'whole', upTo: 0, rest: 0, tooLong: 0 })
    await duck.run('drop table if exists others')
  }
}

/** Writes parts, under names that nobody else takes. */
class PartsMaker {
  readonly #tools: FollowerTools
  readonly #home: string
  readonly #parts: Parts

  constructor(tools: FollowerTools, home: string, parts: Parts) {
    this.#tools = tools
    this.#home = home
    this.#parts = parts
  }

  /** Answers how many lines it has, and how many of them are no events. */
  async add(piece: Piece): Promise<{ lines: number; badLines: number }> {
    const { duck } = this.#tools
    const tasks = piece.tasks === undefined ? [] : [tasksCut(piece.tasks)]
    const events = piece.events === undefined ? [] : [eventsIn(piece.events.path)]
    let others = { lines: 0, bad: 0, events: 0 }
    if (piece.others !== undefined) {
      await duck.run(`create or replace temp table others as ${linesIn(piece.others.path)}`)
      const [count] = await duck.rows(`
        select count(*)::integer as lines, count(*) filter (Event is null)::integer as bad,
               (select count(*) from (${eventsOf('others')}))::integer as events
        from   others`)
      others = { lines: Number(count?.['lines']), bad: Number(count?.['bad']), events: Number(count?.['events']) }
      tasks.push(tasksOf('others'))
      if (others.events > 0) events.push(eventsOf('others'))
    }
    if (tasks.length > 0) await this.#part('tasks', piece.bytes, tasks.join(' union all by name '))
    const written = events.length > 0 ? await this.#part('events', piece.bytes, events.join(' union all by name ')) : 0
    const ofEvents = piece.events?.lines ?? 0
    return {
      lines: piece.lines - (piece.others?.lines ?? 0) + others.lines,
      badLines: others.bad + ofEvents - (written - others.events),
    }
  }

  async #part(kind: keyof Parts, bytes: number, select: string): Promise<number> {
    const name = `${kind}-${bytes}-${randomUUID()}.parquet`
    const rows = await this.#write(name, select)
    this.#parts[kind].push(name)
    return rows
  }

  /** A log without a line has parts without rows, for they have columns. */
  async atLeastOne(): Promise<void> {
    const { tasks, events } = this.#parts
    if (tasks.length > 0 && events.length > 0) return
    const path = join(this.#tools.scratch, 'nothing.jsonl')
    await writeFile(path, '')
    await this.#tools.duck.run(`create or replace temp table others as ${linesIn(path)}`)
    if (tasks.length === 0) await this.#part('tasks', 0, tasksOf('others'))
    if (events.length === 0) await this.#part('events', 0, eventsOf('others'))
    await rm(path)
  }

  async compact(): Promise<void> {
    for (const kind of ['tasks', 'events'] as const) {
      const small = this.#parts[kind].filter((name) => bytesOfPart(name) < smallPartBytes)
      if (small.length <= mostParts) continue
      const paths = small.map((each) => `'${join(this.#home, each)}'`)
      const bytes = small.reduce((sum, name) => sum + bytesOfPart(name), 0)
      this.#parts[kind] = this.#parts[kind].filter((name) => !small.includes(name))
      await this.#part(kind, bytes, `select * from read_parquet([${paths.join(', ')}], union_by_name = true)`)
    }
  }

  async #write(name: string, select: string): Promise<number> {
    const path = join(this.#home, name)
    const rows = await this.#tools.duck.run(`copy (${select}) to '${path}' (format parquet, compression zstd)`)
    // what a commit refers to must be there after a power cut, too
    await using file = await open(path, 'r+')
    await file.sync()
    return rows
  }
}

// How much it was made of stands in its name, but for parts of an earlier version.
function bytesOfPart(name: string): number {
  return Number(/^[a-z]+-(\d+)-[^-]{8}-/.exec(name)?.[1] ?? 0)
}

function subjectOf(log: EventLog, position: Record<string, Reading>, pricePerCoreHour: number): Subject {
  const readings = Object.entries(position)
  const sum = (of: (reading: Reading) => number): number => readings.reduce((total, [, each]) => total + of(each), 0)
  const lastKey = log.files.at(-1)?.key
  const marks = new Set<string>()
  if (log.inProgress) marks.add('in progress')
  for (const [key, { end, rest }] of readings) {
    // what is still written has no end yet
    const open = key === postedKey || (log.inProgress && key === lastKey)
    if (end === 'damaged') marks.add('damaged')
    if (end === 'cut' && !open) marks.add('cut')
    if (rest > 0 && !open) marks.add('last line cut')
    if (isCompact(key)) marks.add('compacted')
  }
  return {
    appId: log.appId,
    attempt: log.attempt,
    lines: sum(({ lines }) => lines),
    badLines: sum(({ badLines }) => badLines),
    bytes: sum(({ bytes }) => bytes),
    marks: [...marks],
    pricePerCoreHour,
  }
}

async function removeUnused(home: string, used: string[], nowMs: number): Promise<void> {
  for (const name of await readdir(home)) {
    if (used.includes(name)) continue
    const path = join(home, name)
    const made = await stat(path).catch(() => undefined)
    if (made !== undefined && nowMs - made.mtimeMs > unusedKeptMs) await rm(path, { force: true })
  }
}
