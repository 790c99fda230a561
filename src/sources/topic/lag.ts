/**
 * How far a pipeline is behind its topics, for those who look from outside: what is committed, held against where each
 * partition ends. It needs no worker, and says the same wherever the worker runs.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { MillraceError, messageOf } from '../../errors.ts'
import type { Plan } from '../../plan/plan.ts'
import type { Position } from '../../store/store.ts'
import { sparkPartitions } from '../source.ts'
import type { PartitionEnds, Topics } from './topic.ts'

/** Where a topic ends now, or why nobody knows. */
export type Ends = { is: 'known'; partitions: readonly PartitionEnds[] } | { is: 'unknown'; why: string }

/** A topic that a plan reads. */
export interface TopicLag {
  source: string
  topic: string
  partitions: PartitionLag[]
  /** Why the ends are not known; undefined when they are. */
  why: string | undefined
}

export interface PartitionLag {
  partition: string
  /** The offset that comes next; undefined before the first commit. */
  committed: number | undefined
  /** The offset after the last record; undefined when it is not known. */
  end: number | undefined
  /** Records from the one to the other, less those that were deleted unread. */
  rows: number | undefined
}

/** The lag of each topic of a plan, by partition. */
export async function topicLags(
  { sources }: Plan,
  positions: readonly Pick<Position, 'source' | 'partition' | 'position'>[],
  ends: TopicEnds,
): Promise<TopicLag[]> {
  const lags = Object.entries(sources).map(async ([source, read]): Promise<TopicLag[]> => {
    if (read.is !== 'topic') return []
    const committed = new Map(
      positions.filter((each) => each.source === source).map(({ partition, position }) => [partition, position]),
    )
    if ([...committed.keys()].some((partition) => partition.startsWith(sparkPartitions)))
      return [{ source, topic: read.topic, partitions: [], why: 'Spark reads it, and knows how far it is' }]
    return [lagOf({ source, topic: read.topic }, committed, await ends.of(read.topic))]
  })
  return (await Promise.all(lags)).flat()
}

/** Rows behind in all topics together; undefined when it is not known of one. */
export function rowsBehind(lags: readonly TopicLag[]): number | undefined {
  const rows = lags.flatMap(({ why, partitions }) =>
    why === undefined ? partitions.map((partition) => partition.rows) : [undefined],
  )
  return rows.reduce((sum, each) => (sum === undefined || each === undefined ? undefined : sum + each), 0)
}

function lagOf(read: { source: string; topic: string }, committed: Map<string, number>, ends: Ends): TopicLag {
  if (ends.is === 'unknown') {
    const partitions = [...committed].map(([partition, position]) => ({
      partition,
      committed: position,
      end: undefined,
      rows: undefined,
    }))
    return { ...read, partitions: partitions.sort(byNumber), why: ends.why }
  }
  const partitions = ends.partitions.map(({ partition, first, end }) => {
    const position = committed.get(String(partition))
    // what was deleted is no longer there to be read
    const rows = Math.max(0, end - Math.max(first, position ?? first))
    return { partition: String(partition), committed: position, end, rows }
  })
  return { ...read, partitions: partitions.sort(byNumber), why: undefined }
}

function byNumber(a: { partition: string }, b: { partition: string }): number {
  return Number(a.partition) - Number(b.partition)
}

interface Look {
  at: number
  told: Ends | undefined
  done: Promise<void>
}

const lookEveryMs = 1000

/**
 * Asks topics where they end, each once a second at most whoever wants to know. A place that does not answer keeps nobody
 * waiting for longer than `patienceMs`; it is still asked meanwhile.
 */
export class TopicEnds implements AsyncDisposable {
  readonly #open: () => Promise<Topics>
  readonly #patienceMs: number
  #topics: Promise<Topics> | undefined
  readonly #looks = new Map<string, Look>()
  readonly #over = new AbortController()

  constructor(open: () => Promise<Topics>, patienceMs: number) {
    this.#open = open
    this.#patienceMs = patienceMs
  }

  async of(topic: string): Promise<Ends> {
    const known = this.#looks.get(topic)
    const isOld = known?.told !== undefined && performance.now() - known.at >= lookEveryMs
    const look = known === undefined || isOld ? this.#look(topic) : known
    const left = this.#patienceMs - (performance.now() - look.at)
    if (look.told === undefined && left > 0) await Promise.race([look.done, sleep(left, undefined, { ref: false })])
    return look.told ?? { is: 'unknown', why: 'the topic has not said yet where it ends' }
  }

  #look(topic: string): Look {
    const look: Look = { at: performance.now(), told: undefined, done: Promise.resolve() }
    look.done = this.#ask(topic).then(
      (partitions) => {
        look.told = { is: 'known', partitions }
      },
      (error: unknown) => {
        look.told = { is: 'unknown', why: inOneLine(error) }
      },
    )
    this.#looks.set(topic, look)
    return look
  }

  // Opened for each look: a topic may have been made anew, or have more partitions.
  async #ask(topic: string): Promise<PartitionEnds[]> {
    this.#topics ??= this.#open()
    await using reader = await (await this.#topics).openReader(topic, { signal: this.#over.signal })
    return await reader.partitions()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort()
    await Promise.all([...this.#looks.values()].map(({ done }) => done))
    // what could not be opened has nothing to close, and whoever asked has heard why
    await this.#topics?.then(
      (topics) => topics[Symbol.asyncDispose](),
      () => {},
    )
  }
}

// What to do about it the worker says, and the doctor.
function inOneLine(error: unknown): string {
  if (!(error instanceof MillraceError)) return messageOf(error)
  return error.at === undefined ? error.message : `${error.message} (${error.at})`
}
