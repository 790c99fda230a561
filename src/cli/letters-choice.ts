/** Which dead letters a command line means, and what it would change in them. */
import type { Config } from '../config.ts'
import { parseDuration } from '../config.ts'
import { MillraceError, nearest } from '../errors.ts'
import type { Column } from '../plan/columns.ts'
import type { Plan, Source } from '../plan/plan.ts'
import type { PostgresStore } from '../store/postgres.ts'
import type { DeadLetter, DeadLetterQuery } from '../store/store.ts'
import { knownSystems, planOf, systemNamed } from './open.ts'
import { isModulePath } from './own-system.ts'
import { wholeNumber } from './verb.ts'

const conditions = ['pipeline', 'code', 'place', 'batch', 'since'] as const

/** Ids on the command line; `list` shows them. */
export function idsOf(words: string[]): number[] {
  return words.map((word) => wholeNumber('the number of a dead letter', word))
}

/** The query of `--where code=EMPTY --where batch=12`: all of them must hold. */
export async function queryOf(where: string[]): Promise<DeadLetterQuery> {
  const query: DeadLetterQuery = {}
  for (const text of where) {
    const [name, value] = parted(text, '--where')
    const known = conditions.find((condition) => condition === name)
    if (known === undefined) throw unknownName('--where', name, conditions)
    Object.assign(query, await conditionOf(known, value))
  }
  return query
}

export async function conditionOf(name: (typeof conditions)[number], value: string): Promise<DeadLetterQuery> {
  switch (name) {
    case 'pipeline':
      return { pipeline: isModulePath(value) ? (await systemNamed(value)).name : value }
    case 'code':
      return { code: value.toUpperCase() }
    case 'place':
      return { place: value }
    case 'batch':
      return { batch: wholeNumber('batch', value) }
    case 'since':
      return { since: momentOf(value, new Date()) }
  }
}

/** `2h` before now, or a date. */
export function momentOf(text: string, now: Date): Date {
  const ms = parseDuration(text)
  const moment = ms === undefined ? new Date(text) : new Date(now.getTime() - ms)
  if (!Number.isNaN(moment.getTime()) && !/^\d+$/.test(text)) return moment
  throw new MillraceError('WRONG_USAGE', {
    at: 'since',
    message: `"${text}" is neither a time ago, such as 2h, nor a date`,
    hint: 'such as 30min, 2h, 7d, 2026-01-31 or 2026-01-31T12:00:00Z',
  })
}

/** The source whose rows these letters were. */
export async function sourceOf(
  letter: Pick<DeadLetter, 'pipeline' | 'source'>,
  config: Config,
  store: Pick<PostgresStore, 'select'>,
): Promise<{ id: string; source: Source }> {
  const { sources } = await planNamed(letter.pipeline, config, store)
  const [id, source] =
    Object.entries(sources).find(([name]) => name === letter.source) ?? Object.entries(sources)[0] ?? []
  if (id === undefined || source === undefined)
    throw new MillraceError('INVALID_PLAN', { at: letter.pipeline, message: 'the plan has no source' })
  return { id, source }
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
export function editsOf(set: string[], columns: Column[]): Record<string, string | null> {
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
