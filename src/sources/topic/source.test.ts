import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { pipeline, table, text, topic } from '../../index.ts'
import type { TopicSource } from '../../plan/plan.ts'
import type { Sql } from '../source.ts'
import { memoryTopics } from './memory.ts'
import { openTopicSource } from './source.ts'

const limits = { rows: 5, bytes: 1_000_000 }
const none: Sql = { run: async () => 0, rows: async () => [] }

/** A source over a topic of one partition with 20 records, of which those before `stored` are committed. */
async function shouts(whenLost: 'earliest' | 'latest' | 'fail', stored: number) {
  const { plan } = pipeline('shouts')
    .from(topic('shouts', { columns: { id: text() }, whenLost }))
    .into(table('shouts'))
  // as: it has one source, a topic
  const [[id, source]] = Object.entries(plan.sources) as [[string, TopicSource]]
  const topics = memoryTopics(Date.now)
  topics.make('shouts', 1)
  topics.put('shouts', 0, Array(20).fill({ value: Buffer.from('{"id":"a"}') }))
  const folder = await mkdtempDisposable(join(tmpdir(), 'millrace-source-'))
  const problems: string[] = []
  const open = () =>
    openTopicSource({
      id,
      source,
      unread: [],
      reader: opened,
      bounded: false,
      positions: async () => [{ source: id, partition: '0', position: stored, watermark: undefined }],
      spool: folder.path,
      sql: none,
      onLost: (problem) => problems.push(`${problem.code} ${problem.at}: ${problem.message}; ${problem.hint}`),
    })
  const opened = await topics.openReader('shouts', {})
  const reader = await open()
  return {
    problems,
    forget: (before: number) => topics.forget('shouts', 0, before),
    next: async () => {
      const range = await reader.next(limits)
      await range?.release()
      return range?.ranges
    },
    async [Symbol.asyncDispose]() {
      await reader[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

const read = (from: number, to: number) => [{ topic: 'shouts', partition: 0, from, to }]
const lost = (next: number, first: number): string =>
  `the next record is ${next}, and the topic begins at ${first}: the records between were deleted unread`

for (const when of ['before it begins', 'while it reads'] as const) {
  describe(`what is deleted unread ${when}`, () => {
    // the first five are read before, unless it begins behind them
    const begin = async (whenLost: 'earliest' | 'latest' | 'fail') => {
      const source = await shouts(whenLost, when === 'before it begins' ? 5 : 0)
      if (when === 'while it reads') assert.deepEqual(await source.next(), read(0, 5))
      source.forget(12)
      return source
    }

    test('is an error that names topic, partition, both offsets and the choice', async () => {
      await using source = await begin('fail')
      for (let again = 0; again < 2; again++) {
        await assert.rejects(source.next(), {
          code: 'POSITION_LOST',
          at: 'shouts/0',
          message: lost(5, 12),
          hint: "say where to go on with whenLost: 'earliest' or 'latest' of the topic, or forget the position with: millrace reset",
        })
      }
      assert.deepEqual(source.problems, [])
    })

    test('is gone on behind, at the earliest record, and told of once', async () => {
      await using source = await begin('earliest')
      assert.deepEqual([await source.next(), await source.next()], [read(12, 17), read(17, 20)])
      assert.deepEqual(source.problems, [`POSITION_LOST shouts/0: ${lost(5, 12)}; it goes on at 12, as whenLost says`])
    })

    test('is gone on behind at the end, and told of once', async () => {
      await using source = await begin('latest')
      assert.equal(await source.next(), undefined)
      assert.deepEqual(source.problems, [`POSITION_LOST shouts/0: ${lost(5, 12)}; it goes on at 20, as whenLost says`])
    })
  })
}

test('a topic that ends before the stored position was cut off, or made anew: whenLost says where to go on', async () => {
  await using failing = await shouts('fail', 30)
  await assert.rejects(failing.next(), {
    code: 'LOG_TRUNCATED',
    message: 'the next record is 30, and the topic ends at 20: it was cut off, or made anew',
  })
  await using source = await shouts('earliest', 30)
  assert.deepEqual(await source.next(), read(0, 5))
  assert.equal(source.problems.length, 1)
})
