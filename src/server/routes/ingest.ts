/** Events posted to topics, and to addresses that systems bring for themselves. */
import type { FastifyInstance, FastifyReply, FastifyRequest, FastifySchemaCompiler } from 'fastify'
import type { EventBody, Ingested, PostRoute, System } from '../../system.ts'
import type { Desk } from '../desk.ts'
import { toolsFor } from '../desk.ts'
import { Bodies } from '../ingest/bodies.ts'
import { bodyTypes, type Ingest, wrongType } from '../ingest/ingest.ts'
import { topicsRead } from '../ingest/positions.ts'
import { ownAnswers, sendAnswer } from '../own-answers.ts'
import { ProblemError } from '../problem.ts'
import {
  answers,
  anyProblems,
  committedSchema,
  idempotencyKey,
  ingestedSchema,
  ownParameters,
  problemAnswer,
  text,
} from '../schemas.ts'

const tags = ['ingest']
const ownProblems = [409, 413, 415, 422, 507]

export function ingestRoutes(
  app: FastifyInstance,
  desk: Desk,
  ingest: Ingest,
  validators: FastifySchemaCompiler<unknown>,
): void {
  app.register(async (scope) => {
    takeBytes(scope, desk, validators)
    topicRoute(scope, desk, ingest)
    for (const { system } of desk.board.lines.values())
      for (const route of system.posts ?? []) ownRoute(scope, desk, ingest, system, route)
  })
  commitsRoute(app, desk, ingest)
}

/** Of all bodies that are being received or worked on. */
const allBodiesBytes = 256_000_000

// Bodies stay the bytes that they are: they are cut where they lie.
function takeBytes(scope: FastifyInstance, { config }: Desk, validators: FastifySchemaCompiler<unknown>): void {
  const { bodyBytes } = config.ingest
  const bodies = new Bodies(bodyBytes, Math.max(allBodiesBytes, 4 * bodyBytes))
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser(Object.keys(bodyTypes), async ({ raw }: FastifyRequest) => await bodies.read(raw))
  scope.addHook('onResponse', async ({ body }) => {
    if (Buffer.isBuffer(body)) bodies.release(body.length)
  })
  scope.addContentTypeParser('*', async ({ headers }: FastifyRequest) => {
    throw wrongType(headers['content-type'])
  })
  scope.setValidatorCompiler((route) => (route.httpPart === 'body' ? () => true : validators(route)))
}

const event = { type: 'object', additionalProperties: true }
const eventBody = bodyOfJson({ anyOf: [event, { type: 'array', items: event }] })

function bodyOfJson(schema: object): object {
  return { content: { 'application/json': { schema }, 'application/x-ndjson': { schema: text } } }
}

// Those that are read here stand in the document.
function topicParameter({ board }: Desk): object {
  const name = { type: 'string', maxLength: 249, examples: [...topicsRead(board)] }
  return { type: 'object', properties: { name }, required: ['name'] }
}

interface Post {
  Params: { name: string }
  Querystring: { wait?: 'commit'; strict: '0' | '1' }
  Body: Buffer | undefined
}

function topicRoute(scope: FastifyInstance, desk: Desk, ingest: Ingest): void {
  scope.post<Post>(
    '/api/topics/:name',
    {
      schema: {
        tags,
        summary: 'Appends events to a topic',
        description:
          'A JSON object, an array of them, or a line for each (`application/x-ndjson`), as it is or packed with gzip or zstd. ' +
          'The answer 202 means that the events are durable; with `wait=commit` the answer 200 means that every pipeline ' +
          'that reads the topic and this server knows has committed them. Of a body that is refused nothing is stored.',
        params: topicParameter(desk),
        querystring: {
          type: 'object',
          properties: {
            wait: {
              enum: ['commit'],
              description: 'answers when the events are committed; after INGEST_WAIT with 202',
            },
            strict: {
              enum: ['0', '1'],
              default: '0',
              description: 'with 1, one event that would be a dead letter is a problem, and none is stored',
            },
          },
          additionalProperties: false,
        },
        headers: idempotencyKey,
        body: eventBody,
        response: { ...answers(committedSchema, ...ownProblems), 202: ingestedSchema },
      },
    },
    async (request, reply) => {
      const { wait, strict } = request.query
      const options = { ...(wait === undefined ? {} : { wait }), strict: strict === '1' }
      return answer(reply, await ingest.post(request.params.name, bodyOf(request), options))
    },
  )
}

