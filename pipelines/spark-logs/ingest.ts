/** `POST /logs/ingest`: takes events of jobs, and says of each what became of it once it is committed. */
import { randomUUID } from 'node:crypto'
import type { CommittedEvents, PostedEvent, PostRoute, PostTools, RouteAnswer } from 'millrace'
import { postLog } from './event-logs/posted.ts'
import { logsTopic, messageOf } from './topic.ts'

/** What became of an event. */
interface Result {
  /** Its place in the body, from 0. */
  index: number
  status: 'stored' | 'duplicate' | 'conflicting' | 'rejected'
  code?: string
  column?: string | null
  message?: string
}

/** An event on its way: its place in the body, and the id that its row has if it is stored. */
interface Sent {
  index: number
  text: string
  id: string
}

const result = {
  type: 'object',
  properties: {
    index: { type: 'integer' },
    status: { enum: ['stored', 'duplicate', 'conflicting', 'rejected'] },
    code: { type: 'string' },
    message: { type: 'string' },
  },
  required: ['index', 'status'],
}
const count = { type: 'integer', minimum: 0 }
const results = {
  type: 'object',
  properties: {
    stored: count,
    duplicates: count,
    conflicting: count,
    rejected: count,
    results: { type: 'array', items: result },
  },
}

export const ingestRoute: PostRoute = {
  path: '/logs/ingest',
  judges: 'each event',
  says: 'Takes events of Spark jobs, as an object, an array or NDJSON, and answers when they are in raw_logs; or lines of an event log',
  query: {
    app_id: {
      type: 'string',
      maxLength: 200,
      default: '',
      says: 'the id of an application: the body is lines of its event log, and the answer is 202 once they are durable',
    },
    attempt: { type: 'string', maxLength: 20, default: '', says: 'of the application, where a cluster numbers them' },
    wait: { type: 'integer', minimum: 0, maximum: 1, default: 1, says: '0: the answer is 202 once they are durable' },
  },
  answers: {
    200: { says: 'All that is right was there already. The first payload stays.', schema: results },
    201: { says: 'Some or all of it is stored now.', schema: results },
    202: { says: 'The events are durable, and it is not known yet what becomes of them.' },
  },
  async handle({ query, body }, tools) {
    if (query['app_id'] !== '') {
      return await postLog({ appId: String(query['app_id']), attempt: String(query['attempt']), body }, tools)
    }
    const events = await tools.events(body)
    const refused = events.flatMap((event, index) => (event.is === 'rejected' ? [refusal(event, index)] : []))
    const sent = events.flatMap((event, index): Sent[] =>
      event.is === 'event' ? [{ index, text: event.text, id: randomUUID() }] : [],
    )
    if (sent.length === 0) return answerOf(refused)
    const messages = {
      bytes: Buffer.from(sent.map(({ text, id }) => messageOf(text.replaceAll('\n', ' '), id)).join('\n')),
      type: 'application/x-ndjson',
      encoding: undefined,
      idempotencyKey: undefined,
    }
    const wait = query['wait'] !== 0
    const ingested = await tools.ingest(logsTopic, messages, wait ? { wait: 'commit' } : {})
    if (ingested.committed === undefined) {
      return {
        status: 202,
        headers: ingested.location === undefined ? {} : { location: ingested.location },
        body: { accepted: ingested.accepted, rejected: refused.length, results: refused },
      }
    }
    const judged = await judge(tools, sent, ingested.committed)
    return answerOf([...refused, ...judged].sort((a, b) => a.index - b.index))
  },
}

function refusal({ code, message }: Extract<PostedEvent, { is: 'rejected' }>, index: number): Result {
  return { index, status: 'rejected', code, message }
}

