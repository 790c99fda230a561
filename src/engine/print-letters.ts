/** The dead letters of a batch, printed for Postgres: what could not be cut or read, broke a rule, or no table takes. */
import { deadLettersSql, failuresOf } from '../operators/validate.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import type { Plan, TableStep } from '../plan/plan.ts'
import { keyTooLongName, refusedName } from '../sinks/table.ts'
import { deadLetterColumns } from '../store/store.ts'
import type { Batch, BatchTools } from './batch.ts'
import { type Printed, printRows } from './row-file.ts'

export async function printDeadLetters(tools: BatchTools, batch: Batch): Promise<Printed | undefined> {
  const { plan, session } = tools
  const selects: string[] = []
  const { fetchRaw } = batch.range
  const rawOf = async (rows: string) => fetchRaw?.(batch.names.staged, rows)
  if (batch.range.malformedSelect !== undefined) selects.push(batch.range.malformedSelect)
  for (const step of plan.steps) {
    if (step.op === 'validate' && failuresOf(step).length > 0) {
      await rawOf(`select _row from ${batch.names.staged} where _failed is not null`)
      const letters = deadLettersSql(step, batch.names.staged, { source: step.from[0] ?? '', ...batch.range.where })
      selects.push(`select ${deadLetterColumns.join(', ')} from (\n${letters}\n)`)
    }
    if (step.op === 'table' && step.mode.is !== 'append') {
      const long = keyTooLongName(batch.names.of(step.id))
      if ((await session.count(long)) > 0) {
        await rawOf(`select _row from ${long}`)
        selects.push(unfitSql(plan, batch, step, keyTooLongSql(step, long)))
      }
    }
    if (step.op === 'table' && batch.names.refused.has(step.id)) {
      const refused = refusedName(batch.names.of(step.id))
      await rawOf(`select _row from ${refused}`)
      selects.push(unfitSql(plan, batch, step, `select * from ${refused}`))
    }
  }
  if (selects.length === 0) return undefined
  const printed = await printRows(session, tools.spool, `${batch.number}-dead`, {
    select: `select ${deadLetterColumns.join(', ')}\nfrom (\n${selects.join('\nunion all by name\n')}\n)${batch.range.long ? '' : '\norder by place, line'}`,
    columns: [...deadLetterColumns],
    quoted: ['source', 'place', 'stage', 'code', 'column_name', 'message', 'raw', 'raw_bytes', 'fields'],
  })
  if (printed.rows > 0) return printed
  await printed.release()
  return undefined
}

// The dead letters of rows that a table cannot take, of which a select says `_row`, `code`, `column_name` and `message`.
function unfitSql(plan: Plan, batch: Batch, step: TableStep, rows: string): string {
  const { where } = batch.range
  return `select
  ${sqlText(Object.keys(plan.sources)[0] ?? '')} as source,
  ${where.place} as place,
  ${where.line} as line,
  ${sqlText(step.id)} as stage,
  l.code,
  l.column_name,
  l.message,
  ${where.rawText} as raw,
  null as raw_bytes,
  ${fieldsSql(plan)} as fields
from (${rows}) l
join ${batch.names.staged} s using (_row)
${where.join}`
}

/** The rows whose key no index can hold, as a select of `_row`, `code`, `column_name` and `message`. */
export function keyTooLongSql(step: TableStep, long: string): string {
  const key = step.mode.is === 'append' ? [] : step.mode.key
  return `select
  _row,
  'KEY_TOO_LONG' as code,
  ${sqlText(key[0] ?? '')} as column_name,
  'the key (${key.join(', ').replaceAll("'", "''")}) has ' || _key_bytes || ' bytes; an index holds 2600' as message
from ${long}`
}

function fieldsSql(plan: Plan): string {
  const columns = Object.values(plan.sources)[0]?.columns ?? []
  return `json_object(${columns.map(({ name }) => `${sqlText(name)}, s.${identifier(name)}`).join(', ')})`
}
