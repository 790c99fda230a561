/** What is refused of pairs, totals and what follows them, and in which words. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { count, max, sum, typeOfAggregate } from '../functions/aggregate.ts'
import { typeOfExpression } from '../functions/print.ts'
import { double, folder, pipeline, publish, table, text, timestamp, topic } from '../pipeline.ts'
import { checkPlan } from './check.ts'
import type { Plan } from './plan.ts'

const columns = { at: timestamp(), who: text(), event: text(), room: text().optional(), size: double() }
const timed = pipeline('doors').from(topic('doors', { columns, eventTime: { column: 'at' } }))
const pairs = timed.pairs({ by: 'who', open: (row) => row.event.equals('open') })

function refused(flow: { plan: Plan }, message: RegExp): void {
  assert.throws(() => checkPlan(flow.plan, { typeOfExpression, typeOfAggregate }), { message })
}

test('rows that may be taken back go into tables with a key that tells them apart, and nowhere else', () => {
  refused(pairs.into(table('times')), /may be taken back/)
  refused(pairs.into(table('times', { oncePer: 'pair_id' })), /may be taken back/)
  refused(pairs.into(table('times', { key: 'who' })), /does not tell the rows of "pairs" apart/)
  refused(pairs.into(folder('times', { format: 'csv' })), /cannot take rows back/)
  refused(pairs.into(publish('times')), /cannot take rows back/)
  refused(pairs.dedup('who').into(table('times')), /cannot take rows back/)
  const totals = pairs.total('who', () => ({ n: count() }))
  refused(totals.into(table('totals', { key: 'n' })), /does not tell the rows of "total" apart/)
  refused(totals.select((row) => ({ n: row.n })).into(table('totals', { key: 'n' })), /does not tell the rows/)
  const renamed = totals.select((row) => ({ reader: row.who, n: row.n })).into(table('totals', { key: 'reader' }))
  checkPlan(renamed.plan, { typeOfExpression, typeOfAggregate })
})

test('pairs need an event time, a key without nulls, and names of their own', () => {
  const untimed = pipeline('doors').from(topic('doors', { columns }))
  refused(
    untimed.pairs({ by: 'who', open: (row) => row.event.equals('open') }).into(table('t', { key: 'pair_id' })),
    /no event time/,
  )
  refused(
    timed.pairs({ by: 'room', open: (row) => row.event.equals('open') }).into(table('t', { key: 'pair_id' })),
    /can be null/,
  )
  const taken = timed.select((row) => ({ ...row, outcome: row.event }))
  refused(
    taken
      .pairs({ by: 'who', open: (row) => row.event.equals('open'), carry: ['outcome'] })
      .into(table('t', { key: 'pair_id' })),
    /two columns called "outcome"/,
  )
})

test('totals have what can be taken back, of values that fit a sum', () => {
  refused(pairs.total('who', (row) => ({ last: max(row.opened_at) })).into(table('t', { key: 'who' })), /no max/)
  refused(timed.total('who', (row) => ({ last: max(row.at) })).into(table('t', { key: 'who' })), /no max/)
  refused(
    timed.total('who', (row) => ({ size: sum(row.size) })).into(table('t', { key: 'who' })),
    /too large for a sum/,
  )
})
