import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isoText, microsecondsOf } from './timestamp-text.ts'

test('a timestamp without an offset is UTC, wherever this process runs', () => {
  assert.equal(microsecondsOf('2026-01-31T12:00:00'), microsecondsOf('2026-01-31T12:00:00Z'))
  assert.equal(microsecondsOf('2026-01-31'), microsecondsOf('2026-01-31T00:00:00Z'))
})

test('six digits of a second are kept, further ones dropped', () => {
  assert.equal(microsecondsOf('1970-01-01T00:00:00.1234569Z'), 123_456n)
  assert.equal(microsecondsOf('1970-01-01T00:00:00.1Z'), 100_000n)
})

test('offsets are taken off', () => {
  assert.equal(microsecondsOf('1970-01-01T05:30:00+05:30'), 0n)
  assert.equal(microsecondsOf('1969-12-31T19:00:00-0500'), 0n)
  assert.equal(microsecondsOf('1970-01-01T14:00:00.000001+14'), 1n)
})

test('what is no moment of the years 0001 to 9999 is none', () => {
  const wrong = ['', '1', 'March 7', '2026-02-30', '2026-13-01', '2026-01-31T24:00:00Z', '2026-01-31T23:59:60Z']
  wrong.push('2026-01-31T12:00Z', '2026-01-31T12:00:00z', '2026-01-31 12:00:00 Z', '2026-01-31T12:00:00+15:00')
  wrong.push('0000-01-01', '0001-01-01T00:00:00+01:00', '9999-12-31T23:30:00-01:00', '+2026-01-31', '2026-01-31\n')
  for (const text of wrong) assert.equal(microsecondsOf(text), undefined, text)
})

test('a moment is written with three digits, or six where three lose some', () => {
  assert.equal(isoText(0n), '1970-01-01T00:00:00.000Z')
  assert.equal(isoText(-1n), '1969-12-31T23:59:59.999999Z')
  assert.equal(isoText(1_500n), '1970-01-01T00:00:00.001500Z')
  assert.equal(isoText(microsecondsOf('0001-01-01') ?? 0n), '0001-01-01T00:00:00.000Z')
})
