import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { WorkerState } from '../engine/progress.ts'
import { endOfTime } from '../engine/watermark.ts'
import type { PipelineStatus } from '../store/store.ts'
import { accessOf, type PipelineStanding, type Standing, stateInWords } from './standing.ts'
import { type Look, statusLines } from './status.ts'

const now = new Date('2026-01-31T12:00:00Z')
const stored: PipelineStatus = {
  pipeline: 'shop',
  owner: 'host:1',
  lentBy: null,
  doing: null,
  epoch: 4,
  alive: true,
  batch: 41,
  lastCommittedAt: new Date('2026-01-31T11:59:57Z'),
  rowsIn: 1001,
  written: 975,
  filtered: 0,
  duplicates: 8,
  late: 0,
  dead: 18,
  deadLettersOpen: 18,
  filesQuarantined: 1,
  outboxRows: 0,
}
const pipeline: PipelineStanding = {
  pipeline: 'shop',
  stored,
  worker: undefined,
  files: { waiting: 2, claimed: 1, leftAlone: [] },
  folders: ['/data/raw'],
  topics: [],
  numbers: undefined,
  lags: [],
}
const database = { fault: undefined, embedded: true, access: accessOf('postgresql://u:p%40ss@127.0.0.1:5433/db') }

test('the state of a pipeline comes from the worker where it knows more than the store', () => {
  const retrying: WorkerState = { is: 'retrying', why: 'no database', tries: 2, nextInMs: 100 }
  const cases: [Partial<PipelineStanding>, string][] = [
    [{}, 'running on host:1'],
    [{ worker: { is: 'running' } }, 'running on host:1'],
    [{ worker: retrying }, 'retrying'],
    [{ worker: retrying, stored: undefined }, 'retrying'],
    [{ stored: { ...stored, owner: 'host:2', lentBy: 'host:1' } }, 'backfill by host:2, lent by host:1'],
    [{ stored: { ...stored, owner: 'host:2', doing: 'Spark: pairs' } }, 'running on host:2: Spark: pairs'],
    [{ stored: { ...stored, owner: null } }, 'not running'],
    [{ stored: { ...stored, alive: false } }, 'not running; host:1 ended without giving it back'],
    [{ stored: undefined }, 'never started'],
  ]
  for (const [given, says] of cases) assert.equal(stateInWords({ ...pipeline, ...given }, database), says)
  const fault = { ...database, fault: 'no answer' }
  assert.equal(stateInWords({ ...pipeline, stored: undefined }, fault), 'unknown')
})

const at = now
const running: Standing = {
  database,
  server: { url: 'http://127.0.0.1:4040', pid: 1, answers: true },
  pipelines: [pipeline],
}

test('status shows tables of what runs and of the books, what waits, and how to connect', () => {
  assert.deepEqual(statusLines({ at, standing: running }, { width: 80 }), [
    'pipeline  state    last commit  files waiting  dead letters',
    'shop      running  3 s ago                  3            18',
    '',
    'books  rows in  written  filtered  duplicates  late  dead',
    'shop     1,001      975         0           8     0    18',
    '',
    'shop',
    '  state         running on host:1',
    '  last batch    41 (epoch 4)',
    '  dead letters  18 open: `millrace dead-letters list`',
    '  quarantined   1 file',
    '  waiting       2 files, 1 more claimed, in /data/raw',
    '',
    'server',
    '  http://127.0.0.1:4040 (pid 1)',
    '',
    'database, embedded',
    '  host      127.0.0.1',
    '  port      5433',
    '  user      u',
    '  database  db',
    '  password  p@ss',
    '',
    '  psql "postgresql://u:p%40ss@127.0.0.1:5433/db"',
  ])
})

test('of a pipeline that reads topics status names them, and no folder', () => {
  const ofTopics = { ...pipeline, folders: [], topics: ['chat', 'viewers'], stored: undefined }
  const lines = statusLines({ at, standing: { ...running, pipelines: [ofTopics] } }, { width: 80 })
  assert.deepEqual(lines.slice(lines.indexOf('shop') + 1, lines.indexOf('server') - 1), [
    '  state         never started',
    '  reads         chat, viewers',
  ])
})

