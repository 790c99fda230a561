/**
 * Target tables: made from the plan where they are missing, compared with it where they are there. One that Millrace made
 * gains the nullable columns that its plan gains; of any other it is said what to run.
 */
import { MillraceError } from '../errors.ts'
import type { Column } from '../plan/columns.ts'
import { identifier } from '../plan/identifier.ts'
import type { TableStep } from '../plan/plan.ts'
import { addColumnsSql, createTableSql, postgresType } from '../sinks/table.ts'
import { type Client, codeOf, type Queries } from './connection.ts'
import { endExpired } from './leases.ts'
import { isThere } from './migrations.ts'

interface StoredColumn {
  name: string
  type: string
  required: boolean
}

// Tells our tables from others. It goes with the table where a list of names would not: renamed, dropped, restored.
const madeByUs = 'made by Millrace, which adds the columns its pipeline gains'

/** How a target table stands to what a sink needs of it. */
export type TableFit =
  | { is: 'missing' }
  | { is: 'fits' }
  /** It is one of ours, and lacks nothing but these nullable columns. */
  | { is: 'gains'; columns: Column[] }
  | { is: 'differs'; error: MillraceError }

/**
 * Creates the table of a sink when it is missing; else TABLE_DIFFERS unless it can take the sink's rows, with a column
 * more if need be. Runs in a transaction of `client`; `others` ends sessions of owners that were stopped in one of theirs.
 */
export async function prepareTable(client: Client, others: Queries, step: TableStep): Promise<void> {
  const fit = await compareTable(client, step)
  switch (fit.is) {
    case 'missing': {
      const name = tableName(step)
      await client.query(`${createTableSql(step)}; comment on table ${name} is '${madeByUs}'`)
      return
    }
    case 'fits':
      return
    case 'gains':
      return await addColumns(client, others, step, fit.columns)
    case 'differs':
      throw fit.error
  }
}

/** Looks at the table of a sink, and changes nothing. */
export async function compareTable(client: Queries, step: TableStep): Promise<TableFit> {
  const name = tableName(step)
  // looked for first: "if not exists" asks for the right to create even where it creates nothing
  if (!(await isThere(client, name))) return { is: 'missing' }
  const stored = await columnsOf(client, name)
  const missing = step.columns.filter((column) => !stored.some((candidate) => candidate.name === column.name))
  const differences = await differencesOf(client, name, step, stored)
  const gained = missing.length > 0 && missing.every(({ nullable }) => nullable) && (await isOurs(client, name))
  if (gained && differences.length === 0) return { is: 'gains', columns: missing }
  for (const column of missing) {
    differences.push(
      `it has no column ${column.name} (${postgresType(column.type)}${column.nullable ? '' : ' not null'})`,
    )
  }
  if (differences.length === 0) return { is: 'fits' }
  return {
    is: 'differs',
    error: new MillraceError('TABLE_DIFFERS', {
      at: step.table,
      message: `the table cannot take the rows of the pipeline: ${differences.join('; ')}`,
      hint: hintFor(step, missing, differences),
    }),
  }
}

function tableName(step: TableStep): string {
  return identifier(...step.table.split('.'))
}

function hintFor(step: TableStep, missing: Column[], differences: string[]): string {
  const otherwise = 'alter the table, or write to another one'
  if (missing.length === 0) return otherwise
  const only = missing.length === differences.length
  const filled = missing.every(({ nullable }) => nullable) ? '' : ' (rows that are there need a default in it)'
  return `run: ${addColumnsSql(step, missing)};${filled}${only ? '' : `\n  and for the rest ${otherwise}`}`
}

async function columnsOf(client: Queries, name: string): Promise<StoredColumn[]> {
  const { rows } = await client.query<StoredColumn>(
    `
    select attname as name,
           format_type(atttypid, atttypmod) as type,
           attnotnull and not atthasdef and attidentity = '' as required
    from   pg_attribute
    where  attrelid = $1::regclass and attnum > 0 and not attisdropped`,
    [name],
  )
  return rows
}

// What is there and does not fit; columns that are missing are another matter.
async function differencesOf(
  client: Queries,
  name: string,
  step: TableStep,
  columns: StoredColumn[],
): Promise<string[]> {
  const differences: string[] = []
  for (const stored of columns) {
    const column = step.columns.find((candidate) => candidate.name === stored.name)
    if (column === undefined) {
      if (stored.required)
        differences.push(`its column ${stored.name} must have a value, and the pipeline has none for it`)
      continue
    }
    const type = postgresType(column.type)
    if (!fits(type, stored.type)) differences.push(`its column ${stored.name} is ${stored.type}, not ${type}`)
  }
  const { mode } = step
  if (mode.is !== 'append') {
    const keys = await uniqueKeys(client, name, mode.key)
    const mayBeNull = step.columns.some((column) => column.nullable && mode.key.includes(column.name))
    if (keys.length === 0) differences.push(`it has no unique key on (${mode.key.join(', ')})`)
    else if (mayBeNull && keys.every(({ nulls }) => nulls === 'distinct')) {
      differences.push(
        `its unique key on (${mode.key.join(', ')}) lets a null come any number of times; make it "unique nulls not distinct"`,
      )
    }
  }
  return differences
}

async function isOurs(client: Queries, name: string): Promise<boolean> {
  const { rows } = await client.query<{ comment: string | null }>(
    `select obj_description($1::regclass, 'pg_class') as comment`,
    [name],
  )
  return rows[0]?.comment === madeByUs
}

const patience = { each: '1s', tries: 30 }

// Whoever waits for a table makes all who come later wait too, so it is done in turns; and an owner that was stopped in
// its commit would keep the table for ever.
async function addColumns(client: Queries, others: Queries, step: TableStep, columns: Column[]): Promise<void> {
  const sql = addColumnsSql(step, columns)
  await client.query(`set local lock_timeout = '${patience.each}'`)
  for (let tries = 0; tries < patience.tries; tries++) {
    await client.query('savepoint addition')
    try {
      await client.query(sql)
      await client.query(`set local lock_timeout to default`)
      return
    } catch (error) {
      if (codeOf(error) !== lockTimeout) throw error
      await client.query('rollback to savepoint addition')
      await endExpired(others)
    }
  }
  throw new MillraceError('TABLE_DIFFERS', {
    at: step.table,
    message: `the table lacks ${columns.map(({ name }) => name).join(', ')}, and is in use all the time`,
    hint: `end what uses it for so long (pg_stat_activity shows it), or run: ${sql};`,
    retry: true,
  })
}

const lockTimeout = '55P03'

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

// Those that "on conflict" can go by. To a batch a null is a key like any other, and so it must be to the table.
async function uniqueKeys(
  client: Queries,
  table: string,
  key: string[],
): Promise<{ nulls: 'none' | 'equal' | 'distinct' }[]> {
  const { rows } = await client.query<{ nulls: 'none' | 'equal' | 'distinct' }>(
    `
    select case when columns.required then 'none' when i.indnullsnotdistinct then 'equal' else 'distinct' end as nulls
    from   pg_index i,
    lateral (select array_agg(a.attname::text order by a.attname::text) as names, bool_and(a.attnotnull) as required
             -- what an index includes beside its key is not the key
             from   unnest(i.indkey) with ordinality k(attnum, n)
             join   pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
             where  k.n <= i.indnkeyatts) columns
    where  i.indrelid = $1::regclass and i.indisunique and i.indisvalid and i.indimmediate
    and    i.indpred is null and i.indexprs is null
    and    columns.names = $2::text[]`,
    [table, [...key].sort()],
  )
  return rows
}
