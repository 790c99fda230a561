import { type FSWatcher, watch } from 'node:fs'
import { join } from 'node:path'
import type { PartitionEnds, ReaderOptions, RecordSink, TopicReader } from '../topic.ts'
import { endPath } from './durable-end.ts'
import { countPartitions, topicFolder } from './layout.ts'
import { PartitionReader, truncated } from './partition-reader.ts'
import { keepPosition, positionOf } from './positions.ts'

/** How long it takes at most until new records are seen where the system does not tell of changes. */
const pollMs = 20

/** Opens a topic for reading, whether it exists or not. */
export function openLocalReader(folder: string, topic: string, options: ReaderOptions = {}): TopicReader {
  return new LocalReader(topicFolder(folder, topic), topic, options)
}

class LocalReader implements TopicReader {
  readonly #path: string
  readonly #topic: string
  readonly #pipeline: string | undefined
  readonly #signal: AbortSignal | undefined
  #partitions: PartitionReader[] = []
  #watchers: FSWatcher[] = []
  /** Something may have been written since it was looked. */
  #changed = false
  #wake: () => void = () => {}
  #closed = false
  #opening: Promise<void> | undefined
  #reading: Promise<unknown> | undefined

  constructor(path: string, topic: string, { pipeline, signal }: ReaderOptions) {
    this.#path = path
    this.#topic = topic
    this.#pipeline = pipeline
    this.#signal = signal
    signal?.addEventListener('abort', this.#change)
  }

  async partitions(): Promise<PartitionEnds[]> {
    await this.#open()
    return await Promise.all(this.#partitions.map((partition) => partition.ends()))
  }

  read(from: ReadonlyMap<number, number>, sink: RecordSink, waitMs: number): Promise<Map<number, number>> {
    const reading = this.#read(from, sink, waitMs)
    this.#reading = reading
    return reading
  }

  async #read(from: ReadonlyMap<number, number>, sink: RecordSink, waitMs: number): Promise<Map<number, number>> {
    const next = new Map(from)
    const deadline = performance.now() + waitMs
    for (;;) {
      this.#signal?.throwIfAborted()
      this.#changed = false
      await this.#open()
      const some = await this.#readAll(next, sink)
      if (some || sink.full || this.#closed) return next
      const leftMs = deadline - performance.now()
      if (leftMs <= 0) return next
      await this.#changeOr(Math.min(leftMs, pollMs))
    }
  }

  async publish(positions: ReadonlyMap<number, number>): Promise<void> {
    if (this.#pipeline === undefined) return
    await this.#open()
    for (const [partition, offset] of positions) {
      // nothing has to be held in a topic that does not exist
      if (this.#partitions[partition] === undefined) continue
      await keepPosition(join(this.#path, String(partition)), this.#pipeline, offset)
    }
  }

  /** A few megabytes of each partition in turn, until there is no more of any. */
  async #readAll(next: Map<number, number>, sink: RecordSink): Promise<boolean> {
    let some = false
    let more = true
    while (more) {
      more = false
      for (const [partition, offset] of next) {
        if (sink.full || this.#closed) return some
        const reader = this.#partitions[partition]
        if (reader === undefined) {
          if (offset > 0) throw truncated(this.#topic, partition, offset, 0)
          continue
        }
        const reached = await reader.read(offset, sink)
        this.#signal?.throwIfAborted()
        if (reached === offset) continue
        next.set(partition, reached)
        more = some = true
      }
    }
    return some
  }

  /** Opens what the topic has, as soon as it exists. */
  async #open(): Promise<void> {
    if (this.#partitions.length > 0) return
    this.#opening ??= this.#openPartitions().finally(() => {
      this.#opening = undefined
    })
    await this.#opening
  }

  async #openPartitions(): Promise<void> {
    const count = await countPartitions(this.#path)
    const partitions: PartitionReader[] = []
    try {
      for (let partition = 0; partition < count; partition++) {
        const reader = new PartitionReader(this.#path, this.#topic, partition)
        partitions.push(reader)
        await this.#hold(join(this.#path, String(partition)), reader)
      }
    } catch (error) {
      for (const partition of partitions) await partition[Symbol.asyncDispose]()
      throw error
    }
    this.#partitions = partitions
    for (let partition = 0; partition < count; partition++) this.#watch(endPath(join(this.#path, String(partition))))
  }

  /** A pipeline that is new here holds all that is there, until it says how far it is. */
  async #hold(path: string, reader: PartitionReader): Promise<void> {
    if (this.#pipeline === undefined || (await positionOf(path, this.#pipeline)) !== undefined) return
    await keepPosition(path, this.#pipeline, (await reader.ends()).first)
  }

  #watch(path: string): void {
    try {
      const watcher = watch(path, { persistent: false }, this.#change)
      // looking every few milliseconds does it as well
      watcher.on('error', () => watcher.close())
      this.#watchers.push(watcher)
    } catch {
      // as above: the system may not have any watches left
    }
  }

  readonly #change = (): void => {
    this.#changed = true
    this.#wake()
  }

  async #changeOr(ms: number): Promise<void> {
    if (this.#changed) return
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#wake = resolve
    const timer = setTimeout(resolve, ms)
    await promise
    clearTimeout(timer)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    this.#change()
    this.#signal?.removeEventListener('abort', this.#change)
    // whoever waits for it hears of what is wrong
    await this.#reading?.catch(() => {})
    for (const watcher of this.#watchers) watcher.close()
    for (const partition of this.#partitions) await partition[Symbol.asyncDispose]()
  }
}
