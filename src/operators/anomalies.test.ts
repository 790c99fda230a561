import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { type Bench, openBench } from '../../test/histories.ts'
import { runWindows } from '../../test/window-run.ts'
import { count, mean } from '../functions/aggregate.ts'
import { double, pipeline, table, text, timestamp, topic } from '../pipeline.ts'

let bench: Bench
before(async () => {
  bench = await openBench()
})
after(async () => await bench[Symbol.asyncDispose]())

const source = topic('chat', {
  columns: { at: timestamp().orEpochMilliseconds(), who: text(), value: double().optional() },
  eventTime: { column: 'at' },
})

const judged = (name: string, over: number, threshold: number) =>
  pipeline(name)
    .from(source)
    .window({ size: 10, by: 'who', emit: 'close' }, (row) => ({ value: mean(row.value), n: count() }))
    .anomalies({ of: { value: { spike: 'up', drop: 'down' } }, by: 'who', over, threshold })
    .into(table('moments'))

/** One row in each window, of which the mean is its value; nothing where there is no window. */
function series(values: (number | null | undefined)[], who = 'a', from = 0) {
  return values.flatMap((value, i) =>
    value === undefined ? [] : [{ at: String(10 * (from + i)), who, value: value === null ? null : String(value) }],
  )
}

async function momentsOf(given: ReturnType<typeof series>[], over: number, threshold: number, rows = 1000) {
  const name = `judged-${++bench.drains}`
  const runs = given.map((chat) => ({ chat }))
  const ran = await runWindows(bench, judged(name, over, threshold).plan, runs, { final: true, rows })
  const found = ran.rows('moments', 'who', 'window_start', 'moment_type', 'value', 'mean', 'deviation', 'z_score')
  return found.map(([who, start, moment, ...numbers]) => [
    who,
    Date.parse((start ?? '').replace(' ', 'T').replace('+00', 'Z')) / 10,
    moment,
    ...numbers.map(Number),
  ])
}

test('a value at the threshold is an anomaly, one that is nearer is none', async () => {
  // the mean of 1 and 3 is 2, and their deviation is 1
  assert.deepEqual(await momentsOf([series([1, 3, 5])], 2, 3), [['a', 2, 'up', 5, 2, 1, 3]])
  assert.deepEqual(await momentsOf([series([1, 3, -1])], 2, 3), [['a', 2, 'down', -1, 2, 1, -3]])
  assert.deepEqual(await momentsOf([series([1, 3, 4.99])], 2, 3), [])
})

test('nothing is said before there are so many windows, nor while they were all the same', async () => {
  assert.deepEqual(await momentsOf([series([1, 3, 99])], 3, 1), [])
  assert.deepEqual(await momentsOf([series([5, 5, 5, 99])], 3, 1), [])
  assert.deepEqual(await momentsOf([series(Array.from({ length: 201 }, () => 50_000_000.3))], 200, 1), [])
})

test('windows without a value, and those that are not there, are passed over', async () => {
  assert.deepEqual(await momentsOf([series([1, null, undefined, 3, null, 5])], 2, 3), [['a', 5, 'up', 5, 2, 1, 3]])
})

test('each key has windows of its own', async () => {
  const both = [...series([1, 3, 5]), ...series([5, 5, 5], 'b')]
  assert.deepEqual(await momentsOf([both], 2, 3), [['a', 2, 'up', 5, 2, 1, 3]])
})

test('what closed in earlier runs is known to later workers, and is judged once', async () => {
  const given = [series([1, 3], 'a', 0), series([5, 1, 3], 'a', 2), series([9, 9], 'a', 5)]
  const whole = await momentsOf([given.flat()], 2, 2)
  assert.ok(whole.length >= 2)
  assert.deepEqual(await momentsOf(given, 2, 2), whole)
  assert.deepEqual(await momentsOf(given, 2, 2, 1), whole)
})

test('of a key as many windows are kept as are judged by', async () => {
  const { plan } = judged('kept', 3, 1)
  const ran = await runWindows(bench, plan, [
    { chat: series([1, 2, 3, 4, 5, 6, 7, 8]) },
    { chat: series([9, null], 'a', 8) },
  ])
  const kept = [...(ran.database.pipelines.get('kept')?.paneNumbers.values() ?? [])]
  assert.deepEqual(
    kept.filter(({ step }) => step === 'anomalies').map(({ pane }) => Number(pane) / 10_000),
    [6, 7, 8],
  )
})

test('values of more than eight digits are not judged, and spoil nothing', async () => {
  assert.deepEqual(await momentsOf([series([1, 1e30, 3, -1e8, 5])], 2, 3), [['a', 4, 'up', 5, 2, 1, 3]])
})
