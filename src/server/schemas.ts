/** JSON Schema of what the API takes and answers, for checking requests and for the OpenAPI document. */
import type { Route } from '../system.ts'
import { closedInWords } from './behind.ts'

type Schema = Record<string, unknown>

export const text: Schema = { type: 'string' }
export const count: Schema = { type: 'integer', minimum: 0 }
const number: Schema = { type: 'number' }
const moment: Schema = { type: 'string', format: 'date-time' }
export const orNull = (schema: Schema): Schema => ({ anyOf: [schema, { type: 'null' }] })
export const listOf = (items: Schema): Schema => ({ type: 'array', items })
/** An object that has at least these, and may have more. */
export const shape = (properties: Record<string, Schema>, says?: string): Schema => ({
  type: 'object',
  ...(says === undefined ? {} : { description: says }),
  properties,
  required: Object.keys(properties),
  additionalProperties: true,
})

const books = shape({ rows_in: count, written: count, filtered: count, duplicates: count, late: count, dead: count })

export const problemSchema = shape(
  { type: text, title: text, status: { type: 'integer' }, code: text, detail: text },
  'What is wrong, and what to do about it.',
)

const columns = listOf(shape({ name: text, type: text, nullable: { type: 'boolean' } }))

const pipelineProperties = {
  pipeline: text,
  says: text,
  state: shape({ is: text }),
  advice: orNull(text),
  owner: orNull(text),
  lent_by: orNull(text),
  doing: orNull(text),
  epoch: orNull(count),
  batch: orNull(count),
  last_committed_at: orNull(moment),
  books: orNull(books),
  rows_per_second: number,
  lag: shape({
    files_waiting: count,
    files_claimed: count,
    rows: {
      ...orNull(count),
      description:
        'not committed yet: of topics by their positions, of files as many as others had; null when not known',
    },
    rows_estimated: { type: 'boolean', description: 'files wait, of which nobody knows the rows' },
    why: { ...orNull(text), description: 'why the rows are not known' },
    seconds: {
      ...orNull(number),
      description: 'how long the oldest file has waited; null where only messages wait, or nobody knows whether any do',
    },
  }),
  files_waiting: count,
  files_claimed: count,
  files_left_alone: listOf(text),
  event_time: { type: 'boolean', description: 'whether a source says when its events happened' },
  watermark: {
    ...orNull(moment),
    description:
      'by which rows are judged; null where there is no event time, before the first batch, and when it is closed',
  },
  watermark_closed: {
    type: 'boolean',
    description: `${closedInWords}. A run with --final has closed every window; whatever comes now is late`,
  },
  watermark_lag_ms: {
    ...orNull({ type: 'integer' }),
    description: 'how far the watermark is behind the clock; null when there is none, or it is closed',
  },
  state_rows: count,
  files_quarantined: orNull(count),
  dead_letters_open: orNull(count),
  late_rows: count,
  retries: count,
  outbox_rows: { ...orNull(count), description: 'messages that wait to be published' },
}

export const pipelineSchema = shape(
  pipelineProperties,
  'A pipeline, its books over all time, and how far behind it is.',
)

export const pipelineDetailSchema = shape(
  {
    ...pipelineProperties,
    hash: text,
    source: listOf(shape({ id: text, says: text, columns })),
    steps: listOf(
      shape({
        id: text,
        op: text,
        from: listOf(text),
        says: text,
        columns,
        reasons: listOf(shape({ code: text, column: orNull(text), message: text })),
        duckdb: listOf(text),
        store: listOf(text),
        rows_in: { ...count, description: 'of the last minute' },
        rows_out: { ...count, description: 'of the last minute' },
        rows_per_second: number,
      }),
    ),
    state_bytes: { ...count, description: 'of open windows, as they lie in the database' },
    positions: listOf(
      shape({
        source: text,
        topic: { ...orNull(text), description: 'null of files' },
        partition: text,
        position: { ...orNull({ type: 'integer' }), description: 'the offset that comes next; null before the first' },
        end: { ...orNull(count), description: 'the offset after the last message; null when it is not known' },
        lag_rows: { ...orNull(count), description: 'messages that are not committed yet; null when not known' },
        watermark: orNull(moment),
      }),
    ),
    folders: listOf(text),
    quarantine: orNull(text),
  },
  'A pipeline with its steps, the SQL they become, and its positions.',
)

