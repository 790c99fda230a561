/**
 * The test kit as its users have it, by the name that the package gives it: a test for each thing it answers, which need one
 * another's pipelines.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import {
  boolean,
  count,
  countDistinct,
  decimal,
  double,
  files,
  folder,
  integer,
  json,
  list,
  partitionNumber,
  pipeline,
  recordHeaders,
  recordKey,
  recordOffset,
  recordTime,
  sourceFile,
  sum,
  table,
  text,
  timestamp,
  topic,
} from 'millrace'
import { type TestPipeline, testPipeline } from 'millrace/testing'
import { telemetra } from '../pipelines/telemetra/pipeline.ts'
import { arm, failpoints } from '../src/failpoint.ts'

const columns = { user: text().notEmpty(), n: integer(), at: timestamp() }

/** Counts clicks by minute and user, ten seconds behind the latest. */
const clicks = (options: { emit?: 'close' | { update: '1 second' }; late?: 'keep' | 'drop' | 'fail' } = {}) =>
  pipeline('clicks')
    .from(topic('clicks', { columns, eventTime: { column: 'at', outOfOrder: '10 seconds' } }))
    .window({ size: '1 minute', by: 'user', emit: 'close', ...options }, (row) => ({ clicks: count(), n: sum(row.n) }))
    .into(table('clicks', { key: ['user', 'window_start'] }))

const click = (at: string, n = 1, user = 'ann') => ({ user, n, at: `2026-01-01T${at}Z` })

/** What a window says, in short: its minute, its sum, and whether it is closed. */
const told = (test: TestPipeline) =>
  test
    .rows('clicks')
    .map(({ window_start, n, final }) => `${String(window_start).slice(11, 16)} ${n}${final ? '' : '?'}`)

