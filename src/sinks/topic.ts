/** Rows on their way into a topic: each is a JSON object, as a line of a file would be, with a key that keeps order. */
import type { Column } from '../plan/columns.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import type { TopicStep } from '../plan/plan.ts'
import { jsonValueSql } from './json.ts'

/** The messages of these rows, which have the step's columns, numbered from 1 in arrival order. */
export function messagesSql(step: TopicStep, rows: string): string {
  const fields = step.columns.map((column) => `    ${sqlText(column.name)}, ${jsonValueSql(column)}`)
  return `select
  ${sqlText(step.id)} as step,
  ${sqlText(step.topic)} as topic,
  row_number() over (order by _row) as n,
  ${keySql(step)} as key,
  json_object(
${fields.join(',\n')}
  )::varchar as value
from (
${rows}
)
order by _row`
}

// As JSON, for a text of Postgres cannot hold U+0000: the text of one column, or a list of the texts of several. A key
// whose only column is null is no key.
function keySql({ key, columns }: TopicStep): string {
  const texts = key.flatMap((name) => columns.filter((column) => column.name === name).map(keyTextSql))
  if (texts.length === 0) return 'null'
  if (texts.length === 1) return `to_json(${texts[0]})::varchar`
  return `to_json(to_json([${texts.join(', ')}])::varchar)::varchar`
}

function keyTextSql(column: Column): string {
  return column.type.is === 'list'
    ? `to_json(${identifier(column.name)})::varchar`
    : `(${jsonValueSql(column)})::varchar`
}
