/**
 * A cache in this process. Drops of other processes come over a channel of the database; while that is not listened to,
 * nothing is kept.
 */
import type { CachePlace } from './cache.ts'

const mostBytes = 64_000_000

interface Kept {
  json: string
  until: number
}

export interface MemoryPlace extends CachePlace {
  /** Whether it hears what others drop, from now on. */
  hears(yes: boolean): void
}

export function memoryPlace(ttlMs: number, now: () => number = Date.now): MemoryPlace {
  // in the order in which they were kept: the oldest go first
  const kept = new Map<string, Kept>()
  const marks = new Map<string, string>()
  let bytes = 0
  let counted = 0
  let hearing = false

  function forget(key: string): void {
    bytes -= kept.get(key)?.json.length ?? 0
    kept.delete(key)
  }

  return {
    hears(yes) {
      hearing = yes
      // what was dropped in between is not known
      kept.clear()
      marks.clear()
      bytes = 0
    },
    async read(key) {
      const found = kept.get(key)
      if (found === undefined || found.until > now()) return found?.json
      forget(key)
      return undefined
    },
    async mark(key) {
      if (!hearing) return undefined
      const mark = String(++counted)
      marks.set(key, mark)
      return mark
    },
    async keep(key, mark, json) {
      if (marks.get(key) !== mark) return
      marks.delete(key)
      forget(key)
      kept.set(key, { json, until: now() + ttlMs })
      bytes += json.length
      for (const oldest of kept.keys()) {
        if (bytes <= mostBytes) break
        forget(oldest)
      }
    },
    async drop({ prefix, keys }) {
      const dropped = keys ?? [...kept.keys(), ...marks.keys()].filter((key) => key.startsWith(prefix))
      for (const key of dropped) {
        forget(key)
        marks.delete(key)
      }
    },
    async [Symbol.asyncDispose]() {},
  }
}