describe('what is fed', () => {
  test('is committed when feed resolves, as one batch or as many as it says', async () => {
    await using test = await testPipeline(
      pipeline('orders')
        .from(topic('orders', { columns: { id: text() } }))
        .into(table('orders')),
    )
    assert.deepEqual(test.rows('orders'), [])
    await test.feed('orders', [{ id: 'a' }, { id: 'b' }])
    assert.deepEqual(test.rows('orders'), [{ id: 'a' }, { id: 'b' }])
    assert.equal(test.books.batches, 1)
    await test.feed(
      'orders',
      'cdefg'.split('').map((id) => ({ id })),
      { batches: 3 },
    )
    assert.equal(test.books.batches, 4)
    await test.feed('orders', [{ id: 'h' }, { id: 'i' }], { batches: 10 })
    assert.equal(test.books.batches, 6)
    assert.equal(
      test
        .rows('orders')
        .map(({ id }) => id)
        .join(''),
      'abcdefghi',
    )
    await test.feed('orders', [])
    assert.deepEqual(test.books, { rowsIn: 9, written: 9, filtered: 0, duplicates: 0, late: 0, dead: 0, batches: 6 })
  })

  test('comes out as plain values of every type', async () => {
    const every = {
      text: text(),
      boolean: boolean(),
      integer: integer(),
      decimal: decimal(38, 4),
      double: double(),
      timestamp: timestamp(),
      json: json(),
      list: list(text()),
    }
    const optional = Object.fromEntries(Object.entries(every).map(([name, spec]) => [name, spec.optional()]))
    await using test = await testPipeline(
      pipeline('types')
        .from(topic('types', { columns: optional }))
        .into(table('types')),
    )
    const plain = {
      text: 'two\nlines, "quoted" \\n',
      boolean: false,
      integer: -7,
      decimal: 19.9,
      double: 1e-7,
      timestamp: '2026-01-31T12:00:00Z',
      json: { a: [1, null, 'x'] },
      list: ['a"b', 'c,d', '', '\\', '{}', 'NULL'],
    }
    const large = {
      text: '',
      boolean: true,
      integer: 2n ** 62n,
      decimal: '1234567890123456.0001',
      double: -1.5e300,
      timestamp: '2026-01-31T12:00:00.123456Z',
      json: 'only a text',
      list: [],
    }
    const none = Object.fromEntries(Object.keys(every).map((name) => [name, null]))
    await test.feed('types', [plain, large, {}, { ...none, timestamp: new Date('2026-01-31T12:00:00.5Z') }])
    assert.deepEqual(test.deadLetters(), [])
    assert.deepEqual(test.rows('types'), [plain, large, none, { ...none, timestamp: '2026-01-31T12:00:00.5Z' }])
  })

  test('may be a text, bytes, or nothing, however wrong', async () => {
    await using test = await testPipeline(
      pipeline('bad')
        .from(topic('bad', { columns: { id: text(), n: integer().optional() } }))
        .into(table('good')),
    )
    await test.feed('bad', [
      '{"id":"a"}',
      '{"id',
      Buffer.from('{"id":"b"}'),
      Uint8Array.of(0xff),
      null,
      { id: 'c', n: 'x' },
    ])
    await test.feed('bad', '{"id":"d"}')
    assert.deepEqual(
      test.rows('good').map(({ id }) => id),
      ['a', 'b', 'd'],
    )
    assert.deepEqual(
      test.deadLetters().map(({ place, code, column, raw }) => ({ place, code, column, raw })),
      [
        { place: 'bad/0/1', code: 'NOT_JSON', column: null, raw: '{"id' },
        { place: 'bad/0/3', code: 'INVALID_UTF8', column: null, raw: '\\xff' },
        { place: 'bad/0/4', code: 'NO_VALUE', column: null, raw: '' },
        { place: 'bad/0/5', code: 'NOT_AN_INTEGER', column: 'n', raw: '{"id":"c","n":"x"}' },
      ],
    )
    assert.deepEqual(test.deadLetters().at(-1)?.fields, { id: 'c', n: 'x' })
  })

  test('goes to a partition, with a key, headers and the time of the clock', async () => {
    const beside = {
      id: text(),
      partition: partitionNumber(),
      offset: recordOffset(),
      key: recordKey(),
      headers: recordHeaders(),
      time: recordTime(),
    }
    await using test = await testPipeline(
      pipeline('beside')
        .from(topic('beside', { columns: beside }))
        .into(table('beside')),
      { now: '2026-05-01T10:00:00Z', partitions: 3 },
    )
    await test.feed('beside', [{ id: 'a' }], { partition: 2, key: 'k', headers: { trace: 'ä' } })
    await test.advance('1 minute')
    await test.feed('beside', [{ id: 'b' }, { id: 'c' }], { partition: 1 })
    const none = { key: null, headers: {}, time: '2026-05-01T10:01:00Z' }
    assert.deepEqual(test.rows('beside'), [
      { id: 'a', partition: 2, offset: 0, key: 'k', headers: { trace: 'ä' }, time: '2026-05-01T10:00:00Z' },
      { id: 'b', partition: 1, offset: 0, ...none },
      { id: 'c', partition: 1, offset: 1, ...none },
    ])
  })
})

