import { type FileHandle, open } from 'node:fs/promises'
import { IndexWriter } from './index-file.ts'
import { indexPath, segmentPath, syncFolder } from './layout.ts'

/** The segment that is being written. */
export interface SegmentFile extends AsyncDisposable {
  readonly first: number
  readonly index: IndexWriter
  write(bytes: Buffer, position: number): Promise<void>
  sync(): Promise<void>
}

/** `is`: a new one is empty, whatever an append that failed has left there. */
export async function openSegment(partitionPath: string, first: number, is: 'new' | 'begun'): Promise<SegmentFile> {
  const file = await open(segmentPath(partitionPath, first), is === 'new' ? 'w' : 'r+')
  try {
    if (is === 'new') {
      await (await open(indexPath(partitionPath, first), 'w')).close()
      await syncFolder(partitionPath)
    }
    return segmentFile(first, file, new IndexWriter(partitionPath, first))
  } catch (error) {
    await file.close()
    throw error
  }
}

function segmentFile(first: number, file: FileHandle, index: IndexWriter): SegmentFile {
  return {
    first,
    index,
    async write(bytes, position) {
      for (let written = 0; written < bytes.length; ) {
        const { bytesWritten } = await file.write(bytes, written, bytes.length - written, position + written)
        written += bytesWritten
      }
    },
    async sync() {
      await file.datasync()
    },
    async [Symbol.asyncDispose]() {
      index[Symbol.dispose]()
      await file.close()
    },
  }
}
