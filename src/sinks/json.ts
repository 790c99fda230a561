/** How a value stands in JSON: in lines of a file, and in messages. */
import type { Column } from '../plan/columns.ts'
import { identifier, sqlText } from '../plan/identifier.ts'

/** The SQL of a column's value, of a type that DuckDB writes as JSON without losing anything. */
export function jsonValueSql({ name, type }: Column): string {
  const value = identifier(name)
  switch (type.is) {
    case 'timestamp':
      return `strftime(${value}, ${sqlText('%Y-%m-%dT%H:%M:%S.%fZ')})`
    case 'decimal':
      // DuckDB writes it by way of a double, which holds 15 digits: one that may have more is a text
      return type.precision > 15 ? `${value}::varchar` : value
    case 'text':
    case 'boolean':
    case 'integer':
    case 'double':
    case 'json':
    case 'list':
      return value
  }
}
