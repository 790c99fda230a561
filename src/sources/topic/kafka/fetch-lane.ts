/** What one broker hands over: the answer that records are taken out of, and the next one, under way meanwhile. */
import { type FetchedPartition, fetchRecords } from './fetch.ts'
import type { Link } from './link.ts'
import { RecordBatches } from './record-batches.ts'
import { codes } from './refusal.ts'

// What is in memory for each broker is an answer being handed out and one on its way; a batch that is larger than an
// answer comes nevertheless.
const answerBytes = 8 * 1024 * 1024
const aheadBytes = 1.5 * answerBytes
const leastPartitionBytes = 256 * 1024

/** What is wrong with a partition, as its broker says it. */
export interface PartitionFault {
  partition: number
  offset: number
  code: number
}

interface Underway {
  offsets: ReadonlyMap<number, number>
  /** The broker keeps this request until there are records: while it is silent there are none. */
  waits: boolean
  /** In which read it was sent: what an earlier one found empty may have records now. */
  read: number
  settled: Promise<void>
}

export class FetchLane implements Disposable {
  readonly #topic: string
  readonly #link: Link
  /** What is not handed out yet, in the order in which it came. */
  #pieces: RecordBatches[] = []
  /** Where the read is, by the partitions that it wants of this broker. */
  #positions = new Map<number, number>()
  #underway: Underway | undefined
  #faults: PartitionFault[] = []
  #failure: unknown
  #read = 0
  #turn = 0
  #isEmpty = false

  constructor(topic: string, link: Link) {
    this.#topic = topic
    this.#link = link
  }

  /** A read begins. What was fetched ahead is kept where it goes on from the wanted offsets. */
  begin(wanted: ReadonlyMap<number, number>): void {
    this.#read++
    this.#isEmpty = false
    this.#faults = []
    this.#failure = undefined
    this.#positions = new Map(wanted)
    const expected = new Map(wanted)
    this.#pieces = this.#pieces.filter((piece) => {
      if (piece.next !== expected.get(piece.partition)) return false
      expected.set(piece.partition, piece.end)
      return true
    })
    const underway = this.#underway
    if (underway === undefined) return
    const agrees = [...expected].every(([partition, offset]) => underway.offsets.get(partition) === offset)
    if (agrees) return
    // a broker answers one request after the other: the next one would stand behind one that nobody wants any more
    this.#underway = undefined
    this.#link[Symbol.dispose]()
  }

  get pieces(): readonly RecordBatches[] {
    return this.#pieces
  }

  /** Whether this broker has nothing more, as far as can be known now. */
  get isDry(): boolean {
    return this.#pieces.length === 0 && (this.#isEmpty || this.#underway?.waits === true)
  }

  /** Settles when the next answer is there; never fails: `takeFailure` tells. */
  get underway(): Promise<void> | undefined {
    return this.#underway?.settled
  }

  /** Sends the next request, if none is under way and there is room for its answer. */
  ask(maxWaitMs: number): void {
    if (this.#underway !== undefined || this.#failure !== undefined || this.#faults.length > 0) return
    if (this.#pieces.reduce((sum, piece) => sum + piece.size, 0) > aheadBytes) return
    const offsets = this.#offsetsToAsk()
    const partitionMaxBytes = Math.max(leastPartitionBytes, Math.floor(answerBytes / offsets.size))
    const request = { topic: this.#topic, maxWaitMs, maxBytes: answerBytes, partitionMaxBytes, offsets }
    const underway: Underway = { offsets, waits: maxWaitMs > 0, read: this.#read, settled: Promise.resolve() }
    underway.settled = this.#link.ask(fetchRecords, request).then(
      (answer) => {
        if (this.#underway !== underway) return
        this.#underway = undefined
        this.#accept(answer, underway)
      },
      (error: unknown) => {
        if (this.#underway !== underway) return
        this.#underway = undefined
        this.#failure = error
      },
    )
    this.#underway = underway
  }

  /** A piece is used up: the read stands behind it. */
  drop(piece: RecordBatches): void {
    this.#positions.set(piece.partition, piece.next)
    this.#pieces = this.#pieces.filter((each) => each !== piece)
  }

  takeFault(): PartitionFault | undefined {
    return this.#faults.shift()
  }

  takeFailure(): unknown {
    const failure = this.#failure
    this.#failure = undefined
    return failure
  }

  [Symbol.dispose](): void {
    this.#underway = undefined
    this.#link[Symbol.dispose]()
  }

  #accept(answer: readonly FetchedPartition[], { offsets, read }: Underway): void {
    this.#isEmpty = read === this.#read && answer.every(({ bytes }) => bytes.length === 0)
    for (const { partition, code, aborted, bytes } of answer) {
      const from = offsets.get(partition)
      if (from === undefined || from !== this.#offsetBehind(partition)) continue
      if (code !== codes.none) this.#faults.push({ partition, offset: from, code })
      else if (bytes.length > 0) {
        this.#pieces.push(new RecordBatches({ topic: this.#topic, partition, from, bytes, aborted }))
      }
    }
  }

  // An answer is filled in the order of the request: each partition comes first in its turn.
  #offsetsToAsk(): Map<number, number> {
    const partitions = [...this.#positions.keys()]
    const turn = this.#turn++ % partitions.length
    const inTurn = [...partitions.slice(turn), ...partitions.slice(0, turn)]
    return new Map(inTurn.map((partition) => [partition, this.#offsetBehind(partition) ?? 0]))
  }

  /** Behind all that is there of a partition; without any, where the read is. */
  #offsetBehind(partition: number): number | undefined {
    return this.#pieces.findLast((piece) => piece.partition === partition)?.end ?? this.#positions.get(partition)
  }
}
