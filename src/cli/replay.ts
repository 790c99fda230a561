import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../config.ts'
import { spoolFolder } from '../engine/duckdb.ts'
import { MillraceError } from '../errors.ts'
import type { Log } from '../log.ts'
import { openLettersReader } from '../sources/letters.ts'
import type { PostgresStore } from '../store/postgres.ts'
import type { DeadLetter } from '../store/store.ts'
import type { System } from '../system.ts'
import { chosen, settledLines, someIds, someLines } from './dead-letters.ts'
import { dryRun, type Forecast } from './dry-run.ts'
import { editsOf, planNamed, queryOf, sourceOf } from './letters-choice.ts'
import { commandLog, knownSystems, openDuck, openStore, readConfig, shortWaitMs, systemNamed } from './open.ts'
import { counted, number, printable } from './text.ts'
import { jsonOption, textOption, textsOption, type Verb } from './verb.ts'
import { runSystem } from './worker.ts'

export const replay: Verb = {
  says: 'Sends dead letters down their pipeline again, as edited; what lands is settled, what fails is a new dead letter.',
  usage: '<id>... [--where NAME=VALUE]... [--set column=value]... [--pipeline FILE] [--dry-run] [--json]',
  options: {
    where: {
      type: 'string',
      multiple: true,
      says: 'those of which this holds: pipeline=, code=, place=, batch=, since=',
    },
    set: {
      type: 'string',
      multiple: true,
      says: 'this value in every one of them; the letters themselves stay as they are',
    },
    pipeline: { type: 'string', says: 'the file of their pipeline, when it is one of your own' },
    'dry-run': { type: 'boolean', says: 'say of each whether it would land, and change nothing' },
    ...jsonOption,
  },
  examples: [
    'millrace dead-letters replay 18',
    'millrace dead-letters replay --where code=NOT_ONE_OF --set event_type=view --dry-run',
    'millrace dead-letters replay --where pipeline=shop-events --where batch=12',
    'millrace dead-letters replay 18 --pipeline ./orders.ts',
  ],
  async run({ words, options, signal, out }) {
    const where = textsOption(options, 'where')
    if (where.length === 0) someIds(words)
    const json = options['json'] === true
    // files are loaded first: a system of a user has settings of its own
    const file = textOption(options, 'pipeline')
    if (file !== undefined) await systemNamed(file)
    await queryOf(where)
    const { config } = readConfig()
    const log = commandLog(config)
    await using opened = await openStore(config, log, { waitMs: shortWaitMs, signal })
    const letters = await chosen(opened.store, words, where)
    if (!json) for (const line of settledLines(letters)) out(line)
    let exitCode = 0
    for (const group of await grouped(letters, config, opened.store, textsOption(options, 'set'))) {
      if (group.unreadable.length > 0) {
        exitCode = 1
        process.stderr.write(`${unreadableText(group)}\n`)
      }
      if (group.letters.length === 0) continue
      const tools = { config, log, store: opened.store, signal }
      if (options['dry-run'] === true) sayForecasts(await forecast(tools, group), json, out)
      else sayReplay(await replayGroup(tools, group), json, out)
    }
    if (!json && letters.length === 0) out('there is no open dead letter like that')
    return signal.aborted ? 1 : exitCode
  },
}

interface Group {
  pipeline: string
  columns: string[]
  /** Open letters that can be replayed. */
  letters: DeadLetter[]
  unreadable: DeadLetter[]
  set: Record<string, string | null>
}

async function grouped(letters: DeadLetter[], config: Config, store: PostgresStore, set: string[]): Promise<Group[]> {
  const open = letters.filter(({ settled }) => settled === null)
  const groups: Group[] = []
  for (const [pipeline, own] of Map.groupBy(open, (letter) => letter.pipeline)) {
    const { source } = await sourceOf({ pipeline, source: own[0]?.source ?? '' }, config, store)
    const columns = source.columns.map(({ name }) => name)
    const edits = editsOf(set, source.columns)
    const isUnreadable = ({ fields }: DeadLetter): boolean =>
      fields === null && columns.some((name) => !Object.hasOwn(edits, name))
    groups.push({
      pipeline,
      columns,
      letters: own.filter((letter) => !isUnreadable(letter)),
      unreadable: own.filter(isUnreadable),
      set: edits,
    })
  }
  return groups
}

interface Tools {
  config: Config
  log: Log
  store: PostgresStore
  signal: AbortSignal
}

function unreadableText({ unreadable, columns }: Group): string {
  const ids = unreadable.slice(0, 10).map(({ id }) => id)
  const more = unreadable.length - ids.length
  return `not replayed: ${counted(unreadable.length, 'row')} that could not be told into columns, as dead letter ${ids.join(', ')}${more > 0 ? ` and ${number(more)} more` : ''}
  give each column a value: ${columns.map((column) => `--set ${column}=...`).join(' ')}`
}

