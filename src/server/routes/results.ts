/** Results of each system, by the routes it brings; and as files to take away. */

import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { spoolFolder } from '../../engine/duckdb.ts'
import { identifier, sqlText } from '../../plan/identifier.ts'
import type { Route, RouteColumn, System } from '../../system.ts'
import { type Desk, duckOf, storeOf } from '../desk.ts'
import { ProblemError } from '../problem.ts'
import { answers, listOf, shape, text } from '../schemas.ts'

type Row = Record<string, unknown>

export function resultRoutes(app: FastifyInstance, desk: Desk): void {
  const systems = [...desk.board.lines.values()].map(({ system }) => system)
  app.get(
    '/api/systems',
    {
      schema: {
        tags: ['results'],
        summary: 'The systems that run here, and the charts they bring',
        response: answers(
          shape({ systems: listOf(shape({ name: text, says: text, charts: listOf(shape({ title: text })) })) }),
        ),
      },
    },
    async () => ({
      systems: systems.map(({ name, says, charts = [] }) => ({
        name,
        says,
        charts: charts.map(({ route, refreshSeconds, marks, ...chart }) => ({
          ...chart,
          route: pathOf(name, route),
          ...(marks === undefined ? {} : { marks: { ...marks, route: pathOf(name, marks.route) } }),
          refresh_seconds: refreshSeconds,
        })),
      })),
    }),
  )
  for (const system of systems) for (const route of system.routes ?? []) addRoute(app, desk, system, route)
}

function pathOf(system: string, route: string): string {
  return `/api/results/${system}/${route}`
}

function addRoute(app: FastifyInstance, desk: Desk, system: System, route: Route): void {
  const columns = Object.entries(route.answers)
  const query = Object.fromEntries(
    Object.entries(route.query ?? {}).map(([name, { says, ...schema }]) => [name, { ...schema, description: says }]),
  )
  app.get<{ Querystring: Record<string, string | number> & { format?: string } }>(
    pathOf(system.name, route.name),
    {
      schema: {
        tags: ['results'],
        summary: route.says,
        querystring: {
          type: 'object',
          properties: {
            ...query,
            format: {
              enum: ['json', 'csv', 'parquet'],
              description: 'as a file to take away; without it, JSON to look at',
            },
          },
          additionalProperties: false,
        },
        response: { ...answers({}), 200: rowsInAnyFormat },
      },
    },
    async (request, reply) => {
      const { format, ...given } = request.query
      const { reads } = storeOf(desk)
      const rows = await route.handle(
        { query: given },
        { sql: (statement, values) => reads.select(statement, values), signal: desk.signal },
      )
      if (format === undefined) {
        reply.type('application/json')
        return { columns: columns.map(([name, type]) => ({ name, type })), rows }
      }
      return await download(desk, reply, { name: `${system.name}-${route.name}`, columns, rows, format })
    },
  )
}

const row = { type: 'object', additionalProperties: true }
const rowsInAnyFormat = {
  description: 'The rows, to look at or as a file.',
  content: {
    'application/json': {
      schema: {
        anyOf: [shape({ columns: listOf(shape({ name: text, type: text })), rows: listOf(row) }), listOf(row)],
      },
    },
    'text/csv': { schema: text },
    'application/vnd.apache.parquet': { schema: { type: 'string', format: 'binary' } },
  },
}

interface Download {
  name: string
  columns: [string, RouteColumn][]
  rows: Row[]
  format: string
}

async function download(desk: Desk, reply: FastifyReply, { name, columns, rows, format }: Download) {
  reply.header('content-disposition', `attachment; filename="${name}.${format}"`)
  switch (format) {
    case 'json':
      return await reply.type('application/json').serializer(String).send(JSON.stringify(rows))
    case 'csv':
      return await reply.type('text/csv; charset=utf-8').send(csvOf(columns, rows))
    case 'parquet':
      return await reply.type('application/vnd.apache.parquet').send(await parquetOf(desk, columns, rows))
    default:
      throw new ProblemError(400, 'BAD_REQUEST', `there is no format "${format}"`)
  }
}

function csvOf(columns: [string, RouteColumn][], rows: Row[]): string {
  const lines = rows.map((row) => columns.map(([name, type]) => csvField(row[name], type)).join(','))
  return `${[columns.map(([name]) => csvField(name, 'text')).join(','), ...lines].join('\r\n')}\r\n`
}

// A spreadsheet would run a text that begins like a formula.
function csvField(value: unknown, type: RouteColumn): string {
  if (value === null || value === undefined) return ''
  const text = value instanceof Date ? value.toISOString() : String(value)
  const safe = type === 'text' && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}

const duckTypes: Record<RouteColumn, string> = {
  text: 'varchar',
  integer: 'bigint',
  number: 'double',
  timestamp: 'timestamptz',
}

async function parquetOf(desk: Desk, columns: [string, RouteColumn][], rows: Row[]) {
  const place = join(
    spoolFolder(desk.config.dataDirectory),
    `download-${process.pid}-${randomBytes(4).toString('hex')}`,
  )
  const [input, output] = [`${place}.jsonl`, `${place}.parquet`]
  try {
    await writeFile(input, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
    using session = await duckOf(desk).connect()
    const types = columns.map(([name, type]) => `${sqlText(name)}: ${sqlText(duckTypes[type])}`)
    const from =
      rows.length === 0
        ? `select ${columns.map(([name, type]) => `null::${duckTypes[type]} as ${identifier(name)}`).join(', ')} where false`
        : `from read_json(${sqlText(input)}, format = 'newline_delimited', columns = {${types.join(', ')}})`
    await session.run(`copy (${from}) to ${sqlText(output)} (format parquet)`)
  } finally {
    await rm(input, { force: true })
  }
  const file = createReadStream(output)
  file.on('close', () => void rm(output, { force: true }))
  return file
}
