import assert from 'node:assert/strict'
import { open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { collector, readSome } from '../../../../test/topic-contract/world.ts'
import { type LogFolder, logFolder, topic } from '../../../../test/topic-log/folder.ts'
import { indexPath, listSegments } from './layout.ts'

const count = 6000
// about 900 kB a segment, and a dozen places in its index
const options = { segmentBytes: 900_000 }
const lists = Array.from({ length: count / 100 }, (_, list) =>
  Array.from({ length: 100 }, (_, n) => ({ value: Buffer.from(`${list * 100 + n}`.padEnd(400)) })),
)

async function valueAt(log: LogFolder, offset: number): Promise<number> {
  await using reader = await log.topics().openReader(topic)
  return Number((await readSome(reader, new Map([[0, offset]]), 1)).records[0]?.value)
}

test('an offset is found without reading what lies far before it', async () => {
  await using log = await logFolder()
  await log.append(lists, options)
  const segments = await listSegments(log.partition)
  assert.equal(segments.length, 3)
  // whoever reads the first record of a segment notices
  for (const segment of segments) {
    await using file = await open(log.segment(segment), 'r+')
    await file.write('damage', 100)
  }
  for (let offset = 0; offset < count; offset += 37) {
    const near = segments.some((segment) => offset >= segment && offset < segment + 200)
    if (near) continue
    assert.equal(await valueAt(log, offset), offset)
  }
  await assert.rejects(valueAt(log, 0), { code: 'TOPIC_DAMAGED' })
  // opening it for writing reads no more either
  await log.append([lists[0] ?? []], options)
  assert.equal(await valueAt(log, count + 50), 50)
})

test('an index that is lost, cut, or wrong is made anew, and nothing is read wrongly', async () => {
  await using log = await logFolder()
  await log.append(lists, options)
  const segments = await listSegments(log.partition)
  const right = await Promise.all(segments.map((segment) => readFile(indexPath(log.partition, segment))))
  assert.ok(
    right.every((index) => index.length >= 10 * 8),
    'each has its places',
  )
  const spoilt: ((index: Buffer) => Buffer | undefined)[] = [
    () => undefined,
    () => Buffer.alloc(0),
    (index) => Buffer.from(index).fill(0),
    (index) => Buffer.alloc(index.length, 0xff),
    (index) => Buffer.from(index.map((byte, at) => (at % 8 < 4 ? byte + 1 : byte))),
    (index) => Buffer.from(index.map((byte, at) => (at % 8 === 5 ? byte ^ 4 : byte))),
    (index) => index.subarray(0, index.length - 11),
  ]
  for (const [n, spoil] of spoilt.entries()) {
    for (const [at, segment] of segments.entries()) {
      const bytes = spoil(right[at] ?? Buffer.alloc(0))
      if (bytes === undefined) await rm(indexPath(log.partition, segment))
      else await writeFile(indexPath(log.partition, segment), bytes)
    }
    for (let offset = 0; offset < count; offset += 211) assert.equal(await valueAt(log, offset), offset, `case ${n}`)
    await log.append([], options)
    for (let offset = 0; offset < count; offset += 311) assert.equal(await valueAt(log, offset), offset, `case ${n}`)
    // the last one was made anew by the writer
    assert.deepEqual(await readFile(indexPath(log.partition, segments[2] ?? 0)), right[2], `case ${n}`)
  }
  // those of the others by readers, where they were of no use
  await rm(indexPath(log.partition, 0))
  assert.equal(await valueAt(log, 1000), 1000)
  assert.equal((await stat(indexPath(log.partition, 0))).size, right[0]?.length)
  const left = (await readdir(log.partition)).filter((name) => /index\./.test(name))
  assert.deepEqual(left, [])
})

test('reading back and forth finds the same records as reading on', async () => {
  await using log = await logFolder()
  await log.append(lists, options)
  await using reader = await log.topics().openReader(topic)
  for (const offset of [5999, 0, 3000, 2999, 3001, 17, 5998, 6000]) {
    const sink = collector(3)
    await reader.read(new Map([[0, offset]]), sink, 0)
    assert.deepEqual(
      sink.records.map(({ value }) => Number(value)),
      [0, 1, 2].map((n) => offset + n).filter((each) => each < count),
    )
  }
})
