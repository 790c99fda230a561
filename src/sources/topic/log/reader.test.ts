import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { test } from 'node:test'
import { collector } from '../../../../test/topic-contract/world.ts'
import { logFolder, texts, topic } from '../../../../test/topic-log/folder.ts'

test('a position in a topic that is gone is LOG_TRUNCATED, and not the start of another', async () => {
  await using log = await logFolder()
  await using reader = await log.topics().openReader(topic)
  await assert.rejects(reader.read(new Map([[0, 7]]), collector(), 1000), { code: 'LOG_TRUNCATED' })
  await log.append([texts('a')])
  await rm(log.folder, { recursive: true })
  await using later = await log.topics().openReader(topic)
  await assert.rejects(later.read(new Map([[0, 1]]), collector(), 1000), { code: 'LOG_TRUNCATED' })
})

test('a reader may be asked for the ends while it waits, and closed', async () => {
  await using log = await logFolder()
  await log.append([texts('a')])
  const reader = await log.topics().openReader(topic)
  const reading = reader.read(new Map([[0, 1]]), collector(), 60_000)
  const ends = [{ partition: 0, first: 0, end: 1 }]
  assert.deepEqual(await Promise.all([reader.partitions(), reader.partitions()]), [ends, ends])
  await reader[Symbol.asyncDispose]()
  assert.deepEqual(await reading, new Map([[0, 1]]))
})

test('a position in a topic that does not exist makes none', async () => {
  await using log = await logFolder()
  await using reader = await log.topics().openReader(topic, { pipeline: 'early' })
  await reader.publish(new Map([[0, 0]]))
  assert.deepEqual(await reader.partitions(), [])
  await log.append([texts('a')])
  assert.deepEqual(await log.values(), ['a'])
})
