/** Dead letters looked at and edited. `discard.ts` and `replay.ts` settle them. */
import { MillraceError } from '../errors.ts'
import { letterPages } from '../store/letter-pages.ts'
import type { DeadLetter, Store } from '../store/store.ts'
import { editsOf, filterOf, filterOptions, filterUsage, idsOf, sourceOf } from './letters-choice.ts'
import { checkNumbers, codesInWords, sumOf } from './letters-settling.ts'
import { letterLines, letterTable } from './letters-text.ts'
import { commandLog, openStore, readConfig, shortWaitMs } from './open.ts'
import { counted, number } from './text.ts'
import { jsonOption, noWords, textsOption, type Verb, wholeNumberOption } from './verb.ts'

export const list: Verb = {
  says: 'Lists rows that could not be processed, and why.',
  usage: `${filterUsage} [--settled] [--limit N] [--json]`,
  options: {
    ...filterOptions,
    settled: { type: 'boolean', says: 'also those that were replayed or discarded' },
    limit: { type: 'string', says: 'so many at most; 50 when not given' },
    ...jsonOption,
  },
  examples: [
    'millrace dead-letters list',
    'millrace dead-letters list --code BELOW_MINIMUM --file till-7 --since 2h',
    'millrace dead-letters list --json --limit 1000',
  ],
  async run({ words, options, signal, out }) {
    noWords(words)
    const limit = wholeNumberOption(options, 'limit') ?? 50
    const conditions = await filterOf(options)
    const filter = { ...conditions, settled: options['settled'] === true }
    const { config } = readConfig()
    await using opened = await openStore(config, commandLog(config), { waitMs: shortWaitMs, signal })
    const pages = letterPages(opened.store, { ...filter, limit })
    if (options['json'] === true) {
      for await (const page of pages) for (const letter of page) out(JSON.stringify(asJson(letter)))
      return 0
    }
    const counts = await opened.store.countDeadLetters(filter)
    const several = new Set(counts.map(({ pipeline }) => pipeline)).size > 1
    const print = letterTable({ states: filter.settled, pipelines: several, now: new Date(), width: width() })
    let shown = 0
    let first: DeadLetter | undefined
    for await (const page of pages) {
      for (const line of print(page)) out(line)
      shown += page.length
      first ??= page[0]
    }
    const all = sumOf(counts)
    if (all === 0) {
      out(Object.keys(conditions).length > 0 ? 'none is like that' : 'none is open')
      return 0
    }
    out('')
    if (all > shown) out(`and ${number(all - shown)} more: --limit ${all} shows them all`)
    out(`${counted(all, 'dead letter')}: ${codesInWords(counts)}`)
    if (first !== undefined) out(`look closer with: millrace dead-letters show ${first.id}`)
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
    const { config } = readConfig()
    await using opened = await openStore(config, commandLog(config), { waitMs: shortWaitMs, signal })
    for (const [i, letter] of (await lettersOf(opened.store, ids)).entries()) {
      if (options['json'] === true) {
        out(JSON.stringify(asJson(letter)))
        continue
      }
      if (i > 0) out('')
      // a letter of a pipeline that is gone can still be looked at
      const source = await sourceOf(letter, config, opened.store).catch(() => undefined)
      for (const line of letterLines(letter, source, new Date(), width())) out(line)
      if (letter.settled === null) {
        const column = letter.columnName ?? source?.columns[0]?.name ?? 'column'
        out(`\n  mend it:    millrace dead-letters edit ${letter.id} --set ${column}=...`)
        out(`  try it:     millrace dead-letters replay ${letter.id} --dry-run`)
        out(`  drop it:    millrace dead-letters discard ${letter.id} --reason "..."`)
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
    const { config } = readConfig()
    await using opened = await openStore(config, commandLog(config), { waitMs: shortWaitMs, signal })
    const [letter] = await lettersOf(opened.store, [id])
    if (letter === undefined) return 1
    const source = await sourceOf(letter, config, opened.store)
    await opened.store.editDeadLetter(id, editsOf(set, source))
    const [edited = letter] = await lettersOf(opened.store, [id])
    if (options['json'] === true) out(JSON.stringify(asJson(edited)))
    else {
      for (const line of letterLines(edited, source, new Date(), width())) out(line)
      out(`\n  see whether it lands now: millrace dead-letters replay ${id} --dry-run`)
    }
    return 0
  },
}

function someIds(words: string[]): number[] {
  if (words.length > 0) return idsOf(words)
  throw new MillraceError('WRONG_USAGE', {
    message: 'which dead letter?',
    hint: '`millrace dead-letters list` shows their numbers',
  })
}

async function lettersOf(store: Pick<Store, 'deadLetters'>, ids: number[]): Promise<DeadLetter[]> {
  const letters = await store.deadLetters({ ids, settled: true })
  checkNumbers(
    ids,
    letters.map(({ id }) => id),
  )
  return letters
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
