import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type Bench, openBench } from '../../test/histories.ts'
import { count, sum } from '../functions/aggregate.ts'
import { pipeline, table, text, timestamp, topic } from '../pipeline.ts'
import { emptyRange, type Range } from '../sources/source.ts'
import { readRows } from '../store/csv-rows.ts'
import { memoryDatabase, openMemoryStore } from '../store/memory.ts'
import type { KeyedQuery, Store } from '../store/store.ts'
import { type BatchTools, operateBatch, stageBatch } from './batch.ts'
import { Duck } from './duckdb.ts'
import { Rooms } from './place.ts'

let bench: Bench
before(async () => {
  bench = await openBench()
})
after(async () => await bench[Symbol.asyncDispose]())

const events = topic('visits', {
  columns: { time: timestamp(), reader: text(), page: text(), kind: text() },
  eventTime: { column: 'time' },
})

// Two totals read what pairs change, and one of them what the other step does not.
const { plan } = pipeline('visits')
  .from(events)
  .pairs({
    by: ['reader', 'page'],
    open: (row) => row.kind.equals('open'),
    close: (row) => row.kind.equals('close'),
    lateness: '1 day',
  })
  .into(table('visits', { key: 'pair_id' }))
  .also((flow) =>
    flow.total('reader', (row) => ({ seconds: sum(row.seconds) })).into(table('readers', { key: 'reader' })),
  )
  .total('page', () => ({ visits: count() }))
  .into(table('pages', { key: 'page' }))

const rows = [
  ['2026-01-01T00:00:00Z', 'ann', 'home', 'open'],
  ['2026-01-01T00:01:00Z', 'ann', 'home', 'close'],
  ['2026-01-01T00:02:00Z', 'bob', 'home', 'open'],
]

function rangeOf(source: string): Range {
  const values = rows.map((row, i) => `(${i}, 0, ${i}, '', ${row.map((value) => `'${value}'`).join(', ')})`)
  return {
    ...emptyRange(),
    source,
    rows: rows.length,
    select: () => `select * from (values ${values.join(', ')}) t(_row, _file, _line, _span, time, reader, page, kind)`,
  }
}

for (const where of ['in a room', 'in a place of its own']) {
  test(`steps ask for what is stored as soon as its keys are known, and together: a batch ${where}`, async () => {
    const asked: string[][] = []
    const real = openMemoryStore(memoryDatabase(Date.now))
    await real.register(plan)
    const store: Store = Object.assign(Object.create(real) as Store, {
      async keyed(name: string, query: KeyedQuery) {
        asked.push((await readRows(query.wanted)).map(({ step, key }) => `${step} ${key}`).sort())
        return await real.keyed(name, query)
      },
    })
    await using duck = await Duck.open({
      folders: [join(bench.folder, where)],
      temporary: join(bench.folder, 'temporary'),
      memoryLimitMb: 100,
      threads: 1,
      keepsPlans: true,
    })
    using session = await duck.connect()
    const rooms = where === 'in a room' ? new Rooms('test', plan, [session]) : undefined
    const tools: BatchTools = { plan, store, session, spool: join(bench.folder, where), filters: new Map(), rooms }
    const batch = await stageBatch(tools, 1, rangeOf(Object.keys(plan.sources)[0] ?? ''), new Date(0))
    // before anybody knows what the batch before it has left
    assert.deepEqual([asked.length, batch.wanted?.keys.rows], [0, rooms === undefined ? undefined : 2])
    await operateBatch(tools, batch)
    assert.deepEqual(asked, [
      ['pairs ["ann","home"]', 'pairs ["bob","home"]'],
      ['total ["ann"]', 'total ["bob"]', 'total-2 ["home"]'],
    ])
    assert.deepEqual(
      batch.sinks.map(({ step, rows: printed }) => [step.table, printed.rows]),
      [
        ['visits', 2],
        ['readers', 2],
        ['pages', 1],
      ],
    )
    await batch.release()
  })
}
