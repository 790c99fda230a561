/** Every aggregate gives on Spark what the reference says, of each type that it takes: over 200 generated values in groups. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { aggregates } from '../src/functions/aggregate.ts'
import { sparkLiteral } from '../src/functions/print-spark.ts'
import { type Column, type ColumnType, decimal, double, integer, listOf, text, timestamp } from '../src/plan/columns.ts'
import type { Aggregate } from '../src/plan/expression.ts'
import { groupedSql } from '../src/spark/aggregate.ts'
import { SparkSession } from '../src/spark/connect.ts'
import { sessionSettings } from '../src/spark/settings.ts'
import { Generated, testSeed } from './duckdb.ts'
import type { Value } from './reference.ts'
import { aggregateOf, isTooLarge } from './reference-aggregates.ts'
import { noSpark, TestSpark } from './spark/server.ts'

const server = noSpark === false ? await TestSpark.start() : undefined
const spark = server && (await SparkSession.open({ remote: server.remote }))
await spark?.configure(sessionSettings)
after(async () => {
  await spark?.[Symbol.asyncDispose]()
  await server?.[Symbol.asyncDispose]()
})

const types: ColumnType[] = [integer, decimal(12, 2), decimal(18, 9), double, text, timestamp, listOf(text)]
const groups = 12

for (const [aggregate, { result }] of Object.entries(aggregates)) {
  for (const type of types.filter((each) => takes(result, each))) {
    // as: the keys of the registry
    const asked = { aggregate, of: { column: 'v' }, ...(aggregate === 'top' ? { args: [3] } : {}) } as Aggregate
    test(`${aggregate} of ${JSON.stringify(type)} is on Spark what the reference says`, { skip: noSpark }, async () => {
      const made = new Generated()
      const columns: Column[] = [
        { name: 'g', type: integer, nullable: false },
        { name: 'v', type, nullable: true },
      ]
      const rows = made.many(200, (): [number, Value] => {
        const group = made.whole(1, groups - 1)
        // one group has no values, and one some that are all alike
        const value = group === 1 || made.whole(0, 9) === 0 ? null : group === 2 ? alike(type) : valueOf(made, type)
        return [group, value !== null && isTooLarge(asked, type, value) ? null : value]
      })
      const values = rows.map(([g, v]) => `(${g}L, ${literal(v, type)})`).join(', ')
      const select = groupedSql(['g'], { out: asked }, columns, `(select * from values ${values} as t(g, v))`)
      const out = type.is === 'timestamp' && /^(min|max)$/.test(aggregate) ? 'unix_millis(out) as out' : 'out'
      const found = await spark?.rows<{ g: bigint; out: unknown }>(`select g, ${out} from (${select}) order by g`)
      assert.ok(found !== undefined && found.length === new Set(rows.map(([g]) => g)).size)
      for (const { g, out } of found) {
        const own = rows.flatMap(([group, value]) => (group === Number(g) && value !== null ? [value] : []))
        const expected = aggregateOf(asked, type, own)
        assert.deepEqual(plain(out), plain(expected), `${g}: of ${JSON.stringify(own)}; again with SEED=${testSeed}`)
      }
    })
  }
}

function takes(result: (of: ColumnType) => unknown, type: ColumnType): boolean {
  try {
    result(type)
    return true
  } catch {
    return false
  }
}

function valueOf(made: Generated, type: ColumnType): Value {
  switch (type.is) {
    case 'integer':
      return made.oneOf([String(made.whole(-5, 5)), made.integer()])
    case 'decimal':
      return made.decimal(type.precision, type.scale)
    case 'double':
      return made.oneOf([made.whole(-1000, 1000) / 8, made.whole(-1_000_000, 1_000_000) / 1000])
    case 'timestamp':
      return new Date(Date.UTC(2026, 0, made.whole(1, 28), made.whole(0, 23))).toISOString()
    case 'list':
      return JSON.stringify(made.many(made.whole(0, 3), () => made.oneOf(['a', 'é', '"', 'b'])))
    default:
      return made.oneOf(['', 'a', 'A', 'é', '"', '你', 'a b'])
  }
}

function alike(type: ColumnType): Value {
  const alikes: Partial<Record<ColumnType['is'], Value>> = {
    integer: '1000000007',
    decimal: type.is === 'decimal' ? `123.${'4'.padEnd(type.scale, '0')}` : null,
    double: 0.1,
    timestamp: '2026-01-01T00:00:00.000Z',
    list: '["a"]',
    text: 'x',
  }
  return alikes[type.is] ?? null
}

function literal(value: Value, type: ColumnType): string {
  // as: a list of texts
  if (type.is === 'list' && value !== null) return sparkLiteral(JSON.parse(String(value)) as string[], type)
  return sparkLiteral(value, type)
}

// Numbers, moments and lists as they are compared: whatever carries them.
function plain(value: unknown): unknown {
  if (value === null || value === undefined) return null
  if (value instanceof Date) return value.getTime()
  if (Array.isArray(value)) return JSON.stringify(value)
  const as = String(value)
  // an object of JSON has no order
  if (as.startsWith('{')) return JSON.stringify(Object.entries(JSON.parse(as)).sort())
  if (/^[+-]?[0-9.]+(e[+-]?[0-9]+)?$/i.test(as)) return Number(as) + 0
  return /^[+-]?[0-9]{4,6}-/.test(as) ? Date.parse(as) : as
}
