/** Topics of a Kafka cluster. */
import { readFile } from 'node:fs/promises'
import type { ConnectionOptions } from '@platformatic/kafka'
import type { KafkaSettings } from '../../../config.ts'
import { MillraceError } from '../../../errors.ts'
import type { Topics } from '../topic.ts'
import { Cluster } from './cluster.ts'
import { KafkaReader } from './reader.ts'
import { KafkaWriter } from './writer.ts'

/** Opens no connection yet: a broker that does not answer is told by what first needs it. */
export async function openKafka(settings: KafkaSettings, now: () => number = Date.now): Promise<Topics> {
  const cluster = new Cluster(settings.servers, await connectionOptions(settings))
  return {
    is: 'kafka',
    openReader: async (topic, options = {}) => new KafkaReader(cluster, topic, options),
    openWriter: async (topic, { signal } = {}) => new KafkaWriter(cluster, topic, now, signal),
    [Symbol.asyncDispose]: async () => cluster[Symbol.dispose](),
  }
}

async function connectionOptions({ tls, sasl }: KafkaSettings): Promise<ConnectionOptions> {
  const options: ConnectionOptions = { connectTimeout: 5_000, requestTimeout: 15_000 }
  if (sasl !== undefined) options.sasl = sasl
  if (tls !== undefined) {
    const files = { ca: tls.ca, cert: tls.cert, key: tls.key }
    const contents = await Promise.all(Object.entries(files).map(([name, path]) => readPem(name, path)))
    options.tls = Object.fromEntries(contents.filter(([, content]) => content !== undefined))
  }
  return options
}

async function readPem(name: string, path: string | undefined): Promise<[string, Buffer | undefined]> {
  if (path === undefined) return [name, undefined]
  try {
    return [name, await readFile(path)]
  } catch (error) {
    throw new MillraceError('INVALID_SETTING', {
      at: `KAFKA_SSL_${name.toUpperCase()}`,
      message: `the file ${path} cannot be read`,
      cause: error,
    })
  }
}
