import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { agree, Generated, openTestDuckdb } from '../../test/duckdb.ts'
import { type ColumnType, decimal, double, integer, text } from '../plan/columns.ts'
import { minus, plus, times } from './arithmetic.ts'
import { type Value, valueOf } from './value.ts'

const db = await openTestDuckdb()
after(() => db[Symbol.asyncDispose]())
const made = new Generated()
const pairs = (make: () => unknown) => made.many(200, () => [make(), make()])

test('integers are added, taken off and multiplied exactly, and give null beyond 64 bits', async () => {
  const rows = pairs(() => made.integer())
  await agree(db, 'plus', [integer, integer], rows, (a, b) => in64Bits(BigInt(a) + BigInt(b)))
  await agree(db, 'minus', [integer, integer], rows, (a, b) => in64Bits(BigInt(a) - BigInt(b)))
  const factors = made.many(200, () => [made.integer(), made.oneOf([made.whole(-9, 9), made.integer()])])
  await agree(db, 'times', [integer, integer], factors, (a, b) => in64Bits(BigInt(a) * BigInt(b)))
})

test('integers are divided as BigInt divides them, and by 0 into null', async () => {
  const rows = made.many(200, () => [made.integer(), made.oneOf([made.whole(-9, 9), made.integer()])])
  await agree(db, 'wholeDivision', [integer, integer], rows, (a, b) =>
    BigInt(b) === 0n ? null : in64Bits(BigInt(a) / BigInt(b)),
  )
  await agree(db, 'modulo', [integer, integer], rows, (a, b) =>
    BigInt(b) === 0n ? null : in64Bits(BigInt(a) % BigInt(b)),
  )
})

test('decimals of all sizes keep every digit, and give null beyond 38', async () => {
  const sizes: [number, number][] = [
    [4, 2],
    [9, 0],
    [12, 2],
    [18, 2],
    [18, 18],
    [19, 4],
    [38, 12],
    [38, 0],
  ]
  for (const left of sizes) {
    for (const right of sizes) {
      const rows = made.many(20, () => [made.decimal(...left), made.decimal(...right)])
      const types = [decimal(...left), decimal(...right)]
      const scale = Math.max(left[1], right[1])
      const at = (digits: string, of: [number, number]) => unscaled(digits) * 10n ** BigInt(scale - of[1])
      await agree(db, 'plus', types, rows, (a, b) => digits(at(a, left) + at(b, right), scale))
      await agree(db, 'minus', types, rows, (a, b) => digits(at(a, left) - at(b, right), scale))
      await agree(db, 'times', types, rows, (a, b) => digits(unscaled(a) * unscaled(b), left[1] + right[1]))
    }
  }
})

test('a decimal and an integer together are exact', async () => {
  const rows = made.many(200, () => [made.decimal(12, 2), made.integer()])
  const types = [decimal(12, 2), integer]
  await agree(db, 'plus', types, rows, (a, b) => digits(unscaled(a) + BigInt(b) * 100n, 2))
  await agree(db, 'times', types, rows, (a, b) => digits(unscaled(a) * BigInt(b), 2))
  await agree(db, 'modulo', types, rows, (a, b) =>
    BigInt(b) === 0n ? null : digits(unscaled(a) % (BigInt(b) * 100n), 2),
  )
})

test('doubles follow IEEE 754 as JavaScript does', async () => {
  const rows = pairs(() => made.double())
  await agree(db, 'plus', [double, double], rows, (a, b) => a + b)
  await agree(db, 'minus', [double, double], rows, (a, b) => a - b)
  await agree(db, 'times', [double, double], rows, (a, b) => a * b)
  await agree(db, 'dividedBy', [double, double], rows, (a, b) => (b === 0 ? null : a / b))
  await agree(db, 'modulo', [double, double], rows, (a, b) => (b === 0 ? null : a % b))
})

test('a decimal becomes the nearest double, whatever its length', async () => {
  for (const [precision, scale] of [
    [12, 2],
    [18, 9],
    [38, 12],
    [38, 37],
  ] as const) {
    const rows = made.many(200, () => [made.decimal(precision, scale), made.double()])
    await agree(db, 'plus', [decimal(precision, scale), double], rows, (a, b) => Number(a) + b)
    await agree(db, 'dividedBy', [decimal(precision, scale), double], rows, (a, b) => (b === 0 ? null : Number(a) / b))
  }
})

test('a sum or product can be null where it may have too many digits, and only there', () => {
  const of = (type: ColumnType): Value<'decimal'> => valueOf({ column: 'x' }, type, false)
  assert.equal(plus(of(decimal(12, 2)), of(decimal(12, 2))).nullable, false)
  assert.equal(plus(of(decimal(38, 2)), of(decimal(12, 2))).nullable, true)
  assert.equal(times(of(decimal(19, 2)), of(decimal(19, 2))).nullable, false)
  assert.equal(times(of(decimal(20, 2)), of(decimal(19, 2))).nullable, true)
  assert.equal(minus(of(integer), of(integer)).nullable, true)
  assert.equal(minus(of(double), of(double)).nullable, false)
})

test('a product that needs more than 38 decimals is refused', () => {
  const tiny: Value<'decimal'> = valueOf({ column: 'x' }, decimal(38, 20), false)
  assert.throws(() => times(tiny, tiny), {
    code: 'WRONG_TYPE',
    message: 'a product of 20 and 20 decimals needs more than 38',
  })
})

test('plus of text does not compile, and is refused at run time', () => {
  const name: Value<'text'> = valueOf({ column: 'name' }, text, false)
  const n: Value<'integer'> = valueOf({ column: 'n' }, integer, false)
  // @ts-expect-error a text cannot be added to
  assert.throws(() => plus(name, n), {
    message: 'argument 1 of plus must be a number, but is the column "name" (text)',
  })
  // @ts-expect-error nor added
  assert.throws(() => n.plus('1'), { message: 'argument 2 of plus must be a number, but is the constant "1" (text)' })
})

function in64Bits(value: bigint): unknown {
  if (BigInt.asIntN(64, value) !== value) return null
  return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
}

function unscaled(decimalText: string): bigint {
  return BigInt(decimalText.replace('.', ''))
}

function digits(value: bigint, scale: number): string | null {
  const plain = String(value < 0n ? -value : value).padStart(scale + 1, '0')
  if (plain.replace(/^0+/, '').length > 38) return null
  const point = scale === 0 ? plain : `${plain.slice(0, -scale)}.${plain.slice(-scale)}`
  return value < 0n ? `-${point}` : point
}
