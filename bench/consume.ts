/**
 * Reading a topic of Kafka through the driver, into nothing and into a relation of DuckDB, beside Kafka's own consumer and the
 * library's stream of messages.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Consumer } from '@platformatic/kafka'
import { Duck } from '../src/engine/duckdb.ts'
import { pipeline, table, text, timestamp, topic as topicOf } from '../src/pipeline.ts'
import { openKafka } from '../src/sources/topic/kafka/open.ts'
import { openTopicSource } from '../src/sources/topic/source.ts'
import type { RecordAt, RecordSink, Topics } from '../src/sources/topic/topic.ts'
import { type Broker, noKafka, startBroker } from '../test/kafka-broker.ts'
import { machine, median, printTable, saveResult } from './report.ts'

const topic = 'events'
/** Messages of chat, which are JSON; the values of the others are as long, and say nothing. */
const chat = 'chat'
const valueBytes = 160
const partitions = 4
/** As many as a batch of the engine takes. */
const portionRecords = 200_000
/** The stream of messages is not given more: it would take most of the time. */
const streamedRecords = 300_000

interface Figures {
  recordsPerSecond: number
  /** Of the processor, for each record, all threads of this process together; of others it is not known. */
  microseconds: number | undefined
}

type Way = 'append' | 'read' | 'read in portions' | 'into DuckDB' | "Kafka's own consumer" | "the library's messages"

export async function benchConsume({
  root,
  rows,
  rounds,
}: {
  root: string
  rows: number
  rounds: number
}): Promise<void> {
  if (noKafka) throw new Error(noKafka)
  const here = join(root, 'bench')
  await using broker = await startBroker({ config: { 'num.partitions': partitions }, java: ['-Xmx1g'] })
  await using topics = await openKafka(broker.settings())
  const append = await measured(rows, () => appendAll(topics, topic, rows, (n) => Buffer.alloc(valueBytes, n)))
  await appendAll(topics, chat, rows, message)
  const ways: [Way, () => Promise<Figures>][] = [
    ['read', () => measured(rows, () => readAll(topics, rows, Number.POSITIVE_INFINITY))],
    ['read in portions', () => measured(rows, () => readAll(topics, rows, portionRecords))],
    ['into DuckDB', () => measured(rows, () => toRelation(topics, rows))],
    ["Kafka's own consumer", () => consumeInJava(broker, rows)],
    ["the library's messages", () => measured(streamedRecords, () => stream(broker, Math.min(streamedRecords, rows)))],
  ]
  const results: Partial<Record<Way, Figures>>[] = []
  for (let round = 0; round <= rounds; round++) {
    const result: Partial<Record<Way, Figures>> = { append }
    // each round begins with another, so that a slow minute falls on all
    for (const [way, run] of [...ways.slice(round % ways.length), ...ways.slice(0, round % ways.length)]) {
      result[way] = await run()
    }
    // the first warms up
    if (round > 0) results.push(result)
  }
  print(rows, results)
  await saveResult(here, `consume-${rows}`, { machine: machine(), rows, partitions, valueBytes, results })
}

async function appendAll(topics: Topics, name: string, rows: number, valueOf: (n: number) => Buffer): Promise<void> {
  await using writer = await topics.openWriter(name)
  const records = Array.from({ length: 1000 }, (_, n) => ({ value: valueOf(n) }))
  let left = Math.ceil(rows / records.length)
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      while (left-- > 0) await writer.append(records)
    }),
  )
}

function message(n: number): Buffer {
  const at = new Date(1_767_225_600_000 + n).toISOString()
  const said = `{"stream_id":"stream_${n % 50}","user_id":"user_${n % 5000}","username":"name ${n}","message":"how did he do that, number ${n}","timestamp":"${at}"}`
  return Buffer.from(said.padEnd(valueBytes))
}