function answer(reply: FastifyReply, ingested: Ingested): object {
  const { topic, accepted, ranges, repeated, committed, location } = ingested
  if (repeated) reply.header('idempotent-replayed', 'true')
  if (committed !== undefined) return { topic, accepted, ranges, ...committed }
  if (location !== undefined) reply.header('location', location)
  reply.code(202)
  return { topic, accepted, ranges }
}

function bodyOf({ body, headers }: FastifyRequest<{ Body: Buffer | undefined }>): EventBody {
  const key = headers['idempotency-key']
  return {
    bytes: body ?? Buffer.alloc(0),
    type: headers['content-type'] ?? '',
    encoding: headers['content-encoding'],
    idempotencyKey: Array.isArray(key) ? key[0] : key,
  }
}

function ownRoute(scope: FastifyInstance, desk: Desk, ingest: Ingest, system: System, route: PostRoute): void {
  const properties = ownParameters(route)
  const problems = Object.fromEntries([...anyProblems, ...ownProblems].map((status) => [status, problemAnswer(status)]))
  scope.post<{ Querystring: Record<string, string | number>; Body: Buffer | undefined }>(
    route.path,
    {
      schema: {
        tags,
        summary: route.says,
        querystring: { type: 'object', properties, additionalProperties: false },
        headers: idempotencyKey,
        body: route.judges === 'each event' ? bodyOfJson({}) : eventBody,
        response: { ...problems, ...ownAnswers(route.answers) },
      },
      // what a system answers is its own
      serializerCompiler: () => JSON.stringify,
    },
    async (request, reply) => {
      const told = await route.handle(
        { query: request.query, body: bodyOf(request) },
        {
          ...toolsFor(desk, system),
          events: (body) => ingest.events(body),
          ingest: (topic, body, options) => ingest.post(topic, body, options),
          keep: (follower, file, lines) => ingest.keep(system.name, follower, file, lines),
        },
      )
      return sendAnswer(reply, told)
    },
  )
}

function commitsRoute(app: FastifyInstance, desk: Desk, ingest: Ingest): void {
  app.get<{ Params: { name: string }; Querystring: { ranges: string; posted_at: string } }>(
    '/api/topics/:name/commits',
    {
      schema: {
        tags,
        summary: 'What became of events that were posted',
        description:
          'The address that `wait=commit` names when it took too long: 200 when all are committed, and else 202.',
        params: topicParameter(desk),
        querystring: {
          type: 'object',
          properties: {
            ranges: {
              type: 'string',
              pattern: '^(\\d{1,9}:\\d{1,15}-\\d{1,15}(,\\d{1,9}:\\d{1,15}-\\d{1,15}){0,99})?$',
              description: 'partition:first-end, with commas between several',
            },
            posted_at: { type: 'string', format: 'date-time', description: 'when they were posted' },
          },
          required: ['ranges', 'posted_at'],
          additionalProperties: false,
        },
        response: { ...answers(committedSchema), 202: ingestedSchema },
      },
    },
    async ({ params: { name: topic }, query }, reply) => {
      const ranges = [...query.ranges.matchAll(/(\d+):(\d+)-(\d+)/g)].map(([, partition, first, end]) => ({
        partition: Number(partition),
        first: Number(first),
        end: Number(end),
      }))
      const atMs = Date.parse(query.posted_at)
      if (Number.isNaN(atMs)) throw new ProblemError(400, 'BAD_REQUEST', `"${query.posted_at}" is no time`)
      const accepted = ranges.reduce((sum, { first, end }) => sum + Math.max(0, end - first), 0)
      const committed = await ingest.committed(topic, ranges, atMs)
      if (committed === undefined) reply.code(202)
      return { topic, accepted, ranges, ...committed }
    },
  )
}
