import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BatchLimits } from './batch-limits.ts'

test('a batch that needed too much memory is followed by smaller ones, which grow again', () => {
  const limits = new BatchLimits({ rows: 1000, bytes: 64_000 })
  assert.deepEqual(limits.next(), { rows: 1000, bytes: 64_000 })
  assert.equal(limits.less(), 'smaller batches')
  assert.deepEqual(limits.next(), { rows: 125, bytes: 8000 })
  // the range had fewer rows than it might have had
  limits.taken(80)
  assert.equal(limits.less(), 'smaller batches')
  assert.deepEqual(limits.next(), { rows: 10, bytes: 640 })
  for (const rows of [20, 40, 80, 160, 320, 640, 1000, 1000]) {
    limits.more()
    assert.equal(limits.next().rows, rows)
  }
})

test('a row that alone needs too much is set aside once, and when that did not help nothing is left to try', () => {
  const limits = new BatchLimits({ rows: 4, bytes: 64_000 })
  assert.equal(limits.less(), 'smaller batches')
  assert.deepEqual(limits.next(), { rows: 1, bytes: 8000 })
  assert.equal(limits.less(), 'setting a row aside')
  assert.deepEqual(limits.next(), { rows: 1, bytes: 8000, setAside: true })
  // the range after it is like any other
  assert.deepEqual(limits.next(), { rows: 1, bytes: 8000 })
  assert.equal(limits.less(), undefined)
  // one that fitted makes a new beginning
  limits.more()
  assert.equal(limits.less(), 'setting a row aside')
})
