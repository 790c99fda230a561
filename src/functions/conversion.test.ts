import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { agree, Generated, openTestDuckdb } from '../../test/duckdb.ts'
import { boolean, decimal, double, integer, text, timestamp } from '../plan/columns.ts'
import type { Literal } from '../plan/expression.ts'
import { plainDigits } from './constant.ts'
import { toDecimal, toInteger, toText } from './conversion.ts'
import { microsecondsOf } from './timestamp-text.ts'
import { type Value, valueOf } from './value.ts'

const db = await openTestDuckdb()
after(() => db[Symbol.asyncDispose]())
const made = new Generated()

const nearNumbers = [
  '0',
  '1',
  '9',
  '00',
  '12',
  '.',
  '-',
  '+',
  'e',
  'E5',
  ' ',
  '_',
  '0x1',
  'NaN',
  'inf',
  '1e400',
  '٣',
  '５',
]
const numberText = () =>
  made.oneOf([made.text(nearNumbers, 4), made.integer(), made.decimal(30, 9), String(made.double())])
const texts = made.many(200, () => [numberText()])
const digitsOf = (precision: number, scale: number): Literal[] => [
  { literal: precision, type: integer },
  { literal: scale, type: integer },
]

test('a text becomes an integer when it is nothing but digits and a sign, and fits', async () => {
  await agree(db, 'toInteger', [text], texts, (a) =>
    /^[+-]?[0-9]+$/.test(a) ? in64Bits(BigInt(a.replace('+', ''))) : null,
  )
})

test('a number becomes an integer when it is whole, and fits', async () => {
  const doubles = made.many(200, () => [made.oneOf([made.double(), Math.round(made.double())])])
  await agree(db, 'toInteger', [double], doubles, (a) => (Number.isInteger(a) ? in64Bits(BigInt(a)) : null))
  const decimals = made.many(200, () => [made.oneOf([made.decimal(38, 6), `${made.whole(-99, 99)}.000000`])])
  await agree(db, 'toInteger', [decimal(38, 6)], decimals, (a) =>
    a.endsWith('.000000') ? in64Bits(BigInt(a.slice(0, -7))) : null,
  )
})

test('a text becomes a decimal, rounded half away from 0, when its digits fit', async () => {
  for (const [precision, scale] of [
    [4, 2],
    [12, 2],
    [18, 0],
    [19, 9],
    [38, 12],
    [38, 13],
    [38, 38],
  ] as const) {
    await agree(
      db,
      'toDecimal',
      [text],
      texts,
      (a) => (/^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)$/.test(a) ? decimalOf(a, precision, scale) : null),
      digitsOf(precision, scale),
    )
  }
})

test('a double becomes the decimal of its shortest digits', async () => {
  const doubles = made.many(200, () => [made.double()])
  for (const [precision, scale] of [
    [12, 2],
    [18, 9],
    [38, 12],
  ] as const) {
    const reference = (a: number) => decimalOf(plainDigits(a), precision, scale)
    await agree(db, 'toDecimal', [double], doubles, reference, digitsOf(precision, scale))
  }
})

test('a decimal becomes one of other digits, rounded half away from 0', async () => {
  const decimals = made.many(200, () => [made.decimal(20, 9)])
  for (const [precision, scale] of [
    [12, 2],
    [18, 9],
    [38, 12],
    [5, 0],
  ] as const) {
    const reference = (a: string) => decimalOf(a, precision, scale)
    await agree(db, 'toDecimal', [decimal(20, 9)], decimals, reference, digitsOf(precision, scale))
  }
})

test('a number or its text becomes the nearest double', async () => {
  const syntax = /^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$/
  const finite = (a: string) => (Number.isFinite(Number(a)) ? Number(a) : null)
  await agree(db, 'toDouble', [text], texts, (a) => (syntax.test(a) ? finite(a) : null))
  await agree(
    db,
    'toDouble',
    [integer],
    made.many(200, () => [made.integer()]),
    Number,
  )
  for (const [precision, scale] of [
    [12, 2],
    [18, 9],
    [38, 12],
    [38, 38],
  ] as const) {
    const decimals = made.many(200, () => [made.decimal(precision, scale)])
    await agree(db, 'toDouble', [decimal(precision, scale)], decimals, Number)
  }
})

