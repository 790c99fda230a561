import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { evaluate, evaluateConstant, openTestDuckdb } from '../../test/duckdb.ts'
import {
  boolean,
  type Column,
  type ColumnType,
  decimal,
  double,
  integer,
  json,
  listOf,
  text,
  timestamp,
} from '../plan/columns.ts'
import type { Expression, Literal } from '../plan/expression.ts'
import { duckdbType, printDuckdb, typeOfExpression } from './print.ts'

const db = await openTestDuckdb()
after(() => db[Symbol.asyncDispose]())

const columns: Column[] = [
  { name: 'user_id', type: text, nullable: false },
  { name: 'Job ID', type: integer, nullable: true },
  { name: 'price', type: decimal(12, 2), nullable: false },
]
// as: plans come from plain JSON
const fromJson = (plain: unknown) => JSON.parse(JSON.stringify(plain)) as Expression
const of = (literal: Literal['literal'], type: ColumnType): Literal => ({ literal, type })

test('expressions print as SQL that reads as SQL', () => {
  const cases: [Expression, string][] = [
    [{ column: 'user_id' }, 'user_id'],
    [{ column: 'Job ID' }, '"Job ID"'],
    [of("it's", text), "'it''s'"],
    [of(null, text), 'null::varchar'],
    [of(-5, integer), '(-5)::bigint'],
    [of('1.50', decimal(3, 2)), '1.50::decimal(3,2)'],
    [of(0.1, double), "'0.1'::double"],
    [of(true, boolean), 'true'],
    [of('2026-01-31T12:00:00.000Z', timestamp), "timestamptz '2026-01-31T12:00:00.000Z'"],
    [of('{"a":1}', json), `'{"a":1}'::json`],
    [of([], listOf(text)), '[]::varchar[]'],
    [of(['a', null], listOf(text)), "['a', null::varchar]::varchar[]"],
    [{ sql: 'upper(user_id)', type: text }, '(upper(user_id))::varchar'],
    [{ call: 'times', args: [{ column: 'price' }, of(2, integer)] }, '(price * 2::bigint)'],
    [{ call: 'lower', args: [{ column: 'user_id' }] }, 'lower(user_id)'],
  ]
  for (const [expression, sql] of cases) assert.equal(printDuckdb(fromJson(expression), columns), sql)
})

test('a literal of any type comes back from DuckDB as it was', async () => {
  const literals: Literal[] = [
    of("'; drop table x; --", text),
    of('\u0001\n\t\\n😂', text),
    of('9223372036854775807', integer),
    of('-9223372036854775808', integer),
    of('0.12345678901234567890123456789012345678', decimal(38, 38)),
    of('-12345678901234567890123456.789012345678', decimal(38, 12)),
    of('99999999999999999999999999999999999999', decimal(38, 0)),
    of(0.30000000000000004, double),
    of(5e-324, double),
    of(-1.7976931348623157e308, double),
    of('0001-01-01T00:00:00.000Z', timestamp),
    of('9999-12-31T23:59:59.999999Z', timestamp),
    of(['a', "it's", null], listOf(text)),
    of([0.1, 1e300], listOf(double)),
    of([], listOf(integer)),
    of(false, boolean),
    of(null, json),
    of(null, listOf(decimal(12, 2))),
  ]
  for (const literal of literals) assert.deepEqual(await evaluateConstant(db, literal), literal.literal)
})

test('SQL of one’s own stands in parentheses, even when it ends in a comment, and gets its type', async () => {
  const sum: Expression = { call: 'times', args: [{ sql: '1 + 1 -- two', type: integer }, of(3, integer)] }
  assert.equal(await evaluateConstant(db, sum), 6)
  assert.deepEqual(typeOfExpression({ sql: 'x', type: integer }, []), { type: integer, nullable: true })
})

test('a column named as a word of SQL can be read', async () => {
  const odd = ['select', 'Order', 'a"b', 'a b', 'ß', '1st'].map((name) => ({ name, type: integer, nullable: false }))
  for (const [i, { name }] of odd.entries()) {
    assert.deepEqual(await evaluate(db, { column: name }, odd, [odd.map((_, at) => at)]), [i])
  }
})

test('a column that is not there is named, with the nearest one that is', () => {
  assert.throws(() => printDuckdb({ call: 'lower', args: [{ column: 'usr_id' }] }, columns), {
    code: 'UNKNOWN_COLUMN',
    message: 'there is no column "usr_id"',
    hint: 'did you mean "user_id"? the columns here are user_id, Job ID, price',
  })
  assert.throws(() => printDuckdb({ column: 'quantity' }, columns), {
    hint: 'the columns here are user_id, Job ID, price',
  })
})

