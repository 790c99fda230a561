/**
 * Reads files in order, name after name, row after row: takes the complete ones of a watched folder or those a bounded
 * run was given, and stages their rows for DuckDB. Nothing is handed out twice unless it is rewound.
 */
import { randomBytes } from 'node:crypto'
import { lstat, mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { MillraceError } from '../../errors.ts'
import { failpoint } from '../../failpoint.ts'
import type { FilesSource } from '../../plan/plan.ts'
import type { StoredFile } from '../../store/store.ts'
import type { Lag, Limits, Range, SourceReader, Sql } from '../source.ts'
import {
  type Claim,
  claimedFolder,
  claimFile,
  claimIds,
  claimInputs,
  type FileName,
  isComplete,
  listFolder,
  pathIn,
  readClaims,
} from './claims.ts'
import { dropContent } from './content.ts'
import { Stage } from './stage.ts'
import { FolderWatch } from './watch.ts'

export interface FilesReaderOptions {
  /** The source's id in the plan. */
  id: string
  source: FilesSource
  /** The files of a bounded run in place of the folder. */
  inputs?: { paths: string[]; again: boolean }
  spool: string
  /** A session of the reader's own. */
  sql: Sql
  /**
   * Another DuckDB that may read the spool, with a share of the memory beside the first: what may leave one unusable is
   * read there first, from end to end. Left out by who only takes a look.
   */
  apart?(share: number): Promise<Sql & AsyncDisposable>
  signal?: AbortSignal
  known(ids: string[]): Promise<Map<string, StoredFile>>
  /** A file that cannot be read, though others go on. */
  onProblem(problem: MillraceError): void
  /** Something in the folder is not read, and never will be as it is; said once a name. */
  onLeftAlone?(path: string, why: string): void
  now?: () => number
}

/** Files of one range at most, so that the lists that go with it stay small. */
const maxFiles = 2000
/** A disk is asked for so many files at once: most of the time goes in waiting for it. */
const atOnce = 16

export async function openFilesReader(options: FilesReaderOptions): Promise<SourceReader> {
  await mkdir(options.spool, { recursive: true })
  if (options.inputs === undefined) {
    await mkdir(claimedFolder(options.source.folder), { recursive: true })
  }
  return new FilesReader(options)
}

class FilesReader implements SourceReader {
  readonly #options: FilesReaderOptions
  readonly #now: () => number
  readonly #watch: FolderWatch | undefined
  #queue: Claim[] = []
  /** Ids handed out or finished, until they are gone from the folder of claims. */
  #seen = new Set<string>()
  /** Names listed and not yet claimed, the first of them last, so that a large folder is not listed for every range. */
  #names: FileName[] = []
  /** Claimed files that somebody still writes; they are read when they have come to rest. */
  #restless: Claim[] = []
  #leftAlone = new Map<string, string>()
  #inputsTaken = false
  #claims = 0
  /** No other reader has it: all share one DuckDB. */
  readonly #name = `files-${process.pid}-${randomBytes(4).toString('hex')}`
  #ranges = 0

  constructor(options: FilesReaderOptions) {
    this.#options = options
    this.#now = options.now ?? Date.now
    this.#watch = options.inputs === undefined ? new FolderWatch(options.source.folder) : undefined
  }

  async next(limits: Limits): Promise<Range | undefined> {
    const started = performance.now()
    if (this.#queue.length === 0) await this.#refill(limits)
    if (this.#queue.length === 0) return undefined
    const listed = performance.now()
    const stage = new Stage({ ...this.#options, name: `${this.#name}-${++this.#ranges}` })
    try {
      await this.#fill(stage, limits)
      if (stage.files.length > 0) {
        const range = await stage.finish()
        return { ...range, phases: { list: listed - started, cut: performance.now() - listed } }
      }
    } catch (error) {
      await stage.release()
      throw error
    }
    await stage.release()
    return undefined
  }

  async #fill(stage: Stage, limits: Limits): Promise<void> {
    while (
      !stage.full &&
      stage.rows + stage.malformed < limits.rows &&
      stage.bytes < limits.bytes &&
      stage.files.length < maxFiles
    ) {
      const claim = this.#queue[0]
      if (claim === undefined) return
      const outcome = await stage.read(claim, {
        ...limits,
        rows: limits.rows - stage.rows - stage.malformed,
        bytes: limits.bytes - stage.bytes,
      })
      if (outcome === 'more') return
      this.#queue.shift()
      if (outcome === 'changed') this.#restless.push(claim)
      // it spoke of this file alone
      if (limits.setAside) return
    }
  }

  // All files are one partition; what is not listed yet was not heard of.
  lags(): Map<string, Lag[]> {
    const rows = this.#queue.length + this.#names.length + this.#restless.length
    return new Map([[this.#options.id, [{ partition: '', rows }]]])
  }

  async bytesAhead(): Promise<number> {
    let bytes = 0
    // of a packed file that goes on, only the packed size is known until it is unpacked again
    for (const { content, size, bytesDone } of [...this.#queue, ...this.#restless])
      bytes += Math.max(0, (content?.size ?? size) - bytesDone)
    const listed = this.#names.map((name) => stat(pathIn(this.#options.source.folder, name)))
    for (const file of await Promise.allSettled(listed)) if (file.status === 'fulfilled') bytes += file.value.size
    return bytes
  }

  get unsettled(): boolean {
    return this.#waiting || this.#restless.length > 0
  }

  async wait(signal: AbortSignal): Promise<void> {
    await this.#watch?.wait(this.unsettled ? 100 : 1000, signal)
  }

  async rewind(): Promise<void> {
    for (const claim of this.#queue) await dropContent(claim)
    this.#queue = []
    this.#restless = []
    this.#seen.clear()
    this.#names = []
    this.#inputsTaken = false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watch?.[Symbol.dispose]()
    for (const claim of this.#queue) await dropContent(claim)
  }

  /** A file was seen that is not complete yet. */
  #waiting = false

  async #refill(limits: Limits): Promise<void> {
    if (this.#options.inputs !== undefined) {
      if (!this.#inputsTaken) this.#queue = await this.#takeInputs(this.#options.inputs)
      this.#inputsTaken = true
      return
    }
    await this.#findClaims()
    this.#waiting = false
    await this.#lookAtRestless()
    const { folder } = this.#options.source
    if (this.#names.length === 0) await this.#list(folder)
    await failpoint('listed')
    let bytes = this.#queue.reduce((sum, claim) => sum + claim.size, 0)
    while (this.#names.length > 0 && this.#queue.length < maxFiles && bytes < limits.bytes) {
      for (const claim of await this.#claim(folder, this.#names.splice(-atOnce).reverse())) {
        this.#seen.add(claim.id)
        this.#queue.push(claim)
        bytes += claim.size
      }
    }
    await failpoint('claimed')
  }

  // Several at once; their ids are in the order of their names.
  async #claim(folder: string, names: FileName[]): Promise<Claim[]> {
    const now = this.#now()
    const takings = names.map((name) => claimFile(folder, name, this.#claimId(), now))
    // none is left under way when another fails
    await Promise.allSettled(takings)
    const claims: Claim[] = []
    for (const [i, taking] of (await Promise.all(takings)).entries()) {
      switch (taking.is) {
        case 'claimed':
          claims.push(taking.claim)
          break
        case 'not complete':
          this.#waiting = true
          break
        case 'refused':
          this.#leave(join(folder, names[i]?.name ?? ''), taking.why)
          break
        case 'gone':
          break
      }
    }
    return claims
  }

  async #list(folder: string): Promise<void> {
    const { files, others } = await listFolder(folder)
    // the last is taken first: taking from the front would move all the others
    this.#names = files.toReversed()
    const there = new Set([...files, ...others].map(({ name }) => join(folder, name)))
    for (const path of this.#leftAlone.keys()) if (!there.has(path)) this.#leftAlone.delete(path)
    for (const { name, is } of others) this.#leave(join(folder, name), `it is ${is}`)
  }

  #leave(path: string, why: string): void {
    if (this.#leftAlone.get(path) === why) return
    this.#leftAlone.set(path, why)
    this.#options.onLeftAlone?.(path, why)
  }

  async #lookAtRestless(): Promise<void> {
    const restless = this.#restless
    this.#restless = []
    for (const claim of restless) {
      const stats = await lstat(claim.at, { bigint: true }).catch(() => undefined)
      // when it is gone, reading it says so
      if (stats === undefined || isComplete(stats, this.#now())) this.#queue.push(claim)
      else {
        this.#restless.push(claim)
        this.#waiting = true
      }
    }
  }

  // Claims of an owner before us, found again at start and whenever there is nothing else to do.
  async #findClaims(): Promise<void> {
    const { folder } = this.#options.source
    const ids = await claimIds(folder)
    const there = new Set(ids)
    for (const id of this.#seen) if (!there.has(id)) this.#seen.delete(id)
    // of those that were seen nothing more is asked, however many there are
    const fresh = await readClaims(
      folder,
      ids.filter((id) => !this.#seen.has(id)),
    )
    if (fresh.length === 0) return
    const known = await this.#options.known(fresh.map(({ id }) => id))
    for (const claim of fresh) {
      this.#seen.add(claim.id)
      const stored = known.get(claim.id)
      if (stored === undefined) this.#queue.push(claim)
      else if (stored.state === 'reading')
        this.#queue.push({ ...claim, ...doneOf(stored), arrivedAt: stored.arrivedAt })
    }
  }

  // Sorts by time, then by the order of the claims.
  #claimId(): string {
    this.#claims++
    return `${this.#now().toString(36).padStart(9, '0')}-${process.pid.toString(36)}-${this.#claims.toString(36).padStart(6, '0')}`
  }

  async #takeInputs({ paths, again }: { paths: string[]; again: boolean }): Promise<Claim[]> {
    const claims = await claimInputs(paths, (path, why) => this.#leave(path, why))
    const known = await this.#options.known(claims.map(({ id }) => id))
    return claims.flatMap((claim) => {
      const stored = known.get(claim.id)
      if (stored === undefined) return [claim]
      const same = stored.size === claim.size && stored.mtimeNs === claim.mtimeNs
      if (again) {
        const before = this.#before.get(claim.id) ?? stored.batch
        this.#before.set(claim.id, before)
        // no batch of this run has come to it yet
        if (stored.batch === before) return [claim]
      }
      if (same) return stored.state === 'reading' ? [{ ...claim, ...doneOf(stored) }] : []
      this.#options.onProblem(
        new MillraceError('FILE_CHANGED', {
          at: claim.path,
          message: 'the file has been read before, and its size or time has changed since',
          hint: 'add --again to read it as a new file; its rows are then read from the beginning',
        }),
      )
      return []
    })
  }

  /** Of inputs that are read anew on request, the batch that had read them before this run. */
  readonly #before = new Map<string, number>()
}

function doneOf(stored: StoredFile): Pick<Claim, 'bytesDone' | 'linesDone' | 'rowsDone'> {
  return { bytesDone: stored.bytesDone, linesDone: stored.linesDone, rowsDone: stored.rowsDone }
}
