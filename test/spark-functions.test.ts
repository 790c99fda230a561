/** Every function of the registry gives in Spark what it gives in DuckDB: of its examples, and of 200 rows made from them. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Example, FunctionEntry } from '../src/functions/define.ts'
import { exampleInputs, overColumns } from '../src/functions/examples.ts'
import { functions } from '../src/functions/index.ts'
import { printSpark, sparkLiteral } from '../src/functions/print-spark.ts'
import { sparkName } from '../src/functions/spark-type.ts'
import { isoText } from '../src/functions/timestamp-text.ts'
import { typeOfExpression } from '../src/functions/type-of.ts'
import { type Column, type ColumnType, typeName } from '../src/plan/columns.ts'
import type { Call, Literal } from '../src/plan/expression.ts'
import { SparkSession } from '../src/spark/connect.ts'
import { sessionSettings } from '../src/spark/settings.ts'
import { evaluate, Generated, openTestDuckdb, testSeed } from './duckdb.ts'
import { noSpark, TestSpark } from './spark/server.ts'

type Cell = Literal['literal']

const db = await openTestDuckdb()
const server = noSpark === false ? await TestSpark.start() : undefined
const spark = server && (await SparkSession.open({ remote: server.remote }))
await spark?.configure(sessionSettings)
after(async () => {
  await db[Symbol.asyncDispose]()
  await spark?.[Symbol.asyncDispose]()
  await server?.[Symbol.asyncDispose]()
})

const rowsMade = 200

for (const { entry } of Object.values(functions)) {
  test(`${entry.name} gives in Spark what its examples say`, { skip: noSpark }, async () => {
    for (const example of entry.examples) {
      const { call, columns, row } = overColumns(entry, example)
      const [found] = await askSpark(call, columns, [row])
      assert.deepEqual(found, example.out, shown(entry, example))
    }
  })

  test(`${entry.name} gives the same in Spark as in DuckDB`, { skip: noSpark }, async () => {
    const made = new Generated()
    const kinds = new Set<string>()
    for (const example of entry.examples) {
      const { call, columns } = overColumns(entry, example)
      // of the same function with the same types and constants, once is enough
      const kind = JSON.stringify([call, columns])
      if (kinds.has(kind) || columns.length === 0) continue
      kinds.add(kind)
      const alike = entry.examples
        .map((each) => overColumns(entry, each))
        .filter((each) => JSON.stringify(each.columns) === JSON.stringify(columns))
      const seen = columns.map((_, at) => alike.map(({ row }) => row[at] ?? null))
      const rows = made.many(rowsMade, () => columns.map(({ type }, at) => cell(made, type, seen[at] ?? [])))
      const [own, others] = [await evaluate(db, call, columns, rows), await askSpark(call, columns, rows)]
      for (const [i, row] of rows.entries()) {
        const at = `${entry.name} of ${JSON.stringify(row)} (${columns.map(({ type }) => typeName(type)).join(', ')}), constants ${JSON.stringify(call.args)}`
        assert.deepEqual(unsigned(others[i]), unsigned(own[i]), `${at}; again with SEED=${testSeed}`)
      }
    }
  })
}

test('every letter has the same lower and upper case in Spark as in DuckDB', { skip: noSpark }, async () => {
  const letters = Array.from({ length: 0x1_0000 }, (_, code) => code)
    .filter((code) => code > 0 && (code < 0xd800 || code > 0xdfff))
    .map((code) => String.fromCodePoint(code))
    .filter((letter) => /[\p{L}\p{M}\p{N}]/u.test(letter) && !/[\p{Script=Han}\p{Script=Hangul}]/u.test(letter))
  const columns = [{ name: 'c0', type: { is: 'text' }, nullable: true }] as const
  for (const name of ['lower', 'upper']) {
    const call = { call: name, args: [{ column: 'c0' }] }
    const differ: string[] = []
    for (let at = 0; at < letters.length; at += 4000) {
      const rows = letters.slice(at, at + 4000).map((letter) => [`a${letter}b`])
      const [own, others] = [await evaluate(db, call, columns, rows), await askSpark(call, columns, rows)]
      for (const [i, [letter]] of rows.entries()) {
        if (own[i] !== others[i]) differ.push(`${letter}: ${own[i]} and ${others[i]}`)
      }
    }
    assert.deepEqual(differ, [], name)
  }
})

// A zero below 0 is no other number to either.
function unsigned(answer: unknown): unknown {
  return answer === 0 ? 0 : answer
}

// A value of the type: none, one of the examples, one near to those, or any.
function cell(made: Generated, type: ColumnType, seen: readonly Cell[]): Cell {
  const chance = made.whole(0, 9)
  if (chance === 0) return null
  switch (type.is) {
    case 'text': {
      const given = seen.filter((each) => typeof each === 'string')
      if (given.length === 0 || chance < 3) return made.text(pieces, 8)
      const text = [...made.oneOf(given)]
      if (chance < 5) return text.join('')
      text.splice(
        made.whole(0, text.length),
        made.whole(0, 2),
        ...made.many(made.whole(0, 2), () => made.oneOf(pieces)),
      )
      return text.join('')
    }
    case 'boolean':
      return made.oneOf([true, false])
    case 'integer':
      return chance < 5 ? made.whole(-4, 12) : made.integer()
    case 'decimal':
      return made.decimal(type.precision, type.scale)
    case 'double':
      return made.double()
    case 'timestamp':
      return made.timestamp()
    case 'json':
      return made.oneOf([...jsons, ...seen.filter((each) => typeof each === 'string')])
    case 'list':
      // as: an element is no list
      return made.many(made.whole(0, 4), () => cell(made, type.of, seen.flat()) as string | null)
  }
}

const pieces = [
  ...['a', 'B', 'é', 'É', 'e\u0301', 'ß', 'İ', 'ı', 'Σ', 'ς', 'ﬁ', 'Ω', 'Ж', '你', '👍', '🏽', '\u00a0', '\u2028'],
  ...[' ', '\t', '\n', '\r', ',', '.', '-', '+', '_', '%', '"', "'", '\\', '\\E', '$', '(', '*', '|', '!', '?'],
  ...['0', '1', '9', 'e', 'E5', '2026-01-31', 'T12:00:00', '.5', 'Z', '+05:30', 'true', 'NaN', 'Infinity', 'null'],
]
const jsons = [
  ...[
    '{"a":1}',
    '{"a":{"b":"x"}}',
    '{"a":[{"b":1.5}]}',
    '[1,2.0,"3",true,null]',
    '{"Job ID":1e2}',
    '"a"',
    '12',
    'null',
  ],
  ...[
    '{"a":1.0}',
    '{"a":1e400}',
    '{"a":-0.0}',
    '{"a":123456789012345678901234567890}',
    '{"a":0.1e-7}',
    '{"a":"\\ud83d\\ude00"}',
  ],
]

async function askSpark(
  call: Call,
  columns: readonly Column[],
  rows: readonly (readonly unknown[])[],
): Promise<unknown[]> {
  assert.ok(spark, 'there is a Spark')
  const { type } = typeOfExpression(call, columns)
  const literals = rows.map((row, i) => {
    // as: the rows of a test are literals of their columns
    const cells = columns.map((column, at) => sparkLiteral(row[at] as Cell, column.type))
    return `(${[...cells, i].join(', ')})`
  })
  const names = [...columns.map(({ name }) => sparkName(name)), '_ordinal'].join(', ')
  const given = `select * from values ${literals.join(', ')} as given(${names})`
  const sql = `select ${asAnswer(type, printSpark(call, columns))} as answer from (${given}) order by _ordinal`
  const found = await spark.rows<{ answer: unknown }>(sql)
  return found.map(({ answer }) => fromAnswer(type, answer))
}

// As nothing is lost on the way: doubles as they are, all else as texts.
function asAnswer(type: ColumnType, sql: string): string {
  if (type.is === 'double') return sql
  if (type.is === 'timestamp') return `cast(unix_micros(${sql}) as string)`
  // numbers of a list as texts, for JavaScript would round them
  if (type.is === 'list') return `to_json(transform(${sql}, _e -> cast(_e as string)))`
  return `cast(${sql} as string)`
}

function fromAnswer(type: ColumnType, answer: unknown): unknown {
  if (answer === null || type.is === 'double') return answer
  const text = String(answer)
  switch (type.is) {
    case 'integer':
      return Number.isSafeInteger(Number(text)) ? Number(text) : text
    case 'boolean':
      return text === 'true'
    case 'timestamp':
      return isoText(BigInt(text))
    case 'list':
      // as: what the select above makes
      return (JSON.parse(text) as (string | null)[]).map((each) =>
        each === null || type.of.is !== 'double' ? each && fromAnswer(type.of, each) : Number(each),
      )
    case 'text':
    case 'json':
    case 'decimal':
      return text
  }
}

function shown(entry: FunctionEntry, example: Example): string {
  const inputs = exampleInputs(entry, example).map(
    ({ literal, type }) => `${JSON.stringify(literal)} ${typeName(type)}`,
  )
  return `${entry.name}(${inputs.join(', ')})`
}
