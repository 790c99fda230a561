/**
 * What happens after a commit. Everything here can be derived from the store and has its own cursor, so a worker that
 * starts goes on where the last one stopped; what is done twice is done under the same name, and so once.
 */
import { appendFile, copyFile, mkdir, open, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { asDiskFull } from '../errors.ts'
import { type Failpoint, failpoint } from '../failpoint.ts'
import type { Plan } from '../plan/plan.ts'
import { claimedFolder, dropClaim } from '../sources/files/claims.ts'
import { fittingName } from '../sources/files/names.ts'
import { codeOf } from '../store/connection.ts'
import { letterPages } from '../store/letter-pages.ts'
import type { LedgerLine, Store, StoredFile } from '../store/store.ts'
import { fileSinks, publishFiles } from './file-sink.ts'

export interface EffectTools {
  plan: Plan
  store: Store
  /** Where bad rows and unreadable files go; undefined: they stay in the dead letters alone. */
  quarantine: string | undefined
  /** Files go on from `done/` to an archive. */
  archived: boolean
  logs: string
}

/** A committed batch, with its files read once for all effects. */
interface Settled {
  line: LedgerLine
  files: StoredFile[]
}

interface Effect {
  name: string
  point: Failpoint
  /** Whether there is anything to do for such a pipeline; always when left out. */
  applies?(tools: EffectTools): boolean
  run(tools: EffectTools, batch: Settled): Promise<void>
}

const effects: Effect[] = [
  { name: 'quarantine', point: 'effect quarantine', run: quarantineBatch },
  { name: 'move files', point: 'effect move files', applies: ({ plan }) => readsFiles(plan), run: moveFiles },
  {
    name: 'publish files',
    point: 'effect publish files',
    applies: ({ plan }) => fileSinks(plan).length > 0,
    run: ({ plan }, { line }) => publishFiles(plan, line),
  },
  { name: 'metrics', point: 'effect metrics', run: writeMetrics },
]

/** Runs every effect for the committed batches it has not been run for, and remembers how far each has come. */
export async function runEffects(tools: EffectTools): Promise<void> {
  const { plan, store } = tools
  const cursors = new Map<Effect, number>()
  const applying = effects.filter((effect) => effect.applies?.(tools) ?? true)
  for (const effect of applying) cursors.set(effect, await store.effectCursor(plan.name, effect.name))
  let after = Math.min(...cursors.values())
  for (;;) {
    const lines = await store.ledger(plan.name, { after, first: linesAtOnce })
    for (const line of lines) {
      const batch = { line, files: readsFiles(plan) ? await store.filesOfBatch(plan.name, line.batch) : [] }
      for (const effect of applying) {
        if ((cursors.get(effect) ?? 0) >= line.batch) continue
        // reached on both sides: nothing of it is there yet, and all of it but the memory of it
        await failpoint(effect.point)
        await effect.run(tools, batch)
        await failpoint(effect.point)
        await store.advanceEffect(plan.name, effect.name, line.batch)
      }
      await failpoint('effects done')
      after = line.batch
    }
    if (lines.length < linesAtOnce) return
  }
}

function readsFiles({ sources }: Plan): boolean {
  return Object.values(sources).some(({ is }) => is === 'files')
}

/** An effect that is new to a pipeline begins at its first batch. */
const linesAtOnce = 500

// ---- quarantine ----------------------------------------------------------------------------------------------------

async function quarantineBatch(tools: EffectTools, { line, files }: Settled): Promise<void> {
  const { quarantine } = tools
  if (quarantine === undefined) return
  if (line.dead > 0) await quarantineRows(join(quarantine, `${line.batch}.csv`), tools, line)
  if (line.filesQuarantined > 0) {
    for (const file of files) {
      if (file.state === 'quarantined') await quarantineFile(quarantine, file)
    }
  }
}

// A batch can have as many bad rows as it has rows.
async function quarantineRows(path: string, { plan, store }: EffectTools, { batch }: LedgerLine): Promise<void> {
  async function* lines(): AsyncGenerator<string> {
    yield 'row,code,column,reason,file,line\n'
    for await (const page of letterPages(store, { pipeline: plan.name, batch, settled: true })) {
      for (const { raw, code, columnName, message, place, line } of page) {
        const fields = [raw, code, columnName ?? '', message, place, line === null ? '' : String(line)]
        yield `${fields.map(csvField).join(',')}\n`
      }
    }
  }
  await writeWhole(path, Readable.from(lines()))
}

async function quarantineFile(folder: string, file: StoredFile): Promise<void> {
  const target = join(folder, nameFor(file))
  const claimed = claimedAt(file)
  await mkdir(folder, { recursive: true })
  if (claimed === undefined) {
    // a file of a bounded run stays where it is; one that nobody may read, or is no file any more, has its reason alone
    const stats = await stat(file.path).catch(() => undefined)
    if (stats?.isFile()) await copyFile(file.path, target).catch(ignoreUnreadable)
  } else {
    await move(claimed, target).catch(ignoreMissing)
    await dropClaim(claimed)
  }
  await writeWhole(
    `${target}.reason.txt`,
    `${file.code}: ${file.message}\n\nfile: ${file.path}\nbatch: ${file.batch}\n`,
  )
}

// ---- files that are done -------------------------------------------------------------------------------------------

/** A disk is asked for so many files at once: most of the time goes in waiting for it. */
const atOnce = 16

async function moveFiles({ archived }: EffectTools, { files }: Settled): Promise<void> {
  const moves: (() => Promise<void>)[] = []
  const ready = new Set<string>()
  const targets = new Set<string>()
  for (const file of files) {
    const claimed = claimedAt(file)
    if (file.state !== 'done' || claimed === undefined) continue
    const done = doneFolder(file)
    if (!ready.has(done)) await mkdir(done, { recursive: true })
    ready.add(done)
    const own = join(done, basename(file.path))
    const isTwin = targets.has(own)
    targets.add(own)
    moves.push(async () => {
      // what the archiver takes has a name that is never another file's
      const isTaken = archived || isTwin || (await isThere(own))
      await rename(claimed, isTaken ? join(done, nameFor(file)) : own).catch(ignoreMissing)
      await dropClaim(claimed)
    })
  }
  for (let at = 0; at < moves.length; at += atOnce)
    await Promise.all(moves.slice(at, at + atOnce).map((move) => move()))
}

/** Where a file of a watched folder lies after its claim; a file of a bounded run has its own path as its id. */
export function claimedAt(file: Pick<StoredFile, 'id' | 'path'>): string | undefined {
  if (file.id === file.path || file.id.includes('/')) return undefined
  return join(claimedFolder(dirname(file.path)), file.id, basename(file.path))
}

/** Where a file of a watched folder lies when its rows are committed. */
export function doneFolder({ path }: Pick<StoredFile, 'path'>): string {
  return join(dirname(path), 'done')
}

/** The name of a file whose own name is taken: the claim's id before it, which nothing else has. */
export function nameFor({ id, path, batch }: Pick<StoredFile, 'id' | 'path' | 'batch'>): string {
  // with room behind it for the longest ending
  return fittingName(`${id.includes('/') ? `batch-${batch}` : id}-${basename(path)}`, '.reason.txt.part'.length)
}

async function isThere(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  )
}