export const batchSchema = shape(
  {
    batch: count,
    epoch: count,
    kind: { enum: ['stream', 'backfill', 'replay', 'spark'] },
    started_at: moment,
    committed_at: moment,
    rows_in: count,
    written: count,
    filtered: count,
    duplicates: count,
    late: count,
    dead: count,
    files_quarantined: count,
    rows_out: { type: 'object', additionalProperties: true },
    step_rows: { type: 'object', additionalProperties: count },
    phases_ms: { type: 'object', additionalProperties: number },
  },
  'A line of the ledger.',
)

export const fileSchema = shape({
  id: text,
  path: text,
  size: count,
  state: { enum: ['reading', 'done', 'quarantined'] },
  rows_done: count,
  bytes_done: count,
  batch: count,
  code: orNull(text),
  message: orNull(text),
  arrived_at: moment,
})

export const lateRowSchema = shape({
  id: count,
  batch: count,
  step: text,
  place: text,
  event_time: moment,
  window_start: orNull(moment),
  late_by_ms: count,
  raw: text,
  raw_cut: { type: 'boolean', description: 'it is longer than that' },
  arrived_at: moment,
})

const fields: Schema = { type: 'object', additionalProperties: orNull(text) }

export const letterSchema = shape(
  {
    id: count,
    pipeline: text,
    batch: count,
    source: text,
    place: text,
    line: orNull(count),
    stage: text,
    code: text,
    column: orNull(text),
    message: text,
    meaning: orNull(text),
    raw: text,
    raw_cut: { type: 'boolean' },
    fields: orNull(fields),
    fault: orNull(shape({ start: count, end: count })),
    columns: listOf(text),
    rejected_at: moment,
    settled: orNull({ enum: ['replayed', 'discarded'] }),
    settled_at: orNull(moment),
    settled_by: orNull(text),
  },
  'A row that did not land, as it was read, and why.',
)

/** What Postgres and JavaScript both count. */
const wholeNumber: Schema = { type: 'integer', minimum: 0, maximum: 9_007_199_254_740_991 }
// a NUL can be nowhere in Postgres
const withoutNul = '^[^\\u0000]*$'
const plainText: Schema = { type: 'string', maxLength: 10_000, pattern: withoutNul }

export const filterProperties: Record<string, Schema> = {
  pipeline: { ...plainText, description: 'of this pipeline' },
  code: { ...plainText, description: 'with this reason' },
  file: { ...plainText, description: 'from a file whose path contains this text' },
  column: { ...plainText, description: 'in which the value of this column was wrong' },
  batch: { ...wholeNumber, description: 'of the batch of this number' },
  since: { ...moment, description: 'rejected then or later' },
  until: { ...moment, description: 'rejected before then' },
}

export const where: Schema = {
  type: 'object',
  description: 'Which dead letters: all of it must hold. An empty object means all that are open.',
  properties: {
    ids: { type: 'array', items: wholeNumber, maxItems: 10_000 },
    ...filterProperties,
  },
  additionalProperties: false,
}

export const edits: Schema = {
  type: 'object',
  description: 'Texts by column; null is an absent value.',
  additionalProperties: orNull({ type: 'string', maxLength: 100_000, pattern: withoutNul }),
  maxProperties: 1000,
}

export const pageProperties: Record<string, Schema> = {
  before: { ...wholeNumber, description: 'from here on backwards: `next` of the page before' },
  limit: { type: 'integer', minimum: 1, maximum: 500, default: 50 },
}

