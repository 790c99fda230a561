import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { agree, Generated, openTestDuckdb } from '../../test/duckdb.ts'
import { type ColumnType, decimal, double, integer, listOf, text, timestamp } from '../plan/columns.ts'
import { between, equals, lessThan, moreThan } from './comparison.ts'
import { type Row, type Value, valueOf } from './value.ts'

const db = await openTestDuckdb()
after(() => db[Symbol.asyncDispose]())
const made = new Generated()

const kinds: [string, ColumnType, () => unknown, (a: never, b: never) => number][] = [
  ['integers', integer, () => made.oneOf([made.whole(-3, 3), made.integer()]), byNumber],
  ['decimals', decimal(38, 12), () => made.oneOf(['1.000000000000', made.decimal(38, 12)]), byDigits],
  ['doubles', double, () => made.oneOf([made.whole(-2, 2), made.double()]), (a: number, b: number) => a - b],
  ['texts', text, () => made.text(['a', 'B', 'é', 'z', '😂', '\uffff', ' '], 3), byBytes],
  ['timestamps', timestamp, () => made.timestamp(), (a: string, b: string) => byBytes(micros(a), micros(b))],
]

for (const [name, type, make, order] of kinds) {
  test(`${name} are compared in their order`, async () => {
    const rows = made.many(200, () => {
      const first = make()
      return [first, made.oneOf([first, make()])]
    })
    const types = [type, type]
    await agree(db, 'equals', types, rows, (a: never, b: never) => order(a, b) === 0)
    await agree(db, 'differsFrom', types, rows, (a: never, b: never) => order(a, b) !== 0)
    await agree(db, 'lessThan', types, rows, (a: never, b: never) => order(a, b) < 0)
    await agree(db, 'atMost', types, rows, (a: never, b: never) => order(a, b) <= 0)
    await agree(db, 'moreThan', types, rows, (a: never, b: never) => order(a, b) > 0)
    await agree(db, 'atLeast', types, rows, (a: never, b: never) => order(a, b) >= 0)
    const triples = made.many(200, () => [make(), make(), make()])
    const inside = (a: never, low: never, high: never) => order(low, a) <= 0 && order(a, high) <= 0
    await agree(db, 'between', [...types, type], triples, inside)
    const sorted = (values: never[]) => values.toSorted(order)
    await agree(db, 'least', [...types, type], triples, (...values: never[]) => shown(sorted(values)[0]))
    await agree(db, 'greatest', [...types, type], triples, (...values: never[]) => shown(sorted(values)[2]))
    const among = (a: never, ...others: never[]) => others.some((other) => order(a, other) === 0)
    await agree(db, 'isIn', [...types, type], triples, among)
  })
}

test('decimals of different scales are compared by value', async () => {
  const rows = made.many(200, () => [made.decimal(5, 1), made.decimal(6, 4), made.whole(-3, 3)])
  const types = [decimal(5, 1), decimal(6, 4), integer]
  await agree(db, 'between', types, rows, (a, low, high) => Number(low) <= Number(a) && Number(a) <= high)
  await agree(db, 'greatest', types, rows, (...values) => Math.max(...values.map(Number)).toFixed(4))
})

test('a long decimal meets a double as the double nearest to it', async () => {
  const rows = made.many(200, () => {
    const digits = made.decimal(38, 20)
    return [digits, Number(digits)]
  })
  await agree(db, 'equals', [decimal(38, 20), double], rows, () => true)
})

interface Columns extends Record<string, 'text' | 'integer' | 'decimal' | 'timestamp' | 'list of text'> {
  name: 'text'
  n: 'integer'
  price: 'decimal'
  at: 'timestamp'
  tags: 'list of text'
}
const row: Row<Pick<Columns, 'name' | 'n' | 'price' | 'at' | 'tags'>> = {
  name: valueOf({ column: 'name' }, text, false),
  n: valueOf({ column: 'n' }, integer, false),
  price: valueOf({ column: 'price' }, decimal(12, 2), false),
  at: valueOf({ column: 'at' }, timestamp, false),
  tags: valueOf({ column: 'tags' }, listOf(text), false),
}

test('comparing a number with a text does not compile, and is refused at run time', () => {
  // @ts-expect-error a number is no text
  assert.throws(() => row.n.equals(row.name), {
    code: 'WRONG_TYPE',
    message: 'equals cannot take the column "name" (text) together with a integer',
  })
  // @ts-expect-error nor is a constant text a number
  assert.throws(() => lessThan(row.n, 'a'), { code: 'WRONG_TYPE' })
  // @ts-expect-error a number is no moment
  assert.throws(() => row.at.atLeast(5), { code: 'WRONG_TYPE' })
})

test('a list has no order, and can be equal', () => {
  assert.equal(row.tags.equals(['a']).type.is, 'boolean')
  // @ts-expect-error a list comes neither before nor after another
  assert.throws(() => row.tags.lessThan(['a']), /argument 1 of lessThan must have an order, but is the column "tags"/)
})

test('constants take the type of the value they meet', () => {
  assert.deepEqual(moreThan(row.price, 1.5).expression, {
    call: 'moreThan',
    args: [{ column: 'price' }, { literal: '1.5', type: decimal(2, 1) }],
  })
  assert.deepEqual(between(row.at, '2026-01-01', new Date(0)).expression, {
    call: 'between',
    args: [
      { column: 'at' },
      { literal: '2026-01-01T00:00:00.000Z', type: timestamp },
      { literal: '1970-01-01T00:00:00.000Z', type: timestamp },
    ],
  })
  assert.deepEqual(row.n.equals(9007199254740993n).expression, {
    call: 'equals',
    args: [{ column: 'n' }, { literal: '9007199254740993', type: integer }],
  })
})

test('numbers that no decimal of 38 digits holds together are refused', () => {
  const tiny: Value<'decimal'> = valueOf({ column: 'tiny' }, decimal(38, 30), false)
  assert.throws(() => equals(tiny, row.n), {
    message:
      'equals cannot take the column "n" (integer) together with a decimal(38,30): no decimal of 38 digits holds both',
  })
})

function byNumber(a: number | string, b: number | string): number {
  const [left, right] = [BigInt(a), BigInt(b)]
  return left < right ? -1 : left > right ? 1 : 0
}

function byDigits(a: string, b: string): number {
  return byNumber(a.replace('.', ''), b.replace('.', ''))
}

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

// Six digits for the fraction, so that the texts sort as the moments do.
function micros(text: string): string {
  return text.replace(/\.(\d+)Z$/, (_, fraction: string) => `.${fraction.padEnd(6, '0')}Z`)
}

function shown(value: unknown): unknown {
  const whole = typeof value === 'string' && /^-?\d+$/.test(value)
  return whole && Number.isSafeInteger(Number(value)) ? Number(value) : value
}
