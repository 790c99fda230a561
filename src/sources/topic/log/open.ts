import type { Topics } from '../topic.ts'
import { type LogOptions, resolveOptions } from './options.ts'
import { openLocalReader } from './reader.ts'
import { openLocalWriter } from './writer.ts'

/**
 * The topics under a folder: append-only logs that stand in for Kafka when there is no broker. Where one process opens a
 * topic for writing twice, the options of the first opening hold.
 * `await using topics = openLocalTopics(join(dataDirectory, 'topics'))`
 */
export function openLocalTopics(folder: string, options: LogOptions = {}): Topics {
  const resolved = resolveOptions(options)
  return {
    is: 'local',
    openReader: async (topic, readerOptions) => openLocalReader(folder, topic, readerOptions),
    openWriter: async (topic) => await openLocalWriter(folder, topic, resolved),
    // what it has opened is closed by those who hold it
    async [Symbol.asyncDispose]() {},
  }
}
