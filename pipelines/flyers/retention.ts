/** Sessions go some time after they came. What was made of them stays. */
import type { Schedule, Task } from 'millrace'

/** Of one transaction, so that none is long. */
const rowsAtOnce = 10_000

export const tasks: Record<string, Task> = {
  forget_old_sessions: {
    says: 'Removes sessions that came longer ago than FLYERS_SESSIONS_KEEP; one that is still open stays.',
    async run({ settings }, { sql, enqueue }) {
      const gone = await sql(
        `
        delete from flyer_sessions
        where  pair_id in (
          select pair_id
          from   flyer_sessions
          where  landed_at < now() - make_interval(secs => $1) and outcome <> 'open'
          order  by landed_at
          limit  ${rowsAtOnce})
        returning 1`,
        [Number(settings['FLYERS_SESSIONS_KEEP']) / 1000],
      )
      if (gone.length === rowsAtOnce) await enqueue('forget_old_sessions', [''])
    },
  },
}

export const schedules: Schedule[] = [{ task: 'forget_old_sessions', everyMs: () => 3_600_000, atStart: true }]
