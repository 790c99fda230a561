import assert from 'node:assert/strict'
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { logFolder, texts, topic } from '../../../../test/topic-log/folder.ts'

test('writers of one process share a topic, and the last to leave frees it', async () => {
  await using log = await logFolder()
  const holder = join(log.folder, topic, 'writer')
  const [one, two] = await Promise.all([log.topics().openWriter(topic), log.topics().openWriter(topic)])
  await Promise.all([one.append(texts('a')), two.append(texts('b'))])
  await one[Symbol.asyncDispose]()
  // leaving twice is leaving once
  await one[Symbol.asyncDispose]()
  await assert.rejects(one.append(texts('too late')), /was closed/)
  await two.append(texts('c'))
  await access(holder)
  const leaving = two[Symbol.asyncDispose]()
  // who comes while it is freed waits for it
  await using three = await log.topics().openWriter(topic)
  await leaving
  await three.append(texts('d'))
  assert.deepEqual((await log.values()).sort(), ['a', 'b', 'c', 'd'])
})

test('a writer that leaves waits for its appends', async () => {
  await using log = await logFolder()
  const writer = await log.topics().openWriter(topic)
  const appends = Array.from({ length: 50 }, (_, n) => writer.append(texts(String(n))))
  await writer[Symbol.asyncDispose]()
  assert.equal((await Promise.all(appends)).length, 50)
  assert.equal((await log.values()).length, 50)
})

test('a topic that cannot be opened is not held', async () => {
  await using log = await logFolder()
  for (const name of ['..', '.', '', 'a/b', 'ü', 'a b', 'x'.repeat(250)]) {
    await assert.rejects(log.topics().openWriter(name), { code: 'INVALID_PLAN' })
    await assert.rejects(log.topics().openReader(name), { code: 'INVALID_PLAN' })
  }
  await using _ = await log.topics().openWriter('x'.repeat(249))
  await using __ = await log.topics().openWriter('..a')
})
