import { rm, truncate } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { asDiskFull } from '../../../errors.ts'
import { failpoint } from '../../../failpoint.ts'
import type { Appended } from '../topic.ts'
import { type End, EndFile } from './durable-end.ts'
import { type Framed, type FramedValues, frameHead, writeFrame, writeValueFrame } from './frame.ts'
import { isIndexed } from './index-file.ts'
import { indexPath, listSegments, segmentPath } from './layout.ts'
import type { ResolvedLogOptions } from './options.ts'
import { type Recovered, recover } from './recover.ts'
import { removeOldSegments } from './retention.ts'
import type { Place } from './scan.ts'
import { openSegment, type SegmentFile } from './segment-file.ts'

/** Frames that wait to be written, of one segment. */
interface Chunk {
  segment: number
  bytes: Buffer
  used: number
  index: Place[]
  /** The appends whose last frame is in here. */
  waiting: Waiting[]
}

interface Waiting {
  appended: Appended
  resolve(appended: Appended): void
  reject(error: unknown): void
}

const chunkBytes = 1024 * 1024
/** So many chunks are kept to be filled again. */
const spareChunks = 4

/**
 * Appends to a partition. Frames are laid into memory when they come; while one group is on its way to the disk the next one
 * gathers, so that one sync serves all who wait.
 */
export class Appender implements AsyncDisposable {
  readonly #path: string
  readonly #partition: number
  readonly #options: ResolvedLogOptions
  readonly #endFile: EndFile
  /** How far records are durable. */
  #durable: End
  /** Where the next frame goes: ahead of that by what waits. */
  #next: End
  #indexedTo: number
  #chunks: Chunk[] = []
  readonly #spare: Buffer[] = []
  #segment: SegmentFile | undefined
  #flushing: Promise<void> | undefined
  /** Bytes that are no records may lie behind the end, and must be cut before others are written there. */
  #leftovers = false

  static async open(path: string, partition: number, options: ResolvedLogOptions): Promise<Appender> {
    const endFile = new EndFile(path, 'r+')
    try {
      const appender = new Appender(path, partition, options, endFile, await recover(path, endFile))
      await appender.removeOld()
      return appender
    } catch (error) {
      endFile[Symbol.dispose]()
      throw error
    }
  }

  private constructor(
    path: string,
    partition: number,
    options: ResolvedLogOptions,
    endFile: EndFile,
    { end, index }: Recovered,
  ) {
    this.#path = path
    this.#partition = partition
    this.#options = options
    this.#endFile = endFile
    this.#durable = end
    this.#next = { ...end }
    this.#indexedTo = index.at(-1)?.position ?? 0
  }

