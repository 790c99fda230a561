/** What addresses of a system's own answer. */
import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { GetRoute, RouteAnswer } from '../system.ts'
import { ProblemError } from './problem.ts'

/** Of a route, for the OpenAPI document. */
export function ownAnswers(told: GetRoute['answers']): Record<string, Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(told).map(([status, { says, schema, type = 'application/json' }]) => [
      status,
      { description: says, content: { [type]: { schema: schema ?? {} } } },
    ]),
  )
}

export function sendAnswer(reply: FastifyReply, told: RouteAnswer): unknown {
  if ('problem' in told) {
    const { status, code, detail, hint, errors } = told.problem
    throw new ProblemError(status, code, detail, hint, errors)
  }
  const { status = 200, type = 'application/json', headers = {}, body } = told
  reply.code(status).type(type).headers(headers)
  if (isStream(body)) return reply.send(Readable.from(body))
  if (told.type === undefined) return body
  return body instanceof Uint8Array ? reply.send(Buffer.from(body)) : reply.serializer(String).send(body)
}

function isStream(body: unknown): body is AsyncIterable<string | Uint8Array> {
  return typeof body === 'object' && body !== null && Symbol.asyncIterator in body
}
