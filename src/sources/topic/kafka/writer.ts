/** Writes a topic of Kafka: each record to the partition of its key, durable when every replica in step has it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { initProducerIdV1 } from '@platformatic/kafka'
import { MillraceError } from '../../../errors.ts'
import { type Appended, recordsOf, type TopicRecord, type TopicWriter, type Values } from '../topic.ts'
import { Append } from './append.ts'
import type { Cluster } from './cluster.ts'
import { addressText } from './failure.ts'
import type { Link } from './link.ts'
import { type Outlet, PartitionWriter, type Producer } from './partition-writer.ts'
import { partitionOf } from './partitioner.ts'
import { type Produced, produceBatches } from './produce.ts'
import { codes, placeOf, refused } from './refusal.ts'

/** For this long a topic that is being made is waited for. */
const makingMs = 5_000
const pauseMs = 100
const maxWaitingBytes = 64_000_000
/** After this time somebody may have added partitions. */
const leadersMaxAgeMs = 300_000

export class KafkaWriter implements TopicWriter, Outlet {
  readonly topic: string
  readonly now: () => number
  readonly signal: AbortSignal | undefined
  readonly #cluster: Cluster
  #leaders: { known: Promise<ReadonlyMap<number, number>>; since: number } | undefined
  #producer: Promise<Producer> | undefined
  readonly #partitions = new Map<number, PartitionWriter>()
  readonly #links = new Map<string, Link>()
  /** Records without a key: those of one call stay together, those of the next go to the next partition. */
  #turn = 0

  constructor(cluster: Cluster, topic: string, now: () => number, signal?: AbortSignal) {
    this.#cluster = cluster
    this.topic = topic
    this.now = now
    this.signal = signal
  }

  async append(records: readonly TopicRecord[]): Promise<Appended[]> {
    if (records.length === 0) return []
    // every call waits for the same promise, so that they go on in the order in which they came
    const leaders = await this.#whoLeads()
    this.#refuseTooMuch()
    const append = new Append(records.length)
    const turn = this.#turn++ % leaders.size
    for (const [partition, part] of Map.groupBy(records, ({ key }) =>
      key === undefined ? turn : partitionOf(key, leaders.size),
    )) {
      const writer = this.#partitions.get(partition) ?? new PartitionWriter(this, partition)
      this.#partitions.set(partition, writer)
      writer.push(part, append)
    }
    return append.done
  }

  async appendValues(values: Values): Promise<Appended[]> {
    return await this.append(recordsOf(values))
  }

  /** While Kafka does not answer, no more is taken than memory can hold. */
  #refuseTooMuch(): void {
    const waiting = [...this.#partitions.values()].reduce((sum, writer) => sum + writer.waitingBytes, 0)
    if (waiting < maxWaitingBytes) return
    throw new MillraceError('BROKER_UNREACHABLE', {
      at: `topic ${this.topic}`,
      message: `${Math.round(waiting / 1_000_000)} MB of records wait for Kafka to take them, and no more are held`,
      retry: true,
    })
  }

  /** Waits for what is under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#partitions.values()].map((writer) => writer.idle))
    for (const link of this.#links.values()) link[Symbol.dispose]()
    this.#links.clear()
  }

  // ---- for the partitions ------------------------------------------------------------------------------------------

  async send(partition: number, bytes: Buffer): Promise<Produced> {
    const leader = (await this.#whoLeads()).get(partition) ?? -1
    if (leader < 0) throw refused(codes.leaderNotAvailable, placeOf(this.topic, partition))
    const link = this.#linkTo(leader)
    const [answer] = await link.ask(produceBatches, { topic: this.topic, batches: [{ partition, bytes }] })
    if (answer === undefined) throw refused(-1, placeOf(this.topic, partition))
    return answer
  }

  producer(): Promise<Producer> {
    this.#producer ??= this.#newProducer().catch((error: unknown) => {
      this.#producer = undefined
      throw error
    })
    return this.#producer
  }

  retire(producer: Producer): void {
    this.#producer?.then(
      (current) => {
        if (current === producer) this.#producer = undefined
      },
      () => {},
    )
  }

  refresh(): void {
    this.#leaders = undefined
  }

  // One for each address: a broker may come back at another.
  #linkTo(broker: number): Link {
    const address = addressText(this.#cluster.addressOf(broker))
    const link = this.#links.get(address) ?? this.#cluster.openLink(broker)
    this.#links.set(address, link)
    return link
  }

  async #newProducer(): Promise<Producer> {
    const noTransactions = null
    const answer = await this.#cluster.askAny(initProducerIdV1.api, noTransactions, 60_000)
    if (answer.errorCode !== codes.none) throw refused(answer.errorCode, `topic ${this.topic}`)
    return { id: answer.producerId, epoch: answer.producerEpoch }
  }

  #whoLeads(): Promise<ReadonlyMap<number, number>> {
    if (this.#leaders === undefined || performance.now() - this.#leaders.since > leadersMaxAgeMs) {
      const known = this.#findLeaders()
      this.#leaders = { known, since: performance.now() }
      known.catch(() => {
        if (this.#leaders?.known === known) this.#leaders = undefined
      })
    }
    return this.#leaders.known
  }

  async #findLeaders(): Promise<ReadonlyMap<number, number>> {
    const until = performance.now() + makingMs
    for (;;) {
      const leaders = await this.#cluster.leaders(this.topic, true)
      if (leaders !== undefined && leaders.size > 0) return leaders
      if (performance.now() > until) {
        throw new MillraceError('BROKER_REFUSED', {
          at: `topic ${this.topic}`,
          message: 'there is no such topic, and the brokers do not make it by themselves',
          hint: 'make it with kafka-topics.sh --create, with as many partitions as it shall have',
        })
      }
      await sleep(pauseMs)
    }
  }
}
