/** `POST /api/process`: takes events, and answers with the mean hours of each reader once they are counted. */
import type { EventBody, PostRoute, PostTools } from 'millrace'
import { flyersTopic } from './generate.ts'

type Rows = Record<string, unknown>[]

/** So many readers at a time, so that a million of them never lie in memory. */
const readersAtOnce = 10_000
/** Answers of no more bytes are made once for all who wait for the same batch. */
const sharedBytes = 4_000_000
/** An answer is given to whoever comes so soon after, and has no newer events. */
const sharedMs = 1000

const flag = (says: string, value: 0 | 1) =>
  ({ type: 'integer', minimum: 0, maximum: 1, default: value, says }) as const

export function processRoute(): PostRoute {
  // by the signal that ends the server, for each has a database of its own
  const answersOf = new WeakMap<AbortSignal, { batch: number; madeAt: number; text: Promise<string | undefined> }>()
  return {
    path: '/api/process',
    says: 'Takes events of flyers, as an object, an array or NDJSON, and answers with the mean hours of each reader',
    query: {
      users: { type: 'string', maxLength: 6, default: 'all', says: 'whose hours: all, or those posted' },
      wait: flag('0: the answer is 202 as soon as the events are durable', 1),
      strict: flag('1: one bad event is a problem, and nothing is stored', 0),
    },
    answers: {
      200: {
        says: 'The mean hours of a session of each reader, by user_id. Millrace-Rejected says how many events were bad.',
        schema: hours,
      },
      202: { says: 'The events are durable, and not all of them are counted yet.' },
    },
    async handle({ query, body }, tools) {
      const strict = query['strict'] === 1
      if (query['wait'] === 0) return { status: 202, body: await tools.ingest(flyersTopic, body, { strict }) }
      const ingested = await tools.ingest(flyersTopic, body, { wait: 'commit', strict })
      const { committed, location } = ingested
      if (committed === undefined)
        return { status: 202, headers: location === undefined ? {} : { location }, body: ingested }
      const headers = { 'millrace-rejected': String(committed.rejected) }
      if (query['users'] === 'posted') return { headers, body: await postedHours(tools, body) }
      // what was read after a batch has the batches before it as well
      const batch = Math.max(0, ...committed.batches.map((each) => each.batch))
      if (batch === 0) return { headers, body: allHours(tools) }
      const [known, madeAt] = [answersOf.get(tools.signal), performance.now()]
      const isNew = known !== undefined && known.batch >= batch && madeAt - known.madeAt < sharedMs
      const shared = isNew ? known : { batch, madeAt, text: shortAnswer(tools) }
      answersOf.set(tools.signal, shared)
      const text = await shared.text.catch(() => undefined)
      return { headers, body: text === undefined ? allHours(tools) : once(text) }
    },
  }
}

const hours = {
  type: 'array',
  items: {
    type: 'object',
    properties: { user_id: { type: 'string' }, avg_time_on_flyer_per_user_hours: { type: 'number' } },
    required: ['user_id', 'avg_time_on_flyer_per_user_hours'],
  },
}

// The whole of it, unless it is long.
async function shortAnswer(tools: PostTools): Promise<string | undefined> {
  let text = ''
  for await (const part of allHours(tools)) {
    text += part
    if (text.length > sharedBytes) return undefined
  }
  return text
}

async function* once(text: string): AsyncGenerator<string> {
  yield text
}

async function* allHours({ sql }: PostTools): AsyncGenerator<string> {
  let after: unknown = ''
  let isFirst = true
  yield '['
  for (;;) {
    const rows: Rows = await sql(
      `
      select user_id, avg_hours
      from   flyer_time_per_user
      where  user_id > $1
      order by user_id
      limit  $2`,
      [after, readersAtOnce],
    )
    if (rows.length > 0) yield `${isFirst ? '' : ',\n'}${rows.map(lineOf).join(',\n')}`
    isFirst = false
    if (rows.length < readersAtOnce) break
    after = rows.at(-1)?.['user_id']
  }
  yield ']\n'
}

function lineOf({ user_id, avg_hours }: Record<string, unknown>): string {
  return JSON.stringify({ user_id, avg_time_on_flyer_per_user_hours: Number(avg_hours) })
}

async function postedHours({ sql, events }: PostTools, body: EventBody): Promise<unknown[]> {
  const taken = await events(body)
  const readers = new Set(taken.flatMap((event) => (event.is === 'event' ? readerIn(event.text) : [])))
  const rows: Rows = await sql(
    `
    select user_id, avg_hours
    from   flyer_time_per_user
    where  user_id = any($1)
    order by user_id`,
    [[...readers]],
  )
  return rows.map((row) => JSON.parse(lineOf(row)))
}

// As it is stored: what is no text is taken as it is written. A bad event may have no reader, or one that no table can hold.
function readerIn(event: string): string[] {
  // as: the third argument is in no type yet
  const written = (name: string, value: unknown, { source }: { source?: string }): unknown =>
    name === 'user_id' && (typeof value === 'number' || typeof value === 'boolean') ? source : value
  const { user_id } = JSON.parse(event, written as (name: string, value: unknown) => unknown)
  return typeof user_id === 'string' && !user_id.includes('\0') ? [user_id] : []
}