/** The columns of each message, as a worker has them before they are checked: a table of DuckDB for each portion. */
async function toRelation(topics: Topics, rows: number): Promise<void> {
  const columns = { stream_id: text(), user_id: text(), username: text(), message: text(), timestamp: timestamp() }
  const { plan } = pipeline('chat').from(topicOf(chat, { columns })).into(table('chat'))
  const [[id, source] = []] = Object.entries(plan.sources)
  if (id === undefined || source?.is !== 'topic') throw new Error('the plan reads no topic')
  const folder = await mkdtemp(join(tmpdir(), 'millrace-consume-'))
  const [spool, temporary] = [join(folder, 'spool'), join(folder, 'duckdb')]
  try {
    await using duck = await Duck.open({ folders: [spool], temporary, memoryLimitMb: 512, threads: 1 })
    using sql = await duck.connect()
    await using reader = await openTopicSource({
      id,
      source,
      unread: [],
      reader: await topics.openReader(chat),
      bounded: true,
      positions: async () => [],
      spool,
      sql,
      onLost: (problem) => {
        throw problem
      },
    })
    const limits = { rows: portionRecords, bytes: 64_000_000 }
    let read = 0
    let next = reader.next(limits)
    for (let range = await next; range !== undefined; range = await next) {
      // the next portion is read while this one is taken in
      next = reader.next(limits)
      const made = await sql.make(`create or replace table chat as ${range.select(1)}`)
      if (made !== range.rows) throw new Error(`${made} of ${range.rows} rows came to DuckDB`)
      read += made
      await range.release()
    }
    if (read < rows) throw new Error(`${read} rows came to DuckDB`)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function readAll(topics: Topics, rows: number, portion: number): Promise<void> {
  await using reader = await topics.openReader(topic)
  const ends = await reader.partitions()
  let at: ReadonlyMap<number, number> = new Map(ends.map(({ partition, first }) => [partition, first]))
  const counted = { records: 0, bytes: 0 }
  while (ends.some(({ partition, end }) => (at.get(partition) ?? 0) < end)) {
    at = await reader.read(at, counting(counted, portion), 1000)
  }
  if (counted.records < rows || counted.bytes !== counted.records * valueBytes) {
    throw new Error(`${counted.records} records of ${counted.bytes} bytes were read`)
  }
}

function counting(counted: { records: number; bytes: number }, portion: number): RecordSink {
  let room = portion
  return {
    get full() {
      return room <= 0
    },
    take(_bytes: Buffer, at: RecordAt) {
      room--
      counted.records++
      counted.bytes += at.valueTo - at.valueFrom
    },
  }
}

async function stream(broker: Broker, rows: number): Promise<void> {
  const consumer = new Consumer({
    clientId: 'bench',
    groupId: `bench-${process.pid}-${performance.now()}`,
    bootstrapBrokers: [broker.address()],
  })
  const messages = await consumer.consume({ topics: [topic], mode: 'earliest', autocommit: false })
  let seen = 0
  for await (const _ of messages) {
    seen++
    if (seen === rows) break
  }
  await consumer.close(true)
}

async function consumeInJava(broker: Broker, rows: number): Promise<Figures> {
  const args = ['--topic', topic, '--messages', String(rows), '--timeout', '20000', '--hide-header']
  const told = await broker.tool('org.apache.kafka.tools.ConsumerPerformance', args)
  // its line ends with: rebalance ms, fetch ms, MB a second of fetching, records a second of fetching
  const perSecond = Number(told.trim().split('\n').at(-1)?.split(',').at(-1))
  if (!(perSecond > 0)) throw new Error(`Kafka's consumer told nothing of its speed: ${told}`)
  return { recordsPerSecond: perSecond, microseconds: undefined }
}

async function measured(records: number, run: () => Promise<void>): Promise<Figures> {
  const before = process.cpuUsage()
  const began = performance.now()
  await run()
  const ms = performance.now() - began
  const { user, system } = process.cpuUsage(before)
  return { recordsPerSecond: (1000 * records) / ms, microseconds: (user + system) / records }
}

function print(rows: number, results: readonly Partial<Record<Way, Figures>>[]): void {
  const ways = Object.keys(results[0] ?? {})
  const of = (way: string, figure: (figures: Figures) => number | undefined): number =>
    median(
      results.map((result) => figure(result[way as Way] ?? { recordsPerSecond: 0, microseconds: 0 }) ?? Number.NaN),
    )
  process.stdout.write(
    `${rows} records of ${valueBytes} bytes in ${partitions} partitions, on a broker of this machine\n\n`,
  )
  printTable(
    ['', 'thousand a second', 'MB/s', 'processor, µs a record'],
    ways.map((way) => {
      const perSecond = of(way, ({ recordsPerSecond }) => recordsPerSecond)
      const microseconds = of(way, (figures) => figures.microseconds)
      return [
        way,
        (perSecond / 1000).toFixed(0),
        ((perSecond * valueBytes) / 1e6).toFixed(0),
        Number.isNaN(microseconds) ? '-' : microseconds.toFixed(2),
      ]
    }),
  )
  process.stdout.write(`\nmemory of this process at most: ${Math.round(process.resourceUsage().maxRSS / 1000)} MB\n`)
}
