/** What is published to topics: which rows, as what, in which order, and what the books say of them. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import {
  boolean,
  count,
  decimal,
  double,
  files,
  folder,
  integer,
  json,
  list,
  pipeline,
  publish,
  table,
  text,
  timestamp,
  topic,
} from 'millrace'
import { testPipeline } from 'millrace/testing'
import { explain } from '../src/engine/explain.ts'

const orders = () => pipeline('orders').from(topic('orders', { columns: { id: text(), n: integer() } }))

describe('rows that are published', () => {
  test('are messages with a key and an id, in the order in which they came, and written', async () => {
    await using test = await testPipeline(orders().into(publish('made', { key: 'id' })))
    await test.feed('orders', [
      { id: 'b', n: 1 },
      { id: 'a', n: 2 },
      { id: 'b', n: 3 },
    ])
    await test.feed('orders', [{ id: 'a', n: 4 }, '{"id"'])
    assert.deepEqual(
      test.published('made').map(({ key, value, headers }) => [key, value, headers['millrace-id']]),
      [
        ['b', { id: 'b', n: 1 }, 'orders/1/publish/1'],
        ['a', { id: 'a', n: 2 }, 'orders/1/publish/2'],
        ['b', { id: 'b', n: 3 }, 'orders/1/publish/3'],
        ['a', { id: 'a', n: 4 }, 'orders/2/publish/1'],
      ],
    )
    assert.deepEqual(test.books, { rowsIn: 5, written: 4, filtered: 0, duplicates: 0, late: 0, dead: 1, batches: 2 })
  })

  test('have every type as a line of a file has it, to the byte', async () => {
    const columns = {
      text: text().optional(),
      boolean: boolean().optional(),
      integer: integer().optional(),
      decimal: decimal(12, 2).optional(),
      long: decimal(38, 4).optional(),
      double: double().optional(),
      timestamp: timestamp().optional(),
      json: json().optional(),
      list: list(text()).optional(),
    }
    await using test = await testPipeline(
      pipeline('types')
        .from(topic('types', { columns }))
        .into(publish('out', { key: 'text' }))
        .into(folder('out', { format: 'json lines' })),
    )
    await test.feed('types', [
      {
        text: 'a "b"\nä',
        boolean: true,
        integer: 2n ** 62n,
        decimal: 19.9,
        long: '1234567890123456.0001',
        double: 1e-7,
        timestamp: '2026-01-31T12:00:00.123456Z',
        json: { a: [1, null, 'x'] },
        list: ['a"b', '', 'c,d'],
      },
      {},
    ])
    const [file] = await test.files('out')
    const lines = String(file?.content).trimEnd().split('\n')
    assert.deepEqual(
      test.published('out').map(({ value }) => value),
      lines.map((line) => JSON.parse(line)),
    )
    assert.equal(lines.length, 2)
    assert.deepEqual(test.published('out')[0]?.value['timestamp'], '2026-01-31T12:00:00.123456Z')
    assert.deepEqual(test.published('out')[0]?.value['long'], '1234567890123456.0001')
    assert.deepEqual(
      test.published('out').map(({ key }) => key),
      ['a "b"\nä', null],
    )
  })

  test('may have keys of several columns, or none', async () => {
    await using test = await testPipeline(
      orders()
        .into(publish('both', { key: ['id', 'n'] }))
        .into(publish('none')),
    )
    await test.feed('orders', [{ id: 'a,"', n: 7 }])
    assert.deepEqual(
      [test.published('both'), test.published('none')].map(([message]) => message?.key),
      ['["a,\\"","7"]', null],
    )
  })

  test('are what is left behind a filter, a select and a dedup', async () => {
    await using test = await testPipeline(
      orders()
        .filter((row) => row.n.moreThan(1))
        .dedup('id')
        .select((row) => ({ name: row.id, twice: row.n.times(2) }))
        .into(publish('out', { key: 'name' })),
    )
    const rows = [1, 2, 3, 4].map((n) => ({ id: n === 3 ? 'x2' : `x${n}`, n }))
    await test.feed('orders', rows)
    await test.feed('orders', rows)
    assert.deepEqual(
      test.published('out').map(({ value }) => value),
      [
        { name: 'x2', twice: 4 },
        { name: 'x4', twice: 8 },
      ],
    )
    assert.partialDeepStrictEqual(test.books, { rowsIn: 8, written: 2, filtered: 2, duplicates: 4, dead: 0 })
  })

  test('are updates of windows, and then what is final', async () => {
    await using test = await testPipeline(
      pipeline('clicks')
        .from(topic('clicks', { columns: { user: text(), at: timestamp() }, eventTime: { column: 'at' } }))
        .window({ size: '1 minute', by: 'user', emit: { update: '1 second' } }, () => ({ n: count() }))
        .into(table('clicks', { key: ['user', 'window_start'] }))
        .into(publish('minutes', { key: 'user' })),
    )
    const click = (at: string) => ({ user: 'ann', at: `2026-01-01T${at}Z` })
    await test.feed('clicks', [click('00:00:01'), click('00:00:02')])
    await test.advance('1 second')
    await test.feed('clicks', [click('00:00:03')])
    await test.feed('clicks', [click('00:01:00')])
    const told = test.published('minutes').map(({ value }) => `${value['n']}${value['final'] ? '' : '?'}`)
    assert.ok(told[0] === '2?' && told.includes('3'), told.join())
    assert.equal(
      test.published('minutes').find(({ value }) => value['final'])?.value['window_start'],
      '2026-01-01T00:00:00.000000Z',
    )
    assert.partialDeepStrictEqual(test.books, { rowsIn: 4, written: 4 })
    await test.close()
    assert.equal(test.published('minutes').at(-1)?.value['final'], true)
  })

  test('are, beside a table, all rows or those that it has taken', async () => {
    await using test = await testPipeline(
      orders()
        .into(table('orders', { oncePer: 'id' }))
        .into(publish('all'))
        .into(publish('landed', { rows: 'landed' })),
    )
    await test.feed('orders', [
      { id: 'a', n: 1 },
      { id: 'a', n: 2 },
    ])
    await test.feed('orders', [
      { id: 'a', n: 3 },
      { id: 'b', n: 4 },
      { id: 'c'.repeat(3000), n: 5 },
    ])
    const told = (name: string) =>
      test.published(name).map(({ value, headers }) => [value['n'], headers['millrace-id']])
    assert.deepEqual(told('all'), [
      [1, 'orders/1/publish/1'],
      [2, 'orders/1/publish/2'],
      [3, 'orders/2/publish/1'],
      [4, 'orders/2/publish/2'],
      [5, 'orders/2/publish/3'],
    ])
    assert.deepEqual(told('landed'), [
      [1, 'orders/1/publish-2/1'],
      [4, 'orders/2/publish-2/1'],
    ])
    // each was taken by one of the sinks, though not by the table
    assert.partialDeepStrictEqual(test.books, { rowsIn: 5, written: 5, duplicates: 0, dead: 0 })
    assert.equal(test.deadLetters().length, 1)
  })

  test('are said of a batch: how many went to each sink', async () => {
    await using test = await testPipeline(
      orders()
        .also((flow) => flow.filter((row) => row.n.moreThan(1)).into(publish('large')))
        .into(table('orders')),
    )
    await test.feed('orders', [
      { id: 'a', n: 1 },
      { id: 'b', n: 2 },
    ])
    assert.partialDeepStrictEqual(test.books, { rowsIn: 2, written: 2, filtered: 0 })
    assert.equal(test.published('large').length, 1)
  })
})

describe('a pipeline that publishes', () => {
  test('is refused when it reads the topic, and when the key is no column or the name no name', async () => {
    const refused = async (made: Parameters<typeof testPipeline>[0]) =>
      await testPipeline(made).then(
        () => 'taken',
        (error: Error) => error.message,
      )
    assert.match(await refused(orders().into(publish('orders'))), /publishes to "orders", which the pipeline reads/)
    assert.match(await refused(orders().into(publish('a b'))), /"a b" cannot be the name of a topic/)
    // @ts-expect-error there is no such column
    assert.match(await refused(orders().into(publish('out', { key: 'idd' }))), /there is no column "idd"/)
    assert.throws(() => orders().into(publish('out', { rows: 'landed' })), /no table stands directly before it/)
  })

  test('has a plan that is plain data, whose only sink may be a topic', () => {
    const { plan } = orders().into(publish('out', { key: ['id', 'n'] }))
    assert.deepEqual(JSON.parse(JSON.stringify(plan)).steps.at(-1), {
      id: 'publish',
      op: 'topic',
      from: ['validate'],
      topic: 'out',
      key: ['id', 'n'],
      columns: plan.steps[0]?.columns,
    })
  })

  test('is explained: what goes where, with which key, and by which SQL', () => {
    const { plan } = orders()
      .into(table('orders'))
      .into(publish('out', { key: ['id', 'n'], rows: 'landed' }))
    const step = explain(plan).steps.at(-1)
    assert.equal(
      step?.says,
      'publishes the rows that the table took of each batch as messages to the topic out, with id, n as the key',
    )
    assert.match(step?.duckdb.join() ?? '', /json_object\(/)
  })

  test('says so of a topic that it does not publish to', async () => {
    await using test = await testPipeline(
      pipeline('f')
        .from(files('in', { format: 'csv', columns: { id: text() } }))
        .into(publish('out')),
    )
    assert.throws(() => test.published('outt'), { code: 'UNKNOWN_SINK' })
    assert.deepEqual(test.published('out'), [])
    await test.feed('files', [{ id: 'a' }])
    assert.equal(test.published('out').length, 1)
  })

  test('goes on with what waited when a worker takes over, under the same ids', async () => {
    await using test = await testPipeline(orders().into(publish('out', { key: 'id' })))
    await test.feed('orders', [{ id: 'a', n: 1 }])
    await test.restart()
    await test.feed('orders', [{ id: 'a', n: 2 }])
    assert.deepEqual(
      test.published('out').map(({ headers }) => headers['millrace-id']),
      ['orders/1/publish/1', 'orders/2/publish/1'],
    )
  })
})
