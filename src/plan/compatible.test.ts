import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Column, integer, text } from './columns.ts'
import { planChange } from './compatible.ts'
import type { FilterStep, Plan, SelectStep, Step, TableStep, TopicStep, ValidateStep, WindowStep } from './plan.ts'

const id: Column = { name: 'id', type: text, nullable: false }
const amount: Column = { name: 'amount', type: integer, nullable: false }
const note: Column = { name: 'note', type: text, nullable: true }

const validate: ValidateStep = {
  id: 'validate',
  op: 'validate',
  from: ['files'],
  rules: {},
  checks: [],
  columns: [id, amount],
}
const large: FilterStep = {
  id: 'large',
  op: 'filter',
  from: ['validate'],
  where: { column: 'amount' },
  columns: [id, amount],
}
const shape: SelectStep = {
  id: 'shape',
  op: 'select',
  from: ['large'],
  select: { id: { column: 'id' }, amount: { column: 'amount' } },
  columns: [id, amount],
}
const orders: TableStep = {
  id: 'orders',
  op: 'table',
  from: ['shape'],
  table: 'orders',
  mode: { is: 'insert if new', key: ['id'] },
  columns: [id, amount],
}
const perMinute: WindowStep = {
  id: 'perMinute',
  op: 'window',
  inputs: [{ from: 'shape', aggregates: { n: { aggregate: 'count' } } }],
  from: ['shape'],
  by: ['id'],
  sizeMs: 60_000,
  slideMs: 10_000,
  late: 'keep',
  emit: { on: 'update', everyMs: 250 },
  columns: [id],
}
const topic: TopicStep = {
  id: 'topic',
  op: 'topic',
  from: ['large'],
  topic: 'large-orders',
  key: [],
  columns: [id, amount],
}

const before = planOf(validate, large, shape, orders, perMinute)

function planOf(...steps: Step[]): Plan {
  return {
    format: 1,
    name: 'shop',
    sources: {
      files: { is: 'files', folder: 'in', format: { is: 'csv', delimiter: ',', quote: '"' }, columns: [id, amount] },
    },
    steps,
  }
}

describe('a plan that may go on with what is stored', () => {
  const noted = { select: { ...shape.select, note: { literal: null, type: text } }, columns: [id, amount, note] }
  const cases: { says: string; after: Plan; is: 'same' | 'compatible' }[] = [
    { says: 'is the same plan', after: planOf(validate, large, shape, orders, perMinute), is: 'same' },
    {
      says: 'has moved to another folder',
      after: {
        ...before,
        sources: {
          files: {
            is: 'files',
            folder: 'there',
            format: { is: 'csv', delimiter: ',', quote: '"' },
            columns: [id, amount],
          },
        },
      },
      is: 'same',
    },
    {
      says: 'emits more often',
      after: planOf(validate, large, shape, orders, { ...perMinute, emit: { on: 'update', everyMs: 50 } }),
      is: 'same',
    },
    {
      says: 'is kept in caches from now on',
      after: planOf(validate, large, shape, { ...orders, cachedAs: 'order:' }, perMinute),
      is: 'same',
    },
    {
      says: 'gained a sink at its end',
      after: planOf(validate, large, shape, orders, perMinute, topic),
      is: 'compatible',
    },
    {
      says: 'gained a sink in its middle',
      after: planOf(validate, large, topic, shape, orders, perMinute),
      is: 'compatible',
    },
    {
      says: 'has a sink with a new nullable column',
      after: planOf(validate, large, shape, { ...orders, columns: [id, amount, note] }, perMinute),
      is: 'compatible',
    },
    {
      says: 'computes a new nullable column for its sink',
      after: planOf(validate, large, { ...shape, ...noted }, { ...orders, columns: [id, amount, note] }, perMinute),
      is: 'compatible',
    },
    {
      says: 'has the new column between the old ones',
      after: planOf(validate, large, shape, { ...orders, columns: [id, note, amount] }, perMinute),
      is: 'compatible',
    },
  ]
  for (const { says, after, is } of cases) {
    test(says, () => {
      assert.deepEqual(planChange(before, after), { is })
      // stored plans come back from JSON, with their keys in another order
      assert.deepEqual(planChange(reordered(before), after), { is })
    })
  }

  test('publishes no more', () => {
    assert.deepEqual(planChange(planOf(validate, large, topic), planOf(validate, large)), { is: 'compatible' })
  })
})

