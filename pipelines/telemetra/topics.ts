import { integer, list, type SettingValues, text, timestamp, topic } from 'millrace'
import { windowsOf } from './settings.ts'

/** The topics, and what a message of each has. */
export function topicsOf(settings: SettingValues) {
  const eventTime = { column: 'timestamp', outOfOrder: windowsOf(settings).outOfOrder } as const
  return {
    chat: topic('telemetra.events.chat', {
      columns: {
        event_id: text().optional(),
        stream_id: text().notEmpty(),
        user_id: text().notEmpty(),
        username: text().optional(),
        message: text(),
        emotes: list(text()).optional(),
        timestamp: timestamp().orEpochMilliseconds(),
      },
      eventTime,
    }),
    viewers: topic('telemetra.events.viewer', {
      columns: {
        stream_id: text().notEmpty(),
        viewer_count: integer().atLeast(0),
        timestamp: timestamp().orEpochMilliseconds(),
      },
      eventTime,
    }),
  }
}