test('a function that is not there is named, with the nearest one that is', () => {
  assert.throws(() => typeOfExpression({ call: 'uper', args: [] }, columns), {
    code: 'UNKNOWN_FUNCTION',
    message: 'there is no function "uper"',
    hint: /^did you mean "upper"\? the functions are equals, /,
  })
  for (const call of ['constructor', '__proto__', 'toString', '']) {
    assert.throws(() => typeOfExpression({ call, args: [] }, columns), { code: 'UNKNOWN_FUNCTION' }, call)
  }
})

test('a call of values of the wrong type is refused with a sentence that names them', () => {
  assert.throws(() => printDuckdb({ call: 'lower', args: [{ column: 'price' }] }, columns), {
    code: 'WRONG_TYPE',
    message: 'argument 1 of lower must be a text, but is the column "price" (decimal(12,2))',
  })
  assert.throws(() => printDuckdb({ call: 'equals', args: [{ column: 'price' }, of('1', text)] }, columns), {
    message: 'equals cannot take the constant "1" (text) together with a decimal(12,2)',
  })
})

test('nullability follows the columns', () => {
  const nullable = (expression: Expression) => typeOfExpression(expression, columns).nullable
  assert.equal(nullable({ call: 'lower', args: [{ column: 'user_id' }] }), false)
  assert.equal(nullable({ call: 'equals', args: [{ column: 'Job ID' }, of(1, integer)] }), true)
  assert.equal(nullable({ call: 'isNull', args: [{ column: 'Job ID' }] }), false)
})

test('plain JSON that is no expression is refused before it reaches SQL', () => {
  const wrong: unknown[] = [null, 5, 'price', [], {}, { column: 5 }, { call: 'lower' }, { call: 'lower', args: 'x' }]
  wrong.push({ literal: 'x' }, { literal: 'x', type: { is: 'varchar' } }, { sql: 'x' }, { sql: 'x', type: {} })
  wrong.push({ literal: 'x', type: { is: 'decimal', precision: 39, scale: 0 } }, { literal: [], type: { is: 'list' } })
  wrong.push({ literal: '1', type: { is: 'decimal', precision: '1); drop table x', scale: 0 } })
  for (const plain of wrong) {
    assert.throws(() => printDuckdb(fromJson(plain), columns), { code: 'INVALID_PLAN' }, JSON.stringify(plain))
  }
})

test('calls can be nested 100 deep, and no deeper', async () => {
  const nested = (depth: number) => {
    let expression: Expression = of(0, integer)
    for (let i = 0; i < depth; i++) expression = { call: 'plus', args: [expression, of(1, integer)] }
    return expression
  }
  assert.equal(await evaluateConstant(db, nested(100)), 100)
  assert.throws(() => printDuckdb(nested(101), []), { code: 'INVALID_PLAN' })
  assert.throws(() => printDuckdb(nested(5_000), []), { message: 'an expression is nested more than 100 calls deep' })
})

test('a literal that is not of its type is refused', () => {
  const wrong: [unknown, ColumnType][] = [
    ['a\0b', text],
    ['\ud83d', text],
    [5, text],
    [2 ** 53, integer],
    [0.5, integer],
    ['9223372036854775808', integer],
    ['1 or 1=1', integer],
    ['1.555', decimal(3, 2)],
    ['10', decimal(3, 2)],
    ['.', decimal(3, 2)],
    [1.5, decimal(3, 2)],
    ['0.5', double],
    ['yesterday', timestamp],
    ['2026-02-30T00:00:00Z', timestamp],
    ['{', json],
    ['a', listOf(text)],
    [['a', 5], listOf(text)],
    [[['a']], listOf(text)],
    [1, boolean],
  ]
  for (const [literal, type] of wrong) {
    // as: these are wrong on purpose
    const expression = { literal, type } as Literal
    assert.throws(() => printDuckdb(expression, []), { code: 'WRONG_TYPE' }, JSON.stringify(literal))
  }
})

test('types have the names DuckDB gives them', () => {
  const types = [text, integer, decimal(12, 2), double, boolean, timestamp, json, listOf(text), listOf(decimal(3, 1))]
  assert.deepEqual(types.map(duckdbType), [
    'varchar',
    'bigint',
    'decimal(12,2)',
    'double',
    'boolean',
    'timestamptz',
    'json',
    'varchar[]',
    'decimal(3,1)[]',
  ])
})
