import assert from 'node:assert/strict'
import { collector, newTopic, numbered, readSome, type Scenario } from './world.ts'

export function waiting(scenario: Scenario): void {
  scenario('a read that waits ends with the first record', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 2)
    await using writer = await topics.openWriter(topic)
    await using reader = await topics.openReader(topic)
    let from = new Map([
      [0, 0],
      [1, 0],
    ])
    for (let n = 0; n < 5; n++) {
      const sink = collector()
      const began = performance.now()
      const read = reader.read(from, sink, 30_000)
      await writer.append(numbered(n, n + 1, `key ${n}`))
      from = await read
      assert.deepEqual(
        sink.records.map(({ value }) => value),
        [`key ${n} ${n}`],
      )
      assert.ok(performance.now() - began < 10_000, 'it did not wait to the end')
    }
  })

  scenario('a read that waits in vain ends in time, with nothing', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 1)
    await using reader = await topics.openReader(topic)
    const sink = collector()
    const began = performance.now()
    assert.deepEqual(await reader.read(new Map([[0, 0]]), sink, 200), new Map([[0, 0]]))
    const tookMs = performance.now() - began
    assert.ok(tookMs >= 190 && tookMs < 10_000, `it took ${tookMs} ms`)
    assert.deepEqual(sink.records, [])
  })

  scenario('a topic that does not exist has no partitions, and is read once it does', async ({ topics, make }) => {
    const topic = newTopic()
    await using reader = await topics.openReader(topic, { pipeline: 'early' })
    const from = new Map([[0, 0]])
    assert.deepEqual(await reader.partitions(), [])
    assert.deepEqual(await reader.read(from, collector(), 50), from)
    await make(topic, 1)
    await using writer = await topics.openWriter(topic)
    await writer.append(numbered(0, 3))
    const { records, next } = await readSome(reader, from, 3)
    assert.deepEqual(
      records.map(({ offset }) => offset),
      [0, 1, 2],
    )
    assert.deepEqual(await reader.partitions(), [{ partition: 0, first: 0, end: 3 }])
    await reader.publish(next)
  })

  scenario('a read ends when it is told to', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 1)
    const stop = new AbortController()
    await using reader = await topics.openReader(topic, { signal: stop.signal })
    const reason = new Error('enough')
    const read = reader.read(new Map([[0, 0]]), collector(), 30_000)
    const began = performance.now()
    setImmediate(() => stop.abort(reason))
    await assert.rejects(read, (error) => error === reason)
    assert.ok(performance.now() - began < 10_000)
  })
}
