/** Numbered SQL files, each applied once, in order, in one transaction per folder. */
import { readdir, readFile } from 'node:fs/promises'
import { MillraceError, messageOf } from '../errors.ts'
import { sqlText } from '../plan/identifier.ts'
import { type Client, outOfOwnSchema, type Queries } from './connection.ts'

export interface MigrationFolder {
  /** `millrace`, or the name of a system. */
  owner: string
  folder: URL
}

export interface Migration {
  owner: string
  name: string
  sql: string
}

export const ownMigrations: MigrationFolder = { owner: 'millrace', folder: new URL('./migrations/', import.meta.url) }

/** All migrations of these folders in the order they are applied. */
export async function readMigrations(folders: MigrationFolder[]): Promise<Migration[]> {
  const migrations: Migration[] = []
  for (const { owner, folder } of folders) {
    const names = (await readdir(folder)).filter((name) => name.endsWith('.sql')).sort()
    for (const name of names) migrations.push({ owner, name, sql: await readFile(new URL(name, folder), 'utf8') })
  }
  return migrations
}

/**
 * The SQL that brings an empty database up to date, for who would rather run it by hand: the start after it finds nothing
 * to do.
 */
export function migrationScript(migrations: Migration[]): Migration[] {
  return [
    { owner: 'millrace', name: 'what was applied', sql: `${outOfOwnSchema.trim()};\n${makeRecord}` },
    ...migrations.map(({ owner, name, sql }) => ({
      owner,
      name,
      sql: `${sql.trimEnd()}\ninsert into millrace.migrations (owner, name) values (${sqlText(owner)}, ${sqlText(name)});`,
    })),
  ]
}

const makeRecord = `create schema if not exists millrace;
create table if not exists millrace.migrations (
  owner       text not null,
  name        text not null,
  applied_at  timestamptz not null default now(),
  primary key (owner, name)
);`

/** Applies what is missing and answers what it applied. Several processes may start at once: one applies. */
export async function migrate(client: Client, folders: MigrationFolder[]): Promise<Migration[]> {
  const migrations = await readMigrations(folders)
  await client.query('begin')
  try {
    // held to the end of the transaction; another process waits here, and then finds everything applied
    await client.query(`select pg_advisory_xact_lock(hashtext('millrace migrations'))`)
    // looked for first: "if not exists" asks for the right to create even where it creates nothing
    if (!(await isThere(client, 'millrace.migrations'))) await client.query(makeRecord)
    const { rows } = await client.query<{ owner: string; name: string }>('select owner, name from millrace.migrations')
    const applied = new Set(rows.map((row) => `${row.owner}/${row.name}`))
    const missing = migrations.filter((migration) => !applied.has(`${migration.owner}/${migration.name}`))
    for (const { owner, name, sql } of missing) {
      try {
        await client.query(sql)
      } catch (error) {
        throw new MillraceError('MIGRATION_FAILED', {
          message: messageOf(error),
          at: `${owner}/${name}`,
          hint: 'nothing of this start was applied; mend the cause and start again',
          cause: error,
        })
      }
      await client.query('insert into millrace.migrations (owner, name) values ($1, $2)', [owner, name])
    }
    await client.query('commit')
    return missing
  } catch (error) {
    await client.query('rollback').catch(() => {})
    throw error
  }
}

/** Whether there is a table of this (quoted) name. */
export async function isThere(database: Queries, table: string): Promise<boolean> {
  const { rows } = await database.query<{ there: boolean }>('select to_regclass($1) is not null as there', [table])
  return rows[0]?.there ?? false
}
