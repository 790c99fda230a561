/** Events that come over HTTP: cut out of their body, appended to a topic, and told where they lie. */
import { join } from 'node:path'
import { followerFolder } from '../../engine/duckdb.ts'
import { tryEvents } from '../../engine/try-events.ts'
import { messageOf } from '../../errors.ts'
import { failpoint } from '../../failpoint.ts'
import { isTopicName } from '../../sources/topic/log/layout.ts'
import { openTopics } from '../../sources/topic/open.ts'
import type { Appended, TopicReader, Topics, Values } from '../../sources/topic/topic.ts'
import type { CommittedEvents, EventBody, Ingested, IngestOptions, PostedEvent } from '../../system.ts'
import { type Desk, duckOf, storeOf } from '../desk.ts'
import { ProblemError } from '../problem.ts'
import { commitsOf, type Since } from './commits.ts'
import { type BodyForm, cutEvents, type EventFault, faultsTold, mostEvents } from './cut-events.ts'
import { Haste } from './haste.ts'
import { KeptLines } from './kept-lines.ts'
import { Positions, type TopicUse, usesOf } from './positions.ts'
import { PostedTopic } from './posted-topic.ts'
import { diskFull, Pressure, roomIn } from './pressure.ts'
import { Turns } from './turns.ts'
import { unpack } from './unpack.ts'

/** Bodies that are packed or large may take much memory: so many of them are worked on at once. */
const largeAtOnce = 4
const largeBytes = 1_000_000

/** Of a body of JSON: what is wrong with one event, and with no other. */
const partial = new Set(['NOT_AN_OBJECT', 'ROW_TOO_LONG'])

/** What is open of a topic that is known here. */
interface Place {
  uses: TopicUse[]
  posted: PostedTopic
  reader: TopicReader
  pressure: Pressure
}

export class Ingest implements AsyncDisposable {
  /** How many events this process has taken, by topic. */
  readonly taken = new Map<string, number>()
  readonly #desk: Desk
  readonly #positions: Positions
  readonly #turns = new Turns(largeAtOnce)
  readonly #places = new Map<string, Promise<Place>>()
  readonly #kept = new KeptLines()
  readonly #haste = new Haste(Date.now)
  #topics: Promise<Topics> | undefined

  constructor(desk: Desk) {
    this.#desk = desk
    this.#positions = new Positions(desk.board)
    desk.board.rest = (pipeline, ms, sinceMs, signal) => this.#haste.rest(pipeline, ms, sinceMs, signal)
  }

