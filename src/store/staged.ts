/**
 * Tables for what another engine makes of a run, beside the target tables: named after the run, so that a second try finds
 * and replaces what is left of the first. A commit merges them. They are not logged: a database that crashes has them
 * empty, and the run is done again.
 */
import { identifier } from '../plan/identifier.ts'
import type { TableStep } from '../plan/plan.ts'
import { noteChanged } from './cache-drops.ts'
import type { Queries } from './connection.ts'
import { mergeSql } from './merge-sql.ts'
import { deadLetterColumns, type SinkOutcome, type StagedRows } from './store.ts'

const schema = 'millrace_staging'

/** Of rows without a key: what tells one from another, should the engine have written some twice. */
const number = '_n'

/** `writer` may write into them: the user by whom the other engine reaches the database. */
export async function makeStaging(
  client: Queries,
  run: string,
  steps: readonly TableStep[],
  writer?: string,
): Promise<StagedRows> {
  await dropStaging(client, run)
  await client.query(`create schema if not exists ${schema}`)
  const tables: StagedRows['tables'] = []
  for (const step of steps) {
    const table = identifier(schema, `${run} ${step.id}`)
    const columns = step.columns.map(({ name }) => identifier(name)).join(', ')
    // with the target's own types
    await client.query(
      `create unlogged table ${table} as select ${columns} from ${identifier(...step.table.split('.'))} with no data`,
    )
    if (step.mode.is === 'append') await client.query(`alter table ${table} add column ${number} bigint`)
    tables.push({ step, table })
  }
  const deadLetters = identifier(schema, `${run} dead letters`)
  const columns = deadLetterColumns.map((name) => identifier(name)).join(', ')
  await client.query(
    `create unlogged table ${deadLetters} as select ${columns}, 0::bigint as ${number} from millrace.dead_letters with no data`,
  )
  await letWrite(client, [...tables.map(({ table }) => table), deadLetters], writer)
  return { tables, deadLetters }
}

// A name that a pooler in between has for us is no role, and needs no right.
async function letWrite(client: Queries, tables: readonly string[], writer = ''): Promise<void> {
  const { rows } = await client.query('select from pg_roles where rolname = $1 and rolname <> current_user', [writer])
  if (rows.length === 0) return
  const role = identifier(writer)
  await client.query(`grant usage on schema ${schema} to ${role}`)
  // a writer looks at the columns first
  for (const table of tables) await client.query(`grant select, insert on ${table} to ${role}`)
}

export async function dropStaging(client: Queries, run: string): Promise<void> {
  const { rows } = await client.query<{ tablename: string }>(
    'select tablename from pg_tables where schemaname = $1 and starts_with(tablename, $2)',
    [schema, `${run} `],
  )
  for (const { tablename } of rows) await client.query(`drop table if exists ${identifier(schema, tablename)}`)
}

/** In the transaction of the batch. */
export async function mergeStaged(
  client: Queries,
  { tables, deadLetters }: StagedRows,
  sharedCache: boolean,
): Promise<SinkOutcome[]> {
  const outcomes: SinkOutcome[] = []
  for (const { step, table } of tables) {
    const outcome = { step: step.id, inserted: 0, updated: 0, deleted: 0, duplicates: 0, duplicateOrdinals: [] }
    const columns = step.columns.map(({ name }) => identifier(name)).join(', ')
    const key = step.mode.is === 'append' ? number : step.mode.key.map((name) => identifier(name)).join(', ')
    // an engine that lost a machine may have written some rows twice: they are the same in everything
    const source = `(select distinct on (${key}) ${columns} from ${table}) staged`
    if (step.mode.is === 'upsert') {
      const { rows } = await client.query<{ inserted: number; updated: number }>(mergeSql(step, source))
      outcome.inserted = rows[0]?.inserted ?? 0
      outcome.updated = rows[0]?.updated ?? 0
    } else {
      const sql =
        step.mode.is === 'append'
          ? `insert into ${identifier(...step.table.split('.'))} (${columns}) select ${columns} from ${source}`
          : mergeSql(step, source)
      outcome.inserted = (await client.query(sql)).rowCount ?? 0
    }
    await noteChanged(client, step, 'more than can be told', sharedCache)
    outcomes.push(outcome)
  }
  const columns = deadLetterColumns.map((name) => identifier(name)).join(', ')
  await client.query(
    `insert into millrace.dead_letters (${columns})
     select ${columns} from (select distinct on (${number}) * from ${deadLetters} order by ${number}) letters
     order by place, raw`,
  )
  return outcomes
}
