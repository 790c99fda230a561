import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MillraceError } from '../errors.ts'
import { explain } from './explain.ts'
import { run } from './run.ts'
import { work } from './start.ts'
import type { Options, Verb } from './verb.ts'

async function asked(verb: Verb, name: string, options: Options = {}): Promise<string> {
  const said: string[] = []
  const words = name === '' ? [] : [name]
  const call = { words, options: { engine: 'spark', ...options }, signal: AbortSignal.abort() }
  assert.equal(await verb.run({ ...call, out: (line) => said.push(line) }), 0)
  return said.join('\n')
}

async function refusalOf(verb: Verb, name: string): Promise<MillraceError> {
  const error = await asked(verb, name).then(
    () => assert.fail('it was not refused'),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof MillraceError && error.code === 'NOT_SUPPORTED', String(error))
  return error
}

test('spark-logs says in a sentence why it does not run on Spark: its logs fit one machine', async () => {
  for (const verb of [run, work]) {
    const { message, at } = await refusalOf(verb, 'spark-logs')
    assert.equal(at, 'spark-logs')
    assert.match(message, /its logs fit one machine/)
    assert.doesNotMatch(message, /\n|; /, 'one sentence')
  }
  const text = await asked(explain, 'spark-logs')
  assert.equal([...text.matchAll(/ {2}refused: its logs fit one machine/g)].length, 2, text)
})

for (const name of ['shop-events', 'user-activity']) {
  test(`${name} says in a sentence why it is no stream on Spark: Postgres is its wall`, async () => {
    const { message, at, hint } = await refusalOf(work, name)
    assert.equal(at, name)
    assert.match(message, /every row goes into Postgres, which is its wall: Spark would only add a hop/)
    assert.doesNotMatch(message, /\n|; /, 'one sentence')
    assert.match(hint ?? '', new RegExp(`millrace work ${name}$`))
    assert.match(
      await asked(explain, name),
      /a stream: .*\n {2}refused: behind its validation every row goes into Postgres/,
    )
  })
}

test('all of them as streams on Spark are refused, and those that run there are named', async () => {
  const { at, hint } = await refusalOf(work, '')
  assert.equal(at, 'shop-events')
  assert.match(hint ?? '', /millrace work telemetra flyers --engine spark$/)
})

for (const name of ['telemetra', 'flyers']) {
  test(`explain shows where ${name} is cut, and the queries that run on Spark`, async () => {
    const text = await asked(explain, name)
    assert.match(text, /a stream: .*\n {2}on Spark: validate.*\n {2}here: select, /)
    assert.match(text, new RegExp(`a query of ${name}\\.events.*: messages of ${name}\\.events`))
  })
}

test('a worker is told of folders only where Spark reads them, of one pipeline, with a Spark', async () => {
  await assert.rejects(asked(work, 'flyers', { engine: 'duckdb', input: ['in'] }), /only on Spark it is told/)
  await assert.rejects(asked(work, 'flyers'), /SPARK_REMOTE names none/)
})

test('an engine that there is not is wrong usage of work, too', async () => {
  await assert.rejects(asked(work, 'flyers', { engine: 'flink' }), /"flink" is not duckdb or spark/)
})
