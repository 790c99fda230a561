import assert from 'node:assert/strict'
import { test } from 'node:test'
import { noProgress, type Progress, type WorkerState } from '../engine/progress.ts'
import { barLine, progressLine, progressText } from './progress.ts'

const running: WorkerState = { is: 'running' }
const tenSeconds = { movedMs: 10_000, nowMs: 10_000 }

function progress(parts: Partial<Progress> = {}): Progress {
  const books = { rowsIn: 500_000, written: 495_000, filtered: 0, duplicates: 1000, late: 0, dead: 4000 }
  return { ...noProgress(), state: running, books, batches: 1, bytesDone: 40e6, bytesTotal: 100e6, ...parts }
}

test('the bar says how far it is, how fast, how long it may take, and the books', () => {
  assert.equal(
    barLine('shop', progress(), tenSeconds, 120),
    'shop  [========            ]  40 %  50,000/s  15 s left  495,000 written, 1,000 duplicates, 4,000 dead',
  )
  assert.equal(
    barLine('shop-events', progress(), tenSeconds, 79),
    'shop-events  [=====        ]  40 %  50,000/s  15 s left  500,000 in, 4,000 dead',
  )
})

test('the bar begins empty, ends full, and is never more than full', () => {
  const cases: [Partial<Progress>, RegExp][] = [
    [{ bytesDone: 0 }, /\[ +\] {3}0 % {2}50,000\/s {2}500,000 in/],
    [{ bytesDone: 100e6 }, /\[=+\] 100 % {2}50,000\/s {2}500,000 in/],
    // more arrived while it ran
    [{ bytesDone: 120e6 }, /\[=+\] 100 % {2}50,000\/s {2}500,000 in/],
    [{ bytesDone: 0, bytesTotal: 0 }, /\[=+\] 100 %/],
  ]
  for (const [parts, says] of cases) assert.match(barLine('shop', progress(parts), tenSeconds, 79), says)
})

test('while a batch is being made only the time that is left changes, and it is never over', () => {
  const at = (nowMs: number): string => barLine('shop', progress(), { movedMs: 10_000, nowMs }, 79)
  for (const [nowMs, left] of [
    [12_000, '13 s'],
    [24_000, '1 s'],
    [60_000, '1 s'],
  ] as const) {
    assert.equal(at(nowMs), at(10_000).replace('15 s left', `${left} left`))
  }
})

test('what hinders it, or is not known, is said in words', () => {
  const cases: [Partial<Progress>, string][] = [
    [{ state: { is: 'starting' } }, 'starting'],
    [{ state: { is: 'standing by', owner: 'a:1' } }, 'waiting for a:1 to lend it'],
    [{ state: { is: 'retrying', why: 'no\u001b[2J\nstack', tries: 1, nextInMs: 1 } }, 'retrying: no\\x1b[2J'],
    [{}, '40 %, 500,000 rows, 50,000/s: 495,000 written, 1,000 duplicates, 4,000 dead'],
    [{ bytesTotal: undefined, batches: 0 }, 'reading'],
    [{ bytesTotal: undefined }, '500,000 rows, 50,000/s: 495,000 written, 1,000 duplicates, 4,000 dead'],
  ]
  for (const [parts, says] of cases) assert.equal(progressText(progress(parts), tenSeconds), says)
  const unknown = progress({ bytesTotal: undefined })
  assert.equal(barLine('shop', unknown, tenSeconds, 200), `shop: ${progressText(unknown, tenSeconds)}`)
  const filtered = progress({ books: { ...progress().books, filtered: 3 } })
  assert.match(progressText(filtered, tenSeconds), /1,000 duplicates, 3 filtered, 4,000 dead/)
})

test('no line of it is wider than the terminal', () => {
  const parts: Partial<Progress>[] = [
    {},
    { bytesTotal: undefined },
    { state: { is: 'standing by', owner: 'x'.repeat(99) } },
  ]
  for (const width of [20, 40, 79]) {
    for (const part of parts) assert.ok(barLine('shop-events', progress(part), tenSeconds, width).length <= width)
  }
})

// A screen that keeps what is written to it, and a clock that goes when it is told to.
function onScreen(t: { mock: typeof test.mock }, isTTY: boolean) {
  t.mock.timers.enable({ apis: ['setInterval', 'Date'] })
  const written: string[] = []
  const screen = { isTTY, columns: 80, write: (text: string) => written.push(text) > 0 }
  const shown = progressLine('shop', screen, () => Date.now())
  return {
    shown,
    pass: (ms: number) => t.mock.timers.tick(ms),
    // what has been written since it was asked the last time
    since: () => written.splice(0),
  }
}

test('a terminal is drawn on at most ten times a second, and only when something has changed', (t) => {
  const { shown, since, pass } = onScreen(t, true)
  for (let i = 0; i < 1000; i++) {
    shown.update(progress({ batches: i, books: { ...progress().books, rowsIn: i * 1000 } }))
    pass(1)
  }
  const texts = since()
  assert.equal(texts.length, 10)
  for (const text of texts) assert.ok(text.startsWith('\r\u001b[2Kshop  [') && !text.includes('\n'), text)
  shown.update(progress({ state: { is: 'retrying', why: 'gone', tries: 1, nextInMs: 1 } }))
  pass(10_000)
  assert.deepEqual(since(), ['\r\u001b[2Kshop: retrying: gone'])
})

test('a terminal keeps one last line, and what is printed meanwhile above it', (t) => {
  const { shown, since, pass } = onScreen(t, true)
  shown.update(progress())
  pass(2000)
  since()
  shown.print('WARN a line')
  const [line, bar = ''] = since()
  assert.equal(line, '\r\u001b[2KWARN a line\n')
  assert.ok(bar.startsWith('\r\u001b[2Kshop  ['))
  shown[Symbol.dispose]()
  assert.deepEqual(since(), ['\r\u001b[2Kshop: 500,000 rows of 40.0 MB in 2 s, 250,000/s\n'])
  pass(10_000)
  assert.deepEqual(since(), [])
})

test('the clock starts when the run has its lease', (t) => {
  const { shown, since, pass } = onScreen(t, true)
  shown.update(progress({ state: { is: 'standing by', owner: 'a:1' }, batches: 0 }))
  pass(60_000)
  shown.update(progress({ batches: 0 }))
  pass(10_000)
  shown.update(progress())
  pass(100)
  assert.match(since().at(-1) ?? '', / 40 % {2}50,000\/s {2}15 s left/)
})

test('elsewhere there is a plain line every two seconds while something changes, and none at the end', (t) => {
  const { shown, since, pass } = onScreen(t, false)
  shown.update(progress({ batches: 0 }))
  pass(1000)
  shown.update(progress())
  pass(999)
  assert.deepEqual(since(), [])
  pass(1)
  assert.deepEqual(since(), ['shop: 40 %, 500,000 rows, 500,000/s: 495,000 written, 1,000 duplicates, 4,000 dead\n'])
  shown.print('WARN a line')
  pass(10_000)
  shown[Symbol.dispose]()
  assert.deepEqual(since(), ['WARN a line\n'])
})
