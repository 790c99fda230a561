import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { openTestDuckdb } from '../../test/duckdb.ts'
import {
  boolean,
  type ColumnSpec,
  decimal,
  double,
  files,
  integer,
  json,
  list,
  pipeline,
  text,
  timestamp,
} from '../pipeline.ts'
import { checkedName, failuresOf, validate } from './validate.ts'

const db = await openTestDuckdb()
after(() => db[Symbol.asyncDispose]())

/** What validation makes of these texts, all in one vector: the value, or the code and the sentence of the failure. */
async function judged(spec: ColumnSpec, texts: string[]): Promise<unknown[]> {
  const { plan } = pipeline('test').from(files('in', { format: 'csv', columns: { v: spec } }))
  const [step] = plan.steps
  if (step?.op !== 'validate') throw new Error('the first step validates')
  const rows = texts.map((text, i) => `(${i}, '${text.replaceAll("'", "''")}')`)
  await db.run(`create or replace table given as select * from (values ${rows.join(', ')}) t(_row, v)`)
  for (const { name, as, select } of validate.relations(step, { input: 'given', out: 'out', inputColumns: [] })) {
    await db.run(`create or replace ${as} ${name} as ${select}`)
  }
  const failures = failuresOf(step)
  const found = await db.query(`select v::varchar, _failed from ${checkedName('out')} order by _row`)
  return found.rows.map(([value, failed], i) => {
    const failure = failures[Number(failed) - 1]
    return failure === undefined ? value : `${failure.code}: ${failure.message.replace('{value}', texts[i] ?? '')}`
  })
}

test('a text that names a time zone changes nothing in the rows around it', async () => {
  const found = await judged(timestamp(), [
    '2026-01-31T12:00:00',
    '2026-01-31T12:00:00 Europe/Berlin',
    '2026-01-31T12:00:00',
    '2026-01-31T12:00:00+05:30',
    '2026-01-31 12:00',
  ])
  assert.deepEqual(found, [
    '2026-01-31 12:00:00+00',
    'NOT_A_TIMESTAMP: "2026-01-31T12:00:00 Europe/Berlin" is not a date and time in ISO 8601, such as 2026-01-31T12:00:00Z',
    '2026-01-31 12:00:00+00',
    '2026-01-31 06:30:00+00',
    '2026-01-31 12:00:00+00',
  ])
})

test('a timestamp goes to 23:59:59.999999 and to an offset of 14 hours', async () => {
  const good = ['2026-01-31T23:59:59.999999Z', '2026-01-31T12:00:00+14:00', '2026-01-31T12:00:00-13:59']
  assert.deepEqual(await judged(timestamp(), good), [
    '2026-01-31 23:59:59.999999+00',
    '2026-01-30 22:00:00+00',
    '2026-02-01 01:59:00+00',
  ])
  for (const end of ['24:00:00Z', '23:59:60Z', '12:60:00Z', '12:00:00.1234567Z', '12:00:00+14:01', '12:00:00+05:60']) {
    assert.deepEqual(await judged(timestamp(), [`2026-01-31T${end}`]), [
      `NOT_A_TIMESTAMP: "2026-01-31T${end}" goes past 23:59:59, six decimals of a second, or an offset of 14 hours`,
    ])
  }
  assert.deepEqual(await judged(timestamp(), ['2026-02-30T00:00:00Z', '0000-12-31T00:00:00Z']), [
    'NOT_A_TIMESTAMP: "2026-02-30T00:00:00Z" is not a day of the calendar',
    'OUT_OF_RANGE: "0000-12-31T00:00:00Z" is outside the years 1 to 9999',
  ])
})

test('a time without seconds may have an offset', async () => {
  assert.deepEqual(await judged(timestamp(), ['2026-01-31T12:00Z', '2026-01-31T12:00-0530', '2026-01-31 12:00+02']), [
    '2026-01-31 12:00:00+00',
    '2026-01-31 17:30:00+00',
    '2026-01-31 10:00:00+00',
  ])
})

test('JSON is what RFC 8259 says, to the last comma', async () => {
  const good = ['{"a":[1,null,true]}', '", ] NaN, }"', '{"Infinity":"a\\",]"}', '"\\\\u0000"', '1e400']
  assert.deepEqual(await judged(json(), good), good)
  for (const text of ['{"a":1,}', '[1, ]', 'NaN', '[-Infinity]', '{"a":nan}', '["x",]']) {
    assert.deepEqual(await judged(json(), [text]), [`NOT_JSON: "${text}" is not JSON`])
  }
  assert.deepEqual(await judged(json(), ['"\\u0000"', '"\\\\\\u0000"']), [
    'NUL_BYTE: the JSON has a NUL character',
    'NUL_BYTE: the JSON has a NUL character',
  ])
})

