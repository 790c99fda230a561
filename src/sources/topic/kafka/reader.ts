/** Reads a topic of Kafka: from all its partitions, each by way of the broker that leads it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { MillraceError } from '../../../errors.ts'
import type { PartitionEnds, ReaderOptions, RecordSink, TopicReader } from '../topic.ts'
import type { Cluster } from './cluster.ts'
import { FetchLane, type PartitionFault } from './fetch-lane.ts'
import { askEnds, commitOffsets } from './offsets.ts'
import { codes, isLeaderMoved, placeOf, refused } from './refusal.ts'

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
        if (broker < 0) throw refused(codes.leaderNotAvailable, placeOf(this.#topic, partitions[0] ?? 0))
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

    while (!sink.full) {
      try {
        const lanes = await this.#unlessAborted(this.#beginLanes(positions))
        if (lanes.length === 0) await this.#sleep(Math.min(left(), longestWaitMs))
        else await this.#readLanes(lanes, positions, sink, left)
        break
      } catch (error) {
        this.#forget()
        this.#signal?.throwIfAborted()
        // what was handed out counts; the next read meets what is wrong, if it is still there
        if (!(error instanceof MillraceError)) throw error
        if ([...positions].some(([partition, offset]) => from.get(partition) !== offset)) break
        const mayPass = error.retry && error.code !== 'TOPIC_DAMAGED'
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
    if ([...positions.keys()].some((partition) => !this.#leaders?.has(partition))) {
      this.#leaders = await this.#cluster.leaders(this.#topic)
    }
    const wanted = new Map<number, Map<number, number>>()
    for (const [partition, offset] of positions) {
      const leader = this.#leaders?.get(partition)
      // it may come yet, as long as nothing of it was read
      if (leader === undefined && offset === 0) continue
      if (leader === undefined) throw this.#noSuchPartition(partition)
      if (leader < 0) throw refused(codes.leaderNotAvailable, placeOf(this.#topic, partition))
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
    await this.#unlessAborted(Promise.race(underway))
  }

  async #look(lane: FetchLane): Promise<void> {
    const failure = lane.takeFailure()
    if (failure !== undefined) throw failure
    const fault = lane.takeFault()
    if (fault === undefined) return
    throw fault.code === codes.offsetOutOfRange ? await this.#outOfRange(fault) : this.#faultOf(fault)
  }

  #faultOf({ partition, code }: PartitionFault): MillraceError {
    const error = refused(code, placeOf(this.#topic, partition))
    if (!isLeaderMoved(code) || error.retry) return error
    return new MillraceError(error.code, { at: placeOf(this.#topic, partition), message: error.message, retry: true })
  }

  async #outOfRange({ partition, offset }: PartitionFault): Promise<MillraceError> {
    const at = placeOf(this.#topic, partition)
    const broker = this.#leaders?.get(partition) ?? -1
    const [ends] = await askEnds(this.#cluster, broker, this.#topic, [partition])
    if (ends !== undefined && offset < ends.first) {
      return new MillraceError('POSITION_LOST', {
        at,
        message: `offset ${offset} comes next, and the first record there is has offset ${ends.first}`,
        hint: 'the records between were removed before they were read: see retention.ms and retention.bytes of the topic',
      })
    }
    if (ends !== undefined && offset > ends.end) {
      return new MillraceError('LOG_TRUNCATED', {
        at,
        message: `offset ${offset} comes next, but the topic ends at offset ${ends.end}`,
        hint: 'it was made anew, or its brokers lost records: bring back the one that belongs to the database, or reset the pipeline',
      })
    }
    // both ends move: by now it is in range
    return new MillraceError('BROKER_REFUSED', { at, message: `offset ${offset} was out of range`, retry: true })
  }

  #noSuchPartition(partition: number): MillraceError {
    const known = this.#leaders?.size ?? 0
    return new MillraceError('BROKER_REFUSED', {
      at: placeOf(this.#topic, partition),
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
        return await this.#unlessAborted(act())
      } catch (error) {
        this.#signal?.throwIfAborted()
        const mayPass = error instanceof MillraceError && error.retry && error.code === 'BROKER_REFUSED'
        if (!mayPass || performance.now() > until) throw error
        await this.#sleep(pauseMs)
      }
    }
  }

  /** What is under way is not called off by it, only no longer waited for. */
  async #unlessAborted<T>(underway: Promise<T>): Promise<T> {
    const signal = this.#signal
    if (signal === undefined) return underway
    const { promise, reject } = Promise.withResolvers<never>()
    const listener = (): void => reject(signal.reason)
    if (signal.aborted) listener()
    signal.addEventListener('abort', listener)
    try {
      return await Promise.race([underway, promise])
    } finally {
      signal.removeEventListener('abort', listener)
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
