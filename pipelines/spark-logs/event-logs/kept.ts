/** What is kept of a log as Parquet, in the folder of the follower: its tasks, and its other events. */
import { join } from 'node:path'
import type { RouteTools } from 'millrace'
import { clean } from './analyse.ts'

/** What a select has after `from`, of an attempt of an application; undefined when there is no such log. */
export async function kept(
  { sql }: RouteTools,
  kind: 'tasks' | 'events',
  app: unknown,
  attempt: unknown,
): Promise<((folder: string) => string) | undefined> {
  const [log] = await sql('select parts from spark_event_logs where app_id = $1 and attempt = $2', [app, attempt])
  if (log === undefined) return undefined
  // as: what the follower has put there
  const parts = log['parts'] as Record<typeof kind, string[]>
  return (folder) => {
    const home = join(folder, encodeURIComponent(`${app} ${attempt}`))
    const paths = parts[kind].map((name) => `'${join(home, name).replaceAll("'", "''")}'`)
    return `read_parquet([${paths.join(', ')}], union_by_name = true)`
  }
}

/** Selects what is long of stages, from events: where they come from, and accumulables that are of the user. */
export function stageTexts(events: string, stage: number | undefined): string {
  const only = (id: string): string => (stage === undefined ? '' : `and ${id} = ${stage}`)
  return `
    with told as (
      select "Stage Info"."Stage ID" as stage_id, "Stage Info"."Stage Attempt ID" as attempt, "Stage Info"."Details" as details,
        "Stage Info"."Accumulables" as accumulables, case event when 'SparkListenerStageCompleted' then 2 else 1 end as said_by
      from   ${events}
      where  event in ('SparkListenerStageSubmitted', 'SparkListenerStageCompleted') ${only('"Stage Info"."Stage ID"')}
      union all
      select info."Stage ID", info."Stage Attempt ID", info."Details", info."Accumulables", 0
      from   (select unnest("Stage Infos") as info from ${events} where event = 'SparkListenerJobStart')
      where  true ${only('info."Stage ID"')}
    ), best as (
      select stage_id, coalesce(attempt, 0) as stage_attempt,
        arg_max({'details': details, 'accumulables': accumulables}, said_by) as info
      from   told
      group by all
    )
    select stage_id, stage_attempt, ${clean('info.details')} as details,
      list_filter(info.accumulables::json[], lambda a: a->>'Name' is not null and coalesce(a->>'Internal', '') <> 'true'
        and coalesce(a->>'Metadata', '') <> 'sql')::json::varchar as accumulables
    from   best`
}
