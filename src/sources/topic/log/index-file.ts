/**
 * The index of a segment: a frame about every 64 kB, as its number and its position (two u32, little endian, ascending).
 * It only makes seeking short. Nothing believes it: the frame that it names is looked at, and an index that is lost or wrong
 * is made anew from the segment.
 */
import { randomUUID } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs'
import { open, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { indexPath, segmentPath } from './layout.ts'
import { type Place, scanFrames } from './scan.ts'

const entryBytes = 8
const everyBytes = 64 * 1024

/** Whether a frame at a position stands in the index, when the last one there lies at another. */
export function isIndexed(position: number, lastPosition: number): boolean {
  return position - lastPosition >= everyBytes
}

/** Adds a place to an index that is being made, if the last one is far enough away. */
export function addToIndex(index: Place[], place: Place): boolean {
  if (!isIndexed(place.position, index.at(-1)?.position ?? 0)) return false
  index.push(place)
  return true
}

/** As much of it as can be an index; nothing when it is lost. */
export async function readIndex(partitionPath: string, segment: number): Promise<Place[]> {
  const bytes = await readFile(indexPath(partitionPath, segment)).catch(() => Buffer.alloc(0))
  const index: Place[] = []
  for (let at = 0; at + entryBytes <= bytes.length; at += entryBytes) {
    const place = { number: bytes.readUInt32LE(at), position: bytes.readUInt32LE(at + 4) }
    if (!addToIndex(index, place)) break
  }
  return index
}

export async function writeIndex(partitionPath: string, segment: number, index: readonly Place[]): Promise<void> {
  const path = indexPath(partitionPath, segment)
  const making = `${path}.${randomUUID()}`
  try {
    await writeFile(making, bytesOf(index))
    await rename(making, path)
  } catch (error) {
    await rm(making, { force: true })
    throw error
  }
}

/** The index of a segment that is written no more, from its frames. */
export async function rebuildIndex(partitionPath: string, segment: number): Promise<Place[]> {
  await using file = await open(segmentPath(partitionPath, segment), 'r')
  const index: Place[] = []
  const { size } = await file.stat()
  const { whole } = await scanFrames(file, { number: 0, position: 0 }, size, (place) => addToIndex(index, place))
  // what lies behind damage is known to the old one alone; and without room on the disk it is made again next time
  if (whole) await writeIndex(partitionPath, segment, index).catch(() => {})
  return index
}

/** The last place in the index that is not behind a record. */
export function nearestPlace(index: readonly Place[], number: number): Place {
  let [from, to] = [0, index.length]
  while (from < to) {
    const middle = (from + to) >> 1
    if ((index[middle]?.number ?? 0) <= number) from = middle + 1
    else to = middle
  }
  return index[from - 1] ?? { number: 0, position: 0 }
}

/** Adds to the index of the segment that is being written. */
export class IndexWriter implements Disposable {
  readonly #file: number
  #written: number
  #waiting: Place[] = []

  constructor(partitionPath: string, segment: number) {
    this.#file = openSync(indexPath(partitionPath, segment), constants.O_WRONLY | constants.O_CREAT)
    const { size } = fstatSync(this.#file)
    this.#written = size - (size % entryBytes)
  }

  add(places: readonly Place[]): void {
    this.#waiting.push(...places)
    if (this.#waiting.length === 0) return
    const bytes = bytesOf(this.#waiting)
    try {
      if (writeSync(this.#file, bytes, 0, bytes.length, this.#written) < bytes.length) return
    } catch {
      // records come first: an index that has no room waits for it
      return
    }
    this.#written += bytes.length
    this.#waiting = []
  }

  [Symbol.dispose](): void {
    closeSync(this.#file)
  }
}

function bytesOf(index: readonly Place[]): Buffer {
  const bytes = Buffer.alloc(index.length * entryBytes)
  for (const [n, { number, position }] of index.entries()) {
    bytes.writeUInt32LE(number, n * entryBytes)
    bytes.writeUInt32LE(position, n * entryBytes + 4)
  }
  return bytes
}
