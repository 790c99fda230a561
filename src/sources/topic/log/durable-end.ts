import { closeSync, fdatasync, openSync, readSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { MillraceError } from '../../../errors.ts'
import { crc32c } from '../crc32c.ts'

/** Where a partition ends: the offset of the next record, and the byte of the segment at which it will lie. */
export interface End {
  /** The first offset of the segment. */
  segment: number
  position: number
  offset: number
}

/** Three numbers and their checksum, padded. */
const slotBytes = 32
const tries = 3

export async function createEndFile(partitionPath: string): Promise<void> {
  await using file = await open(endPath(partitionPath), 'wx')
  await file.write(slotOf({ segment: 0, position: 0, offset: 0 }), 0, slotBytes, 0)
  await file.write(Buffer.alloc(slotBytes), 0, slotBytes, slotBytes)
  await file.sync()
}

export function endPath(partitionPath: string): string {
  return join(partitionPath, 'end')
}

/**
 * The file in which a writer says how far records are durable; readers go no further. It has two slots, written in turn:
 * while one is half written, its checksum is wrong and the other holds.
 *
 * It is not synced with every append, so after a power cut it may be behind the truth, never before it.
 */
export class EndFile implements Disposable {
  readonly #path: string
  readonly #file: number
  readonly #bytes = Buffer.alloc(2 * slotBytes)
  #slot = 0

  constructor(partitionPath: string, mode: 'r' | 'r+') {
    this.#path = endPath(partitionPath)
    this.#file = openSync(this.#path, mode)
  }

  /** These 64 bytes are always in memory, so that waiting for them would cost more than reading them. */
  read(): End {
    for (let n = 0; n < tries; n++) {
      readSync(this.#file, this.#bytes, 0, this.#bytes.length, 0)
      const [first, second] = [endIn(this.#bytes, 0), endIn(this.#bytes, slotBytes)]
      const newest = first !== undefined && (second === undefined || first.offset > second.offset) ? 0 : 1
      const end = newest === 0 ? first : second
      this.#slot = 1 - newest
      if (end !== undefined) return end
    }
    throw new MillraceError('TOPIC_DAMAGED', {
      at: `${this.#path}, byte 0`,
      message: 'neither copy of the end of the log is whole',
      hint: 'bring the folder of the topic back from a backup, or remove it to begin anew',
    })
  }

  /** `end` is behind the one that was read. */
  write(end: End): void {
    writeSync(this.#file, slotOf(end), 0, slotBytes, this.#slot * slotBytes)
    this.#slot = 1 - this.#slot
  }

  async sync(): Promise<void> {
    await promisify(fdatasync)(this.#file)
  }

  [Symbol.dispose](): void {
    closeSync(this.#file)
  }
}

function slotOf({ segment, position, offset }: End): Buffer {
  const slot = Buffer.alloc(slotBytes)
  slot.writeDoubleLE(segment, 0)
  slot.writeDoubleLE(position, 8)
  slot.writeDoubleLE(offset, 16)
  slot.writeUInt32LE(crc32c(slot, 0, 24), 24)
  return slot
}

function endIn(bytes: Buffer, at: number): End | undefined {
  if (crc32c(bytes, at, at + 24) !== bytes.readUInt32LE(at + 24)) return undefined
  return { segment: bytes.readDoubleLE(at), position: bytes.readDoubleLE(at + 8), offset: bytes.readDoubleLE(at + 16) }
}
