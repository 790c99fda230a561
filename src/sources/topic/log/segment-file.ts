import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { IndexWriter } from './index-file.ts'
import { indexPath, segmentPath, syncFolder } from './layout.ts'

/** The segment that is being written. */
export interface SegmentFile extends AsyncDisposable {
  readonly first: number
  readonly index: IndexWriter
  /** They are durable when it resolves. */
  write(parts: readonly Buffer[], position: number): Promise<void>
}

// Where a write can bring what it writes to the disk itself, nobody has to be told to do so after it.
const { O_RDWR, O_CREAT, O_TRUNC, O_DSYNC } = constants
const writesThrough = process.platform === 'linux'
const begun = O_RDWR | (writesThrough ? O_DSYNC : 0)

/** `is`: a new one is empty, whatever an append that failed has left there. */
export async function openSegment(partitionPath: string, first: number, is: 'new' | 'begun'): Promise<SegmentFile> {
  const file = await open(segmentPath(partitionPath, first), is === 'new' ? begun | O_CREAT | O_TRUNC : begun)
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
    async write(parts, position) {
      let at = position
      for (let rest = parts; rest.length > 0; ) {
        const { bytesWritten } = await file.writev(rest, at)
        at += bytesWritten
        rest = behind(rest, bytesWritten)
      }
      if (!writesThrough) await file.datasync()
    },
    async [Symbol.asyncDispose]() {
      index[Symbol.dispose]()
      await file.close()
    },
  }
}

// What is left of the parts once so many bytes of them are written.
function behind(parts: readonly Buffer[], bytes: number): Buffer[] {
  let left = bytes
  return parts.flatMap((part) => {
    const written = Math.min(left, part.length)
    left -= written
    return written === part.length ? [] : [part.subarray(written)]
  })
}
