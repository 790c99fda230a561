import assert from 'node:assert/strict'
import { test } from 'node:test'
import { failuresOf } from '../operators/validate.ts'
import { type Column, type ColumnType, decimal, listOf } from '../plan/columns.ts'
import type { Rule, ValidateStep } from '../plan/plan.ts'
import { sparkFailures } from './validate.ts'

const types: ColumnType[] = [
  { is: 'text' },
  { is: 'boolean' },
  { is: 'integer' },
  decimal(12, 2),
  decimal(5, 0),
  { is: 'double' },
  { is: 'timestamp' },
  { is: 'json' },
  listOf({ is: 'text' }),
]

const rules: Record<string, Rule[]> = {
  text: [{ rule: 'not empty' }, { rule: 'one of', values: ['a', "it's"] }, { rule: 'length at most', characters: 3 }],
  integer: [{ rule: 'at least', value: 0 }],
  decimal: [{ rule: 'at most', value: '9.5' }],
  double: [{ rule: 'at least', value: 0.5 }],
  timestamp: [{ rule: 'or epoch milliseconds' }, { rule: 'at least', value: '2026-01-01T00:00:00Z' }],
}

test('every rule of validation has its counterpart on Spark, of the same column', () => {
  const columns = types.flatMap((type, i): Column[] => [
    { name: `c${i}`, type, nullable: false },
    { name: `n${i}`, type, nullable: true },
  ])
  const step: ValidateStep = {
    id: 'validate',
    op: 'validate',
    from: ['files'],
    columns,
    rules: Object.fromEntries(columns.map(({ name, type }) => [name, rules[type.is] ?? []])),
    checks: [
      {
        code: 'SAME',
        where: { call: 'equals', args: [{ column: 'c0' }, { column: 'n0' }] },
        message: 'they differ',
      },
    ],
  }
  const failures = sparkFailures(step)
  assert.deepEqual(
    failures.map(({ when, ...rest }) => rest),
    failuresOf(step).map(({ when, ...rest }) => rest),
  )
  for (const { column, when } of failures) {
    if (column !== null) assert.match(when, new RegExp(`\\b${column}\\b`), `${when} is not of ${column}`)
  }
  assert.ok(failures.length > 45, `${failures.length}`)
})
