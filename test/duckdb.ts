/** A DuckDB for tests, in memory and in UTC, and ways to ask it what an expression gives. */
import assert from 'node:assert/strict'
import {
  DuckDBDecimalValue,
  DuckDBInstance,
  DuckDBListValue,
  DuckDBTimestampTZValue,
  type DuckDBValue,
} from '@duckdb/node-api'
import { duckdbType, printDuckdb, typeOfExpression } from '../src/functions/print.ts'
import { isoText } from '../src/functions/timestamp-text.ts'
import type { Column, ColumnType } from '../src/plan/columns.ts'
import type { Expression, Literal } from '../src/plan/expression.ts'
import { identifier } from '../src/plan/identifier.ts'

export interface TestDuckdb extends AsyncDisposable {
  run(sql: string): Promise<void>
  /** DuckDB's name for the type of each column, and the rows as JSON: see `jsonOf`. */
  query(sql: string): Promise<{ types: string[]; rows: unknown[][] }>
}

export async function openTestDuckdb(): Promise<TestDuckdb> {
  const instance = await DuckDBInstance.create(':memory:', { threads: '2', autoinstall_known_extensions: 'false' })
  const connection = await instance.connect()
  await connection.run("set TimeZone = 'UTC'")
  return {
    async run(sql) {
      await connection.run(sql)
    },
    async query(sql) {
      const reader = await connection.runAndReadAll(sql)
      return {
        types: reader.columnTypes().map((type) => (type.alias ?? type.toString()).toLowerCase()),
        rows: reader.getRows().map((row) => row.map(jsonOf)),
      }
    },
    async [Symbol.asyncDispose]() {
      connection.closeSync()
      instance.closeSync()
    },
  }
}

/**
 * What the expression gives on each of these rows, read from a table, so that nothing of it is computed while DuckDB
 * plans. Throws when DuckDB says another type than the registry, or gives a null where none can be.
 */
export async function evaluate(
  db: TestDuckdb,
  expression: Expression,
  columns: readonly Column[],
  rows: readonly (readonly unknown[])[],
): Promise<unknown[]> {
  const literals = rows.map((row, i) => {
    // as: the rows of a test are literals of their columns
    const cells = row.map((cell, at) => ({ literal: cell as string | null, type: columns[at]?.type ?? fail(row) }))
    return `(${[...cells.map((cell) => printDuckdb(cell, [])), `${i}`].join(', ')})`
  })
  const names = columns.map(({ name, type }) => `${identifier(name)} ${duckdbType(type)}`)
  await db.run(`create or replace temp table given (${[...names, 'ordinal integer'].join(', ')})`)
  if (rows.length > 0) await db.run(`insert into given values ${literals.join(', ')}`)
  const expected = typeOfExpression(expression, columns)
  const sql = printDuckdb(expression, columns)
  const found = await db.query(`select ${sql} from given order by ordinal`)
  const ofFew = printDuckdb(expression, columns, true)
  if (ofFew !== sql) assert.deepEqual(await db.query(`select ${ofFew} from given order by ordinal`), found, ofFew)
  checkType(sql, found.types[0], expected.type)
  const values = found.rows.map(([value]) => value)
  if (!expected.nullable && values.includes(null)) throw new Error(`${sql} gave null, but says it never does`)
  return values
}

/** What an expression without columns gives. */
export async function evaluateConstant(db: TestDuckdb, expression: Expression): Promise<unknown> {
  const sql = printDuckdb(expression, [])
  const { types, rows } = await db.query(`select ${sql}`)
  checkType(sql, types[0], typeOfExpression(expression, []).type)
  return rows[0]?.[0]
}

function checkType(sql: string, found: string | undefined, expected: ColumnType): void {
  const wanted = duckdbType(expected).replace('timestamptz', 'timestamp with time zone')
  if (found !== wanted) throw new Error(`${sql} is ${found} to DuckDB, not ${wanted}`)
}

/** A value as literals hold it: long integers and decimals as text, timestamps in ISO 8601. NaN and infinity stay. */
export function jsonOf(value: DuckDBValue): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
  if (value instanceof DuckDBDecimalValue) return value.toString()
  if (value instanceof DuckDBTimestampTZValue) return isoText(value.micros)
  if (value instanceof DuckDBListValue) return value.items.map(jsonOf)
  return value
}

