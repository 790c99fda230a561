import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { agree, Generated, openTestDuckdb } from '../../test/duckdb.ts'
import { decimal, double, integer } from '../plan/columns.ts'
import type { Literal } from '../plan/expression.ts'
import { round } from './rounding.ts'
import { type Value, valueOf } from './value.ts'

const db = await openTestDuckdb()
after(() => db[Symbol.asyncDispose]())
const made = new Generated()
const places = (count: number): Literal => ({ literal: count, type: integer })

test('decimals are rounded half away from 0, to any number of places', async () => {
  for (const [precision, scale] of [
    [4, 2],
    [2, 2],
    [12, 2],
    [18, 9],
    [38, 12],
    [38, 38],
  ] as const) {
    const rows = made.many(200, () => [made.decimal(precision, scale)])
    for (const count of [0, 1, 2, 9, 15]) {
      await agree(db, 'round', [decimal(precision, scale)], rows, (a) => rounded(a, scale, count), [places(count)])
    }
  }
})

test('doubles are rounded as scaling, rounding and scaling back does it in JavaScript, and never to -0', async () => {
  const rows = made.many(200, () => [made.double()])
  for (const count of [0, 1, 2, 9, 15]) {
    await agree(db, 'round', [double], rows, (a) => roundedDouble(a, count), [places(count)])
  }
})

test('floor and ceiling of decimals and doubles are those of mathematics', async () => {
  const doubles = made.many(200, () => [made.double()])
  await agree(db, 'floor', [double], doubles, (a) => Math.floor(a) + 0)
  await agree(db, 'ceiling', [double], doubles, (a) => Math.ceil(a) + 0)
  for (const [precision, scale] of [
    [4, 2],
    [3, 0],
    [2, 2],
    [38, 12],
    [18, 17],
  ] as const) {
    const rows = made.many(200, () => [made.decimal(precision, scale)])
    const unit = 10n ** BigInt(scale)
    const floorOf = (value: bigint) => (value - (((value % unit) + unit) % unit)) / unit
    await agree(db, 'floor', [decimal(precision, scale)], rows, (a) => String(floorOf(BigInt(a.replace('.', '')))))
    await agree(db, 'ceiling', [decimal(precision, scale)], rows, (a) => String(-floorOf(-BigInt(a.replace('.', '')))))
  }
})

test('a sign is turned or dropped exactly, and the least integer gives null', async () => {
  const integers = made.many(200, () => [made.integer()])
  const least = '-9223372036854775808'
  const shown = (value: bigint) => (Number.isSafeInteger(Number(value)) ? Number(value) : String(value))
  await agree(db, 'negate', [integer], integers, (a) => (a === least ? null : shown(-BigInt(a))))
  await agree(db, 'absolute', [integer], integers, (a) => (a === least ? null : shown(BigInt(a.replace('-', '')))))
  const decimals = made.many(200, () => [made.decimal(38, 12)])
  await agree(db, 'absolute', [decimal(38, 12)], decimals, (a) => a.replace('-', ''))
})

test('places that are not constant, not whole or too many are refused', () => {
  const price: Value<'decimal'> = valueOf({ column: 'price' }, decimal(12, 2), false)
  const refused = /argument 2 of round must be a whole number from 0 to 15, but is/
  assert.throws(() => round(price, 16), refused)
  assert.throws(() => round(price, -1), refused)
  assert.throws(() => round(price, 1.5), /1.5 is not a whole number/)
  // @ts-expect-error places are a number of JavaScript, not a value of the row
  assert.throws(() => round(price, valueOf({ column: 'n' }, integer, false)), refused)
})

function rounded(decimalText: string, scale: number, count: number): string {
  if (count >= scale) return decimalText
  const value = BigInt(decimalText.replace('.', ''))
  const unit = 10n ** BigInt(scale - count)
  const size = ((value < 0n ? -value : value) + unit / 2n) / unit
  const plain = String(size).padStart(count + 1, '0')
  const point = count === 0 ? plain : `${plain.slice(0, -count)}.${plain.slice(-count)}`
  return value < 0n && size > 0n ? `-${point}` : point
}

function roundedDouble(value: number, count: number): number {
  const scaled = Math.abs(value) * 10 ** count
  if (!Number.isFinite(scaled)) return value
  const whole = Math.floor(scaled)
  const size = scaled - whole >= 0.5 ? whole + 1 : whole
  return (Math.sign(value) * size) / 10 ** count + 0
}
