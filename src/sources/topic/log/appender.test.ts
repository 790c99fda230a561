import assert from 'node:assert/strict'
import { stat } from 'node:fs/promises'
import { afterEach, describe, test } from 'node:test'
import { eventually } from '../../../../test/crash/process.ts'
import { logFolder, texts, topic } from '../../../../test/topic-log/folder.ts'
import { arm } from '../../../failpoint.ts'
import type { TopicRecord } from '../topic.ts'
import { largestFrame } from './frame.ts'
import { listSegments } from './layout.ts'

describe('an append that fails', () => {
  afterEach(() => arm(undefined))

  for (const point of ['log begun', 'log synced'] as const) {
    test(`at "${point}" is taken back, with those behind it; the next one works`, async () => {
      await using log = await logFolder()
      await using writer = await log.topics({ segmentBytes: 100 }).openWriter(topic)
      const acknowledged: string[] = []
      for (let n = 0; n < 12; n++) {
        const failing = ['failing', 'failing too', 'and this'].map((text) => texts(`${text} ${n}`))
        arm(`${point}=throw`)
        const outcomes = await Promise.allSettled(failing.map((records) => writer.append(records)))
        for (const outcome of outcomes) {
          assert.equal(outcome.status, 'rejected')
          assert.equal(outcome.reason.code, 'FAILPOINT')
        }
        assert.deepEqual(await log.values(), acknowledged)
        // sometimes more is appended, so that segments end at different places
        for (let more = 0; more <= n % 3; more++) {
          const [lies] = await writer.append(texts(`value ${n}/${more}`))
          assert.equal(lies?.first, acknowledged.length)
          acknowledged.push(`value ${n}/${more}`)
        }
      }
      assert.deepEqual(await log.values(), acknowledged)
      assert.ok((await listSegments(log.partition)).length > 3)
    })
  }

  test('leaves nothing that a later writer could take for records', async () => {
    await using log = await logFolder()
    await log.append([texts('a')])
    const { size } = await stat(log.segment(0))
    {
      await using writer = await log.topics().openWriter(topic)
      arm('log synced=throw')
      await assert.rejects(writer.append(texts('b', 'c')))
      assert.equal((await stat(log.segment(0))).size, size)
    }
    await log.append([texts('d')])
    assert.deepEqual(await log.values(), ['a', 'd'])
  })

  test('because a record is too large appends none of its records', async () => {
    await using log = await logFolder()
    await using writer = await log.topics().openWriter(topic)
    const tooLarge: TopicRecord[] = [...texts('a'), { value: Buffer.alloc(largestFrame) }]
    await assert.rejects(writer.append(tooLarge), { code: 'RECORD_TOO_LARGE' })
    await writer.append(texts('b'))
    assert.deepEqual(await log.values(), ['b'])
  })
})

test('a record is read when it is durable, and not before', async () => {
  await using log = await logFolder()
  await using writer = await log.topics().openWriter(topic)
  await writer.append(texts('a'))
  const { size } = await stat(log.segment(0))
  arm('log synced=delay:300')
  let durable = false
  const append = writer.append(texts('b')).then(() => {
    durable = true
  })
  await eventually(async () => (await stat(log.segment(0))).size > size, { what: () => 'it is written', everyMs: 1 })
  assert.deepEqual(await log.values(), ['a'])
  assert.equal(durable, false, 'it was not durable yet')
  await append
  assert.deepEqual(await log.values(), ['a', 'b'])
})

test('appends that come at once are one group, and what the caller does with its bytes afterwards is its own', async () => {
  await using log = await logFolder()
  await using writer = await log.topics().openWriter(topic)
  const value = Buffer.from('kept')
  arm('log synced=throw')
  const first = Array.from({ length: 100 }, () => writer.append([{ value }]))
  value.fill('x')
  // one failure of one sync is the failure of all
  assert.ok((await Promise.allSettled(first)).every(({ status }) => status === 'rejected'))
  value.write('kept')
  const second = Array.from({ length: 100 }, () => writer.append([{ value }]))
  value.fill('x')
  await Promise.all(second)
  assert.deepEqual(await log.values(), Array(100).fill('kept'))
  arm(undefined)
})

test('an append of many megabytes is one', async () => {
  await using log = await logFolder()
  await log.append([Array.from({ length: 700 }, (_, n) => ({ value: Buffer.alloc(10_000, n) })), texts('last')])
  const records = await log.records()
  assert.equal(records.length, 701)
  for (const [n, { value }] of records.slice(0, 700).entries()) {
    assert.equal(value, Buffer.alloc(10_000, n).toString('latin1'))
  }
})

test('a record of many megabytes is read, whatever lies around it', async () => {
  await using log = await logFolder()
  const large = Buffer.alloc(9_000_000, 'large')
  await log.append([texts('a'), [{ value: large }], texts('b'), [{ value: large }], texts('c')])
  const lengths = (await log.values()).map((value) => value?.length)
  assert.deepEqual(lengths, [1, 9_000_000, 1, 9_000_000, 1])
})
