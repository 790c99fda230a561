/** What `start` and `work` know at a moment: for the live summary, for `/api/pipelines` and for `/health/ready`. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from '../config.ts'
import type { Duck } from '../engine/duckdb.ts'
import { type LandedRows, noProgress, type Progress } from '../engine/progress.ts'
import { planOf } from '../engine/system-run.ts'
import { messageOf } from '../errors.ts'
import type { Plan } from '../plan/plan.ts'
import { countWaiting, type WaitingFiles } from '../sources/files/waiting.ts'
import type { PostgresStore } from '../store/postgres.ts'
import type { System } from '../system.ts'

export interface Board {
  readonly startedAt: Date
  /** Whether this process works on the pipelines; otherwise others do. */
  readonly works: boolean
  /** Undefined until the database answers. */
  store: PostgresStore | undefined
  /** Undefined until the workers begin. */
  duck: Duck | undefined
  /** Why it does not answer yet. */
  waitingFor: string | undefined
  /** Why the embedded Postgres does not come up again: what the workers meet says less. */
  postgresFault: string | undefined
  /** Why tasks are not run now. */
  tasksFault: string | undefined
  phase: 'at work' | 'stopping' | 'stopped'
  readonly lines: Map<string, BoardLine>
  /** Whether somebody looks at the rows of a pipeline as they land, and who is told of them. */
  wantsRows(pipeline: string): boolean
  onRows(rows: LandedRows & { pipeline: string }): void
  /** Lets rows of a pipeline gather, for so long after a batch that was begun then; less or more where that serves those who post. */
  rest(pipeline: string, ms: number, sinceMs: number, signal: AbortSignal): Promise<void>
  /** Told when a worker of this process has committed a batch. */
  onBatch(pipeline: string): void
}

export interface BoardLine {
  readonly system: System
  readonly plan: Plan
  progress: Progress
  files: WaitingFiles
  deadLettersOpen: number
  /** Where files that cannot be read go, when the system says so. */
  readonly quarantine: string | undefined
}

export function newBoard(chosen: readonly System[], config: Config, now: Date, works = true): Board {
  const lines = chosen.map((system): [string, BoardLine] => [
    system.name,
    {
      system,
      plan: planOf(system, config),
      progress: noProgress(),
      files: { waiting: 0, claimed: 0, leftAlone: [] },
      deadLettersOpen: 0,
      quarantine: system.quarantine?.(config.settings),
    },
  ])
  return {
    startedAt: now,
    works,
    store: undefined,
    duck: undefined,
    waitingFor: undefined,
    postgresFault: undefined,
    tasksFault: undefined,
    phase: 'at work',
    lines: new Map(lines),
    wantsRows: () => false,
    onRows: () => {},
    rest: async (_pipeline, ms, sinceMs, signal) => {
      const left = ms - (Date.now() - sinceMs)
      if (left > 0) await sleep(left, undefined, { signal }).catch(() => {})
    },
    onBatch: () => {},
  }
}

/** Notes what a worker does, with the reason behind it where this process knows more than the worker. */
export function note(board: Board, line: BoardLine, progress: Progress = line.progress): void {
  const { state } = progress
  const why = board.postgresFault
  const committed = progress.lastBatch !== line.progress.lastBatch
  line.progress = { ...progress, state: state.is === 'retrying' && why !== undefined ? { ...state, why } : state }
  if (committed) board.onBatch(line.plan.name)
}

/** Reads what the workers do not say: files that wait, and dead letters that are open. */
export async function refresh(board: Board): Promise<void> {
  for (const line of board.lines.values()) line.files = await countWaiting(line.plan)
  const open = await board.store
    ?.select(
      'select pipeline, count(*)::int as open from millrace.dead_letters where settled is null group by pipeline',
    )
    // the workers say what is wrong with the database
    .catch(() => undefined)
  if (open === undefined) return
  for (const [name, line] of board.lines) {
    line.deadLettersOpen = Number(open.find(({ pipeline }) => pipeline === name)?.['open'] ?? 0)
  }
}

export interface NotReady {
  /** For anybody: nothing of pipelines, hosts or errors. */
  short: string
  why: string
}

/** Why the process cannot do its work, or nothing when it can. */
export async function notReady({ store, waitingFor, phase, lines, works }: Board): Promise<NotReady | undefined> {
  if (phase !== 'at work') return { short: phase, why: `it is ${phase}` }
  const short = 'the database does not answer'
  if (store === undefined) return { short, why: `${short} yet${waitingFor === undefined ? '' : `: ${waitingFor}`}` }
  try {
    await store.answers()
  } catch (error) {
    return { short, why: `${short}: ${messageOf(error)}` }
  }
  if (!works) return undefined
  for (const [name, { progress }] of lines) {
    const { state } = progress
    const short = `a pipeline is ${state.is}`
    if (state.is === 'starting') return { short, why: `${name} is starting` }
    if (state.is === 'retrying') return { short, why: `${name} is retrying: ${state.why}` }
    if (state.is === 'stopped') return { short, why: `${name} has stopped: ${state.why}` }
  }
  return undefined
}
