/** A topic that events are posted to: its writer is open while they come, and nothing is appended twice under one key. */
import { createHash } from 'node:crypto'
import type { Appended, TopicReader, Topics, TopicWriter, Values } from '../../sources/topic/topic.ts'
import { ProblemError } from '../problem.ts'
import { eventsIn, headersOf, type KeyedRequest, keysKeptMs, type Posted, PostedKeys } from './posted-keys.ts'

/** A local topic that nobody has posted to for so long can be written by another process. */
const idleMs = 10_000
/** After so many keyed requests it is noted how far the index of keys goes. */
const keysAtOnce = 1000

export interface Landed {
  ranges: Appended[]
  atMs: number
  /** It had been posted under this key before. */
  repeated: boolean
}

export interface PostedTopicOptions {
  name: string
  topics: Topics
  /** Where the index of keys lies. */
  keysPath: string
  now(): number
}

interface Opened {
  writer: TopicWriter
  /** From the first request with a key on. */
  keyed?: Promise<Keyed>
}

interface Keyed {
  keys: PostedKeys
  reader: TopicReader
}

export class PostedTopic implements AsyncDisposable {
  readonly #options: PostedTopicOptions
  #opened: Promise<Opened> | undefined
  readonly #working = new Set<Promise<unknown>>()
  #idle: NodeJS.Timeout | undefined
  /** Requests with a key that are under way. */
  readonly #pending = new Map<string, Promise<Landed>>()
  /** An append has failed, and Kafka may have its records all the same. */
  #unsure = false
  #sinceNoted = 0

  constructor(options: PostedTopicOptions) {
    this.#options = options
  }

  /** Resolves when the events are durable. */
  async append(values: Values): Promise<Landed> {
    return await this.#use(async ({ writer }) => ({
      ranges: await writer.appendValues(values),
      atMs: this.#options.now(),
      repeated: false,
    }))
  }

  /** The same, but for what this key has brought before. */
  async appendOnce(key: string, values: Values): Promise<Landed> {
    const request = { key, hash: hashOf(values), events: values.spans.length / 2 }
    return await this.#use(async (opened) => {
      // whoever comes second is answered as the first was
      while (this.#pending.has(key)) await this.#pending.get(key)?.catch(() => {})
      const landed = this.#appendOnce(opened, request, values).finally(() => this.#pending.delete(key))
      this.#pending.set(key, landed)
      return await landed
    })
  }

  async #appendOnce(opened: Opened, request: KeyedRequest, values: Values): Promise<Landed> {
    const { keys, reader } = await this.#keyed(opened)
    const now = this.#options.now()
    const before = keys.find(request.key, now - keysKeptMs)
    if (before !== undefined && before.hash !== request.hash) {
      throw new ProblemError(
        422,
        'KEY_REUSED',
        `the Idempotency-Key "${request.key}" came with other events before`,
        'give each request a key of its own',
      )
    }
    const posted: Posted = before ?? { ...request, ranges: [], atMs: now }
    const there = eventsIn(posted.ranges)
    if (there === request.events) return { ranges: posted.ranges, atMs: posted.atMs, repeated: true }
    const rest = { bytes: values.bytes, spans: values.spans.subarray(2 * there), headers: headersOf(request) }
    const appended = await opened.writer.appendValues(rest).catch((error: unknown) => {
      this.#unsure = true
      throw error
    })
    const ranges = [...posted.ranges, ...appended]
    keys.keep({ ...posted, ranges })
    this.#sinceNoted++
    if (this.#sinceNoted >= keysAtOnce) void this.#noteHowFar({ keys, reader })
    return { ranges, atMs: posted.atMs, repeated: false }
  }

  async #keyed(opened: Opened): Promise<Keyed> {
    opened.keyed ??= this.#openKeys().catch((error: unknown) => {
      delete opened.keyed
      throw error
    })
    const keyed = await opened.keyed
    if (this.#unsure) {
      this.#unsure = false
      await this.#catchUp(keyed)
    }
    return keyed
  }

  async #openKeys(): Promise<Keyed> {
    const { topics, name, keysPath } = this.#options
    await using stack = new AsyncDisposableStack()
    const keyed = { keys: stack.use(new PostedKeys(keysPath)), reader: stack.use(await topics.openReader(name)) }
    await this.#catchUp(keyed)
    stack.move()
    return keyed
  }

  // A local topic is written by nobody else while it is open here; of Kafka's, others may have other keys.
  async #catchUp({ keys, reader }: Keyed): Promise<void> {
    const { topics, now } = this.#options
    await keys.catchUp(reader, topics.is === 'kafka' ? 'end' : 'first', now() - keysKeptMs)
  }

  // What lies before the end now belongs to requests that are in the index, or are under way.
  async #noteHowFar({ keys, reader }: Keyed): Promise<void> {
    this.#sinceNoted = 0
    // when it is not known now, more is to be read when the topic is opened again
    const ends = await reader.partitions().catch(() => [])
    const opened = this.#opened
    await Promise.allSettled(this.#pending.values())
    if (opened !== this.#opened || this.#unsure) return
    keys.stands(new Map(ends.map(({ partition, end }) => [partition, end])), this.#options.now() - keysKeptMs)
  }

  // ---- the writer --------------------------------------------------------------------------------------------------

  async #use<Result>(work: (opened: Opened) => Promise<Result>): Promise<Result> {
    clearTimeout(this.#idle)
    this.#opened ??= this.#open()
    const working = this.#opened.then(work)
    this.#working.add(working)
    try {
      return await working
    } finally {
      this.#working.delete(working)
      if (this.#working.size === 0) this.#idle = setTimeout(() => void this.#close(), idleMs).unref()
    }
  }

  #open(): Promise<Opened> {
    const { topics, name } = this.#options
    const opened = topics.openWriter(name).then((writer): Opened => ({ writer }))
    opened.catch(() => {
      if (this.#opened === opened) this.#opened = undefined
    })
    return opened
  }

  async #close(): Promise<void> {
    clearTimeout(this.#idle)
    const opening = this.#opened
    if (opening === undefined || this.#working.size > 0) return
    // one that could not be opened has nothing to close
    const opened = await opening.catch(() => undefined)
    const keyed = await opened?.keyed?.catch(() => undefined)
    if (keyed !== undefined) await this.#noteHowFar(keyed)
    if (this.#working.size > 0 || this.#opened !== opening) return
    this.#opened = undefined
    keyed?.keys[Symbol.dispose]()
    await keyed?.reader[Symbol.asyncDispose]()
    await opened?.writer[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#working)
    await this.#close()
  }
}

// Of the events alone: they may be packed in another way when they are sent again.
function hashOf({ bytes, spans }: Values): string {
  const hash = createHash('sha256')
  for (let n = 0; n < spans.length; n += 2) hash.update(bytes.subarray(spans[n], spans[n + 1])).update('\n')
  return hash.digest('base64url')
}
