/** Addresses that systems bring for themselves, and that answer in their own way. */
import { Readable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import type { GetRoute } from '../../system.ts'
import { type Desk, routeTools } from '../desk.ts'
import { anyProblems, ownParameters, problemAnswer } from '../schemas.ts'

export function getRoutes(app: FastifyInstance, desk: Desk): void {
  for (const { system } of desk.board.lines.values())
    for (const route of system.gets ?? []) ownRoute(app, desk, system.name, route)
}

function ownRoute(app: FastifyInstance, desk: Desk, system: string, route: GetRoute): void {
  const names = [...route.path.matchAll(/:(\w+)/g)].map(([, name = '']) => name)
  const parameter = { type: 'string', maxLength: 300 }
  app.get<{ Params: Record<string, string>; Querystring: Record<string, string | number> }>(
    route.path,
    {
      schema: {
        tags: ['results'],
        summary: route.says,
        ...(names.length === 0
          ? {}
          : { params: { type: 'object', properties: Object.fromEntries(names.map((name) => [name, parameter])) } }),
        querystring: { type: 'object', properties: ownParameters(route), additionalProperties: true },
        response: {
          ...Object.fromEntries(anyProblems.map((status) => [status, problemAnswer(status)])),
          200: { description: 'What was asked for.', content: { 'application/json': { schema: {} } } },
        },
      },
      // what a system answers is its own
      serializerCompiler: () => JSON.stringify,
    },
    async (request, reply) => {
      const told = await route.handle({ params: request.params, query: request.query }, routeTools(desk, system))
      const { status = 200, headers = {}, type = 'application/json', body } = told
      reply.code(status).type(type).headers(headers)
      if (typeof body === 'string') return reply.serializer(String).send(body)
      if (body instanceof Uint8Array) return reply.send(Buffer.from(body))
      return isParts(body) ? reply.send(Readable.from(body)) : reply.send(body)
    },
  )
}

function isParts(body: unknown): body is AsyncIterable<string | Uint8Array> {
  return typeof body === 'object' && body !== null && Symbol.asyncIterator in body
}
