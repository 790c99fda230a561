/** The environment, read once and checked, as one object. What a variable means stands in the tables below. */

import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseEnv } from 'node:util'
import { parseDuration } from './duration.ts'
import { MillraceError } from './errors.ts'

export type SettingType = 'text' | 'folder' | 'whole number' | 'number' | 'duration' | 'bytes' | 'switch' | 'secret'

export interface SettingSpec {
  type: SettingType
  /** As it would be written in the environment; empty means not set. */
  default: string
  /** The only values a text may have. */
  choices?: readonly string[]
  /** `run` takes it as an option of this name too. */
  option?: string
  says: string
}

/** Values by variable: durations in milliseconds, sizes in bytes, folders absolute. */
export type SettingValues = Record<string, string | number | boolean>

/** Every variable of Millrace itself, in the order of `.env.example`. Systems add their own. */
export const variables = {
  DATABASE_URL: {
    type: 'secret',
    default: '',
    says: 'Postgres 15 or later, as postgresql://user:password@host:port/database?sslmode=verify-full; empty: the embedded one',
  },
  POSTGRES_URL: {
    type: 'secret',
    default: '',
    says: 'the same, when DATABASE_URL is not set; jdbc:postgresql: is accepted',
  },
  POSTGRES_USER: { type: 'text', default: '', says: 'user for a POSTGRES_URL that names none' },
  POSTGRES_PASSWORD: { type: 'secret', default: '', says: 'password for a POSTGRES_URL that has none' },
  DB_HOST: { type: 'text', default: '', says: 'host of Postgres, when neither URL is set' },
  DB_PORT: { type: 'whole number', default: '5432', says: 'its port' },
  DB_USER: { type: 'text', default: 'postgres', says: 'its user' },
  DB_PASSWORD: { type: 'secret', default: '', says: 'its password' },
  DB_NAME: { type: 'text', default: 'postgres', says: 'its database' },
  POSTGRES_PORT: {
    type: 'whole number',
    default: '0',
    says: 'port of the embedded Postgres; 0: a free one, kept from then on',
  },
  MILLRACE_DATA: { type: 'folder', default: 'data', says: 'everything Millrace writes lies under this folder' },
  HOST: {
    type: 'text',
    default: '127.0.0.1',
    says: 'address of the server; any but this machine needs API_TOKENS_FILE',
  },
  PORT: { type: 'whole number', default: '4040', says: 'port of the server' },
  KAFKA_BOOTSTRAP_SERVERS: {
    type: 'text',
    default: '',
    says: 'brokers to ask first, as host:port,host:port; empty: topics are local, under MILLRACE_DATA',
  },
  KAFKA_SECURITY_PROTOCOL: {
    type: 'text',
    default: 'PLAINTEXT',
    choices: ['PLAINTEXT', 'SSL', 'SASL_PLAINTEXT', 'SASL_SSL'],
    says: 'how the brokers are spoken to: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL',
  },
  KAFKA_SASL_MECHANISM: {
    type: 'text',
    default: 'PLAIN',
    choices: ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'],
    says: 'how the user is proved to them: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512',
  },
  KAFKA_SASL_USERNAME: { type: 'text', default: '', says: 'the user, for SASL_PLAINTEXT and SASL_SSL' },
  KAFKA_SASL_PASSWORD: { type: 'secret', default: '', says: "the user's password" },
  KAFKA_SSL_CA: {
    type: 'text',
    default: '',
    says: "PEM file with who signs the brokers' certificates; empty: whom this machine trusts",
  },
  KAFKA_SSL_CERT: { type: 'text', default: '', says: 'PEM file with our certificate, for brokers that ask for one' },
  KAFKA_SSL_KEY: { type: 'text', default: '', says: 'PEM file with its key' },
  SPARK_REMOTE: {
    type: 'secret',
    default: '',
    says: 'a Spark Connect server for runs with --engine spark, as sc://host:15002/;token=...',
  },
  SPARK_DATABASE_URL: {
    type: 'secret',
    default: '',
    says: 'how Spark reaches the database, where that is another way than ours; empty: the same',
  },
  CHECKPOINT_LOCATION: {
    type: 'folder',
    default: 'spark',
    says: 'where streams on Spark keep how far they are, and what they hand over; the Spark server and Millrace see it under the same path; a relative one lies under MILLRACE_DATA',
  },
  API_TOKENS_FILE: {
    type: 'text',
    default: '',
    says: 'access tokens, as millrace tokens writes them; empty: this machine alone, without tokens',
  },
  LOG_LEVEL: { type: 'text', default: 'info', says: 'debug, info, warn or error' },
  INGEST_MAX_BODY: { type: 'bytes', default: '16 MB', says: 'bytes of a body of events at most, as it is sent' },
  INGEST_MAX_UNPACKED: { type: 'bytes', default: '64 MB', says: 'bytes that a packed body may unpack to' },
  INGEST_MAX_EVENT: { type: 'bytes', default: '1 MB', says: 'bytes of one posted event at most, up to 32 MB' },
  INGEST_MAX_AHEAD: {
    type: 'whole number',
    default: '5000000',
    says: 'events that a topic may hold which a pipeline that reads it has not committed; then no more are taken over HTTP',
  },
  INGEST_DISK_RESERVE: {
    type: 'bytes',
    default: '256 MB',
    says: 'room that events posted to local topics leave on their disk',
  },
  INGEST_WAIT: {
    type: 'duration',
    default: '10 s',
    says: 'how long who waits for the commit of posted events is left without an answer',
  },
  BATCH_MAX_ROWS: { type: 'whole number', default: '200000', says: 'rows in one batch at most' },
  BATCH_MAX_BYTES: { type: 'bytes', default: '64 MB', says: 'bytes of input in one batch at most' },
  TOPIC_KEEP_FOR: {
    type: 'duration',
    default: '7 days',
    says: 'how long a local topic keeps messages that every pipeline has read; Kafka has settings of its own',
  },
  TOPIC_KEEP_BYTES: {
    type: 'bytes',
    default: '0',
    says: 'bytes above which a local topic drops the oldest messages that every pipeline has read; 0: no limit',
  },
  BATCH_INTERVAL: {
    type: 'duration',
    default: '50 ms',
    says: 'how long a small batch waits for more after the one before it; up to 1 s while posts that nobody waits for take all of the server',
  },
  OUTBOX_MAX_ROWS: {
    type: 'whole number',
    default: '1000000',
    says: 'messages of a pipeline that wait for their topic; with so many it commits no more until some are published',
  },
  REDIS_URL: {
    type: 'secret',
    default: '',
    says: 'a Redis that keeps answers for all processes, as redis://user:password@host:port/database, or rediss:// for TLS; empty: each process keeps its own',
  },
  CACHE_TTL: { type: 'whole number', default: '3600', says: 'seconds for which an answer is kept at most' },
  DEAD_LETTERS_KEEP: {
    type: 'duration',
    default: '30 days',
    says: 'how long dead letters stay in the database after they were replayed or discarded; then they go to archived/ under MILLRACE_DATA. Open ones stay',
  },
  LATE_ROWS_KEEP: {
    type: 'duration',
    default: '30 days',
    says: 'how long late rows stay in the database; then they go to archived/ under MILLRACE_DATA',
  },
  TASKS_KEEP: {
    type: 'duration',
    default: '30 days',
    says: 'how long a task that has failed for good is kept, so that it can be run again',
  },
  STARTUP_WAIT: {
    type: 'duration',
    default: '120 s',
    says: 'how long a database that does not answer is waited for at start',
  },
  MEMORY_LIMIT: {
    type: 'bytes',
    default: '96 MB',
    says: "DuckDB's memory; while this is not set, a worker has 64 MB more for each pipeline, and one that reads Parquet 512 MB; what does not fit goes to disk under MILLRACE_DATA",
  },
} as const satisfies Record<string, SettingSpec>

