/** The tasks of Millrace itself, and when they are due. */
import type { Config } from '../config.ts'
import { archiveOld } from './retention.ts'
import type { TaskOwner } from './runner.ts'

const hourMs = 3_600_000

export function ownTasks(config: Config): TaskOwner {
  return {
    name: 'millrace',
    tasks: {
      archive_old: {
        says: 'Archives dead letters that are done with and late rows, and forgets dead tasks, when they are old',
        run: async (_, tools) => await archiveOld(config, tools),
      },
    },
    schedules: [{ task: 'archive_old', everyMs: () => hourMs, atStart: true }],
  }
}
