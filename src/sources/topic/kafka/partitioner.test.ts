import assert from 'node:assert/strict'
import { test } from 'node:test'
import { partitionOf } from './partitioner.ts'

test("a key goes to the partition that Kafka's own clients choose", () => {
  // the hashes that Kafka's tests of its own function expect
  const hashes: [key: string, hash: number][] = [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ]
  for (const [key, hash] of hashes) {
    for (const partitions of [1, 2, 3, 7, 12, 1000]) {
      assert.equal(partitionOf(Buffer.from(key), partitions), (hash & 0x7fffffff) % partitions, key)
    }
  }
})
