/** Rows of tables as a test compares them: what is stored as text becomes plain values. */
import { type Column, type ColumnType, isNumeric } from '../plan/columns.ts'

/**
 * A text, a boolean, a number; a whole number beyond 2^53 is a bigint, and a decimal of more than 15 digits its text. A
 * moment is a text such as `2026-01-01T00:00:00Z`, with as many digits of a second as it has. A list is an array, and JSON
 * what it says.
 */
export type TestValue = string | number | bigint | boolean | null | TestValue[] | { [key: string]: TestValue }

export type TestRow = Record<string, TestValue>

type StoredRow = Record<string, string | null>

export function typedRow(columns: readonly Column[], row: StoredRow): TestRow {
  return Object.fromEntries(columns.map(({ name, type }) => [name, typedValue(type, row[name] ?? null)]))
}

/** Orders stored rows by these columns: numbers by their value, the rest by its text, and what is absent first. */
export function byKey(
  columns: readonly Column[],
  key: readonly string[],
): (one: StoredRow, other: StoredRow) => number {
  return (one, other) => {
    for (const name of key) {
      const type = columns.find((column) => column.name === name)?.type ?? { is: 'text' }
      const order = compare(type, one[name] ?? null, other[name] ?? null)
      if (order !== 0) return order
    }
    return 0
  }
}

function compare(type: ColumnType, one: string | null, other: string | null): number {
  if (one === null || other === null) return Number(other === null) - Number(one === null)
  const apart = isNumeric(type) ? Number(one) - Number(other) : 0
  return apart || (one < other ? -1 : Number(one > other))
}

/** A stored text, as Postgres would be given it, as a value. */
export function typedValue(type: ColumnType, text: string | null): TestValue {
  if (text === null) return null
  switch (type.is) {
    case 'text':
      return text
    case 'boolean':
      return text === 'true'
    case 'integer':
      return Number.isSafeInteger(Number(text)) ? Number(text) : BigInt(text)
    case 'decimal':
      return text.replace(/^-?0*|\D/g, '').length > 15 ? text : Number(text)
    case 'double':
      return doubleOf(text)
    case 'timestamp':
      return momentOf(text)
    case 'json':
      return JSON.parse(text)
    case 'list':
      return itemsOf(text).map((item) => typedValue(type.of, item))
  }
}

function doubleOf(text: string): number {
  const infinite = /^(-?)inf(inity)?$/i.exec(text)
  return infinite === null ? Number(text) : Number(`${infinite[1]}Infinity`)
}

/** `2026-01-01 00:00:00+00` as `2026-01-01T00:00:00Z`. */
export function momentOf(text: string): string {
  return text.replace(' ', 'T').replace(/\+00$/, 'Z')
}

/** Milliseconds as such a text. */
export function momentAt(ms: number): string {
  return new Date(ms).toISOString().replace('.000Z', 'Z')
}

// {"a","b",NULL}: every item quoted, with quotes and backslashes escaped.
function itemsOf(list: string): (string | null)[] {
  return [...list.matchAll(/"((?:[^"\\]|\\.)*)"|NULL/gs)].map(([, item]) =>
    item === undefined ? null : item.replaceAll(/\\(.)/gs, '$1'),
  )
}
