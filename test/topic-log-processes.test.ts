import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import { describe, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { logFailpoints } from '../src/failpoint.ts'
import type { TopicReader } from '../src/sources/topic/topic.ts'
import { readSome } from './topic-contract/world.ts'
import { type Child, startChild } from './topic-log/child.ts'
import { type LogFolder, logFolder, texts, topic } from './topic-log/folder.ts'

const kills = 20

describe('a writer that is killed', () => {
  test(`has every record that it acknowledged, after ${kills} kills at any moment`, async () => {
    await using log = await logFolder()
    const acknowledged: string[][] = []
    for (let run = 0; run < kills; run++) {
      await using child = startChild('append.ts', [log.folder, topic, String(run)])
      const first = await child.line()
      assert.ok(first !== undefined, `run ${run} has appended nothing`)
      await pause(Math.random() * 60)
      acknowledged.push([first, ...(await child.kill())])
    }
    await judge(log, acknowledged)
  })

  for (const point of logFailpoints) {
    test(`at "${point}" has every record that it acknowledged`, async () => {
      await using log = await logFolder()
      const acknowledged: string[][] = []
      for (const occurrence of [1, 2, 40]) {
        await using child = startChild('append.ts', [log.folder, topic, String(acknowledged.length)], {
          MILLRACE_FAILPOINT: `${point}@${occurrence}=kill`,
        })
        acknowledged.push(await linesOf(child))
        assert.deepEqual(await child.ended(), { code: null, signal: 'SIGKILL' })
      }
      await judge(log, acknowledged)
    })
  }
})

describe('a topic in two processes', () => {
  test('is written by one of them: the other is told who it is, and has it when that one is killed', async () => {
    await using log = await logFolder()
    await using holder = startChild('hold.ts', [log.folder, topic])
    assert.equal(await holder.line(), 'holds')
    await assert.rejects(log.topics().openWriter(topic), {
      code: 'TOPIC_LOCKED',
      message: `${hostname()}:${holder.pid} writes this topic`,
      retry: true,
    })
    // reading needs no leave
    assert.deepEqual(await log.values(), ['held'])
    await holder.kill()
    await log.append([texts('mine')])
    assert.deepEqual(await log.values(), ['held', 'mine'])
  })

  test('is read by the other as it is written', async () => {
    await using log = await logFolder()
    await using child = startChild('read.ts', [log.folder, topic])
    assert.equal(await child.line(), 'reads')
    await using writer = await log.topics({ segmentBytes: 500 }).openWriter(topic)
    const tookMs: number[] = []
    for (let n = 0; n < 100; n++) {
      await writer.append(texts(`value-${n}`))
      const durableMs = performance.timeOrigin + performance.now()
      const [offset, value, readMs] = (await child.line())?.split(' ') ?? []
      assert.deepEqual([offset, value], [String(n), `value-${n}`])
      tookMs.push(Number(readMs) - durableMs)
    }
    const median = tookMs.sort((a, b) => a - b)[50] ?? Number.POSITIVE_INFINITY
    assert.ok(median < 100, `it took ${median} ms until a record was seen`)
  })
})

async function linesOf(child: Child): Promise<string[]> {
  const lines: string[] = []
  for (;;) {
    const line = await child.line()
    if (line === undefined) return lines
    lines.push(line)
  }
}

/** What was acknowledged lies where it was said to; what lies there was appended, in order and once. */
async function judge(log: LogFolder, acknowledged: readonly string[][]): Promise<void> {
  // a writer brings the last one's tail into order
  await log.append([])
  await using reader: TopicReader = await log.topics().openReader(topic)
  const [ends] = await reader.partitions()
  const { records } = await readSome(reader, new Map([[0, 0]]), ends?.end ?? 0)
  const lanes = new Map<string, number>()
  for (const { offset, value } of records) {
    const [run, lane, number] = (value ?? '').split(' ')
    const before = lanes.get(`${run} ${lane}`) ?? -1
    assert.equal(Number(number), before + 1, `at offset ${offset}, in lane ${lane} of run ${run}`)
    lanes.set(`${run} ${lane}`, before + 1)
  }
  let checked = 0
  for (const [run, lines] of acknowledged.entries()) {
    for (const line of lines) {
      const [, first = 0, lane, from = 0, count = 0] = line.split(' ').map(Number)
      for (let n = 0; n < count; n++) {
        const value = records[first + n]?.value ?? ''
        assert.ok(value.startsWith(`${run} ${lane} ${from + n} `), `offset ${first + n} holds ${value.slice(0, 30)}`)
        checked++
      }
    }
  }
  assert.ok(checked > acknowledged.length, `${checked} were acknowledged`)
}
