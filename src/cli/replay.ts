import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../config.ts'
import { dryRun, type Forecast, type ForecastCount } from '../engine/dry-run.ts'
import { spoolFolder } from '../engine/duckdb.ts'
import { deadAgain } from '../engine/replay.ts'
import { MillraceError } from '../errors.ts'
import { columnsRead, type Source } from '../plan/plan.ts'
import { type ChosenLetters, canBeReplayed, openAllLetters, sourceOfLetters } from '../sources/letters.ts'
import type { PostgresStore } from '../store/postgres.ts'
import { askForReplay } from '../tasks/replay.ts'
import { runShown } from './bounded-run.ts'
import { choiceOf, editsOf, planNamed } from './letters-choice.ts'
import {
  type Chosen,
  chosenLetters,
  codesInWords,
  codesOf,
  isMeant,
  settlingOptions,
  settlingUsage,
  shownAtMost,
  someLines,
  sumOf,
} from './letters-settling.ts'
import {
  commandLog,
  knownSystems,
  type OpenStore,
  openDuck,
  openStore,
  readConfig,
  shortWaitMs,
  systemNamed,
} from './open.ts'
import { counted, number, printable } from './text.ts'
import { jsonOption, textsOption, type Verb } from './verb.ts'

export const replay: Verb = {
  says: 'Sends dead letters down their pipeline again, as edited; what lands is settled, what fails is a new dead letter.',
  usage: `${settlingUsage} [--set column=value]... [--dry-run | --by-worker] [--json]`,
  options: {
    ...settlingOptions,
    set: {
      type: 'string',
      multiple: true,
      says: 'this value in every one of them; the letters themselves stay as they are',
    },
    'dry-run': { type: 'boolean', says: 'say of each whether it would land, and change nothing' },
    'by-worker': { type: 'boolean', says: 'leave it to a worker, behind other work: for very many' },
    ...jsonOption,
  },
  examples: [
    'millrace dead-letters replay 18',
    'millrace dead-letters replay --code NOT_ONE_OF --set event_type=view --dry-run',
    'millrace dead-letters replay --pipeline shop-events --batch 12',
    'millrace dead-letters replay 18 --pipeline ./orders.ts',
    'millrace dead-letters replay --pipeline shop-events --all --by-worker',
  ],
  async run({ words, options, signal, out }) {
    const json = options['json'] === true
    const isDry = options['dry-run'] === true
    if (isDry && options['by-worker'] === true)
      throw new MillraceError('WRONG_USAGE', {
        message: 'a worker says nothing beforehand: either --dry-run or --by-worker',
      })
    const filter = await choiceOf(words, options)
    const { config } = readConfig()
    await using opened = await openStore(config, commandLog(config), { waitMs: shortWaitMs, signal })
    const chosen = await chosenLetters(opened.store, filter, json ? () => {} : out)
    if (!json && chosen.counts.length === 0) out('there is no open dead letter like that')
    const { groups, left } = await groupsOf(chosen, { set: textsOption(options, 'set'), isDry }, opened, config)
    if (!isDry && !(await isMeant(opened.store, chosen, options, signal))) return 1
    for (const line of left) process.stderr.write(`${line}\n`)
    for (const group of groups) {
      if (signal.aborted) break
      if (options['by-worker'] === true) await leave(group, opened, json, out)
      else if (isDry) await forecastGroup(group, opened, config, json, out)
      else await replayGroup(group, opened, { config, signal }, json, out)
    }
    return signal.aborted || left.length > 0 ? 1 : 0
  },
}

/** The chosen letters of one pipeline. */
interface Group extends ChosenLetters {
  pipeline: string
  source: Source
}

async function groupsOf(
  { which, counts }: Chosen,
  { set, isDry }: { set: string[]; isDry: boolean },
  { store }: OpenStore,
  config: Config,
): Promise<{ groups: Group[]; left: string[] }> {
  const groups: Group[] = []
  const left: string[] = []
  for (const pipeline of new Set(counts.map((count) => count.pipeline))) {
    const own = { ...which, pipeline }
    const ownCounts = counts.filter((count) => count.pipeline === pipeline)
    const all = sumOf(ownCounts)
    // in earnest it takes the whole system: a stored plan knows nothing of a quarantine folder
    if (!isDry && !knownSystems().some(({ name }) => name === pipeline)) {
      left.push(`left alone: ${counted(all, 'row')} of the pipeline "${pipeline}", which does not ship with Millrace
  say which file it is in, such as --pipeline ./${pipeline}.ts`)
      continue
    }
    const source = sourceOfLetters(await planNamed(pipeline, config, store))
    if (source === undefined) continue
    const group = { pipeline, source, which: own, set: editsOf(set, source) }
    // not counted anew: what another replay settles meanwhile could be told into columns
    const readable = ownCounts.reduce((sum, { replayable }) => sum + replayable, 0)
    const able = canBeReplayed(group, source).replayable ? readable : all
    if (able > 0) groups.push(group)
    if (able < all) left.push(await unreadableText(store, group, all - able))
  }
  return { groups, left }
}

