import assert from 'node:assert/strict'
import { type ErrorCode, MillraceError } from '../../src/errors.ts'
import { collector, newTopic, numbered, readSome, type Scenario } from './world.ts'

export function positions(scenario: Scenario): void {
  scenario('a partition tells its first offset and its end', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 2)
    await using writer = await topics.openWriter(topic)
    await using reader = await topics.openReader(topic)
    assert.deepEqual(await reader.partitions(), [
      { partition: 0, first: 0, end: 0 },
      { partition: 1, first: 0, end: 0 },
    ])
    const [lies] = await writer.append(numbered(0, 5, 'one key'))
    const ends = await reader.partitions()
    assert.equal(ends.find(({ partition }) => partition === lies?.partition)?.end, 5)
  })

  scenario('offsets go on where they were when a topic is opened again', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 1)
    for (const first of [0, 3, 6]) {
      await using writer = await topics.openWriter(topic)
      assert.deepEqual(await writer.append(numbered(first, first + 3)), [{ partition: 0, first, end: first + 3 }])
    }
  })

  scenario('a position behind the end is LOG_TRUNCATED, and says what and where', async ({ topics, make }) => {
    const topic = newTopic()
    await make(topic, 1)
    await using writer = await topics.openWriter(topic)
    await writer.append(numbered(0, 5))
    await using reader = await topics.openReader(topic)
    await assert.rejects(
      reader.read(new Map([[0, 105]]), collector(), 1000),
      refusal('LOG_TRUNCATED', topic, 'partition 0', '105', '5'),
    )
    // the end itself is a position like any other
    assert.deepEqual(await reader.read(new Map([[0, 5]]), collector(), 10), new Map([[0, 5]]))
  })

  scenario('a position before the first record is POSITION_LOST, and says what and where', async (world) => {
    const { topics, make, forget } = world
    const topic = newTopic()
    await make(topic, 1)
    {
      await using writer = await topics.openWriter(topic)
      for (let n = 0; n < 40; n++)
        await writer.append(Array.from({ length: 10 }, () => ({ value: Buffer.alloc(1000, n) })))
    }
    await forget(topic)
    await using reader = await topics.openReader(topic)
    const [ends] = await reader.partitions()
    const { first = 0, end = 0 } = ends ?? {}
    assert.ok(first > 0 && first < 400, `${first} is the first offset`)
    assert.equal(end, 400)
    for (const offset of [0, first - 1]) {
      await assert.rejects(
        reader.read(new Map([[0, offset]]), collector(), 1000),
        refusal('POSITION_LOST', topic, 'partition 0', String(offset), String(first)),
      )
    }
    const { records } = await readSome(reader, new Map([[0, first]]), 400 - first)
    assert.equal(records[0]?.offset, first)
    assert.equal(records[0]?.value?.charCodeAt(0), Math.floor(first / 10))
  })
}

function refusal(code: ErrorCode, ...said: string[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof MillraceError, String(error))
    assert.equal(error.code, code)
    for (const part of said) assert.ok(String(error).includes(part), `${error} does not say "${part}"`)
    return true
  }
}
