import assert from 'node:assert/strict'
import { appendFile, copyFile, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { collector, numbered } from '../../../../test/topic-contract/world.ts'
import { type LogFolder, logFolder, texts, topic } from '../../../../test/topic-log/folder.ts'
import { MillraceError } from '../../../errors.ts'

describe('a tail that is torn', () => {
  test('is cut at every byte: whole frames stay, and appending goes on behind them', async () => {
    await using log = await logFolder()
    await log.append([texts('a', 'b')])
    const end = await readFile(join(log.partition, 'end'))
    const { size } = await stat(log.segment(0))
    await log.append([texts('c', 'dd', '')])
    const whole = await readFile(log.segment(0))
    const ends = [0, 33, 67, 99].map((bytes) => size + bytes)
    assert.equal(ends.at(-1), whole.length)
    for (let cut = size; cut <= whole.length; cut++) {
      await writeFile(log.segment(0), whole.subarray(0, cut))
      await writeFile(join(log.partition, 'end'), end)
      const stay = ['a', 'b', 'c', 'dd', ''].slice(0, 2 + ends.filter((each) => each <= cut).length - 1)
      await using writer = await log.topics().openWriter(topic)
      assert.deepEqual(await log.values(), stay, `cut at byte ${cut}`)
      assert.equal(
        (await stat(log.segment(0))).size,
        ends.findLast((each) => each <= cut),
      )
      const [lies] = await writer.append(texts('next'))
      assert.equal(lies?.first, stay.length)
      assert.deepEqual(await log.values(), [...stay, 'next'])
    }
  })

  for (const [what, garbage] of [
    ['zeros', Buffer.alloc(5000)],
    ['bytes of something else', Buffer.alloc(5000, 'lorem ipsum ')],
    ['a length and nothing else', Buffer.from([100, 0, 0, 0])],
  ] as const) {
    test(`is cut when it is ${what}`, async () => {
      await using log = await logFolder()
      await log.append([texts('a', 'b')])
      const { size } = await stat(log.segment(0))
      await appendFile(log.segment(0), garbage)
      await log.append([texts('c')])
      assert.deepEqual(await log.values(), ['a', 'b', 'c'])
      assert.equal((await stat(log.segment(0))).size, size + 33)
    })
  }

  test('may be a segment that was begun: it goes', async () => {
    await using log = await logFolder()
    await log.append([texts('a', 'b')])
    for (const torn of [Buffer.alloc(0), Buffer.alloc(10, 1)]) {
      await writeFile(log.segment(2), torn)
      await log.append([])
      await assert.rejects(stat(log.segment(2)), { code: 'ENOENT' })
      assert.deepEqual(await log.values(), ['a', 'b'])
    }
    await log.append([texts('c')])
    assert.deepEqual(await log.values(), ['a', 'b', 'c'])
  })
})

describe('an end that is older than the records', () => {
  test('after a power cut loses none of them, over segments', async () => {
    await using log = await logFolder()
    const small = { segmentBytes: 200 }
    await log.append([texts('0', '1')], small)
    await copyFile(join(log.partition, 'end'), join(log.folder, 'older'))
    await log.append(
      ['2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12', '13'].map((text) => texts(text)),
      small,
    )
    await copyFile(join(log.folder, 'older'), join(log.partition, 'end'))
    const reader = await log.topics().openReader(topic)
    // a pipeline that has read them waits for the writer to find them
    assert.deepEqual(await reader.read(new Map([[0, 14]]), collector(), 0), new Map([[0, 14]]))
    await assert.rejects(reader.read(new Map([[0, 15]]), collector(), 0), { code: 'LOG_TRUNCATED' })
    await log.append([texts('14')], small)
    assert.deepEqual(
      await log.values(),
      Array.from({ length: 15 }, (_, n) => String(n)),
    )
    await reader[Symbol.asyncDispose]()
  })

  test('is one of two copies when the other was half written', async () => {
    await using log = await logFolder()
    await log.append([texts('a'), texts('b')])
    const end = await readFile(join(log.partition, 'end'))
    for (let at = 0; at < 28; at++) {
      for (const slot of [0, 32]) {
        const torn = Buffer.from(end)
        torn[slot + at] = (torn[slot + at] ?? 0) ^ 0x40
        await writeFile(join(log.partition, 'end'), torn)
        // readers see what was before, the next writer finds all
        assert.ok(['a', 'a,b'].includes((await log.values()).join()), `byte ${at} of ${slot}`)
        await log.append([])
        assert.deepEqual(await log.values(), ['a', 'b'])
      }
    }
    await writeFile(join(log.partition, 'end'), Buffer.alloc(64))
    await assert.rejects(log.values(), { code: 'TOPIC_DAMAGED', at: `${join(log.partition, 'end')}, byte 0` })
  })
})

describe('bytes that were durable and are not what they were', () => {
  test('are TOPIC_DAMAGED with file and byte, for who writes and who reads, wherever they lie', async () => {
    await using log = await logFolder()
    await log.append([texts('a', 'b', 'c')])
    const whole = await readFile(log.segment(0))
    for (let at = 0; at < whole.length; at++) {
      const changed = Buffer.from(whole)
      changed[at] = (changed[at] ?? 0) ^ 0x04
      await writeFile(log.segment(0), changed)
      const frame = Math.floor(at / 33)
      const place = `${log.segment(0)}, byte ${frame * 33}`
      await assert.rejects(log.append([]), { code: 'TOPIC_DAMAGED', at: place }, `byte ${at}`)
      assert.deepEqual(await readTo(log), { values: ['a', 'b', 'c'].slice(0, frame), code: 'TOPIC_DAMAGED', at: place })
    }
    await writeFile(log.segment(0), whole)
    await log.append([texts('d')])
    assert.deepEqual(await log.values(), ['a', 'b', 'c', 'd'])
  })

  test('are TOPIC_DAMAGED when the file ends too early, or is gone', async () => {
    await using log = await logFolder()
    await log.append([texts('a', 'b', 'c')])
    for (let size = 98; size >= 0; size--) {
      await truncate(log.segment(0), size)
      await assert.rejects(log.append([]), { code: 'TOPIC_DAMAGED', at: `${log.segment(0)}, byte ${size}` })
      assert.equal((await readTo(log)).code, 'TOPIC_DAMAGED')
    }
    await rm(log.segment(0))
    await assert.rejects(log.append([]), { code: 'TOPIC_DAMAGED', at: `${log.segment(0)}, byte 0` })
  })

  test('are TOPIC_DAMAGED in a segment of long ago too: what lies before them is read', async () => {
    await using log = await logFolder()
    await log.append(
      Array.from({ length: 30 }, (_, n) => numbered(n, n + 1)),
      { segmentBytes: 200 },
    )
    const whole = await readFile(log.segment(5))
    const spoilt = [
      () => writeFile(log.segment(5), whole.fill(0, 100, 101)),
      () => truncate(log.segment(5), 80),
      () => truncate(log.segment(5), 80 - (80 % 40)),
      () => rm(log.segment(5)),
    ]
    for (const spoil of spoilt) {
      await spoil()
      const { values, code } = await readTo(log)
      assert.equal(code, 'TOPIC_DAMAGED')
      assert.ok(values.length >= 5 && values.length < 10, `${values.length} were read`)
    }
  })
})

/** What is read from the start on, up to the error. */
async function readTo(log: LogFolder): Promise<{ values: (string | null)[]; code?: string; at?: string | undefined }> {
  await using reader = await log.topics().openReader(topic)
  const sink = collector()
  try {
    await reader.read(new Map([[0, 0]]), sink, 0)
    return { values: sink.records.map(({ value }) => value) }
  } catch (error) {
    assert.ok(error instanceof MillraceError, String(error))
    return { values: sink.records.map(({ value }) => value), code: error.code, at: error.at }
  }
}
