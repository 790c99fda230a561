/**
 * A bounded run of a pipeline that pairs: all its rows are judged together, whatever the order of its files and their cut
 * into batches. What fits one batch is one; more of it goes through buckets (`stages.ts`), and a run that was interrupted
 * goes on where its folder and the store say.
 */
import { mkdir, readdir, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MillraceError } from '../errors.ts'
import { type FilesStep, type Plan, planHash, type TableStep } from '../plan/plan.ts'
import type { Lag, Limits, Range, SourceReader, Sql } from '../sources/source.ts'
import type { Position, Store } from '../store/store.ts'
import { bucketRange, dropExchange, type ExchangePlace, findBuckets } from './exchange.ts'
import { fileSinks } from './file-sink.ts'
import { type Exchange, type Stage, stagesOf } from './stages.ts'

export interface KeyedRunOptions {
  plan: Plan
  store: Store
  /** A session of its own: a bucket is looked up while a batch is worked on. It is closed with the run. */
  sql: Sql & Disposable
  /** Of the runs of all pipelines. */
  folder: string
  /** Where rows go that a final run writes as files; in the run's own folder when left out. */
  output?: string | undefined
  /** What was asked for: an interrupted run goes on only with the same. */
  request: string
  /** Nothing will follow. */
  final: boolean
  /** Something is stored by key. */
  keeps: boolean
  /** In a batch, and about as many in a bucket. */
  rows: number
  startedAt: Date
}

/** What the folder of a run says of it. */
interface RunFile {
  pipeline: string
  request: string
  plan: string
  at_once: boolean
  /** Undefined until it is known that it does not fit one batch. */
  buckets?: number
  /** Of its input. */
  bytes?: number
  /** By whose hashes rows are in their buckets. */
  duckdb: string
  finished: boolean
}

const runFile = 'run.json'

/** In a batch, and about as many in a bucket: so many fit into memory with what is made of them. */
export const rowsAtOnce = 1 << 20

export function runsFolder(dataDirectory: string): string {
  return join(dataDirectory, 'runs')
}

/** Whether a bounded run of the plan takes all rows of a key together. */
export function takesWholeKeys(plan: Plan): boolean {
  return stagesOf(plan, false) !== undefined
}

export class KeyedRun implements SourceReader {
  readonly #options: KeyedRunOptions
  readonly #inner: SourceReader
  readonly #id: string
  readonly #stages: Stage[]
  readonly #file: RunFile
  /** The plan, with files in place of the tables that a final run leaves out. */
  readonly plan: Plan
  /** Of the stages after the first. */
  #stage = 0
  #buckets: { exchange: Exchange; bucket: number; files: string[] }[] = []
  /** Whether the first range, or an attempt before this one, has said if all of it fits one batch. */
  #isDecided: boolean

  private constructor(options: KeyedRunOptions, inner: SourceReader, id: string, file: RunFile) {
    this.#options = options
    this.#inner = inner
    this.#id = id
    this.#file = file
    this.#isDecided = file.buckets !== undefined
    this.plan = file.at_once ? withFiles(options.plan, options.output ?? join(options.folder, id)) : options.plan
    this.#stages = stagesOf(this.plan, file.at_once) ?? []
  }