export const idParameter: Schema = {
  type: 'object',
  properties: { id: wholeNumber },
  required: ['id'],
}

export const nameParameter: Schema = {
  type: 'object',
  properties: { name: { type: 'string', maxLength: 200 } },
  required: ['name'],
}

const range = shape({ partition: count, first: count, end: count })

export const ingestedSchema = shape(
  { topic: text, accepted: count, ranges: listOf(range) },
  'The events are durable, at these offsets: `end` is the one after the last.',
)

export const committedSchema = shape(
  {
    topic: text,
    accepted: count,
    ranges: listOf(range),
    batches: listOf(
      shape({ pipeline: text, batch: count, committed_at: moment, rows_in: count, written: count, dead: count }),
    ),
    rejected: { ...count, description: 'how many of them are dead letters' },
    rejections: listOf(
      shape(
        { pipeline: text, index: count, code: text, column: orNull(text), message: text },
        'The first 100 of these.',
      ),
    ),
  },
  'The events are committed, in these batches, which may have others, too.',
)

export const idempotencyKey: Schema = {
  type: 'object',
  properties: {
    'idempotency-key': {
      type: 'string',
      minLength: 1,
      maxLength: 255,
      pattern: '^[ -~]*$',
      description: 'the same request again, within 24 hours, is answered as the first one was, and appends nothing',
    },
  },
}

export const taskSchema = shape(
  {
    id: text,
    pipeline: text,
    task: text,
    key: text,
    state: { enum: ['waiting', 'running', 'failed, tried again', 'dead'] },
    failures: count,
    asked_at: moment,
    next_at: { ...orNull(moment), description: 'when it is run, of one that waits and that a worker has taken' },
    failed_at: orNull(moment),
    why: { ...orNull(text), description: 'what the last failure said' },
  },
  'A task that was asked for and is not done.',
)

export const taskCountSchema = shape({
  pipeline: text,
  task: text,
  waiting: count,
  running: count,
  retrying: count,
  dead: count,
})

/** The problems any address can answer with, and those of its own. */
export function answers(success: Schema, ...own: number[]): Record<number, Schema> {
  return Object.fromEntries([
    [200, success],
    ...[...anyProblems, ...own].map((status) => [status, problemAnswer(status)]),
  ])
}

/** What any address can answer with when something is wrong. */
export const anyProblems = [400, 401, 403, 404, 421, 500, 503, 504]

export function problemAnswer(status: number): Schema {
  const content = { 'application/problem+json': { schema: problemSchema } }
  return { description: statusSays[status] ?? '', content }
}

const statusSays: Record<number, string> = {
  400: 'The request cannot be understood.',
  401: 'An access token is needed.',
  403: 'The token, or the origin of the page, does not allow it.',
  404: 'There is no such thing.',
  409: 'It is in another state by now.',
  413: 'The body is too large.',
  415: 'The body must be JSON.',
  422: 'What was sent can be read, and not be done.',
  421: 'The server does not answer for this name.',
  500: 'The request failed; the log says why.',
  503: 'The process cannot do its work yet.',
  504: 'The database took too long for it.',
  507: 'The disk has too little room.',
}

/** The parts of the path of a route that a system brings. */
export function pathParameters(params: Record<string, string> = {}): Schema {
  const properties = Object.entries(params).map(([name, says]) => [
    name,
    { type: 'string', maxLength: 200, pattern: withoutNul, description: says },
  ])
  return { type: 'object', properties: Object.fromEntries(properties), required: Object.keys(params) }
}

/** The parameters of a route that a system brings. */
export function ownParameters({ query = {} }: Pick<Route, 'query'>): Record<string, Schema> {
  return Object.fromEntries(
    Object.entries(query).map(([name, { says, ...schema }]) => {
      const plain = schema.type === 'string' ? { pattern: withoutNul } : {}
      return [name, { ...schema, ...plain, description: says }]
    }),
  )
}
