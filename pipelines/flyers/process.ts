/** `POST /api/process`: takes events, and answers with the mean hours of each reader once they are counted. */
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import type { EventBody, PostRoute, PostTools } from 'millrace'
import { flyersTopic } from './generate.ts'

type Rows = Record<string, unknown>[]

/** So many readers at a time, so that a million of them never lie in memory. */
const readersAtOnce = 10_000
/** Answers of no more bytes are made once for all who wait for the same batch. */
const sharedBytes = 4_000_000
const mostUnpacked = 64_000_000

const flag = (says: string, value: 0 | 1) =>
  ({ type: 'integer', minimum: 0, maximum: 1, default: value, says }) as const

export function processRoute(): PostRoute {
  // by the signal that ends the server, for each has a database of its own
  const answersOf = new WeakMap<AbortSignal, { batch: number; text: Promise<string | undefined> }>()
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
      const known = answersOf.get(tools.signal)
      const shared = known !== undefined && known.batch >= batch ? known : { batch, text: shortAnswer(tools) }
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

async function postedHours({ sql }: PostTools, body: EventBody): Promise<unknown[]> {
  const rows: Rows = await sql(
    `
    select user_id, avg_hours
    from   flyer_time_per_user
    where  user_id = any($1)
    order by user_id`,
    [readersIn(body)],
  )
  return rows.map((row) => JSON.parse(lineOf(row)))
}

// The events were taken, so each is an object; bad ones may have no reader, or none that is a text.
function readersIn({ bytes, type, encoding }: EventBody): string[] {
  const text = unpacked(bytes, encoding).toString('utf8')
  const events: unknown[] = /ndjson/i.test(type)
    ? text.split('\n').flatMap((line) => (line.trim() === '' ? [] : [JSON.parse(line)]))
    : [JSON.parse(text)].flat()
  const readers = events.map((event) =>
    typeof event === 'object' && event !== null && 'user_id' in event ? event.user_id : undefined,
  )
  return [...new Set(readers.filter((reader) => typeof reader === 'string'))]
}

function unpacked(bytes: Uint8Array, encoding: string | undefined): Buffer {
  const limit = { maxOutputLength: mostUnpacked }
  if (encoding === 'gzip') return gunzipSync(bytes, limit)
  return encoding === 'zstd' ? zstdDecompressSync(bytes, limit) : Buffer.from(bytes)
}
