/** Runs dead tasks again, wherever it was asked for. */
import type { Log } from '../log.ts'
import type { PostgresStore } from '../store/postgres.ts'
import { queueOfDead, TaskQueue } from './queue.ts'

/** Each as its number says; NO_SUCH_TASK, and none is run, when one of them is not dead. */
export async function retryTasks(store: PostgresStore, ids: readonly string[], log: Log): Promise<void> {
  if (ids.length === 0) return
  const queues: [queue: string, id: string][] = []
  for (const id of ids) queues.push([await queueOfDead((sql, values) => store.select(sql, values), id), id])
  await using sessions = store.sessions(1)
  await using queue = await TaskQueue.open(sessions, { works: false, log })
  for (const [name, id] of queues) await queue.again(name, id)
  await sessions.query(`select pg_notify('millrace_tasks', '')`)
}
