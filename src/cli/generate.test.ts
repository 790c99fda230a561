import assert from 'node:assert/strict'
import { test } from 'node:test'
import { requestOf } from './generate.ts'

test('what is not given has its usual value: a rate without a count, no rate with one', () => {
  const usual = {
    durationSeconds: undefined,
    seed: undefined,
    badPercent: 0,
    duplicatePercent: 0,
    to: undefined,
    bulk: false,
  }
  assert.deepEqual(requestOf({}), { ...usual, eventsPerSecond: 10, count: undefined })
  assert.deepEqual(requestOf({ count: '100' }), { ...usual, eventsPerSecond: undefined, count: 100 })
  assert.deepEqual(
    requestOf({ count: '100', 'events-per-second': '0.5', duration: '1.5', seed: '0', 'bad-percent': '100', to: 'a' }),
    { ...usual, eventsPerSecond: 0.5, durationSeconds: 1.5, count: 100, seed: 0, badPercent: 100, to: 'a' },
  )
})

test('a number that makes no sense is refused', () => {
  const cases: Record<string, [says: RegExp, wrong: string[]]> = {
    'events-per-second': [
      /is not a number more than 0/,
      ['0', '-1', '0.0', 'NaN', 'Infinity', '1e999', '', ' ', '0x10'],
    ],
    duration: [/is not a number more than 0/, ['0', '-5', 'NaN', 'ten']],
    count: [/is not a whole number/, ['1.5', '-1', 'NaN', '1e3', '']],
    seed: [/is not a whole number/, ['1.5', '-1', 'x']],
    'bad-percent': [/is not a number from 0 to 100/, ['-1', '101', 'NaN', '']],
    'duplicate-percent': [/is not a number from 0 to 100/, ['-0.1', '100.5']],
  }
  for (const [name, [says, wrong]] of Object.entries(cases)) {
    for (const value of wrong) {
      assert.throws(() => requestOf({ [name]: value }), { code: 'WRONG_USAGE', message: says, at: `--${name}` }, value)
    }
  }
})