  /** A new run, or the one of this pipeline that was interrupted. Errors: RUN_UNFINISHED when that one was another. */
  static async open(options: KeyedRunOptions, inner: SourceReader): Promise<KeyedRun> {
    const { plan, folder, request, final, keeps, sql, startedAt } = options
    const [version] = await sql.rows<{ version: string }>('select version() as version')
    const duckdb = version?.version ?? ''
    // with what it writes as files
    const hash = planHash(withFiles(plan, ''))
    const unfinished = await findRuns(folder, plan.name)
    for (const { id, file } of unfinished) {
      const same = file.request === request && file.plan === hash && file.duckdb === duckdb
      if (same && !(file.at_once && keeps)) return new KeyedRun(options, inner, id, file)
      throw new MillraceError('RUN_UNFINISHED', {
        at: plan.name,
        message: `a run of ${file.request} was interrupted, and what it has read is not yet in the tables`,
        hint: same
          ? `others have come between, after which it said nothing would: begin anew with millrace reset ${plan.name} --results`
          : `run it again as it was, and it goes on; or give it up: millrace reset ${plan.name} --results`,
      })
    }
    const id = `${plan.name}-${startedAt.toISOString().replaceAll(/[-:]|\.\d+/g, '')}-${process.pid}`
    const file = {
      pipeline: plan.name,
      request,
      plan: hash,
      at_once: final && !keeps,
      duckdb,
      finished: false,
    }
    const run = new KeyedRun(options, inner, id, file)
    await mkdir(join(folder, id), { recursive: true })
    return run
  }

  get atOnce(): boolean {
    return this.#file.at_once
  }

