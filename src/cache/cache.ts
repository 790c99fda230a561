/**
 * Answers kept for a while: what is computed behind a commit drops them. A fault of the cache is told once, and is no fault
 * of who asks: the answer is made anew. Whoever finds nothing takes a mark; what he makes is kept only if the mark still
 * stands, for a change that was committed meanwhile takes it away with the answer.
 */
import type { CacheDrop } from '../store/cache-drops.ts'
import type { Cache } from '../system.ts'

export interface OpenCache extends Cache, AsyncDisposable {
  /** Forgets what is kept. Answers whether that could be done. */
  drop(drop: CacheDrop): Promise<boolean>
}

/** Where answers lie, as JSON. Each of these may fail. */
export interface CachePlace extends AsyncDisposable {
  read(key: string): Promise<string | undefined>
  /** Undefined when nothing may be kept now. */
  mark(key: string): Promise<string | undefined>
  /** Keeps it if the mark still stands. */
  keep(key: string, mark: string, json: string): Promise<void>
  drop(drop: CacheDrop): Promise<void>
}

/** After a fault nothing is asked of the place for so long. */
const restMs = 1_000

export interface CacheOptions {
  place: CachePlace
  now?: () => number
  /** Told of the first fault, and when the place answers again. */
  onFault(why: unknown): void
  onAnswer(): void
}

export function cacheOver({ place, now = Date.now, onFault, onAnswer }: CacheOptions): OpenCache {
  let restsUntil = 0
  let failed = false

  // Undefined when it failed, or was not tried.
  async function ask<T>(question: () => Promise<T>): Promise<{ answer: T } | undefined> {
    if (now() < restsUntil) return undefined
    try {
      const answer = await question()
      if (failed) onAnswer()
      failed = false
      return { answer }
    } catch (error) {
      restsUntil = now() + restMs
      if (!failed) onFault(error)
      failed = true
      return undefined
    }
  }

  return {
    async through<T>(key: string, make: () => Promise<T | undefined>): Promise<T | undefined> {
      const found = parsed((await ask(() => place.read(key)))?.answer)
      if (found !== undefined) return found
      const mark = (await ask(() => place.mark(key)))?.answer
      const made = await make()
      if (made !== undefined && mark !== undefined) await ask(() => place.keep(key, mark, JSON.stringify(made)))
      return made
    },
    drop: async (drop) => (await ask(() => place.drop(drop))) !== undefined,
    [Symbol.asyncDispose]: () => place[Symbol.asyncDispose](),
  }
}

// What is no JSON somebody else has put there: it is replaced.
function parsed(json: string | undefined) {
  try {
    return json === undefined ? undefined : JSON.parse(json)
  } catch {
    return undefined
  }
}
