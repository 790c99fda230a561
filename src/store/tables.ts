/** Target tables: made from the plan where they are missing, compared with it where they are there. */
import { MillraceError } from '../errors.ts'
import { identifier } from '../plan/identifier.ts'
import type { TableStep } from '../plan/plan.ts'
import { createTableSql, postgresType } from '../sinks/table.ts'
import type { Client } from './connection.ts'

interface StoredColumn {
  name: string
  type: string
  required: boolean
}

/** Creates the table of a sink when it is missing; else TABLE_DIFFERS unless it can take the sink's rows. */
export async function prepareTable(client: Client, step: TableStep): Promise<void> {
  const name = identifier(...step.table.split('.'))
  await client.query(createTableSql(step))
  const { rows: columns } = await client.query<StoredColumn>(
    `
    select attname as name,
           format_type(atttypid, atttypmod) as type,
           attnotnull and not atthasdef and attidentity = '' as required
    from   pg_attribute
    where  attrelid = $1::regclass and attnum > 0 and not attisdropped`,
    [name],
  )
  const differences: string[] = []
  for (const column of step.columns) {
    const stored = columns.find((candidate) => candidate.name === column.name)
    const type = postgresType(column.type)
    if (stored === undefined) differences.push(`it has no column ${column.name} (${type})`)
    else if (!fits(type, stored.type)) differences.push(`its column ${column.name} is ${stored.type}, not ${type}`)
  }
  for (const stored of columns) {
    if (stored.required && !step.columns.some((column) => column.name === stored.name)) {
      differences.push(`its column ${stored.name} must have a value, and the pipeline has none for it`)
    }
  }
  const { mode } = step
  if (mode.is !== 'append' && !(await hasUniqueKey(client, name, mode.key))) {
    differences.push(`it has no unique key on (${mode.key.join(', ')})`)
  }
  if (differences.length > 0) {
    throw new MillraceError('TABLE_DIFFERS', {
      at: step.table,
      message: `the table cannot take the rows of the pipeline: ${differences.join('; ')}`,
      hint: 'alter the table, or write to another one',
    })
  }
}

// A type fits where Postgres takes every value of it, or refuses a value rather than change it.
function fits(planned: string, stored: string): boolean {
  const bare = stored.replace(/\(.*\)/, '')
  if (planned === 'text') return !knownTypes.has(bare)
  if (planned === 'bigint') return ['bigint', 'integer', 'smallint', 'numeric'].includes(bare)
  if (planned.startsWith('numeric')) {
    // numeric(12,2) into numeric(12,3) is fine, into numeric(12,1) would round
    const [want, have] = [digits(planned), digits(stored)]
    return bare === 'numeric' && (have === undefined || (want !== undefined && have.scale >= want.scale))
  }
  if (planned === 'timestamptz') return bare.startsWith('timestamp') && stored.includes('with time zone')
  if (planned === 'jsonb') return bare === 'jsonb' || bare === 'json'
  return bare === planned
}

// Types that text does not fit; any other type (an enum, a domain) reads text in its own way.
const knownTypes = new Set([
  'bigint',
  'integer',
  'smallint',
  'numeric',
  'real',
  'double precision',
  'boolean',
  'json',
  'jsonb',
  'bytea',
  'date',
  'timestamp with time zone',
  'timestamp without time zone',
])

function digits(type: string): { precision: number; scale: number } | undefined {
  const match = /\((\d+),(\d+)\)/.exec(type)
  return match ? { precision: Number(match[1]), scale: Number(match[2]) } : undefined
}

async function hasUniqueKey(client: Client, table: string, key: string[]): Promise<boolean> {
  const { rows } = await client.query(
    `
    select 1
    from   pg_index i
    where  i.indrelid = $1::regclass and i.indisunique and i.indpred is null and i.indexprs is null
    and    (select array_agg(a.attname::text order by a.attname::text)
            from   pg_attribute a
            where  a.attrelid = i.indrelid and a.attnum = any(i.indkey)) = $2::text[]`,
    [table, [...key].sort()],
  )
  return rows.length > 0
}
