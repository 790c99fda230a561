/** Which dead letters a command line means, and what it would change in them. */
import type { Config } from '../config.ts'
import { parseDuration } from '../duration.ts'
import { planOf } from '../engine/system-run.ts'
import { MillraceError, nearest } from '../errors.ts'
import { reasons } from '../operators/validate.ts'
import { columnsRead, type Plan, type Source } from '../plan/plan.ts'
import type { PostgresStore } from '../store/postgres.ts'
import type { DeadLetter, DeadLetterFilter } from '../store/store.ts'
import { knownSystems, systemNamed } from './open.ts'
import { isModulePath } from './own-system.ts'
import { type Options, textOption, textsOption, type VerbOption, wholeNumber } from './verb.ts'

const conditions = {
  pipeline: 'of this pipeline; one of your own is named by its file',
  code: 'with this reason, such as NOT_ONE_OF',
  file: 'from a file (or topic) whose path contains this text',
  column: 'in which the value of this column was wrong',
  batch: 'of the batch of this number',
  since: 'rejected since then: 2h ago, or 2026-01-31, or 2026-01-31T12:00:00Z',
  until: 'rejected before then, likewise',
} as const

type Condition = keyof typeof conditions

// as: Object.keys gives the names that stand above
const names = Object.keys(conditions) as Condition[]

/** What list, replay and discard can ask of a letter. */
export const filterOptions: Record<string, VerbOption> = {
  ...Object.fromEntries(names.map((name) => [name, { type: 'string', says: conditions[name] } as const])),
  pipeline: { type: 'string', says: conditions.pipeline, takes: 'a pipeline' },
  code: { type: 'string', says: conditions.code, takes: Object.keys(reasons) },
  where: { type: 'string', multiple: true, says: 'one of these, written NAME=VALUE' },
}

export const filterUsage =
  '[--pipeline P] [--code C] [--file TEXT] [--column C] [--batch N] [--since WHEN] [--until WHEN] [--where NAME=VALUE]...'

/**
 * All the conditions of a command line: every one must hold. Asked for before the configuration is read, since the file
 * of a user's pipeline is loaded here, and it has settings of its own.
 */
export async function filterOf(options: Options, now = new Date()): Promise<DeadLetterFilter> {
  const given = names.flatMap((name): [Condition, string][] => {
    const value = textOption(options, name)
    return value === undefined ? [] : [[name, value]]
  })
  for (const text of textsOption(options, 'where')) {
    const [name, value] = parted(text, '--where')
    const known = names.find((candidate) => candidate === name)
    if (known === undefined) throw unknownName('--where', name, names)
    given.push([known, value])
  }
  const filter: DeadLetterFilter = {}
  for (const [i, [name, value]] of given.entries()) {
    if (given.findIndex(([other]) => other === name) < i)
      throw new MillraceError('WRONG_USAGE', { at: name, message: 'the same is asked twice; a letter has one of each' })
    Object.assign(filter, await conditionOf(name, value, now))
  }
  return filter
}

/**
 * The letters that replay or discard is given: by their numbers, by what is known of them, or all. Beside numbers and
 * --all a pipeline may stand: it may have to be loaded from its file.
 */
export async function choiceOf(words: string[], options: Options): Promise<DeadLetterFilter> {
  const filter = await filterOf(options)
  const isAll = options['all'] === true
  const { pipeline, ...others } = filter
  const hasOthers = Object.keys(others).length > 0
  const ways = [words.length > 0, hasOthers, isAll].filter((way) => way).length
  if (ways === 1 || (ways === 0 && pipeline !== undefined))
    return words.length > 0 ? { ...filter, ids: idsOf(words) } : filter
  throw new MillraceError('WRONG_USAGE', {
    message: ways === 0 ? 'which dead letters?' : 'numbers, conditions and --all do not go together',
    hint: 'give their numbers, which `millrace dead-letters list` shows, or conditions such as --code EMPTY, or --all',
  })
}

/** Numbers on the command line; `list` shows them. */
export function idsOf(words: string[]): number[] {
  return words.map((word) => wholeNumber('the number of a dead letter', word))
}

