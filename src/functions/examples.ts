import type { Column, ColumnType } from '../plan/columns.ts'
import { listOf, text } from '../plan/columns.ts'
import type { Call, Literal } from '../plan/expression.ts'
import { type Accepts, acceptedAt, type Example, type FunctionEntry } from './define.ts'

/** The inputs of an example as literals. */
export function exampleInputs(entry: FunctionEntry, example: Example): Literal[] {
  return example.in.map((input, i) => ({
    // as: examples are written by hand, and a test runs every one
    literal: input as Literal['literal'],
    type: example.types?.[i] ?? typeOf(input, acceptedAt(entry, i)),
  }))
}

// What JSON leaves open the entry says, where it takes but one type.
function typeOf(input: unknown, accepts: Accepts | undefined): ColumnType {
  if (accepts === 'timestamp' || accepts === 'json') return { is: accepts }
  if (typeof input === 'number') return { is: Number.isInteger(input) ? 'integer' : 'double' }
  if (typeof input === 'boolean') return { is: 'boolean' }
  if (Array.isArray(input)) return listOf(typeof input[0] === 'number' ? { is: 'integer' } : text)
  return text
}

/** An example whose inputs are columns of a row; what must be constant stays so. */
export function overColumns(
  entry: FunctionEntry,
  example: Example,
): { call: Call; columns: Column[]; row: Literal['literal'][] } {
  const columns: Column[] = []
  const row: Literal['literal'][] = []
  const args = exampleInputs(entry, example).map((input, i) => {
    const accepts = acceptedAt(entry, i)
    if (typeof accepts === 'object' && 'constant' in accepts) return input
    columns.push({ name: `c${i}`, type: input.type, nullable: true })
    row.push(input.literal)
    return { column: `c${i}` }
  })
  return { call: { call: entry.name, args }, columns, row }
}
