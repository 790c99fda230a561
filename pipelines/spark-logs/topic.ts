/** The topic of job logs. Each message is the event as it was sent, and beside its keys two of ours. */
import { randomUUID } from 'node:crypto'

export const logsTopic = 'spark.logs'

/**
 * `id` becomes that of the row, if this message is the one that makes it; `log` is the whole event again. They come first,
 * so that the text of the event need not be read here.
 */
export function messageOf(event: string, id: string = randomUUID()): string {
  const rest = event.slice(event.indexOf('{') + 1)
  const comma = rest.trimStart().startsWith('}') ? '' : ','
  return `{"millrace_id":"${id}","millrace_log":${event}${comma}${rest}`
}
