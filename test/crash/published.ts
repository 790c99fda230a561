/** A pipeline that publishes, as a user's module, the files it is given, and what a topic holds of it. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { batchNumber, files, integer, pipeline, publish, table, text } from '../../src/index.ts'
import type { Plan } from '../../src/plan/plan.ts'
import type { Topics } from '../../src/sources/topic/topic.ts'
import { type Seen, SeenRecords } from '../kafka-batch.ts'
import type { InputFile } from './events.ts'
import type { World } from './world.ts'

export const madeTopic = 'orders.made'

/** Every row goes into a table and to a topic, and says in both of which batch it is. */
export function publishingPlan(folder: string): Plan {
  return pipeline('publishing')
    .from(files(folder, { format: 'csv', columns: { who: text().notEmpty(), n: integer(), batch: batchNumber() } }))
    .filter((row) => row.n.moreThan(0))
    .into(table('made'))
    .into(publish(madeTopic, { key: 'who' })).plan
}

/** Writes it as a module that `millrace work` and `millrace run` take, and answers its path. */
export async function publishingModule(world: Pick<World, 'data' | 'raw'>): Promise<string> {
  const path = join(dirname(world.data), 'publishing.mjs')
  await writeFile(path, `export default ${JSON.stringify({ plan: publishingPlan(world.raw) })}`)
  return path
}

/** Files of orders, of which some are bad and some filtered, and how many rows are neither. */
export function ordersOf(from: number, to: number): { files: InputFile[]; rows: number } {
  const files = Array.from({ length: to - from }, (_, i): InputFile => {
    const file = from + i
    const rows = Array.from({ length: 8 }, (_, row) => {
      const n = file * 8 + row
      return [
        ['ann', 'ben', 'cleo'][n % 3] ?? '',
        row === 5 ? '0' : row === 6 && file % 2 === 0 ? 'bad' : String(n + 1),
      ]
    })
    return { name: `p-${String(file).padStart(3, '0')}.csv`, header: ['who', 'n'], rows }
  })
  return { files, rows: files.flatMap(({ rows }) => rows).filter(([, n]) => Number(n) > 0).length }
}

export const firstOrders = ordersOf(0, 4).files
export const secondOrders = ordersOf(4, 8).files

/** Everything in a topic, partition by partition. */
export async function messagesIn(topics: Topics, topic = madeTopic): Promise<Seen[]> {
  await using reader = await topics.openReader(topic)
  const partitions = await reader.partitions()
  const sink = new SeenRecords()
  let from = new Map(partitions.map(({ partition, first }) => [partition, first]))
  while (partitions.some(({ partition, end }) => (from.get(partition) ?? 0) < end))
    from = await reader.read(from, sink, 1000)
  return sink.seen.sort((a, b) => a.partition - b.partition || a.offset - b.offset)
}

export interface Judged {
  messages: number
  repeats: number
}

/**
 * Without repeats the messages are exactly the committed rows; a repeat is the same as the first; and those of one key
 * are in one partition, in the order in which they were committed.
 */
export function judgeMessages(messages: Seen[], committed: { who: string; n: number; batch: number }[]): Judged {
  const first = new Map<string, Seen>()
  for (const message of messages) {
    const id = idOf(message)
    const before = first.get(id)
    if (before === undefined) first.set(id, message)
    else assert.deepEqual([message.key, message.value], [before.key, before.value], `a repeat of ${id}`)
  }
  // as: what is no such object fails below
  const rowOf = ({ value }: Seen) => JSON.parse(value ?? '') as { who: string; n: number; batch: number }
  assert.deepEqual([...first.values()].map(rowOf).map(told).sort(), committed.map(told).sort())
  for (const [key, own] of Map.groupBy(first, ([, { key }]) => key)) {
    assert.equal(new Set(own.map(([, { partition }]) => partition)).size, 1, `${key} is in one partition`)
    let last = { batch: 0, n: 0 }
    for (const [id, message] of own) {
      const [, batch, , n] = id.split('/')
      const place = { batch: Number(batch), n: Number(n) }
      const { who, batch: committedIn } = rowOf(message)
      assert.deepEqual([who, committedIn], [key, place.batch])
      assert.ok((place.batch - last.batch || place.n - last.n) > 0, `${id} comes after ${last.batch}/${last.n}`)
      last = place
    }
  }
  return { messages: messages.length, repeats: messages.length - first.size }
}

function idOf({ headers }: Seen): string {
  const [[name, id] = []] = headers
  assert.equal(name, 'millrace-id')
  assert.match(String(id), /^publishing\/\d+\/publish\/\d+$/)
  return String(id)
}

function told({ who, n, batch }: { who: string; n: number; batch: number }): string {
  return `${who} ${n} ${batch}`
}
