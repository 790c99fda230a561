/** The request that writes batches, and what a broker answers. */
import { createAPI, type Reader, Writer } from '@platformatic/kafka'

export interface ProduceRequest {
  topic: string
  batches: readonly { partition: number; bytes: Buffer }[]
}

/** What became of one batch. */
export interface Produced {
  partition: number
  code: number
  /** The offset of its first record. */
  first: number
  /** What the broker says about a refusal. */
  message: string | null
}

const everyReplicaInStep = -1
/** For this long the broker waits for the other replicas. */
const replicasMs = 10_000

/** Version 8: the first that says why, and written in no compact forms. */
export const produceBatches = createAPI<[ProduceRequest], Produced[]>(
  0,
  8,
  ({ topic, batches }: ProduceRequest) =>
    Writer.create()
      .appendString(null, false)
      .appendInt16(everyReplicaInStep)
      .appendInt32(replicasMs)
      .appendArray(
        [topic],
        (topics, name) =>
          topics
            .appendString(name, false)
            .appendArray(
              [...batches],
              (partitions, { partition, bytes }) =>
                partitions.appendInt32(partition).appendInt32(bytes.length).append(bytes),
              false,
              false,
            ),
        false,
        false,
      ),
  (_correlation, _key, _version, reader) => readAnswer(reader),
  false,
  false,
)

function readAnswer(reader: Reader): Produced[] {
  const topics = reader.readArray(
    () => {
      reader.readString(false)
      return reader.readArray(() => readPartition(reader), false, false)
    },
    false,
    false,
  )
  return topics.flat()
}

function readPartition(reader: Reader): Produced {
  const partition = reader.readInt32()
  const code = reader.readInt16()
  const first = Number(reader.readInt64())
  // when it was appended, and where the log begins
  reader.skip(16)
  reader.readArray(
    () => {
      reader.readInt32()
      reader.readNullableString(false)
    },
    false,
    false,
  )
  return { partition, code, first, message: reader.readNullableString(false) }
}
