import type { FileHandle } from 'node:fs/promises'
import { MillraceError } from '../../../errors.ts'
import { frameLength } from './frame.ts'

/** Where a record's frame lies in its segment. */
export interface Place {
  number: number
  position: number
}

export interface Scanned {
  /** Behind the last whole frame. */
  at: Place
  /** Nothing but whole frames lies before the limit. */
  whole: boolean
}

const chunkBytes = 1024 * 1024

/** Walks from a frame to the next, as far as they are whole. */
export async function scanFrames(
  file: FileHandle,
  from: Place,
  limit: number,
  onFrame: (place: Place) => void = () => {},
): Promise<Scanned> {
  const at = { ...from }
  let wanted = chunkBytes
  while (at.position < limit) {
    const bytes = Buffer.allocUnsafe(Math.min(wanted, limit - at.position))
    const read = await readWhole(file, bytes, at.position)
    let seen = 0
    let frame = 0
    while (seen < read) {
      frame = frameLength(bytes, seen, read, at.number)
      if (frame <= 0) break
      onFrame({ number: at.number, position: at.position })
      seen += frame
      at.number++
      at.position += frame
    }
    if (frame < 0 || read < bytes.length) return { at, whole: false }
    if (frame === 0) {
      // the frame is cut off by the bytes read, or by the limit
      if (at.position - seen + read >= limit) return { at, whole: false }
      if (seen === 0) wanted = Math.max(wanted, read >= 4 ? bytes.readUInt32LE(0) : 0)
    }
  }
  return { at, whole: true }
}

/** Reads until the bytes are full or the file ends. */
export async function readWhole(file: FileHandle, bytes: Buffer, position: number): Promise<number> {
  let read = 0
  while (read < bytes.length) {
    const { bytesRead } = await file.read(bytes, read, bytes.length - read, position + read)
    if (bytesRead === 0) break
    read += bytesRead
  }
  return read
}

export function damaged(path: string, position: number, what: string): MillraceError {
  return new MillraceError('TOPIC_DAMAGED', {
    at: `${path}, byte ${position}`,
    message: what,
    hint: 'this was written whole once: look after the disk, and bring the file back from a backup if there is one',
  })
}
