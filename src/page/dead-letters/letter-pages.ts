/** Dead letters page by page, as far as somebody has scrolled. */
import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { ask, generation, type Problem, problemFrom, useRetry, withQuery } from '../api.ts'
import { useCell } from '../cell.ts'
import type { Letter } from '../types.ts'
import type { Filter } from './filter.ts'

interface Page {
  dead_letters: Letter[]
  next: number | null
}

interface Shown {
  /** What was asked; another choice begins from the top. */
  asked: string
  letters: Letter[]
  next: number | null | undefined
  problem?: Problem
}

export interface LetterPages {
  letters: Letter[]
  /** Whether there are more than those. */
  more: boolean
  /** Nothing has been answered yet. */
  first: boolean
  problem: Problem | undefined
  readMore(): void
  reload(): void
  /** Puts letters in the place of what is shown of them, so that the list does not jump. */
  replace(letters: Letter[]): void
}

const pageSize = 200

export function useLetterPages(filter: Filter): LetterPages {
  const asked = JSON.stringify(filter)
  const turn = useCell(generation)
  const [round, setRound] = useState(0)
  const [shown, show] = useState<Shown>({ asked, letters: [], next: undefined })
  const reading = useRef<AbortController>(undefined)

  const read = useCallback(
    (before: number | undefined, known: Letter[]) => {
      reading.current?.abort()
      const stop = new AbortController()
      reading.current = stop
      ask<Page>(withQuery('/api/dead-letters', { ...filter, before, limit: pageSize }), { signal: stop.signal }).then(
        ({ dead_letters: letters, next }) => {
          reading.current = undefined
          show({ asked, letters: [...known, ...letters], next })
        },
        (error: unknown) => {
          if (stop.signal.aborted) return
          reading.current = undefined
          show((before) => ({ ...before, asked, problem: problemFrom(error) }))
        },
      )
    },
    [asked],
  )

  useEffect(() => {
    read(undefined, [])
    return () => reading.current?.abort()
  }, [read, turn, round])

  const current = shown.asked === asked ? shown : { asked, letters: [], next: undefined }
  const readMore = useCallback(() => {
    if (reading.current !== undefined || current.next === null || current.next === undefined) return
    read(current.next, current.letters)
  }, [read, current.next, current.letters])
  const reload = useCallback(() => setRound((count) => count + 1), [])
  const replace = useCallback((changed: Letter[]) => {
    const byId = new Map(changed.map((letter) => [letter.id, letter]))
    show((before) => ({ ...before, letters: before.letters.map((letter) => byId.get(letter.id) ?? letter) }))
  }, [])
  const problem = 'problem' in current ? current.problem : undefined
  useRetry(problem, reload)
  return {
    letters: current.letters,
    more: current.next !== null && current.next !== undefined,
    first: current.next === undefined && !('problem' in current),
    problem,
    readMore,
    reload,
    replace,
  }
}
