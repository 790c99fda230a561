/** A topic of the local log in a folder of its own, and its files. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLocalTopics } from '../../src/sources/topic/log/open.ts'
import type { LogOptions } from '../../src/sources/topic/log/options.ts'
import type { TopicRecord, Topics } from '../../src/sources/topic/topic.ts'
import { type ReadRecord, readAll } from '../topic-contract/world.ts'

export const topic = 'events'

export interface LogFolder extends AsyncDisposable {
  /** Where the topics lie. */
  folder: string
  /** The files of partition 0. */
  partition: string
  topics(options?: LogOptions): Topics
  /** Opens the topic, appends each list, and closes it. */
  append(lists: readonly (readonly TopicRecord[])[], options?: LogOptions): Promise<void>
  records(): Promise<ReadRecord[]>
  values(): Promise<(string | null)[]>
  segment(first: number): string
}

export async function logFolder(): Promise<LogFolder> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-log-'))
  const partition = join(folder, topic, '0')
  const topics = (options?: LogOptions): Topics => openLocalTopics(folder, options)
  return {
    folder,
    partition,
    topics,
    async append(lists, options) {
      await using writer = await topics(options).openWriter(topic)
      for (const list of lists) await writer.append(list)
    },
    records: () => readAll(topics(), topic),
    values: async () => (await readAll(topics(), topic)).map(({ value }) => value),
    segment: (first) => join(partition, `${String(first).padStart(20, '0')}.log`),
    async [Symbol.asyncDispose]() {
      await rm(folder, { recursive: true, force: true })
    },
  }
}

export function texts(...values: string[]): TopicRecord[] {
  return values.map((value) => ({ value: Buffer.from(value) }))
}
