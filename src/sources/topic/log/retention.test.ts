import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { type LogFolder, logFolder, texts, topic } from '../../../../test/topic-log/folder.ts'
import { listSegments } from './layout.ts'
import type { LogOptions } from './options.ts'

const day = 24 * 60 * 60 * 1000
// five records a segment
const small = { segmentBytes: 200 }
const thirty = Array.from({ length: 30 }, (_, n) => texts(`value ${n}`.padEnd(8)))

/** The segments left after a writer has opened the topic. */
async function afterOpening(log: LogFolder, options: LogOptions): Promise<number[]> {
  await log.append([], { ...small, ...options })
  return await listSegments(log.partition)
}

test('segments go when they are too old, whole ones, and never the last', async () => {
  await using log = await logFolder()
  await log.append(thirty, small)
  const all = [0, 5, 10, 15, 20, 25]
  assert.deepEqual(await afterOpening(log, {}), all)
  assert.deepEqual(await afterOpening(log, { now: () => Date.now() + 6 * day }), all)
  assert.deepEqual(await afterOpening(log, { now: () => Date.now() + 8 * day }), [25])
  assert.deepEqual(
    (await log.records()).map(({ offset }) => offset),
    [25, 26, 27, 28, 29],
  )
  await log.append([texts('next')], small)
  assert.equal((await log.records()).at(-1)?.offset, 30)
})

test('segments go when they are too much', async () => {
  await using log = await logFolder()
  await log.append(thirty, small)
  assert.deepEqual(await afterOpening(log, { keepBytes: 500 }), [20, 25])
  assert.deepEqual(await afterOpening(log, { keepBytes: 1 }), [25])
})

test('segments go while the topic is written, too', async () => {
  await using log = await logFolder()
  await log.append(thirty, { ...small, keepBytes: 500 })
  const [first = 0] = await listSegments(log.partition)
  assert.ok(first >= 15, `the first segment is ${first}`)
})

test('a segment stays until every pipeline has passed it', async () => {
  await using log = await logFolder()
  await log.append(thirty.slice(0, 10), small)
  await using fast = await log.topics().openReader(topic, { pipeline: 'fast/ünd' })
  await using slow = await log.topics().openReader(topic, { pipeline: 'slow' })
  // who has opened it holds it, before there is a position
  await fast.partitions()
  await slow.partitions()
  await log.append(thirty.slice(10), small)
  assert.equal((await afterOpening(log, { keepBytes: 1 }))[0], 0)
  await fast.publish(new Map([[0, 30]]))
  await slow.publish(new Map([[0, 14]]))
  assert.equal((await afterOpening(log, { keepBytes: 1 }))[0], 10)
  await slow.publish(new Map([[0, 15]]))
  assert.equal((await afterOpening(log, { keepBytes: 1 }))[0], 15)
  // a position that a power cut has emptied keeps everything
  await writeFile(join(log.partition, 'readers', 'slow.position'), '')
  assert.equal((await afterOpening(log, { keepBytes: 1 }))[0], 15)
  await slow.publish(new Map([[0, 30]]))
  assert.deepEqual(await afterOpening(log, { keepBytes: 1 }), [25])
})

test('a reader without a name holds nothing, and is told what it has lost', async () => {
  await using log = await logFolder()
  await log.append(thirty, small)
  await using reader = await log.topics().openReader(topic)
  let taken = 0
  const three = {
    get full() {
      return taken >= 3
    },
    take: () => void taken++,
  }
  assert.deepEqual(await reader.read(new Map([[0, 0]]), three, 0), new Map([[0, 3]]))
  assert.deepEqual(await afterOpening(log, { keepBytes: 1 }), [25])
  await assert.rejects(reader.read(new Map([[0, 3]]), { full: false, take: () => {} }, 0), { code: 'POSITION_LOST' })
})
