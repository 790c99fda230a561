import { join } from 'node:path'
import type { Config } from '../../config.ts'
import { openKafka } from './kafka/open.ts'
import { openLocalTopics } from './log/open.ts'
import type { Topics } from './topic.ts'

/** Topics of Kafka where there are brokers, else the append-only logs of the data folder. */
export async function openTopics(config: Pick<Config, 'kafka' | 'topics' | 'dataDirectory'>): Promise<Topics> {
  if (config.kafka !== undefined) return await openKafka(config.kafka)
  return openLocalTopics(join(config.dataDirectory, 'topics'), config.topics)
}
