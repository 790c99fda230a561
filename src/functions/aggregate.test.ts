import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { Generated, openTestDuckdb, testSeed } from '../../test/duckdb.ts'
import type { Value as Given } from '../../test/reference.ts'
import { aggregateOf } from '../../test/reference-aggregates.ts'
import { type ColumnType, decimal, double, integer, json, listOf, text, timestamp, typeName } from '../plan/columns.ts'
import type { Aggregate } from '../plan/expression.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import {
  type Aggregated,
  aggregates,
  count,
  countDistinct,
  counts,
  deviation,
  largestValue,
  max,
  mean,
  min,
  sum,
  top,
} from './aggregate.ts'
import { duckdbType } from './duckdb-type.ts'
import { type Value, valueOf } from './value.ts'

const db = await openTestDuckdb()
after(() => db[Symbol.asyncDispose]())

/** What DuckDB makes of values that lie in several panes. */
async function merged(asked: Aggregate, type: ColumnType, panes: Given[][]): Promise<unknown> {
  const { parts } = aggregates[asked.aggregate]
  if (parts.is !== 'numbers') throw new Error('values and items of panes are put together by windows')
  const rows = panes.flatMap((values, pane) =>
    values.map((value) => `(${pane}, ${value === null ? 'null' : sqlText(String(value))})`),
  )
  await db.run(`create or replace table given as
select pane, v::${duckdbType(type)} as v from (values ${rows.join(', ') || '(0, null)'}) t(pane, v)`)
  const numbers = parts.of(type)
  const each = numbers.map(({ name, of, type: kept }) => `(${of('v')})::${kept} as ${identifier(name)}`)
  const all = numbers.map(
    ({ name, merge, type: kept }) => `${merge}(${identifier(name)})::${kept} as ${identifier(name)}`,
  )
  const found = await db.query(`select ${parts.result(
    numbers.map(({ name }) => identifier(name)),
    type,
  )}
from (select ${all.join(', ')} from (select ${each.join(', ')} from given group by pane))`)
  return found.rows[0]?.[0]
}

describe('numbers of panes', () => {
  const types: [ColumnType, Given[]][] = [
    [integer, ['0', '1', '-1', '7', '123456789012', '9007199254740993', '-999999999999999']],
    [decimal(12, 2), ['0.00', '0.01', '-0.01', '1234567890.12', '-9999999999.99', '2.50']],
    [decimal(38, 20), ['0.00000000000000000001', '-1.50000000000000000000', '12345.67890000000000000000']],
    [double, [0.1, 0.2, 0.3, -0.5, 1e-12, 1234.5678, 98765432.1, -3.3333333333333]],
  ]
  const asked: Aggregate['aggregate'][] = ['count', 'sum', 'min', 'max', 'mean', 'deviation']

  test('put together are those of all values, however they are parted', async () => {
    const chance = new Generated()
    for (const [type, values] of types) {
      for (const aggregate of asked) {
        for (let i = 0; i < 8; i++) {
          const panes = Array.from({ length: chance.whole(1, 4) }, () =>
            Array.from({ length: chance.whole(0, 4) }, () => (chance.whole(0, 5) === 0 ? null : chance.oneOf(values))),
          )
          const all = panes.flat().filter((value) => value !== null)
          const expected = aggregateOf({ aggregate }, type, all)
          const found = await merged({ aggregate }, type, panes)
          assert.equal(
            found === null ? null : String(found),
            expected === null ? null : String(Object.is(expected, -0) ? 0 : expected),
            `${aggregate} of ${typeName(type)} ${JSON.stringify(panes)}, seed ${testSeed}`,
          )
        }
      }
    }
  })

  test('lose nothing where values are large and lie close together', async () => {
    const near = ['999999999999997', '999999999999998', '999999999999999']
    assert.equal(await merged({ aggregate: 'deviation' }, integer, [near, near]), 0.816496581)
    const many = Array.from({ length: 2000 }, (_, i): Given => 9_000_000_000 + (i % 2))
    assert.equal(await merged({ aggregate: 'deviation' }, double, [many]), 0.5)
    const alike = Array.from({ length: 3000 }, (): Given => '99999999999999.99')
    assert.equal(await merged({ aggregate: 'deviation' }, decimal(16, 2), [alike]), 0)
  })

  test('do not depend on the order of doubles', async () => {
    const values = [1e15, 0.1, -1e15, 0.2]
    assert.equal(await merged({ aggregate: 'sum' }, double, [values]), '0.300000000000')
    assert.equal(await merged({ aggregate: 'sum' }, double, [values.toReversed()]), '0.300000000000')
    assert.equal(
      await merged(
        { aggregate: 'sum' },
        double,
        values.map((value) => [value]),
      ),
      '0.300000000000',
    )
  })

  test('of a million of the largest values that are taken have room in their sums', async () => {
    for (const [type] of [...types, [decimal(38, 0)] as const, [decimal(38, 30)] as const]) {
      for (const aggregate of ['sum', 'mean', 'deviation'] as const) {
        const largest = largestValue({ aggregate }, type)
        if (largest === undefined) continue
        const { parts } = aggregates[aggregate]
        for (const { name, of } of parts.is === 'numbers' ? parts.of(type) : []) {
          const value = `(${largest}::double * 0.999)::${duckdbType(type)}`
          const found = await db.query(`select (${of('v')})::varchar from (select ${value} as v)`)
          const digits = BigInt(String(found.rows[0]?.[0]).replace('.', ''))
          assert.ok(digits * 1_000_000n < 10n ** 38n, `${name} of ${aggregate} of ${typeName(type)}`)
        }
      }
    }
  })

  test('of nothing are 0 of counts, and null of everything else', async () => {
    for (const aggregate of asked)
      assert.equal(await merged({ aggregate }, integer, [[null], []]), aggregate === 'count' ? 0 : null)
  })
})