async function conditionOf(name: Condition, value: string, now: Date): Promise<DeadLetterFilter> {
  switch (name) {
    case 'pipeline':
      return { pipeline: isModulePath(value) ? (await systemNamed(value)).name : value }
    case 'code':
      return { code: value }
    case 'file':
      return { place: value }
    case 'column':
      return { column: value }
    case 'batch':
      return { batch: wholeNumber('batch', value) }
    case 'since':
      return { since: momentOf(name, value, now) }
    case 'until':
      return { until: momentOf(name, value, now) }
  }
}

const isoTime = /^(\d{4}-\d{2}-\d{2})([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}:\d{2})?$/i

/** `2h` before now, or a date or time of ISO 8601; without an offset it is UTC. */
export function momentOf(at: string, text: string, now: Date): Date {
  // a bare number would be seconds to the one and a year to the other
  const ms = /^\d+$/.test(text) ? undefined : parseDuration(text.replace(/\s*ago$/, ''))
  if (ms !== undefined) return new Date(now.getTime() - ms)
  const [, date = '', time = 'T00:00', , , offset = 'Z'] = isoTime.exec(text) ?? []
  const moment = new Date(`${date}${time}${offset}`)
  // the 31st of February would be the 3rd of March
  const isDay = new Date(`${date}T00:00Z`).getUTCDate() === Number(date.slice(-2))
  if (isDay && !Number.isNaN(moment.getTime())) return moment
  throw new MillraceError('WRONG_USAGE', {
    at,
    message: `"${text}" is neither a time ago, such as 2h, nor a date`,
    hint: 'such as 30min, 2h, 7d, 2026-01-31 or 2026-01-31T12:00:00Z',
  })
}

/** The source whose rows these letters were. */
export async function sourceOf(
  { pipeline, source: wanted }: Pick<DeadLetter, 'pipeline' | 'source'>,
  config: Config,
  store: Pick<PostgresStore, 'select'>,
): Promise<Source> {
  const { sources } = await planNamed(pipeline, config, store)
  const source = Object.hasOwn(sources, wanted) ? sources[wanted] : Object.values(sources)[0]
  if (source !== undefined) return source
  throw new MillraceError('INVALID_PLAN', { at: pipeline, message: 'the plan has no source' })
}

/** The plan of a pipeline; when its file is not known, the one it was last started with on this database. */
export async function planNamed(name: string, config: Config, store: Pick<PostgresStore, 'select'>): Promise<Plan> {
  const system = knownSystems().find((known) => known.name === name)
  if (system !== undefined) return planOf(system, config)
  const [stored] = await store.select('select plan from millrace.pipelines where pipeline = $1', [name])
  if (stored === undefined) {
    throw new MillraceError('UNKNOWN_PIPELINE', {
      message: `the pipeline "${name}" was never started on this database`,
    })
  }
  // as: a plan was stored
  return stored['plan'] as Plan
}

/**
 * The values of `--set column=value`. An empty value is what an empty field of a file would be: an empty text where a
 * text must be there, and nothing everywhere else.
 */
export function editsOf(set: string[], source: Pick<Source, 'columns'>): Record<string, string | null> {
  const columns = columnsRead(source)
  const edits: Record<string, string | null> = {}
  for (const text of set) {
    const [name, value] = parted(text, '--set')
    const column = columns.find((candidate) => candidate.name === name)
    if (column === undefined) {
      throw unknownName(
        '--set',
        name,
        columns.map((known) => known.name),
      )
    }
    edits[name] = value === '' && (column.type.is !== 'text' || column.nullable) ? null : value
  }
  return edits
}

function parted(text: string, option: string): [name: string, value: string] {
  const at = text.indexOf('=')
  if (at > 0) return [text.slice(0, at).trim(), text.slice(at + 1)]
  throw new MillraceError('WRONG_USAGE', { at: option, message: `"${text}" is not of the form name=value` })
}

function unknownName(option: string, name: string, known: readonly string[]): MillraceError {
  const meant = nearest(name, known)
  return new MillraceError('WRONG_USAGE', {
    at: option,
    message: `there is no "${name}"`,
    hint: `${meant === undefined ? '' : `did you mean "${meant}"? `}there is ${known.join(', ')}`,
  })
}
