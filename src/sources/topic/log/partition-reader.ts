import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { MillraceError } from '../../../errors.ts'
import { blankRecord, type PartitionEnds, type RecordAt, type RecordSink } from '../topic.ts'
import { type End, EndFile } from './durable-end.ts'
import { frameLength, take } from './frame.ts'
import { nearestPlace, readIndex, rebuildIndex } from './index-file.ts'
import { listSegments, segmentPath } from './layout.ts'
import { wholeTo } from './recover.ts'
import { damaged, type Place, readWhole } from './scan.ts'

const chunkBytes = 2 * 1024 * 1024
/** An index that leaves out more of a segment's end has not been written to its end. */
const tailBytes = 256 * 1024
const nothing = Buffer.alloc(0)

interface OpenSegment {
  first: number
  path: string
  file: FileHandle
}

/** Reads one partition from any offset on; fast where it goes on from where it was. */
export class PartitionReader implements AsyncDisposable {
  readonly #topic: string
  readonly #partition: number
  readonly #path: string
  readonly #endFile: EndFile
  #segment: OpenSegment | undefined
  /** The frame that comes next: its offset, and its place in the bytes at hand. */
  #offset = 0
  #bytes = nothing
  #at = 0
  /** Where the bytes at hand begin in the segment. */
  #bytesFrom = 0
  readonly #record: RecordAt

  constructor(topicPath: string, topic: string, partition: number) {
    this.#topic = topic
    this.#partition = partition
    this.#path = join(topicPath, String(partition))
    this.#endFile = new EndFile(this.#path, 'r')
    this.#record = blankRecord(partition)
  }

