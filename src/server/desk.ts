/** What the routes work with: the board of this process, and what they need to run a replay. */
import type { Config } from '../config.ts'
import { type Duck, followerFolder } from '../engine/duckdb.ts'
import type { Log } from '../log.ts'
import type { TopicEnds } from '../sources/topic/lag.ts'
import type { PostgresStore } from '../store/postgres.ts'
import type { RouteTools } from '../system.ts'
import type { Board, BoardLine } from './board.ts'
import { ProblemError } from './problem.ts'

export interface Desk {
  board: Board
  config: Config
  log: Log
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

export function lineOf({ board }: Desk, name: string): BoardLine {
  const line = board.lines.get(name)
  if (line !== undefined) return line
  const names = [...board.lines.keys()].join(', ')
  throw new ProblemError(404, 'UNKNOWN_PIPELINE', `there is no pipeline "${name}" here`, `there is ${names}`)
}

/** What an address of a system works with. */
export function routeTools(desk: Desk, system: string): RouteTools {
  return {
    sql: (statement, values) => storeOf(desk).reads.select(statement, values),
    async files(follower, select) {
      using session = await duckOf(desk).connect()
      return await session.rows(select(followerFolder(desk.config, system, follower)))
    },
    signal: desk.signal,
  }
}
