import assert from 'node:assert/strict'
import type { RecordSink } from '../../src/sources/topic/topic.ts'
import { collector, newTopic, numbered, readAll, readSome, type Scenario } from './world.ts'

export function reading(scenario: Scenario): void {
  scenario('reading begins at any offset', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 1)
    await using writer = await topics.openWriter(topic)
    await writer.append(numbered(0, 60))
    await writer.append(numbered(60, 100))
    for (const offset of [0, 1, 59, 60, 61, 99]) {
      await using reader = await topics.openReader(topic)
      const { records, next } = await readSome(reader, new Map([[0, offset]]), 100 - offset)
      assert.deepEqual(
        records.map((record) => record.offset),
        Array.from({ length: 100 - offset }, (_, n) => offset + n),
      )
      assert.equal(records[0]?.value, `record ${offset}`)
      assert.deepEqual(next, new Map([[0, 100]]))
    }
  })

  scenario('a sink that is full is handed no more, and reading goes on behind its last record', async (world) => {
    const { topics, make } = world
    const topic = newTopic()
    await make(topic, 3)
    await using writer = await topics.openWriter(topic)
    for (let n = 0; n < 30; n++) await writer.append(numbered(n * 10, n * 10 + 10, `key ${n % 10}`))
    await using reader = await topics.openReader(topic)
    let next = new Map((await reader.partitions()).map(({ partition, first }) => [partition, first]))
    const seen: string[] = []
    for (let reads = 0; seen.length < 300; reads++) {
      assert.ok(reads < 100, `${seen.length} records came in ${reads} reads`)
      const sink = collector(7)
      next = await reader.read(next, sink, 1000)
      assert.ok(sink.records.length <= 7)
      for (const record of sink.records) seen.push(`${record.partition}/${record.offset}`)
    }
    assert.equal(new Set(seen).size, 300)
    assert.deepEqual(
      [...seen].sort(),
      (await readAll(topics, topic)).map(({ partition, offset }) => `${partition}/${offset}`).sort(),
    )
  })

  scenario('a sink that is full from the start gets nothing', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 1)
    await using writer = await topics.openWriter(topic)
    await writer.append(numbered(0, 10))
    await using reader = await topics.openReader(topic)
    const sink = collector(0)
    assert.deepEqual(await reader.read(new Map([[0, 3]]), sink, 1000), new Map([[0, 3]]))
    assert.deepEqual(sink.records, [])
  })

  scenario('only the partitions that were asked for are read and answered', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 3)
    await using writer = await topics.openWriter(topic)
    for (let n = 0; n < 30; n++) await writer.append(numbered(n, n + 1, `key ${n}`))
    await using reader = await topics.openReader(topic)
    const asked = (await reader.partitions()).find(({ end }) => end > 1)
    assert.ok(asked !== undefined)
    const { records, next } = await readSome(reader, new Map([[asked.partition, 1]]), asked.end - 1)
    assert.deepEqual([...new Set(records.map(({ partition }) => partition))], [asked.partition])
    assert.deepEqual(next, new Map([[asked.partition, asked.end]]))
  })

  scenario('bytes that were handed over are never written again', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 1)
    await using writer = await topics.openWriter(topic)
    const kept: { value: Buffer; number: number }[] = []
    const keeping: RecordSink = {
      full: false,
      take: (bytes, at) => kept.push({ value: bytes.subarray(at.valueFrom, at.valueTo), number: at.offset }),
    }
    await using reader = await topics.openReader(topic)
    let next = new Map([[0, 0]])
    for (let n = 0; n < 20; n++) {
      await writer.append(Array.from({ length: 50 }, (_, i) => ({ value: Buffer.alloc(10_000, n * 50 + i) })))
      while ((next.get(0) ?? 0) < (n + 1) * 50) next = await reader.read(next, keeping, 1000)
    }
    assert.equal(kept.length, 1000)
    for (const { value, number } of kept) assert.ok(value.equals(Buffer.alloc(10_000, number)), `record ${number}`)
  })

  scenario('two readers of one topic each get everything', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 1)
    await using writer = await topics.openWriter(topic)
    await using first = await topics.openReader(topic, { pipeline: 'first' })
    await using second = await topics.openReader(topic, { pipeline: 'second' })
    await writer.append(numbered(0, 50))
    const from = new Map([[0, 0]])
    const [one, two] = await Promise.all([readSome(first, from, 50), readSome(second, from, 50)])
    assert.deepEqual(one.records, two.records)
    await first.publish(one.next)
    assert.equal((await readSome(second, new Map([[0, 10]]), 40)).records.length, 40)
  })
}
