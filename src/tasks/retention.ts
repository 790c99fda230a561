/**
 * What is old leaves the database: dead letters that are done with, and late rows, go into files of JSON lines, packed, of
 * which each holds what one statement has found. A file is whole and on the disk before its rows are deleted; if the
 * transaction fails after that, they are written again: a row may be in two files, and its number tells.
 */
import { mkdir, open, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { Config } from '../config.ts'
import { asDiskFull } from '../errors.ts'
import type { TaskTools } from '../system.ts'
import { queueSchema } from './queue.ts'

const pack = promisify(gzip)

/** So many rows go into one file; what is left goes with the next run, which is asked for at once. */
const rowsAtOnce = 20_000

interface Kind {
  /** Also the name of its folder. */
  table: 'dead_letters' | 'late_rows'
  /** When a row was done with; null of one that is not. */
  at: string
  keepMs: number
}

export async function archiveOld(
  { dataDirectory, keep }: Pick<Config, 'dataDirectory' | 'keep'>,
  tools: Pick<TaskTools, 'sql' | 'enqueue'>,
): Promise<void> {
  const kinds: Kind[] = [
    { table: 'dead_letters', at: 'settled_at', keepMs: keep.deadLettersMs },
    { table: 'late_rows', at: 'arrived_at', keepMs: keep.lateRowsMs },
  ]
  let more = false
  for (const kind of kinds) {
    const rows = await archiveKind(join(dataDirectory, 'archived'), kind, tools)
    more ||= rows === rowsAtOnce
  }
  await tools.sql(
    `
    delete from ${queueSchema}.job
    where  state = 'failed'
    and    completed_on < now() - $1 * interval '1 millisecond'`,
    [keep.tasksMs],
  )
  if (more) await tools.enqueue('archive_old', [''])
}

async function archiveKind(
  folder: string,
  { table, at, keepMs }: Kind,
  { sql }: Pick<TaskTools, 'sql'>,
): Promise<number> {
  const rows = await sql(
    `
    with old as (
      delete from millrace.${table}
      where  id in (select id
                    from   millrace.${table}
                    where  ${at} < now() - $1 * interval '1 millisecond'
                    order by id
                    limit  ${rowsAtOnce})
      returning *
    )
    select id, row_to_json(old)::text as line
    from   old
    order by id`,
    [keepMs],
  )
  const [first, last] = [rows.at(0)?.['id'], rows.at(-1)?.['id']]
  if (first === undefined) return 0
  const lines = rows.map(({ line }) => `${line}\n`).join('')
  await writeDurably(join(folder, table.replace('_', '-'), `${first}-${last}.jsonl.gz`), await pack(lines))
  return rows.length
}

// Nobody sees half of it, and it survives the machine.
async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const part = `${path}.part`
  try {
    await using file = await open(part, 'w')
    await file.writeFile(bytes)
    await file.sync()
  } catch (error) {
    throw asDiskFull(error, path)
  }
  await rename(part, path)
  await using folder = await open(dirname(path))
  await folder.sync()
}
