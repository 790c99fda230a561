/** Plans that ask for tasks: what is asked for, and that it changes no verdict. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { typeOfAggregate } from '../src/functions/aggregate.ts'
import { typeOfExpression } from '../src/functions/print.ts'
import { type Flow, files, integer, pipeline, table, text } from '../src/pipeline.ts'
import { checkPlan } from '../src/plan/check.ts'
import type { Plan } from '../src/plan/plan.ts'
import { type PlanRuns, planRuns } from './plan-run.ts'

const orders = () =>
  pipeline(`orders-${++made}`).from(
    files('orders', {
      format: 'csv',
      columns: { id: text().notEmpty(), city: text().optional(), amount: integer() },
    }),
  )
let made = 0
type Orders = ReturnType<typeof orders>

const csv = `id,city,amount
1,Ulm,5
2,Bonn,50
1,Ulm,7
3,,60
x,Ulm,none
4,"Bad ""Ems""",70
`

describe('a plan that asks for tasks', { concurrency: 1 }, () => {
  let runs: PlanRuns
  before(async () => {
    runs = await planRuns()
  })
  after(async () => await runs[Symbol.asyncDispose]())

  const run = async (plan: Plan, rows?: number) => {
    const { books } = await runs.run(plan, { 'a.csv': csv }, rows === undefined ? {} : { rows })
    const found = await runs.client.query(
      'select task, key from millrace.task_requests where pipeline = $1 order by id',
      [plan.name],
    )
    return { books, asked: found.rows.map(({ task, key }) => `${task} ${key}`).sort() }
  }
  const verdicts = { rowsIn: 6, written: 4, filtered: 0, duplicates: 1, late: 0, dead: 1 }
  const landed = (flow: Orders) => flow.into(table(`landed_${made}`, { oncePer: 'id' }))

  test('asks once for each value in a batch, of rows that have one, and repeats stay duplicates', async () => {
    const { books, asked } = await run(landed(orders()).enqueue('sum', { key: 'city' }).plan)
    assert.deepEqual(books, verdicts)
    assert.deepEqual(asked, ['sum Bad "Ems"', 'sum Bonn', 'sum Ulm'])
  })

  test('asks in every batch anew', async () => {
    const { asked } = await run(landed(orders()).enqueue('sum', { key: 'city' }).plan, 1)
    assert.deepEqual(asked, ['sum Bad "Ems"', 'sum Bonn', 'sum Ulm', 'sum Ulm'])
  })

  test('asks for those for which a condition holds, by numbers too, and of several tasks', async () => {
    const { books, asked } = await run(
      landed(orders())
        .enqueue('large', { key: 'amount', when: (row) => row.amount.moreThan(50) })
        .enqueue('none', { key: 'id', when: (row) => row.amount.moreThan(500) })
        .enqueue('each', { key: 'id' }).plan,
    )
    assert.deepEqual(books, verdicts)
    assert.deepEqual(asked, ['each 1', 'each 2', 'each 3', 'each 4', 'large 60', 'large 70'])
  })

  test('asks from a branch behind a filter, whose rows are no less written', async () => {
    const plan = landed(orders()).also((flow: Flow<{ id: 'text'; city: 'text'; amount: 'integer' }>) =>
      flow.filter((row) => row.amount.moreThan(50)).enqueue('large', { key: 'id' }),
    ).plan
    const { books, asked } = await run(plan)
    assert.deepEqual(books, verdicts)
    assert.deepEqual(asked, ['large 3', 'large 4'])
  })

  test('asks for the rows of its place, whatever a table before it makes of them', async () => {
    const flow = orders()
    await runs.client.query(
      `create table landed_${made} (id text unique, city text, amount bigint check (amount < 70))`,
    )
    const { books, asked } = await run(landed(flow).enqueue('sum', { key: 'id' }).plan)
    assert.deepEqual(books, { ...verdicts, written: 3, dead: 2 })
    assert.deepEqual(asked, ['sum 1', 'sum 2', 'sum 3', 'sum 4'])
  })
})

test('a task has a name, a key that is there, and stands beside another sink', () => {
  const sent = orders().into(table('orders', { oncePer: 'id' }))
  const check = (plan: Plan) => checkPlan(plan, { typeOfExpression, typeOfAggregate })
  const refused = (plan: Plan, message: RegExp) => assert.throws(() => check(plan), { message })
  check(sent.enqueue('sum_up', { key: 'id' }).plan)
  refused(sent.enqueue('Sum up', { key: 'id' }).plan, /"Sum up" cannot be the name of a task/)
  // @ts-expect-error there is no such column
  const unknown = sent.enqueue('sum', { key: 'town' }).plan
  refused(unknown, /there is no column "town"/)
  refused(orders().enqueue('sum', { key: 'id' }).plan, /the plan has no sink/)
})
