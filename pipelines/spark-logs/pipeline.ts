import { functions, integer, json, oneOf, pipeline, type System, table, text, timestamp, topic } from 'millrace'
import { jobPrefix, jobRoute, summaryRoute } from './analytics.ts'
import { schedules, tasks } from './compute.ts'
import { eventLogs } from './event-logs/index.ts'
import { summaryPrefix } from './event-logs/summaries.ts'
import { generator } from './generate.ts'
import { ingestRoute } from './ingest.ts'
import { jobRoutes, jobView } from './one-job.ts'
import { charts, routes } from './results.ts'
import { settings } from './settings.ts'
import { logsTopic } from './topic.ts'

const { coalesce } = functions

const logs = topic(logsTopic, {
  columns: {
    event: oneOf('SparkListenerJobStart', 'SparkListenerTaskEnd', 'SparkListenerJobEnd'),
    // as a Postgres int
    job_id: integer().atLeast(-2_147_483_648).atMost(2_147_483_647),
    timestamp: timestamp(),
    user: text().optional(),
    task_id: text().optional(),
    millrace_id: text().notEmpty(),
    millrace_log: json(),
  },
})

const jobLogs = pipeline('spark-logs')
  .from(logs)
  .check(
    'NO_TASK',
    (row) => row.event.differsFrom('SparkListenerTaskEnd').or(coalesce(row.task_id, '').differsFrom('')),
    { message: 'a task has ended, and task_id does not say which', column: 'task_id' },
  )
  .select(({ millrace_id, millrace_log, ...row }) => ({ id: millrace_id, ...row, log: millrace_log }))
  .into(table('raw_logs', { oncePer: ['job_id', 'event', 'task_id'] }))
  .enqueue('compute_job_analytics', { key: 'job_id' })

export const sparkLogs: System = {
  name: 'spark-logs',
  says: "Spark's events of jobs, over HTTP or from its event logs, as analytics of jobs and applications.",
  settings: { ...settings, ...eventLogs.settings },
  plan: () => jobLogs.plan,
  tables: {
    ...eventLogs.tables,
    results: ['job_analytics', ...eventLogs.tables.results],
    cachedAs: [jobPrefix, summaryPrefix],
  },
  migrations: new URL('./migrations/', import.meta.url),
  generate: generator,
  posts: [ingestRoute],
  gets: [jobRoute, summaryRoute, ...eventLogs.gets],
  tasks: { ...tasks, ...eventLogs.tasks },
  schedules,
  routes: [...routes, ...jobRoutes, ...eventLogs.routes],
  charts: [...charts, ...eventLogs.charts],
  views: [jobView, ...eventLogs.views],
  followers: eventLogs.followers,
  notOnSpark: 'its logs fit one machine, and nothing in them is done better by many',
}
