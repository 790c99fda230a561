/**
 * The publisher: an effect with a cursor of its own that goes on beside the batches, for a topic may not take messages for
 * a while. It appends what waits in the outbox, in order, and lets it go when it is durable. What stops what:
 * - Whatever fails here (a broker that is down, a local topic that another process writes) makes the publisher wait: it
 *   says so and tries again, at longer and longer intervals, and goes on where it was. Rows land meanwhile, until the
 *   outbox is full: then the worker waits for room.
 * - The pipeline stopping, being replaced or lending its lease stops the publisher. What it has appended and not let go
 *   is appended again by its successor, with the same ids.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { MillraceError, messageOf } from '../errors.ts'
import { failpoint } from '../failpoint.ts'
import type { Log } from '../log.ts'
import type { TopicRecord, TopicWriter } from '../sources/topic/topic.ts'
import { type OutboxMessage, type OutboxPlace, outboxEffect, type Store } from '../store/store.ts'

export interface PublisherOptions {
  pipeline: string
  store: Pick<Store, 'effectCursor' | 'advanceEffect' | 'outbox' | 'outboxRows' | 'forgetPublished'>
  /** `signal`: what has not landed by then need not. */
  openWriter(topic: string, signal: AbortSignal): Promise<TopicWriter>
  /** The worker waits while so many messages wait. */
  mostRows: number
  /** A bounded run waits for so long for a topic that takes nothing. */
  patienceMs: number
  log: Log
  onState?: (state: PublisherState) => void
}

/** `waiting` messages have not been published. */
export type PublisherState = { is: 'working'; waiting: number } | { is: 'held up'; waiting: number; why: string }

/** The header by which consumers know a message that they have seen: pipeline, batch, step, number. */
export const idHeader = 'millrace-id'

const pageLimits = { rows: 10_000, bytes: 8_000_000 }
const backOff = { firstMs: 100, mostMs: 10_000 }
/** A topic that has not answered for so long is told of. */
const slowMs = 5000
/** One that stops waits for so long for what is under way. */
const lastMs = 2000

/** Messages that come next, and the last batch of which all are published when these are. */
interface Look {
  messages: OutboxMessage[]
  more: boolean
  batchDone: number
}

/** Publishes the messages of a pipeline for the worker that owns it, until it is disposed. */
export class Publisher implements AsyncDisposable {
  readonly #options: PublisherOptions
  readonly #stop = new AbortController()
  readonly #writers = new Map<string, Promise<TopicWriter>>()
  /** Behind the last message that is gone. */
  #place: OutboxPlace
  /** The last batch of which all messages are published. */
  #cursor: number
  /** The last committed batch. */
  #committed: number
  /** Below nothing while it knows of more messages than the worker has told of. */
  #waiting: number
  #heldUp: string | undefined
  /** How often it has failed since it last moved. */
  #tries = 0
  #closing = false
  #movedAt = performance.now()
  #change = Promise.withResolvers<void>()
  #work: Promise<void> = Promise.resolve()

  private constructor(options: PublisherOptions, cursor: number, committed: number, waiting: number) {
    this.#options = options
    this.#cursor = cursor
    this.#committed = committed
    this.#waiting = waiting
    this.#place = { batch: cursor + 1, step: '', n: 0 }
  }

  /** Goes on from what is stored. */
  static async open(options: PublisherOptions, committed: number): Promise<Publisher> {
    const { store, pipeline } = options
    const cursor = await store.effectCursor(pipeline, outboxEffect)
    const publisher = new Publisher(options, cursor, committed, await store.outboxRows(pipeline))
    publisher.#work = publisher.#goOn()
    return publisher
  }