// ---- metrics -------------------------------------------------------------------------------------------------------

const maxLogBytes = 50_000_000
const keptLogs = 5

async function writeMetrics({ logs }: EffectTools, { line, files }: Settled): Promise<void> {
  const path = join(logs, 'streaming_metrics.log')
  const seconds = Math.max(0.001, (line.committedAt.getTime() - line.startedAt.getTime()) / 1000)
  const record = JSON.stringify({
    time: line.committedAt.toISOString(),
    pipeline: line.pipeline,
    batch: line.batch,
    kind: line.kind,
    rows_in: line.rowsIn,
    written: line.written,
    filtered: line.filtered,
    duplicates: line.duplicates,
    late: line.late,
    dead: line.dead,
    files_quarantined: line.filesQuarantined,
    rows_per_second: Math.round(line.rowsIn / seconds),
    phases_ms: line.phasesMs,
    latency_ms: latencies(files, line.committedAt),
  })
  await appendOnce(path, `"pipeline":${JSON.stringify(line.pipeline)},"batch":${line.batch},`, `${record}\n`)
}

// From a file's arrival to its rows being visible, weighted by rows.
function latencies(files: StoredFile[], visibleAt: Date): { p50: number; p99: number } | null {
  const each = files
    .filter((file) => file.rowsDone > 0)
    .map((file) => ({ ms: Math.max(0, visibleAt.getTime() - file.arrivedAt.getTime()), rows: file.rowsDone }))
    .sort((a, b) => a.ms - b.ms)
  const total = each.reduce((sum, { rows }) => sum + rows, 0)
  if (total === 0) return null
  const at = (share: number): number => {
    let rows = 0
    for (const file of each) {
      rows += file.rows
      if (rows >= total * share) return file.ms
    }
    return 0
  }
  return { p50: at(0.5), p99: at(0.99) }
}

