/** A value that views watch. */
import { useEffect, useState } from 'preact/hooks'

export interface Cell<T> {
  get(): T
  set(next: T): void
  watch(seen: () => void): () => void
}

export function cell<T>(first: T): Cell<T> {
  let value = first
  const watchers = new Set<() => void>()
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return
      value = next
      for (const seen of watchers) seen()
    },
    watch(seen) {
      watchers.add(seen)
      return () => watchers.delete(seen)
    },
  }
}

export function useCell<T>(watched: Cell<T>): T {
  const [, seen] = useState({})
  const shown = watched.get()
  useEffect(() => {
    // it may have changed between the drawing and now
    if (!Object.is(watched.get(), shown)) seen({})
    return watched.watch(() => seen({}))
  }, [watched])
  return shown
}

/** The time, as often as the text made of it can change. */
const clock = cell(Date.now())
setInterval(() => clock.set(Date.now()), 1000)

export function useNow(): number {
  return useCell(clock)
}
