import { openFilesReader } from './files/reader.ts'
import { openTopicSource } from './topic/source.ts'

/** Where events can come from in this build. */
export const sources = { files: openFilesReader, topic: openTopicSource } as const
