/** Events of flyers in one file, made once by the generator that ships: a week of them, however many. */
import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Duck } from '../src/engine/duckdb.ts'
import { runCommand } from './command.ts'

export const flyerFormats = ['csv', 'parquet'] as const
export type FlyerFormat = (typeof flyerFormats)[number]

const week = 7 * 24 * 3600
const version = 1

/**
 * No event is bad, none is there twice, and no two are at the same instant: the generator's events follow each other at an
 * even step, which is written to the millisecond and is no shorter than that. So every peer has the same order of events.
 */
export async function flyerEvents(
  root: string,
  rows: number,
  format: FlyerFormat,
  signal: AbortSignal,
): Promise<string> {
  if (rows > week * 1000) throw new Error(`--rows must not be above ${week * 1000}: events would share instants`)
  const folder = join(root, 'bench/.cache', `flyers-${rows}-v${version}`)
  await mkdir(folder, { recursive: true })
  const [csv, parquet] = [join(folder, 'events.csv'), join(folder, 'events.parquet')]
  if (!existsSync(csv)) await generate(root, rows, csv, signal)
  if (format === 'csv') return csv
  if (!existsSync(parquet)) await convert(folder, csv, parquet)
  return parquet
}

async function generate(root: string, rows: number, path: string, signal: AbortSignal): Promise<void> {
  const options = {
    count: rows,
    duration: week,
    seed: 1,
    users: Math.max(1, Math.floor(rows / 20)),
    flyers: 2000,
    merchants: 100,
    to: path,
  }
  const args = [join(root, 'src/cli/main.ts'), 'generate', 'flyers']
  for (const [name, value] of Object.entries(options)) args.push(`--${name}`, String(value))
  await runCommand({ program: process.execPath, args, signal })
}

async function convert(folder: string, csv: string, parquet: string): Promise<void> {
  const [temporary, making] = [join(folder, 'temporary'), `${parquet}.making`]
  await using duck = await Duck.open({ folders: [folder], temporary, memoryLimitMb: 1024, threads: 2 })
  using session = await duck.connect()
  await session.run(
    `copy (
  select "timestamp"::timestamptz as "timestamp", * exclude ("timestamp")
  from   read_csv('${csv}', all_varchar = true)
) to '${making}' (format parquet)`,
  )
  await rename(making, parquet)
  await rm(temporary, { recursive: true, force: true })
}
