/** `POST /logs/ingest?app_id=`: lines of an event log, which lie in a file of ours then and are read like any other log. */
import type { EventBody, PostTools, RouteAnswer } from 'millrace'
import { followerName } from './follow.ts'
import { nameOfLog } from './logs.ts'

interface PostedLog {
  appId: string
  attempt: string
  body: EventBody
}

export async function postLog({ appId, attempt, body }: PostedLog, tools: PostTools): Promise<RouteAnswer> {
  const name = nameOfLog(appId, attempt)
  if (name === undefined) {
    return {
      problem: {
        status: 422,
        code: 'WRONG_PARAMETER',
        detail: `"${attempt === '' ? appId : `${appId}, attempt ${attempt}`}" is no application as Spark names them`,
        hint: 'such as app-20240330101245-0001, local-1711793565000, spark-7f3a, or application_1711793565000_0001 with ?attempt=1',
      },
    }
  }
  if (body.idempotencyKey !== undefined) {
    return {
      problem: {
        status: 422,
        code: 'WRONG_PARAMETER',
        detail: 'an Idempotency-Key is not kept for lines of an event log, and nothing was stored',
        hint: 'post them without it, and again when in doubt: a line that comes again counts once',
      },
    }
  }
  const events = await tools.events(body)
  const lines: string[] = []
  const rejected: { index: number; status: 'rejected'; code: string; message: string }[] = []
  for (const [index, event] of events.entries()) {
    if (event.is === 'rejected') rejected.push({ index, status: 'rejected', code: event.code, message: event.message })
    else if (event.text.includes('"Event"')) lines.push(event.text.replaceAll(/[\r\n]/g, ' '))
    else
      rejected.push({
        index,
        status: 'rejected',
        code: 'NO_EVENT',
        message: 'it has no "Event", as lines of event logs do',
      })
  }
  if (lines.length === 0) {
    const detail = `nothing was stored: ${rejected[0]?.message ?? 'the body is empty'}`
    return { problem: { status: 422, code: 'BAD_EVENTS', detail, errors: rejected } }
  }
  await tools.keep(followerName, name, lines)
  return {
    status: 202,
    headers: { location: `/api/v1/applications/${appId}`, 'millrace-rejected': String(rejected.length) },
    body: { app_id: appId, attempt, accepted: lines.length, rejected: rejected.length, results: rejected },
  }
}
