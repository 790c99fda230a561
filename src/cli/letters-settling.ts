/** What replay and discard have in common: which open letters are meant, how many they are, and whether all really are. */
import { MillraceError } from '../errors.ts'
import { letterPages } from '../store/letter-pages.ts'
import type { PostgresStore } from '../store/postgres.ts'
import type { DeadLetter, DeadLetterCount, DeadLetterFilter } from '../store/store.ts'
import { ask } from './ask.ts'
import { filterOptions, filterUsage } from './letters-choice.ts'
import { counted, number, printable } from './text.ts'
import type { Options, VerbOption } from './verb.ts'

export const settlingOptions: Record<string, VerbOption> = {
  ...filterOptions,
  all: { type: 'boolean', says: 'every one that is open' },
  yes: { type: 'boolean', says: 'do not ask, though these are all that are open' },
}

export const settlingUsage = `<id>... | ${filterUsage} | --all [--yes]`

export interface Chosen {
  /** It ends at a number: what comes after that was not counted. */
  which: DeadLetterFilter & { upTo: number }
  counts: DeadLetterCount[]
}

type Letters = Pick<PostgresStore, 'deadLetters' | 'countDeadLetters'>

/** The open letters that are like that. Those that it names and that are settled are told. */
export async function chosenLetters(
  store: Letters,
  filter: DeadLetterFilter,
  tell: (line: string) => void,
): Promise<Chosen> {
  if (filter.ids !== undefined) for (const line of await settledLines(store, filter.ids)) tell(line)
  const counts = await store.countDeadLetters(filter)
  return { which: { ...filter, upTo: Math.max(0, ...counts.map(({ lastId }) => lastId)) }, counts }
}

/** Says how many letters a filter has found. That all there are should be settled must be said twice. */
export async function isMeant(
  store: Letters,
  { which, counts }: Chosen,
  options: Options,
  signal: AbortSignal,
): Promise<boolean> {
  const letters = sumOf(counts)
  if (which.ids !== undefined || letters === 0) return true
  const isAll = letters === sumOf(await store.countDeadLetters({}))
  const are = isAll ? 'all that are open' : 'open and like that'
  process.stderr.write(`${counted(letters, 'dead letter is', 'dead letters are')} ${are}: ${codesInWords(counts)}\n`)
  if (!isAll || options['yes'] === true) return true
  if ((await ask('Type yes to go on with all of them: ', signal)) === 'yes') return true
  process.stderr.write('nothing was changed\n')
  return false
}

export function sumOf(counts: DeadLetterCount[]): number {
  return counts.reduce((sum, { letters }) => sum + letters, 0)
}

/** How many of each code, over all pipelines and batches. */
export function codesOf(counts: DeadLetterCount[]): [code: string, letters: number][] {
  return [...Map.groupBy(counts, ({ code }) => code)].map(([code, those]) => [code, sumOf(those)])
}

/** `10 EMPTY, 2 NOT_ONE_OF`. */
export function codesInWords(counts: DeadLetterCount[]): string {
  return codesOf(counts)
    .map(([code, letters]) => `${number(letters)} ${printable(code)}`)
    .join(', ')
}

/** Says which numbers there are not. */
export function checkNumbers(wanted: number[], found: Iterable<number>): void {
  const known = new Set(found)
  const missing = wanted.filter((id) => !known.has(id))
  if (missing.length === 0) return
  throw new MillraceError('NO_SUCH_DEAD_LETTER', {
    message: `there is no dead letter ${missing.slice(0, 10).join(', ')}${missing.length > 10 ? ', and more' : ''}`,
    hint: '`millrace dead-letters list --settled` shows them all',
  })
}

async function settledLines(store: Letters, ids: number[]): Promise<string[]> {
  const found: Pick<DeadLetter, 'id' | 'settled' | 'settledBy'>[] = []
  for await (const page of letterPages(store, { ids, settled: true })) {
    for (const { id, settled, settledBy } of page) found.push({ id, settled, settledBy })
  }
  checkNumbers(
    ids,
    found.map(({ id }) => id),
  )
  const lines = found
    .filter(({ settled }) => settled !== null)
    .map(({ id, settled, settledBy }) => {
      const by = settled === 'replayed' ? `in ${settledBy}` : `because: ${printable(settledBy ?? '')}`
      return `dead letter ${id} was ${settled} already, ${by}; nothing is done with it`
    })
  return someLines(lines, lines.length, (more) => `and so were ${number(more)} more`)
}

export const shownAtMost = 50

/** The first of many lines, and how many more there are. */
export function someLines(lines: string[], all: number, more: (count: number) => string): string[] {
  return all <= shownAtMost ? lines : [...lines.slice(0, shownAtMost), more(all - shownAtMost)]
}