test('the tables fit 80 columns whatever the names and numbers, and a terminal that is narrower', () => {
  const long: PipelineStanding = {
    ...pipeline,
    pipeline: 'a-name-of-a-pipeline-that-somebody-made-say-everything',
    worker: { is: 'retrying', why: `${'the database is on its way '.repeat(9)}back`, tries: 7, nextInMs: 100 },
    stored: {
      ...stored,
      lastCommittedAt: new Date('2025-01-31T12:00:00Z'),
      rowsIn: 987_654_321_012,
      written: 987_654_321_012,
      filtered: 987_654_321_012,
      duplicates: 987_654_321_012,
      late: 987_654_321_012,
      dead: 987_654_321_012,
      deadLettersOpen: 123_456_789,
    },
  }
  const look: Look = { at, standing: { ...running, pipelines: [pipeline, long] } }
  for (const width of [80, 72]) {
    const lines = statusLines(look, { width, before: { ...look, at: new Date(at.getTime() - 2000) } })
    for (const line of lines) assert.ok(line.length <= width, `${line.length}: ${line}`)
    assert.match(lines.join('\n'), /^a-name.*\.\.\. +retrying /m)
  }
})

test('while it watches, status tells rows per second since the look before', () => {
  const before: Look = { at: new Date(at.getTime() - 2000), standing: running }
  const later: Standing = {
    ...running,
    pipelines: [{ ...pipeline, stored: { ...stored, rowsIn: stored.rowsIn + 500 } }],
  }
  const [titles = '', row = ''] = statusLines({ at, standing: later }, { width: 80, before })
  assert.match(titles, /rows\/s/)
  assert.match(row, / 250 /)
  // a reset took the books back
  const reset: Standing = { ...running, pipelines: [{ ...pipeline, stored: { ...stored, rowsIn: 0 } }] }
  assert.match(statusLines({ at, standing: reset }, { width: 80, before })[1] ?? '', / 0 /)
})

test('status names what lies in the folder and is not read', () => {
  const leftAlone = ['a\n (a folder)', 'b (a FIFO)', 'c (a socket)', 'd (a symbolic link)']
  const standing: Standing = {
    database,
    server: undefined,
    pipelines: [{ ...pipeline, files: { waiting: 0, claimed: 0, leftAlone } }],
  }
  const lines = statusLines({ at, standing }, { width: 100 })
  assert.ok(
    lines.includes('  left alone    4 that are no regular files: a\\n (a folder), b (a FIFO), c (a socket) and 1 more'),
    lines.join('\n'),
  )
})

test('the password of a database that is not ours is not shown', () => {
  const foreign = { ...database, embedded: false, fault: 'DATABASE_UNREACHABLE: no answer' }
  const standing: Standing = { database: foreign, server: undefined, pipelines: [] }
  const lines = statusLines({ at, standing }, { width: 80 }).join('\n')
  assert.doesNotMatch(lines, /p@ss|p%40ss/)
  assert.match(lines, /no answer/)
})

test('status tells how far a pipeline is behind its topics and the clock, and the end of time in words', () => {
  const numbers = {
    pipeline: 'shop',
    rowsPerSecond: 0,
    lateRows: 1204,
    stateRows: 31,
    watermark: new Date('2026-01-31T11:59:40Z'),
    rowsPerFile: null,
  }
  const partition = { partition: '0', committed: 5, end: 12, rows: 7 }
  const chat = { source: 'chat', topic: 'events.chat', partitions: [partition], why: undefined }
  const viewers = { ...chat, source: 'viewers', topic: 'events.viewers', partitions: [{ ...partition, rows: 0 }] }
  const silent = { ...viewers, partitions: [], why: 'no broker answers' }
  const ofTopics: PipelineStanding = { ...pipeline, folders: [], numbers, lags: [chat, viewers] }
  const told = (more: Partial<PipelineStanding>): string[] => {
    const standing = { ...running, pipelines: [{ ...ofTopics, ...more }] }
    return statusLines({ at, standing }, { width: 100 }).filter((line) => /^ {2}(lag|watermark|keeps|late) /.test(line))
  }
  assert.deepEqual(told({}), [
    '  lag           7 rows to read: 7 in events.chat',
    '  watermark     2026-01-31 11:59:40, 20 s behind the clock',
    '  keeps         31 rows of state',
    '  late          1,204 rows, in millrace.late_rows',
  ])
  assert.equal(told({ lags: [viewers] })[0], '  lag           none: all messages are committed')
  assert.equal(told({ lags: [chat, silent] })[0], '  lag           not known: topic events.viewers: no broker answers')
  const closed = { ...numbers, watermark: new Date(endOfTime) }
  assert.equal(told({ numbers: closed })[1], '  watermark     closed: nothing will follow')
  const ahead = { ...numbers, watermark: new Date('2026-01-31T12:00:05Z') }
  assert.equal(told({ numbers: ahead })[1], '  watermark     2026-01-31 12:00:05, 5 s ahead of the clock')
})