// as: a column of a row being written
const column = <K extends Value['kind']>(type: ColumnType) => valueOf<K>({ column: 'v' }, type, true)
const row = {
  text: column<'text'>(text),
  integer: column<'integer'>(integer),
  decimal: column<'decimal'>(decimal(12, 2)),
  double: column<'double'>(double),
  timestamp: column<'timestamp'>(timestamp),
  json: column<'json'>(json),
  list: column<'list of text'>(listOf(text)),
}

describe('an aggregate', () => {
  test('has the type that its values call for', () => {
    const typed = ({ type, nullable }: Aggregated) => `${typeName(type)}${nullable ? ' or null' : ''}`
    const cases: [Aggregated, string][] = [
      [count(), 'integer'],
      [count(row.json), 'integer'],
      [sum(row.integer), 'decimal(38,0) or null'],
      [sum(row.decimal), 'decimal(38,2) or null'],
      [sum(row.double), 'decimal(38,12) or null'],
      [min(row.text), 'text or null'],
      [max(row.timestamp), 'timestamp or null'],
      [mean(row.integer), 'double or null'],
      [deviation(row.decimal), 'double or null'],
      [countDistinct(row.double), 'integer'],
      [top(5, row.list), 'list of text'],
      [counts(row.text), 'json'],
    ]
    for (const [made, expected] of cases) assert.equal(typed(made), expected, made.aggregate.aggregate)
  })

  test('is of the rows for which its condition is true', () => {
    assert.deepEqual(count().where(row.integer.moreThan(1)).aggregate, {
      aggregate: 'count',
      where: { call: 'moreThan', args: [{ column: 'v' }, { literal: 1, type: integer }] },
    })
    assert.deepEqual(top(2, row.text).where(row.text.isPresent()).aggregate.args, [2])
  })

  test('reads well on hover, and is refused to what has no such aggregate', () => {
    const made = {
      n: count() satisfies Aggregated<'integer'>,
      total: sum(row.double) satisfies Aggregated<'decimal'>,
      first: min(row.timestamp) satisfies Aggregated<'timestamp'>,
      most: max(row.text) satisfies Aggregated<'text'>,
      best: top(3, row.list) satisfies Aggregated<'list of text'>,
      all: counts(row.text) satisfies Aggregated<'json'>,
    }
    assert.equal(Object.keys(made).length, 6)
    // @ts-expect-error a text cannot be added up
    assert.throws(() => sum(row.text), {
      code: 'WRONG_TYPE',
      message: /sum is asked of a number, and was given a text/,
    })
    // @ts-expect-error nor has it a mean
    assert.throws(() => mean(row.text), { code: 'WRONG_TYPE', message: /mean is asked of a number/ })
    // @ts-expect-error a moment has no deviation
    assert.throws(() => deviation(row.timestamp), { code: 'WRONG_TYPE', message: /was given a timestamp/ })
    // @ts-expect-error a list has no smallest
    assert.throws(() => min(row.list), { code: 'WRONG_TYPE', message: /min is asked of a value that has an order/ })
    // @ts-expect-error two JSON values may be the same in many ways
    assert.throws(() => countDistinct(row.json), { code: 'WRONG_TYPE', message: /countDistinct is asked of a value/ })
    // @ts-expect-error numbers are not counted one by one
    assert.throws(() => top(5, row.integer), {
      code: 'WRONG_TYPE',
      message: /top is asked of a text or a list of texts/,
    })
    // @ts-expect-error nor here
    assert.throws(() => counts(row.double), { code: 'WRONG_TYPE', message: /counts is asked of a text or a list/ })
    for (const most of [0, 1.5, 1001, Number.NaN])
      assert.throws(() => top(most, row.text), { code: 'INVALID_PLAN', message: /top takes 1 to 1,000 values/ })
  })
})
