/**
 * The registry's form: everything known about a function sits in its one entry. What `define` returns is the entry and,
 * called with values, the function itself.
 */
import { MillraceError } from '../errors.ts'
import { asDecimal, type ColumnType, commonType, isComparable, isNumeric, listOf, typeName } from '../plan/columns.ts'
import type { Expression, Literal } from '../plan/expression.ts'
import { constant, describe } from './constant.ts'
import { isValue, type Value, valueOf } from './value.ts'

/**
 * What an argument may be. `same`: comparable with the other arguments marked so. `ordered`: that, and it has an order
 * (a list has none that all engines share). `alike`: of one type with the others marked so. `element`: comparable with
 * the elements of the list that is the first argument.
 */
export type Accepts =
  | 'text'
  | 'boolean'
  | 'integer'
  | 'number'
  | 'timestamp'
  | 'json'
  | 'list'
  | 'list of text'
  | 'same'
  | 'ordered'
  | 'alike'
  | 'element'
  | 'any'
  | AnyOf
  | ConstantArgument

export interface AnyOf {
  anyOf: readonly ColumnType['is'][]
}

/** An argument written in the plan, the same for every row. */
export interface ConstantArgument {
  constant: 'text' | 'integer' | 'list of text'
  /** Which constants are taken; `must` ends the sentence "argument 2 of round must ...". */
  must?: string
  allows?: (literal: NonNullable<Literal['literal']>) => boolean
}

/** The arguments that are constants, at their places. */
export type Constants = readonly (Literal['literal'] | undefined)[]

