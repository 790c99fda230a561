/** Writes one partition: one batch is under way, and meanwhile the records of all who call gather for the next. */
import { setTimeout as sleep } from 'node:timers/promises'
import { MillraceError } from '../../../errors.ts'
import type { TopicRecord } from '../topic.ts'
import type { Append } from './append.ts'
import { headBytes } from './batch-head.ts'
import type { Produced } from './produce.ts'
import { codes, isLeaderMoved, placeOf, refused } from './refusal.ts'
import { recordSize, writeBatch } from './write-batch.ts'

// Under what a topic takes when nobody has set it (max.message.bytes: 1048588); smaller limits are met by halves.
const batchBytes = 1_000_000
/** What a broker takes of one request (socket.request.max.bytes): it hangs up on more, and says nothing. */
const requestBytes = 100_000_000
/** For this long a batch is sent again when it is not known to have landed; Kafka's own clients take as long. */
const deliveryMs = 120_000
const pauseMs = 100

/** Who writes: a broker knows by it, and by the number of a record, what it has already. */
export interface Producer {
  id: bigint
  epoch: number
}

/** What a partition's writer needs of the topic's. */
export interface Outlet {
  readonly topic: string
  /** Nobody waits for the records any more. */
  readonly signal: AbortSignal | undefined
  now(): number
  send(partition: number, bytes: Buffer): Promise<Produced>
  producer(): Promise<Producer>
  /** This one cannot be used any more. */
  retire(producer: Producer): void
  /** Who leads may have changed. */
  refresh(): void
}

interface Waiting {
  record: TopicRecord
  size: number
  append: Append
}

export class PartitionWriter {
  readonly #outlet: Outlet
  readonly #partition: number
  #waiting: Waiting[] = []
  /** What waits and what is under way. */
  #waitingBytes = 0
  #sending: Promise<void> | undefined
  #producer: Producer | undefined
  /** The number of the next record, among those that this producer has sent here. */
  #sequence = 0

  constructor(outlet: Outlet, partition: number) {
    this.#outlet = outlet
    this.#partition = partition
  }

  get waitingBytes(): number {
    return this.#waitingBytes
  }

  /** Settles when nothing waits any more. */
  get idle(): Promise<void> {
    return this.#sending ?? Promise.resolve()
  }

  push(records: readonly TopicRecord[], append: Append): void {
    for (const record of records) {
      const size = recordSize(record)
      this.#waiting.push({ record, size, append })
      this.#waitingBytes += size
    }
    this.#sending ??= this.#sendAll()
  }

  async #sendAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const taken = this.#nextBatch()
      await this.#deliver(taken.filter(({ append }) => !append.failed))
      for (const { size } of taken) this.#waitingBytes -= size
    }
    this.#sending = undefined
  }

  #nextBatch(): Waiting[] {
    let size = headBytes
    let count = 0
    for (const each of this.#waiting) {
      size += each.size
      if (count > 0 && size > batchBytes) break
      count++
    }
    return this.#waiting.splice(0, count)
  }

  /** Until it has landed or cannot; never fails, as those who called are told. */
  async #deliver(batch: readonly Waiting[]): Promise<void> {
    try {
      const { first, code } = await this.#sendUntilKnown(batch)
      if (isTooLarge(code) && batch.length > 1) {
        // the topic takes less than most do
        const half = Math.ceil(batch.length / 2)
        await this.#deliver(batch.slice(0, half))
        await this.#deliver(batch.slice(half).filter(({ append }) => !append.failed))
        return
      }
      if (isTooLarge(code)) throw this.#tooLarge(batch[0]?.size ?? 0)
      batch.forEach(({ append }, i) => {
        append.landed(this.#partition, first + i)
      })
    } catch (error) {
      for (const { append } of batch) append.fail(error)
    }
  }

  /** Sends the same bytes, with the same numbers, until a broker says what became of them. */
  async #sendUntilKnown(batch: readonly Waiting[]): Promise<Produced> {
    if (batch.length === 0) return { partition: this.#partition, code: codes.none, first: 0, message: null }
    if (batch.length === 1 && (batch[0]?.size ?? 0) > requestBytes) throw this.#tooLarge(batch[0]?.size ?? 0)
    const until = performance.now() + deliveryMs
    let bytes: Buffer | undefined
    // an earlier attempt may have landed although nobody said so
    let mayHaveLanded = false
    let renamed = false
    for (;;) {
      let fault: unknown
      try {
        bytes ??= await this.#write(batch)
        const answer = await this.#outlet.send(this.#partition, bytes)
        if (answer.code === codes.none) this.#sequence = (this.#sequence + batch.length) % 2 ** 31
        if (answer.code === codes.none || isTooLarge(answer.code)) return answer
        if (sequenceLost.has(answer.code) && !mayHaveLanded && !renamed) {
          // the broker has forgotten us: under a new name the numbers begin anew
          this.#forget()
          bytes = undefined
          renamed = true
          continue
        }
        mayHaveLanded ||= unclear.has(answer.code)
        fault = this.#refused(answer)
      } catch (error) {
        mayHaveLanded ||= bytes !== undefined && error instanceof MillraceError && error.code === 'BROKER_UNREACHABLE'
        fault = error
      }
      const mayPass = fault instanceof MillraceError && fault.retry
      if (!mayPass || performance.now() > until || this.#outlet.signal?.aborted) {
        // the numbers behind this one would not follow on: what comes next is written under another name
        if (mayHaveLanded) this.#forget()
        throw fault
      }
      this.#outlet.refresh()
      await sleep(pauseMs)
    }
  }

  async #write(batch: readonly Waiting[]): Promise<Buffer> {
    if (this.#producer === undefined) {
      this.#producer = await this.#outlet.producer()
      this.#sequence = 0
    }
    const { id, epoch } = this.#producer
    const records = batch.map(({ record }) => record)
    return writeBatch(records, this.#outlet.now(), { producer: id, epoch, first: this.#sequence })
  }

  #forget(): void {
    if (this.#producer !== undefined) this.#outlet.retire(this.#producer)
    this.#producer = undefined
  }

  get #place(): string {
    return placeOf(this.#outlet.topic, this.#partition)
  }

  #refused({ code, message }: Produced): MillraceError {
    const error = refused(code, this.#place)
    return new MillraceError('BROKER_REFUSED', {
      at: this.#place,
      message: message === null ? error.message : `${error.message} (${message})`,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      retry: error.retry || isLeaderMoved(code),
    })
  }

  #tooLarge(size: number): MillraceError {
    return new MillraceError('RECORD_TOO_LARGE', {
      at: this.#place,
      message: `a record of ${size} bytes is larger than the topic takes`,
      hint: 'max.message.bytes of the topic, or message.max.bytes of the brokers, sets what it takes',
    })
  }
}

function isTooLarge(code: number): boolean {
  return code === codes.messageTooLarge || code === codes.recordListTooLarge
}

const sequenceLost = new Set<number>([codes.outOfOrderSequence, codes.invalidProducerEpoch, codes.unknownProducerId])
/** The leader has it, and did not hear from enough others in time. */
const unclear = new Set<number>([codes.requestTimedOut, codes.tooFewReplicasAfterAppend])