  /** All of them are durable when it resolves, and none of them is there when it rejects. */
  append(records: readonly Framed[]): Promise<Appended> {
    const first = this.#beginAppend()
    const nowMs = this.#options.now()
    for (const framed of records) {
      const chunk = this.#chunkFor(framed.bytes)
      writeFrame(chunk.bytes, chunk.used, this.#next.offset - this.#next.segment, framed, nowMs)
      this.#laid(chunk, framed.bytes)
    }
    return this.#endAppend(first)
  }

  /** The same of values. */
  appendValues(framed: FramedValues): Promise<Appended> {
    const first = this.#beginAppend()
    const nowMs = this.#options.now()
    const { spans } = framed.values
    const beside = frameHead + framed.headers.length
    for (let n = 0; n < spans.length; n += 2) {
      const from = spans[n] ?? 0
      const end = spans[n + 1] ?? 0
      const chunk = this.#chunkFor(beside + end - from)
      writeValueFrame(chunk.bytes, chunk.used, this.#next.offset - this.#next.segment, framed, from, end, nowMs)
      this.#laid(chunk, beside + end - from)
    }
    return this.#endAppend(first)
  }

  // An append lies in one segment, so that it is one group's and can be taken back.
  #beginAppend(): number {
    if (this.#next.position >= this.#options.segmentBytes) this.#beginSegment()
    return this.#next.offset
  }

  #endAppend(first: number): Promise<Appended> {
    const appended = { partition: this.#partition, first, end: this.#next.offset }
    const chunk = this.#chunks.at(-1)
    const durable = new Promise<Appended>((resolve, reject) => chunk?.waiting.push({ appended, resolve, reject }))
    this.#flushing ??= this.#flush()
    return durable
  }

  async removeOld(): Promise<void> {
    // what cannot be removed now can be later: appends do not depend on it
    await removeOldSegments(this.#path, this.#options).catch(() => {})
  }

  #beginSegment(): void {
    this.#next = { segment: this.#next.offset, position: 0, offset: this.#next.offset }
    this.#indexedTo = 0
  }

  #chunkFor(bytes: number): Chunk {
    const last = this.#chunks.at(-1)
    return last !== undefined && fits(last, this.#next.segment, bytes) ? last : this.#addChunk(bytes)
  }

  #addChunk(least: number): Chunk {
    const bytes = least > chunkBytes ? Buffer.allocUnsafeSlow(least) : this.#spare.pop()
    const chunk: Chunk = {
      segment: this.#next.segment,
      bytes: bytes ?? Buffer.allocUnsafeSlow(chunkBytes),
      used: 0,
      index: [],
      waiting: [],
    }
    this.#chunks.push(chunk)
    return chunk
  }

  // A frame of so many bytes lies in the chunk.
  #laid(chunk: Chunk, bytes: number): void {
    const next = this.#next
    if (isIndexed(next.position, this.#indexedTo)) {
      chunk.index.push({ number: next.offset - next.segment, position: next.position })
      this.#indexedTo = next.position
    }
    chunk.used += bytes
    next.position += bytes
    next.offset++
  }

  async #flush(): Promise<void> {
    while (this.#chunks.length > 0) {
      // what else has just come in joins
      await setImmediate()
      const segment = this.#chunks[0]?.segment
      const others = this.#chunks.findIndex((chunk) => chunk.segment !== segment)
      const group = this.#chunks.splice(0, others < 0 ? this.#chunks.length : others)
      try {
        await this.#write(group)
      } catch (error) {
        await this.#fail(group, asDiskFull(error, this.#path))
        continue
      }
      for (const { bytes, waiting } of group) {
        if (bytes.length === chunkBytes && this.#spare.length < spareChunks) this.#spare.push(bytes)
        for (const { appended, resolve } of waiting) resolve(appended)
      }
    }
    this.#flushing = undefined
  }

  async #write(group: readonly Chunk[]): Promise<void> {
    const end = { ...this.#durable }
    const first = group[0]?.segment ?? end.segment
    if (this.#leftovers) await this.#cut()
    this.#leftovers = true
    if (first !== end.segment) {
      end.segment = first
      end.position = 0
    }
    const segment = await this.#open(end)
    const parts = group.map(({ bytes, used }) => bytes.subarray(0, used))
    await failpoint('log begun')
    await segment.write(parts, end.position)
    for (const { used, waiting } of group) {
      end.position += used
      end.offset = waiting.at(-1)?.appended.end ?? end.offset
    }
    await failpoint('log synced')
    this.#endFile.write(end)
    this.#durable = end
    this.#leftovers = false
    await failpoint('log ended')
    segment.index.add(group.flatMap(({ index }) => index))
  }

  async #open(end: End): Promise<SegmentFile> {
    if (this.#segment?.first === end.segment) return this.#segment
    if (this.#segment !== undefined) {
      await this.#closeSegment()
      // so that after a power cut little is to be looked at
      await this.#endFile.sync()
      await this.removeOld()
    }
    this.#segment = await openSegment(this.#path, end.segment, end.position === 0 ? 'new' : 'begun')
    return this.#segment
  }

  // Those that came later have their places behind these, and go with them: they would have to pass them otherwise.
  async #fail(group: readonly Chunk[], error: unknown): Promise<void> {
    // if it cannot be done now, it is before the next group
    await this.#cut().catch(() => {})
    const failed = [...group, ...this.#chunks.splice(0)]
    this.#next = { ...this.#durable }
    this.#indexedTo = 0
    for (const { waiting } of failed) for (const { reject } of waiting) reject(error)
  }

  async #cut(): Promise<void> {
    await this.#closeSegment()
    const { segment: last, position } = this.#durable
    for (const segment of await listSegments(this.#path)) {
      if (segment < last) continue
      if (segment === last && position > 0) {
        await truncate(segmentPath(this.#path, segment), position)
        continue
      }
      await rm(indexPath(this.#path, segment), { force: true })
      await rm(segmentPath(this.#path, segment))
    }
    this.#leftovers = false
  }

  async #closeSegment(): Promise<void> {
    const segment = this.#segment
    this.#segment = undefined
    await segment?.[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#flushing
    await this.#closeSegment()
    this.#endFile[Symbol.dispose]()
  }
}

function fits(chunk: Chunk, segment: number, bytes: number): boolean {
  return chunk.segment === segment && chunk.bytes.length - chunk.used >= bytes
}
