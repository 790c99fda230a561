/** The tasks of a log, which are Parquet in the folder of the follower. */
import { join } from 'node:path'
import type { RouteTools } from 'millrace'

/** What a select has after `from`, of an attempt of an application; undefined when there is no such log. */
export async function keptTasks(
  { sql }: RouteTools,
  app: unknown,
  attempt: unknown,
): Promise<((folder: string) => string) | undefined> {
  const [log] = await sql('select parts from spark_event_logs where app_id = $1 and attempt = $2', [app, attempt])
  if (log === undefined) return undefined
  // as: what the follower has put there
  const { tasks } = log['parts'] as { tasks: string[] }
  return (folder) => {
    const home = join(folder, encodeURIComponent(`${app} ${attempt}`))
    const paths = tasks.map((name) => `'${join(home, name).replaceAll("'", "''")}'`)
    return `read_parquet([${paths.join(', ')}], union_by_name = true)`
  }
}