describe('files', () => {
  const formats = [
    { format: 'csv' },
    { format: 'csv', header: false, delimiter: ';' },
    { format: 'json lines' },
    { format: 'parquet' },
  ] as const
  for (const format of formats) {
    test(`of ${Object.values(format).join(' ')} take objects`, async () => {
      const spec = { id: text(), price: decimal(8, 2), note: text().optional(), at: timestamp(), from: sourceFile() }
      const flow = pipeline('prices')
        .from(files('prices/in', { ...format, columns: spec }))
        .into(table('prices'))
      await using test = await testPipeline(flow)
      const rows = [
        { id: 'a', price: 1.5, note: 'one; "two", three\nfour', at: '2026-01-01T00:00:00Z' },
        { id: 'b', price: 20, note: null, at: '2026-01-02T00:00:00.25Z' },
      ]
      await test.feed('files', rows)
      await test.feed('files', [{ id: 'c', price: 0, at: new Date('2026-01-03') }], { file: 'third' })
      const extension = { csv: 'csv', 'json lines': 'jsonl', parquet: 'parquet' }[format.format]
      assert.deepEqual(test.deadLetters(), [])
      assert.deepEqual(test.rows('prices'), [
        ...rows.map((row) => ({ ...row, from: `prices/in/001.${extension}` })),
        { id: 'c', price: 0, note: null, at: '2026-01-03T00:00:00Z', from: 'prices/in/third' },
      ])
      assert.equal(test.books.batches, 2)
    })
  }

  test('take lines and whole files as they are, and one that cannot be read is quarantined', async () => {
    const flow = pipeline('orders')
      .from(files('/somewhere/else', { format: 'csv', columns: { id: text(), n: integer() } }))
      .into(table('orders'))
    await using test = await testPipeline(flow)
    await test.feed('files', ['a,1', 'b,many', 'c', Buffer.from('d,4')])
    await test.feed('files', 'n,id\n5,e\n')
    await test.feed('files', Buffer.from('what,is,this\n1,2,3\n'), { file: 'strange.csv' })
    await test.feed('files', [{ id: 'f', n: 6, more: 'x' }])
    assert.deepEqual(
      test.rows('orders').map(({ id }) => id),
      ['a', 'd', 'e'],
    )
    assert.deepEqual(
      test.deadLetters().map(({ place, line, code }) => [place, line, code]),
      [
        ['somewhere/else/001.csv', 3, 'NOT_AN_INTEGER'],
        ['somewhere/else/001.csv', 4, 'TOO_FEW_FIELDS'],
      ],
    )
    assert.deepEqual(
      test.quarantined().map(({ file, code }) => [file, code]),
      [
        ['somewhere/else/strange.csv', 'HEADER_MISMATCH'],
        ['somewhere/else/004.csv', 'HEADER_MISMATCH'],
      ],
    )
  })

  test('of one name are several, and several batches are several files', async () => {
    const flow = pipeline('twins')
      .from(files('in', { format: 'csv', columns: { id: text() } }))
      .into(table('twins'))
    await using test = await testPipeline(flow)
    await test.feed('files', [{ id: 'a' }, { id: 'b' }], { file: 'x.csv', batches: 2 })
    await test.feed('files', [{ id: 'c' }], { file: 'x.csv' })
    assert.deepEqual(test.rows('twins'), [{ id: 'a' }, { id: 'b' }, { id: 'c' }])
    assert.equal(test.books.batches, 3)
  })

  test('that a pipeline writes are there, each by its batch', async () => {
    const flow = pipeline('out')
      .from(topic('in', { columns: { id: text() } }))
      .into(table('out', { oncePer: 'id' }))
      .into(folder('out', { format: 'json lines', rows: 'landed' }))
    await using test = await testPipeline(flow)
    assert.deepEqual(await test.files('out'), [])
    await test.feed('in', [{ id: 'a' }, { id: 'a' }, { id: 'b' }])
    await test.feed('in', [{ id: 'b' }, { id: 'c' }])
    assert.deepEqual(
      (await test.files('out')).map(({ name, content }) => [name, String(content)]),
      [
        ['2026-01-01/out-1.jsonl', '{"id":"a"}\n{"id":"b"}\n'],
        ['2026-01-01/out-2.jsonl', '{"id":"c"}\n'],
      ],
    )
  })
})

