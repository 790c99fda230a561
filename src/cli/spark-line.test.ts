import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sparkLine } from './spark-run.ts'

const some = { stages: 8, stagesDone: 3, tasks: 64, tasksDone: 12, bytesRead: 1_234_567_890 }

test('what Spark does is a line drawn over itself on a terminal, and elsewhere one for each step and now and then', () => {
  for (const isTTY of [true, false]) {
    const written: string[] = []
    const screen = { isTTY, columns: 70, write: (text: string) => written.push(text) > 0 }
    const clock = { ms: 0 }
    {
      using line = sparkLine('flyers', screen as never, () => clock.ms)
      line.update('writing sessions', undefined)
      line.update('writing sessions', some)
      clock.ms = 2000
      line.update('writing sessions', some)
    }
    const whole = 'flyers on Spark: writing sessions, 3 of 8 stages, 12 of 64 tasks, 1,235 MB read'
    if (isTTY) {
      assert.equal(written.length, 4)
      assert.ok(
        written.every((text) => text.startsWith('\r\u001b[2K') && text.length <= 5 + 69),
        'no line is wider',
      )
    } else assert.deepEqual(written, ['flyers on Spark: writing sessions\n', `${whole}\n`])
  }
})
