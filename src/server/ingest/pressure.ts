/** Refuses events while the topic is too far ahead of a pipeline that reads it, or while there is too little room for them. */
import { mkdir, statfs } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { IngestLimits } from '../../config.ts'
import type { PartitionEnds, TopicReader } from '../../sources/topic/topic.ts'
import { ProblemError } from '../problem.ts'
import type { Positions, TopicUse } from './positions.ts'

const longestLookMs = 1000
/** What was looked at is good for so long. */
const freshMs = 200

export interface PressureOptions {
  limits: IngestLimits
  positions: Positions
  uses: readonly TopicUse[]
  reader: TopicReader
  /** The folder of local topics; undefined where Kafka keeps them. */
  folder: string | undefined
}

/** The pressure on one topic. */
export class Pressure {
  readonly #options: PressureOptions
  #looking: Promise<void> | undefined
  #lookedAt = Number.NEGATIVE_INFINITY
  /** Where the topic ended at the first look: what lies before counts only if the database says that it waits. */
  #begun: Map<number, number> | undefined
  /** Of the pipeline that is furthest behind. */
  #ahead = { events: 0, pipeline: '' }
  #room = Number.POSITIVE_INFINITY

  constructor(options: PressureOptions) {
    this.#options = options
  }

  async check(): Promise<void> {
    const age = performance.now() - this.#lookedAt
    if (age > freshMs) {
      this.#looking ??= this.#look().finally(() => {
        this.#looking = undefined
      })
      // what is long past says nothing, and who waits hears of what is wrong; else it is looked at beside the requests
      if (age > 10 * freshMs) await this.#looking
      else this.#looking.catch(() => {})
    }
    const { limits } = this.#options
    if (this.#room < limits.diskReserveBytes) throw diskFull(this.#room, limits.diskReserveBytes)
    if (this.#ahead.events >= limits.ahead) {
      const detail = `${this.#ahead.events} events wait for ${this.#ahead.pipeline}, and ${limits.ahead} may`
      throw new ProblemError(503, 'TOO_FAR_AHEAD', detail, 'post them again later; INGEST_MAX_AHEAD is the limit')
    }
  }

  async #look(): Promise<void> {
    const { positions, uses, reader, folder } = this.#options
    const [ends, room] = await Promise.all([
      reader.partitions(),
      folder === undefined ? Number.POSITIVE_INFINITY : roomIn(folder),
      // without the database, or while it is silent, what comes counts from where it was last known
      Promise.race([positions.look().catch(() => {}), sleep(longestLookMs, undefined, { ref: false })]),
    ])
    this.#begun ??= new Map(ends.map(({ partition, end }) => [partition, end]))
    this.#room = room
    this.#ahead = { events: 0, pipeline: '' }
    for (const use of uses) {
      const events = ends.reduce((sum, each) => sum + this.#waiting(use, each), 0)
      if (events > this.#ahead.events) this.#ahead = { events, pipeline: use.pipeline }
    }
    this.#lookedAt = performance.now()
  }

  #waiting(use: TopicUse, { partition, first, end }: PartitionEnds): number {
    const { positions } = this.#options
    const unknown = positions.lookedAt < 0
    const from = positions.of(use, partition) ?? (unknown ? this.#begun?.get(partition) : undefined) ?? first
    return Math.max(0, end - Math.max(from, first))
  }
}

export function diskFull(room: number, reserve: number): ProblemError {
  const detail = `the disk of what is posted has ${room} bytes left, and ${reserve} are kept free`
  return new ProblemError(507, 'DISK_FULL', detail, 'make room on it; INGEST_DISK_RESERVE says how much is kept free')
}

export async function roomIn(folder: string): Promise<number> {
  await mkdir(folder, { recursive: true })
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}
