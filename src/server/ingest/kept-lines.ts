/** Lines that are posted to a follower: appended to files of its own, and durable before the answer. */
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { asDiskFull } from '../../errors.ts'
import { syncFolder } from '../../sources/topic/log/layout.ts'

/** Those that wait for the same write. */
interface Group {
  chunks: Uint8Array[]
  written: Promise<void>
}

interface Place {
  now: Promise<unknown>
  /** Is written when what is under way is done. */
  next: Group | undefined
}

const newline = 10

export class KeptLines {
  readonly #places = new Map<string, Place>()

  /** Resolves when they are on the disk. Each is whole, with its newline: what a crash has left of others stays apart. */
  async append(path: string, lines: Uint8Array): Promise<void> {
    const place = this.#places.get(path) ?? { now: Promise.resolve(), next: undefined }
    this.#places.set(path, place)
    if (place.next !== undefined) {
      place.next.chunks.push(lines)
      return await place.next.written
    }
    const chunks = [lines]
    const begin = async (): Promise<void> => {
      place.next = undefined
      await write(path, chunks)
    }
    // whatever became of those before them
    const written = place.now.then(begin, begin)
    place.next = { chunks, written }
    place.now = written
    try {
      await written
    } finally {
      if (place.now === written && place.next === undefined) this.#places.delete(path)
    }
  }

  /** Waits for what is under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled([...this.#places.values()].map(({ now }) => now))
  }
}

async function write(path: string, chunks: Uint8Array[]): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true })
    await using file = await open(path, 'a+')
    const { size } = await file.stat()
    const apart = size > 0 && !(await endsWithNewline(file, size)) ? [Buffer.from('\n')] : []
    await file.appendFile(Buffer.concat([...apart, ...chunks]))
    await file.datasync()
    if (size === 0) await syncFolder(dirname(path))
  } catch (error) {
    throw asDiskFull(error, path)
  }
}

async function endsWithNewline(file: FileHandle, size: number): Promise<boolean> {
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1)
  return buffer[0] === newline
}
