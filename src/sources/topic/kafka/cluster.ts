/** The brokers of a cluster: who they are, who leads which partition, and the connections to them. */
import { type API, type ConnectionOptions, metadataV8 } from '@platformatic/kafka'
import { MillraceError } from '../../../errors.ts'
import { addressText, noneAnswers } from './failure.ts'
import { type Address, Link } from './link.ts'
import { codes, isLeaderMoved, placeOf, refused } from './refusal.ts'

export class Cluster implements Disposable {
  readonly #seeds: readonly Address[]
  readonly #options: ConnectionOptions
  /** By number, as the cluster told last. */
  #brokers = new Map<number, Address>()
  /** By address; whoever waits long for answers takes a connection of its own, as a broker answers one after the other. */
  readonly #links = new Map<string, Link>()

  constructor(seeds: readonly Address[], options: ConnectionOptions) {
    this.#seeds = seeds
    this.#options = options
  }

  addressOf(broker: number): Address {
    const address = this.#brokers.get(broker)
    if (address === undefined) throw refused(codes.leaderNotAvailable, `broker ${broker}`)
    return address
  }

  /** A connection for one user alone. */
  openLink(broker: number): Link {
    return new Link(this.addressOf(broker), this.#options)
  }

  async ask<Args extends unknown[], Answer>(broker: number, api: API<Args, Answer>, ...args: Args): Promise<Answer> {
    return this.#link(this.addressOf(broker)).ask(api, ...args)
  }

  /** Asks whichever broker answers first, in the order in which they are known. */
  async askAny<Args extends unknown[], Answer>(api: API<Args, Answer>, ...args: Args): Promise<Answer> {
    const reasons: MillraceError[] = []
    for (const address of this.#addresses()) {
      try {
        return await this.#link(address).ask(api, ...args)
      } catch (error) {
        // a wrong password is one everywhere
        if (!(error instanceof MillraceError) || !error.retry) throw error
        reasons.push(error)
      }
    }
    throw noneAnswers(reasons)
  }

  /**
   * Who leads the partitions of a topic, by partition, -1 where nobody does at the moment; nothing while there is no such
   * topic. Asking makes none, unless `create` says so and the brokers are set to.
   */
  async leaders(topic: string, create = false): Promise<Map<number, number> | undefined> {
    const answer = await this.askAny(metadataV8.api, [topic], create)
    this.#brokers = new Map(answer.brokers.map(({ nodeId, host, port }) => [nodeId, { host, port }]))
    const told = answer.topics.find(({ name }) => name === topic)
    if (told === undefined || told.errorCode === codes.unknownTopic) return undefined
    if (told.errorCode === codes.leaderNotAvailable) return undefined
    if (told.errorCode !== codes.none) throw refused(told.errorCode, `topic ${topic}`)
    return new Map(
      told.partitions
        .map(({ partitionIndex, leaderId, errorCode }) => {
          const usable = errorCode === codes.none || isLeaderMoved(errorCode)
          if (!usable) throw refused(errorCode, placeOf(topic, partitionIndex))
          return [partitionIndex, this.#brokers.has(leaderId) ? leaderId : -1] as const
        })
        .toSorted(([a], [b]) => a - b),
    )
  }

  [Symbol.dispose](): void {
    for (const link of this.#links.values()) link[Symbol.dispose]()
    this.#links.clear()
  }

  #addresses(): Address[] {
    const known = [...this.#brokers.values(), ...this.#seeds]
    return [...new Map(known.map((address) => [addressText(address), address])).values()]
  }

  #link(address: Address): Link {
    const text = addressText(address)
    const link = this.#links.get(text) ?? new Link(address, this.#options)
    this.#links.set(text, link)
    return link
  }
}
