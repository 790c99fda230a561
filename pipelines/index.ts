import { flyers } from './flyers/pipeline.ts'
import { shopEvents } from './shop-events/pipeline.ts'
import { sparkLogs } from './spark-logs/pipeline.ts'
import { telemetra } from './telemetra/pipeline.ts'
import { userActivity } from './user-activity/pipeline.ts'

/** The systems that ship with Millrace. */
export const systems = [shopEvents, userActivity, telemetra, flyers, sparkLogs]
