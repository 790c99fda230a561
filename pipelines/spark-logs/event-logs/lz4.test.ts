import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { Lz4Cut, Lz4Damaged, unpackBlock, unpackLz4, xxHash32 } from './lz4.ts'

// One block that is not packed, one that is, and the empty one that ends a stream.
const text = Buffer.from('{"Event":"a"}\n')
const long = Buffer.from('abcabcabcabcabcabcabcabcabcabcabcabc-end!')
const packedLong = Buffer.concat([
  // three literals, then thirty-three bytes from three back
  Buffer.from([0x3f]),
  Buffer.from('abc'),
  Buffer.from([3, 0, 33 - 4 - 15]),
  // five literals
  Buffer.from([0x50]),
  Buffer.from('-end!'),
])

function block(method: number, packed: Buffer, unpacked: Buffer): Buffer {
  const head = Buffer.alloc(21)
  head.write('LZ4Block')
  head[8] = method
  head.writeInt32LE(packed.length, 9)
  head.writeInt32LE(unpacked.length, 13)
  head.writeInt32LE(unpacked.length === 0 ? 0 : xxHash32(unpacked, 0x9747b28c) & 0xfffffff, 17)
  return Buffer.concat([head, packed])
}

const stream = Buffer.concat([
  block(0x16, text, text),
  block(0x26, packedLong, long),
  block(0x16, Buffer.alloc(0), Buffer.alloc(0)),
])

async function unpack(bytes: Buffer, chunk = bytes.length): Promise<string> {
  const chunks: Buffer[] = []
  for (let at = 0; at < bytes.length; at += chunk) chunks.push(bytes.subarray(at, at + chunk))
  let out = ''
  for await (const part of unpackLz4(Readable.from(chunks))) out += part.toString('utf8')
  return out
}

test('blocks are unpacked wherever the bytes are cut', async () => {
  for (let chunk = 1; chunk <= stream.length; chunk++) {
    assert.equal(await unpack(stream, chunk), `${text}${long}`, `cut every ${chunk} bytes`)
  }
})

test('streams that follow each other in one file are one', async () => {
  assert.equal(await unpack(Buffer.concat([stream, stream])), `${text}${long}`.repeat(2))
})

test('a stream that is cut anywhere gives its whole blocks, and says that it is cut', async () => {
  for (let length = 1; length < stream.length; length++) {
    let out = ''
    await assert.rejects(async () => {
      for await (const part of unpackLz4(Readable.from([stream.subarray(0, length)]))) out += part.toString('utf8')
    }, Lz4Cut)
    assert.ok(`${text}${long}`.startsWith(out))
  }
})

test('a changed byte is found, wherever it is', async () => {
  for (let at = 0; at < stream.length; at++) {
    // how hard it was tried to pack a block is only told, and of the last sequence not how long its copy would be
    if (at === 63 || at === 8 || at === 8 + 21 + text.length || at === stream.length - 13) continue
    const changed = Buffer.from(stream)
    changed[at] = (changed[at] ?? 0) ^ 0x01
    const out = await unpack(changed).catch((error: unknown) => error)
    assert.ok(
      out instanceof Lz4Damaged || out instanceof Lz4Cut || at >= stream.length - 4,
      `byte ${at} of ${stream.length}: ${String(out)}`,
    )
  }
})

test('a block that would reach before its beginning, or beyond its end, is damaged', () => {
  for (const bytes of [
    [0x10, 0x61, 2, 0],
    [0x10, 0x61, 0, 0],
    [0xf0, 1],
    [0x1f, 0x61, 1, 0, 255, 255],
    [0x20, 0x61],
  ]) {
    assert.throws(() => unpackBlock(Uint8Array.from(bytes), 10), Lz4Damaged, JSON.stringify(bytes))
  }
})

test('xxHash is that of others', () => {
  const cases: [string, number, number][] = [
    ['', 0, 0x02cc5d05],
    ['a', 0, 0x550d7456],
    ['abc', 0, 0x32d153ff],
    ['Nobody inspects the spammish repetition', 0, 0xe2293b2f],
  ]
  for (const [input, seed, hash] of cases) assert.equal(xxHash32(Buffer.from(input), seed) >>> 0, hash, input)
})
