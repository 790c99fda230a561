/** DuckDB's names for the types of columns, and how a value gets from one type to another without losing a digit. */
import { type ColumnType, commonType, sameType } from '../plan/columns.ts'

export function duckdbType(type: ColumnType): string {
  switch (type.is) {
    case 'text':
      return 'varchar'
    case 'integer':
      return 'bigint'
    case 'decimal':
      return `decimal(${type.precision},${type.scale})`
    case 'timestamp':
      return 'timestamptz'
    case 'list':
      return `${duckdbType(type.of)}[]`
    case 'boolean':
    case 'double':
    case 'json':
      return type.is
  }
}

/** The SQL of a value as another type that can hold it. */
export function castTo(to: ColumnType, sql: string, from: ColumnType): string {
  if (sameType(from, to)) return sql
  // DuckDB divides a long decimal in two roundings; its text is read as the nearest double.
  if (to.is === 'double' && from.is === 'decimal' && from.precision > 15) return `${sql}::varchar::double`
  if (to.is === 'list' && from.is === 'list') {
    const element = castTo(to.of, 'element', from.of)
    if (element.includes('::varchar::')) return `list_transform(${sql}, lambda element: ${element})`
  }
  return `${sql}::${duckdbType(to)}`
}

/** The type that holds values of all these types; they are known to have one. */
export function commonOf(types: ColumnType[]): ColumnType {
  const [first = { is: 'text' }, ...rest] = types
  return rest.reduce((common, type) => commonType(common, type) ?? common, first)
}

/** The SQL of each value as the type that holds them all. */
export function alike(args: string[], types: ColumnType[]): string[] {
  const common = commonOf(types)
  return args.map((arg, i) => castTo(common, arg, types[i] ?? common))
}

/** The SQL of values to be compared. DuckDB finds the common type itself, save where a decimal meets a double. */
export function comparable(args: string[], types: ColumnType[]): string[] {
  return commonOf(types).is === 'double' ? alike(args, types) : args
}
