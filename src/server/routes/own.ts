/** Addresses that systems bring for themselves, to be asked. */
import type { FastifyInstance } from 'fastify'
import type { GetRoute, System } from '../../system.ts'
import { type Desk, toolsFor } from '../desk.ts'
import { ownAnswers, sendAnswer } from '../own-answers.ts'
import { anyProblems, ownParameters, pathParameters, problemAnswer } from '../schemas.ts'

export function ownRoutes(app: FastifyInstance, desk: Desk): void {
  for (const { system } of desk.board.lines.values())
    for (const route of system.gets ?? []) addRoute(app, desk, system, route)
}

// Of a status that the server answers with too, both contents.
function withOwn(problems: Answers, own: Answers): Answers {
  const both = Object.entries(own).map(([status, answer]) => {
    const content = { ...(problems[status]?.['content'] ?? {}), ...(answer['content'] ?? {}) }
    return [status, { ...answer, content }]
  })
  return { ...problems, ...Object.fromEntries(both) }
}

type Answers = Record<string, Record<string, unknown>>

function addRoute(app: FastifyInstance, desk: Desk, system: System, route: GetRoute): void {
  const problems = Object.fromEntries([...anyProblems, 422].map((status) => [status, problemAnswer(status)]))
  app.get<{ Params: Record<string, string>; Querystring: Record<string, string | number> }>(
    route.path,
    {
      schema: {
        tags: ['results'],
        summary: route.says,
        params: pathParameters(route.params),
        querystring: { type: 'object', properties: ownParameters(route), additionalProperties: route.lenient === true },
        response: withOwn(problems, ownAnswers(route.answers)),
      },
      // what a system answers is its own
      serializerCompiler: () => JSON.stringify,
    },
    async ({ params, query }, reply) =>
      sendAnswer(reply, await route.handle({ params, query }, toolsFor(desk, system))),
  )
}
