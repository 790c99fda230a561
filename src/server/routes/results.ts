/** Results of each system, by the routes it brings; and as files to take away. */
import type { FastifyInstance } from 'fastify'
import type { Chart, Route, System } from '../../system.ts'
import { type Desk, toolsFor } from '../desk.ts'
import { download, formatParameter, rowsInAnyFormat } from '../download.ts'
import { answers, listOf, ownParameters, shape, text } from '../schemas.ts'

export function resultRoutes(app: FastifyInstance, desk: Desk): void {
  const systems = [...desk.board.lines.values()].map(({ system }) => system)
  app.get(
    '/api/systems',
    {
      schema: {
        tags: ['results'],
        summary: 'The systems that run here, and the charts they bring',
        response: answers(
          shape({
            systems: listOf(
              shape({
                name: text,
                says: text,
                charts,
                views: listOf(shape({ name: text, title: text, says: text, charts })),
              }),
            ),
          }),
        ),
      },
    },
    async () => ({
      systems: systems.map(({ name, says, charts = [], views = [] }) => ({
        name,
        says,
        charts: charts.map((chart) => chartOf(name, chart)),
        views: views.map((view) => ({ ...view, charts: view.charts.map((chart) => chartOf(name, chart)) })),
      })),
    }),
  )
  for (const system of systems) for (const route of system.routes ?? []) addRoute(app, desk, system, route)
}

const charts = listOf(shape({ title: text }))

function chartOf(system: string, { route, refreshSeconds, marks, takes, ...chart }: Chart): object {
  return {
    ...chart,
    route: pathOf(system, route),
    ...(takes === undefined ? {} : { takes: pathOf(system, takes) }),
    ...(marks === undefined ? {} : { marks: { ...marks, route: pathOf(system, marks.route) } }),
    refresh_seconds: refreshSeconds,
  }
}

function pathOf(system: string, route: string): string {
  return `/api/results/${system}/${route}`
}

function addRoute(app: FastifyInstance, desk: Desk, system: System, route: Route): void {
  for (const path of [pathOf(system.name, route.name), ...(route.path === undefined ? [] : [route.path])])
    addRouteAt(app, desk, system, route, path)
}

function addRouteAt(app: FastifyInstance, desk: Desk, system: System, route: Route, path: string): void {
  const columns = Object.entries(route.answers)
  const query = ownParameters(route)
  app.get<{ Querystring: Record<string, string | number> & { format?: string } }>(
    path,
    {
      schema: {
        tags: ['results'],
        summary: route.says,
        querystring: {
          type: 'object',
          properties: { ...query, format: formatParameter },
          additionalProperties: false,
        },
        response: { ...answers({}), 200: rowsInAnyFormat(toLookAt) },
      },
    },
    async (request, reply) => {
      const { format, ...given } = request.query
      const rows = await route.handle({ query: given }, toolsFor(desk, system))
      if (format === undefined) {
        reply.type('application/json')
        return { columns: columns.map(([name, type]) => ({ name, type })), rows }
      }
      return await download(desk, reply, { name: `${system.name}-${route.name}`, columns, rows, format })
    },
  )
}

const toLookAt = shape({
  columns: listOf(shape({ name: text, type: text })),
  rows: listOf({ type: 'object', additionalProperties: true }),
})
