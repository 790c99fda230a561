/** Pages of what a pipeline has many of: batches and files, newest first. */
import { useCallback, useEffect, useState } from 'preact/hooks'
import { ask, generation, type Problem, problemFrom, useRetry, withQuery } from '../api.ts'
import { useCell } from '../cell.ts'

export interface Pages<T> {
  all: T[]
  next: number | string | null | undefined
  problem: Problem | undefined
  readMore(): void
  reload(): void
}

const pageSize = 50

/** `name` is the field of the answer that has them. */
export function usePages<T>(path: string, name: string): Pages<T> {
  const [all, setAll] = useState<T[]>([])
  const [next, setNext] = useState<number | string | null | undefined>(undefined)
  const [problem, setProblem] = useState<Problem>()
  const [round, setRound] = useState(0)
  const turn = useCell(generation)
  const read = async (before: number | string | undefined, known: T[], signal?: AbortSignal): Promise<void> => {
    try {
      // as: the page and the server come from one commit
      type Answer = { next: number | string | null } & Record<string, T[]>
      const request = signal === undefined ? {} : { signal }
      const answer = await ask<Answer>(withQuery(path, { before, limit: pageSize }), request)
      setAll([...known, ...(answer[name] ?? [])])
      setNext(answer.next)
      setProblem(undefined)
    } catch (error) {
      if (signal?.aborted !== true) setProblem(problemFrom(error))
    }
  }
  useEffect(() => {
    const stop = new AbortController()
    void read(undefined, [], stop.signal)
    return () => stop.abort()
  }, [path, turn, round])
  const reload = useCallback(() => setRound((count) => count + 1), [])
  useRetry(problem, reload)
  return {
    all,
    next,
    problem,
    readMore: () => void (next !== null && next !== undefined && read(next, all)),
    reload,
  }
}