// A row that has the id of an event was made by it. Of the others it is looked at the row of their key.
async function judge(tools: PostTools, sent: Sent[], committed: CommittedEvents): Promise<Result[]> {
  const rejected = await rejectionsOf(tools, sent, committed)
  const ids = sent.map(({ id }) => id).filter((id) => !rejected.has(id))
  // where the ledger counts none that was there before, it need not be asked which they are
  const isAllNew =
    committed.batches.length > 0 && committed.batches.every(({ rows_in, written, dead }) => rows_in === written + dead)
  const stored = isAllNew ? new Set<unknown>(ids) : await storedOf(tools, ids)
  const others = sent.filter(({ id }) => !stored.has(id) && !rejected.has(id))
  const there =
    others.length === 0
      ? []
      : await tools.sql(thereSql, [others.map(({ index }) => index), others.map(({ text }) => text)])
  const same = new Map(there.map(({ index, same }) => [index, same]))
  return sent.map(({ index, id }) => {
    if (stored.has(id)) return { index, status: 'stored' }
    const reason = rejected.get(id)
    if (reason !== undefined) return { index, status: 'rejected', ...reason }
    return { index, status: same.get(index) === true ? 'duplicate' : 'conflicting' }
  })
}

/** Rows that are looked for together: those who wait for the same batch wake at once. */
interface Lookup {
  ids: string[]
  found: Promise<Set<unknown>>
}

// By the signal that ends the server, for each has a database of its own: the one that is under way, and the one behind it.
const lookups = new WeakMap<AbortSignal, { now: Promise<unknown>; next: Lookup | undefined }>()

// Which of these ids are those of rows.
async function storedOf({ sql, signal }: PostTools, ids: string[]): Promise<Set<unknown>> {
  const state = lookups.get(signal) ?? { now: Promise.resolve(), next: undefined }
  lookups.set(signal, state)
  if (state.next !== undefined) {
    state.next.ids.push(...ids)
    return await state.next.found
  }
  const all = [...ids]
  const look = async (): Promise<Set<unknown>> => {
    state.next = undefined
    const rows = await sql('select id from raw_logs where id = any($1::uuid[])', [all])
    return new Set(rows.map(({ id }) => id))
  }
  // whatever became of the one before it
  const found = state.now.then(look, look)
  state.next = { ids: all, found }
  state.now = found
  return await found
}

interface Reason {
  code: string
  column: string | null
  message: string
}

// By the id of the event. The commit tells the first of them, and the dead letters all.
async function rejectionsOf(
  { sql }: PostTools,
  sent: Sent[],
  { rejected, rejections, batches }: CommittedEvents,
): Promise<Map<string, Reason>> {
  const reasons = new Map<string, Reason>()
  for (const { index, code, column, message } of rejections)
    reasons.set(sent[index]?.id ?? '', { code, column, message })
  if (rejected <= rejections.length) return reasons
  const letters = await sql(
    `
    select fields ->> 'millrace_id' as id, code, column_name, message
    from   millrace.dead_letters
    where  pipeline = $1
    and    batch = any($2)
    and    fields ->> 'millrace_id' = any($3)`,
    ['spark-logs', batches.map(({ batch }) => batch), sent.map(({ id }) => id)],
  )
  for (const { id, code, column_name, message } of letters) {
    const column = column_name === null ? null : String(column_name)
    reasons.set(String(id), { code: String(code), column, message: String(message) })
  }
  return reasons
}

const thereSql = `
  select sent.index, there.log = sent.log::jsonb as same
  from   unnest($1::int[], $2::text[]) sent(index, log)
  cross join lateral (
    select log
    from   raw_logs
    where  job_id = (sent.log::jsonb ->> 'job_id')::numeric::int
    and    event::text = sent.log::jsonb ->> 'event'
    and    task_id = sent.log::jsonb ->> 'task_id'
    union all
    select log
    from   raw_logs
    where  job_id = (sent.log::jsonb ->> 'job_id')::numeric::int
    and    event::text = sent.log::jsonb ->> 'event'
    and    task_id is null
    and    sent.log::jsonb ->> 'task_id' is null
  ) there`

function answerOf(results: Result[]): RouteAnswer {
  const counted = (status: Result['status']) => results.filter((each) => each.status === status).length
  const [stored, duplicates, conflicting, rejected] = [
    counted('stored'),
    counted('duplicate'),
    counted('conflicting'),
    counted('rejected'),
  ]
  if (rejected > 0 && rejected === results.length) {
    const [first] = results
    return {
      problem: {
        status: 422,
        code: 'BAD_EVENTS',
        detail: `nothing was stored: ${first?.message ?? 'the events are not right'}`,
        errors: results,
      },
    }
  }
  return {
    status: stored > 0 ? 201 : 200,
    headers: { 'millrace-rejected': String(rejected) },
    body: { stored, duplicates: duplicates + conflicting, conflicting, rejected, results },
  }
}
