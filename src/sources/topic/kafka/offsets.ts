/** Which offsets a topic has, and which ones a group is told. */
import { findCoordinatorV3, listOffsetsV5, offsetCommitV7 } from '@platformatic/kafka'
import { MillraceError } from '../../../errors.ts'
import type { PartitionEnds } from '../topic.ts'
import type { Cluster } from './cluster.ts'
import { codes, isCoordinatorMoved, placeOf, refused } from './refusal.ts'

const isolation = { all: 0, onlyCommitted: 1 } as const
const timestamps = { first: -2n, end: -1n } as const
const noEpoch = -1
const noReplica = -1

/** First and end offsets of partitions that one broker leads. The end is before what is not committed yet. */
export async function askEnds(
  cluster: Cluster,
  broker: number,
  topic: string,
  partitions: readonly number[],
): Promise<PartitionEnds[]> {
  const ask = async (timestamp: bigint): Promise<Map<number, number>> => {
    const answer = await cluster.ask(broker, listOffsetsV5.api, noReplica, isolation.onlyCommitted, [
      {
        name: topic,
        partitions: partitions.map((partitionIndex) => ({ partitionIndex, currentLeaderEpoch: noEpoch, timestamp })),
      },
    ])
    const told = answer.topics[0]?.partitions ?? []
    return new Map(
      told.map(({ partitionIndex, errorCode, offset }) => {
        if (errorCode !== codes.none) throw refused(errorCode, placeOf(topic, partitionIndex))
        return [partitionIndex, Number(offset)]
      }),
    )
  }
  const firsts = await ask(timestamps.first)
  const ends = await ask(timestamps.end)
  return partitions.map((partition) => ({
    partition,
    first: firsts.get(partition) ?? 0,
    end: ends.get(partition) ?? 0,
  }))
}

/** Tells a group how far its pipeline has come. It has no members: nobody is assigned anything by it. */
export async function commitOffsets(
  cluster: Cluster,
  group: string,
  topic: string,
  positions: ReadonlyMap<number, number>,
): Promise<void> {
  const notAMember = { generation: -1, id: '', instance: null }
  const found = await cluster.askAny(findCoordinatorV3.api, 0, [group])
  const coordinator = found.coordinators[0]
  if (coordinator === undefined || coordinator.errorCode !== codes.none) {
    throw refused(coordinator?.errorCode ?? codes.leaderNotAvailable, `group ${group}`)
  }
  const { generation, id, instance } = notAMember
  const answer = await cluster.ask(coordinator.nodeId, offsetCommitV7.api, group, generation, id, instance, [
    {
      name: topic,
      partitions: [...positions].map(([partitionIndex, offset]) => ({
        partitionIndex,
        committedOffset: BigInt(offset),
        committedLeaderEpoch: noEpoch,
        committedMetadata: null,
      })),
    },
  ])
  for (const { partitions } of answer.topics) {
    const fault = partitions.find(({ errorCode }) => errorCode !== codes.none)
    if (fault === undefined) continue
    const error = refused(fault.errorCode, `group ${group}, ${placeOf(topic, fault.partitionIndex)}`)
    throw isCoordinatorMoved(fault.errorCode) ? retried(error) : error
  }
}

function retried(error: MillraceError): MillraceError {
  return new MillraceError(error.code, { message: error.message, ...(error.at ? { at: error.at } : {}), retry: true })
}
