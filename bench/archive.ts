/** What archiving adds to a run: the same files with the archiver and without it, in turns. */
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { startCommand } from './command.ts'
import { orEnded, stop } from './latency.ts'
import { rowsPerFile, writeFiles } from './many-files.ts'
import { query, startPostgres } from './postgres.ts'
import { processorSeconds } from './processes.ts'
import { machine, median, printTable, saveResult } from './report.ts'

export interface ArchiveOptions {
  root: string
  files: number
  rounds: number
  signal: AbortSignal
}

interface Run {
  round: number
  archived: boolean
  /** Until every row is committed; then until the last file is where it belongs. */
  committedSeconds: number
  settledSeconds: number
  processorSeconds: number
}

export async function benchArchive({ root, files, rounds, signal }: ArchiveOptions): Promise<void> {
  const here = join(root, 'bench')
  const room = join(here, '.cache', `run-${process.pid}`)
  await mkdir(room, { recursive: true })
  try {
    await using postgres = await startPostgres(room, signal)
    const runs: Run[] = []
    for (let round = 1; round <= rounds; round++) {
      const turns = round % 2 === 1 ? [false, true] : [true, false]
      for (const archived of turns) {
        const url = await postgres.fresh()
        const run = await runOnce({ root, room: join(room, `${runs.length}`), url, files, archived, signal })
        runs.push({ round, archived, ...run })
        process.stderr.write(
          `round ${round}, ${archived ? 'archived' : 'left in done/'}: ${run.committedSeconds.toFixed(2)} s until all is committed\n`,
        )
      }
    }
    const result = { machine: { postgres: postgres.version, ...machine() }, files, runs, ...ratios(runs) }
    print(runs)
    await saveResult(here, `archive-${files}`, result)
  } finally {
    await rm(room, { recursive: true, force: true })
  }
}

async function runOnce({
  root,
  room,
  url,
  files,
  archived,
  signal,
}: {
  root: string
  room: string
  url: string
  files: number
  archived: boolean
  signal: AbortSignal
}): Promise<Omit<Run, 'round' | 'archived'>> {
  const folder = join(room, 'shop-events')
  await mkdir(join(folder, 'raw'), { recursive: true })
  await writeFiles(join(folder, 'raw'), files, signal)
  const env = {
    DATABASE_URL: url,
    SHOP_EVENTS_DIR: folder,
    MILLRACE_DATA: join(room, 'data'),
    SHOP_EVENTS_ARCHIVE: archived ? '1' : '0',
    ARCHIVE_AFTER: '0',
  }
  const args = [join(root, 'src/cli/main.ts'), 'work', 'shop-events']
  await using worker = startCommand({ program: process.execPath, args, env, signal })
  const began = performance.now()
  const waitFor = async (what: () => Promise<boolean>): Promise<number> => {
    while (!(await what())) await pause(20, undefined, { signal })
    return (performance.now() - began) / 1000
  }
  const committedSeconds = await orEnded(
    worker,
    waitFor(async () => {
      const found = await query<{ rows: number }>(
        url,
        'select coalesce(sum(rows_in), 0)::int as rows from millrace.batches',
      ).catch(() => [])
      return (found[0]?.rows ?? 0) >= files * rowsPerFile
    }),
  )
  const settledIn = archived ? join(folder, 'archive') : join(folder, 'raw', 'done')
  const settledSeconds = await orEnded(
    worker,
    waitFor(async () => (await countFiles(settledIn)) >= files),
  )
  const used = processorSeconds(worker.pid)
  await stop(worker)
  await rm(room, { recursive: true, force: true })
  return { committedSeconds, settledSeconds, processorSeconds: used }
}

async function countFiles(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
  return entries.filter((entry) => entry.isFile()).length
}

// Of the runs with the archiver over those without, round by round.
function ratios(runs: Run[]): Record<'committed' | 'settled' | 'processor', number> {
  const over = (of: (run: Run) => number): number =>
    median(
      runs
        .filter(({ archived }) => archived)
        .map((run) => of(run) / of(runs.find(({ round, archived }) => round === run.round && !archived) ?? run)),
    )
  return {
    committed: over((run) => run.committedSeconds),
    settled: over((run) => run.settledSeconds),
    processor: over((run) => run.processorSeconds),
  }
}

function print(runs: Run[]): void {
  printTable(
    ['', 'committed s', 'files moved s', 'processor s'],
    runs.map((run) => [
      `round ${run.round}, ${run.archived ? 'archived' : 'left in done/'}`,
      run.committedSeconds.toFixed(2),
      run.settledSeconds.toFixed(2),
      run.processorSeconds.toFixed(2),
    ]),
  )
  const { committed, settled, processor } = ratios(runs)
  const percent = (ratio: number): string => `${ratio < 1 ? '' : '+'}${(100 * (ratio - 1)).toFixed(1)} %`
  process.stdout.write(
    `\narchiving adds (median of the rounds): ${percent(committed)} until all is committed (goal < 5 %), ` +
      `${percent(settled)} until the last file lies where it belongs, ${percent(processor)} of processor time\n`,
  )
}
