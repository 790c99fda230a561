/**
 * How far pipelines have committed the topics they read, and their last batches: asked of the database for all who would like
 * to know at a time.
 */
import type { TopicSource } from '../../plan/plan.ts'
import type { Appended } from '../../sources/topic/topic.ts'
import type { CommittedIn } from '../../system.ts'
import type { Board } from '../board.ts'

/** A pipeline of this process that reads a topic. */
export interface TopicUse {
  pipeline: string
  /** The source's id in the plan. */
  source: string
}

export function usesOf({ lines }: Board, topic: string): TopicUse[] {
  return [...lines.values()].flatMap(({ plan }) =>
    Object.entries(plan.sources).flatMap(([source, each]) =>
      each.is === 'topic' && each.topic === topic ? [{ pipeline: plan.name, source }] : [],
    ),
  )
}

export function topicsRead({ lines }: Board): Set<string> {
  const sources = [...lines.values()].flatMap(({ plan }) => Object.values(plan.sources))
  return new Set(sources.filter((source): source is TopicSource => source.is === 'topic').map(({ topic }) => topic))
}

/** Where others commit, or an event of our own was missed. */
const lookEveryMs = 50

/** So many lines of a pipeline's ledger are kept at hand. */
const linesKept = 500

/** What is told of a batch, and what it has read. */
export const ledgerColumns = 'batch, committed_at, rows_in, written, filtered, duplicates, late, dead, ranges'

/** These columns, as JSON. */
export interface LedgerLine extends Omit<CommittedIn, 'pipeline'> {
  ranges: { topic?: string; partition: number; from: number; to: number }[]
}

interface Ledger {
  /** The lines of all later batches are here. */
  after: number
  lines: LedgerLine[]
}

interface Waiter {
  passed(): boolean
  resolve(): void
}

export class Positions {
  /** Of the last look that the database answered. */
  lookedAt = Number.NEGATIVE_INFINITY
  readonly #board: Board
  readonly #positions = new Map<string, number>()
  readonly #ledgers = new Map<string, Ledger>()
  #looking: Promise<void> | undefined
  readonly #waiters = new Set<Waiter>()
  #watching = false
  #nudge: () => void = () => {}
  #nudged = false

  constructor(board: Board) {
    this.#board = board
    board.onBatch = () => {
      this.#nudged = true
      this.#nudge()
    }
  }

  /** The offset that comes next; undefined when a pipeline has committed nothing of a partition. */
  of({ pipeline, source }: TopicUse, partition: number): number | undefined {
    return this.#positions.get(`${pipeline}/${source}/${partition}`)
  }

  /** The last batch that was known to be committed. */
  batchOf(pipeline: string): number {
    const ledger = this.#ledgers.get(pipeline)
    return ledger?.lines.at(-1)?.batch ?? ledger?.after ?? 0
  }

  /** The lines behind a batch, if they are known here. */
  linesOf(pipeline: string, after: number): readonly LedgerLine[] | undefined {
    const ledger = this.#ledgers.get(pipeline)
    return ledger === undefined || after < ledger.after ? undefined : ledger.lines.filter(({ batch }) => batch > after)
  }

  /** Asks the database, once for all who ask at a time. */
  async look(): Promise<void> {
    this.#looking ??= this.#ask().finally(() => {
      this.#looking = undefined
    })
    await this.#looking
  }

  /** Whether all these were behind the ranges at the last look. */
  havePassed(uses: readonly TopicUse[], ranges: readonly Appended[]): boolean {
    return uses.every((use) => ranges.every(({ partition, end }) => (this.of(use, partition) ?? 0) >= end))
  }

  /** Waits until they are, and answers whether it is so. */
  async pass(uses: readonly TopicUse[], ranges: readonly Appended[], withinMs: number): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const waiter: Waiter = { passed: () => this.havePassed(uses, ranges), resolve }
    // it may have been looked at before anybody waited for it
    if (waiter.passed()) return true
    this.#waiters.add(waiter)
    // who comes later need not ask: what is committed from here on is told, and looked at for all who wait
    if (!this.#watching) void this.#watch()
    const timer = setTimeout(resolve, withinMs).unref()
    await promise
    clearTimeout(timer)
    this.#waiters.delete(waiter)
    return waiter.passed()
  }

  // For as long as somebody waits.
  async #watch(): Promise<void> {
    this.#watching = true
    while (this.#waiters.size > 0) {
      this.#nudged = false
      // a look that is under way may have begun before the commit that is told of
      await this.#looking?.catch(() => {})
      // who waits is told in the end that it is not known yet; the workers say what is wrong with the database
      await this.look().catch(() => {})
      for (const waiter of this.#waiters) {
        if (!waiter.passed()) continue
        this.#waiters.delete(waiter)
        waiter.resolve()
      }
      if (this.#waiters.size > 0) await this.#nudgeOr(lookEveryMs)
    }
    this.#watching = false
  }

  async #nudgeOr(ms: number): Promise<void> {
    if (this.#nudged) return
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#nudge = resolve
    const timer = setTimeout(resolve, ms)
    await promise
    clearTimeout(timer)
  }

  async #ask(): Promise<void> {
    const { store, lines } = this.#board
    if (store === undefined) return
    const readers = [...lines.values()].filter(({ plan }) =>
      Object.values(plan.sources).some(({ is }) => is === 'topic'),
    )
    const names = readers.map(({ plan }) => plan.name)
    const rows = await store.reads.select(
      `
      select p.pipeline, p.batch,
             (select jsonb_agg(jsonb_build_array(s.source, s.partition, s.position))
              from   millrace.positions s
              where  s.pipeline = p.pipeline) as positions,
             (select jsonb_agg(to_jsonb(line) order by line.batch)
              from  (select ${ledgerColumns}
                     from   millrace.batches b
                     where  b.pipeline = p.pipeline
                     and    b.batch > coalesce(known.batch, p.batch)
                     order by b.batch
                     limit  ${linesKept}) line) as lines
      from   millrace.pipelines p
      join   unnest($1::text[], $2::bigint[]) known(pipeline, batch) using (pipeline)`,
      [names, names.map((name) => (this.#ledgers.has(name) ? this.batchOf(name) : null))],
    )
    // a pipeline that was reset begins anew
    this.#positions.clear()
    for (const row of rows) {
      const pipeline = String(row['pipeline'])
      // as: the columns of the statement above
      const positions = row['positions'] as [source: string, partition: string, position: number][] | null
      const lines = row['lines'] as LedgerLine[] | null
      for (const [source, partition, position] of positions ?? [])
        this.#positions.set(`${pipeline}/${source}/${partition}`, position)
      this.#note(pipeline, Number(row['batch']), lines ?? [])
    }
    this.lookedAt = performance.now()
  }

  #note(pipeline: string, batch: number, lines: readonly LedgerLine[]): void {
    const ledger = this.#ledgers.get(pipeline) ?? { after: batch, lines: [] }
    this.#ledgers.set(pipeline, ledger)
    ledger.lines.push(...lines)
    for (const gone of ledger.lines.splice(0, ledger.lines.length - linesKept)) ledger.after = gone.batch
  }
}
