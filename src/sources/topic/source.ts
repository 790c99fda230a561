/**
 * A topic as a source: ranges of offsets, staged for DuckDB. Where it stands is in our own tables; a driver only hands over
 * what lies from there on.
 */
import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { MillraceError } from '../../errors.ts'
import type { TopicSource } from '../../plan/plan.ts'
import type { Position } from '../../store/store.ts'
import { type Lag, type Limits, type Range, type SourceReader, type Sql, sparkPartitions } from '../source.ts'
import { RecordStage } from './record-stage.ts'
import { SpareBuffers } from './spare-buffers.ts'
import type { PartitionEnds, TopicReader } from './topic.ts'

export interface TopicSourceOptions {
  /** The source's id in the plan. */
  id: string
  source: TopicSource
  /** Columns that no step reads. */
  unread: readonly string[]
  /** A reader of the topic; it is closed with this one. */
  reader: TopicReader
  /** Only what is there when it begins. */
  bounded: boolean
  /** What is committed of this source. */
  positions(): Promise<Position[]>
  spool: string
  sql: Sql
  /** Told when it goes on elsewhere than where it stood. */
  onLost(problem: MillraceError): void
}

/** The partitions and their ends are asked for so often. */
const lookEveryMs = 1000

export async function openTopicSource(options: TopicSourceOptions): Promise<SourceReader> {
  await mkdir(options.spool, { recursive: true })
  return new TopicSourceReader(options)
}

class TopicSourceReader implements SourceReader {
  readonly #options: TopicSourceOptions
  readonly #name = `topic-${process.pid}-${randomBytes(4).toString('hex')}`
  /** Of ranges that are not released: the next one takes the first number that is free, for what is read again by the same words is planned once. */
  readonly #taken = new Set<number>()
  readonly #buffers = new SpareBuffers()
  /** Where the next range begins, by partition; undefined until the store was asked. */
  #next: Map<number, number> | undefined
  #ends: PartitionEnds[] = []
  #lookedAt = Number.NEGATIVE_INFINITY
  /** Of a bounded run: where it ends. */
  #until: Map<number, number> | undefined
  /** What is being read, perhaps while nobody asks. */
  #filling: Filling | undefined
  readonly unsettled = false

  constructor(options: TopicSourceOptions) {
    this.#options = options
  }

  async next(limits: Limits): Promise<Range | undefined> {
    try {
      return await this.#take(limits)
    } catch (error) {
      if (!isLost(error)) throw error
      // it was there when it was last looked for: the source says where to go on, or its error which choice there is
      this.#lookedAt = Number.NEGATIVE_INFINITY
      await this.#look()
      return await this.#take(limits)
    }
  }

