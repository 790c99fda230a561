/** The tables of results, and how those of one log take the place of what was there of it. */
import type { FollowerTools, WriteTransaction } from 'millrace'

/** What tells a row from the others of its log. */
export const tables = {
  spark_apps: [],
  spark_jobs: ['job_id'],
  spark_job_analytics: ['job_id'],
  spark_stages: ['stage_id', 'stage_attempt'],
  spark_executors: ['executor'],
  spark_sql: ['execution_id'],
  spark_stream_progress: ['run_id', 'batch'],
  spark_findings: ['finding', 'about'],
} as const

export interface PrintedTable {
  name: string
  key: readonly string[]
  columns: string[]
  path: string
}

const quoted = (name: string): string => `"${name}"`

/** Writes the tables that DuckDB has into files. Columns that begin with `_` are steps on the way. */
export async function printTables({ duck, scratch }: FollowerTools): Promise<PrintedTable[]> {
  const printed: PrintedTable[] = []
  for (const [name, key] of Object.entries(tables)) {
    const described = await duck.rows(`select column_name, column_type from (describe ${name})`)
    const own = described.filter(({ column_name }) => !String(column_name).startsWith('_'))
    const columns = own.map(({ column_name }) => String(column_name))
    const texts = own.filter(({ column_type }) => /^(VARCHAR|JSON)$/.test(String(column_type)))
    const path = `${scratch}/${name}.csv`
    await duck.run(`
      copy (select ${columns.map(quoted).join(', ')} from ${name})
      to '${path}' (format csv, header false, nullstr '', quote '"', escape '"',
        force_quote (${texts.map(({ column_name }) => `'${column_name}'`).join(', ')}))`)
    printed.push({ name, key: ['app_id', 'attempt', ...key], columns, path })
  }
  return printed
}

/** Puts the rows of a log in the place of those that were there; rows that say the same stay as they are. */
export async function replaceRows(
  transaction: WriteTransaction,
  { name, key, columns, path }: PrintedTable,
  log: { appId: string; attempt: string; isNew: boolean },
): Promise<void> {
  if (log.isNew) return await transaction.copy(name, columns, path)
  const staged = `staged_${name}`
  const all = columns.map(quoted).join(', ')
  await transaction.sql(`create temp table ${staged} (like ${name} including defaults) on commit drop`)
  await transaction.copy(staged, columns, path)
  await transaction.sql(`analyze ${staged}`)
  await transaction.sql(
    `
    delete from ${name} t
    where  app_id = $1 and attempt = $2
    and    not exists (select from ${staged} s where ${key.map((column) => `s.${column} = t.${column}`).join(' and ')})`,
    [log.appId, log.attempt],
  )
  const others = columns.filter((column) => !key.includes(column))
  await transaction.sql(`
    insert into ${name} as t (${all})
    select ${all} from ${staged}
    on conflict (${key.join(', ')}) do update
    set    ${others.map((column) => `${quoted(column)} = excluded.${quoted(column)}`).join(', ')}
    where  (${others.map((column) => `t.${quoted(column)}`).join(', ')}) is distinct from
           (${others.map((column) => `excluded.${quoted(column)}`).join(', ')})`)
}
