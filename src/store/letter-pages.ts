import type { DeadLetter, DeadLetterQuery, Store } from './store.ts'

const lettersAtOnce = 1000

/** Dead letters page by page, in the order of their numbers: there may be millions. */
export async function* letterPages(
  store: Pick<Store, 'deadLetters'>,
  query: DeadLetterQuery,
): AsyncGenerator<DeadLetter[]> {
  let after = query.after ?? 0
  let left = query.limit ?? Infinity
  while (left > 0) {
    const page = await store.deadLetters({ ...query, after, limit: Math.min(left, lettersAtOnce) })
    const last = page.at(-1)
    if (last === undefined) return
    yield page
    after = last.id
    left -= page.length
  }
}