/** Appends a line unless the end of the file has one with this mark already: a crash may have come after the write. */
async function appendOnce(path: string, mark: string, line: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await rotate(path)
  const tail = await readTail(path, 65_536)
  if (tail.includes(mark)) return
  const before = await stat(path).catch(() => undefined)
  try {
    // a torn last line of a killed process is ended, so that this one stands alone
    await appendFile(path, tail.length > 0 && !tail.endsWith('\n') ? `\n${line}` : line)
  } catch (error) {
    // a part of it may have found room
    await truncate(path, before?.size ?? 0).catch(() => {})
    throw asDiskFull(error, path)
  }
}

/** Renames a log that has grown too large to `.1`, that one to `.2`, and so on. */
export async function rotate(path: string): Promise<void> {
  const size = await stat(path).then(
    (stats) => stats.size,
    () => 0,
  )
  if (size < maxLogBytes) return
  for (let n = keptLogs - 1; n >= 1; n--)
    await rename(n === 1 ? path : `${path}.${n - 1}`, `${path}.${n}`).catch(ignoreMissing)
}

async function readTail(path: string, bytes: number): Promise<string> {
  const handle = await open(path, 'r').catch(() => undefined)
  if (handle === undefined) return ''
  try {
    const { size } = await handle.stat()
    const start = Math.max(0, size - bytes)
    const buffer = Buffer.alloc(size - start)
    await handle.read(buffer, 0, buffer.length, start)
    return buffer.toString()
  } finally {
    await handle.close()
  }
}

// ---- files ---------------------------------------------------------------------------------------------------------

// Nobody sees half of it, and the same content again changes nothing.
async function writeWhole(path: string, content: string | Readable): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await inParts(path, (part) => writeFile(part, content))
}

// To another disk, too.
async function move(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
  } catch (error) {
    if (codeOf(error) !== 'EXDEV') throw error
    await inParts(to, (part) => copyFile(from, part))
    await rm(from)
  }
}

async function inParts(path: string, write: (part: string) => Promise<void>): Promise<void> {
  const part = `${path}.part`
  try {
    await write(part)
    await rename(part, path)
  } catch (error) {
    // what fills a disk that is full already helps nobody
    await rm(part, { force: true })
    throw asDiskFull(error, path)
  }
}

function csvField(value: string): string {
  return /[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value
}

// The file has been moved already, by this effect before a crash.
function ignoreMissing(error: unknown): void {
  if (codeOf(error) === 'ENOENT') return
  throw error
}

function ignoreUnreadable(error: unknown): void {
  if (['ENOENT', 'EACCES', 'EPERM'].includes(codeOf(error) ?? '')) return
  throw error
}