test('true and false in any case become booleans, and nothing else does', async () => {
  const words = ['true', 'TRUE', 'tRuE', 'false', 'False', 't', '1', '0', 'yes', ' true', 'true ', '', 'ｔrue']
  const rows = words.map((word) => [word])
  await agree(db, 'toBoolean', [text], rows, (a) => ({ true: true, false: false })[a.toLowerCase() as 'true'] ?? null)
})

test('a text becomes the timestamp it names, and every timestamp comes back from its text', async () => {
  const rows = made.many(200, () => {
    const iso = made.timestamp()
    const zone = made.oneOf(['Z', '', '+05:30', '-0800', '+14', 'z', '+15:00', ' Z', '+05:60'])
    const broken = iso.replace(/\d/, made.oneOf(['0', '3', 'x', '']))
    return [
      made.oneOf([iso, iso.replace('Z', zone), iso.replace('T', ' ').replace('Z', zone), iso.slice(0, 10), broken]),
    ]
  })
  await agree(db, 'toTimestamp', [text], rows, (a) => isoOf(microsecondsOf(a)))
  const moments = made.many(200, () => [made.timestamp()])
  await agree(db, 'toText', [timestamp], moments, (a) =>
    a.replace(/\.(\d+)Z$/, (_: string, f: string) => `.${f.padEnd(6, '0')}Z`),
  )
})

test('integers, decimals and booleans are written plainly', async () => {
  await agree(
    db,
    'toText',
    [integer],
    made.many(200, () => [made.integer()]),
    String,
  )
  for (const [precision, scale] of [
    [12, 2],
    [38, 12],
    [38, 38],
    [5, 0],
  ] as const) {
    const rows = made.many(200, () => [made.decimal(precision, scale)])
    await agree(db, 'toText', [decimal(precision, scale)], rows, (a) => a)
  }
  await agree(db, 'toText', [boolean], [[true], [false]], String)
})

test('what cannot be converted does not compile, and is refused at run time', () => {
  const ratio: Value<'double'> = valueOf({ column: 'ratio' }, double, false)
  const at: Value<'timestamp'> = valueOf({ column: 'at' }, timestamp, false)
  const name: Value<'text'> = valueOf({ column: 'name' }, text, false)
  const refused = (takes: string) => ({
    code: 'WRONG_TYPE',
    message: new RegExp(`must be one of ${takes}, but is the`),
  })
  // @ts-expect-error engines write the digits of a double differently
  assert.throws(() => toText(ratio), refused('text, integer, decimal, boolean, timestamp, json'))
  // @ts-expect-error a moment is no number
  assert.throws(() => toInteger(at), refused('text, integer, decimal, double'))
  assert.throws(() => toDecimal(name, 4, 5), { message: 'a decimal of 4 digits in all cannot have 5 after the point' })
  assert.throws(() => toDecimal(name, 39, 0), /argument 2 of toDecimal must be a whole number from 1 to 38/)
})

function in64Bits(value: bigint): unknown {
  if (BigInt.asIntN(64, value) !== value) return null
  return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
}

function decimalOf(digits: string, precision: number, scale: number): string | null {
  const [whole = '', fraction = ''] = digits.replace(/^[+-]/, '').split('.')
  const kept = BigInt(`0${whole}${fraction.slice(0, scale).padEnd(scale, '0')}`)
  const size = kept + (/^[5-9]/.test(fraction.slice(scale)) ? 1n : 0n)
  if (String(size).length > precision && size > 0n) return null
  const plain = String(size).padStart(scale + 1, '0')
  const point = scale === 0 ? plain : `${plain.slice(0, -scale)}.${plain.slice(-scale)}`
  return digits.startsWith('-') && size > 0n ? `-${point}` : point
}

function isoOf(microseconds: bigint | undefined): string | null {
  if (microseconds === undefined) return null
  const rest = ((microseconds % 1000n) + 1000n) % 1000n
  const iso = new Date(Number((microseconds - rest) / 1000n)).toISOString()
  return rest === 0n ? iso : iso.replace('Z', `${String(rest).padStart(3, '0')}Z`)
}
