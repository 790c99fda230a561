/** How a worker's pipeline stands in event time: its watermark, what its steps keep of open windows, and what is due. */
import { basename } from 'node:path'
import { identifier } from '../plan/identifier.ts'
import type { Plan } from '../plan/plan.ts'
import type { Lag } from '../sources/source.ts'
import type { Committed, Store } from '../store/store.ts'
import type { Batch, BatchTools } from './batch.ts'
import type { DuckSession } from './duckdb.ts'
import { type BatchTime, noTime } from './relations.ts'
import { applyState, dropState, hasUpdates, keepingSteps, loadState, makeEdges, wouldClose } from './state.ts'
import { endOfTime, eventTimes, Watermarks } from './watermark.ts'

export interface PipelineTimeOptions {
  plan: Plan
  store: Store
  spool: string
  session: DuckSession
  /** A bounded run judges all its rows by the watermark it began with. */
  bounded: boolean
  /** Nothing follows the run. */
  final: boolean
  now: () => number
}

type Lags = ReadonlyMap<string, readonly Lag[]>

export class PipelineTime {
  readonly #options: PipelineTimeOptions
  readonly #keeps: boolean
  readonly #pairs: boolean
  /** When something kept is due, in microseconds; unknown until it is asked for. */
  #nextDue: { us: bigint | undefined } | undefined
  readonly #updateEveryMs: number
  /** Where DuckDB has what steps keep; no other worker's is called so. */
  readonly #state: string
  /** Of a plan that has event time, while the lease is held. */
  #watermarks: Watermarks | undefined
  /** When windows that have changed were handed on, and whether some have since. */
  #updatedAt = Number.NEGATIVE_INFINITY
  #askedAt = Number.NEGATIVE_INFINITY
  #hasUpdates = false

  constructor(options: PipelineTimeOptions) {
    const steps = keepingSteps(options.plan)
    this.#options = options
    this.#pairs = options.plan.steps.some(({ op }) => op === 'pairs')
    this.#keeps = steps.length > 0 || this.#pairs
    this.#updateEveryMs = Math.min(
      Number.POSITIVE_INFINITY,
      ...steps.flatMap((step) => (step.op === 'window' && step.emit.on === 'update' ? [step.emit.everyMs] : [])),
    )
    this.#state = identifier(`state of ${options.plan.name} ${basename(options.spool)}`)
  }

  /** Begins from what is stored. */
  async load(committed: Committed): Promise<void> {
    const { plan, store, spool, session, now } = this.#options
    this.#watermarks = eventTimes(plan).size === 0 ? undefined : new Watermarks(plan, committed, now)
    await loadState(session, plan, store, { schema: this.#state, spool })
    this.#hasUpdates = keepingSteps(plan).length > 0
    this.#nextDue = undefined
    this.#updatedAt = Number.NEGATIVE_INFINITY
  }

  get tools(): BatchTools['time'] {
    return this.#watermarks && { watermarks: this.#watermarks, state: this.#state }
  }

  /** In how many milliseconds windows that have changed are to be handed on. */
  get dueInMs(): number {
    if (!this.#hasUpdates) return Number.POSITIVE_INFINITY
    return this.#updatedAt + this.#updateEveryMs - this.#options.now()
  }

  /** How all rows of a bounded run stand in time. */
  get ofRun(): BatchTime {
    const before = this.#watermarks?.committed
    return this.#watermarks === undefined ? noTime : { ...noTime, before, after: before, updates: false, waits: true }
  }

  /** How a batch of rows stands in time. */
  withRows({ range, seen }: Batch, lags: Lags): BatchTime {
    const watermarks = this.#watermarks
    if (watermarks === undefined) return noTime
    const before = watermarks.committed
    if (this.#options.bounded) return this.ofRun
    const shown = range.source === undefined ? undefined : { source: range.source, seen }
    return { ...noTime, before, after: watermarks.after(shown, lags), updates: this.#isDue() }
  }

  /**
   * Time goes on without rows: when it closes windows, or some that have changed are due; undefined when neither is.
   * `last`: nothing is left to read.
   */
  async withoutRows(lags: Lags, last: boolean): Promise<BatchTime | undefined> {
    const { plan, session, bounded, final } = this.#options
    const watermarks = this.#watermarks
    if (watermarks === undefined || !this.#keeps || (bounded && !last)) return undefined
    const before = watermarks.committed
    const ends = last && final
    const after = ends ? endOfTime : watermarks.after(undefined, lags, bounded)
    const moves = after !== undefined && after !== before
    const updates = (last || this.#isDue()) && this.#hasUpdates && !ends
    const changes = updates && (await hasUpdates(session, plan, this.#state))
    if (!changes && updates) this.#hasUpdates = false
    const closes =
      moves && ((await wouldClose(session, plan, this.#state, { before, after })) || (await this.#isOverdue(after)))
    // whatever is kept goes, so that nothing is closed twice
    const forgets = ends && moves
    if (!changes && !closes && !forgets) return undefined
    if (bounded) await makeEdges(session, plan, this.#state)
    return { ...noTime, before, after, updates: changes, final: ends }
  }

  /** What the database has, this worker goes on from; `looks`: the rows of the batch will still be looked at. */
  async settle(batch: Batch, session: DuckSession, looks: boolean): Promise<void> {
    const watermarks = this.#watermarks
    if (watermarks === undefined) return
    const { source } = batch.range
    const shown = source === undefined ? [] : watermarks.partitionsAfter(source, batch.seen)
    watermarks.settle(batch.time.after, source, shown)
    await applyState(session, this.#options.plan, batch, { schema: this.#state, looks })
    this.#nextDue = undefined
    if (batch.time.updates) this.#updatedAt = this.#askedAt
    this.#hasUpdates = batch.time.updates ? false : this.#hasUpdates || batch.range.rows > 0
  }

  async drop(): Promise<void> {
    await dropState(this.#options.session, this.#state)
  }

  // Whether an open that nobody has closed expires.
  async #isOverdue(watermark: number): Promise<boolean> {
    if (!this.#pairs) return false
    const { store, plan } = this.#options
    this.#nextDue ??= { us: await store.nextDue(plan.name) }
    const { us } = this.#nextDue
    return us !== undefined && us < BigInt(watermark) * 1000n
  }

  // From when a batch was asked whether it hands on, for the time until its commit is not what the next one waits for.
  #isDue(): boolean {
    this.#askedAt = this.#options.now()
    return this.#askedAt - this.#updatedAt >= this.#updateEveryMs
  }
}
