/** Late rows: those that came when all their windows were closed. To look at page by page, and to take away. */
import type { FastifyInstance } from 'fastify'
import type { RouteColumn } from '../../system.ts'
import { type Desk, lineOf, storeOf } from '../desk.ts'
import { download, formatParameter, rowsInAnyFormat } from '../download.ts'
import { answers, count, lateRowSchema, listOf, nameParameter, orNull, pageProperties, shape } from '../schemas.ts'

interface Query {
  before?: number
  limit: number
  format?: string
}

/** A row may be many megabytes long; a list shows its beginning. */
const rawShown = 2000
const mostInFile = 10_000

const columns: [string, RouteColumn][] = [
  ['id', 'integer'],
  ['batch', 'integer'],
  ['step', 'text'],
  ['place', 'text'],
  ['event_time', 'timestamp'],
  ['window_start', 'timestamp'],
  ['late_by_ms', 'integer'],
  ['raw', 'text'],
  ['arrived_at', 'timestamp'],
]

export function lateRowRoutes(app: FastifyInstance, desk: Desk): void {
  app.get<{ Params: { name: string }; Querystring: Query }>(
    '/api/pipelines/:name/late-rows',
    {
      schema: {
        tags: ['pipelines'],
        summary: 'Rows that came after their windows were closed, newest first',
        description: `Of a row its first ${rawShown} characters. A file has up to ${mostInFile} rows, whatever the limit; those before them come with \`before\`.`,
        params: nameParameter,
        querystring: {
          type: 'object',
          properties: { ...pageProperties, format: formatParameter },
          additionalProperties: false,
        },
        response: {
          ...answers({}),
          200: rowsInAnyFormat(shape({ late_rows: listOf(lateRowSchema), next: orNull(count) })),
        },
      },
    },
    async ({ params: { name }, query: { before, limit, format } }, reply) => {
      lineOf(desk, name)
      if (format !== undefined) {
        const rows = await newestFirst(desk, name, before, mostInFile)
        return await download(desk, reply, { name: `${name}-late-rows`, columns, rows, format })
      }
      // one more than the page tells whether another follows
      const found = await newestFirst(desk, name, before, limit + 1)
      const late = found.slice(0, limit)
      reply.type('application/json')
      return { late_rows: late, next: found.length > limit ? (late.at(-1)?.['id'] ?? null) : null }
    },
  )
}

async function newestFirst(
  desk: Desk,
  pipeline: string,
  before: number | undefined,
  limit: number,
): Promise<Record<string, unknown>[]> {
  return await storeOf(desk).reads.select(
    `
    select id, batch, step, place, event_time, window_start, late_by_ms, arrived_at,
           left(raw, ${rawShown}) as raw, length(raw) > ${rawShown} as raw_cut
    from   millrace.late_rows
    where  pipeline = $1 and ($2::bigint is null or id < $2)
    order by id desc
    limit  $3`,
    [pipeline, before ?? null, limit],
  )
}
