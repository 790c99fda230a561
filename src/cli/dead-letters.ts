/** Dead letters looked at, edited and discarded. `replay.ts` sends them down the pipeline again. */
import { MillraceError } from '../errors.ts'
import type { DeadLetter, DeadLetterQuery } from '../store/store.ts'
import { conditionOf, editsOf, idsOf, queryOf, sourceOf } from './letters-choice.ts'
import { letterLines, listLines } from './letters-text.ts'
import { openStore, readConfig, shortWaitMs } from './open.ts'
import { counted, number, printable } from './text.ts'
import { jsonOption, noWords, textOption, textsOption, type Verb, wholeNumberOption } from './verb.ts'

export const list: Verb = {
  says: 'Lists rows that could not be processed, and why.',
  usage: '[--pipeline P] [--code C] [--place TEXT] [--since WHEN] [--batch N] [--settled] [--limit N] [--json]',
  options: {
    pipeline: { type: 'string', says: 'of this pipeline' },
    code: { type: 'string', says: 'with this reason, such as NOT_ONE_OF' },
    place: { type: 'string', says: 'from a file (or topic) whose name contains this text' },
    since: { type: 'string', says: 'rejected since then: 2h, 7d, 2026-01-31, 2026-01-31T12:00:00Z' },
    batch: { type: 'string', says: 'of the batch of this number' },
    settled: { type: 'boolean', says: 'also those that were replayed or discarded' },
    limit: { type: 'string', says: 'so many at most; 50 when not given' },
    ...jsonOption,
  },
  examples: [
    'millrace dead-letters list',
    'millrace dead-letters list --code BELOW_MINIMUM --since 2h',
    'millrace dead-letters list --json --limit 1000',
  ],
  async run({ words, options, signal, out }) {
    noWords(words)
    const limit = wholeNumberOption(options, 'limit') ?? 50
    const query: DeadLetterQuery = { settled: options['settled'] === true }
    for (const name of ['pipeline', 'code', 'place', 'since', 'batch'] as const) {
      const value = textOption(options, name)
      if (value !== undefined) Object.assign(query, await conditionOf(name, value))
    }
    const { config, log } = readConfig()
    await using opened = await openStore(config, log, { waitMs: shortWaitMs, signal })
    const letters = await opened.store.deadLetters({ ...query, limit })
    if (options['json'] === true) {
      for (const letter of letters) out(JSON.stringify(asJson(letter)))
      return 0
    }
    if (letters.length > 0) for (const line of listLines(letters, new Date(), width())) out(line)
    const codes = await countCodes(opened.store, query)
    const all = codes.reduce((sum, { n }) => sum + n, 0)
    if (all === 0) {
      out(Object.keys(query).length > 1 ? 'none is like that' : 'none is open')
      return 0
    }
    out('')
    const more = all - letters.length
    if (more > 0) out(`and ${number(more)} more: --limit ${all} shows them all`)
    out(`${counted(all, 'dead letter')}: ${codes.map(({ code, n }) => `${number(n)} ${code}`).join(', ')}`)
    if (letters[0] !== undefined) out(`look closer with: millrace dead-letters show ${letters[0].id}`)
    return 0
  },
}

export const show: Verb = {
  says: 'Shows a dead letter: the row as it was read, what was wrong with it, and where it came from.',
  usage: '<id>... [--json]',
  options: { ...jsonOption },
  examples: ['millrace dead-letters show 18'],
  async run({ words, options, signal, out }) {
    const ids = someIds(words)
    const { config, log } = readConfig()
    await using opened = await openStore(config, log, { waitMs: shortWaitMs, signal })
    const letters = await lettersOf(opened.store, ids)
    for (const [i, letter] of letters.entries()) {
      if (options['json'] === true) out(JSON.stringify(asJson(letter)))
      else {
        if (i > 0) out('')
        // a letter of a pipeline that is gone can still be looked at
        const { source } = await sourceOf(letter, config, opened.store).catch(() => ({ source: undefined }))
        for (const line of letterLines(letter, source, new Date(), width())) out(line)
        if (letter.settled === null) {
          const [column = 'column'] = [letter.columnName ?? source?.columns[0]?.name]
          out(`\n  mend it:    millrace dead-letters edit ${letter.id} --set ${column}=...`)
          out(`  try it:     millrace dead-letters replay ${letter.id} --dry-run`)
          out(`  drop it:    millrace dead-letters discard ${letter.id} --reason "..."`)
        }
      }
    }
    return 0
  },
}

export const edit: Verb = {
  says: 'Changes the fields of a dead letter, so that a replay may succeed; the row as it was read is kept.',
  usage: '<id> --set column=value... [--json]',
  options: {
    set: {
      type: 'string',
      multiple: true,
      says: 'the new value of a column; may be repeated. An empty value is an empty field',
    },
    ...jsonOption,
  },
  examples: ['millrace dead-letters edit 18 --set price=12.50 --set event_type=view'],
  async run({ words, options, signal, out }) {
    const [id = 0, ...more] = someIds(words)
    const set = textsOption(options, 'set')
    if (more.length > 0 || set.length === 0) {
      throw new MillraceError('WRONG_USAGE', {
        message: more.length > 0 ? 'one dead letter at a time' : 'what should change?',
        hint: 'millrace dead-letters edit 18 --set price=12.50',
      })
    }
    const { config, log } = readConfig()
    await using opened = await openStore(config, log, { waitMs: shortWaitMs, signal })
    const [letter] = await lettersOf(opened.store, [id])
    if (letter === undefined) return 1
    const { source } = await sourceOf(letter, config, opened.store)
    await opened.store.editDeadLetter(id, editsOf(set, source.columns))
    const [edited = letter] = await lettersOf(opened.store, [id])
    if (options['json'] === true) out(JSON.stringify(asJson(edited)))
    else {
      for (const line of letterLines(edited, source, new Date(), width())) out(line)
      out(`\n  see whether it lands now: millrace dead-letters replay ${id} --dry-run`)
    }
    return 0
  },
}

