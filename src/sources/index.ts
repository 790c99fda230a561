import { openFilesReader } from './files/reader.ts'

/** Where events can come from in this build. */
export const sources = { files: openFilesReader } as const
