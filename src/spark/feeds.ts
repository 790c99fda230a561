/** What a stream on Spark reads: folders where files are dropped, or topics of Kafka. */
import { readFile } from 'node:fs/promises'
import type { KafkaSettings } from '../config.ts'
import { MillraceError } from '../errors.ts'
import type { FileFormat, Plan, TopicSource } from '../plan/plan.ts'
import { formatOfName } from '../sources/files-for-topic.ts'
import { pathsBySource } from './inputs.ts'

export type Feed =
  | { is: 'files'; path: string; format: FileFormat; options: Record<string, string> }
  | { is: 'topic'; options: Record<string, string> }

/** Of a batch of Spark's; what it makes is taken from there in smaller ones. */
const mostFiles = 1000
const mostMessages = 5_000_000

/** By source. `inputs` are folders or patterns, as `run` takes them. Errors: WRONG_USAGE, NOT_SUPPORTED, INVALID_SETTING. */
export async function feedsOf(
  plan: Plan,
  inputs: readonly string[],
  kafka: KafkaSettings | undefined,
): Promise<Map<string, Feed>> {
  const folders = inputs.length === 0 ? new Map<string, string[]>() : pathsBySource(plan, inputs)
  const feeds = new Map<string, Feed>()
  for (const [id, source] of Object.entries(plan.sources)) {
    const [path, ...more] = folders.get(id) ?? []
    if (more.length > 0)
      throw wrongInput(plan, `${more.length + 1} folders are named for ${id}, and a stream reads one folder or pattern`)
    if (source.is !== 'topic') throw wrongInput(plan, `${id} reads files, and only what reads topics runs there`)
    if (source.unknown?.is === 'keep') {
      throw new MillraceError('NOT_SUPPORTED', {
        at: source.topic,
        message: `"${source.unknown.as}" keeps the columns that are not known, which a stream on Spark does not`,
      })
    }
    feeds.set(id, path === undefined ? await topicFeed(plan, source, kafka) : filesFeed(source, path))
  }
  return feeds
}

// A pattern says by its end what is in the files; a folder has lines of JSON.
function filesFeed(source: TopicSource, path: string): Feed {
  const format: FileFormat = /\.(csv|jsonl|ndjson|json|parquet)(\.(gz|zst))?$/i.test(path)
    ? formatOfName(path)
    : { is: 'json lines' }
  if (format.is === 'csv') {
    throw new MillraceError('NOT_SUPPORTED', {
      at: path,
      message: 'on a stream no line of CSV is known to be the first of its file, and to name the columns',
      hint: 'let it read JSON lines or Parquet, or read CSV with millrace run --engine spark',
    })
  }
  refuseOrigins(source, ['partition', 'offset', 'timestamp', 'key', 'headers'], 'rows of files have none')
  return {
    is: 'files',
    path,
    format,
    options: {
      maxFilesPerTrigger: String(mostFiles),
      // a file with an old time is as new as any other
      maxFileAge: '36500d',
    },
  }
}

async function topicFeed(plan: Plan, source: TopicSource, kafka: KafkaSettings | undefined): Promise<Feed> {
  if (kafka === undefined) {
    throw wrongInput(plan, `${source.topic} is a local topic, which Spark cannot read`, [
      'set KAFKA_BOOTSTRAP_SERVERS, or name a folder of files with --input',
    ])
  }
  refuseOrigins(source, ['key', 'headers'], 'a stream on Spark does not read it')
  return {
    is: 'topic',
    options: {
      subscribe: source.topic,
      startingOffsets: 'earliest',
      // what was deleted unread is told, and not skipped
      failOnDataLoss: 'true',
      maxOffsetsPerTrigger: String(mostMessages),
      'kafka.isolation.level': 'read_committed',
      ...(await clientOptions(kafka)),
    },
  }
}

async function clientOptions({ servers, tls, sasl }: KafkaSettings): Promise<Record<string, string>> {
  const options: Record<string, string> = {
    'kafka.bootstrap.servers': servers.map(({ host, port }) => `${host}:${port}`).join(','),
    'kafka.security.protocol': `${sasl === undefined ? '' : 'SASL_'}${tls === undefined ? 'PLAINTEXT' : 'SSL'}`,
  }
  if (sasl !== undefined) {
    const login = sasl.mechanism === 'PLAIN' ? 'plain.PlainLoginModule' : 'scram.ScramLoginModule'
    options['kafka.sasl.mechanism'] = sasl.mechanism
    options['kafka.sasl.jaas.config'] =
      `org.apache.kafka.common.security.${login} required username=${jaas(sasl.username)} password=${jaas(sasl.password)};`
  }
  if (tls?.ca !== undefined) {
    options['kafka.ssl.truststore.type'] = 'PEM'
    options['kafka.ssl.truststore.certificates'] = await pem('KAFKA_SSL_CA', tls.ca)
  }
  if (tls?.cert !== undefined && tls.key !== undefined) {
    options['kafka.ssl.keystore.type'] = 'PEM'
    options['kafka.ssl.keystore.certificate.chain'] = await pem('KAFKA_SSL_CERT', tls.cert)
    options['kafka.ssl.keystore.key'] = await pem('KAFKA_SSL_KEY', tls.key)
  }
  return options
}

function jaas(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
}

async function pem(variable: string, path: string): Promise<string> {
  return await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new MillraceError('INVALID_SETTING', { at: variable, message: `the file ${path} cannot be read`, cause })
  })
}

function refuseOrigins({ columns, topic }: TopicSource, origins: readonly string[], why: string): void {
  const own = columns.find(({ origin }) => origin !== undefined && origins.includes(origin))
  if (own === undefined) return
  throw new MillraceError('NOT_SUPPORTED', {
    at: topic,
    message: `"${own.name}" is the ${own.origin} of a message: ${why}`,
  })
}

function wrongInput(plan: Plan, message: string, [hint]: string[] = []): MillraceError {
  return new MillraceError('WRONG_USAGE', { at: plan.name, message, ...(hint === undefined ? {} : { hint }) })
}
