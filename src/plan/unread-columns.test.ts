import assert from 'node:assert/strict'
import { test } from 'node:test'
import { integer, text, timestamp } from './columns.ts'
import type { Expression } from './expression.ts'
import type { Plan, Rule, Step } from './plan.ts'
import { unreadColumns } from './unread-columns.ts'

const maybe = { type: text, nullable: true }
const columns = [
  { name: 'at', type: timestamp, nullable: false },
  { name: 'who', ...maybe },
  { name: 'note', ...maybe },
  { name: 'more', ...maybe },
  { name: 'must', type: text, nullable: false },
  { name: 'number', type: integer, nullable: true },
]

interface Parts {
  rules?: Record<string, Rule[]>
  checks?: Expression[]
  steps: object[]
}

function unread({ rules = {}, checks = [], steps }: Parts): string[] {
  const validate = {
    id: 'validate',
    op: 'validate',
    from: ['chat'],
    rules,
    checks: checks.map((where) => ({ code: 'BAD', message: '', where })),
    columns,
  }
  // as: what matters here of the steps is what they read
  const plan = { name: 'p', sources: { chat: { columns } }, steps: [validate, ...steps] } as unknown as Plan
  return unreadColumns(plan, 'chat')
}

const column = (name: string): Expression => ({ column: name })
const select = (from: string, ...names: string[]) =>
  ({
    id: `select ${names}`,
    op: 'select',
    from: [from],
    select: Object.fromEntries(names.map((name) => [name, column(name)])),
  }) as unknown as Step
const filter = { id: 'filter', op: 'filter', from: ['validate'], where: column('note') }
const window = {
  id: 'window',
  op: 'window',
  from: ['validate', 'other'],
  by: ['who'],
  inputs: [
    { from: 'validate', aggregates: { n: { aggregate: 'count', where: column('note') } } },
    { from: 'other', aggregates: { m: { aggregate: 'sum', of: column('more') } } },
  ],
}

test('texts that may be absent, follow no rule and are read by no step are unread', () => {
  assert.deepEqual(unread({ steps: [select('validate', 'who')] }), ['note', 'more'])
  assert.deepEqual(unread({ steps: [select('validate', 'who'), select('validate', 'note')] }), ['more'])
  assert.deepEqual(unread({ steps: [] }), ['who', 'note', 'more'])
})

test('a filter reads its condition, and hands on what others read', () => {
  assert.deepEqual(unread({ steps: [filter, select('filter', 'who')] }), ['more'])
})

test('a window reads its key and what it sums up of this input', () => {
  assert.deepEqual(unread({ steps: [window] }), ['more'])
})

test('rules and checks read', () => {
  const steps = [select('validate', 'who')]
  assert.deepEqual(unread({ rules: { more: [{ rule: 'not empty' }], note: [] }, steps }), ['note'])
  assert.deepEqual(unread({ checks: [column('more')], steps }), ['note'])
})

test('a sink, another operator, and SQL by hand may read all', () => {
  assert.deepEqual(unread({ steps: [{ id: 'table', op: 'table', from: ['validate'] }] }), [])
  assert.deepEqual(unread({ steps: [filter, { id: 'dedup', op: 'dedup', from: ['filter'], by: ['who'] }] }), [])
  const byHand = { id: 'select', op: 'select', from: ['validate'], select: { a: { sql: 'note', type: text } } }
  assert.deepEqual(unread({ steps: [byHand] }), [])
  assert.deepEqual(unread({ steps: [{ id: 'files', op: 'files', from: ['chat'] }] }), [], 'of what was not checked')
})
