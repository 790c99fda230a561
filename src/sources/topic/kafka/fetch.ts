/** The request for records, and what a broker answers. The library's own would make an object of every record. */
import { createAPI, ResponseError, Writer } from '@platformatic/kafka'
import type { AbortedTransaction } from './aborted.ts'
import { readInt64 } from './batch-head.ts'

export interface FetchRequest {
  topic: string
  /** The broker answers when there is a record, at the latest after this time. */
  maxWaitMs: number
  maxBytes: number
  partitionMaxBytes: number
  /** By partition; those that come first are filled first. */
  offsets: ReadonlyMap<number, number>
}

/** What a broker says of one partition. */
export interface FetchedPartition {
  partition: number
  code: number
  aborted: AbortedTransaction[]
  /** Record batches, the last of them possibly cut off. */
  bytes: Buffer
}

const onlyCommitted = 1

/** Version 11: the last that is not written in compact forms, and spoken by every broker since 2.3. */
export const fetchRecords = createAPI<[FetchRequest], FetchedPartition[]>(
  1,
  11,
  writeRequest,
  // the bytes came in pieces, one for each read of the socket: here they are put together
  (_correlation, _key, _version, reader) => readAnswer(reader.buffer.slice(reader.position)),
  false,
  false,
)

function writeRequest(request: FetchRequest): Writer {
  const notInGroup = -1
  const noSession = { id: 0, epoch: -1 }
  return Writer.create()
    .appendInt32(notInGroup)
    .appendInt32(request.maxWaitMs)
    .appendInt32(1)
    .appendInt32(request.maxBytes)
    .appendInt8(onlyCommitted)
    .appendInt32(noSession.id)
    .appendInt32(noSession.epoch)
    .appendArray(
      [request.topic],
      (topics, topic) =>
        topics.appendString(topic, false).appendArray(
          [...request.offsets],
          (partitions, [partition, offset]) => {
            const unknownEpoch = -1
            partitions
              .appendInt32(partition)
              .appendInt32(unknownEpoch)
              .appendInt64(BigInt(offset))
              .appendInt64(-1n)
              .appendInt32(request.partitionMaxBytes)
          },
          false,
          false,
        ),
      false,
      false,
    )
    .appendArray([], () => {}, false, false)
    .appendString('', false)
}

function readAnswer(bytes: Buffer): FetchedPartition[] {
  const found: FetchedPartition[] = []
  // first comes for how long the broker held requests back, and behind the code the number of a session
  const code = bytes.readInt16BE(4)
  const topics = bytes.readInt32BE(10)
  let at = 14
  if (topics === 0 && code !== 0) throw new ResponseError(1, 11, { '/': [code, null] }, [])
  for (let t = 0; t < topics; t++) {
    at += 2 + bytes.readInt16BE(at)
    const partitions = bytes.readInt32BE(at)
    at += 4
    for (let p = 0; p < partitions; p++) {
      const partition = bytes.readInt32BE(at)
      const ownCode = bytes.readInt16BE(at + 4)
      // high watermark, last stable offset and first offset stand between
      at += 6 + 24
      const aborted: AbortedTransaction[] = []
      const listed = bytes.readInt32BE(at)
      at += 4
      for (let i = 0; i < listed; i++, at += 16) {
        aborted.push({ producer: readInt64(bytes, at), first: readInt64(bytes, at + 8) })
      }
      // a replica that would be nearer: none is asked for
      at += 4
      const length = Math.max(0, bytes.readInt32BE(at))
      at += 4
      found.push({ partition, code: ownCode === 0 ? code : ownCode, aborted, bytes: bytes.subarray(at, at + length) })
      at += length
    }
  }
  return found
}
