/** What the routes work with: the board of this process, and what they need to run a replay. */
import type { OpenCache } from '../cache/cache.ts'
import type { Config } from '../config.ts'
import { type Duck, followerFolder } from '../engine/duckdb.ts'
import { MillraceError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { TopicEnds } from '../sources/topic/lag.ts'
import type { PostgresStore } from '../store/postgres.ts'
import type { RouteTools, System } from '../system.ts'
import type { Board, BoardLine } from './board.ts'
import { ProblemError } from './problem.ts'

export interface Desk {
  board: Board
  config: Config
  log: Log
  cache: OpenCache
  /** Ends with the process. */
  signal: AbortSignal
  /** Where topics end now. */
  ends: TopicEnds
}

/** The store, or the problem that the database does not answer yet. */
export function storeOf({ board }: Desk): PostgresStore {
  if (board.store !== undefined) return board.store
  const why = board.waitingFor === undefined ? '' : `: ${board.waitingFor}`
  throw new ProblemError(503, 'NOT_READY', `the database does not answer yet${why}`)
}

export function duckOf({ board }: Desk): Duck {
  if (board.duck !== undefined) return board.duck
  throw new ProblemError(503, 'NOT_READY', 'the process is still starting')
}

/** What routes of a system work with. */
export function toolsFor(desk: Desk, { name, tasks = {} }: System): RouteTools {
  return {
    sql: (statement, values) => storeOf(desk).reads.select(statement, values),
    cache: desk.cache,
    async enqueue(task, keys) {
      if (!Object.hasOwn(tasks, task))
        throw new MillraceError('NO_SUCH_TASK', { at: name, message: `the system has no task "${task}"` })
      await storeOf(desk).requestTask(name, task, keys)
    },
    async files(follower, select) {
      using session = await duckOf(desk).connect()
      return await session.rows(select(followerFolder(desk.config, name, follower)))
    },
    signal: desk.signal,
  }
}

export function lineOf({ board }: Desk, name: string): BoardLine {
  const line = board.lines.get(name)
  if (line !== undefined) return line
  const names = [...board.lines.keys()].join(', ')
  throw new ProblemError(404, 'UNKNOWN_PIPELINE', `there is no pipeline "${name}" here`, `there is ${names}`)
}
