import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pack, packings } from '../../../../test/kafka-batch.ts'
import { codecNames, unpack } from './codecs.ts'

const text = Buffer.from('PogChamp, said everyone. '.repeat(20_000))
const packed = packings.map((packing) => ({
  packing,
  codec: packing === 'xerial' ? codecNames.indexOf('snappy') : codecNames.indexOf(packing),
  bytes: pack(packing, text),
}))

test('what was packed is unpacked', () => {
  for (const { codec, bytes } of packed) assert.ok(unpack(codec, bytes).equals(text))
})

test('what would unpack to more than is held in memory is not unpacked', () => {
  for (const { packing, codec, bytes } of packed) {
    if (packing === 'none') continue
    assert.throws(() => unpack(codec, bytes, 400_000), Error, packing)
    assert.ok(unpack(codec, bytes, 600_000).equals(text))
  }
})

test('bytes that are cut off or of another kind are an error, and the next are unpacked as ever', () => {
  for (const { packing, codec, bytes } of packed) {
    if (packing === 'none') continue
    for (const length of [1, 7, bytes.length >> 1, bytes.length - 1]) {
      assert.throws(() => unpack(codec, bytes.subarray(0, length)), Error, `${packing}, ${length} bytes`)
    }
    assert.throws(() => unpack(codec, Buffer.alloc(100, 0x5a)), Error, packing)
    assert.ok(unpack(codec, bytes).equals(text))
  }
})

test('a codec that is not known is named', () => {
  assert.throws(() => unpack(5, text), /codec 5 is not known/)
})
