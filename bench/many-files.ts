/** A watched folder with very many small files: what listing costs as they are done, and what a late file waits. */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { startCommand } from './command.ts'
import { goodRow, header, lineOf } from './data.ts'
import { dropAndWatch, dropper, latencies, orEnded, stop, systems } from './latency.ts'
import { query, startPostgres } from './postgres.ts'
import { highWaterMark, processorSeconds, residentOfTree } from './processes.ts'
import { machine, percentile, printTable, saveResult } from './report.ts'

export const rowsPerFile = 5
/** Of a file that comes late. */
const lateRows = 100
const seed = 11
/** Even a slow machine takes so many files a second. */
const leastPerSecond = 20

export interface ManyFilesOptions {
  root: string
  files: number
  seconds: number
  signal: AbortSignal
}

interface BatchRow {
  files: number
  ms: number
  committed: number
  phases: Record<string, number>
  [column: string]: unknown
}

/** What a tenth of the files cost. */
interface Tenth {
  files: number
  batches: number
  filesPerSecond: number
  /** Milliseconds a batch, by phase. */
  phases: Record<string, number>
}

export async function benchManyFiles({ root, files, seconds, signal }: ManyFilesOptions): Promise<void> {
  const here = join(root, 'bench')
  const room = join(here, '.cache', `run-${process.pid}`)
  const folder = join(room, 'shop-events')
  await mkdir(join(folder, 'raw'), { recursive: true })
  await mkdir(join(room, 'writing'))
  try {
    await using postgres = await startPostgres(room, signal)
    const url = await postgres.fresh()
    await writeFiles(join(folder, 'raw'), files, signal)
    say(`${files} files of ${rowsPerFile} rows lie in the folder`)
    const env = { DATABASE_URL: url, SHOP_EVENTS_DIR: folder, MILLRACE_DATA: join(room, 'data') }
    const args = [join(root, 'src/cli/main.ts'), 'work', 'shop-events']
    await using worker = startCommand({ program: process.execPath, args, env, signal })
    const began = performance.now()
    const resident: number[] = []
    await orEnded(
      worker,
      allDone(url, folder, files, signal, (done) => {
        resident[Math.min(9, Math.floor((10 * done) / files))] = residentOfTree(worker.pid)
      }),
    )
    const wallSeconds = (performance.now() - began) / 1000
    const processor = processorSeconds(worker.pid)
    const batches = await batchesOf(url)
    const shop = systems['shop-events']
    const drop = dropper(shop, lateRows, room, folder)
    say(`all are done; now ${seconds} s of files that come one by one`)
    const late = latencies(await dropAndWatch(url, shop.table, drop, seconds, worker, signal))
    const lateBatches = (await batchesOf(url)).slice(batches.length)
    const memoryMb = highWaterMark(worker.pid)
    await stop(worker)
    const result = {
      machine: { postgres: postgres.version, ...machine() },
      files,
      wallSeconds,
      filesPerSecond: files / wallSeconds,
      processorMsPerFile: (1000 * processor) / files,
      memoryMb,
      residentMb: resident,
      tenths: [0, 4, 9].map((tenth) => tenthOf(batches, files, tenth)),
      late: { p50: percentile(late, 0.5), p99: percentile(late, 0.99), most: Math.max(...late) },
      latePhases: phasesOf(lateBatches),
    }
    print(result)
    await saveResult(here, `many-files-${files}`, result)
  } finally {
    await rm(room, { recursive: true, force: true })
  }
}

export async function writeFiles(raw: string, files: number, signal: AbortSignal): Promise<void> {
  for (let at = 0; at < files; at++) {
    signal.throwIfAborted()
    const rows = Array.from({ length: rowsPerFile }, (_, n) => lineOf(goodRow(seed, at * rowsPerFile + n)))
    await writeFile(join(raw, `events-${String(at).padStart(7, '0')}.csv`), header + rows.join(''))
  }
}

