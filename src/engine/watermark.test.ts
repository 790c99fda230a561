import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pipeline, text, timestamp, topic } from '../pipeline.ts'
import type { Lag } from '../sources/source.ts'
import { Watermarks } from './watermark.ts'

const columns = { id: text(), at: timestamp() }
const eventTime = { column: 'at', outOfOrder: 1000, idleAfter: 30_000 } as const
const { plan } = pipeline('two')
  .from(topic('fast', { columns, eventTime }))
  .window({ size: '1 minute', by: 'id' }, () => ({}))
  .alongside(topic('slow', { columns, eventTime }), () => ({}))

/** The worker began at 0 and it is `now`; a batch of `fast` has shown 100 s, and this is known of the lags. */
function afterFast(lags: [source: string, lags: Lag[]][], now = 0): number | undefined {
  let clock = 0
  const committed = { batch: 0, epoch: 1, positions: [], watermark: undefined }
  const watermarks = new Watermarks(plan, committed, () => clock)
  clock = now
  const shown = { source: 'fast', seen: [{ partition: '0', latest: 100_000 }] }
  return watermarks.after(shown, new Map([['fast', [{ partition: '0', rows: 0 }]], ...lags]))
}

test('a source that was not looked at yet holds the watermark, however long ago the worker began', () => {
  assert.equal(afterFast([]), undefined)
  assert.equal(afterFast([], 60_000), undefined)
})

test('a topic that is not there holds the watermark as long as a partition that says nothing', () => {
  assert.equal(afterFast([['slow', []]], 29_999), undefined)
  assert.equal(afterFast([['slow', []]], 30_000), 99_000)
})

test('a partition that has more to read holds the watermark, and one that is idle does not', () => {
  assert.equal(afterFast([['slow', [{ partition: '0', rows: 1 }]]], 60_000), undefined)
  assert.equal(afterFast([['slow', [{ partition: '0', rows: 0 }]]], 29_999), undefined)
  assert.equal(afterFast([['slow', [{ partition: '0', rows: 0 }]]], 30_000), 99_000)
})
