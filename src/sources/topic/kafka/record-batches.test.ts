import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { madeBatch, type Packing, packings, SeenRecords, sealed } from '../../../../test/kafka-batch.ts'
import { MillraceError } from '../../../errors.ts'
import type { TopicRecord } from '../topic.ts'
import type { AbortedTransaction } from './aborted.ts'
import { RecordBatches } from './record-batches.ts'

const now = 1_700_000_000_000

function piece(bytes: Buffer, from = 0, aborted: AbortedTransaction[] = []): RecordBatches {
  return new RecordBatches({ topic: 'chat', partition: 3, from, bytes, aborted })
}

function read(bytes: Buffer, from = 0, aborted: AbortedTransaction[] = []): { sink: SeenRecords; next: number } {
  const batches = piece(bytes, from, aborted)
  const sink = new SeenRecords()
  batches.handOut(sink)
  assert.ok(batches.usedUp)
  return { sink, next: batches.next }
}

function numbered(count: number, from = 0): TopicRecord[] {
  return Array.from({ length: count }, (_, i) => ({ value: Buffer.from(`value ${from + i}`) }))
}

function fault(act: () => unknown): MillraceError {
  try {
    act()
  } catch (error) {
    assert.ok(error instanceof MillraceError, String(error))
    return error
  }
  return assert.fail('it should be refused')
}

// Byte by byte as the protocol's description has it, with nothing of ours in it.
const written = Buffer.from(
  [
    '000000000000002a', // its first offset: 42
    '0000004a', // 74 bytes follow
    '00000000', // the epoch of its leader
    '02', // the format
    '00000000', // the checksum, made below
    '0000', // attributes
    '00000001', // its last record's offset, from the first
    '0000018bcfe56800', // the first time: 1,700,000,000,000
    '0000018bcfe5680a', // and the last, 10 ms later
    'ffffffffffffffff', // no producer
    'ffff', // nor an epoch
    'ffffffff', // nor a number
    '00000002', // two records
    '1c', // 14 bytes: attributes, time +0, offset +0, key "k", value "hi", one header "a" = "x!"
    '00 00 00 02 6b 04 6869 02 02 61 04 7821',
    '12', // 9 bytes: attributes, time +10, offset +1, no key, no value, one header "b" without a value
    '00 14 02 01 01 02 02 62 01',
  ]
    .join('')
    .replaceAll(' ', ''),
  'hex',
)
sealed(written)

test('a batch is cut into its records, with keys, headers and nulls where they are', () => {
  const { sink, next } = read(written, 42)
  assert.deepEqual(sink.seen, [
    { partition: 3, offset: 42, timestampMs: now, key: 'k', value: 'hi', headers: [['a', 'x!']] },
    { partition: 3, offset: 43, timestampMs: now + 10, key: null, value: null, headers: [['b', null]] },
  ])
  assert.equal(next, 44)
})

describe('however its records are packed', () => {
  for (const packing of packings) {
    test(`${packing}: all of them come out, also when the sink is full now and then`, () => {
      // more than one block of what is packed in blocks
      const records = numbered(20_000).map((record, i) => ({
        ...record,
        key: i % 3 === 0 ? Buffer.alloc(0) : undefined,
      }))
      const bytes = Buffer.concat([
        madeBatch(records, { packing, base: 100 }),
        madeBatch(numbered(10, 20_000), { packing, base: 20_100 }),
      ])
      const batches = piece(bytes, 100)
      const sink = new SeenRecords()
      for (const room of [0, 1, 7_000, 20_000, 20_001, 30_000]) {
        sink.room = room
        batches.handOut(sink)
        assert.equal(sink.seen.length, Math.min(room, 20_010))
        assert.equal(batches.next, 100 + sink.seen.length)
      }
      assert.deepEqual(
        sink.values,
        Array.from({ length: 20_010 }, (_, i) => `value ${i}`),
      )
      assert.equal(sink.seen[3]?.key, '')
      assert.equal(sink.seen[4]?.key, null)
      assert.ok(batches.usedUp)
    })
  }
})

test('records before the offset that was asked for are not handed out', () => {
  const bytes = Buffer.concat([madeBatch(numbered(10)), madeBatch(numbered(10, 10), { base: 10 })])
  for (let from = 0; from <= 20; from++) {
    const { sink, next } = read(bytes, from)
    assert.deepEqual(
      sink.offsets,
      Array.from({ length: 20 - from }, (_, i) => from + i),
    )
    assert.equal(next, 20)
  }
})

