/** Rows as files to take away: JSON, CSV or Parquet. */
import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { FastifyReply } from 'fastify'
import { spoolFolder } from '../engine/duckdb.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import type { RouteColumn } from '../system.ts'
import { type Desk, duckOf } from './desk.ts'
import { ProblemError } from './problem.ts'
import { listOf, text } from './schemas.ts'

type Row = Record<string, unknown>
type Schema = Record<string, unknown>

export const formatParameter: Schema = {
  enum: ['json', 'csv', 'parquet'],
  description: 'as a file to take away; without it, JSON to look at',
}

const row = { type: 'object', additionalProperties: true }

/** What an address answers that gives its rows away as files, too. */
export function rowsInAnyFormat(toLookAt: Schema): Schema {
  return {
    description: 'The rows, to look at or as a file.',
    content: {
      'application/json': { schema: { anyOf: [toLookAt, listOf(row)] } },
      'text/csv': { schema: text },
      'application/vnd.apache.parquet': { schema: { type: 'string', format: 'binary' } },
    },
  }
}

export interface Download {
  name: string
  columns: readonly (readonly [string, RouteColumn])[]
  rows: Row[]
  format: string
}

/** Answers with the rows as a file that a browser saves. */
export async function download(desk: Desk, reply: FastifyReply, { name, columns, rows, format }: Download) {
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

function csvOf(columns: Download['columns'], rows: Row[]): string {
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

async function parquetOf(desk: Desk, columns: Download['columns'], rows: Row[]) {
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