export interface Config {
  /** Where Postgres is; undefined means the embedded one. */
  database: DatabaseAddress | undefined
  postgresPort: number
  /** Where Kafka is; undefined means that topics are local. */
  kafka: KafkaSettings | undefined
  /** A Spark Connect server, how it reaches the database where that is another way than ours, and where its streams lie. */
  spark: { remote: string | undefined; databaseUrl: string | undefined; checkpoints: string }
  /** How long local topics keep what was read, and how much of it; Infinity: no limit. */
  topics: { keepForMs: number; keepBytes: number }
  dataDirectory: string
  host: string
  port: number
  /** Access tokens; without it the server answers this machine alone, whoever asks. */
  tokensFile: string | undefined
  logLevel: 'debug' | 'info' | 'warn' | 'error'
  ingest: IngestLimits
  batchMaxRows: number
  batchMaxBytes: number
  batchIntervalMs: number
  outboxMaxRows: number
  cache: CacheSettings
  /** For how long what is done with stays in the database. */
  keep: { deadLettersMs: number; lateRowsMs: number; tasksMs: number }
  startupWaitMs: number
  memoryLimitMb: number
  /** Values of the systems' own variables, by variable. */
  settings: SettingValues
  /** Sentences about values that were read but look wrong. */
  warnings: string[]
  /** Every variable as it was resolved, secrets masked, in order. */
  resolved: { name: string; value: string; from: 'environment' | '.env' | 'default' }[]
}

