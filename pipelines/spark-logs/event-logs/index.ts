/** The part of spark-logs that reads the event logs of real Sparks, for the system to spread into itself. */
import type { System } from 'millrace'
import { apiRoutes } from './api.ts'
import { eventLogFollower } from './follow.ts'
import { charts, routes, views } from './results.ts'
import { settings } from './settings.ts'
import { tasks } from './summaries.ts'
import { tables as resultTables } from './tables.ts'

export const eventLogs = {
  tables: { positions: ['spark_event_logs'], results: Object.keys(resultTables) },
  settings,
  gets: apiRoutes,
  routes,
  charts,
  views,
  tasks,
  followers: [eventLogFollower],
} satisfies Partial<System>
