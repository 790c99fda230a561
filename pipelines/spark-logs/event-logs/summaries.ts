/** The days on which jobs of event logs ended: what the cache keeps of them goes when these are told anew. */
import type { Task } from 'millrace'

/** Keys of answers in the cache about a day. */
export const summaryPrefix = 'analytics_summary:'
export const summaryKey = (day: string): string => `${summaryPrefix}${day}`

export const forgetSummaries = 'forget_summaries'

export const tasks: Record<string, Task> = {
  [forgetSummaries]: {
    says: 'Drops what the cache keeps of days on which jobs of event logs ended',
    atOnce: 200,
    async run({ keys }, { drop }) {
      await drop(keys.map(summaryKey))
    },
  },
}
