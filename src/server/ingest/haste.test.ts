import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Haste } from './haste.ts'

const { signal } = new AbortController()
const long = 60_000

function open() {
  const clock = { ms: 100, busy: 0 }
  const haste = new Haste(
    () => clock.ms,
    () => clock.busy,
  )
  const ended: string[] = []
  const post = (pipeline = 'p') => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const done = haste.during([pipeline], () => promise)
    return async () => {
      resolve()
      await done
      // whoever rests has heard of it
      await new Promise(setImmediate)
    }
  }
  const rest = (pipeline: string, sinceMs: number, ms = long) => {
    void haste.rest(pipeline, ms, sinceMs, signal).then(() => ended.push(pipeline))
  }
  return { clock, haste, ended, post, rest }
}

test('a worker rests until all who post wait', async () => {
  const { clock, ended, post, rest } = open()
  const [one, two] = [post(), post()]
  rest('p', 100)
  clock.ms = 101
  await one()
  assert.deepEqual(ended, [])
  await two()
  assert.deepEqual(ended, ['p'])
})

test('those whose events are in the batch already hurry nobody', async () => {
  const { clock, ended, post, rest } = open()
  await post()()
  rest('p', 100)
  await post('another')()
  assert.deepEqual(ended, [])
  clock.ms = 101
  await post()()
  assert.deepEqual(ended, ['p'])
  // what came since is waited for when the rest would begin
  rest('p', 100)
  await new Promise(setImmediate)
  assert.deepEqual(ended, ['p', 'p'])
})

test('a post that fails leaves the others', async () => {
  const { clock, haste, ended, post, rest } = open()
  const last = post()
  rest('p', 100)
  clock.ms = 101
  await assert.rejects(haste.during(['p'], () => Promise.reject(new Error('the disk is full'))))
  assert.deepEqual(ended, [])
  await last()
  assert.deepEqual(ended, ['p'])
})

test('a rest ends when its time is over, and when the worker is told to stop', async () => {
  const stop = new AbortController()
  const { haste } = open()
  await haste.rest('p', 1, 100, signal)
  const warned: string[] = []
  const onWarning = ({ name }: Error): number => warned.push(name)
  process.on('warning', onWarning)
  await haste.rest('p', long, 100 - long - 1, signal)
  await new Promise(setImmediate)
  process.off('warning', onWarning)
  assert.deepEqual(warned, [], 'of time that is over nothing is left, not less than nothing')
  const resting = haste.rest('p', long, 100, stop.signal)
  stop.abort()
  await resting
})

test('posts that nobody waits for and that leave no time to others make rests longer, up to a second', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { clock, haste, ended, post, rest } = open()
  const pass = async (ms: number): Promise<void> => {
    clock.ms += ms
    t.mock.timers.tick(ms)
    await new Promise(setImmediate)
  }
  const rested = async (): Promise<number> => {
    const begun = clock.ms
    const many = ended.length
    haste.left(['p'])
    rest('p', begun - 1, 50)
    while (ended.length === many) await pass(1)
    return clock.ms - begun + 1
  }
  assert.equal(await rested(), 50)
  clock.busy = 0.8
  assert.deepEqual([await rested(), await rested(), await rested()], [100, 200, 400])
  assert.deepEqual([await rested(), await rested(), await rested()], [800, 1000, 1000])

  // somebody waits for a commit: it comes as soon as it would have
  const begun = clock.ms
  haste.left(['p'])
  rest('p', begun - 1, 50)
  const many = ended.length
  await post()()
  await pass(49)
  assert.equal(ended.length, many + 1)
  haste.left(['p'])
  rest('p', clock.ms - 1, 50)
  await pass(200)
  assert.equal(ended.length, many + 1)
  await post()()
  assert.equal(ended.length, many + 2)

  // nobody has posted since
  rest('p', clock.ms, 50)
  await pass(50)
  assert.equal(ended.length, many + 3)
  clock.busy = 0.5
  assert.equal(await rested(), 50)
})

test('those who post again at once when they are answered are waited for, for a moment', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { clock, haste, ended, post, rest } = open()
  const answer = (posts: number) => {
    for (let n = 0; n < posts; n++) haste.answered(['p'])
  }
  // again and again two are answered, and both are back
  for (let n = 0; n < 3; n++) {
    answer(2)
    await post()()
    await post()()
    t.mock.timers.tick(5)
  }
  clock.ms = 101
  rest('p', 100)
  await post()()
  assert.deepEqual(ended, [], 'a batch is being committed, and whoever waits for it will be back')
  answer(2)
  const [one, two] = [post(), post()]
  await one()
  assert.deepEqual(ended, [])
  await two()
  assert.deepEqual(ended, ['p'], 'both are back')

  rest('p', 100)
  answer(2)
  await post()()
  t.mock.timers.tick(4)
  await new Promise(setImmediate)
  assert.deepEqual(ended, ['p'])
  t.mock.timers.tick(1)
  await new Promise(setImmediate)
  assert.deepEqual(ended, ['p', 'p'], 'the other one has had its time')

  // they stay away, again and again: nobody is waited for any more
  for (let n = 0; n < 5; n++) {
    answer(2)
    t.mock.timers.tick(5)
  }
  rest('p', 100)
  await new Promise(setImmediate)
  assert.deepEqual(ended, ['p', 'p', 'p'])
})