/** Until every file is committed and has been moved to `done/`. */
async function allDone(
  url: string,
  folder: string,
  files: number,
  signal: AbortSignal,
  onProgress: (done: number) => void,
): Promise<void> {
  const until = performance.now() + (60 + files / leastPerSecond) * 1000
  for (;;) {
    const [found] = await query<{ rows: number }>(
      url,
      'select coalesce(sum(rows_in), 0)::int as rows from millrace.batches',
    ).catch(() => [])
    const done = (found?.rows ?? 0) / rowsPerFile
    onProgress(done)
    if (done >= files && (await readdir(join(folder, 'raw', 'done'))).length === files) return
    if (performance.now() > until) throw new Error(`only ${done} of ${files} files are done`)
    await pause(done >= files ? 100 : 1000, undefined, { signal })
  }
}

async function batchesOf(url: string): Promise<BatchRow[]> {
  return await query<BatchRow>(
    url,
    `select (rows_in / ${rowsPerFile})::int as files,
            1000 * extract(epoch from committed_at - started_at)::float8 as ms,
            1000 * extract(epoch from committed_at)::float8 as committed,
            phases_ms as phases
     from   millrace.batches
     where  rows_in > 0
     order by batch`,
  )
}

function tenthOf(batches: BatchRow[], files: number, tenth: number): Tenth {
  let before = 0
  const within = batches.filter((batch) => {
    before += batch.files
    return Math.floor((10 * (before - 1)) / files) === tenth
  })
  const count = within.reduce((sum, batch) => sum + batch.files, 0)
  const [first, last] = [within[0], within.at(-1)]
  // from the start of its first batch to the commit of its last
  const ms = (last?.committed ?? 0) - ((first?.committed ?? 0) - (first?.ms ?? 0))
  return { files: count, batches: within.length, filesPerSecond: (1000 * count) / ms, phases: phasesOf(within) }
}

/** Milliseconds a batch, by phase. */
function phasesOf(batches: BatchRow[]): Record<string, number> {
  const names = new Set(batches.flatMap(({ phases }) => Object.keys(phases)))
  const mean = (name: string): number =>
    batches.reduce((total, { phases }) => total + (phases[name] ?? 0), 0) / batches.length
  return Object.fromEntries([...names].map((name) => [name, mean(name)]))
}

interface Result {
  files: number
  wallSeconds: number
  filesPerSecond: number
  processorMsPerFile: number
  memoryMb: number
  residentMb: number[]
  tenths: Tenth[]
  late: { p50: number; p99: number; most: number }
  latePhases: Record<string, number>
}

function print({
  files,
  wallSeconds,
  filesPerSecond,
  processorMsPerFile,
  memoryMb,
  residentMb,
  tenths,
  late,
  latePhases,
}: Result): void {
  process.stdout.write(
    `\n${files} files in ${wallSeconds.toFixed(1)} s: ${filesPerSecond.toFixed(0)} files/s, ${processorMsPerFile.toFixed(2)} ms of processor time each\n\n`,
  )
  const phases = Object.keys(tenths[0]?.phases ?? {})
  printTable(
    ['tenth', 'files/s', 'batches', ...phases.map((phase) => `${phase} ms`)],
    tenths.map((tenth, i) => [
      ['first', 'fifth', 'last'][i] ?? '',
      tenth.filesPerSecond.toFixed(0),
      String(tenth.batches),
      ...phases.map((phase) => (tenth.phases[phase] ?? 0).toFixed(1)),
    ]),
  )
  const held = residentMb.map((mb) => mb.toFixed(0)).join(', ')
  process.stdout.write(`\nmemory: ${memoryMb.toFixed(0)} MB at most; by tenths ${held} MB\n`)
  process.stdout.write(
    `a file that comes when all these are done: p50 ${late.p50.toFixed(1)} ms, p99 ${late.p99.toFixed(1)} ms, most ${late.most.toFixed(1)} ms\n`,
  )
  const parts = Object.entries(latePhases).map(([phase, ms]) => `${phase} ${ms.toFixed(1)}`)
  process.stdout.write(`of which, a batch: ${parts.join(', ')} ms\n`)
}

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}
