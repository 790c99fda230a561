import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { agree, Generated, openTestDuckdb } from '../../test/duckdb.ts'
import { json, text } from '../plan/columns.ts'
import type { Literal } from '../plan/expression.ts'
import { jsonHas, jsonText } from './json.ts'
import { type Value, valueOf } from './value.ts'

const db = await openTestDuckdb()
after(() => db[Symbol.asyncDispose]())
const made = new Generated()
const at = (path: string): Literal[] => [{ literal: path, type: text }]

function scalar(): unknown {
  // JSON.parse, the reference, loses digits of longer integers
  const double = made.double()
  const exact = Number.isInteger(double) && !Number.isSafeInteger(double) && Math.abs(double) < 1e21 ? 0.5 : double
  const number = made.oneOf([made.whole(-9, 9), made.whole(-1e12, 1e12), exact])
  return made.oneOf([
    null,
    true,
    false,
    '',
    '7',
    'true',
    'null',
    made.text(['a', '"', '\\', '\n', 'é', '😂'], 5),
    number,
  ])
}

const paths: [string, (value: never) => unknown][] = [
  ['$.a', (value: { a?: unknown }) => value?.a],
  ['$.a.b', (value: { a?: { b?: unknown } }) => value?.a?.b],
  ['$."Job ID"', (value: { 'Job ID'?: unknown }) => value?.['Job ID']],
  ['$.list[1]', (value: { list?: unknown[] }) => value?.list?.[1]],
]

function record(): string {
  const value: Record<string, unknown> = {}
  if (made.whole(0, 2) > 0) value['a'] = made.oneOf([scalar(), { b: scalar() }, {}])
  if (made.whole(0, 2) > 0) value['Job ID'] = scalar()
  if (made.whole(0, 2) > 0) value['list'] = made.many(made.whole(0, 3), scalar)
  return made.oneOf([JSON.stringify(value), JSON.stringify(value, null, 1), JSON.stringify(scalar())])
}

test('what is at a path is taken when it has the type asked for', async () => {
  const rows = made.many(200, () => [record()])
  for (const [path, find] of paths) {
    const found = (source: string) => find(JSON.parse(source) as never)
    const ofType = (wanted: string) => (source: string) => {
      const value = found(source)
      return typeof value === wanted ? value : null
    }
    await agree(db, 'jsonText', [json], rows, ofType('string'), at(path))
    await agree(db, 'jsonDouble', [json], rows, ofType('number'), at(path))
    await agree(db, 'jsonBoolean', [json], rows, ofType('boolean'), at(path))
    await agree(db, 'jsonHas', [json], rows, (source) => found(source) !== undefined, at(path))
    const whole = (source: string) => (Number.isInteger(found(source)) ? in64Bits(BigInt(Number(found(source)))) : null)
    await agree(db, 'jsonInteger', [json], rows, whole, at(path))
  }
})

test('a path with wildcards, without a beginning, or of a column is refused', () => {
  const payload: Value<'json'> = valueOf({ column: 'payload' }, json, false)
  for (const path of ['$.*', '$.a[*]', '$..a', 'a', '', '$.a-b', '$."a\\"b"', '$.a[-1]', '$.']) {
    assert.throws(() => jsonText(payload, path), { code: 'WRONG_TYPE' }, path)
  }
  // @ts-expect-error a path is a text of JavaScript
  assert.throws(() => jsonHas(payload, valueOf({ column: 'path' }, text, false)), { code: 'WRONG_TYPE' })
})

function in64Bits(value: bigint): unknown {
  if (BigInt.asIntN(64, value) !== value) return null
  return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
}