test('a batch that is cut off is left for the next request, wherever it is cut', () => {
  const whole = madeBatch(numbered(5))
  const bytes = Buffer.concat([whole, madeBatch(numbered(5, 5), { base: 5, packing: 'gzip' })])
  for (let length = 0; length < bytes.length; length++) {
    const { sink, next } = read(bytes.subarray(0, length))
    assert.equal(sink.seen.length, length < whole.length ? 0 : 5, `at ${length}`)
    assert.equal(next, length < whole.length ? 0 : 5)
  }
})

test('a damaged batch is named when it is its turn, and hands out nothing', () => {
  const good = madeBatch(numbered(5))
  for (const packing of packings) {
    const bytes = Buffer.concat([good, madeBatch(numbered(5, 5), { base: 5, packing })])
    for (let at = good.length + 17; at < bytes.length; at++) {
      const damaged = Buffer.from(bytes)
      damaged.writeUInt8(damaged.readUInt8(at) ^ 0x10, at)
      const batches = piece(damaged)
      const sink = new SeenRecords()
      const error = fault(() => batches.handOut(sink))
      assert.equal(error.code, 'TOPIC_DAMAGED')
      assert.equal(error.retry, true)
      assert.match(String(error), /topic chat, partition 3, offset 5/)
      assert.deepEqual(sink.offsets, [0, 1, 2, 3, 4], `damaged at ${at}`)
      assert.equal(batches.next, 5)
    }
  }
})

test('a batch that lies about its records, with a checksum that is right, hands out none that is not whole', () => {
  // what a producer could write: no broker looks into records
  const lies: [what: string, tell: (bytes: Buffer) => void, handedOut: number][] = [
    ['more records than there are', (bytes) => bytes.writeInt32BE(3, 57), 2],
    ['a length of a record that goes too far', (bytes) => bytes.writeUInt8(0x7e, 61), 0],
    ['a length of a record that ends too early', (bytes) => bytes.writeUInt8(0x0c, 61), 0],
    ['a length of a record below zero', (bytes) => bytes.writeUInt8(0x03, 61), 0],
    ['a length of a key that goes too far', (bytes) => bytes.writeUInt8(0x7e, 65), 0],
    ['a length of a value that ends too early', (bytes) => bytes.writeUInt8(0x02, 67), 0],
    ['fewer headers than there are', (bytes) => bytes.writeUInt8(0x00, 70), 0],
    ['a number of headers below zero', (bytes) => bytes.writeUInt8(0x01, 70), 0],
    ['a number without an end', (bytes) => bytes.fill(0xff, 61, 70), 0],
    ['a codec that there is not', (bytes) => bytes.writeInt16BE(7, 21), 0],
    ['bytes that are not packed with lz4', (bytes) => bytes.writeInt16BE(3, 21), 0],
    ['bytes that are not packed with snappy', (bytes) => bytes.writeInt16BE(2, 21), 0],
  ]
  for (const [what, tell, handedOut] of lies) {
    const bytes = Buffer.from(written)
    tell(bytes)
    const sink = new SeenRecords()
    const next = madeBatch(numbered(9), { base: 44 })
    const error = fault(() => piece(Buffer.concat([sealed(bytes), next]), 42).handOut(sink))
    assert.equal(error.code, 'TOPIC_DAMAGED', what)
    assert.equal(sink.seen.length, handedOut, what)
  }
})

test('the last record of a batch does not reach into the next batch', () => {
  const bytes = madeBatch(numbered(1))
  // its own length and that of its value, both ten bytes more
  for (const at of [61, 66]) bytes.writeUInt8(bytes.readUInt8(at) + 20, at)
  const sink = new SeenRecords()
  const error = fault(() => piece(Buffer.concat([sealed(bytes), madeBatch(numbered(9), { base: 1 })])).handOut(sink))
  assert.equal(error.code, 'TOPIC_DAMAGED')
  assert.deepEqual(sink.seen, [])
})

test('records of the formats before 2 are refused by name', () => {
  for (const format of [0, 1]) {
    const bytes = Buffer.alloc(64)
    bytes.writeInt32BE(52, 8)
    bytes.writeInt8(format, 16)
    const error = fault(() => piece(bytes).handOut(new SeenRecords()))
    assert.equal(error.retry, false)
    assert.match(String(error), new RegExp(`message format ${format}`))
  }
})