async function unreadableText(store: PostgresStore, { which, source }: Group, count: number): Promise<string> {
  const some = await store.deadLetters({ ...which, replayable: false, limit: 10 })
  const more = count - some.length
  return `left alone: ${counted(count, 'row')} that could not be told into columns, as dead letter ${some.map(({ id }) => id).join(', ')}${more > 0 ? ` and ${number(more)} more` : ''}
  give each column a value: ${columnsRead(source)
    .map(({ name }) => `--set ${name}=...`)
    .join(' ')}`
}

async function leave(
  { pipeline, which, set }: Group,
  { store }: OpenStore,
  json: boolean,
  out: (line: string) => void,
): Promise<void> {
  await askForReplay(store, pipeline, { which, set })
  if (json) out(JSON.stringify({ pipeline, left_to: 'a worker' }))
  else out(`a worker of ${pipeline} replays them; \`millrace tasks list\` shows it until it is done`)
}

// ---- in earnest ----------------------------------------------------------------------------------------------------

async function replayGroup(
  { pipeline, which, set }: Group,
  opened: OpenStore,
  { config, signal }: { config: Config; signal: AbortSignal },
  json: boolean,
  out: (line: string) => void,
): Promise<void> {
  const started = performance.now()
  const system = await systemNamed(pipeline)
  const before = await opened.store.committed(pipeline)
  await using duck = await openDuck(config, [system])
  const letters = { which, set }
  const { books, batches, lastBatch } = await runShown({ system, config, duck, signal, letters }, opened)
  const again = await deadAgain(opened.store, pipeline, { after: before.batch, last: lastBatch, first: shownAtMost })
  const { rowsIn, ...verdicts } = books
  const seconds = Math.round(performance.now() - started) / 1000
  if (json) {
    const dead_again = Object.fromEntries(codesOf(again.counts))
    out(JSON.stringify({ pipeline, rows_in: rowsIn, ...verdicts, batches, seconds, dead_again }))
    return
  }
  out(`replayed ${counted(rowsIn, 'dead letter')} of ${pipeline} in ${seconds} s: ${inWords(verdicts)}`)
  if (again.counts.length === 0) return
  const lines = again.first.map(
    ({ id, code, message }) => `  failed again, as dead letter ${id}: ${code}, ${printable(message)}`,
  )
  const list = `millrace dead-letters list --pipeline ${pipeline} --batch ${lastBatch}`
  for (const line of someLines(lines, sumOf(again.counts), (more) => `  and ${number(more)} more: ${list}`)) out(line)
  out(`  in all: ${codesInWords(again.counts)}`)
}

function inWords(verdicts: Record<string, number>): string {
  const said = Object.entries(verdicts).filter(([, n]) => n !== 0)
  return said.length === 0
    ? 'nothing'
    : said.map(([name, n]) => `${number(n)} ${name === 'duplicates' && n === 1 ? 'duplicate' : name}`).join(', ')
}

// ---- only looking --------------------------------------------------------------------------------------------------

async function forecastGroup(
  group: Group,
  { store }: OpenStore,
  config: Config,
  json: boolean,
  out: (line: string) => void,
): Promise<void> {
  const plan = await planNamed(group.pipeline, config, store)
  // not among the pipeline's own: a worker that starts clears what it finds there
  const spool = join(spoolFolder(config.dataDirectory), `dry-run-${process.pid}-${randomBytes(4).toString('hex')}`)
  await mkdir(spool, { recursive: true })
  const known = knownSystems().filter(({ name }) => name === group.pipeline)
  await using duck = await openDuck(config, known)
  const session = await duck.connect()
  const lines: string[] = []
  const tell = (forecast: Forecast): void => {
    if (json) out(JSON.stringify(forecast))
    else if (lines.length < shownAtMost) lines.push(forecastText(forecast))
  }
  try {
    await using reader = await openAllLetters(plan, { which: group.which, set: group.set, store, spool })
    const limits = { rows: config.batchMaxRows, bytes: config.batchMaxBytes }
    const counts = await dryRun(
      { plan, store, session, spool, apart: 'dry-run', filters: new Map() },
      reader,
      limits,
      tell,
    )
    if (json) return
    const all = counts.reduce((sum, { letters }) => sum + letters, 0)
    for (const line of someLines(lines, all, (more) => `and ${number(more)} more, which --json lists`)) out(line)
    const said = counts.map(countText).join(', ')
    out(`\n${counted(all, 'dead letter')}: ${said}. Nothing was changed; Postgres may still refuse a row.`)
  } finally {
    session.close()
    await rm(spool, { recursive: true, force: true })
  }
}

function forecastText({ id, would, code, why }: Forecast): string {
  return `dead letter ${id} would ${would}: ${code === null ? '' : `${code}, `}${printable(why)}`
}

function countText({ would, code, letters }: ForecastCount): string {
  return `${number(letters)} would ${would}${code === null ? '' : ` with ${code}`}`
}