/** Mulberry32: numbers from 0 up to 1, the same for the same seed. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** `SEED` from the environment, else one of this moment; say it when a generated case fails. */
export const testSeed = Number(process.env['SEED'] ?? Date.now() % 1_000_000_007)

/** Values that tests make up. */
export class Generated {
  readonly #random: () => number

  constructor(seed = testSeed) {
    this.#random = seededRandom(seed)
  }

  /** A whole number from `least` up to `most`. */
  whole(least: number, most: number): number {
    return least + Math.floor(this.#random() * (most - least + 1))
  }

  oneOf<T>(values: readonly T[]): T {
    // as: there is at least one
    return values[this.whole(0, values.length - 1)] as T
  }

  /** The same in any order. */
  shuffled<T>(list: readonly T[]): T[] {
    const drawn = list.map((one) => ({ one, at: this.#random() }))
    return drawn.sort((a, b) => a.at - b.at).map(({ one }) => one)
  }

  /** `count` times what `make` makes. */
  many<T>(count: number, make: () => T): T[] {
    return Array.from({ length: count }, make)
  }

  /** An integer of 64 bits as a literal, of any size, the outermost among them. */
  integer(): string {
    const edges = ['0', '1', '-1', '9223372036854775807', '-9223372036854775808', '9007199254740993', '4294967296']
    if (this.#random() < 0.2) return this.oneOf(edges)
    const digits = this.digits(this.whole(1, 18))
    return String(BigInt(this.#random() < 0.5 ? digits : `-${digits}`))
  }

  /** A decimal of up to so many digits as a literal, with all decimals written. */
  decimal(precision: number, scale: number): string {
    const digits = this.digits(this.whole(1, precision))
      .replace(/^0+/, '')
      .padStart(scale + 1, '0')
      .slice(-Math.max(precision, scale + 1))
    const whole = digits.slice(0, digits.length - scale)
    const plain = scale === 0 ? whole : `${whole}.${digits.slice(-scale)}`
    return this.#random() < 0.5 && /[1-9]/.test(plain) ? `-${plain}` : plain
  }

  double(): number {
    const edges = [0, 0.5, -0.5, 1.005, 2.675, -2.5, 0.1, 1e21, -1e300, 5e-324, 2 ** 53 - 1, 0.49999999999999994]
    if (this.#random() < 0.2) return this.oneOf(edges)
    return (this.#random() - 0.5) * 10 ** this.whole(-12, 20)
  }

  /** A text of up to so many of the pieces given. */
  text(pieces: readonly string[], most: number): string {
    return this.many(this.whole(0, most), () => this.oneOf(pieces)).join('')
  }

  /** A moment as a literal, often near the start of a second, a day or 1970. */
  timestamp(): string {
    const span = this.oneOf([2n, 1_000_000n, 86_400_000_000n, 100_000_000_000_000n, 62_000_000_000_000_000n])
    const offset = BigInt(Math.floor(this.#random() * Number(span))) - span / 2n
    return isoText(this.oneOf([0n, 0n, 1_767_225_600_000_000n, 951_782_400_000_000n]) + offset)
  }

  digits(count: number): string {
    return this.many(count, () => this.whole(0, 9)).join('')
  }
}

/** Fails, with the seed, when a function and its reference in TypeScript differ on one of the rows. */
export async function agree(
  db: TestDuckdb,
  call: string,
  types: readonly ColumnType[],
  rows: readonly (readonly unknown[])[],
  // any: what the cells are is said by `types`
  // biome-ignore lint/suspicious/noExplicitAny: see the line above
  reference: (...cells: any[]) => unknown,
  constants: readonly Literal[] = [],
): Promise<void> {
  const columns = types.map((type, i) => ({ name: `c${i}`, type, nullable: true }))
  const expression = { call, args: [...columns.map(({ name }) => ({ column: name })), ...constants] }
  const found = await evaluate(db, expression, columns, rows)
  for (const [i, row] of rows.entries()) {
    const inputs = JSON.stringify([...row, ...constants.map(({ literal }) => literal)])
    assert.deepStrictEqual(found[i], reference(...row), `${call} of ${inputs}; again with SEED=${testSeed}`)
  }
}

function fail(row: readonly unknown[]): never {
  throw new Error(`a row of more cells than columns: ${JSON.stringify(row)}`)
}
