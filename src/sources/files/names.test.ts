import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fittingName, nameOf } from './names.ts'

test('a name that is no UTF-8 has its bytes written out, and is still known by them', () => {
  assert.deepEqual(nameOf(Buffer.from("a *'\n[ä]")), { name: "a *'\n[ä]" })
  const latin1 = Buffer.from('caf\xe9.csv', 'latin1')
  assert.deepEqual(nameOf(latin1), { name: 'caf\\xe9.csv', bytes: latin1 })
})

test('a name is cut in its middle, and never within a character', () => {
  assert.equal(fittingName('a'.repeat(255)), 'a'.repeat(255))
  assert.equal(fittingName(`${'a'.repeat(260)}.csv`), `${'a'.repeat(234)}~${'a'.repeat(16)}.csv`)
  const emoji = fittingName('\u{1f600}'.repeat(63), 16)
  assert.equal(emoji, `${'\u{1f600}'.repeat(39)}~${'\u{1f600}'.repeat(20)}`)
  assert.ok(Buffer.byteLength(emoji) <= 239)
})
