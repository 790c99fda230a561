import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Column } from '../plan/columns.ts'
import { editsOf, idsOf, momentOf, queryOf } from './letters-choice.ts'

test('conditions become a query, and a wrong name is answered with the right one', async () => {
  assert.deepEqual(await queryOf(['code=not_one_of', 'batch=12', 'place=a=b.csv']), {
    code: 'NOT_ONE_OF',
    batch: 12,
    place: 'a=b.csv',
  })
  await assert.rejects(queryOf(['cod=X']), { code: 'WRONG_USAGE', hint: /did you mean "code"/ })
  await assert.rejects(queryOf(['code']), { code: 'WRONG_USAGE', message: /name=value/ })
  await assert.rejects(queryOf(['batch=x']), { code: 'WRONG_USAGE', message: /whole number/ })
})

test('a moment is a time ago or a date', () => {
  const now = new Date('2026-01-31T12:00:00Z')
  assert.deepEqual(momentOf('2h', now), new Date('2026-01-31T10:00:00Z'))
  assert.deepEqual(momentOf('2026-01-30', now), new Date('2026-01-30T00:00:00Z'))
  for (const wrong of ['5', 'yesterday', '']) assert.throws(() => momentOf(wrong, now), { code: 'WRONG_USAGE' }, wrong)
})

test('an edit names a column, and an empty value is an empty field', () => {
  const columns: Column[] = [
    { name: 'id', type: { is: 'text' }, nullable: false },
    { name: 'note', type: { is: 'text' }, nullable: true },
    { name: 'price', type: { is: 'decimal', precision: 12, scale: 2 }, nullable: false },
  ]
  assert.deepEqual(editsOf(['id=', 'note=', 'price='], columns), { id: '', note: null, price: null })
  assert.deepEqual(editsOf(['note=a=b', 'price=1.5'], columns), { note: 'a=b', price: '1.5' })
  assert.throws(() => editsOf(['pricee=1'], columns), { code: 'WRONG_USAGE', hint: /did you mean "price"/ })
})

test('ids are whole numbers', () => {
  assert.deepEqual(idsOf(['1', '22']), [1, 22])
  assert.throws(() => idsOf(['1', '2x']), { code: 'WRONG_USAGE' })
})