test('numbers are read as they stand, never rounded', async () => {
  assert.deepEqual(await judged(integer(), ['007', '-0', '9223372036854775808', '1.0', '0x10']), [
    '7',
    '0',
    'OUT_OF_RANGE: "9223372036854775808" does not fit 64 bits',
    'NOT_AN_INTEGER: "1.0" is not a whole number',
    'NOT_AN_INTEGER: "0x10" is not a whole number',
  ])
  assert.deepEqual(await judged(decimal(4, 2), ['1.5', '1.500', '1e2', '100.00']), [
    '1.50',
    'TOO_MANY_DECIMALS: "1.500" has more than 2 decimals',
    'NOT_A_NUMBER: "1e2" is not a number in plain digits',
    'OUT_OF_RANGE: "100.00" has more than 2 digits before the point',
  ])
  assert.deepEqual(await judged(double(), ['1e308', '1e309', 'NaN']), [
    '1e+308',
    'OUT_OF_RANGE: "1e309" does not fit a 64-bit floating-point number',
    'NOT_A_NUMBER: "NaN" is not a number',
  ])
})

test('a boolean is true or false in any case, and in ASCII', async () => {
  const no = (text: string) => `NOT_A_BOOLEAN: "${text}" is neither true nor false`
  const found = await judged(boolean(), ['true', 'FALSE', 'True', 't', '1', 'falſe', ' true'])
  assert.deepEqual(found, ['true', 'false', 'true', no('t'), no('1'), no('falſe'), no(' true')])
})

test('a time is read as ISO 8601 says, or not at all', async () => {
  for (const [text, expected] of [
    ['2026-01-31T12:00:00Z', '2026-01-31 12:00:00+00'],
    ['2026-01-31 12:00:00', '2026-01-31 12:00:00+00'],
    ['2026-01-31T12:00:00.123456+02:00', '2026-01-31 10:00:00.123456+00'],
    ['2026-01-31T12:00', '2026-01-31 12:00:00+00'],
    ['2026-01-31T12:00Z', '2026-01-31 12:00:00+00'],
    ['2026-01-31T12:00-0530', '2026-01-31 17:30:00+00'],
    ['2026-01-31T12:00+02', '2026-01-31 10:00:00+00'],
    ['0001-01-01T00:00:00Z', '0001-01-01 00:00:00+00'],
    ['0000-12-31T00:00:00Z', 'OUT_OF_RANGE'],
    ['9999-12-31T23:59:59.999999Z', '9999-12-31 23:59:59.999999+00'],
    ['2026-02-29T00:00:00Z', 'NOT_A_TIMESTAMP'],
    ['2016-12-31T23:59:60Z', 'NOT_A_TIMESTAMP'],
    ['2026-01-31T24:00:00Z', 'NOT_A_TIMESTAMP'],
    ['2026-01-31', 'NOT_A_TIMESTAMP'],
    ['12:00', 'NOT_A_TIMESTAMP'],
    ['31.01.2026 12:00', 'NOT_A_TIMESTAMP'],
    ['1767225600', 'NOT_A_TIMESTAMP'],
    ['2026-01-31T12:00:00 Z', 'NOT_A_TIMESTAMP'],
    ['2026-01-31T12:00:00Europe/Paris', 'NOT_A_TIMESTAMP'],
    ['infinity', 'NOT_A_TIMESTAMP'],
    ['', 'NOT_A_TIMESTAMP'],
  ] as const) {
    const [found] = await judged(timestamp(), [text])
    assert.equal(String(found).split(':')[0], expected.split(':')[0], text)
    if (expected.includes('+')) assert.equal(found, expected, text)
  }
})

test('a list is a JSON array of texts, whatever stands beside it in the batch', async () => {
  const good = ['[]', '["a"]', '[ "a" , "b" ]', '["\\"","\\\\","\\u00e4"]', '\t["ü"]\n']
  assert.deepEqual(await judged(list(text()), good), ['[]', '[a]', '[a, b]', `['"', \\, ä]`, '[ü]'])
  for (const bad of ['nonsense', '', '["a"', '{"a":1}', '["a",1]', '[null]', '"a"', '["a",]', '["a\nb"]', 'null']) {
    assert.deepEqual(await judged(list(text()), ['["a"]', bad]), ['[a]', `NOT_A_LIST: "${bad}" is not a list of texts`])
  }
})
