import assert from 'node:assert/strict'
import { test } from 'node:test'
import { typeName } from '../plan/columns.ts'
import { exampleInputs } from './examples.ts'
import { functions } from './index.ts'
import { printDuckdb, typeOfExpression } from './print.ts'
import type { Operand, Value } from './value.ts'

const entries = Object.entries(functions).map(([key, { entry }]) => ({ key, entry }))

test('every entry is registered under its name, and there are at least 45', () => {
  for (const { key, entry } of entries) assert.equal(entry.name, key)
  assert.ok(entries.length >= 45)
})

test('every entry says what it means in one sentence', () => {
  for (const { key, entry } of entries) {
    assert.match(entry.says, /^[A-Z][^.]*(?:\.[A-Za-z][^.]*)*\.$/, key)
    assert.ok(!/\b(TODO|etc)\b/.test(entry.says), key)
  }
})

test('every entry has an example, and one that shows more than the plain case where there is more', () => {
  for (const { key, entry } of entries) {
    assert.ok(entry.examples.length >= (key === 'monthOf' ? 1 : 2), key)
    assert.equal(new Set(entry.examples.map((example) => JSON.stringify(example))).size, entry.examples.length, key)
  }
})

test('no two functions print alike', () => {
  const printings = new Map<string, string>()
  for (const { key, entry } of entries) {
    for (const example of entry.examples) {
      if (example.in.length === 0) continue
      const args = exampleInputs(entry, example)
      // functions of the same arguments; a function may leave a number as it is
      const columns = args.map(({ type }, i) => ({ name: `c${i}`, type, nullable: true }))
      const [first, ...rest] = args
      if (first === undefined) continue
      const sql = printDuckdb({ call: key, args: [{ column: 'c0' }, ...rest] }, columns)
      if (sql === 'c0') continue
      const shape = `${sql} of ${args.map(({ type }) => typeName(type)).join(', ')}`
      assert.equal(printings.get(shape) ?? key, key, shape)
      printings.set(shape, key)
    }
  }
})

test('the type the examples give is the type of what they answer', () => {
  for (const { key, entry } of entries) {
    for (const example of entry.examples) {
      const { type, nullable } = typeOfExpression({ call: key, args: exampleInputs(entry, example) }, [])
      if (example.out === null) {
        assert.ok(nullable, `${key} gives null in an example, but says it never does`)
        continue
      }
      const found = Array.isArray(example.out) ? 'list' : typeof example.out
      const expected = {
        text: 'string',
        boolean: 'boolean',
        integer: 'number',
        decimal: 'string',
        double: 'number',
        timestamp: 'string',
        json: 'string',
        list: 'list',
      }[type.is]
      assert.ok(
        found === expected || (type.is === 'integer' && found === 'string'),
        `${key}: ${JSON.stringify(example)}`,
      )
    }
  }
})

test('a function has the signature one would write by hand', () => {
  const { lower, round, listGet, dividedBy } = functions
  const signatures: [
    (value: Operand<'text'>) => Value<'text'>,
    (value: Value<'decimal'>, digits?: number) => Value<'decimal'>,
    (list: Value<'list of text'>, place: Operand<'integer'>) => Value<'text'>,
    (left: Value<'integer'>, right: number) => Value<'double'>,
  ] = [lower, round, listGet, dividedBy]
  assert.equal(signatures.length, 4)
})
