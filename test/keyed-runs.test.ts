import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { openBench } from './histories.ts'
import { checkKeyedRun } from './keyed-run-histories.ts'

// One takes as long as ten of the others: DuckDB plans some hundred statements for it.
const histories = Math.ceil(Number(process.env['MILLRACE_HISTORIES'] ?? 500) / 10)
const first = Number(process.env['MILLRACE_SEED'] ?? Date.now() % 1_000_000_000)

const bench = await openBench()
after(() => bench[Symbol.asyncDispose]())

test(`${histories} generated bounded runs from seed ${first} judge all rows of a key together`, {
  timeout: 45 * 60_000,
}, async () => {
  let bucketed = 0
  for (let i = 0; i < histories; i++) if (await checkKeyedRun(bench, first + i)) bucketed++
  assert.ok(bucketed > 0, 'some of them go through buckets')
})

test('a small batch of a keyed run waits until the one three before it has left their room', async () => {
  // buckets of few rows follow one another there without a commit between them
  assert.ok(await checkKeyedRun(bench, 376_973_081))
})
