import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { openTestDuckdb } from '../../test/duckdb.ts'
import { timestamp } from '../plan/columns.ts'
import type { ValidateStep } from '../plan/plan.ts'
import { failuresOf, validate } from './validate.ts'

const db = await openTestDuckdb()
after(() => db[Symbol.asyncDispose]())

const step: ValidateStep = {
  id: 'validate',
  op: 'validate',
  from: ['files'],
  rules: {},
  checks: [],
  columns: [{ name: 'at', type: timestamp, nullable: false }],
}

async function judged(text: string): Promise<string> {
  await db.run(`create or replace table input as select 1::bigint as _row, '${text}' as "at"`)
  const [checked] = validate.relations(step, { input: 'input', out: 'out', inputColumns: step.columns })
  const { rows } = await db.query(`select "at"::varchar, _failed from (${checked?.select})`)
  const [[at, failed] = []] = rows
  return failed === null ? String(at) : (failuresOf(step)[Number(failed) - 1]?.code ?? '')
}

test('a time is read as ISO 8601 says, or not at all', async () => {
  for (const [text, expected] of [
    ['2026-01-31T12:00:00Z', '2026-01-31 12:00:00+00'],
    ['2026-01-31 12:00:00', '2026-01-31 12:00:00+00'],
    ['2026-01-31T12:00:00.123456+02:00', '2026-01-31 10:00:00.123456+00'],
    ['2026-01-31T12:00', '2026-01-31 12:00:00+00'],
    ['2026-01-31T12:00Z', '2026-01-31 12:00:00+00'],
    ['2026-01-31T12:00-0530', '2026-01-31 17:30:00+00'],
    ['2026-01-31T12:00+02', '2026-01-31 10:00:00+00'],
    ['0001-01-01T00:00:00Z', '0001-01-01 00:00:00+00'],
    ['0000-12-31T00:00:00Z', 'OUT_OF_RANGE'],
    ['9999-12-31T23:59:59.999999Z', '9999-12-31 23:59:59.999999+00'],
    ['2026-02-29T00:00:00Z', 'NOT_A_TIMESTAMP'],
    ['2016-12-31T23:59:60Z', 'NOT_A_TIMESTAMP'],
    ['2026-01-31T24:00:00Z', 'NOT_A_TIMESTAMP'],
    ['2026-01-31', 'NOT_A_TIMESTAMP'],
    ['12:00', 'NOT_A_TIMESTAMP'],
    ['31.01.2026 12:00', 'NOT_A_TIMESTAMP'],
    ['1767225600', 'NOT_A_TIMESTAMP'],
    ['2026-01-31T12:00:00 Z', 'NOT_A_TIMESTAMP'],
    ['2026-01-31T12:00:00Europe/Paris', 'NOT_A_TIMESTAMP'],
    ['infinity', 'NOT_A_TIMESTAMP'],
    ['', 'NOT_A_TIMESTAMP'],
  ] as const) {
    assert.equal(await judged(text), expected, text)
  }
})
