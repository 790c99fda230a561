/** What goes through the shuffle is what is needed behind it: in the SQL of flyers, and in bytes on a real Spark. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { count, pipeline, sum, table, text, timestamp, topic } from 'millrace'
import { flyers } from '../pipelines/flyers/pipeline.ts'
import { loadConfig } from '../src/config.ts'
import { planOf } from '../src/engine/system-run.ts'
import type { Plan } from '../src/plan/plan.ts'
import { explainSpark } from '../src/spark/explain.ts'
import { runIntoParquet } from '../src/spark/run.ts'
import { eventually } from './crash/process.ts'
import { eventLogIn, letGoIn, stagesIn } from './spark/event-log.ts'
import { noSpark, TestSpark } from './spark/server.ts'

/** The columns of the select that is shuffled, what it reads, and what it lets go. */
function shuffled(plan: Plan): { columns: string[]; input: string; where: string; by: string; sql: string } {
  const sql = explainSpark(plan).views.find(({ name }) => name === 'pairs')?.sql ?? ''
  const [, columns = '', input = '', where = '', by = ''] =
    /\n {6}select\n([\s\S]*?)\n {6}from (\S+)\n {6}where (.*)\n.*\n {6}distribute by (.*)/.exec(sql) ?? []
  return { columns: columns.split(',\n').map((line) => /(\w+)$/.exec(line)?.[1] ?? line), input, where, by, sql }
}

test('events of flyers are filtered and cut to two columns beside their key before they are shuffled', () => {
  const flyersPlan = (settings: Record<string, string>): Plan =>
    planOf(flyers, loadConfig(flyers.settings, settings, tmpdir()))
  const { columns, input, where, by, sql: pairs } = shuffled(flyersPlan({}))
  assert.equal(by, 'user_id, flyer_id')
  assert.deepEqual(columns, ['user_id', 'flyer_id', 'merchant_id', '_at'], pairs)
  // there an event may be of any kind that passes the filter, which only its hash tells
  assert.deepEqual(shuffled(flyersPlan({ FLYERS_COMPAT: 'true' })).columns, [...columns, '_hash'])
  const { views } = explainSpark(flyersPlan({}))
  assert.equal(input, '`select`')
  assert.match(where, /event = 'flyer_open'/)
  assert.match(
    views.find(({ name }) => name === '`filter`')?.sql ?? '',
    /where \(event in \('flyer_open', 'flyer_close'\)\)/,
  )
  // every window of pairs is of the key by which events were distributed, so that one shuffle serves all
  const keys = [...pairs.matchAll(/partition by (\w+, \w+)/g)].map(([, key]) => key)
  assert.ok(keys.length > 5, pairs)
  assert.deepEqual([...new Set(keys)], ['user_id, flyer_id'])
})

const events = topic('notes.events', {
  columns: { at: timestamp(), who: text(), what: text(), page: text(), note: text() },
  eventTime: { column: 'at' },
})

function plan(): Plan {
  return pipeline('notes')
    .from(events)
    .filter((row) => row.what.isIn('open', 'close'))
    .pairs({
      by: ['who', 'page'],
      open: (row) => row.what.equals('open'),
      close: (row) => row.what.equals('close'),
      maxGap: '1 hour',
      lateness: '1 hour',
    })
    .filter((row) => row.outcome.equals('paired'))
    .total('who', (row) => ({ seconds: sum(row.seconds), sessions: count() }))
    .into(table('times', { key: 'who' })).plan
}

const rows = 20_000

test('a kilobyte that nothing reads behind the shuffle is not shuffled, nor is what the filter lets go', {
  skip: noSpark,
  timeout: 10 * 60_000,
}, async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-wide-'))
  const [log, input] = [join(folder.path, 'log'), join(folder.path, 'events.jsonl')]
  await mkdir(log)
  const lines = Array.from({ length: rows }, (_, i) =>
    JSON.stringify({
      at: new Date(Date.UTC(2026, 0, 1) + i * 250).toISOString(),
      who: `reader-${i % 211}`,
      what: ['open', 'look', 'close', 'look'][Math.floor(i / 211) % 4],
      page: 'p',
      note: randomBytes(500).toString('hex'),
    }),
  )
  await writeFile(input, `${lines.join('\n')}\n`)
  await using spark = await TestSpark.start(eventLogIn(log))
  const { books } = await runIntoParquet(
    {
      plan: plan(),
      remote: spark.remote,
      inputs: [input],
      again: false,
      final: true,
      signal: new AbortController().signal,
    },
    join(folder.path, 'out'),
  )
  assert.equal(books.rowsIn, rows)
  assert.ok(Math.abs(books.filtered - rows / 2) < 211, JSON.stringify(books))
  const stages = await stagesIn(log)
  const most = Math.max(...stages.map(({ shuffleRows }) => shuffleRows))
  assert.equal(most, rows - books.filtered, 'what was filtered is not shuffled')
  const bytes = stages.reduce((sum, { shuffleBytes }) => sum + shuffleBytes, 0)
  const read = stages.reduce((bytes, { bytesRead }) => bytes + bytesRead, 0)
  assert.ok(read > rows * 1000, `${read} bytes read`)
  const isLetGo = async (): Promise<boolean> => (await letGoIn(log)) === 1
  await eventually(isLetGo, { what: () => 'pairs do not lie on the disks of executors any more' })
  // a key, a time, and the hash that names the pair
  assert.ok(bytes / (rows - books.filtered) < 80, `${bytes} bytes shuffled`)
})
