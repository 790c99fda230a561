/** Rows of a history as messages of a real local log, which the engine reads as it reads topics of pipelines. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { ColumnType } from '../src/plan/columns.ts'
import { columnsRead, type Plan } from '../src/plan/plan.ts'
import { unreadColumns } from '../src/plan/unread-columns.ts'
import { severalReaders } from '../src/sources/several.ts'
import type { Limits, Range, SourceReader } from '../src/sources/source.ts'
import { crc32c } from '../src/sources/topic/crc32c.ts'
import { openLocalTopics } from '../src/sources/topic/log/open.ts'
import { openTopicSource } from '../src/sources/topic/source.ts'
import type { Topics, TopicWriter } from '../src/sources/topic/topic.ts'
import type { Ground, Intake } from './intake.ts'
import type { FedRange, Fields } from './memory-source.ts'
import type { Chance } from './window-plans.ts'

interface Topic {
  topics: Topics
  writer: TopicWriter
  partitions: number
}

/** Makes the topics of the plan, with a partition for each feed. */
export async function openLogIntake({ bench, plan, feeds, chance }: Ground): Promise<Intake> {
  await using stack = new AsyncDisposableStack()
  const folder = join(bench.folder, 'topics', plan.name)
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const opened = new Map<string, Topic>()
  for (const [id, source] of Object.entries(plan.sources)) {
    if (source.is !== 'topic') throw new Error(`${id} is no topic`)
    const partitions = feeds.filter((feed) => feed.source === id).length
    // so small that there are several segments
    const topics = openLocalTopics(folder, { partitions, segmentBytes: 2_000 })
    opened.set(id, { topics, partitions, writer: stack.use(await topics.openWriter(source.topic)) })
  }
  let told: FedRange['lags'] = []
  const rowsOfAll = (): number => feeds.reduce((sum, { rows }) => sum + rows.length, 0)
  const held = stack.move()
  return {
    async add(feed, fields) {
      const topic = opened.get(feed.source)
      const partition = Number(feed.partition)
      const [at] =
        (await topic?.writer.append([
          { key: keyFor(partition, topic.partitions), value: Buffer.from(jsonOf(plan, feed.source, fields, chance)) },
        ])) ?? []
      if (at?.partition !== partition || at.first !== feed.rows.length)
        throw new Error(`row ${partition}/${feed.rows.length} has landed in ${at?.partition}/${at?.first}`)
      feed.rows.push(fields)
    },
    async openReader({ store, spool, bounded, onIdle }) {
      await using own = new AsyncDisposableStack()
      const session = own.use(await bench.duck.connect())
      const readers: SourceReader[] = []
      for (const [id, source] of Object.entries(plan.sources)) {
        const topic = opened.get(id)
        if (source.is !== 'topic' || topic === undefined) continue
        const reader = await topic.topics.openReader(source.topic, { pipeline: plan.name })
        const positions = async () => (await store.committed(plan.name)).positions
        const onLost = (problem: Error): void => {
          throw problem
        }
        const unread = unreadColumns(plan, id)
        const options = { id, source, unread, reader, bounded, positions, spool, sql: session, onLost }
        readers.push(own.use(await openTopicSource(options)))
      }
      const reader = severalReaders(readers)
      const held = own.move()
      const lags = (): ReturnType<SourceReader['lags']> => {
        const found = reader.lags()
        told = [...found].flatMap(([source, each]) => each.map((lag) => ({ source, ...lag })))
        return found
      }
      return {
        async next(limits: Limits): Promise<Range | undefined> {
          const range = await reader.next({ ...limits, bytes: chance.pick([200, 1_000, limits.bytes]) })
          lags()
          return range && { ...range, ranges: said(range, told) }
        },
        lags,
        unsettled: false,
        async wait(signal) {
          const before = rowsOfAll()
          await onIdle()
          // it may be read while nobody asks
          if (rowsOfAll() > before && chance.maybe(0.5)) await reader.wait(signal)
        },
        settled: async (positions) => await reader.settled?.(positions),
        rewind: () => reader.rewind(),
        [Symbol.asyncDispose]: () => held.disposeAsync(),
      }
    },
    told: () => told,
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

// Which rows a range has, one partition after another, and what was left as far as the reader had heard.
function said({ source = '', ranges }: Range, lags: FedRange['lags']): FedRange {
  // as: what a range of a topic says
  const read = ranges as { partition: number; from: number; to: number }[]
  const rows = read
    .toSorted((a, b) => a.partition - b.partition)
    .flatMap(({ partition, from, to }) =>
      Array.from({ length: to - from }, (_, i) => ({ partition: String(partition), offset: from + i })),
    )
  return { source, rows, lags }
}

const keys = new Map<string, Buffer>()

// A key that the log puts into this partition.
function keyFor(partition: number, partitions: number): Buffer {
  const name = `${partition}/${partitions}`
  for (let n = 0; !keys.has(name); n++) {
    const key = Buffer.from(`key ${n}`)
    if (crc32c(key, 0, key.length) % partitions === partition) keys.set(name, key)
  }
  return keys.get(name) ?? Buffer.alloc(0)
}

// Numbers, truths and lists as JSON has them where it can, or as texts.
function jsonOf(plan: Plan, source: string, fields: Fields, { maybe }: Chance): string {
  const from = plan.sources[source]
  const types = new Map((from === undefined ? [] : columnsRead(from)).map(({ name, type }) => [name, type]))
  const entries = Object.entries(fields).flatMap(([name, text]) => {
    if (text === null && maybe(0.5)) return []
    return [`${JSON.stringify(name)}:${valueOf(types.get(name), text, maybe(0.5))}`]
  })
  return `{${entries.join(',')}}`
}

function valueOf(type: ColumnType | undefined, text: string | null, plain: boolean): string {
  if (text === null) return 'null'
  const isPlain = type?.is === 'list' || (plain && type !== undefined && type.is !== 'text')
  return isPlain && isJson(text) ? text : JSON.stringify(text)
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