describe('time', () => {
  test('stands still until it is moved', async () => {
    await using test = await testPipeline(clicks(), { now: new Date('2026-01-01T12:00:00Z') })
    assert.equal(test.now, '2026-01-01T12:00:00Z')
    await test.advance('90 seconds')
    await test.advance(500)
    assert.equal(test.now, '2026-01-01T12:01:30.500Z')
  })

  test('may be long past or far ahead', async () => {
    // as far as a timer could wait, too
    const tomorrow = new Date(Date.now() + 24 * 3_600_000).toISOString().replace(/T.*/, 'T00:00:00Z')
    for (const now of ['1970-01-01T00:00:00Z', tomorrow, '2100-01-01T00:00:00Z']) {
      await using test = await testPipeline(clicks(), { now })
      await test.feed('clicks', [{ user: 'ann', n: 1, at: now }])
      await test.feed('clicks', [{ user: 'ann', n: 2, at: now }])
      await test.close()
      assert.deepEqual(
        test.rows('clicks').map(({ n, window_start }) => [n, window_start]),
        [[3, now]],
      )
    }
  })

  test('of events goes by the latest one, and closes windows', async () => {
    await using test = await testPipeline(clicks())
    assert.equal(test.watermark, undefined)
    await test.feed('clicks', [click('00:00:05'), click('00:00:59', 10)])
    assert.equal(test.watermark, '2026-01-01T00:00:49Z')
    await test.feed('clicks', [click('00:01:09', 100)])
    assert.deepEqual(told(test), [])
    await test.feed('clicks', [click('00:01:10', 1000)])
    assert.deepEqual(told(test), ['00:00 11'])
    assert.deepEqual(test.rows('clicks'), [
      {
        user: 'ann',
        window_start: '2026-01-01T00:00:00Z',
        window_end: '2026-01-01T00:01:00Z',
        clicks: 2,
        n: 11,
        final: true,
      },
    ])
  })

  test('of a partition that says nothing holds the others back until it is idle', async () => {
    await using test = await testPipeline(clicks(), { partitions: 2 })
    await test.feed('clicks', [click('00:00:05'), click('00:01:30')], { partition: 0 })
    assert.equal(test.watermark, undefined)
    await test.advance('29 seconds')
    await test.feed('clicks', [click('00:01:31', 5)], { partition: 0 })
    assert.deepEqual([test.watermark, told(test)], [undefined, []])
    await test.advance('1 second')
    assert.deepEqual([test.watermark, told(test)], ['2026-01-01T00:01:21Z', ['00:00 1']])
    await test.feed('clicks', [click('00:01:00', 7), click('00:02:10')], { partition: 1 })
    assert.equal(test.watermark, '2026-01-01T00:01:21Z')
    await test.feed('clicks', [click('00:02:20')], { partition: 0 })
    assert.deepEqual([test.watermark, told(test)], ['2026-01-01T00:02:00Z', ['00:00 1', '00:01 13']])
  })

  test('that is far ahead of the clock is not trusted', async () => {
    await using test = await testPipeline(clicks())
    await test.feed('clicks', [click('00:01:00'), click('10:00:00')])
    assert.equal(test.watermark, '2026-01-01T00:00:50Z')
  })

  test('moves on with the clock, where the pipeline says so', async () => {
    const eventTime = { column: 'at', whenAllIdle: 'follow the clock' } as const
    const flow = pipeline('clicks')
      .from(topic('clicks', { columns, eventTime }))
      .window({ size: '1 minute', by: 'user', emit: 'close' }, (row) => ({ n: sum(row.n) }))
      .into(table('clicks', { key: ['user', 'window_start'] }))
    await using test = await testPipeline(flow)
    await test.feed('clicks', [click('00:00:05')])
    await test.advance('59 seconds')
    assert.deepEqual(told(test), [])
    await test.advance('1 second')
    assert.deepEqual(told(test), ['00:00 1'])
  })

  test('shows open windows when they are due, or only closed ones', async () => {
    await using updates = await testPipeline(clicks({ emit: { update: '1 second' } }))
    await updates.feed('clicks', [click('00:00:01', 1)])
    assert.deepEqual(told(updates), ['00:00 1?'])
    await updates.feed('clicks', [click('00:00:02', 2)])
    assert.deepEqual(told(updates), ['00:00 1?'])
    await updates.advance('999 ms')
    assert.deepEqual(told(updates), ['00:00 1?'])
    await updates.advance('1 ms')
    assert.deepEqual(told(updates), ['00:00 3?'])
    await updates.feed('clicks', [click('00:01:10', 4)])
    assert.deepEqual(told(updates), ['00:00 3'])
    await updates.advance('1 second')
    assert.deepEqual(told(updates), ['00:00 3', '00:01 4?'])
  })

  test('ends when nothing follows: the last windows close, and what comes after is late', async () => {
    await using test = await testPipeline(clicks({ emit: { update: '1 second' } }))
    await test.feed('clicks', [click('00:00:05'), click('00:01:05', 2)])
    assert.deepEqual(told(test), ['00:00 1?', '00:01 2?'])
    await test.close()
    assert.deepEqual(told(test), ['00:00 1', '00:01 2'])
    await test.close()
    await test.feed('clicks', [click('00:02:00')])
    assert.deepEqual(told(test), ['00:00 1', '00:01 2'])
    assert.deepEqual([test.books.written, test.books.late], [2, 1])
  })
})