  /** Resolves when the events are durable, or, of those that are waited for, committed. Nothing of a body that is refused is stored. */
  async post(topic: string, body: EventBody, options: IngestOptions = {}): Promise<Ingested> {
    const begunMs = Date.now()
    const place = await this.#placeOf(topic)
    if ((options.wait !== undefined || options.strict === true) && place.uses.length === 0)
      throw new ProblemError(409, 'NO_PIPELINE', `no pipeline that this server knows reads the topic "${topic}"`)
    await place.pressure.check()
    // what is known before the events are appended: they come in a batch behind these
    const since = options.wait === undefined ? undefined : await this.#batchesNow(place.uses)
    const isLarge = body.encoding !== undefined || body.bytes.length > largeBytes
    const append = () => this.#append(place, body, options)
    const land = () => (isLarge ? this.#turns.take(append) : append())
    const waiting = since === undefined ? [] : place.uses.map(({ pipeline }) => pipeline)
    const { ranges, atMs, repeated } = await this.#haste.during(waiting, land)
    const accepted = ranges.reduce((sum, { first, end }) => sum + end - first, 0)
    if (!repeated) this.taken.set(topic, (this.taken.get(topic) ?? 0) + accepted)
    const ingested = { topic, accepted, ranges, repeated }
    if (since === undefined) {
      this.#haste.left(place.uses.map(({ pipeline }) => pipeline))
      return ingested
    }
    const location = locationOf(topic, ranges, atMs)
    const { waitMs } = this.#desk.config.ingest
    // some or all of them may have been there before this request
    const sinceOf = ({ pipeline }: TopicUse): Since =>
      atMs < begunMs ? { is: 'time', atMs } : this.#behind(pipeline, since.get(pipeline) ?? 0)
    const committed = await this.#committed(topic, ranges, place.uses, sinceOf, waitMs).catch((error: unknown) => {
      // the events are durable, whatever the database says: it is asked at the location
      this.#desk.log.warn('it is not known in which batch events were committed', { topic, why: messageOf(error) })
      return undefined
    })
    this.#haste.answered(waiting)
    return { ...ingested, location, committed }
  }

  /** The events of a body, and what cannot be one. */
  async events(body: EventBody): Promise<PostedEvent[]> {
    const isLarge = body.encoding !== undefined || body.bytes.length > largeBytes
    const cut = () => this.#cut(body)
    const { bytes, spans, faults } = isLarge ? await this.#turns.take(cut) : await cut()
    // behind these it is not known what is an event
    const broken = faults.filter(({ code, line }) => line === undefined && !partial.has(code))
    if (broken.length > 0 || faults.length >= faultsTold) throw badEvents(broken.length > 0 ? broken : faults)
    const told = new Map(faults.map((fault) => [fault.index, fault]))
    let at = 0
    return Array.from({ length: spans.length / 2 + faults.length }, (_, index): PostedEvent => {
      const fault = told.get(index)
      if (fault !== undefined) return { is: 'rejected', code: fault.code, message: fault.message }
      const [from, to] = spans.subarray(at, at + 2)
      at += 2
      return { is: 'event', text: bytes.toString('utf8', from, to) }
    })
  }

  /** Lines for a follower, in a file in its folder: resolves when they are durable. */
  async keep(system: string, follower: string, file: string, lines: readonly string[]): Promise<void> {
    const { config } = this.#desk
    const folder = join(followerFolder(config, system, follower), 'posted')
    const { diskReserveBytes } = config.ingest
    const room = await roomIn(folder)
    if (room < diskReserveBytes) throw diskFull(room, diskReserveBytes)
    if (lines.length > 0) await this.#kept.append(join(folder, file), Buffer.from(`${lines.join('\n')}\n`))
  }

  /** What became of events that were posted at a time; undefined when not all are committed yet. */
  async committed(topic: string, ranges: readonly Appended[], atMs: number): Promise<CommittedEvents | undefined> {
    const { uses } = await this.#placeOf(topic)
    await this.#positions.look()
    return await this.#committed(topic, ranges, uses, () => ({ is: 'time', atMs }), 0)
  }

  async #append(place: Place, body: EventBody, { strict }: IngestOptions) {
    const values = await this.#valuesOf(body)
    if (strict === true) await this.#try(place.uses, values)
    await failpoint('ingest taken')
    const { idempotencyKey: key } = body
    const landed =
      key === undefined || values.spans.length === 0
        ? await place.posted.append(values)
        : await place.posted.appendOnce(key, values)
    await failpoint('ingest durable')
    return landed
  }

  async #valuesOf(body: EventBody): Promise<Values> {
    const { bytes, spans, faults } = await this.#cut(body)
    if (faults.length > 0) throw badEvents(faults)
    return { bytes, spans }
  }

  async #cut({ bytes: sent, type, encoding }: EventBody): Promise<Values & { faults: EventFault[] }> {
    const { eventBytes, unpackedBytes } = this.#desk.config.ingest
    // as it came from the socket
    const packed = Buffer.from(sent.buffer, sent.byteOffset, sent.length)
    const bytes = await unpack(packed, encoding, unpackedBytes)
    const { spans, faults } = cutEvents(bytes, formOf(type), eventBytes)
    if (faults.length === 0 && spans.length > 2 * mostEvents)
      throw new ProblemError(413, 'TOO_LARGE', `the body has more than ${mostEvents} events`, 'post them in parts')
    return { bytes, spans, faults }
  }

  async #try(uses: readonly TopicUse[], values: Values): Promise<void> {
    const { board, config } = this.#desk
    const tools = { store: storeOf(this.#desk), duck: duckOf(this.#desk), dataDirectory: config.dataDirectory }
    for (const { pipeline, source } of uses) {
      const plan = board.lines.get(pipeline)?.plan
      if (plan === undefined) continue
      const faults = await tryEvents({ ...tools, plan, source }, values, faultsTold)
      if (faults.length === 0) continue
      const detail = `${pipeline} would reject ${countOf(faults)}, and none was stored`
      throw new ProblemError(
        422,
        'BAD_EVENTS',
        detail,
        'mend them, or post without strict: good ones are taken then',
        faults,
      )
    }
  }

  #behind(pipeline: string, batch: number): Since {
    const lines = this.#positions.linesOf(pipeline, batch)
    return lines === undefined ? { is: 'batch', batch } : { is: 'lines', lines }
  }

  async #batchesNow(uses: readonly TopicUse[]): Promise<Map<string, number>> {
    const { board } = this.#desk
    // without the database nothing will be committed; with its first answer it is known how far it is
    if (board.store !== undefined && this.#positions.lookedAt < 0) await this.#positions.look().catch(() => {})
    return new Map(uses.map(({ pipeline }) => [pipeline, this.#positions.batchOf(pipeline)]))
  }

  async #committed(
    topic: string,
    ranges: readonly Appended[],
    uses: readonly TopicUse[],
    sinceOf: (use: TopicUse) => Since,
    withinMs: number,
  ): Promise<CommittedEvents | undefined> {
    const passed = this.#positions.havePassed(uses, ranges) || (await this.#positions.pass(uses, ranges, withinMs))
    if (!passed) return undefined
    const since = uses.map((use) => ({ ...use, since: sinceOf(use) }))
    return await commitsOf(storeOf(this.#desk), topic, ranges, since)
  }

  // ---- topics ------------------------------------------------------------------------------------------------------

  async #placeOf(topic: string): Promise<Place> {
    const place = this.#places.get(topic) ?? this.#openPlace(topic)
    this.#places.set(topic, place)
    try {
      return await place
    } catch (error) {
      if (this.#places.get(topic) === place) this.#places.delete(topic)
      throw error
    }
  }

  async #openPlace(topic: string): Promise<Place> {
    const { board, config } = this.#desk
    const folder = join(config.dataDirectory, 'topics')
    if (!isTopicName(topic)) throw unknownTopic(topic)
    this.#topics ??= openTopics(config)
    const topics = await this.#topics
    const uses = usesOf(board, topic)
    await using stack = new AsyncDisposableStack()
    const reader = stack.use(await topics.openReader(topic))
    if (uses.length === 0 && (await reader.partitions()).length === 0) throw unknownTopic(topic)
    const keysPath = join(config.dataDirectory, 'ingest', `${topic}.keys`)
    const posted = new PostedTopic({ name: topic, topics, keysPath, now: Date.now })
    const pressure = new Pressure({
      limits: config.ingest,
      positions: this.#positions,
      uses,
      reader,
      folder: topics.is === 'local' ? folder : undefined,
    })
    stack.move()
    return { uses, posted, reader, pressure }
  }

  /** Waits for what is under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#kept[Symbol.asyncDispose]()
    for (const place of this.#places.values()) {
      // one that could not be opened has nothing to close
      const opened = await place.catch(() => undefined)
      await opened?.posted[Symbol.asyncDispose]()
      await opened?.reader[Symbol.asyncDispose]()
    }
    await (await this.#topics)?.[Symbol.asyncDispose]()
  }
}

/** The types of body that events come in. */
export const bodyTypes: Record<string, BodyForm> = {
  'application/json': 'json',
  'application/x-ndjson': 'lines',
  'application/ndjson': 'lines',
  'application/jsonl': 'lines',
}

function formOf(type: string): BodyForm {
  const form = bodyTypes[type.split(';')[0]?.trim().toLowerCase() ?? '']
  if (form !== undefined) return form
  throw wrongType(type)
}

export function wrongType(type: string | undefined): ProblemError {
  const detail = type === undefined ? 'the body has no content-type' : `the body is "${type}"`
  const hint = 'send an object or an array as application/json, or a line for each as application/x-ndjson'
  return new ProblemError(415, 'WRONG_TYPE_OF_BODY', detail, hint)
}

function badEvents(faults: EventFault[]): ProblemError {
  const isLong = faults.every(({ code }) => code === 'ROW_TOO_LONG')
  const detail = `${countOf(faults)} cannot be taken, and none was stored: ${faults[0]?.message}`
  return new ProblemError(isLong ? 413 : 400, 'BAD_EVENTS', detail, undefined, faults)
}

function countOf({ length }: readonly object[]): string {
  return `${length === faultsTold ? `${length} or more` : length} of the events`
}

function unknownTopic(topic: string): ProblemError {
  return new ProblemError(
    404,
    'UNKNOWN_TOPIC',
    `there is no topic "${topic}"`,
    'a topic is there when a pipeline that this server knows reads it',
  )
}

function locationOf(topic: string, ranges: readonly Appended[], atMs: number): string {
  const places = ranges.map(({ partition, first, end }) => `${partition}:${first}-${end}`)
  return `/api/topics/${topic}/commits?ranges=${places.join(',')}&posted_at=${new Date(atMs).toISOString()}`
}