/** Where answers are kept, and for how long. */
export interface CacheSettings {
  /** Undefined: in each process. */
  redisUrl: string | undefined
  ttlSeconds: number
}

/** What is taken over HTTP. */
export interface IngestLimits {
  bodyBytes: number
  unpackedBytes: number
  eventBytes: number
  /** How many events a topic may be ahead of a pipeline. */
  ahead: number
  diskReserveBytes: number
  /** How long a commit is waited for. */
  waitMs: number
}

export interface DatabaseAddress {
  /** postgresql://..., as `pg` takes it. */
  url: string
  /** The variable it came from. */
  from: string
}

export interface KafkaSettings {
  /** Where to ask first who the brokers are. */
  servers: { host: string; port: number }[]
  /** Files, where they are named; undefined means no TLS. */
  tls: { ca: string | undefined; cert: string | undefined; key: string | undefined } | undefined
  sasl: { mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'; username: string; password: string } | undefined
}

/** Reads the environment (and `.env` in `folder`, where the environment is silent) for these systems' settings too. */
export function loadConfig(
  systemSettings: Record<string, SettingSpec>,
  environment: Record<string, string | undefined> = process.env,
  folder: string = process.cwd(),
): Config {
  const file = readEnvFile(join(folder, '.env'))
  const specs: Record<string, SettingSpec> = { ...variables, ...systemSettings }
  const raw = (name: string): string => environment[name] || file[name] || ''
  const dataDirectory = resolve(folder, raw('MILLRACE_DATA') || variables.MILLRACE_DATA.default)

  const values: SettingValues = {}
  const resolved: Config['resolved'] = []
  for (const [name, spec] of Object.entries(specs)) {
    const given = raw(name)
    values[name] =
      name === 'MILLRACE_DATA' ? dataDirectory : parseSetting(name, spec, given || spec.default, dataDirectory)
    const from = environment[name] ? 'environment' : file[name] ? '.env' : 'default'
    resolved.push({ name, value: spec.type === 'secret' ? masked(given) : given || spec.default, from })
  }
  // as: each was parsed by the type its spec names
  const number = (name: keyof typeof variables): number => values[name] as number
  const word = (name: keyof typeof variables): string => values[name] as string

  const host = word('HOST')
  const tokensFile = word('API_TOKENS_FILE') || undefined
  if (tokensFile === undefined && !['127.0.0.1', 'localhost', '::1'].includes(host)) {
    throw new MillraceError('INVALID_SETTING', {
      at: 'HOST',
      message: `"${host}" would open the server to other machines, and there are no access tokens`,
      hint: 'make one with millrace tokens add NAME and set API_TOKENS_FILE, or leave HOST at 127.0.0.1',
    })
  }
  const logLevel = word('LOG_LEVEL')
  if (logLevel !== 'debug' && logLevel !== 'info' && logLevel !== 'warn' && logLevel !== 'error') {
    throw new MillraceError('INVALID_SETTING', {
      at: 'LOG_LEVEL',
      message: `"${logLevel}" is not debug, info, warn or error`,
    })
  }
  const warnings: string[] = []
  return {
    database: databaseAddress(raw, warnings),
    postgresPort: portOf('POSTGRES_PORT', number('POSTGRES_PORT')),
    kafka: kafkaSettings(word, folder, warnings),
    spark: {
      remote: word('SPARK_REMOTE') || undefined,
      databaseUrl: raw('SPARK_DATABASE_URL') ? postgresUrl('SPARK_DATABASE_URL', raw('SPARK_DATABASE_URL')) : undefined,
      checkpoints: word('CHECKPOINT_LOCATION'),
    },
    topics: { keepForMs: number('TOPIC_KEEP_FOR'), keepBytes: number('TOPIC_KEEP_BYTES') || Number.POSITIVE_INFINITY },
    dataDirectory,
    host,
    port: portOf('PORT', number('PORT')),
    tokensFile: tokensFile === undefined ? undefined : resolve(folder, tokensFile),
    logLevel,
    ingest: {
      bodyBytes: atLeast('INGEST_MAX_BODY', number('INGEST_MAX_BODY'), 1),
      unpackedBytes: atLeast('INGEST_MAX_UNPACKED', number('INGEST_MAX_UNPACKED'), 1),
      eventBytes: atMost('INGEST_MAX_EVENT', atLeast('INGEST_MAX_EVENT', number('INGEST_MAX_EVENT'), 1), 32_000_000),
      ahead: atLeast('INGEST_MAX_AHEAD', number('INGEST_MAX_AHEAD'), 1),
      diskReserveBytes: number('INGEST_DISK_RESERVE'),
      waitMs: number('INGEST_WAIT'),
    },
    batchMaxRows: atLeast('BATCH_MAX_ROWS', number('BATCH_MAX_ROWS'), 1),
    batchMaxBytes: atLeast('BATCH_MAX_BYTES', number('BATCH_MAX_BYTES'), 1024),
    batchIntervalMs: number('BATCH_INTERVAL'),
    outboxMaxRows: atLeast('OUTBOX_MAX_ROWS', number('OUTBOX_MAX_ROWS'), 1),
    cache: { redisUrl: redisUrl(word('REDIS_URL')), ttlSeconds: atLeast('CACHE_TTL', number('CACHE_TTL'), 1) },
    keep: {
      deadLettersMs: number('DEAD_LETTERS_KEEP'),
      lateRowsMs: number('LATE_ROWS_KEEP'),
      tasksMs: number('TASKS_KEEP'),
    },
    startupWaitMs: number('STARTUP_WAIT'),
    memoryLimitMb: Math.floor(atLeast('MEMORY_LIMIT', number('MEMORY_LIMIT'), 64_000_000) / 1_000_000),
    settings: Object.fromEntries(Object.keys(systemSettings).map((name) => [name, values[name] ?? ''])),
    warnings,
    resolved,
  }
}

function readEnvFile(path: string): Record<string, string | undefined> {
  try {
    return parseEnv(readFileSync(path, 'utf8'))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {}
    throw new MillraceError('INVALID_SETTING', { at: path, message: 'the file cannot be read', cause: error })
  }
}

function parseSetting(
  name: string,
  spec: SettingSpec,
  value: string,
  dataDirectory: string,
): string | number | boolean {
  const wrong = (expected: string): MillraceError =>
    new MillraceError('INVALID_SETTING', { at: name, message: `"${value}" is not ${expected}` })
  switch (spec.type) {
    case 'text':
      if (spec.choices !== undefined && !spec.choices.includes(value)) throw wrong(`one of ${spec.choices.join(', ')}`)
      return value
    case 'secret':
      return value
    case 'folder':
      return resolve(dataDirectory, value)
    case 'whole number':
      if (!/^\d{1,15}$/.test(value)) throw wrong('a whole number')
      return Number(value)
    case 'number':
      if (value.trim() === '' || !Number.isFinite(Number(value))) throw wrong('a number')
      return Number(value)
    case 'duration': {
      // only a default can be empty, and means that there is none
      if (value === '') return ''
      const ms = parseDuration(value)
      if (ms === undefined) throw wrong('a duration such as "250 ms", "10 seconds" or "24 hours"')
      return ms
    }
    case 'bytes': {
      const bytes = parseBytes(value)
      if (bytes === undefined) throw wrong('a size such as "64 MB"')
      return bytes
    }
    case 'switch':
      if (/^(1|true|on|yes)$/i.test(value)) return true
      if (/^(|0|false|off|no)$/i.test(value)) return false
      throw wrong('on or off')
  }
}

/** Bytes of `64 MB` or `1 GiB`; a bare number is bytes. */
export function parseBytes(value: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([kmg]?)(i?)b?$/i.exec(value.trim())
  if (!match) return undefined
  const power = ['', 'k', 'm', 'g'].indexOf((match[2] ?? '').toLowerCase())
  return Math.round(Number(match[1]) * (match[3] ? 1024 : 1000) ** power)
}

function atLeast(name: string, value: number, least: number): number {
  if (value >= least) return value
  throw new MillraceError('INVALID_SETTING', { at: name, message: `${value} is less than ${least}` })
}

function atMost(name: string, value: number, most: number): number {
  if (value <= most) return value
  throw new MillraceError('INVALID_SETTING', { at: name, message: `${value} is more than ${most}` })
}

function redisUrl(value: string): string | undefined {
  if (value === '') return undefined
  if (/^rediss?:$/.test(URL.parse(value)?.protocol ?? '')) return value
  throw new MillraceError('INVALID_SETTING', {
    at: 'REDIS_URL',
    // it may have a password in it
    message: 'it is no address of a Redis',
    hint: 'write it as redis://host:port/database, or rediss:// for TLS',
  })
}

function portOf(name: string, value: number): number {
  if (value <= 65_535) return value
  throw new MillraceError('INVALID_SETTING', { at: name, message: `${value} is no port: they go up to 65535` })
}

// The first of DATABASE_URL, POSTGRES_URL and DB_HOST that is set decides; another that disagrees is worth a sentence.
function databaseAddress(raw: (name: string) => string, warnings: string[]): DatabaseAddress | undefined {
  const found: DatabaseAddress[] = []
  if (raw('DATABASE_URL')) found.push({ url: postgresUrl('DATABASE_URL', raw('DATABASE_URL')), from: 'DATABASE_URL' })
  if (raw('POSTGRES_URL')) {
    const url = new URL(postgresUrl('POSTGRES_URL', raw('POSTGRES_URL')))
    const user = url.searchParams.get('user') ?? raw('POSTGRES_USER')
    const password = url.searchParams.get('password') ?? raw('POSTGRES_PASSWORD')
    url.searchParams.delete('user')
    url.searchParams.delete('password')
    if (url.username === '' && user !== '') url.username = encodeURIComponent(user)
    if (url.password === '' && password !== '') url.password = encodeURIComponent(password)
    found.push({ url: url.href, from: 'POSTGRES_URL' })
  }
  if (raw('DB_HOST')) {
    const url = new URL('postgresql://host/')
    url.hostname = raw('DB_HOST')
    url.port = raw('DB_PORT') || variables.DB_PORT.default
    url.username = encodeURIComponent(raw('DB_USER') || variables.DB_USER.default)
    url.password = encodeURIComponent(raw('DB_PASSWORD'))
    url.pathname = `/${encodeURIComponent(raw('DB_NAME') || variables.DB_NAME.default)}`
    found.push({ url: url.href, from: 'DB_HOST' })
  }
  const [first, ...others] = found
  for (const other of others) {
    if (first && place(first.url) !== place(other.url)) {
      warnings.push(
        `${first.from} (${place(first.url)}) and ${other.from} (${place(other.url)}) disagree; ${first.from} is used`,
      )
    }
  }
  return first
}

function place(url: string): string {
  const { hostname, port, pathname } = new URL(url)
  return `${hostname}:${port || '5432'}${pathname}`
}

function kafkaSettings(
  word: (name: keyof typeof variables) => string,
  folder: string,
  warnings: string[],
): KafkaSettings | undefined {
  const servers = word('KAFKA_BOOTSTRAP_SERVERS')
  if (servers.trim() === '') return undefined
  const protocol = word('KAFKA_SECURITY_PROTOCOL')
  const file = (name: keyof typeof variables): string | undefined =>
    word(name) === '' ? undefined : resolve(folder, word(name))
  const [ca, cert, key] = [file('KAFKA_SSL_CA'), file('KAFKA_SSL_CERT'), file('KAFKA_SSL_KEY')]
  if ((cert === undefined) !== (key === undefined)) {
    throw new MillraceError('INVALID_SETTING', {
      at: cert === undefined ? 'KAFKA_SSL_CERT' : 'KAFKA_SSL_KEY',
      message: 'a certificate and its key are set together, and this one is not',
    })
  }
  const username = word('KAFKA_SASL_USERNAME')
  if (protocol.startsWith('SASL') && username === '') {
    throw new MillraceError('INVALID_SETTING', {
      at: 'KAFKA_SASL_USERNAME',
      message: `KAFKA_SECURITY_PROTOCOL is ${protocol}, and there is no user`,
    })
  }
  if (!protocol.startsWith('SASL') && username !== '') {
    warnings.push(`KAFKA_SASL_USERNAME is not used: KAFKA_SECURITY_PROTOCOL is ${protocol}`)
  }
  // as: it is one of the choices
  const mechanism = word('KAFKA_SASL_MECHANISM') as 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'
  return {
    servers: kafkaServers(servers),
    tls: protocol.endsWith('SSL') ? { ca, cert, key } : undefined,
    sasl: protocol.startsWith('SASL') ? { mechanism, username, password: word('KAFKA_SASL_PASSWORD') } : undefined,
  }
}

function kafkaServers(text: string): KafkaSettings['servers'] {
  return text
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '')
    .map((each) => {
      // an address of IPv6 stands in brackets
      const match = /^(?:\[([0-9a-f:.]+)\]|([^:/[\]\s]+)):(\d{1,5})$/i.exec(each)
      const port = Number(match?.[3])
      if (match === null || port < 1 || port > 65_535) {
        throw new MillraceError('INVALID_SETTING', {
          at: 'KAFKA_BOOTSTRAP_SERVERS',
          message: `"${each}" is not a broker's address`,
          hint: 'write host:port, several with commas between them',
        })
      }
      return { host: match[1] ?? match[2] ?? '', port }
    })
}

