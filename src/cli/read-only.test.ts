import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pointer } from './read-only.ts'

test('an error of a select points at its place', () => {
  assert.equal(pointer('select x', 8), '  select x\n         ^')
  assert.equal(pointer('select 1,\n  y from t', 13), '    y from t\n    ^')
  assert.equal(pointer('select', 7), '  select\n        ^')
  // characters are counted, not UTF-16 units, and wide ones take two cells
  assert.equal(pointer("select '🚀', z", 13), "  select '🚀', z\n               ^")
})

test('of a long statement the part around the place is shown', () => {
  const [line = '', arrow = ''] = pointer(`select ${'a, '.repeat(100)}wrong from t`, 308).split('\n')
  assert.equal(line.slice(arrow.indexOf('^')), 'wrong from t')
  assert.ok(line.length < 80)
})
