import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { WorkerState } from '../engine/run.ts'
import type { PipelineStatus } from '../store/store.ts'
import { accessOf, type PipelineStanding, type Standing, stateInWords } from './standing.ts'
import { statusLines } from './status.ts'

const now = new Date('2026-01-31T12:00:00Z')
const stored: PipelineStatus = {
  pipeline: 'shop',
  owner: 'host:1',
  lentBy: null,
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
}
const pipeline: PipelineStanding = {
  pipeline: 'shop',
  stored,
  worker: undefined,
  files: { waiting: 2, claimed: 1, leftAlone: [] },
  folders: ['/data/raw'],
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
    [{ stored: { ...stored, owner: null } }, 'not running'],
    [{ stored: { ...stored, alive: false } }, 'not running; host:1 ended without giving it back'],
    [{ stored: undefined }, 'never started'],
  ]
  for (const [given, says] of cases) assert.equal(stateInWords({ ...pipeline, ...given }, database), says)
  const fault = { ...database, fault: 'no answer' }
  assert.equal(stateInWords({ ...pipeline, stored: undefined }, fault), 'unknown')
})

test('status shows the books, what waits, and how to connect', () => {
  const standing: Standing = {
    database,
    server: { url: 'http://127.0.0.1:4040', pid: 1, answers: true },
    pipelines: [pipeline],
  }
  assert.deepEqual(statusLines(standing, now), [
    'shop: running on host:1',
    '  last batch    41, 3 s ago (epoch 4)',
    '  rows          1,001 in',
    '                  975 written',
    '                    0 filtered',
    '                    8 duplicates',
    '                    0 late',
    '                   18 dead',
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

test('status names what lies in the folder and is not read', () => {
  const leftAlone = ['a\n (a folder)', 'b (a FIFO)', 'c (a socket)', 'd (a symbolic link)']
  const standing: Standing = {
    database,
    server: undefined,
    pipelines: [{ ...pipeline, files: { waiting: 0, claimed: 0, leftAlone } }],
  }
  assert.ok(
    statusLines(standing, now).includes(
      '  left alone    4 that are no regular files: a\\n (a folder), b (a FIFO), c (a socket) and 1 more',
    ),
  )
})

test('the password of a database that is not ours is not shown', () => {
  const foreign = { ...database, embedded: false, fault: 'DATABASE_UNREACHABLE: no answer' }
  const lines = statusLines({ database: foreign, server: undefined, pipelines: [] }, now).join('\n')
  assert.doesNotMatch(lines, /p@ss|p%40ss/)
  assert.match(lines, /no answer/)
})
