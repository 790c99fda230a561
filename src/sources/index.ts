import { openFilesReader } from './files/reader.ts'
import { openFilesForTopic } from './files-for-topic.ts'
import { openTopicSource } from './topic/source.ts'

/** Where events can come from in this build. */
export const sources = { files: openFilesReader, filesForTopic: openFilesForTopic, topic: openTopicSource } as const