  async #take(limits: Limits): Promise<Range | undefined> {
    const started = performance.now()
    const filling = this.#filling ?? (await this.#fill(limits, 0))
    // what was waited for may still not be there
    if (!filling.settled && filling.stage.rows + filling.stage.malformed === 0) return undefined
    this.#filling = undefined
    const { stage, from } = filling
    const to = await filling.done
      .then(async (reached) => {
        // it may have more by now, and the limits may be others
        if (!stage.done) await this.#readOn(stage, reached, 0)
        return reached
      })
      .catch(async (error: unknown) => {
        await stage.release()
        throw error
      })
    this.#next = new Map([...(this.#next ?? []), ...to])
    const ranges = [...to].flatMap(([partition, end]) => {
      const begin = from.get(partition) ?? end
      return end === begin ? [] : [{ partition, from: begin, to: end }]
    })
    if (ranges.length === 0) {
      await stage.release()
      return undefined
    }
    return await stage.finish(ranges, { cut: performance.now() - started }, limits.texts)
  }

  lags(): Map<string, Lag[]> {
    // it has not looked yet
    if (this.#next === undefined) return new Map()
    const lags = this.#ends.map(({ partition, end }) => ({
      partition: String(partition),
      // what was read while nobody asked came after the ends were looked at
      rows: Math.max(end - (this.#next?.get(partition) ?? 0), this.#filling?.stage.rowsOf(partition) ?? 0, 0),
    }))
    return new Map([[this.#options.id, lags]])
  }

  async wait(signal: AbortSignal): Promise<void> {
    if (this.#filling === undefined && this.#until === undefined) await this.#fill(smallWait, lookEveryMs)
    const filling = this.#filling
    // of a topic that is not there nothing is read: it is looked for again a little later
    const there = filling !== undefined && filling.from.size > 0
    const over = new AbortController()
    const resting = sleep(there ? 60_000 : lookEveryMs, undefined, { signal: AbortSignal.any([signal, over.signal]) })
    await Promise.race([resting.catch(() => {}), ...(there ? [filling.done.catch(() => {})] : [])])
    over.abort()
  }

  async rewind(): Promise<void> {
    await this.#filling?.done.catch(() => {})
    await this.#filling?.stage.release()
    this.#filling = undefined
    this.#next = undefined
    this.#lookedAt = Number.NEGATIVE_INFINITY
  }

  async settled(positions: readonly Position[]): Promise<void> {
    const own = positions.filter(({ source }) => source === this.#options.id)
    if (own.length === 0) return
    await this.#options.reader.publish(new Map(own.map(({ partition, position }) => [Number(partition), position])))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#options.reader[Symbol.asyncDispose]()
    await this.#filling?.done.catch(() => {})
    await this.#filling?.stage.release()
  }

  // ---- reading -----------------------------------------------------------------------------------------------------

  async #fill(limits: Limits, waitMs: number): Promise<Filling> {
    await this.#look()
    const { id, source, spool, sql, unread } = this.#options
    let number = 1
    while (this.#taken.has(number)) number++
    this.#taken.add(number)
    const onReleased = (): boolean => this.#taken.delete(number)
    const name = `${this.#name}-${number}`
    const [until, buffers] = [this.#until, this.#buffers]
    const stage = new RecordStage({ id, source, spool, sql, name, limits, until, buffers, unread, onReleased })
    const from = new Map(this.#next)
    const filling: Filling = { stage, from, settled: false, done: Promise.resolve(new Map()) }
    filling.done = this.#readOn(stage, new Map(from), waitMs).finally(() => {
      filling.settled = true
    })
    // whoever takes it hears of it
    filling.done.catch(() => {})
    if (waitMs > 0) this.#filling = filling
    else await filling.done.catch(() => {})
    return filling
  }

  // Reads until the stage is done or nothing more is there; `at` is where each partition goes on.
  async #readOn(stage: RecordStage, at: Map<number, number>, waitMs: number): Promise<Map<number, number>> {
    let wait = waitMs
    for (;;) {
      const wanted = [...at].filter(
        ([partition, offset]) => offset < (this.#until?.get(partition) ?? Number.POSITIVE_INFINITY),
      )
      if (wanted.length === 0 || stage.done) return at
      const before = stage.rows + stage.malformed
      const reached = await this.#options.reader.read(new Map(wanted), stage, wait)
      let moved = false
      for (const [partition, offset] of reached) {
        const end = Math.min(offset, this.#until?.get(partition) ?? offset)
        moved ||= end > (at.get(partition) ?? 0)
        at.set(partition, end)
      }
      await stage.flush()
      const took = stage.rows + stage.malformed > before
      if (!moved && !took) return at
      wait = 0
    }
  }

  // Which partitions there are, and whether each still has the record that comes next.
  async #look(): Promise<void> {
    if (this.#next !== undefined && performance.now() - this.#lookedAt < lookEveryMs) return
    const { id, reader, bounded, positions } = this.#options
    this.#ends = await reader.partitions()
    if (this.#next === undefined) {
      const stored = (await positions()).filter(({ source }) => source === id)
      const other = stored.find(({ partition }) => partition.startsWith(sparkPartitions))
      if (other !== undefined) {
        throw new MillraceError('WRONG_USAGE', {
          at: id,
          message: 'its topic was read by Spark, and would be read from the beginning once more',
          hint: 'go on with --engine spark, or forget what was read with: millrace reset',
        })
      }
      this.#next = new Map(stored.map(({ partition, position }) => [Number(partition), position]))
    }
    this.#lookedAt = performance.now()
    if (bounded) this.#until ??= new Map(this.#ends.map(({ partition, end }) => [partition, end]))
    for (const ends of this.#ends) this.#next.set(ends.partition, this.#place(ends, this.#next.get(ends.partition)))
  }

  #place({ partition, first, end }: PartitionEnds, stored: number | undefined): number {
    if (stored === undefined) return first
    if (stored >= first && stored <= end) return stored
    const { source, onLost } = this.#options
    const lost = stored < first
    const { whenLost } = source
    const goesOn = whenLost === 'fail' ? undefined : whenLost === 'earliest' ? first : end
    const problem = new MillraceError(lost ? 'POSITION_LOST' : 'LOG_TRUNCATED', {
      at: `${source.topic}/${partition}`,
      message: lost
        ? `the next record is ${stored}, and the topic begins at ${first}: the records between were deleted unread`
        : `the next record is ${stored}, and the topic ends at ${end}: it was cut off, or made anew`,
      hint:
        goesOn === undefined
          ? `say where to go on with whenLost: 'earliest' or 'latest' of the topic, or forget the position with: millrace reset`
          : `it goes on at ${goesOn}, as whenLost says`,
    })
    if (goesOn === undefined) throw problem
    onLost(problem)
    return goesOn
  }
}

function isLost(error: unknown): boolean {
  return error instanceof MillraceError && (error.code === 'POSITION_LOST' || error.code === 'LOG_TRUNCATED')
}

interface Filling {
  stage: RecordStage
  from: Map<number, number>
  settled: boolean
  /** Where each partition goes on. */
  done: Promise<Map<number, number>>
}

/** What is taken while nobody asks: little, so that it is there soon. */
const smallWait: Limits = { rows: 10_000, bytes: 4_000_000 }
