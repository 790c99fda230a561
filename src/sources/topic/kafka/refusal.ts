/** What a broker answers when it does not do what was asked: its numbers, as our errors. */
import { protocolErrors, protocolErrorsCodesById } from '@platformatic/kafka'
import { MillraceError } from '../../../errors.ts'

/** The numbers that the driver does something about; Kafka's own list has all of them. */
export const codes = {
  none: 0,
  offsetOutOfRange: 1,
  unknownTopic: 3,
  leaderNotAvailable: 5,
  requestTimedOut: 7,
  messageTooLarge: 10,
  recordListTooLarge: 18,
  tooFewReplicasAfterAppend: 20,
  outOfOrderSequence: 45,
  invalidProducerEpoch: 47,
  unknownProducerId: 59,
} as const

// The leader is another one by now, or there is none at the moment: the metadata tells.
const leaderMoved = new Set([3, 5, 6, 9, 56, 74, 75, 76, 78])
const coordinatorMoved = new Set([14, 15, 16])

export function isLeaderMoved(code: number): boolean {
  return leaderMoved.has(code)
}

export function isCoordinatorMoved(code: number): boolean {
  return coordinatorMoved.has(code)
}

/** How errors name a partition, here as for local topics. */
export function placeOf(topic: string, partition: number): string {
  return `topic ${topic}, partition ${partition}`
}

/** A refusal, told to a person; `at` is the topic and partition, or the group. */
export function refused(code: number, at: string): MillraceError {
  const id = protocolErrorsCodesById[code] ?? `error ${code}`
  const known = protocolErrors[id]
  const hint = hints[id]
  return new MillraceError('BROKER_REFUSED', {
    at,
    message: `Kafka answers ${id}${known === undefined ? '' : `: ${known.message.trim().replace(/\.$/, '')}`}`,
    ...(hint === undefined ? {} : { hint }),
    retry: known?.canRetry ?? false,
  })
}

const hints: Record<string, string> = {
  TOPIC_AUTHORIZATION_FAILED: 'the user of KAFKA_SASL_USERNAME needs the right to READ or WRITE this topic',
  GROUP_AUTHORIZATION_FAILED: 'the user of KAFKA_SASL_USERNAME needs the right to READ this group',
  CLUSTER_AUTHORIZATION_FAILED: 'the user of KAFKA_SASL_USERNAME needs the right to write idempotently',
  UNKNOWN_MEMBER_ID: 'a consumer group of the same name has members: give the pipeline, or the group, another name',
  NOT_ENOUGH_REPLICAS: 'fewer replicas are in step than min.insync.replicas asks for',
  UNSUPPORTED_VERSION: 'Kafka 2.4 or later is needed',
}
