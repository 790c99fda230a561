import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Chart, Results } from '../types.ts'
import { linesOf, marksOf } from './chart-data.ts'

const times = ['2026-01-01T12:00:00Z', '2026-01-01T12:00:10Z', '2026-01-01T12:00:20Z']
const seconds = times.map((time) => Date.parse(time) / 1000)
const chart: Chart = {
  title: 'Rate',
  route: 'rate',
  draws: 'line',
  x: 'at',
  y: ['rate'],
  marks: { route: 'moments', x: 'begun', label: 'what', says: 'moments' },
  refresh_seconds: 5,
}

function resultsOf(type: string, rows: Record<string, unknown>[]): Results {
  const names = Object.keys(rows[0] ?? {})
  return { columns: names.map((name) => ({ name, type: name === 'at' ? type : 'text' })), rows }
}

const rates = resultsOf(
  'timestamp',
  times.flatMap((at, i) => ['a', 'b'].map((stream) => ({ at, stream, rate: i }))),
)

test('marks stand on the line that they name, and those of lines that are not drawn are left out', () => {
  const by = { ...chart, by: 'stream' }
  const found = resultsOf('text', [
    { begun: times[1], stream: 'b', what: 'spike' },
    { begun: times[2], stream: 'a', what: 'drop' },
    { begun: times[2], stream: 'unknown', what: 'spike' },
  ])
  assert.deepEqual(marksOf(by, found, linesOf(by, rates)), [
    { x: seconds[1], series: 1, says: 'b spike' },
    { x: seconds[2], series: 0, says: 'a drop' },
  ])
})

test('marks that name no line stand on the axis, and on the line where there is only one', () => {
  const found = resultsOf('text', [{ begun: times[0], what: 'a new version' }])
  const by = { ...chart, by: 'stream' }
  assert.deepEqual(marksOf(by, found, linesOf(by, rates)), [
    { x: seconds[0], series: undefined, says: 'a new version' },
  ])
  const one = resultsOf(
    'timestamp',
    times.map((at) => ({ at, rate: 1 })),
  )
  assert.deepEqual(marksOf(chart, found, linesOf(chart, one)), [{ x: seconds[0], series: 0, says: 'a new version' }])
})

test('marks beyond the ends of the lines are left out, and nothing is marked where nothing is drawn or asked for', () => {
  const found = resultsOf('text', [
    { begun: '2026-01-01T11:59:59Z', what: 'before' },
    { begun: '2026-01-01T12:00:21Z', what: 'after' },
    { begun: 'never', what: 'no time' },
    { begun: null, what: 'no time' },
  ])
  const one = resultsOf(
    'timestamp',
    times.map((at) => ({ at, rate: 1 })),
  )
  assert.deepEqual(marksOf(chart, found, linesOf(chart, one)), [])
  assert.deepEqual(marksOf(chart, undefined, linesOf(chart, one)), [])
  assert.deepEqual(marksOf(chart, found, linesOf(chart, { columns: one.columns, rows: [] })), [])
  const { marks: _, ...unmarked } = chart
  assert.deepEqual(marksOf(unmarked, found, linesOf(unmarked, one)), [])
})
