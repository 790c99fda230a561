/**
 * The registry's form: everything known about a function sits in its one entry. What `define` returns is the entry and,
 * called with values, the function itself.
 */
import { MillraceError } from '../errors.ts'
import { type ColumnType, commonType, isComparable, isNumeric, typeName } from '../plan/columns.ts'
import { constant, describe, isValue, type Value, valueOf } from './value.ts'

/** What an argument may be. `same` means: comparable with the other arguments marked so. */
export type Accepts = 'text' | 'boolean' | 'integer' | 'number' | 'timestamp' | 'json' | 'list' | 'same' | 'any'

export interface FunctionEntry {
  name: string
  /** One sentence: what it means, what it does with null where that is not obvious. */
  says: string
  args: readonly Accepts[]
  /** The last argument may be repeated. */
  variadic?: boolean
  /** The type of the result; from the arguments' types where it depends on them. */
  result: ColumnType | ((types: ColumnType[]) => ColumnType)
  /** Whether the result can be null. Left out: when any argument can be. */
  nullable?: (args: boolean[]) => boolean
  /** DuckDB's SQL, given each argument's SQL and type. */
  duckdb: (args: string[], types: ColumnType[]) => string
  /** Inputs and outputs as JSON; `types` says what the inputs are where JSON leaves it open. */
  examples: Example[]
}

export interface Example {
  in: unknown[]
  out: unknown
  types?: ColumnType[]
}

// any: the arguments are checked by the signature the entry declares, and again at run time by `args`
// biome-ignore lint/suspicious/noExplicitAny: see the line above
export type Signature = (...args: any[]) => Value

export type DefinedFunction<S extends Signature = Signature> = S & { readonly entry: FunctionEntry }

/** Makes the function of an entry. `S` is the signature a user of the builder sees. */
export function define<S extends Signature>(entry: FunctionEntry): DefinedFunction<S> {
  const call = (...operands: unknown[]): Value => {
    const beside = operands.find((operand): operand is Value => isValue(operand))
    const args = operands.map((operand, i) =>
      constant(operand, acceptedAt(entry, i) === 'same' ? beside?.type : hintFor(acceptedAt(entry, i), beside)),
    )
    const type = resultType(
      entry,
      args.map((arg) => arg.type),
      args.map(describe),
    )
    const nullable = (entry.nullable ?? ((each) => each.some(Boolean)))(args.map((arg) => arg.nullable))
    return valueOf({ call: entry.name, args: args.map((arg) => arg.expression) }, type, nullable)
  }
  // as: the signature is the entry's promise; `resultType` holds it at run time
  return Object.assign(call, { entry }) as unknown as DefinedFunction<S>
}

function hintFor(accepts: Accepts | undefined, beside: Value | undefined): ColumnType | undefined {
  if (accepts === 'timestamp') return { is: 'timestamp' }
  if (accepts === 'number' && beside && isNumeric(beside.type)) return beside.type
  return undefined
}

function acceptedAt(entry: FunctionEntry, i: number): Accepts | undefined {
  return entry.args[i] ?? (entry.variadic ? entry.args.at(-1) : undefined)
}

/** The type a call has, or a WRONG_TYPE that names the argument. `names` describe the arguments in a message. */
export function resultType(
  entry: FunctionEntry,
  types: ColumnType[],
  names: string[] = types.map(typeName),
): ColumnType {
  const least = entry.variadic ? entry.args.length - 1 : entry.args.length
  if (types.length < least || (!entry.variadic && types.length > least)) {
    throw new MillraceError('WRONG_TYPE', {
      message: `${entry.name} takes ${entry.variadic ? `${least} or more` : least} arguments, not ${types.length}`,
    })
  }
  let same: ColumnType | undefined
  types.forEach((type, i) => {
    const accepts = acceptedAt(entry, i)
    if (accepts === undefined || !accepted(accepts, type)) {
      throw new MillraceError('WRONG_TYPE', {
        message: `argument ${i + 1} of ${entry.name} must be ${spoken(accepts)}, but is ${names[i]}`,
      })
    }
    if (accepts !== 'same') return
    if (same !== undefined && !isComparable(same, type)) {
      throw new MillraceError('WRONG_TYPE', {
        message: `${entry.name} cannot take ${names[i]} together with a ${typeName(same)}`,
        hint: 'convert one of them first: toText, toInteger, toDecimal, toDouble, toTimestamp',
      })
    }
    same = same === undefined ? type : (commonType(same, type) ?? same)
  })
  return typeof entry.result === 'function' ? entry.result(types) : entry.result
}

function accepted(accepts: Accepts, type: ColumnType): boolean {
  if (accepts === 'any' || accepts === 'same') return true
  return accepts === 'number' ? isNumeric(type) : type.is === accepts
}

function spoken(accepts: Accepts | undefined): string {
  if (accepts === undefined) return 'left out'
  return accepts === 'integer' || accepts === 'any' ? `an ${accepts}` : `a ${accepts}`
}
