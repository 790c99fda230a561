import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Column } from '../plan/columns.ts'
import { choiceOf, editsOf, filterOf, filterOptions, idsOf, momentOf } from './letters-choice.ts'
import type { Options } from './verb.ts'

const now = new Date('2026-01-31T12:00:00Z')

test('conditions become a filter, as options or as --where, and a wrong name is answered with the right one', async () => {
  const options = { pipeline: 'shop', column: 'price', where: ['code=NOT_ONE_OF', 'batch=12', 'file=a=b.csv'] }
  assert.deepEqual(await filterOf({ ...options, since: '2h', until: '2026-02-01' }, now), {
    pipeline: 'shop',
    column: 'price',
    code: 'NOT_ONE_OF',
    batch: 12,
    place: 'a=b.csv',
    since: new Date('2026-01-31T10:00:00Z'),
    until: new Date('2026-02-01T00:00:00Z'),
  })
  assert.deepEqual(await filterOf({ limit: '3', json: true }), {})
  const where = (...texts: string[]) => filterOf({ where: texts })
  await assert.rejects(where('cod=X'), { code: 'WRONG_USAGE', hint: /did you mean "code"/ })
  await assert.rejects(where('code'), { code: 'WRONG_USAGE', message: /name=value/ })
  await assert.rejects(where('batch=x'), { code: 'WRONG_USAGE', message: /whole number/ })
  await assert.rejects(where('code=A', 'code=B'), { code: 'WRONG_USAGE', message: /asked twice/ })
})

test('every condition is an option of its own', async () => {
  const usual = { batch: '1', since: '1h', until: '1h' }
  for (const name of Object.keys(filterOptions)) {
    if (name === 'where') continue
    const value = Object.entries(usual).find(([known]) => known === name)?.[1] ?? 'x'
    assert.deepEqual(await filterOf({ [name]: value }, now), await filterOf({ where: [`${name}=${value}`] }, now), name)
  }
})

test('letters are chosen in one way: by numbers, by conditions, or all', async () => {
  assert.deepEqual(await choiceOf(['3', '5'], {}), { ids: [3, 5] })
  assert.deepEqual(await choiceOf([], { code: 'EMPTY' }), { code: 'EMPTY' })
  assert.deepEqual(await choiceOf([], { all: true }), {})
  assert.deepEqual(await choiceOf(['3'], { pipeline: 'shop' }), { ids: [3], pipeline: 'shop' })
  assert.deepEqual(await choiceOf([], { all: true, pipeline: 'shop' }), { pipeline: 'shop' })
  assert.deepEqual(await choiceOf([], { pipeline: 'shop' }), { pipeline: 'shop' })
  await assert.rejects(choiceOf([], {}), { code: 'WRONG_USAGE', message: /which dead letters/ })
  const both: [string[], Options][] = [
    [['3'], { code: 'EMPTY' }],
    [['3'], { all: true }],
    [[], { all: true, where: ['batch=1'] }],
  ]
  for (const [words, options] of both)
    await assert.rejects(choiceOf(words, options), { code: 'WRONG_USAGE', message: /do not go together/ })
})

test('a moment is a time ago or a date, in UTC where it names no offset', () => {
  const cases: [string, string][] = [
    ['2h', '2026-01-31T10:00:00Z'],
    ['90 min ago', '2026-01-31T10:30:00Z'],
    ['7d', '2026-01-24T12:00:00Z'],
    ['2026-01-30', '2026-01-30T00:00:00Z'],
    ['2026-01-30T08:30', '2026-01-30T08:30:00Z'],
    ['2026-01-30 08:30:05.25', '2026-01-30T08:30:05.250Z'],
    ['2026-01-30T08:30:00+02:00', '2026-01-30T06:30:00Z'],
  ]
  for (const [text, moment] of cases) assert.deepEqual(momentOf('since', text, now), new Date(moment), text)
  for (const wrong of ['5', '2026', 'yesterday', '', '2026-02-31', '2026-01-30T25:00', 'Jan 30 2026', '-2h']) {
    assert.throws(() => momentOf('until', wrong, now), { code: 'WRONG_USAGE', at: 'until' }, wrong)
  }
})

test('an edit names a column, and an empty value is an empty field', () => {
  const columns: Column[] = [
    { name: 'id', type: { is: 'text' }, nullable: false },
    { name: 'note', type: { is: 'text' }, nullable: true },
    { name: 'price', type: { is: 'decimal', precision: 12, scale: 2 }, nullable: false },
  ]
  assert.deepEqual(editsOf(['id=', 'note=', 'price='], { columns }), { id: '', note: null, price: null })
  assert.deepEqual(editsOf(['note=a=b', 'price=1.5'], { columns }), { note: 'a=b', price: '1.5' })
  assert.throws(() => editsOf(['pricee=1'], { columns }), { code: 'WRONG_USAGE', hint: /did you mean "price"/ })
})

test('ids are whole numbers', () => {
  assert.deepEqual(idsOf(['1', '22']), [1, 22])
  assert.throws(() => idsOf(['1', '2x']), { code: 'WRONG_USAGE' })
})
