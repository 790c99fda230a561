import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { decimal, files, pipeline, table, text, timestamp } from '../src/pipeline.ts'
import { type PlanRuns, planRuns } from './plan-run.ts'

const source = files('in', {
  format: 'csv',
  columns: { id: text(), price: decimal(10, 2), note: text().optional(), at: timestamp().optional() },
})

const good = 'id text unique, price numeric(10,2) check (price < 100), note varchar(5), at timestamptz'

const { plan: firstOfEach } = pipeline('deals')
  .from(source)
  .dedup('id')
  .into(table('deals', { oncePer: 'id' }))

async function runsInto(columns: string): Promise<PlanRuns> {
  const runs = await planRuns()
  await runs.client.query(`create table deals (${columns})`)
  return runs
}

function csv(...rows: string[]): string {
  return ['id,price,note,at', ...rows, ''].join('\n')
}

describe('a row that only the database refuses', () => {
  test('has not passed the dedup step before it: the next row of its key lands, in this batch and in a later one', async () => {
    await using runs = await runsInto(good)
    const first = csv('a,500,,', 'a,5,,', 'b,500,,', 'a,6,,', 'c,1,,')
    assert.partialDeepStrictEqual((await runs.run(firstOfEach, { '1.csv': first })).books, {
      rowsIn: 5,
      written: 2,
      duplicates: 1,
      dead: 2,
    })
    const second = csv('b,7,,', 'a,8,,')
    assert.partialDeepStrictEqual((await runs.run(firstOfEach, { '2.csv': second })).books, {
      written: 1,
      duplicates: 1,
    })
    const { rows } = await runs.client.query('select id, price::text from deals order by id')
    assert.deepEqual(rows, [
      { id: 'a', price: '5.00' },
      { id: 'b', price: '7.00' },
      { id: 'c', price: '1.00' },
    ])
    const letters = await runs.store.deadLetters({})
    assert.deepEqual(
      letters.map(({ line, stage, code, raw, fields }) => [line, stage, code, raw, fields?.['price']]),
      [
        [2, 'table', 'REFUSED', 'a,500,,', '500'],
        [4, 'table', 'REFUSED', 'b,500,,', '500'],
      ],
    )
    assert.match(letters[0]?.message ?? '', /refused the row \(23514\): .*check constraint/)
  })

  test('has not replaced the row of its key', async () => {
    await using runs = await runsInto(good)
    const { plan } = pipeline('deals')
      .from(source)
      .into(table('deals', { key: 'id' }))
    const { books } = await runs.run(plan, { '1.csv': csv('a,4,,', 'a,5,,', 'a,500,,', 'b,500,,') })
    assert.partialDeepStrictEqual(books, { rowsIn: 4, written: 2, dead: 2 })
    assert.deepEqual((await runs.client.query('select id, price::text from deals')).rows, [{ id: 'a', price: '5.00' }])
  })

  test('is a dead letter whatever it is refused for, and the database says so in its own words', async () => {
    await using runs = await runsInto(`
      id char(3), price numeric(10,2) check (price < 10000), note varchar(5) unique deferrable initially deferred,
      at timestamptz check (at > '2000-01-01'), exclude using btree (price with =)`)
    const sinks = {
      all: table('deals'),
      once: table('deals', { oncePer: 'id' }),
      latest: table('deals', { key: 'id' }),
    }
    for (const [name, sink] of Object.entries(sinks)) {
      await runs.client.query('truncate deals')
      await runs.client.query('drop index if exists deals_id; create unique index deals_id on deals (id)')
      const { plan } = pipeline(`deals-${name}`).from(source).into(sink)
      const rows = [
        'a,1,,',
        'long,2,,',
        'b,12345,,',
        'c,3,too long,',
        'd,4,x,',
        'e,5,x,',
        'f,6,,1999-12-31T00:00:00Z',
        'g,1.0,,',
        'h,8,,2026-01-31T00:00:00Z',
      ]
      const { books } = await runs.run(plan, { [`${name}.csv`]: csv(...rows) })
      assert.partialDeepStrictEqual(books, { rowsIn: 9, written: 3, dead: 6 }, name)
      const letters = await runs.store.deadLetters({ pipeline: plan.name })
      const codes = letters.map(({ line, message }) => [line, /\((\w{5})\)/.exec(message)?.[1]])
      assert.deepEqual(
        codes,
        [
          [3, '22001'],
          [4, '23514'],
          [5, '22001'],
          [7, '23505'],
          [8, '23514'],
          [9, '23P01'],
        ],
        name,
      )
      const { rows: there } = await runs.client.query('select trim(id) as id, price::text from deals order by id')
      assert.deepEqual(
        there.map(({ id, price }) => `${id} ${price}`),
        ['a 1.00', 'd 4.00', 'h 8.00'],
      )
    }
  })

  test('is found among thousands that are refused with it', async () => {
    await using runs = await runsInto(good)
    // two of five are refused, and then another of the same key
    const rows = Array.from({ length: 20_000 }, (_, i) => `${i},${i % 5 < 2 ? 500 : 5},,`)
    const again = rows.filter((_, i) => i % 5 < 2).map((row) => row.replace(',500', ',600'))
    const { books } = await runs.run(firstOfEach, { '1.csv': csv(...rows, ...again) }, { rows: 50_000 })
    assert.partialDeepStrictEqual(books, { rowsIn: 28_000, written: 12_000, dead: 16_000 })
    const [count] = await runs.store.countDeadLetters({})
    assert.partialDeepStrictEqual(count, { code: 'REFUSED', letters: 16_000 })
  })

  test('is dead in the branch that does not take it, and written where another does', async () => {
    await using runs = await runsInto(good)
    const { plan } = pipeline('deals')
      .from(source)
      .dedup('id')
      .also((flow) => flow.into(table('everything', { oncePer: 'id' })))
      .into(table('deals', { oncePer: 'id' }))
    const { books } = await runs.run(plan, { '1.csv': csv('a,500,,', 'a,5,,', 'b,5,,') })
    assert.partialDeepStrictEqual(books, { rowsIn: 3, written: 2, duplicates: 1, dead: 0 })
    assert.deepEqual((await runs.client.query('select id from deals')).rows, [{ id: 'b' }])
    assert.deepEqual((await runs.client.query('select id, price::text from everything order by id')).rows, [
      { id: 'a', price: '500.00' },
      { id: 'b', price: '5.00' },
    ])
    assert.equal((await runs.store.deadLetters({})).length, 1)
  })

  test('has passed a dedup step after all, where the rows before it that kept it away at the next are refused one by one', async () => {
    await using runs = await runsInto(good)
    await runs.client.query('create table dear (like deals, check (price > 100))')
    const { plan } = pipeline('deals')
      .from(source)
      .dedup('id')
      .also((flow) => flow.filter((row) => row.id.equals('c')).into(table('dear')))
      .dedup('note')
      .into(table('deals', { oncePer: 'id' }))
    const { books } = await runs.run(plan, { '1.csv': csv('a,500,n,', 'b,500,n,', 'c,5,n,', 'c,6,m,') })
    assert.partialDeepStrictEqual(books, { rowsIn: 4, written: 1, duplicates: 1, dead: 2 })
    assert.deepEqual((await runs.client.query('select id, price::text from deals')).rows, [{ id: 'c', price: '5.00' }])
    const letters = await runs.store.deadLetters({})
    assert.deepEqual(
      letters.map(({ line }) => line),
      [2, 3, 4],
    )
  })
})
