/** How rows of a generated history come to the engine: from arrays here, and from wherever else they can lie. */
import type { Plan } from '../src/plan/plan.ts'
import type { SourceReader } from '../src/sources/source.ts'
import type { Store } from '../src/store/store.ts'
import type { Bench } from './histories.ts'
import { type FedRange, type Feed, type Fields, openMemoryReader } from './memory-source.ts'
import type { Chance } from './window-plans.ts'

/** What a history and its rows lie in. */
export interface Ground {
  bench: Bench
  chance: Chance
  plan: Plan
  feeds: Feed[]
}

/** How rows come to the engine. */
export interface Intake extends AsyncDisposable {
  /** Adds a row to the end of a feed. */
  add(feed: Feed, fields: Fields): Promise<void>
  openReader(worker: WorkerReads): Promise<SourceReader>
  /** What was left to read when the engine last asked; undefined where that is what is left. */
  told(): FedRange['lags'] | undefined
}

export interface WorkerReads {
  store: Pick<Store, 'committed'>
  spool: string
  bounded: boolean
  /** Nothing is left, and everything that was handed out is committed. */
  onIdle(): Promise<void>
}

/** Rows stay where they are fed. */
export async function memoryIntake({ plan, feeds, chance: { random } }: Ground): Promise<Intake> {
  return {
    async add(feed, fields) {
      feed.rows.push(fields)
    },
    openReader: async ({ store, onIdle }) => openMemoryReader({ plan, feeds, store, random, onIdle }),
    told: () => undefined,
    async [Symbol.asyncDispose]() {},
  }
}