function postgresUrl(name: string, value: string): string {
  const plain = value.replace(/^jdbc:/, '').replace(/^postgres(ql)?(\+\w+)?:/, 'postgresql:')
  if (!plain.startsWith('postgresql://') || !URL.canParse(plain)) {
    throw new MillraceError('INVALID_SETTING', {
      at: name,
      message: 'the value is not a postgresql:// URL',
      hint: 'write it like postgresql://user:password@host:5432/database; encode special characters in the password',
    })
  }
  return plain
}

function masked(secret: string): string {
  if (secret === '') return ''
  if (!URL.canParse(secret.replace(/^jdbc:/, ''))) return '***'
  return secret.replace(/(:\/\/[^:/@]*):[^@]*@/, '$1:***@').replace(/([?&;](?:password|token)=)[^&;]*/g, '$1***')
}

/** The text of `.env.example`. */
export function envExample(systemSettings: Record<string, SettingSpec>): string {
  const lines = Object.entries<SettingSpec>({ ...variables, ...systemSettings }).map(
    ([name, spec]) => `# ${spec.says}\n# ${name}=${/\s/.test(spec.default) ? `"${spec.default}"` : spec.default}\n`,
  )
  return `# Every variable, with its default. The real environment wins over this file.\n\n${lines.join('\n')}`
}
