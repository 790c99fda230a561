import { join, resolve } from 'node:path'
import { asDiskFull } from '../../../errors.ts'
import { crc32c } from '../crc32c.ts'
import type { Appended, TopicRecord, TopicWriter, Values } from '../topic.ts'
import { Appender } from './appender.ts'
import { type Framed, framed, framedValues } from './frame.ts'
import { countPartitions, createTopic, topicFolder } from './layout.ts'
import { lockTopic } from './lock.ts'
import type { ResolvedLogOptions } from './options.ts'

const removeOldEveryMs = 60_000

/** The writers of this process, by folder: several of one topic share what is open, since only one may have it. */
const written = new Map<string, { users: number; log: Promise<TopicLog>; closing?: Promise<void> }>()

export async function openLocalWriter(
  folder: string,
  topic: string,
  options: ResolvedLogOptions,
): Promise<TopicWriter> {
  const path = resolve(topicFolder(folder, topic))
  while (written.get(path)?.closing !== undefined) await written.get(path)?.closing
  const shared = written.get(path) ?? { users: 0, log: TopicLog.open(folder, topic, options) }
  written.set(path, shared)
  shared.users++
  let left = false
  const leave = async (): Promise<void> => {
    if (left) return
    left = true
    shared.users--
    if (shared.users > 0) return
    shared.closing = shared.log
      .then((log) => log[Symbol.asyncDispose]())
      // one that could not be opened is not open
      .catch(() => {})
      .finally(() => written.delete(path))
    await shared.closing
  }
  try {
    const log = await shared.log
    const append: TopicWriter['append'] = async (records) => {
      // another process may write the topic now
      if (left) throw new Error(`the writer of topic ${topic} was closed`)
      return await log.append(records)
    }
    const appendValues: TopicWriter['appendValues'] = async (values) => {
      if (left) throw new Error(`the writer of topic ${topic} was closed`)
      return await log.appendValues(values)
    }
    return { append, appendValues, [Symbol.asyncDispose]: leave }
  } catch (error) {
    await leave()
    throw error
  }
}

/** A topic as the one process has it that writes it. */
class TopicLog implements AsyncDisposable {
  readonly #topic: string
  readonly #lock: Disposable
  readonly #partitions: Appender[]
  readonly #timer: NodeJS.Timeout
  /** The partition for records without a key: each append's go to one, in turn. */
  #turn = 0

  private constructor(topic: string, lock: Disposable, partitions: Appender[]) {
    this.#topic = topic
    this.#lock = lock
    this.#partitions = partitions
    this.#timer = setInterval(() => {
      for (const partition of partitions) void partition.removeOld()
    }, removeOldEveryMs).unref()
  }

  static async open(folder: string, topic: string, options: ResolvedLogOptions): Promise<TopicLog> {
    const path = topicFolder(folder, topic)
    const partitions: Appender[] = []
    let lock: Disposable | undefined
    try {
      await createTopic(folder, topic, options.partitions)
      lock = lockTopic(path, topic)
      const count = await countPartitions(path)
      for (let partition = 0; partition < count; partition++) {
        partitions.push(await Appender.open(join(path, String(partition)), partition, options))
      }
      return new TopicLog(topic, lock, partitions)
    } catch (error) {
      for (const partition of partitions) await partition[Symbol.asyncDispose]()
      lock?.[Symbol.dispose]()
      throw asDiskFull(error, path)
    }
  }

  async append(records: readonly TopicRecord[]): Promise<Appended[]> {
    const all = records.map((record) => framed(record, this.#topic))
    const parts = this.#partitions.map((): Framed[] => [])
    const turn = this.#turn++ % parts.length
    for (const each of all) {
      const { key } = each.record
      parts[key === undefined ? turn : crc32c(key, 0, key.length) % parts.length]?.push(each)
    }
    const appends = this.#partitions.map((partition, n) => {
      const part = parts[n] ?? []
      return part.length === 0 ? [] : [partition.append(part)]
    })
    return await Promise.all(appends.flat())
  }

  async appendValues(values: Values): Promise<Appended[]> {
    if (values.spans.length === 0) return []
    const all = framedValues(values, this.#topic)
    const partition = this.#partitions[this.#turn++ % this.#partitions.length]
    return partition === undefined ? [] : [await partition.appendValues(all)]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    for (const partition of this.#partitions) await partition[Symbol.asyncDispose]()
    this.#lock[Symbol.dispose]()
  }
}
