/** Replays that are asked for over HTTP: as the command line does them, in this process. */
import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { dryRun, type Forecast, landedIn } from '../engine/dry-run.ts'
import { spoolFolder } from '../engine/duckdb.ts'
import { deadAgain } from '../engine/replay.ts'
import { runSystem } from '../engine/system-run.ts'
import { columnsRead } from '../plan/plan.ts'
import { type ChosenLetters, canBeReplayed, openAllLetters, sourceOfLetters } from '../sources/letters.ts'
import type { DeadLetterCount, DeadLetterFilter } from '../store/store.ts'
import { askForReplay } from '../tasks/replay.ts'
import type { BoardLine } from './board.ts'
import { type Desk, duckOf, storeOf } from './desk.ts'
import { ProblemError } from './problem.ts'

type Edits = Record<string, string | null>

interface Group extends ChosenLetters {
  line: BoardLine
  name: string
}

/** The chosen letters by pipeline, without those that cannot be replayed: sentences say which are left. */
async function groupsOf(desk: Desk, where: DeadLetterFilter, set: Edits): Promise<{ groups: Group[]; left: string[] }> {
  const counts = await storeOf(desk).reads.countDeadLetters(where)
  const upTo = Math.max(0, ...counts.map(({ lastId }) => lastId))
  const groups: Group[] = []
  const left: string[] = []
  for (const [name, own] of Map.groupBy(counts, ({ pipeline }) => pipeline)) {
    const all = sumOf(own, ({ letters }) => letters)
    const line = desk.board.lines.get(name)
    const source = line === undefined ? undefined : sourceOfLetters(line.plan)
    if (line === undefined || source === undefined) {
      left.push(`${all} of "${name}", which this process does not run`)
      continue
    }
    const known = columnsRead(source).map((column) => column.name)
    const stranger = Object.keys(set).find((column) => !known.includes(column))
    if (stranger !== undefined) {
      const hint = `its columns are ${known.join(', ')}`
      throw new ProblemError(404, 'UNKNOWN_COLUMN', `"${name}" has no column "${stranger}"`, hint)
    }
    const group = { line, name, which: { ...where, pipeline: name, upTo }, set }
    const able = canBeReplayed(group, source).replayable ? sumOf(own, ({ replayable }) => replayable) : all
    if (able > 0) groups.push(group)
    if (able < all)
      left.push(`${all - able} of "${name}" that could not be told into columns: give each column a value`)
  }
  return { groups, left }
}

function sumOf(counts: DeadLetterCount[], of: (count: DeadLetterCount) => number): number {
  return counts.reduce((sum, count) => sum + of(count), 0)
}

const forecastsShown = 50

export async function forecast(desk: Desk, where: DeadLetterFilter, set: Edits) {
  const { groups, left } = await groupsOf(desk, where, set)
  const first: Forecast[] = []
  const counts = new Map<string, { would: string; code: string | null; letters: number }>()
  for (const group of groups) {
    const found = await forecastGroup(desk, group, (told) => {
      if (first.length < forecastsShown) first.push(told)
    })
    for (const { would, code, letters } of found) {
      const before = counts.get(`${would} ${code}`)?.letters ?? 0
      counts.set(`${would} ${code}`, { would, code, letters: before + letters })
    }
  }
  return { dry_run: true as const, counts: [...counts.values()], first, left }
}

async function forecastGroup(desk: Desk, { line, ...letters }: Group, tell: (forecast: Forecast) => void) {
  const { config } = desk
  // not among the pipeline's own: a worker that starts clears what it finds there
  const apart = `dry-run-${process.pid}-${randomBytes(4).toString('hex')}`
  const spool = join(spoolFolder(config.dataDirectory), apart)
  await mkdir(spool, { recursive: true })
  using session = await duckOf(desk).connect()
  try {
    const store = storeOf(desk)
    await using reader = await openAllLetters(line.plan, { ...letters, store, spool })
    const limits = { rows: config.batchMaxRows, bytes: config.batchMaxBytes }
    return await dryRun({ plan: line.plan, store, session, spool, apart, filters: new Map() }, reader, limits, tell)
  } finally {
    await session.run(`drop schema if exists ${landedIn({ apart })} cascade`).catch(() => {})
    await rm(spool, { recursive: true, force: true })
  }
}

/** Leaves it to workers, who do it behind other work. */
export async function leaveReplay(desk: Desk, where: DeadLetterFilter, set: Edits) {
  const { groups, left } = await groupsOf(desk, where, set)
  for (const { name, which } of groups) await askForReplay(storeOf(desk), name, { which, set })
  return { dry_run: false as const, replayed: [], left_to_workers: groups.map(({ name }) => name), left }
}

export async function replay(desk: Desk, where: DeadLetterFilter, set: Edits) {
  const { groups, left } = await groupsOf(desk, where, set)
  const replayed = []
  for (const { line, name, which } of groups) {
    const store = storeOf(desk)
    const before = await store.committed(name)
    const { config, log, signal } = desk
    const { books, batches, lastBatch } = await runSystem({
      system: line.system,
      config,
      log,
      signal,
      store,
      duck: duckOf(desk),
      letters: { which, set },
    })
    const again = await deadAgain(store.reads, name, { after: before.batch, last: lastBatch, first: 0 })
    const { rowsIn, ...verdicts } = books
    replayed.push({
      pipeline: name,
      rows_in: rowsIn,
      ...verdicts,
      batches,
      dead_again: again.counts.map(({ code, letters }) => ({ code, letters })),
    })
  }
  return { dry_run: false as const, replayed, left }
}