  async ends(): Promise<PartitionEnds> {
    const end = this.#endFile.read()
    const [first = end.offset] = await listSegments(this.#path)
    return { partition: this.#partition, first, end: end.offset }
  }

  /** Hands over what is there from this offset on, a few megabytes at most, and answers the offset to go on from. */
  async read(offset: number, sink: RecordSink): Promise<number> {
    const end = this.#endFile.read()
    if (offset > end.offset) return await this.#behind(offset, end)
    if (this.#segment === undefined || offset !== this.#offset) await this.#seek(offset, end)
    while (this.#offset < end.offset) {
      if (sink.full) break
      const from = this.#offset
      this.#handOver(offset, sink)
      if (this.#offset > from && this.#offset > offset) break
      if (!sink.full && this.#offset < end.offset) await this.#load(end)
    }
    return Math.max(offset, this.#offset)
  }

  /** Frames that are whole in the bytes at hand; those before the offset are passed over. */
  #handOver(offset: number, sink: RecordSink): void {
    const bytes = this.#bytes
    const record = this.#record
    const first = this.#segment?.first ?? 0
    while (this.#at < bytes.length) {
      const length = frameLength(bytes, this.#at, bytes.length, this.#offset - first)
      if (length === 0) return
      if (length < 0) throw this.#damage()
      if (this.#offset >= offset) {
        record.offset = this.#offset
        take(bytes, this.#at, length, record, sink)
      }
      this.#at += length
      this.#offset++
      if (sink.full) return
    }
  }

  /** Brings the bytes from the next frame on, and more of them than are at hand. */
  async #load(end: End): Promise<void> {
    const rest = this.#bytes.length - this.#at
    // a frame that did not fit says how long it is
    const needed = rest >= 4 ? this.#bytes.readUInt32LE(this.#at) : 0
    let from = this.#bytesFrom + this.#at
    if (rest === 0 && this.#segment?.first !== end.segment && from >= (await this.#limit(end))) {
      await this.#openNext(from)
      from = 0
    }
    const room = (await this.#limit(end)) - from
    if (room <= rest) throw this.#damage()
    const bytes = Buffer.allocUnsafeSlow(Math.min(Math.max(chunkBytes, needed), room))
    const read = this.#segment === undefined ? 0 : await readWhole(this.#segment.file, bytes, from)
    if (read < bytes.length) throw this.#damage()
    this.#bytes = bytes
    this.#bytesFrom = from
    this.#at = 0
  }

  async #openNext(from: number): Promise<void> {
    const segments = await listSegments(this.#path)
    const [first = 0] = segments
    if (this.#offset < first) throw this.#lost(this.#offset, first)
    if (segments.includes(this.#offset)) return await this.#open(this.#offset)
    throw damaged(this.#segment?.path ?? this.#path, from, `the record of offset ${this.#offset} is missing`)
  }

  /** How far the open segment may be read. */
  async #limit(end: End): Promise<number> {
    if (this.#segment === undefined) return 0
    if (this.#segment.first === end.segment) return end.position
    return (await this.#segment.file.stat()).size
  }

  async #seek(offset: number, end: End): Promise<void> {
    const segments = await listSegments(this.#path)
    const first = segments.findLast((each) => each <= offset)
    if (first === undefined) {
      // nothing was written yet
      if (segments.length === 0 && end.offset === 0) return
      throw this.#lost(offset, segments[0] ?? end.offset)
    }
    await this.#open(first, offset)
    const number = offset - first
    const closed = first !== end.segment
    let index = await readIndex(this.#path, first)
    const unindexed = (await this.#limit(end)) - (index.at(-1)?.position ?? 0)
    if (closed && unindexed > tailBytes) index = await rebuildIndex(this.#path, first)
    if (await this.#goTo(nearestPlace(index, number), end)) return
    // the index is wrong, unless the segment is
    if (closed && (await this.#goTo(nearestPlace(await rebuildIndex(this.#path, first), number), end))) return
    await this.#goTo({ number: 0, position: 0 }, end)
  }

  /** False when the index has named a place where no such frame lies. */
  async #goTo(place: Place, end: End): Promise<boolean> {
    this.#bytes = nothing
    this.#at = 0
    this.#bytesFrom = place.position
    this.#offset = (this.#segment?.first ?? 0) + place.number
    if (place.position === 0) return true
    try {
      for (;;) {
        await this.#load(end)
        const length = frameLength(this.#bytes, 0, this.#bytes.length, place.number)
        if (length !== 0) return length > 0
      }
    } catch {
      // what is really wrong is met again without the index
      return false
    }
  }

  async #open(first: number, offset = first): Promise<void> {
    await this.#segment?.file.close()
    this.#segment = undefined
    const path = segmentPath(this.#path, first)
    this.#segment = { first, path, file: await this.#openFile(path, offset) }
    this.#bytes = nothing
    this.#at = 0
    this.#bytesFrom = 0
  }

  async #openFile(path: string, offset: number): Promise<FileHandle> {
    try {
      return await open(path, 'r')
    } catch (error) {
      // it may have been removed since it was listed
      const [first = offset] = await listSegments(this.#path)
      throw first > offset ? this.#lost(offset, first) : error
    }
  }

  /** After a power cut the end may stand before records that were read: they are there, and the next writer finds them. */
  async #behind(offset: number, end: End): Promise<number> {
    if ((await wholeTo(this.#path, end)).offset >= offset) return offset
    throw truncated(this.#topic, this.#partition, offset, end.offset)
  }

  #lost(offset: number, first: number): MillraceError {
    return new MillraceError('POSITION_LOST', {
      at: `topic ${this.#topic}, partition ${this.#partition}`,
      message: `offset ${offset} comes next, and the first record there is has offset ${first}`,
      hint: 'the records between were removed before they were read; keep records for longer than a pipeline may be away',
    })
  }

  #damage(): MillraceError {
    return damaged(
      this.#segment?.path ?? this.#path,
      this.#bytesFrom + this.#at,
      `the record of offset ${this.#offset} is not what was written`,
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#endFile[Symbol.dispose]()
    await this.#segment?.file.close()
  }
}

export function truncated(topic: string, partition: number, offset: number, end: number): MillraceError {
  return new MillraceError('LOG_TRUNCATED', {
    at: `topic ${topic}, partition ${partition}`,
    message: `offset ${offset} comes next, but the topic ends at offset ${end}`,
    hint: 'the topic is older than the database or was made anew: bring back the one that belongs to it, or reset the pipeline',
  })
}