describe('rows that are late', () => {
  const input = [[click('00:01:20')], [click('00:00:30', 5), click('00:01:00', 6)]]

  test('are told of, with how late they are', async () => {
    await using test = await testPipeline(clicks())
    for (const rows of input) await test.feed('clicks', rows)
    assert.deepEqual(test.lateRows(), [
      {
        step: 'window',
        place: 'clicks/0/1',
        eventTime: '2026-01-01T00:00:30Z',
        windowStart: '2026-01-01T00:00:00Z',
        lateByMs: 40_000,
        raw: JSON.stringify(click('00:00:30', 5)),
      },
    ])
    assert.deepEqual([test.books.written, test.books.late], [2, 1])
    await test.close()
    assert.deepEqual(told(test), ['00:01 7'])
  })

  test('are dropped, and counted', async () => {
    await using test = await testPipeline(clicks({ late: 'drop' }))
    for (const rows of input) await test.feed('clicks', rows)
    assert.deepEqual([test.lateRows(), test.books.late], [[], 1])
  })

  test('stop the pipeline, which says so until it is started anew', async () => {
    await using test = await testPipeline(clicks({ late: 'fail' }))
    await test.feed('clicks', input[0] ?? [])
    await assert.rejects(test.feed('clicks', input[1] ?? []), { code: 'LATE_ROW' })
    await assert.rejects(test.advance('1 second'), { code: 'LATE_ROW' })
    await assert.rejects(test.close(), { code: 'LATE_ROW' })
    await assert.rejects(test.restart(), { code: 'LATE_ROW' })
    assert.equal(test.books.rowsIn, 1)
  })
})

test('keys: the first of a key over all time, the last of a key, and each one once', async () => {
  const flow = pipeline('keys')
    .from(topic('keys', { columns: { id: text(), n: integer() } }))
    .also((flow) => flow.into(table('first', { oncePer: 'id' })))
    .also((flow) => flow.into(table('last', { key: 'id' })))
    .also((flow) =>
      flow
        .filter((row) => row.n.moreThan(1))
        .dedup('id')
        .into(table('large')),
    )
    .into(table('all'))
  await using test = await testPipeline(flow)
  await test.feed('keys', [
    { id: 'a', n: 1 },
    { id: 'a', n: 2 },
    { id: 'b', n: 3 },
  ])
  await test.feed('keys', [
    { id: 'b', n: 4 },
    { id: 'a', n: 5 },
    { id: 'c', n: 6 },
  ])
  const short = (name: string) => test.rows(name).map(({ id, n }) => `${id}${n}`)
  assert.deepEqual(
    { first: short('first'), last: short('last'), large: short('large'), all: short('all') },
    {
      first: ['a1', 'b3', 'c6'],
      last: ['a5', 'b4', 'c6'],
      large: ['a2', 'b3', 'c6'],
      all: ['a1', 'a2', 'b3', 'b4', 'a5', 'c6'],
    },
  )
})

test('several sources: each holds event time back, and a window has what either says', async () => {
  const eventTime = { column: 'at' } as const
  const flow = pipeline('shop')
    .from(topic('views', { columns, eventTime }))
    .window({ size: '1 minute', by: 'user', emit: 'close' }, () => ({ views: count() }))
    .alongside(files('sales', { format: 'csv', columns, eventTime }), (row) => ({ sold: sum(row.n) }))
    .into(table('shop', { key: ['user', 'window_start'] }))
  await using test = await testPipeline(flow)
  await test.feed('views', [click('00:00:01'), click('00:00:02'), click('00:01:00', 1, 'bob')])
  assert.deepEqual(test.rows('shop'), [])
  await test.feed('files', [click('00:00:30', 7), click('00:00:40', 8, 'bob'), click('00:01:00', 9)])
  assert.deepEqual(
    test.rows('shop').map(({ user, views, sold }) => [user, views, sold]),
    [
      ['ann', 2, 7],
      ['bob', 0, 8],
    ],
  )
})