// ---- in earnest ----------------------------------------------------------------------------------------------------

interface Replayed {
  summary: Record<string, string | number>
  again: DeadLetter[]
}

async function replayGroup(
  { config, log, store, signal }: Tools,
  { pipeline, letters, set }: Group,
): Promise<Replayed> {
  const started = performance.now()
  const system = replayable(pipeline)
  await using duck = await openDuck(config)
  const ids = letters.map(({ id }) => id)
  const { books, batches } = await runSystem({
    system,
    config,
    store,
    duck,
    log,
    signal,
    letters: { open: () => store.deadLetters({ pipeline, ids }), set },
  })
  const settled = await store.deadLetters({ ids, settled: true })
  // `batch 12`, the batch whose commit settled it
  const replays = new Set(settled.flatMap(({ settledBy }) => /^batch (\d+)$/.exec(settledBy ?? '')?.[1] ?? []))
  const again: DeadLetter[] = []
  for (const batch of replays)
    again.push(...(await store.deadLetters({ pipeline, batch: Number(batch), settled: true })))
  return {
    summary: {
      pipeline,
      rows_in: books.rowsIn,
      written: books.written,
      filtered: books.filtered,
      duplicates: books.duplicates,
      late: books.late,
      dead: books.dead,
      batches,
      seconds: Math.round(performance.now() - started) / 1000,
    },
    again: books.dead === 0 ? [] : again,
  }
}

// In earnest it takes the whole system: a stored plan knows nothing of a quarantine folder.
function replayable(pipeline: string): System {
  const known = knownSystems().find(({ name }) => name === pipeline)
  if (known !== undefined) return known
  throw new MillraceError('UNKNOWN_PIPELINE', {
    message: `the dead letters are of "${pipeline}", which does not ship with Millrace`,
    hint: 'say which file it is in, such as --pipeline ./orders.ts',
  })
}

function sayReplay({ summary, again }: Replayed, json: boolean, out: (line: string) => void): void {
  if (json) {
    out(JSON.stringify({ ...summary, dead_again: again.map(({ id }) => id) }))
    return
  }
  const { pipeline, rows_in: rowsIn, batches: _batches, seconds, ...verdicts } = summary
  out(`replayed ${counted(Number(rowsIn), 'dead letter')} of ${pipeline} in ${seconds} s: ${inWords(verdicts)}`)
  const lines = again.map(
    ({ id, code, message }) => `  failed again, as dead letter ${id}: ${code}, ${printable(message)}`,
  )
  for (const line of someLines(
    lines,
    (more) => `  and ${number(more)} more: millrace dead-letters list --batch ${again[0]?.batch}`,
  )) {
    out(line)
  }
}

function inWords(numbers: Record<string, string | number>): string {
  const said = Object.entries(numbers).filter(([, n]) => n !== 0)
  return said.length === 0
    ? 'nothing'
    : said.map(([name, n]) => `${n} ${name === 'duplicates' && n === 1 ? 'duplicate' : name}`).join(', ')
}

// ---- only looking --------------------------------------------------------------------------------------------------

async function forecast({ config, store }: Tools, { pipeline, letters, set }: Group): Promise<Forecast[]> {
  const plan = await planNamed(pipeline, config, store)
  const { source } = await sourceOf({ pipeline, source: letters[0]?.source ?? '' }, config, store)
  // not among the pipeline's own: a worker that starts clears what it finds there
  const spool = join(spoolFolder(config.dataDirectory), `dry-run-${process.pid}-${randomBytes(4).toString('hex')}`)
  await mkdir(spool, { recursive: true })
  await using duck = await openDuck(config)
  const session = await duck.connect()
  try {
    await using reader = await openLettersReader({ source, open: async () => [...letters], set, spool })
    const limits = { rows: config.batchMaxRows, bytes: config.batchMaxBytes }
    return await dryRun({ plan, store, session, spool, filters: new Map() }, reader, limits)
  } finally {
    session.close()
    await rm(spool, { recursive: true, force: true })
  }
}

function sayForecasts(forecasts: Forecast[], json: boolean, out: (line: string) => void): void {
  if (json) {
    for (const { id, would, code, why } of forecasts) out(JSON.stringify({ id, would, code: code ?? null, why }))
    return
  }
  const lines = forecasts.map(
    ({ id, would, code, why }) =>
      `dead letter ${id} would ${would}: ${code === undefined ? '' : `${code}, `}${printable(why)}`,
  )
  for (const line of someLines(lines, (more) => `and ${number(more)} more, which --json lists`)) out(line)
  const outcomes = Map.groupBy(forecasts, ({ would }) => would)
  const said = [...outcomes].map(([would, those]) => `${number(those.length)} would ${would}`).join(', ')
  out(`\n${counted(forecasts.length, 'dead letter')}: ${said}. Nothing was changed; Postgres may still refuse a row.`)
}
