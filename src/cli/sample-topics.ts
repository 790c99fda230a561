/** The topics that sample messages go to, or the file that gets them as lines of JSON instead. */
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import type { Config } from '../config.ts'
import { MillraceError } from '../errors.ts'
import { openTopics } from '../sources/topic/open.ts'
import type { TopicRecord, Topics, TopicWriter } from '../sources/topic/topic.ts'
import type { SampleMessage, SampleTopic } from '../system.ts'
import { findServer, postLines } from './server-file.ts'

export interface SampleTopics extends AsyncDisposable {
  topic(name: string): SampleTopic
  /** Those that something was appended to. */
  names(): string[]
  /** The file that was written instead, now whole. */
  finish(): Promise<string | undefined>
}

export interface Appended {
  topic: string
  events: number
  bytes: number
}

interface SampleTopicsOptions {
  config: Config
  to: string | undefined
  onAppended(appended: Appended): Promise<void>
}

export function openSampleTopics({ config, to, onAppended }: SampleTopicsOptions): SampleTopics {
  const road = to === undefined ? topicsRoad(config) : fileRoad(to)
  const names = new Set<string>()
  return {
    topic: (name) => ({
      async append(messages) {
        names.add(name)
        const bytes = await road.append(name, messages)
        await onAppended({ topic: name, events: messages.length, bytes })
      },
    }),
    names: () => [...names].sort(),
    finish: () => road.finish(),
    [Symbol.asyncDispose]: () => road[Symbol.asyncDispose](),
  }
}

interface Road extends AsyncDisposable {
  append(topic: string, messages: readonly SampleMessage[]): Promise<number>
  finish(): Promise<string | undefined>
}

function topicsRoad(config: Config): Road {
  let topics: Promise<Topics> | undefined
  const lanes = new Map<string, Promise<Lane>>()
  const laneOf = (topic: string): Promise<Lane> => {
    topics ??= openTopics(config)
    const lane =
      lanes.get(topic) ?? topics.then((all) => all.openWriter(topic)).then(straight, throughServer(config, topic))
    lanes.set(topic, lane)
    return lane
  }
  return {
    append: async (topic, messages) => await (await laneOf(topic)).append(messages),
    finish: async () => undefined,
    async [Symbol.asyncDispose]() {
      // one that could not be opened has nothing to close
      for (const lane of lanes.values()) await lane.then((each) => each.close()).catch(() => {})
      await topics?.then((each) => each[Symbol.asyncDispose]()).catch(() => {})
    },
  }
}

/** A way into one topic. */
interface Lane {
  /** Answers how many bytes the messages have. */
  append(messages: readonly SampleMessage[]): Promise<number>
  close(): Promise<void>
}

function straight(writer: TopicWriter): Lane {
  return {
    async append(messages) {
      const records = messages.map(recordOf)
      await writer.append(records)
      return records.reduce((bytes, { value }) => bytes + (value?.length ?? 0), 0)
    },
    close: async () => await writer[Symbol.asyncDispose](),
  }
}

function recordOf({ key, value }: SampleMessage): TopicRecord {
  return { key: key === undefined ? undefined : Buffer.from(key), value: value === null ? null : Buffer.from(value) }
}

// The server of this data directory may be the one who writes the topic: it is sent the messages, as anybody would.
function throughServer(config: Config, topic: string): (error: unknown) => Lane {
  return (error) => {
    if (!(error instanceof MillraceError) || error.code !== 'TOPIC_LOCKED') throw error
    const server = findServer(config.dataDirectory)
    if (server === undefined || !error.message.startsWith(`${hostname()}:${server.pid} `)) throw howToWrite(error)
    return {
      async append(messages) {
        const lines = messages.map(({ value }) => lineToPost(topic, value)).join('')
        await postLines(server, topic, lines)
        return Buffer.byteLength(lines)
      },
      async close() {},
    }
  }
}

// It takes objects: one that is none would be refused with all others of its request.
function lineToPost(topic: string, value: SampleMessage['value']): string {
  try {
    if (typeof value === 'string' && !value.includes('\n') && typeof JSON.parse(value) === 'object') return `${value}\n`
  } catch {
    // it is told below what to do
  }
  throw new MillraceError('TOPIC_LOCKED', {
    at: `topic ${topic}`,
    message: 'the server that writes it takes JSON objects alone, and some of the bad messages are none',
    hint: 'leave --bad-percent out, or stop the server first',
  })
}

function howToWrite(error: MillraceError): MillraceError {
  return new MillraceError('TOPIC_LOCKED', {
    message: error.message,
    ...(error.at === undefined ? {} : { at: error.at }),
    hint: 'a local topic has one writing process: end that one first, or write a file with --to, or set KAFKA_BOOTSTRAP_SERVERS',
    retry: true,
    cause: error,
  })
}

// A line tells the topic, the key and the value as the text it is, so that a message that is no JSON has one too.
function fileRoad(path: string): Road {
  const being = join(dirname(path), `.${basename(path)}.${process.pid}`)
  let file: Promise<FileHandle> | undefined
  let written: Promise<unknown> = Promise.resolve()
  const opened = async (): Promise<FileHandle> => {
    await mkdir(dirname(path), { recursive: true })
    return await open(being, 'w')
  }
  return {
    async append(topic, messages) {
      const text = messages.map((message) => `${lineOf(topic, message)}\n`).join('')
      file ??= opened()
      const handle = await file
      // one after another, in the order of the calls
      written = written.then(() => handle.appendFile(text))
      await written
      return Buffer.byteLength(text)
    },
    async finish() {
      // a generator that writes files of its own has written this one
      if (file === undefined) return undefined
      await (await file).close()
      await rename(being, path)
      return path
    },
    async [Symbol.asyncDispose]() {
      await file?.then((handle) => handle.close()).catch(() => {})
      await rm(being, { force: true })
    },
  }
}

function lineOf(topic: string, { key, value }: SampleMessage): string {
  return JSON.stringify({
    topic,
    ...(key === undefined ? {} : { key }),
    ...(value instanceof Uint8Array ? { value_base64: Buffer.from(value).toString('base64') } : { value }),
  })
}