  /** A batch is committed, with so many messages. */
  committed(batch: number, messages: number): void {
    if (this.isDone) this.#movedAt = performance.now()
    this.#committed = batch
    // it may have found them already
    if (batch > this.#cursor) this.#waiting += messages
    if (messages > 0) this.#say()
    this.#changed()
  }

  get isFull(): boolean {
    return this.#waiting >= this.#options.mostRows
  }

  get isDone(): boolean {
    return this.#cursor >= this.#committed
  }

  /** Why the outbox does not become emptier, as far as it is known. */
  get why(): string {
    return `${this.#waiting} messages wait: ${this.#heldUp ?? 'they are being published'}`
  }

  /** Nothing has been published for so long that a bounded run goes without. */
  get isStuck(): boolean {
    return !this.isDone && this.#heldUp !== undefined && performance.now() - this.#movedAt > this.#options.patienceMs
  }

  /** Until something has changed, and no longer than this. */
  async change(atMostMs: number): Promise<void> {
    await Promise.race([this.#change.promise, sleep(atMostMs, undefined, { ref: false })])
  }

  /** Publishes what waits, unless that takes long. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true
    this.#changed()
    const inTime = setTimeout(() => this.#stop.abort(), this.#heldUp === undefined ? lastMs : 0)
    await this.#work
    clearTimeout(inTime)
    this.#stop.abort()
    for (const writer of this.#writers.values()) {
      const opened = await writer.catch(() => undefined)
      // one that could not be opened has nothing to close
      await opened?.[Symbol.asyncDispose]()
    }
  }

  async #goOn(): Promise<void> {
    const { signal } = this.#stop
    this.#say()
    while (!signal.aborted) {
      try {
        await this.#publishAll()
        if (this.#closing) return
        if (this.isDone) await this.#change.promise
      } catch (error) {
        if (signal.aborted) return
        const nextInMs = Math.min(backOff.mostMs, backOff.firstMs * 2 ** Math.min(this.#tries, 10))
        this.#tries++
        this.#holdUp(messageOf(error), { tries: this.#tries, next_in_ms: nextInMs })
        if (this.#closing) return
        await sleep(nextInMs, undefined, { signal }).catch(() => {})
      }
    }
  }

  async #publishAll(): Promise<void> {
    const { pipeline, store } = this.#options
    const { signal } = this.#stop
    let ahead: Promise<Look> | undefined
    while (!signal.aborted && !this.isDone) {
      const { messages, more, batchDone } = await (ahead ?? this.#look(this.#place))
      ahead = undefined
      const last = messages.at(-1)
      if (last === undefined) await store.advanceEffect(pipeline, outboxEffect, batchDone)
      else {
        ahead = more ? this.#look(last) : undefined
        // it is heard of when it is this one's turn
        ahead?.catch(() => {})
        await failpoint('effect publish')
        await this.#append(messages)
        await failpoint('effect publish')
        await store.forgetPublished(pipeline, { after: this.#place, upTo: last, batchDone })
        await failpoint('effect publish')
        this.#place = { batch: last.batch, step: last.step, n: last.n }
        this.#waiting -= messages.length
      }
      this.#cursor = batchDone
      // what was let go without an answer was not counted
      if (this.isDone) this.#waiting = 0
      this.#moved()
    }
  }

  #moved(): void {
    const { pipeline, log } = this.#options
    if (this.#heldUp !== undefined) log.info('publishing again', { pipeline })
    this.#heldUp = undefined
    this.#tries = 0
    this.#movedAt = performance.now()
    this.#say()
    this.#changed()
  }

  async #look(after: OutboxPlace): Promise<Look> {
    const { pipeline, store } = this.#options
    // what is committed from here on is found by the next look
    const committed = this.#committed
    const { messages, more } = await store.outbox(pipeline, after, pageLimits)
    const last = messages.at(-1)?.batch ?? 0
    // of the last batch there may be more
    return { messages, more, batchDone: more ? last - 1 : Math.max(committed, last) }
  }

  // Durable when it resolves. Messages of one key are in the order of the outbox, whatever their topic and partition.
  async #append(messages: OutboxMessage[]): Promise<void> {
    const { pipeline } = this.#options
    const byTopic = [...Map.groupBy(messages, ({ topic }) => topic)]
    const topics = byTopic.map(([topic]) => topic).join(' and ')
    let slowFor = 0
    const slow = setInterval(() => {
      slowFor += slowMs
      this.#holdUp(`${topics} has not taken ${messages.length} messages for ${slowFor / 1000} s`)
    }, slowMs)
    try {
      const appended = byTopic.map(async ([topic, own]) => {
        const writer = await this.#writer(topic)
        await writer.append(own.map((message) => recordOf(pipeline, message)))
      })
      await untilAborted(Promise.all(appended), this.#stop.signal)
    } finally {
      clearInterval(slow)
    }
  }

  #writer(topic: string): Promise<TopicWriter> {
    const known = this.#writers.get(topic)
    if (known !== undefined) return known
    const writer = this.#options.openWriter(topic, this.#stop.signal)
    this.#writers.set(topic, writer)
    // who asked for it hears of it, and the next one tries again
    writer.catch(() => this.#writers.delete(topic))
    return writer
  }

  #holdUp(why: string, again: { tries?: number; next_in_ms?: number } = {}): void {
    const { pipeline, log } = this.#options
    this.#heldUp = why
    log.warn('publishing is held up', { pipeline, why, waiting: this.#waiting, ...again })
    this.#say()
    this.#changed()
  }

  #say(): void {
    const waiting = Math.max(0, this.#waiting)
    const why = this.#heldUp
    this.#options.onState?.(why === undefined ? { is: 'working', waiting } : { is: 'held up', waiting, why })
  }

  #changed(): void {
    this.#change.resolve()
    this.#change = Promise.withResolvers()
  }
}

/** What a bounded run ends with when a topic takes nothing. */
export function notPublished(pipeline: string, why: string): MillraceError {
  return new MillraceError('NOT_PUBLISHED', {
    at: pipeline,
    message: why,
    hint: 'the rows are committed and nothing is lost: the next run or worker of the pipeline publishes them',
  })
}

function recordOf(pipeline: string, { batch, step, n, key, value }: OutboxMessage): TopicRecord {
  return {
    // as: it was written as the JSON of a text
    key: key === null ? undefined : Buffer.from(JSON.parse(key) as string),
    value: Buffer.from(value),
    headers: [[idHeader, Buffer.from(`${pipeline}/${batch}/${step}/${n}`)]],
  }
}

async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  const stop = (): void => aborted.reject(signal.reason)
  signal.addEventListener('abort', stop, { once: true })
  try {
    return await Promise.race([work, aborted.promise])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
