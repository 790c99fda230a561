/** The topics that sample messages go to, or the file that gets them as lines of JSON instead. */
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Config } from '../config.ts'
import { MillraceError } from '../errors.ts'
import { openTopics } from '../sources/topic/open.ts'
import type { TopicRecord, Topics, TopicWriter } from '../sources/topic/topic.ts'
import type { SampleMessage, SampleTopic } from '../system.ts'

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
  const writers = new Map<string, Promise<TopicWriter>>()
  const writerOf = (topic: string): Promise<TopicWriter> => {
    topics ??= openTopics(config)
    const writer = writers.get(topic) ?? topics.then((all) => all.openWriter(topic)).catch(sayHowToWrite)
    writers.set(topic, writer)
    return writer
  }
  return {
    async append(topic, messages) {
      const writer = await writerOf(topic)
      const records = messages.map(recordOf)
      await writer.append(records)
      return records.reduce((bytes, { value }) => bytes + (value?.length ?? 0), 0)
    },
    finish: async () => undefined,
    async [Symbol.asyncDispose]() {
      // one that could not be opened has nothing to close
      for (const writer of writers.values()) await writer.then((each) => each[Symbol.asyncDispose]()).catch(() => {})
      await topics?.then((each) => each[Symbol.asyncDispose]()).catch(() => {})
    },
  }
}

function recordOf({ key, value }: SampleMessage): TopicRecord {
  return { key: key === undefined ? undefined : Buffer.from(key), value: value === null ? null : Buffer.from(value) }
}

function sayHowToWrite(error: unknown): never {
  if (!(error instanceof MillraceError) || error.code !== 'TOPIC_LOCKED') throw error
  throw new MillraceError('TOPIC_LOCKED', {
    message: error.message,
    ...(error.at === undefined ? {} : { at: error.at }),
    hint: 'a local topic has one writing process: end that one first (millrace start --demo is one; without --demo it only reads), or write a file with --to, or set KAFKA_BOOTSTRAP_SERVERS',
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
