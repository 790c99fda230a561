/** Replays of dead letters that are left to a worker: of so many that nobody waits for them. */
import type { Config } from '../config.ts'
import type { Duck } from '../engine/duckdb.ts'
import { runSystem } from '../engine/system-run.ts'
import { MillraceError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { ChosenLetters } from '../sources/letters.ts'
import type { PostgresStore } from '../store/postgres.ts'
import type { System, Task } from '../system.ts'
import type { TaskOwner } from './runner.ts'

export const replayTask = 'replay_dead_letters'

/** A key is in an index of the queue, whose entries have their limit. */
const longestKey = 2_000
/** A run of the queue may take an hour. What a replay has not come to by then is asked for anew. */
const longestMs = 30 * 60_000

interface ReplayTools {
  config: Config
  store: PostgresStore
  duck: Duck
  log: Log
  signal: AbortSignal
}

/**
 * The system with the task that replays its dead letters. Its batches are transactions of their own, as those of any replay:
 * one that is told to stop, or takes too long, leaves the rest to the next run.
 */
export function withReplays(system: System, tools: ReplayTools): TaskOwner {
  const task: Task = {
    says: 'Replays dead letters that were chosen',
    async run({ keys }) {
      for (const key of keys) {
        const letters = lettersOf(key)
        const signal = AbortSignal.any([tools.signal, AbortSignal.timeout(longestMs)])
        const { books, batches } = await runSystem({ ...tools, signal, system, letters })
        if (signal.aborted) await tools.store.requestTask(system.name, replayTask, [key])
        const isWhole = signal.aborted ? 'not yet' : 'yes'
        tools.log.info('dead letters were replayed', { pipeline: system.name, whole: isWhole, batches, ...books })
      }
    },
  }
  return { ...system, tasks: { ...system.tasks, [replayTask]: task } }
}

/** Leaves the chosen letters of a pipeline to a worker of it. */
export async function askForReplay(store: PostgresStore, pipeline: string, letters: ChosenLetters): Promise<void> {
  const key = keyOf(letters)
  if (Buffer.byteLength(key) > longestKey) {
    throw new MillraceError('WRONG_USAGE', {
      at: pipeline,
      message: 'what was chosen takes too many words for a worker to be told',
      hint: 'choose by pipeline, code, file, column, batch or time rather than by many ids, or replay without a worker',
    })
  }
  await store.requestTask(pipeline, replayTask, [key])
}

function keyOf({ which, set }: Pick<ChosenLetters, 'which' | 'set'>): string {
  return JSON.stringify({ which, set })
}

function lettersOf(key: string): ChosenLetters {
  // as: what `keyOf` has printed, where times are texts
  const { which, set } = JSON.parse(key) as ChosenLetters & { which: { since?: string; until?: string } }
  const { since, until, ...same } = which
  return {
    which: {
      ...same,
      ...(since === undefined ? {} : { since: new Date(since) }),
      ...(until === undefined ? {} : { until: new Date(until) }),
    },
    set,
  }
}