describe('a new worker', () => {
  const flow = pipeline('clicks')
    .from(topic('clicks', { columns, eventTime: { column: 'at', outOfOrder: '10 seconds' } }))
    .dedup('user', 'n')
    .window({ size: '1 minute', by: 'user', emit: { update: '1 second' } }, (row) => ({
      n: sum(row.n),
      several: countDistinct(row.n),
    }))
    .into(table('clicks', { key: ['user', 'window_start'] }))
  const input = [
    [click('00:00:05', 1), click('00:00:30', 2), click('00:00:31', 2), { user: '', n: 0, at: 'never' }],
    [click('00:01:20', 3), click('00:00:59', 4)],
    [click('00:00:10', 5), click('00:01:30', 2), click('00:02:40', 6)],
  ]
  // What all of it comes to; `before` is called between any two steps.
  const story = async (before: (test: TestPipeline) => Promise<void> = async () => {}) => {
    await using test = await testPipeline(flow)
    for (const rows of input) {
      await before(test)
      // what has failed is given only once
      await test.feed('clicks', rows).catch(async () => await test.restart())
      await before(test)
      await test.advance('1 second').catch(async () => await test.restart())
    }
    await before(test)
    await test.close().catch(async () => {
      await test.restart()
      await test.close()
    })
    const { batches, ...books } = test.books
    return { rows: test.rows('clicks'), late: test.lateRows(), dead: test.deadLetters(), books }
  }

  test('goes on where the one before it was, at any point', async () => {
    const straight = await story()
    assert.deepEqual(
      straight.rows.map(({ n, several, final }) => [n, several, final]),
      [
        [7, 3, true],
        [3, 1, true],
        [6, 1, true],
      ],
    )
    assert.deepEqual(straight.books, { rowsIn: 9, written: 5, filtered: 0, duplicates: 2, late: 1, dead: 1 })
    assert.deepEqual(await story((test) => test.restart()), straight)
  })

  test('finds everything in order when the one before it failed, wherever it was', async () => {
    const straight = await story()
    for (const [i, point] of failpoints.entries()) {
      const setting = `${point}@${1 + (i % 4)}=throw`
      arm(setting)
      assert.deepEqual(await story(), straight, setting)
      arm(undefined)
    }
  })

  test('may be told of a pipeline that has failed, and only then it runs again', async () => {
    await using test = await testPipeline(clicks())
    arm('after rows=throw')
    await assert.rejects(test.feed('clicks', [click('00:00:05')]), { code: 'FAILPOINT' })
    await assert.rejects(test.feed('clicks', [click('00:00:06')]), { code: 'FAILPOINT' })
    assert.equal(test.books.rowsIn, 0)
    await test.restart()
    assert.equal(test.books.rowsIn, 2)
  })
})

test('a system is run with its settings', async () => {
  await using test = await testPipeline(telemetra, {
    settings: { WINDOW_DURATION: '1 minute', SLIDE_DURATION: '1 minute' },
  })
  const at = '2026-01-01T00:00:01Z'
  await test.feed('telemetra.events.chat', [{ stream_id: 's', user_id: 'u', message: 'gg', timestamp: at }])
  await test.feed('telemetra.events.viewer', [{ stream_id: 's', viewer_count: 7, timestamp: at }])
  await test.close()
  const [row, ...others] = test.rows('chat_summary_minute')
  assert.deepEqual(others, [])
  assert.partialDeepStrictEqual(row, { stream_id: 's', chat_count: 1, avg_viewers: 7, final: true })
})

test('two at once know nothing of each other, and what is not waited for happens in turn', async () => {
  const say = async (user: string) => {
    await using test = await testPipeline(clicks())
    const steps = [
      test.feed('clicks', [click('00:00:05', 1, user)]),
      test.restart(),
      test.feed('clicks', [click('00:01:05', 2, user)], { batches: 1 }),
      test.close(),
    ]
    await Promise.all(steps)
    return test.rows('clicks').map(({ user, n }) => [user, n])
  }
  assert.deepEqual(await Promise.all([say('ann'), say('bob')]), [
    [
      ['ann', 1],
      ['ann', 2],
    ],
    [
      ['bob', 1],
      ['bob', 2],
    ],
  ])
})