  /** Of a run that goes through buckets. */
  get place(): ExchangePlace | undefined {
    const { buckets } = this.#file
    return buckets === undefined ? undefined : { folder: join(this.#options.folder, this.#id, 'buckets'), buckets }
  }

  /** Whether it is what an earlier stage has left. */
  isBucket({ source }: Range): boolean {
    return source !== undefined && !Object.hasOwn(this.#options.plan.sources, source)
  }

  /** The part of the plan that a range is for. */
  stageOf(range: Range): Stage {
    const whole = { plan: this.plan, reads: undefined, leaves: [] }
    if (this.place === undefined) return whole
    return (
      this.#stages.find(({ plan }) => range.source !== undefined && Object.hasOwn(plan.sources, range.source)) ?? whole
    )
  }

  async next(limits: Limits): Promise<Range | undefined> {
    if (this.#stage === 0) {
      const range = await this.#inner.next(limits)
      if (range !== undefined && !this.#isDecided) await this.#decide(range)
      return range
    }
    const next = this.#buckets.shift()
    if (next === undefined) return undefined
    const { exchange, bucket, files } = next
    const bytes = exchange.ofInput ? this.#bytesOfBucket : 0
    return { ...(await bucketRange(this.#options.sql, exchange, { bucket, files, run: this.#id })), bytes }
  }

  /** All that was handed out is committed: goes on to the next stage, if there is one. */
  async advance(): Promise<boolean> {
    const { place } = this
    if (place === undefined || this.#stage >= this.#stages.length) return false
    const { store, plan } = this.#options
    const before = this.#stages[this.#stage]?.reads
    if (before !== undefined) await dropExchange(place, before)
    const exchange = this.#stages[++this.#stage]?.reads
    if (exchange === undefined) return false
    const { positions } = await store.committed(plan.name)
    const done =
      positions.find(({ source, partition }) => source === exchange.id && partition === this.#id)?.position ?? 0
    const buckets = await findBuckets(store, plan.name, place, exchange)
    this.#buckets = buckets.filter(({ bucket }) => bucket >= done).map((each) => ({ exchange, ...each }))
    return true
  }

  /** Everything is in the tables, or in files, whose folder is answered. */
  async finish(): Promise<string | undefined> {
    const { folder, output } = this.#options
    const own = join(folder, this.#id)
    await rm(join(own, 'buckets'), { recursive: true, force: true })
    const plain = new Set(fileSinks(this.#options.plan).map(({ id }) => id))
    const written = fileSinks(this.plan).some(({ id }) => !plain.has(id))
    if (!written || output !== undefined) {
      await rm(own, { recursive: true })
      return written ? output : undefined
    }
    await this.#save({ ...this.#file, finished: true })
    return own
  }

  /** Before a batch commits something that only this run knows how to go on with. */
  async begin(): Promise<void> {
    await this.#save(this.#file)
  }

  lags(): ReadonlyMap<string, readonly Lag[]> {
    return this.#inner.lags()
  }

  async bytesAhead(): Promise<number> {
    const inner = (await this.#inner.bytesAhead?.()) ?? 0
    if (this.place === undefined) return inner
    const left = this.#stage === 0 ? (this.#file.bytes ?? 0) : this.#bytesOfBucket * this.#buckets.length
    return inner + left
  }

  get unsettled(): boolean {
    return this.#stage === 0 && this.#inner.unsettled
  }

  async wait(signal: AbortSignal): Promise<void> {
    await this.#inner.wait(signal)
  }

  async settled(positions: readonly Position[]): Promise<void> {
    await this.#inner.settled?.(positions)
  }

  async rewind(): Promise<void> {
    this.#stage = 0
    this.#buckets = []
    await this.#inner.rewind()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#options.sql[Symbol.dispose]()
    // one that has committed nothing has left nothing
    await rmdir(join(this.#options.folder, this.#id)).catch(() => {})
    await this.#inner[Symbol.asyncDispose]()
  }

  get #bytesOfBucket(): number {
    return (this.#file.bytes ?? 0) / (this.#file.buckets ?? 1)
  }

  // By what the first range was made of.
  async #decide(first: Range): Promise<void> {
    this.#isDecided = true
    const rowsLeft = [...this.#inner.lags().values()].flat().reduce((sum, { rows }) => sum + rows, 0)
    const bytesLeft = (await this.#inner.bytesAhead?.()) ?? rowsLeft
    if (bytesLeft === 0) return
    const rows = Math.max(1, first.rows + first.malformed)
    const times = this.#inner.bytesAhead === undefined ? rowsLeft / rows : bytesLeft / Math.max(1, first.bytes)
    this.#file.buckets = Math.max(2, Math.min(mostBuckets, Math.ceil((rows * (1 + times)) / this.#options.rows)))
    this.#file.bytes = first.bytes + bytesLeft
  }

  // Whole, or not at all.
  async #save(file: RunFile): Promise<void> {
    const path = join(this.#options.folder, this.#id, runFile)
    await writeFile(`${path}.new`, `${JSON.stringify(file, undefined, 2)}\n`, { flush: true })
    await rename(`${path}.new`, path)
  }
}

/** Each is a file of every batch. */
const mostBuckets = 1024

/** What interrupted runs of a pipeline were asked for. */
export async function interruptedRuns(folder: string, pipeline: string): Promise<string[]> {
  return (await findRuns(folder, pipeline)).map(({ file }) => file.request)
}

/** Forgets the interrupted runs of a pipeline. */
export async function forgetRuns(folder: string, pipeline: string): Promise<void> {
  for (const { id } of await findRuns(folder, pipeline)) await rm(join(folder, id), { recursive: true, force: true })
}

async function findRuns(folder: string, pipeline: string): Promise<{ id: string; file: RunFile }[]> {
  const found: { id: string; file: RunFile }[] = []
  for (const id of await readdir(folder).catch(() => [])) {
    const text = await readFile(join(folder, id, runFile), 'utf8').catch(() => undefined)
    if (text === undefined) continue
    // as: we wrote it, and whole
    const file = JSON.parse(text) as RunFile
    if (file.pipeline === pipeline && !file.finished) found.push({ id, file })
  }
  return found
}

// Nothing is taken back, so rows can be written once and for all, without the name by which a pair is found again.
function withFiles(plan: Plan, folder: string): Plan {
  const filed = ({ id, from, columns, table, mode }: TableStep): FilesStep => {
    const isName = (name: string): boolean => name === 'pair_id' && mode.is === 'upsert' && mode.key.includes(name)
    const told = columns.filter(({ name }) => !isName(name))
    return { id, op: 'files', from, columns: told, folder: join(folder, table), format: { is: 'parquet' } }
  }
  return {
    ...plan,
    steps: plan.steps.map((step) => (step.op === 'table' && step.whenFinal === 'files' ? filed(step) : step)),
  }
}
