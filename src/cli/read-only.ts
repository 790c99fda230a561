/**
 * One select in a read-only transaction. The statement goes through the extended protocol, which takes one statement only:
 * a second one could end the transaction and write.
 */
import { MillraceError } from '../errors.ts'
import { type Client, codeOf, isTransient } from '../store/connection.ts'
import { cut, printable, widthOf } from './text.ts'

export interface Answer {
  columns: AnswerColumn[]
  /** Some rows at a time; each value is the text Postgres writes, null where there is none. */
  rows: AsyncIterable<(string | null)[][]>
}

export interface AnswerColumn {
  name: string
  isNumber: boolean
}

const rowsAtATime = 1000

/**
 * Runs a select and hands its rows to `read`, in cells or each as one JSON object as Postgres makes it: there numbers keep
 * their digits and timestamps are ISO 8601.
 */
export async function readOnly(
  client: Client,
  sql: string,
  form: 'cells' | 'json',
  read: (answer: Answer) => Promise<void>,
): Promise<void> {
  const statement = understood(sql)
  await client.query('begin read only')
  try {
    await client.query(`set local timezone to 'UTC'`)
    await read(
      statement.is === 'select' ? await select(client, statement.sql, form) : await tell(client, statement.sql, form),
    )
  } finally {
    await client.query('rollback').catch(() => {})
  }
}

// Through a cursor: the answer may be larger than memory.
async function select(client: Client, sql: string, form: 'cells' | 'json'): Promise<Answer> {
  const declare = 'declare answer no scroll cursor for '
  await send(client, sql, declare, '')
  if (form === 'json') {
    // only now: whatever is wrong with the statement has been said of it as it stands
    await client.query('close answer')
    await send(client, sql, `${declare}select row_to_json(_millrace_row)\nfrom (\n`, '\n) _millrace_row')
  }
  const fetch = (): Promise<Result> => send(client, sql, `fetch ${rowsAtATime} from answer --`, '')
  const first = await fetch()
  return {
    columns: columnsOf(first),
    rows: (async function* () {
      for (let found = first; found.rows.length > 0; found = await fetch()) yield found.rows
    })(),
  }
}

// What `show` and `explain` answer cannot be selected from.
async function tell(client: Client, sql: string, form: 'cells' | 'json'): Promise<Answer> {
  const found = await send(client, sql, '', '')
  const columns = columnsOf(found)
  const asJson = (row: (string | null)[]): string =>
    JSON.stringify(Object.fromEntries(columns.map(({ name }, i) => [name, row[i]])))
  const rows = form === 'cells' ? found.rows : found.rows.map((row) => [asJson(row)])
  return {
    columns,
    rows: (async function* () {
      if (rows.length > 0) yield rows
    })(),
  }
}

const reading = /^(?:\s|\(|--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/)*([a-z]+)/i

function understood(text: string): { is: 'select' | 'tell'; sql: string } {
  const sql = text.replace(/[;\s]+$/, '')
  const word = reading.exec(sql)?.[1]?.toLowerCase()
  if (word !== undefined && ['select', 'with', 'values', 'table'].includes(word)) return { is: 'select', sql }
  if (word !== undefined && ['show', 'explain'].includes(word)) return { is: 'tell', sql }
  throw new MillraceError('WRONG_USAGE', {
    message:
      sql === '' ? 'there is no statement' : `"${word ?? cut(printable(sql), 20)}" is not a statement that reads`,
    hint: 'begin it with select, with, values, table, show or explain; to write, connect with psql (`millrace status` says how)',
  })
}

interface Result {
  fields: { name: string; dataTypeID: number }[]
  rows: (string | null)[][]
}

// `sql` is the user's part of the statement: an error points into it.
async function send(client: Client, sql: string, before: string, after: string): Promise<Result> {
  const statement = {
    text: before.endsWith('--') ? before : `${before}${sql}${after}`,
    rowMode: 'array' as const,
    // also without parameters: one statement, whatever the text says
    queryMode: 'extended',
    // as Postgres wrote it: no digit of a number is lost
    types: { getTypeParser: () => String },
  }
  try {
    return await client.query<(string | null)[]>(statement)
  } catch (error) {
    throw refused(error, sql, before.length)
  }
}

function columnsOf({ fields }: Result): AnswerColumn[] {
  return fields.map(({ name, dataTypeID }) => ({ name, isNumber: numberTypes.has(dataTypeID) }))
}

// int8, int2, int4, oid, float4, float8, money, numeric
const numberTypes = new Set([20, 21, 23, 26, 700, 701, 790, 1700])

function refused(error: unknown, sql: string, lead: number): unknown {
  const code = codeOf(error)
  if (!(error instanceof Error) || code === undefined || isTransient(error)) return error
  if (/multiple commands/.test(error.message)) {
    return new MillraceError('WRONG_USAGE', {
      message: 'there is more than one statement',
      hint: 'give them one at a time',
    })
  }
  const said = error.message
  const hint = 'hint' in error && typeof error.hint === 'string' ? error.hint : undefined
  const position = 'position' in error ? Number(error.position) - lead : Number.NaN
  const next =
    hint ??
    (code === '42P01' ? 'target tables are made by the first start or run, or by `millrace migrate`' : undefined)
  return new MillraceError('DATABASE_REFUSED', {
    message: `${said}${position > 0 ? `\n${pointer(sql, position)}` : ''}`,
    ...(next === undefined ? {} : { hint: next }),
    cause: error,
  })
}

/** The line of a statement that holds the character at `position`, counted from 1, and an arrow below it. */
export function pointer(sql: string, position: number): string {
  const characters = [...sql]
  const at = Math.min(position, characters.length + 1) - 1
  const start = characters.lastIndexOf('\n', at - 1) + 1
  const end = characters.indexOf('\n', at)
  // a long line is shown from a little before the place
  const from = at - start > 60 ? at - 40 : start
  const before = printable(characters.slice(from, at).join(''))
  const after = printable(characters.slice(at, end < 0 ? undefined : end).join(''))
  const lead = from > start ? '...' : ''
  return `  ${cut(`${lead}${before}${after}`, 100)}\n  ${' '.repeat(widthOf(lead + before))}^`
}
