import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc32c } from '../crc32c.ts'
import type { TopicRecord } from '../topic.ts'
import { framed, frameHead, frameLength, largestFrame, writeFrame } from './frame.ts'

function frameOf(record: TopicRecord, number = 0): Buffer {
  const measured = framed(record, 'events')
  const bytes = Buffer.alloc(measured.bytes)
  writeFrame(bytes, 0, number, measured, 0)
  return bytes
}

test('the checksum is CRC-32C', () => {
  assert.equal(crc32c(Buffer.from('123456789'), 0, 9), 0xe3069283)
  // the examples of RFC 3720
  assert.equal(crc32c(Buffer.alloc(32), 0, 32), 0x8a9136aa)
  assert.equal(crc32c(Buffer.alloc(32, 0xff), 0, 32), 0x62a8ab43)
  assert.equal(crc32c(Buffer.from('xx123456789xx'), 2, 11), 0xe3069283)
})

test('a frame is laid out as its comment says', () => {
  const record = {
    key: Buffer.from('k'),
    value: Buffer.from('value'),
    headers: [['h', Buffer.from('1')]] as const,
    timestampMs: 1_700_000_000_123,
  }
  const bytes = frameOf(record, 7)
  assert.equal(bytes.readUInt32LE(0), bytes.length)
  assert.equal(bytes.readUInt32LE(4), crc32c(bytes, 8, bytes.length))
  assert.equal(bytes.readUInt32LE(8), 7)
  assert.equal(bytes.readBigInt64LE(12), 1_700_000_000_123n)
  assert.deepEqual([bytes.readInt32LE(20), bytes.readInt32LE(24), bytes.readUInt32LE(28)], [1, 5, 1])
  assert.equal(bytes.toString('latin1', frameHead), 'k\x02h\x021value')
})

test('times before 1970 and far away come back', () => {
  for (const timestampMs of [-1, -(2 ** 40), 0, 2 ** 32, 8.64e15]) {
    assert.equal(frameOf({ value: null, timestampMs }).readBigInt64LE(12), BigInt(timestampMs))
  }
})

test('a frame with any byte changed is none', () => {
  const bytes = frameOf({ key: Buffer.from('key'), value: Buffer.from('value') }, 3)
  assert.equal(frameLength(bytes, 0, bytes.length, 3), bytes.length)
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ 0x10
    assert.ok(frameLength(changed, 0, changed.length, 3) <= 0, `byte ${at}`)
  }
})

test('a whole frame of another number is not the one that is looked for', () => {
  const bytes = frameOf({ value: null }, 3)
  assert.equal(frameLength(bytes, 0, bytes.length, 4), -1)
})

test('a frame whose end is missing is told from what is none', () => {
  const bytes = frameOf({ value: Buffer.alloc(100) })
  for (let end = 0; end < bytes.length; end++) assert.equal(frameLength(bytes, 0, end, 0), 0)
  assert.equal(frameLength(Buffer.alloc(100), 0, 100, 0), -1)
})

test('a record that is too large is refused, and says how large it is', () => {
  const value = Buffer.alloc(largestFrame - frameHead)
  assert.equal(framed({ value }, 'events').bytes, largestFrame)
  assert.throws(() => framed({ key: Buffer.from('k'), value }, 'events'), {
    code: 'RECORD_TOO_LARGE',
    at: 'topic events',
    message: `a record of ${largestFrame + 1} bytes is larger than a local topic takes, which is ${largestFrame}`,
  })
})
