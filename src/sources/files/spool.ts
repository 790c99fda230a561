/** A file that one process fills and DuckDB then reads. Chunks are appended in order; a part can be taken back. */

import type { FileHandle } from 'node:fs/promises'
import { open } from 'node:fs/promises'
import { asDiskFull } from '../../errors.ts'
import { removeFile } from '../../remove-file.ts'

export class SpoolFile {
  readonly path: string
  #isThere = false
  #handle: FileHandle | undefined
  #pending: Buffer[] = []
  #pendingBytes = 0
  #written = 0

  constructor(path: string) {
    this.path = path
  }

  /** Bytes appended so far. */
  get bytes(): number {
    return this.#written + this.#pendingBytes
  }

  get pendingBytes(): number {
    return this.#pendingBytes
  }

  /** Takes a chunk over; it must not be changed until the next flush. */
  append(chunk: Buffer): void {
    this.#pending.push(chunk)
    this.#pendingBytes += chunk.length
  }

  /** Takes back all that was appended, while none of it is written. */
  takeBack(): Buffer | undefined {
    if (this.#isThere) return undefined
    const bytes = Buffer.concat(this.#pending)
    this.#pending = []
    this.#pendingBytes = 0
    return bytes
  }

  /** Writes what was appended. */
  async flush(): Promise<void> {
    if (this.#pending.length === 0) return
    const chunks = this.#pending
    this.#pending = []
    try {
      this.#isThere = true
      this.#handle ??= await open(this.path, 'w')
      for (let rest = chunks; rest.length > 0; ) {
        const { bytesWritten } = await this.#handle.writev(rest)
        this.#written += bytesWritten
        this.#pendingBytes -= bytesWritten
        rest = after(rest, bytesWritten)
      }
    } catch (error) {
      throw asDiskFull(error, this.path)
    }
  }

  /** Takes back everything after the first `bytes`. */
  async truncate(bytes: number): Promise<void> {
    await this.flush()
    await this.#handle?.truncate(bytes)
    this.#written = bytes
    // the next write goes where the file ends now
    await this.#handle?.close()
    this.#isThere = true
    this.#handle = await open(this.path, 'a')
  }

  async close(): Promise<void> {
    await this.flush()
    await this.#handle?.close()
    this.#handle = undefined
  }

  async remove(): Promise<void> {
    await this.#handle?.close()
    this.#handle = undefined
    if (this.#isThere) await removeFile(this.path)
  }
}

// What is left of the chunks once so many bytes of them are written.
function after(chunks: Buffer[], bytes: number): Buffer[] {
  let left = bytes
  for (let i = 0; i < chunks.length; i++) {
    const chunk = chunks[i] ?? Buffer.alloc(0)
    if (left < chunk.length) return [chunk.subarray(left), ...chunks.slice(i + 1)]
    left -= chunk.length
  }
  return []
}
