import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import { systems } from '../../pipelines/index.ts'
import { loadConfig } from '../config.ts'
import type { WorkerState } from '../engine/progress.ts'
import { type Board, newBoard } from '../server/board.ts'
import { systemSettings } from './open.ts'
import { Rates, summaryLines } from './summary.ts'

const began = new Date('2026-01-31T12:00:00Z')
const now = new Date('2026-01-31T12:01:05Z')

function board(state: WorkerState): Board {
  const made = newBoard(systems.slice(0, 1), loadConfig(systemSettings(), {}, '/nowhere'), began)
  for (const line of made.lines.values()) {
    line.progress.state = state
    Object.assign(line.progress.books, { rowsIn: 1_234_567, written: 1_200_000, duplicates: 4_567, dead: 30_000 })
    line.files = { waiting: 2, claimed: 1, leftAlone: [] }
    line.deadLettersOpen = 12
  }
  return made
}

function shown(made: Board, width = 79): string[] {
  return summaryLines(made, () => 1234.5, now, width).map(stripVTControlCharacters)
}

test('the summary says how fast, how far behind, and that the books balance', () => {
  assert.deepEqual(shown(board({ is: 'running' })), [
    'Millrace, for 65 s                                      Ctrl-C stops it cleanly',
    '',
    'pipeline     state    rows/s  files left     in  written  duplicates    dead',
    'shop-events  running   1,235           3  1.23M    1.20M       4,567  30,000',
    '  12 rows are dead letters: millrace dead-letters list',
  ])
})

test('whatever is wrong is said, with what to do about it', () => {
  const cases: [WorkerState, RegExp][] = [
    [{ is: 'retrying', why: 'connect ECONNREFUSED', tries: 3, nextInMs: 400 }, /ECONNREFUSED\n.*goes on by itself/],
    [{ is: 'stopped', why: 'PLAN_CHANGED: another plan\nmore' }, /PLAN_CHANGED: another plan\n.*start again/],
    [{ is: 'standing by', owner: 'a:1' }, /a:1 runs it/],
    [{ is: 'lending', to: 'a:2' }, /lent to a:2/],
  ]
  for (const [state, says] of cases) assert.match(shown(board(state)).join('\n'), says)
})

test('a verdict that rows have had gets its column', () => {
  const made = board({ is: 'running' })
  for (const line of made.lines.values()) line.progress.books.filtered = 5
  assert.match(shown(made, 100)[2] ?? '', /dead {2}filtered$/)
  assert.match(shown(made)[2] ?? '', /dead/, 'a narrow terminal keeps the dead')
})

test('no line is wider than the terminal', () => {
  for (const width of [79, 40, 20]) {
    const made = board({ is: 'retrying', why: 'x'.repeat(500), tries: 1, nextInMs: 1 })
    for (const line of shown(made, width)) assert.ok(line.length <= width, `${line.length} > ${width}: ${line}`)
  }
})

test('a rate is over the last seconds, not since the start', () => {
  const rates = new Rates()
  const at = (seconds: number): Date => new Date(began.getTime() + seconds * 1000)
  rates.note('p', 0, at(0))
  assert.equal(rates.of('p'), 0)
  for (let second = 1; second <= 10; second++) rates.note('p', second <= 5 ? 1000 * second : 5000, at(second))
  assert.equal(rates.of('p'), 0)
  rates.note('p', 5500, at(11))
  assert.equal(rates.of('p'), 100)
})
