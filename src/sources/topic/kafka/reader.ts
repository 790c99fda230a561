/** Reads a topic of Kafka: from all its partitions, each by way of the broker that leads it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { MillraceError } from '../../../errors.ts'
import type { PartitionEnds, ReaderOptions, RecordSink, TopicReader } from '../topic.ts'
import type { Cluster } from './cluster.ts'
import { FetchLane, type PartitionFault } from './fetch-lane.ts'
import { askEnds, commitOffsets } from './offsets.ts'
import { codes, isLeaderMoved, refused } from './refusal.ts'

/** A broker keeps a request for no longer than this, so that a read that asks for something else need not wait long. */
const longestWaitMs = 5_000
/** For this long a read looks for who leads now, even when it was to wait less. */
const searchMs = 2_000
const pauseMs = 100

export class KafkaReader implements TopicReader {
  readonly #cluster: Cluster
  readonly #topic: string
  readonly #pipeline: string | undefined
  readonly #signal: AbortSignal | undefined
  /** Who leads, as far as is known. */
  #leaders: ReadonlyMap<number, number> | undefined
  readonly #lanes = new Map<number, FetchLane>()

  constructor(cluster: Cluster, topic: string, options: ReaderOptions) {
    this.#cluster = cluster
    this.#topic = topic
    this.#pipeline = options.pipeline
    this.#signal = options.signal
  }

