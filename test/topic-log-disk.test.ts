import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { noDisks, smallDisk } from './crash/small-disk.ts'
import { logFolder, texts, topic } from './topic-log/folder.ts'

describe('a full disk under a local topic', { skip: noDisks() }, () => {
  // with a segment that is written, and where another one is to be begun
  for (const segmentBytes of [10_000_000, 1]) {
    test(`refuses appends until there is room, and what it has is whole (segments of ${segmentBytes})`, async () => {
      await using log = await logFolder()
      await using disk = await smallDisk(log.folder)
      await using writer = await log.topics({ segmentBytes }).openWriter(topic)
      const acknowledged: string[] = []
      for (let round = 0; round < 3; round++) {
        await disk.fill()
        // a page may have room left; so much it has not
        const large = [{ value: Buffer.alloc(100_000) }]
        for (let n = 0; n < 3; n++) {
          const failing = [writer.append(large), writer.append(texts('behind it'))]
          for (const outcome of await Promise.allSettled(failing)) {
            assert.equal(outcome.status, 'rejected')
            assert.equal(outcome.reason.code, 'DISK_FULL')
            assert.equal(outcome.reason.retry, true)
          }
        }
        assert.deepEqual(await log.values(), acknowledged)
        await disk.free()
        for (let n = 0; n < 3; n++) {
          const [lies] = await writer.append(texts(`${round}/${n}`))
          assert.equal(lies?.first, acknowledged.length)
          acknowledged.push(`${round}/${n}`)
        }
        assert.deepEqual(await log.values(), acknowledged)
      }
    })
  }

  test('is told to who opens the topic, and it opens when there is room', async () => {
    await using log = await logFolder()
    await using disk = await smallDisk(log.folder)
    await disk.fill()
    const full = { code: 'DISK_FULL', retry: true }
    await assert.rejects(log.topics().openWriter(topic), full)
    await disk.free()
    await log.append([texts('a')])
    await disk.fill()
    await assert.rejects(log.topics().openWriter(topic), full)
    assert.deepEqual(await log.values(), ['a'])
    await using reader = await log.topics().openReader(topic, { pipeline: 'late' })
    await assert.rejects(reader.partitions(), full)
    await disk.free()
    await log.append([texts('b')])
    assert.equal((await reader.partitions()).length, 1)
    assert.deepEqual(await log.values(), ['a', 'b'])
  })
})
