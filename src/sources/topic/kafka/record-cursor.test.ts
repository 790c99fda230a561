import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RecordCursor } from './record-cursor.ts'

function cursor(hex: string): RecordCursor {
  const made = new RecordCursor()
  const bytes = Buffer.from(hex, 'hex')
  made.over(bytes, 0, bytes.length)
  return made
}

const numbers: [hex: string, value: number][] = [
  ['00', 0],
  ['01', -1],
  ['02', 1],
  ['7f', -64],
  ['8001', 64],
  ['ff01', -128],
  ['feffffff0f', 2 ** 31 - 1],
  ['ffffffff0f', -(2 ** 31)],
]

test('numbers of 32 bits are read up to their limits', () => {
  for (const [hex, value] of numbers) {
    const at = cursor(hex)
    assert.equal(at.varint(), value, hex)
    assert.equal(at.at, hex.length / 2)
  }
  assert.throws(() => cursor('ffffffffff0f').varint(), /more than 32 bits/)
})

test('numbers of 64 bits are read up to where numbers are exact', () => {
  const far: [string, number][] = [
    ['feffffffffffff1f', Number.MAX_SAFE_INTEGER],
    ['8080808010', 2 ** 31],
    ['ffffffff1f', -(2 ** 32)],
  ]
  for (const [hex, value] of [...numbers, ...far]) {
    const at = cursor(hex)
    assert.equal(at.varlong(), value, hex)
    assert.equal(at.at, hex.length / 2)
  }
  assert.throws(() => cursor('ffffffffffffffffffff01').varlong(), /more than 64 bits/)
})
