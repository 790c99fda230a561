/** What addresses of a system's own answer. */
import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { GetRoute, RouteAnswer } from '../system.ts'
import { ProblemError } from './problem.ts'

/** Of a route, for the OpenAPI document. */
export function ownAnswers(told: GetRoute['answers']): Record<string, Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(told).map(([status, { says, schema }]) => [
      status,
      { description: says, content: { 'application/json': { schema: schema ?? {} } } },
    ]),
  )
}

export function sendAnswer(reply: FastifyReply, told: RouteAnswer): unknown {
  if ('problem' in told) {
    const { status, code, detail, hint, errors } = told.problem
    throw new ProblemError(status, code, detail, hint, errors)
  }
  reply
    .code(told.status ?? 200)
    .type('application/json')
    .headers(told.headers ?? {})
  return isStream(told.body) ? reply.send(Readable.from(told.body)) : told.body
}

function isStream(body: unknown): body is AsyncIterable<string> {
  return typeof body === 'object' && body !== null && Symbol.asyncIterator in body
}