  async partitions(): Promise<PartitionEnds[]> {
    this.#signal?.throwIfAborted()
    return this.#patiently(searchMs, async () => {
      const leaders = await this.#cluster.leaders(this.#topic)
      this.#leaders = leaders
      const asked = [...byLeader(leaders ?? new Map())].map(([broker, partitions]) => {
        if (broker < 0) throw refused(codes.leaderNotAvailable, `${this.#topic}/${partitions.join(', ')}`)
        return askEnds(this.#cluster, broker, this.#topic, partitions)
      })
      return (await Promise.all(asked)).flat().sort((a, b) => a.partition - b.partition)
    })
  }

  async read(from: ReadonlyMap<number, number>, sink: RecordSink, waitMs: number): Promise<Map<number, number>> {
    this.#signal?.throwIfAborted()
    const until = performance.now() + waitMs
    const positions = new Map(from)
    const left = (): number => Math.max(0, until - performance.now())

    if (from.size === 0) await this.#sleep(waitMs)
    while (from.size > 0 && !sink.full) {
      try {
        const lanes = await this.#beginLanes(positions)
        await this.#readLanes(lanes, positions, sink, left)
        break
      } catch (error) {
        this.#forget()
        this.#signal?.throwIfAborted()
        // what was handed out counts; the next read meets what is wrong, if it is still there
        if ([...positions].some(([partition, offset]) => from.get(partition) !== offset)) break
        const mayPass = error instanceof MillraceError && error.retry && error.code !== 'TOPIC_DAMAGED'
        if (!mayPass || performance.now() > until + searchMs) throw error
        await this.#sleep(pauseMs)
      }
    }
    return positions
  }

  async publish(positions: ReadonlyMap<number, number>): Promise<void> {
    const group = this.#pipeline
    if (group === undefined || positions.size === 0) return
    await this.#patiently(searchMs, () => commitOffsets(this.#cluster, group, this.#topic, positions))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#forget()
  }

  /** Where things are, and what was fetched from there. */
  #forget(): void {
    this.#leaders = undefined
    for (const lane of this.#lanes.values()) lane[Symbol.dispose]()
    this.#lanes.clear()
  }

  /** The lanes of the brokers that lead what is wanted, each told its part of it. */
  async #beginLanes(positions: ReadonlyMap<number, number>): Promise<FetchLane[]> {
    if (this.#leaders === undefined || [...positions.keys()].some((partition) => !this.#leaders?.has(partition))) {
      this.#leaders = (await this.#cluster.leaders(this.#topic)) ?? new Map()
    }
    const wanted = new Map<number, Map<number, number>>()
    for (const [partition, offset] of positions) {
      const leader = this.#leaders.get(partition)
      if (leader === undefined) throw this.#noSuchPartition(partition)
      if (leader < 0) throw refused(codes.leaderNotAvailable, `${this.#topic}/${partition}`)
      wanted.set(leader, (wanted.get(leader) ?? new Map()).set(partition, offset))
    }
    for (const [broker, lane] of this.#lanes) {
      if (wanted.has(broker)) continue
      lane[Symbol.dispose]()
      this.#lanes.delete(broker)
    }
    return [...wanted].map(([broker, part]) => {
      const lane = this.#lanes.get(broker) ?? new FetchLane(this.#topic, this.#cluster.openLink(broker))
      this.#lanes.set(broker, lane)
      lane.begin(part)
      return lane
    })
  }

  async #readLanes(
    lanes: readonly FetchLane[],
    positions: Map<number, number>,
    sink: RecordSink,
    left: () => number,
  ): Promise<void> {
    let count = 0
    for (;;) {
      // The request for what comes next is sent first: the broker works on it while these records are handed out.
      const mayWait = count === 0 && lanes.every((lane) => lane.pieces.length === 0)
      for (const lane of lanes) lane.ask(mayWait ? Math.min(Math.ceil(left()), longestWaitMs) : 0)
      for (const lane of lanes) count += handOut(lane, positions, sink)
      if (sink.full) return
      for (const lane of lanes) await this.#look(lane)
      if (lanes.every((lane) => lane.isDry) && (count > 0 || left() <= 0)) return
      if (lanes.every((lane) => lane.pieces.length === 0)) await this.#nextOf(lanes)
    }
  }

  /** Waits for the next answer of any broker. */
  async #nextOf(lanes: readonly FetchLane[]): Promise<void> {
    const underway = lanes.flatMap((lane) => lane.underway ?? [])
    if (underway.length === 0) return
    using aborted = onAbort(this.#signal)
    await Promise.race([...underway, aborted.promise])
    this.#signal?.throwIfAborted()
  }

  async #look(lane: FetchLane): Promise<void> {
    const failure = lane.takeFailure()
    if (failure !== undefined) throw failure
    const fault = lane.takeFault()
    if (fault === undefined) return
    throw fault.code === codes.offsetOutOfRange ? await this.#outOfRange(fault) : this.#faultOf(fault)
  }

  #faultOf({ partition, code }: PartitionFault): MillraceError {
    const error = refused(code, `${this.#topic}/${partition}`)
    if (!isLeaderMoved(code) || error.retry) return error
    return new MillraceError(error.code, { at: `${this.#topic}/${partition}`, message: error.message, retry: true })
  }

  async #outOfRange({ partition, offset }: PartitionFault): Promise<MillraceError> {
    const at = `${this.#topic}/${partition}`
    const broker = this.#leaders?.get(partition) ?? -1
    const [ends] = await askEnds(this.#cluster, broker, this.#topic, [partition])
    if (ends !== undefined && offset < ends.first) {
      return new MillraceError('POSITION_LOST', {
        at,
        message: `offset ${offset} comes next, and the first one still there is ${ends.first}: ${ends.first - offset} offsets are gone`,
        hint: 'the topic keeps its records for less time than it took to read them: see retention.ms and retention.bytes of the topic',
      })
    }
    if (ends !== undefined && offset > ends.end) {
      return new MillraceError('LOG_TRUNCATED', {
        at,
        message: `offset ${offset} comes next, and the topic ends at ${ends.end}`,
        hint: 'it was deleted and made anew, or its brokers lost records: nothing is read until somebody has decided what to do',
      })
    }
    // both ends move: by now it is in range
    return new MillraceError('BROKER_REFUSED', { at, message: `offset ${offset} was out of range`, retry: true })
  }

  #noSuchPartition(partition: number): MillraceError {
    const known = this.#leaders?.size ?? 0
    return new MillraceError('BROKER_REFUSED', {
      at: `${this.#topic}/${partition}`,
      message: known === 0 ? 'there is no such topic' : `there is no such partition: the topic has ${known}`,
      hint: 'it was there before: was the topic deleted, or are these other brokers?',
      retry: true,
    })
  }

  /** Tries again what may pass, for some time. */
  async #patiently<T>(forMs: number, act: () => Promise<T>): Promise<T> {
    const until = performance.now() + forMs
    for (;;) {
      try {
        return await act()
      } catch (error) {
        this.#signal?.throwIfAborted()
        const mayPass = error instanceof MillraceError && error.retry && error.code === 'BROKER_REFUSED'
        if (!mayPass || performance.now() > until) throw error
        await this.#sleep(pauseMs)
      }
    }
  }

  async #sleep(ms: number): Promise<void> {
    try {
      await sleep(ms, undefined, this.#signal === undefined ? {} : { signal: this.#signal })
    } catch (error) {
      // the reason that was given, and not the timer's own
      this.#signal?.throwIfAborted()
      throw error
    }
  }
}

function handOut(lane: FetchLane, positions: Map<number, number>, sink: RecordSink): number {
  let count = 0
  for (const piece of lane.pieces) {
    if (sink.full) break
    try {
      count += piece.handOut(sink)
    } finally {
      positions.set(piece.partition, piece.next)
    }
    if (piece.usedUp) lane.drop(piece)
  }
  return count
}

function byLeader(leaders: ReadonlyMap<number, number>): Map<number, number[]> {
  const found = new Map<number, number[]>()
  for (const [partition, leader] of leaders) found.set(leader, [...(found.get(leader) ?? []), partition])
  return found
}

function onAbort(signal: AbortSignal | undefined): Disposable & { promise: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>()
  const listener = (): void => resolve()
  signal?.addEventListener('abort', listener)
  return { promise, [Symbol.dispose]: () => signal?.removeEventListener('abort', listener) }
}
