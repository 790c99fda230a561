import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { evaluate, evaluateConstant, openTestDuckdb } from '../../test/duckdb.ts'
import { typeName } from '../plan/columns.ts'
import type { Call } from '../plan/expression.ts'
import { acceptedAt, type Example, type FunctionEntry } from './define.ts'
import { exampleInputs, overColumns } from './examples.ts'
import { functions } from './index.ts'

const db = await openTestDuckdb()
after(() => db[Symbol.asyncDispose]())

for (const { entry } of Object.values(functions)) {
  test(`every example of ${entry.name} holds in DuckDB with constants`, async () => {
    for (const example of entry.examples) {
      const call: Call = { call: entry.name, args: exampleInputs(entry, example) }
      assert.deepEqual(await evaluateConstant(db, call), example.out, shown(entry, example))
    }
  })

  test(`${entry.name} keeps its type in DuckDB when an argument is a null that is written out`, async () => {
    for (const example of entry.examples) {
      const inputs = exampleInputs(entry, example)
      for (const [i, { type }] of inputs.entries()) {
        const accepts = acceptedAt(entry, i)
        if (typeof accepts === 'object' && 'constant' in accepts) continue
        await evaluateConstant(db, { call: entry.name, args: inputs.with(i, { literal: null, type }) })
      }
    }
  })

  test(`every example of ${entry.name} holds in DuckDB with columns, beside rows of nulls`, async () => {
    for (const example of entry.examples) {
      const { call, columns, row } = overColumns(entry, example)
      const nulls = row.map(() => null)
      const found = await evaluate(db, call, columns, [row, nulls, row, nulls, nulls])
      assert.deepEqual([found[0], found[2]], [example.out, example.out], shown(entry, example))
      assert.deepEqual(
        [found[3], found[4]],
        [found[1], found[1]],
        `${shown(entry, example)}: one null, several answers`,
      )
    }
  })

  test(`${entry.name} is never null where it says so`, async () => {
    for (const example of entry.examples) {
      const { call, columns, row } = overColumns(entry, example)
      if (row.includes(null)) continue
      // evaluate() throws when a null comes out of what cannot be null
      await evaluate(
        db,
        call,
        columns.map((column) => ({ ...column, nullable: false })),
        [row],
      )
    }
  })
}

function shown(entry: FunctionEntry, example: Example): string {
  const inputs = exampleInputs(entry, example).map(
    ({ literal, type }) => `${JSON.stringify(literal)} ${typeName(type)}`,
  )
  return `${entry.name}(${inputs.join(', ')})`
}