export const discard: Verb = {
  says: 'Settles dead letters that are not worth mending, with a reason; they stay in the table.',
  usage: '<id>... [--where NAME=VALUE]... --reason TEXT [--json]',
  options: {
    where: {
      type: 'string',
      multiple: true,
      says: 'those of which this holds: pipeline=, code=, place=, batch=, since=',
    },
    reason: { type: 'string', says: 'why, for whoever asks later' },
    ...jsonOption,
  },
  examples: [
    'millrace dead-letters discard 18 19 --reason "test rows"',
    'millrace dead-letters discard --where code=EMPTY --where batch=12 --reason "known fault of the till"',
  ],
  async run({ words, options, signal, out }) {
    const reason = textOption(options, 'reason')
    if (reason === undefined || reason.trim() === '') {
      throw new MillraceError('WRONG_USAGE', { message: 'why are they discarded?', hint: 'say so with --reason "..."' })
    }
    const where = textsOption(options, 'where')
    if (where.length === 0) someIds(words)
    const { config, log } = readConfig()
    await using opened = await openStore(config, log, { waitMs: shortWaitMs, signal })
    const letters = await chosen(opened.store, words, where)
    const discarded = await opened.store.discardDeadLetters(
      letters.flatMap(({ id, settled }) => (settled === null ? [id] : [])),
      reason,
    )
    if (options['json'] === true) out(JSON.stringify({ discarded }))
    else {
      for (const line of settledLines(letters)) out(line)
      out(`discarded ${counted(discarded, 'dead letter')}`)
    }
    return 0
  },
}

type Letters = { deadLetters(query: DeadLetterQuery): Promise<DeadLetter[]> }

/** The letters that a command line names by their ids, or by what is known of them. */
export async function chosen(store: Letters, words: string[], where: string[]): Promise<DeadLetter[]> {
  const named = words.length === 0 ? [] : await lettersOf(store, idsOf(words))
  if (where.length === 0) return named
  const ids = new Set(named.map(({ id }) => id))
  const found = await store.deadLetters(await queryOf(where))
  return [...named, ...found.filter(({ id }) => !ids.has(id))]
}

export function someIds(words: string[]): number[] {
  if (words.length > 0) return idsOf(words)
  throw new MillraceError('WRONG_USAGE', {
    message: 'which dead letter?',
    hint: '`millrace dead-letters list` shows their numbers',
  })
}

/** What a person is told of letters that are settled already, when asked to settle them. */
export function settledLines(letters: DeadLetter[]): string[] {
  const lines = letters
    .filter(({ settled }) => settled !== null)
    .map(({ id, settled, settledBy }) => {
      const by = settled === 'replayed' ? `in ${settledBy}` : `because: ${printable(settledBy ?? '')}`
      return `dead letter ${id} was ${settled} already, ${by}; nothing is done with it`
    })
  return someLines(lines, (more) => `and so were ${number(more)} more`)
}

const shownAtMost = 50

/** The first of many lines, and how many more there are. */
export function someLines(lines: string[], more: (count: number) => string): string[] {
  return lines.length <= shownAtMost ? lines : [...lines.slice(0, shownAtMost), more(lines.length - shownAtMost)]
}

async function lettersOf(store: Letters, ids: number[]): Promise<DeadLetter[]> {
  const letters = await store.deadLetters({ ids, settled: true })
  const missing = ids.filter((id) => !letters.some((letter) => letter.id === id))
  if (missing.length === 0) return letters
  throw new MillraceError('NO_SUCH_DEAD_LETTER', {
    message: `there is no dead letter ${missing.join(', ')}`,
    hint: '`millrace dead-letters list --settled` shows them all',
  })
}

interface Selects {
  select(sql: string, parameters: unknown[]): Promise<Record<string, unknown>[]>
}

async function countCodes(store: Selects, query: DeadLetterQuery): Promise<{ code: string; n: number }[]> {
  const rows = await store.select(
    `
    select code, count(*)::int as n
    from   millrace.dead_letters
    where  ($1::text is null or pipeline = $1)
    and    ($2::bigint is null or batch = $2)
    and    ($3::text is null or code = $3)
    and    ($4::text is null or position($4 in place) > 0)
    and    ($5::timestamptz is null or rejected_at >= $5)
    and    ($6 or settled is null)
    group by code
    order by n desc, code`,
    [
      query.pipeline ?? null,
      query.batch ?? null,
      query.code ?? null,
      query.place ?? null,
      query.since ?? null,
      query.settled ?? false,
    ],
  )
  // as: the columns of the statement above
  return rows as { code: string; n: number }[]
}

function asJson(letter: DeadLetter): unknown {
  const { columnName, rawBytes, rejectedAt, settledAt, settledBy, ...rest } = letter
  return {
    ...rest,
    column_name: columnName,
    raw_bytes: rawBytes === null ? null : rawBytes.toString('hex'),
    rejected_at: rejectedAt,
    settled_at: settledAt,
    settled_by: settledBy,
  }
}

function width(): number {
  return process.stdout.columns || 160
}
