/**
 * The loop: a worker that owns a pipeline takes ranges, makes batches of them, and commits them one after another. It is
 * long because owning, committing and failing share what is under way, and are read together.
 */
import { mkdir, readdir, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { asDiskFull, diskFull, MillraceError, messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import { endOfTime, type Plan } from '../plan/plan.ts'
import { emptyRange, type Limits, type Range, type SourceReader } from '../sources/source.ts'
import { codeOf, isTransient } from '../store/connection.ts'
import type { BatchKind, CommitOutcome, Committed, Lease, LeaseAnswer, Store, Verdicts } from '../store/store.ts'
import { Archiver, type ArchiverOptions, type ArchiverState } from './archive.ts'
import { type Batch, type BatchTools, commitBatch, operateBatch, positionsOf, stageBatch } from './batch.ts'
import { BatchLimits } from './batch-limits.ts'
import type { Duck, DuckSession } from './duckdb.ts'
import { type EffectTools, runEffects } from './effects.ts'
import type { KeyFilter } from './key-filter.ts'
import { KeyedRun, type KeyedRunOptions } from './keyed-run.ts'
import { landedRows } from './landed-rows.ts'
import { topicSinks } from './outbox.ts'
import { PipelineTime } from './pipeline-time.ts'
import { Rooms } from './place.ts'
import { type LandedRows, noProgress, type Progress, type WorkerState } from './progress.ts'
import { notPublished, Publisher, type PublisherOptions } from './publisher.ts'

export interface WorkerOptions {
  plan: Plan
  store: Store
  duck: Duck
  /**
   * A folder of this worker's own, beside those of other workers of the pipeline, for what passes between DuckDB and
   * Postgres; DuckDB must be allowed to use it.
   */
  spool: string
  openReader(): Promise<SourceReader>
  effects: Pick<EffectTools, 'quarantine' | 'logs'>
  /** Without it files stay in `done/`. */
  archive?: Pick<ArchiverOptions, 'archive' | 'records'> | undefined
  /** Where messages go, of a plan that publishes, and how many may wait for it. */
  publish?: Pick<PublisherOptions, 'openWriter' | 'mostRows' | 'patienceMs'>
  limits: Limits
  /** How long a small batch waits after the start of the one before it, so that rows gather. */
  intervalMs: number
  /** Waits so long after a batch that was begun then; less where nobody will give more rows, more where there is no time for it. */
  rest?: ((ms: number, sinceMs: number) => Promise<void>) | undefined
  /** `host:pid`. */
  owner: string
  kind: BatchKind
  /** A bounded run stops when its source has nothing left; a worker waits for more. */
  bounded: boolean
  /** Nothing follows a bounded run: its last batch closes every window, and nothing is kept of any. */
  final?: boolean
  /** Of a bounded run whose rows of a key are judged together (`keyed-run.ts`). */
  keyed?: Pick<KeyedRunOptions, 'folder' | 'output' | 'request' | 'rows'>
  now?: () => number
  /** Told when nothing is left to do, which goes on when this resolves. Without it a worker waits for its source. */
  onIdle?: () => Promise<void>
  log: Log
  signal: AbortSignal
  onProgress?: (progress: Progress) => void
  /** Somebody looks at rows as they land: asked after each commit, and then told of some of them. */
  watch?: { wanted(): boolean; rows(landed: LandedRows): void } | undefined
}

/** How long a bounded run waits for a file that was copied in a moment ago. */
const patienceMs = 3000

/** The ledger is kept line by line for so long, and then by the hour. */
const ledgerKeptMs = 7 * 24 * 3_600_000
const foldEveryMs = 3_600_000

const lookForRoomMs = 1000

/** Of a batch whose size is told in rows: only very long rows come to so many. */
const keyedBytes = 512_000_000

const backOff = { firstMs: 100, mostMs: 10_000 }

/** Runs a pipeline until it is told to stop or, bounded, until there is nothing left. Answers the sums of its batches. */
export async function runPipeline(options: WorkerOptions): Promise<Progress> {
  await using worker = await Worker.open(options)
  return await worker.run()
}

/** A range on its way to being a batch. */
interface Taken {
  range: Range | undefined
  limits: Limits
  startedAt: Date
  /** What was left when it was taken. */
  lags: ReturnType<SourceReader['lags']>
  /** Once it is staged. */
  batch?: Batch
}

class Worker implements AsyncDisposable {
  readonly #options: WorkerOptions
  /** While one batch commits, the next may be worked on and the one after it be staged, each on a connection of its own. */
  readonly #sessions: [DuckSession, DuckSession, DuckSession]
  readonly #progress = noProgress()
  #lease: Lease | undefined
  #reader: SourceReader | undefined
  /** The same reader, of a run whose rows of a key are judged together. */
  #keyed: KeyedRun | undefined
  readonly #filters = new Map<string, KeyFilter>()
  #wantedBy: string | undefined
  #lost: string | undefined
  /** The epochs under which this worker has committed. */
  readonly #epochs = new Set<number>()
  /** The commit under way, with what follows it. */
  #committing: Promise<void> = Promise.resolve()
  #effects: Promise<void> = Promise.resolve()
  /** When the last committed batch has left its room. */
  #released: Promise<void> = Promise.resolve()
  /** Perhaps no batch follows that would hear of it. */
  #effectFailure: unknown
  /** While the lease is held. */
  #archiver: Archiver | undefined
  #publisher: Publisher | undefined
  #staged: Batch[] = []
  /** The range after those, which is being read and staged. */
  #ahead: Promise<Taken> | undefined
  /** What comes after it. */
  #beyond: Promise<Taken> | undefined
  readonly #limits: BatchLimits
  #foldAt = 0
  readonly #now: () => number
  readonly #time: PipelineTime
  /** Of small batches, as long as there is memory for them. */
  #rooms: Rooms | undefined

  private constructor(options: WorkerOptions, sessions: [DuckSession, DuckSession, DuckSession]) {
    this.#options = options
    this.#sessions = sessions
    const { keyed, limits } = options
    this.#limits = new BatchLimits(keyed === undefined ? limits : { rows: keyed.rows, bytes: keyedBytes })
    this.#now = options.now ?? Date.now
    const { plan, store, spool, duck, bounded, final = false } = options
    this.#rooms = duck.keepsPlans ? new Rooms(`${plan.name} ${basename(spool)}`, plan, sessions) : undefined
    this.#time = new PipelineTime({ plan, store, spool, session: sessions[0], bounded, final, now: this.#now })
  }

  static async open(options: WorkerOptions): Promise<Worker> {
    const { duck } = options
    return new Worker(options, [await duck.connect(), await duck.connect(), await duck.connect()])
  }

  async run(): Promise<Progress> {
    const { signal, store, plan } = this.#options
    let tries = 0
    let committed = 0
    let failedAt = 0
    let registered = false
    while (!signal.aborted) {
      let reads = false
      try {
        if (!registered) await store.register(plan)
        registered = true
        if (!(await this.#own())) continue
        reads = true
        const why = await this.#makeBatches()
        if (why === 'done') break
      } catch (thrown) {
        await this.#abandon()
        // a reader that was waiting, or about to read, has heard that it is over
        if (signal.aborted && thrown === signal.reason) break
        const error = asFullDisk(await this.#whyReally(thrown), this.#options.spool)
        // what is kept of open windows is no smaller with smaller batches
        if (
          reads &&
          error instanceof MillraceError &&
          error.code === 'NEEDS_MORE_MEMORY' &&
          (await this.#takesLess(error))
        ) {
          // from what is stored, like any other beginning
          await this.#letGo()
          continue
        }
        if (!mayPass(error)) {
          this.#say({ is: 'stopped', why: messageOf(error) })
          throw error
        }
        // a database that gives the lease and refuses each commit is not made better by haste
        if (this.#progress.batches > committed || performance.now() - failedAt > 3 * backOff.mostMs) tries = 0
        committed = this.#progress.batches
        failedAt = performance.now()
        const nextInMs = Math.min(backOff.mostMs, backOff.firstMs * 2 ** Math.min(tries, 10))
        tries++
        this.#progress.retries++
        this.#say({ is: 'retrying', why: messageOf(error), tries, nextInMs })
        this.#options.log.warn('retrying', {
          pipeline: this.#options.plan.name,
          why: messageOf(error),
          tries,
          next_in_ms: nextInMs,
        })
        await sleep(nextInMs, undefined, { signal }).catch(() => {})
      }
    }
    await this.#letGo()
    this.#say({ is: 'stopped', why: signal.aborted ? 'told to stop' : 'nothing left to read' })
    return this.#progress
  }

  // ---- owning ------------------------------------------------------------------------------------------------------

  async #own(): Promise<boolean> {
    const { store, plan, owner, bounded, signal, log } = this.#options
    // after a failure its sessions may be broken: it is taken anew
    await this.#lease?.release().catch(() => {})
    this.#lease = undefined
    this.#wantedBy = undefined
    this.#lost = undefined
    this.#effectFailure = undefined
    const ask = (borrow: boolean): Promise<LeaseAnswer> =>
      store.lease({
        pipeline: plan.name,
        owner,
        borrow,
        signal,
        onWanted: (by) => {
          // a bounded run that has the lease ends by itself, and then it is the next one's turn
          if (!bounded) this.#wantedBy = by
        },
        onLost: (why) => {
          this.#lost = why
        },
      })
    let answer = await ask(false)
    if (answer.is === 'held' && bounded) {
      // it may take the owner's whole batch
      this.#say({ is: 'standing by', owner: answer.by })
      answer = await ask(true)
    }
    if (answer.is === 'held') {
      if (this.#progress.state.is !== 'standing by') log.info('standing by', { pipeline: plan.name, owner: answer.by })
      this.#say({ is: 'standing by', owner: answer.by })
      await sleep(Math.min(1000, Math.max(100, answer.expiresInMs)), undefined, { signal }).catch(() => {})
      return false
    }
    this.#lease = answer.lease
    const committed = await store.committed(plan.name)
    await this.#countUnheard(committed.batch)
    this.#epochs.add(answer.lease.epoch)
    await this.#clearSpool()
    await this.#time.load(committed)
    await runEffects(this.#effectTools())
    this.#startArchiver(committed.batch)
    await this.#startPublisher(committed.batch)
    this.#reader ??= await this.#openReader(committed)
    await this.#reader.rewind()
    this.#say({ is: 'running' })
    log.info('running', { pipeline: plan.name, epoch: answer.lease.epoch, batch: committed.batch })
    return true
  }

  async #openReader({ watermark = 0 }: Committed): Promise<SourceReader> {
    const { keyed, openReader, plan, store, duck, final = false } = this.#options
    const reader = await openReader()
    if (keyed === undefined) return reader
    // after the end of time everything is late
    const ends = final && watermark < endOfTime
    const keeps = await store.keepsByKey(plan.name)
    const startedAt = new Date(this.#now())
    const sql = await duck.connect()
    try {
      this.#keyed = await KeyedRun.open({ ...keyed, plan, store, sql, final: ends, keeps, startedAt }, reader)
    } catch (error) {
      sql.close()
      await reader[Symbol.asyncDispose]()
      throw error
    }
    return this.#keyed
  }

  #startArchiver(committed: number): void {
    const { archive, plan, store, log, spool, signal } = this.#options
    if (archive === undefined) return
    const onState = (state: ArchiverState): void => {
      this.#progress.archiver = state
      this.#options.onProgress?.(this.#progress)
    }
    this.#archiver = new Archiver({ ...archive, plan, store, log, signal, worker: basename(spool), onState })
    this.#archiver.settled(committed)
    this.#archiver.start()
  }

  // Of a plan that published to a topic before, messages may still wait.
  async #startPublisher(committed: number): Promise<void> {
    const { publish, plan, store, log } = this.#options
    if (topicSinks(plan).length === 0 && (await store.outboxRows(plan.name)) === 0) return
    if (publish === undefined)
      throw new MillraceError('NOT_SUPPORTED', { message: 'there are no topics', at: plan.name })
    const onState: PublisherOptions['onState'] = (state) => {
      this.#progress.publisher = state
      this.#options.onProgress?.(this.#progress)
    }
    this.#publisher = await Publisher.open({ ...publish, pipeline: plan.name, store, log, onState }, committed)
  }

  // What earlier owners left beside our own spool belongs to batches that were committed, or never will be. An owner
  // that was stopped and wakes up finds its files gone, and cannot touch ours.
  async #clearSpool(): Promise<void> {
    const { spool } = this.#options
    await rm(spool, { recursive: true, force: true })
    await mkdir(spool, { recursive: true })
    for (const name of await readdir(dirname(spool))) {
      if (name !== basename(spool)) await rm(join(dirname(spool), name), { recursive: true, force: true })
    }
  }

  // Batches of ours whose acknowledgement was lost are in the ledger, not in our sums.
  async #countUnheard(committed: number): Promise<void> {
    const { store, plan } = this.#options
    if (this.#epochs.size > 0 && committed > this.#progress.lastBatch) {
      for (const line of await store.ledger(plan.name, { after: this.#progress.lastBatch })) {
        if (this.#epochs.has(line.epoch)) this.#count(line, line.filesQuarantined, 0)
      }
    }
    this.#progress.lastBatch = committed
  }

  #count(verdicts: Verdicts, filesQuarantined: number, bytes: number): void {
    const { books } = this.#progress
    for (const verdict of Object.keys(books) as (keyof Verdicts)[]) books[verdict] += verdicts[verdict]
    this.#progress.batches++
    this.#progress.bytesDone += bytes
    this.#progress.filesQuarantined += filesQuarantined
  }

  // A worker that was stopped until another took its place finds its files gone; only that it was replaced counts.
  async #whyReally(error: unknown): Promise<unknown> {
    const { store, plan } = this.#options
    const lease = this.#lease
    if (lease === undefined || mayPass(error)) return error
    try {
      const { epoch } = await store.committed(plan.name)
      if (epoch === lease.epoch) return error
      return new MillraceError('LEASE_LOST', { message: 'another worker owns it now', at: plan.name, cause: error })
    } catch (unreachable) {
      return mayPass(unreachable) ? unreachable : error
    }
  }

  // Once an hour: an idle pipeline writes nothing.
  async #foldLedger(upTo: number): Promise<void> {
    const now = this.#now()
    if (now < this.#foldAt) return
    this.#foldAt = now + foldEveryMs
    await this.#options.store.foldLedger(this.#options.plan.name, new Date(now - ledgerKeptMs), upTo)
  }

  async #takesLess(error: MillraceError): Promise<boolean> {
    const { log, plan } = this.#options
    const rooms = this.#rooms
    this.#rooms = undefined
    await rooms?.drop()
    const by = rooms === undefined ? this.#limits.less() : 'keeping no tables'
    if (by !== undefined)
      log.warn('too little memory', { pipeline: plan.name, by, ...this.#limits.now, why: error.message })
    return by !== undefined
  }

  async #letGo(): Promise<void> {
    await this.#committing.catch(() => {})
    await this.#effects.catch(() => {})
    await this.#abandon()
    await this.#lease?.release().catch(() => {})
    this.#lease = undefined
  }

  // Forgets what was staged and not committed; the store says where to go on.
  async #abandon(): Promise<void> {
    await this.#committing.catch(() => {})
    await this.#effects.catch(() => {})
    await this.#archiver?.[Symbol.asyncDispose]()
    this.#archiver = undefined
    await this.#publisher?.[Symbol.asyncDispose]()
    this.#publisher = undefined
    this.#committing = Promise.resolve()
    this.#effects = Promise.resolve()
    this.#released = Promise.resolve()
    // the first may still begin the second
    const ahead = await this.#ahead?.catch(() => undefined)
    const beyond = await this.#beyond?.catch(() => undefined)
    this.#ahead = undefined
    this.#beyond = undefined
    for (const taken of [ahead, beyond]) await (taken?.batch ?? taken?.range)?.release().catch(() => {})
    for (const batch of this.#staged) await batch.release().catch(() => {})
    this.#staged = []
  }

  // ---- batches -----------------------------------------------------------------------------------------------------

  async #makeBatches(): Promise<'done' | 'again'> {
    const { bounded, signal, intervalMs } = this.#options
    const reader = this.#reader
    if (reader === undefined) throw new MillraceError('NOT_SUPPORTED', { message: 'the source is not open' })
    let next = this.#progress.lastBatch
    let failure: unknown
    let idleSince: number | undefined
    const commit = (batch: Batch, tools: BatchTools): void => {
      this.#committing = this.#commit(batch, tools).catch((error) => {
        failure = error
      })
    }
    while (!signal.aborted) {
      failure ??= this.#effectFailure
      if (failure !== undefined) throw failure
      if (this.#lost !== undefined)
        throw new MillraceError('LEASE_LOST', { message: this.#lost, at: this.#options.plan.name })
      if (this.#wantedBy !== undefined) {
        await this.#committing
        if (failure !== undefined) throw failure
        await this.#lend(this.#wantedBy)
        return 'again'
      }
      if (this.#publisher?.isFull) {
        // so much more waits then
        await this.#committing
        await this.#waitForRoom(this.#publisher)
        continue
      }
      const taken = await (this.#ahead ?? this.#take(reader))
      this.#ahead = undefined
      const { range, lags, limits, startedAt } = taken
      this.#limits.taken(range?.rows)
      if (range === undefined) {
        await this.#committing
        if (failure !== undefined) throw failure
        idleSince ??= performance.now()
        const isDone = bounded && !(reader.unsettled && performance.now() - idleSince < patienceMs)
        if (isDone && (await this.#keyed?.advance())) continue
        const time = await this.#time.withoutRows(reader.lags(), isDone)
        if (time !== undefined) {
          next++
          const tools = this.#tools(next)
          const batch = await stageBatch(tools, next, emptyRange(), startedAt)
          this.#staged.push(batch)
          await operateBatch(tools, batch, time)
          commit(batch, tools)
          await this.#committing
          if (failure !== undefined) throw failure
        }
        if (isDone) {
          await this.#effects
          const files = await this.#keyed?.finish()
          if (files !== undefined) this.#progress.files = files
          await this.#archiver?.finish()
          await this.#untilPublished()
          return 'done'
        }
        if (time === undefined) await this.#waitForMore(reader)
        continue
      }
      idleSince = undefined
      if (bounded && this.#progress.bytesTotal === undefined) await this.#measure(reader, range)
      const isFull = this.#isLarge(range, limits)
      // there is more: it is read while this one is staged, and staged while this one is operated on
      this.#ahead = this.#beyond ?? (isFull && this.#limits.areWhole ? this.#take(reader) : undefined)
      this.#beyond = undefined
      next++
      const tools = this.#tools(next, range)
      const batch = taken.batch ?? (await stageBatch(tools, next, range, startedAt))
      this.#staged.push(batch)
      if (tools.stands === undefined) await this.#committing
      if (failure !== undefined) throw failure
      if (signal.aborted) break
      if (this.#ahead !== undefined) this.#ahead = this.#stageAhead(reader, this.#ahead, next + 1)
      const atOnce = this.#keyed?.atOnce === true
      await operateBatch(tools, batch, tools.stands ?? { ...this.#time.withRows(batch, lags), atOnce })
      await this.#committing
      if (failure !== undefined) throw failure
      commit(batch, tools)
      if (!bounded && !isFull) {
        // a small batch: let rows gather, and leave the processor to the commit
        const { rest } = this.#options
        const left = intervalMs - (this.#now() - startedAt.getTime())
        if (rest !== undefined) await rest(intervalMs, startedAt.getTime())
        else if (left > 0) await sleep(left, undefined, { signal }).catch(() => {})
      }
    }
    await this.#committing
    if (failure !== undefined) throw failure
    return 'done'
  }

  // With what is left in the source beside it, for another may be taken before its batch is operated on.
  #take(reader: SourceReader): Promise<Taken> {
    const limits = { ...this.#limits.next(), texts: this.#rooms !== undefined }
    const startedAt = new Date(this.#now())
    return inHand(reader.next(limits).then((range) => ({ range, limits, startedAt, lags: reader.lags() })))
  }

  #stageAhead(reader: SourceReader, taking: Promise<Taken>, number: number): Promise<Taken> {
    const stage = async (): Promise<Taken> => {
      const taken = await taking
      if (taken.range === undefined) return taken
      if (this.#isLarge(taken.range, taken.limits) && this.#limits.areWhole) this.#beyond = this.#take(reader)
      try {
        // three batches ago the same room was entered
        await this.#released
      } catch (error) {
        await taken.range.release().catch(() => {})
        throw error
      }
      return {
        ...taken,
        batch: await stageBatch(this.#tools(number, taken.range), number, taken.range, taken.startedAt),
      }
    }
    return inHand(stage())
  }

  #isLarge(range: Range, limits: Limits): boolean {
    // the next bucket lies there
    if (this.#keyed?.isBucket(range)) return true
    return range.rows >= limits.rows / 2 || range.bytes >= limits.bytes / 2
  }

  // Until the next look: it may be full still.
  async #waitForRoom(publisher: Publisher): Promise<void> {
    const { bounded, plan } = this.#options
    if (bounded && publisher.isStuck) throw notPublished(plan.name, publisher.why)
    this.#say({ is: 'retrying', why: `the outbox is full: ${publisher.why}`, tries: 1, nextInMs: lookForRoomMs })
    await publisher.change(lookForRoomMs)
    if (!publisher.isFull) this.#say({ is: 'running' })
  }

  async #untilPublished(): Promise<void> {
    const { bounded, plan, signal } = this.#options
    const publisher = this.#publisher
    while (publisher !== undefined && !publisher.isDone && !signal.aborted) {
      if (bounded && publisher.isStuck) throw notPublished(plan.name, publisher.why)
      await publisher.change(lookForRoomMs)
    }
  }

  // No longer than until windows that have changed are due.
  async #waitForMore(reader: SourceReader): Promise<void> {
    const { signal, onIdle } = this.#options
    if (onIdle !== undefined) {
      await this.#effects
      await this.#untilPublished()
      return await onIdle()
    }
    const due = this.#time.dueInMs
    if (due > 1000) return await reader.wait(signal)
    await reader.wait(AbortSignal.any([signal, AbortSignal.timeout(Math.max(1, Math.ceil(due)))]))
  }

  // Once: what arrives while a bounded run is under way is little beside what it was started for.
  async #measure(reader: SourceReader, first: Range): Promise<void> {
    const ahead = await reader.bytesAhead?.()
    if (ahead === undefined) return
    this.#progress.bytesTotal = this.#progress.bytesDone + bytesOf(first) + ahead
    this.#say(this.#progress.state)
  }

  #tools(number: number, range?: Range): BatchTools {
    const { plan, store, spool } = this.#options
    const session = this.#sessions[number % this.#sessions.length] ?? this.#sessions[0]
    const time = this.#time.tools
    const wholeKeys = this.#keyed !== undefined
    const tools = { plan, store, spool, session, filters: this.#filters, time, rooms: this.#rooms, wholeKeys }
    if (this.#keyed === undefined || range === undefined) return tools
    const stage = this.#keyed.stageOf(range)
    const { place } = this.#keyed
    // of keys that are whole nothing is stored that a step would have to wait for; what was seen before is
    const remembers = stage.plan.steps.some(({ op }) => op === 'dedup')
    const stands = this.#keyed.atOnce && !remembers ? { ...this.#time.ofRun, atOnce: true } : undefined
    return { ...tools, plan: stage.plan, stands, ...(place ? { leaves: { exchanges: stage.leaves, place } } : {}) }
  }

  async #commit(batch: Batch, tools: BatchTools): Promise<void> {
    const { kind, log, plan, watch } = this.#options
    await this.#keyed?.begin()
    const lease = this.#lease
    if (lease === undefined) throw new MillraceError('LEASE_LOST', { message: 'there is no lease', at: plan.name })
    const landing = performance.now()
    const outcome = await commitBatch(tools, batch, lease.epoch, kind)
    const looks = watch?.wanted() === true
    await this.#time.settle(batch, tools.session, looks)
    this.#count(outcome.verdicts, batch.range.filesQuarantined, bytesOf(batch.range))
    this.#limits.more()
    this.#publisher?.committed(batch.number, messagesOf(plan, outcome))
    this.#progress.lastBatch = batch.number
    this.#progress.lastCommittedAt = outcome.committedAt
    const { arrivedAt } = batch.range
    this.#progress.lastPhases = { ...batch.phases, land: performance.now() - landing }
    if (arrivedAt === undefined) delete this.#progress.lastLatencyMs
    else this.#progress.lastLatencyMs = Math.max(0, outcome.committedAt.getTime() - arrivedAt.getTime())
    this.#say({ is: 'running' })
    log.debug('committed', { pipeline: plan.name, batch: batch.number, ...outcome.verdicts, phases_ms: batch.phases })
    if (watch !== undefined && looks) {
      // it is a look at what is committed, and stops nothing
      await landedRows(tools.session, batch).then(
        (landed) => {
          for (const rows of landed) watch.rows(rows)
        },
        (error: unknown) => log.warn('rows could not be shown', { pipeline: plan.name, why: messageOf(error) }),
      )
    }
    // for those who look at it from outside: what counts is committed
    this.#reader?.settled?.(positionsOf(tools, batch)).catch((error: unknown) => {
      log.warn('positions could not be published', { pipeline: plan.name, why: messageOf(error) })
    })
    // a large one holds memory that the next needs
    if (!batch.place.again) await this.#release(batch)
    await this.#effects
    // not waited for here: the next batch may be committed meanwhile
    this.#effects = this.#follow(batch)
    this.#effects.catch((error) => {
      this.#effectFailure = error
    })
  }

  // What is done once a batch is committed.
  async #follow(batch: Batch): Promise<void> {
    const archiver = this.#archiver
    if (batch.place.again) this.#released = this.#release(batch)
    await this.#released
    await runEffects(this.#effectTools())
    archiver?.settled(batch.number)
    await this.#foldLedger(batch.number)
  }

  // Until then it is among those that are let go when something fails.
  async #release(batch: Batch): Promise<void> {
    this.#staged = this.#staged.filter((staged) => staged !== batch)
    await batch.release()
  }

  #effectTools(): EffectTools {
    const { store, effects, archive } = this.#options
    return { plan: this.#keyed?.plan ?? this.#options.plan, store, archived: archive !== undefined, ...effects }
  }

  async #lend(to: string): Promise<void> {
    const { log, plan, signal } = this.#options
    await this.#effects
    await this.#abandon()
    this.#say({ is: 'lending', to })
    log.info('lending the lease', { pipeline: plan.name, to })
    await this.#lease?.lend(signal)
    this.#lease = undefined
  }

  #say(state: WorkerState): void {
    this.#progress.state = state
    this.#options.onProgress?.(this.#progress)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#letGo()
    await this.#reader?.[Symbol.asyncDispose]()
    await rm(this.#options.spool, { recursive: true, force: true })
    await this.#time.drop().catch(() => {})
    await this.#rooms?.drop().catch(() => {})
    for (const session of this.#sessions) session.close()
  }
}

// Whoever comes for it hears of its failure; until then nobody does.
function inHand<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}

function messagesOf(plan: Plan, { rowsOut }: CommitOutcome): number {
  return topicSinks(plan).reduce((sum, { id }) => sum + (rowsOut[id]?.inserted ?? 0), 0)
}

// What is quarantined is done with too.
function bytesOf({ bytes, files }: Range): number {
  const unread = files.map(({ state, size, bytesDone }) =>
    state === 'quarantined' ? Math.max(0, size - bytesDone) : 0,
  )
  return unread.reduce((sum, each) => sum + each, bytes)
}

// A disk that is full is told of in one way, whoever met it.
function asFullDisk(error: unknown, spool: string): unknown {
  const met = codeOf(error) === '53100' || /No space left on device/.test(messageOf(error))
  return met ? diskFull('the database', error) : asDiskFull(error, spool)
}

// The database failing, or another worker owning the pipeline: both may pass. Anything else stops the pipeline.
function mayPass(error: unknown): boolean {
  return (error instanceof MillraceError && error.code === 'LEASE_LOST') || isTransient(error)
}
