import type { Progress } from '../engine/progress.ts'
import { runSystem, type SystemRun } from '../engine/system-run.ts'
import { dropNow } from './drop-now.ts'
import { keepPostgresUp } from './keep-postgres-up.ts'
import { logAbove } from './log-above.ts'
import type { OpenStore } from './open.ts'
import { progressLine } from './progress.ts'

/** A run or a replay as a verb does it: its progress is shown, and the embedded Postgres kept up. */
export async function runShown(
  run: Omit<SystemRun, 'store' | 'log' | 'onProgress'>,
  opened: OpenStore,
): Promise<Progress> {
  using shown = progressLine(run.system.name)
  const log = logAbove(run.config, shown.print)
  using _up = keepPostgresUp(opened, log)
  const progress = await runSystem({ ...run, store: opened.store, log, onProgress: shown.update })
  await dropNow(opened.store, run.config)
  return progress
}