describe('a mistake in a test', () => {
  const wrong: [says: string, act: (test: TestPipeline) => unknown, message: RegExp][] = [
    [
      'a source that is not there',
      (test) => test.feed('click', []),
      /UNKNOWN_SOURCE.*no source "click"(.|\n)*did you mean "clicks"\? there are: clicks, files/,
    ],
    [
      'a partition below 0',
      (test) => test.feed('clicks', [], { partition: -1 }),
      /no partition -1, but partitions 0 to 1/,
    ],
    [
      'a partition too many',
      (test) => test.feed('clicks', [], { partition: 2 }),
      /no partition 2, but partitions 0 to 1/,
    ],
    ['a partition of files', (test) => test.feed('files', [], { partition: 0 }), /files have no partitions/],
    ['no batch', (test) => test.feed('clicks', [], { batches: 0 }), /batches is 0(.|\n)*from 1 on/],
    ['a whole file in batches', (test) => test.feed('files', 'x', { batches: 2 }), /cannot be cut into batches/],
    ['nothing as a line', (test) => test.feed('files', [null]), /a file has no row without a value/],
    [
      'a table that is not there',
      (test) => test.rows('clikcs'),
      /UNKNOWN_SINK.*no table "clikcs"(.|\n)*did you mean "clicks"\? there are: clicks/,
    ],
    [
      'a folder that is not there',
      (test) => test.files('out'),
      /UNKNOWN_SINK.*no files into "out"(.|\n)*there is none/,
    ],
    ['a clock that goes back', (test) => test.advance(-1), /cannot be moved by -1/],
    ['a time that is none', (test) => test.advance('1 moon'), /cannot be moved by "1 moon"(.|\n)*10 seconds/],
  ]
  for (const [says, act, message] of wrong) {
    test(`${says}: it says what there is, and goes on`, async () => {
      const eventTime = { column: 'at' } as const
      const flow = pipeline('clicks')
        .from(topic('clicks', { columns, eventTime }))
        .window({ size: '1 minute', by: 'user' }, () => ({ n: count() }))
        .alongside(files('in', { format: 'csv', columns, eventTime }), () => ({ m: count() }))
        .into(table('clicks', { key: ['user', 'window_start'] }))
      await using test = await testPipeline(flow, { partitions: 2 })
      await assert.rejects(
        async () => await act(test),
        (error) => {
          assert.match(String(error), message)
          return true
        },
      )
      await test.feed('clicks', [click('00:00:01')])
      assert.equal(test.rows('clicks').length, 1)
    })
  }

  test('before it begins: it says what there is', async () => {
    const opened: [() => Promise<unknown>, RegExp][] = [
      [() => testPipeline(clicks(), { now: 'today' }), /"today" is no moment/],
      [() => testPipeline(clicks(), { partitions: 0 }), /partitions is 0/],
      [() => testPipeline(clicks(), { settings: { SIZE: '1' } }), /no setting "SIZE"(.|\n)*there is none/],
      [() => testPipeline(telemetra, { settings: { WINDOW_DURATON: '1 s' } }), /did you mean "WINDOW_DURATION"/],
      [() => testPipeline({ ...clicks().plan, steps: [] }), /INVALID_PLAN/],
    ]
    for (const [act, message] of opened)
      await assert.rejects(act, (error) => {
        assert.match(String(error), message)
        return true
      })
  })

  test('after it has ended: it says so', async () => {
    const test = await testPipeline(clicks())
    await test[Symbol.asyncDispose]()
    for (const act of [() => test.feed('clicks', []), () => test.advance(1), () => test.close(), () => test.restart()])
      await assert.rejects(act, /disposed of its pipeline/)
    await test[Symbol.asyncDispose]()
  })
})

describe('a process with tests', () => {
  // Runs a module that uses the kit, and answers what it leaves in the folder for temporary files.
  const left = async (code: string): Promise<string[]> => {
    const room = await mkdtemp(join(tmpdir(), 'millrace-kit-'))
    const home = await mkdtemp(join(dirname(import.meta.dirname), 'test', '.kit-'))
    try {
      await writeFile(join(home, 'own.test.ts'), code)
      const args = ['--test', '--test-isolation=none', join(home, 'own.test.ts')]
      const env = { ...process.env, TMPDIR: room, NODE_TEST_CONTEXT: undefined }
      await promisify(execFile)(process.execPath, args, { env, timeout: 60_000 })
      return await readdir(room)
    } finally {
      await rm(room, { recursive: true, force: true })
      await rm(home, { recursive: true, force: true })
    }
  }
  const head = `import { test } from 'node:test'
import { files, pipeline, table, text } from 'millrace'
import { testPipeline } from 'millrace/testing'
const flow = pipeline('own').from(files('in', { format: 'csv', columns: { id: text() } })).into(table('own'))
`

  test('ends by itself, and nothing is left of it', async () => {
    const code = `${head}test('own', async () => {
  await using test = await testPipeline(flow)
  await test.feed('files', [{ id: 'a' }])
})`
    assert.deepEqual(await left(code), [])
  })

  test('ends by itself even when it has forgotten to dispose of a pipeline', async () => {
    const code = `${head}test('own', async () => {
  const test = await testPipeline(flow)
  await test.feed('files', [{ id: 'a' }])
})`
    assert.equal((await left(code)).length, 1)
  })
})
