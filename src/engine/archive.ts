/**
 * The archiver: an effect with a cursor of its own that goes on beside the batches, for it waits until files are old
 * enough. What stops what:
 * - Whatever fails here (a full disk, a folder that is not writable, a database that does not answer) pauses the archiver
 *   alone: it says so and tries again, at longer and longer intervals, and goes on where it was. Rows land meanwhile;
 *   files stay in `done/`.
 * - The pipeline going wrong, being replaced or lending its lease stops the archiver between two files. A worker that was
 *   replaced and wakes up in the middle of one cannot harm its successor: see archive-files.ts.
 */
import { readdir, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../errors.ts'
import { failpoint } from '../failpoint.ts'
import type { Log } from '../log.ts'
import type { Plan } from '../plan/plan.ts'
import type { Store, StoredFile } from '../store/store.ts'
import type { Archive } from '../system.ts'
import { type ArchiveTools, archiveFiles, idOfWritten, writtenFolder } from './archive-files.ts'
import { deleteExpired } from './archive-records.ts'
import { claimedAt } from './effects.ts'

export interface ArchiverOptions {
  plan: Plan
  store: Pick<Store, 'effectCursor' | 'advanceEffect' | 'filesOfBatch' | 'files'>
  archive: Archive
  /** Where it is noted what was archived. */
  records: string
  /** A name that no other worker has. */
  worker: string
  log: Log
  onState?: (state: ArchiverState) => void
  now?: () => number
}

export type ArchiverState = { is: 'working' } | { is: 'paused'; why: string; tries: number; nextInMs: number }

const effect = 'archive'
const lookMs = 1000
const backOff = { firstMs: 1000, mostMs: 30_000 }
/** Whole batches are archived together, until there are so many files or batches: then the cursor moves. */
const filesAtOnce = 2000
const batchesAtOnce = 1000

/** A batch, and when the last of its files is old enough. */
interface Due {
  batch: number
  files: StoredFile[]
  dueAt: number
}

export class Archiver implements AsyncDisposable {
  readonly #options: ArchiverOptions
  readonly #tools: ArchiveTools
  readonly #stop = new AbortController()
  /** The bytes of records that are dealt with. */
  readonly #read = new Map<string, number>()
  /** The last batch whose files are in the archive; undefined until what was begun before is finished. */
  #cursor: number | undefined
  /** The last batch whose files lie in `done/`. */
  #settled = 0
  #next: Due | undefined
  /** The round under way: there is one at a time. */
  #turn: Promise<void> = Promise.resolve()
  #rounds: Promise<void> = Promise.resolve()

  constructor(options: ArchiverOptions) {
    const { plan, archive, records, worker } = options
    this.#options = options
    this.#tools = { pipeline: plan.name, archive, records, worker, signal: this.#stop.signal }
  }

  /** Archives from now on, a round every second, until it is disposed. */
  start(): void {
    this.#rounds = this.#goRound()
  }

  /** The files of all batches up to this one are in `done/` now. */
  settled(batch: number): void {
    this.#settled = batch
  }

  /** Archives and deletes what is old enough now. */
  async round(now: number): Promise<void> {
    const mine = this.#turn.then(() => this.#archive(now))
    this.#turn = mine.catch(() => {})
    await mine
  }

  async #archive(now: number): Promise<void> {
    const { plan, store, log } = this.#options
    // first, for it may make room
    await this.#deleteExpired(now)
    this.#cursor ??= await this.#finishBegun(now)
    for (;;) {
      const { files, upTo } = await this.#due(this.#cursor, now)
      if (upTo === this.#cursor) break
      if (files.length > 0) await archiveFiles(files, this.#tools, now)
      await failpoint('archive cursor')
      await store.advanceEffect(plan.name, effect, upTo)
      await failpoint('archive cursor')
      this.#cursor = upTo
      log.debug('archived', { pipeline: plan.name, files: files.length, batch: upTo })
    }
  }

  async #deleteExpired(now: number): Promise<void> {
    const { plan, log, archive } = this.#options
    const { folder, keepMs } = archive
    if (keepMs === undefined) return
    const deleted = await deleteExpired({ ...this.#tools, folder, keepMs, read: this.#read }, now)
    if (deleted > 0) log.debug('deleted from the archive', { pipeline: plan.name, files: deleted })
  }

  /** A last round, for a run that ends: what fails now is left to whoever comes next. */
  async finish(): Promise<void> {
    const { plan, log, now = Date.now } = this.#options
    await this.round(now()).catch((error) => {
      if (!this.#stop.signal.aborted) log.warn('not archived', { pipeline: plan.name, why: messageOf(error) })
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#rounds
  }

  async #goRound(): Promise<void> {
    const { plan, log, onState = () => {}, now = Date.now } = this.#options
    const { signal } = this.#stop
    let tries = 0
    onState({ is: 'working' })
    while (!signal.aborted) {
      let nextInMs = lookMs
      try {
        await this.round(now())
        if (tries > 0) {
          log.info('archiving again', { pipeline: plan.name })
          onState({ is: 'working' })
        }
        tries = 0
      } catch (error) {
        if (signal.aborted) break
        nextInMs = Math.min(backOff.mostMs, backOff.firstMs * 2 ** Math.min(tries, 10))
        tries++
        const why = messageOf(error)
        log.warn('archiving is paused', { pipeline: plan.name, why, tries, next_in_ms: nextInMs })
        onState({ is: 'paused', why, tries, nextInMs })
      }
      await sleep(nextInMs, undefined, { signal }).catch(() => {})
    }
  }

  async #due(cursor: number, now: number): Promise<{ files: StoredFile[]; upTo: number }> {
    const files: StoredFile[] = []
    let upTo = cursor
    while (upTo < this.#settled && files.length < filesAtOnce && upTo - cursor < batchesAtOnce) {
      this.#tools.signal.throwIfAborted()
      if (this.#next?.batch !== upTo + 1) this.#next = await this.#look(upTo + 1, now)
      if (this.#next.dueAt > now) break
      files.push(...this.#next.files)
      upTo++
    }
    return { files, upTo }
  }

  async #look(batch: number, now: number): Promise<Due> {
    const { plan, store, archive } = this.#options
    const files = (await store.filesOfBatch(plan.name, batch)).filter(isDone)
    // times of files can be set: what seems to come from the future has come by now
    const arrivals = files.map(({ arrivedAt }) => Math.min(arrivedAt.getTime(), now))
    return { batch, files, dueAt: Math.max(...arrivals) + archive.afterMs }
  }

  // What was written in the place of files by a worker that was killed, perhaps after the cursor had moved past them.
  // Answers where the cursor is.
  async #finishBegun(now: number): Promise<number> {
    const { plan, store } = this.#options
    const desk = writtenFolder(this.#tools)
    const names = await readdir(desk).catch(() => [])
    const ids = [...new Set(names.map(idOfWritten))]
    const known = new Set<string>()
    for (const source of Object.keys(plan.sources)) {
      const files = [...(await store.files(plan.name, source, ids)).values()]
      for (const { id } of files) known.add(id)
      if (files.length > 0) await archiveFiles(files.filter(isDone), this.#tools, now)
    }
    // the store has forgotten the file (a reset): it is in `done/` or in the archive
    for (const name of names) if (!known.has(idOfWritten(name))) await rm(join(desk, name), { force: true })
    await rmdir(desk).catch(() => {})
    return await store.effectCursor(plan.name, effect)
  }
}

// Only files of a watched folder are moved, and not those that could not be read.
function isDone(file: StoredFile): boolean {
  return file.state === 'done' && claimedAt(file) !== undefined
}