test('times and offsets are exact at the limits of what they may be', () => {
  const far = Number.MAX_SAFE_INTEGER
  const times = [0, 1, -1, 63, 64, -64, -65, 2 ** 31, -(2 ** 31) - 1, 2 ** 40, -(2 ** 40), far - 5, -5]
  const records = times.map((time) => ({ value: Buffer.alloc(0), timestampMs: time }))
  const { sink } = read(madeBatch(records, { base: 2 ** 52 }), 2 ** 52)
  assert.deepEqual(
    sink.seen.map(({ timestampMs }) => timestampMs),
    times,
  )
  assert.deepEqual(
    sink.offsets,
    times.map((_, i) => 2 ** 52 + i),
  )
})

test('where the broker sets the time, all records of a batch have its', () => {
  const { sink } = read(madeBatch(numbered(3), { appendedAtMs: now + 77 }))
  assert.deepEqual(
    sink.seen.map(({ timestampMs }) => timestampMs),
    [now + 77, now + 77, now + 77],
  )
})

test('the position goes behind records that compaction took away, at the end of a batch and where a batch is empty', () => {
  const bytes = Buffer.concat([
    madeBatch(numbered(3), { base: 10, last: 19 }),
    madeBatch([], { base: 20, last: 29 }),
    madeBatch(numbered(1), { base: 40, last: 44 }),
  ])
  const { sink, next } = read(bytes, 10)
  assert.deepEqual(sink.offsets, [10, 11, 12, 40])
  assert.equal(next, 45)
  const full = new SeenRecords(3)
  const batches = piece(bytes, 10)
  batches.handOut(full)
  assert.equal(batches.next, 20)
})

test('records of transactions that were taken back are skipped, and so are the marks that end transactions', () => {
  const end = (base: number, producer: number): Buffer =>
    madeBatch([{ key: Buffer.from('0000'), value: Buffer.from('mark') }], { base, producer, isControl: true })
  const bytes = Buffer.concat([
    madeBatch(numbered(2), { base: 0, producer: 7 }), // taken back
    madeBatch(numbered(2, 2), { base: 2, producer: 8 }), // committed
    madeBatch(numbered(2, 4), { base: 4 }), // of nobody
    madeBatch(numbered(2, 6), { base: 6, producer: 7 }), // taken back
    end(8, 7),
    end(9, 8),
    madeBatch(numbered(2, 10), { base: 10, producer: 7 }), // committed
    end(12, 7),
    madeBatch(numbered(2, 13), { base: 13, producer: 7 }), // taken back
    end(15, 7),
  ])
  const aborted = [
    { producer: 7, first: 13 },
    { producer: 7, first: 0 },
  ]
  const all = [2, 3, 4, 5, 10, 11]
  for (let from = 0; from <= 16; from++) {
    const { sink, next } = read(bytes, from, aborted)
    assert.deepEqual(
      sink.offsets,
      all.filter((offset) => offset >= from),
      `from ${from}`,
    )
    assert.equal(next, 16)
  }
})

test('whatever is written is read again', () => {
  const seed = Number(process.env['MILLRACE_SEED'] ?? Date.now() % 1_000_000)
  const random = randomOf(seed)
  const upTo = (limit: number): number => Math.floor(random() * limit)
  const bytesOf = (limit: number): Buffer => Buffer.alloc(upTo(limit), 'abcdefg'.charAt(upTo(7)))
  for (let round = 0; round < 200; round++) {
    const records = Array.from({ length: 1 + upTo(40) }, () => ({
      key: upTo(3) === 0 ? undefined : bytesOf(200),
      value: upTo(5) === 0 ? null : bytesOf(upTo(10) === 0 ? 40_000 : 300),
      timestampMs: upTo(2 ** 42) - 2 ** 41,
      headers: Array.from({ length: upTo(3) }, (): [string, Buffer] => [`name ${upTo(9)} é`, bytesOf(100)]),
    }))
    const packing: Packing = packings[upTo(packings.length)] ?? 'none'
    const base = upTo(2 ** 45)
    const { sink } = read(madeBatch(records, { base, packing }), base)
    assert.deepEqual(
      sink.seen,
      records.map(({ key, value, timestampMs, headers }, i) => ({
        partition: 3,
        offset: base + i,
        timestampMs,
        key: key?.toString() ?? null,
        value: value?.toString() ?? null,
        headers: headers.map(([name, content]) => [name, content.toString()]),
      })),
      `MILLRACE_SEED=${seed}, round ${round}, ${packing}`,
    )
  }
})

function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    return (state >>> 0) / 2 ** 32
  }
}