export interface FunctionEntry {
  name: string
  /** One sentence: what it means, what it does with null where that is not obvious. */
  says: string
  args: readonly Accepts[]
  /** The last argument may be repeated. */
  variadic?: boolean
  /** How many of the last arguments may be left out. */
  optional?: number
  /** The type of the result; from the arguments' types where it depends on them. */
  result: ColumnType | ((types: ColumnType[], constants: Constants) => ColumnType)
  /** Whether the result can be null. Left out: when any argument can be. */
  nullable?: (args: boolean[], types: ColumnType[]) => boolean
  /** DuckDB's SQL, given each argument's SQL and type, and the constants among them. */
  duckdb: (args: string[], types: ColumnType[], constants: Constants) => string
  /** The same for few rows, where what DuckDB makes ready for it takes longer than they do. */
  duckdbFew?: (args: string[], types: ColumnType[], constants: Constants) => string
  /** Spark's SQL, given the same: of the same inputs the same result. */
  spark: (args: string[], types: ColumnType[], constants: Constants) => string
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

/** An expression of which the type is known. */
export interface Typed {
  expression: Expression
  type: ColumnType
  nullable: boolean
}

/** Makes the function of an entry. `S` is the signature a user of the builder sees. */
export function define<S extends Signature>(entry: FunctionEntry): DefinedFunction<S> {
  const call = (...operands: unknown[]): Value => {
    while (operands.length > leastArguments(entry) && operands.at(-1) === undefined) operands.pop()
    const args = operands.map((operand, i) => constant(operand, besideAt(entry, i, operands)))
    const { type, nullable } = typeOfCall(entry, args)
    return valueOf({ call: entry.name, args: args.map((arg) => arg.expression) }, type, nullable)
  }
  // as: the signature is the entry's promise; `resultType` holds it at run time
  return Object.assign(call, { entry }) as unknown as DefinedFunction<S>
}

/** The type of a call of this entry, or a WRONG_TYPE that names the argument. */
export function typeOfCall(entry: FunctionEntry, args: Typed[]): { type: ColumnType; nullable: boolean } {
  const types = args.map((arg) => arg.type)
  const type = resultType(
    entry,
    types,
    args.map(describe),
    args.map((arg) => arg.expression),
  )
  const nullable = (entry.nullable ?? ((each) => each.some(Boolean)))(
    args.map((arg) => arg.nullable),
    types,
  )
  return { type, nullable }
}

/** The type a call has, or a WRONG_TYPE that names the argument. `names` describe the arguments in a message. */
export function resultType(
  entry: FunctionEntry,
  types: ColumnType[],
  names: string[] = types.map(typeName),
  expressions: Expression[] = [],
): ColumnType {
  checkCount(entry, types.length)
  types.forEach((type, i) => {
    const accepts = acceptedAt(entry, i)
    if (accepts === undefined || !accepted(accepts, type, expressions[i])) {
      throw new MillraceError('WRONG_TYPE', {
        message: `argument ${i + 1} of ${entry.name} must ${spoken(accepts)}, but is ${names[i]}`,
      })
    }
  })
  checkTogether(entry, types, names)
  return typeof entry.result === 'function' ? entry.result(types, constantsOf(expressions)) : entry.result
}

/** The literals among the arguments of a call, at their places. */
export function constantsOf(expressions: Expression[]): Constants {
  return expressions.map((expression) => ('literal' in expression ? expression.literal : undefined))
}

export function acceptedAt(entry: FunctionEntry, i: number): Accepts | undefined {
  return entry.args[i] ?? (entry.variadic ? entry.args.at(-1) : undefined)
}

// The type a constant takes on from what it stands beside.
function besideAt(entry: FunctionEntry, i: number, operands: unknown[]): ColumnType | undefined {
  const accepts = acceptedAt(entry, i)
  if (accepts === 'timestamp' || accepts === 'integer') return { is: accepts }
  if (accepts === 'list of text') return listOf({ is: 'text' })
  if (typeof accepts === 'object') return 'constant' in accepts ? constantType(accepts) : undefined
  if (accepts === 'element') {
    const list = operands[0]
    return isValue(list) && list.type.is === 'list' ? list.type.of : undefined
  }
  const beside = operands.find(
    (operand, at): operand is Value => isValue(operand) && grouped(acceptedAt(entry, at)) === grouped(accepts),
  )
  return accepts === 'number' && beside && !isNumeric(beside.type) ? undefined : beside?.type
}

function constantType({ constant: is }: ConstantArgument): ColumnType {
  return is === 'list of text' ? listOf({ is: 'text' }) : { is }
}

// Which arguments have to agree with one another.
function grouped(accepts: Accepts | undefined): Accepts | undefined {
  return accepts === 'ordered' ? 'same' : accepts
}

function leastArguments(entry: FunctionEntry): number {
  return entry.args.length - (entry.variadic ? 1 : (entry.optional ?? 0))
}

function checkCount(entry: FunctionEntry, count: number): void {
  const least = leastArguments(entry)
  const most = entry.variadic ? Number.POSITIVE_INFINITY : entry.args.length
  if (count >= least && count <= most) return
  const wanted = entry.variadic ? `${least} or more` : least === most ? `${least}` : `${least} to ${most}`
  throw new MillraceError('WRONG_TYPE', { message: `${entry.name} takes ${wanted} arguments, not ${count}` })
}

function accepted(accepts: Accepts, type: ColumnType, expression: Expression | undefined): boolean {
  if (typeof accepts === 'object') {
    if ('anyOf' in accepts) return accepts.anyOf.includes(type.is)
    if (typeName(type) !== accepts.constant || expression === undefined || !('literal' in expression)) return false
    return expression.literal !== null && (accepts.allows?.(expression.literal) ?? true)
  }
  switch (accepts) {
    case 'any':
    case 'same':
    case 'alike':
    case 'element':
      return true
    case 'ordered':
      return type.is !== 'list' && type.is !== 'json'
    case 'number':
      return isNumeric(type)
    case 'list of text':
      return typeName(type) === accepts
    case 'text':
    case 'boolean':
    case 'integer':
    case 'timestamp':
    case 'json':
    case 'list':
      return type.is === accepts
  }
}

function checkTogether(entry: FunctionEntry, types: ColumnType[], names: string[]): void {
  let common: ColumnType | undefined
  types.forEach((type, i) => {
    const accepts = grouped(acceptedAt(entry, i))
    if (accepts === 'element') {
      const list = types[0]
      if (list?.is === 'list') checkPair(entry, list.of, type, isComparable(list.of, type), names[i] ?? '')
    }
    if (accepts !== 'same' && accepts !== 'alike') return
    if (common !== undefined) {
      const agree = accepts === 'same' ? isComparable(common, type) : commonType(common, type) !== undefined
      checkPair(entry, common, type, agree, names[i] ?? '')
    }
    common = common === undefined ? type : (commonType(common, type) ?? common)
  })
}

function checkPair(entry: FunctionEntry, before: ColumnType, type: ColumnType, agree: boolean, name: string): void {
  if (!agree) {
    throw new MillraceError('WRONG_TYPE', {
      message: `${entry.name} cannot take ${name} together with a ${typeName(before)}`,
      hint: 'convert one of them first: toText, toInteger, toDecimal, toDouble, toTimestamp',
    })
  }
  if (digitsTogether(before, type) > 38) {
    throw new MillraceError('WRONG_TYPE', {
      message: `${entry.name} cannot take ${name} together with a ${typeName(before)}: no decimal of 38 digits holds both`,
      hint: 'convert one of them first: toDecimal with fewer digits, or toDouble',
    })
  }
}

// How many digits a decimal needs that holds both exactly.
function digitsTogether(left: ColumnType, right: ColumnType): number {
  if (left.is === 'list' && right.is === 'list') return digitsTogether(left.of, right.of)
  if (!isNumeric(left) || !isNumeric(right) || left.is === 'double' || right.is === 'double') return 0
  const [a, b] = [asDecimal(left), asDecimal(right)]
  return Math.max(a.precision - a.scale, b.precision - b.scale) + Math.max(a.scale, b.scale)
}

function spoken(accepts: Accepts | undefined): string {
  if (accepts === undefined) return 'be left out'
  if (typeof accepts === 'object') {
    if ('anyOf' in accepts) return `be one of ${accepts.anyOf.join(', ')}`
    return accepts.must ?? `be a constant ${accepts.constant}`
  }
  if (accepts === 'ordered') return 'have an order'
  return accepts === 'integer' || accepts === 'any' ? `be an ${accepts}` : `be a ${accepts}`
}