describe('a plan that may not, and why', () => {
  const cases: { says: string; after: Plan; differences: string[] }[] = [
    {
      says: 'another name',
      after: { ...before, name: 'store' },
      differences: ['the pipeline is called "store", and was "shop"'],
    },
    {
      says: 'a source gone and one come',
      after: {
        ...before,
        sources: { topic: { is: 'topic', whenLost: 'fail', topic: 'orders', columns: [id, amount] } },
      },
      differences: ['source "files" was removed', 'source "topic" was added'],
    },
    {
      says: 'a source that gained a column',
      after: {
        ...before,
        sources: {
          files: {
            is: 'files',
            folder: 'in',
            format: { is: 'csv', delimiter: ';', quote: '"' },
            columns: [id, amount, note],
          },
        },
      },
      differences: ['source "files" gained the column "note"', 'source "files" has another "format"'],
    },
    {
      says: 'a sink gone',
      after: planOf(validate, large, shape, perMinute),
      differences: ['step "orders" (table) was removed'],
    },
    {
      says: 'a filter come',
      after: planOf(validate, large, shape, orders, perMinute, { ...large, id: 'larger', from: ['shape'] }),
      differences: ['step "larger" (filter) was added'],
    },
    {
      says: 'another operator of the same name',
      after: planOf(validate, { ...shape, id: 'large', from: ['validate'] }, shape, orders, perMinute),
      differences: ['step "large" is a select now, and was a filter'],
    },
    {
      says: 'another condition',
      after: planOf(validate, { ...large, where: { column: 'id' } }, shape, orders, perMinute),
      differences: ['step "large" has another "where"'],
    },
    {
      says: 'another input',
      after: planOf(validate, large, shape, { ...orders, from: ['large'] }, perMinute),
      differences: ['step "orders" has another "from"'],
    },
    {
      says: 'another table and another key',
      after: planOf(validate, large, shape, { ...orders, table: 'orders2', mode: { is: 'append' } }, perMinute),
      differences: ['step "orders" has another "mode"', 'step "orders" has another "table"'],
    },
    {
      says: 'another expression',
      after: planOf(
        validate,
        large,
        { ...shape, select: { ...shape.select, id: { column: 'amount' } } },
        orders,
        perMinute,
      ),
      differences: ['step "shape" computes "id" in another way'],
    },
    {
      says: 'a sink that gained a column which is not nullable',
      after: planOf(
        validate,
        large,
        shape,
        { ...orders, columns: [id, amount, { ...note, nullable: false }] },
        perMinute,
      ),
      differences: ['step "orders" gained the column "note", which is not nullable'],
    },
    {
      says: 'a sink that lost a column, and one of another type',
      after: planOf(validate, large, shape, { ...orders, columns: [{ ...id, type: integer }] }, perMinute),
      differences: ['step "orders" has "id" as integer, which was text', 'step "orders" lost the column "amount"'],
    },
    {
      says: 'a column that may be null now',
      after: planOf(validate, large, shape, { ...orders, columns: [id, { ...amount, nullable: true }] }, perMinute),
      differences: ['step "orders" has "amount" nullable now'],
    },
    {
      says: 'columns in another order',
      after: planOf(validate, large, shape, { ...orders, columns: [amount, id] }, perMinute),
      differences: ['step "orders" has its columns in another order'],
    },
    {
      says: 'a window with another aggregate, even a nullable one',
      after: planOf(validate, large, shape, orders, {
        ...perMinute,
        inputs: [
          {
            from: 'shape',
            aggregates: { n: { aggregate: 'count' }, note: { aggregate: 'min', of: { column: 'id' } } },
          },
        ],
        columns: [id, note],
      }),
      differences: ['step "perMinute" gained the column "note"', 'step "perMinute" has another "inputs"'],
    },
    {
      says: 'another window size',
      after: planOf(validate, large, shape, orders, { ...perMinute, sizeMs: 120_000 }),
      differences: ['step "perMinute" has another "sizeMs"'],
    },
    {
      says: 'a setting come, and one gone',
      after: planOf(
        {
          ...validate,
          eventTime: { column: 'id', outOfOrderMs: 1, futureSkewMs: 1, idleAfterMs: 1, whenAllIdle: 'wait' },
        },
        large,
        shape,
        orders,
        perMinute,
      ),
      differences: ['step "validate" has another "eventTime"'],
    },
    {
      says: 'steps in another order',
      after: planOf(validate, large, shape, perMinute, orders),
      differences: ['the steps stand in another order'],
    },
  ]
  for (const { says, after, differences } of cases) {
    test(says, () => {
      const change = planChange(before, after)
      assert.equal(change.is, 'different')
      if (change.is === 'different') assert.deepEqual(change.differences.toSorted(), differences.toSorted())
    })
  }
})

function reordered(plan: Plan): Plan {
  return JSON.parse(JSON.stringify(plan), (_, value) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).reverse())
      : value,
  )
}
