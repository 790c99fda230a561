/** What a batch asks to be done behind its commit: one request for each key of a task. */
import { printDuckdb } from '../functions/print.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import type { EnqueueStep } from '../plan/plan.ts'
import { jsonValueSql } from './json.ts'

/** The requests of these rows, which have the step's columns. A row without a key asks for nothing. */
export function requestsSql(step: EnqueueStep, rows: string): string {
  const { task, key, when, columns } = step
  const [column] = columns.filter(({ name }) => name === key)
  const asked = when === undefined ? '' : `\nand ${printDuckdb(when, columns)}`
  return `select distinct
  ${sqlText(task)} as task,
  ${column === undefined ? 'null' : `(${jsonValueSql(column)})::varchar`} as key
from (${rows})
where ${identifier(key)} is not null${asked}`
}
