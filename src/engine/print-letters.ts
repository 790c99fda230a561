/** The dead letters of a batch, printed for Postgres: what could not be cut or read, broke a rule, or no table takes. */
import { MillraceError } from '../errors.ts'
import { columnSql, deadLettersSql, failuresOf } from '../operators/validate.ts'
import { lateName, unfitName } from '../operators/window.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import { type Plan, type Step, type TableStep, takesInputRows } from '../plan/plan.ts'
import { keyTooLongName, refusedName } from '../sinks/table.ts'
import type { Where } from '../sources/source.ts'
import { deadLetterColumns, lateColumns } from '../store/store.ts'
import type { Batch, BatchTools } from './batch.ts'
import { failedRows, rowsOf } from './books.ts'
import type { Printed } from './printing.ts'

export async function printDeadLetters(tools: BatchTools, batch: Batch): Promise<Printed | undefined> {
  const { plan, session } = tools
  const selects: string[] = []
  const { fetchRaw } = batch.range
  const rawOf = async (rows: string) => fetchRaw?.(session, batch.names.staged, rows)
  if (batch.range.malformedSelect !== undefined) selects.push(batch.range.malformedSelect)
  for (const step of plan.steps) {
    if (step.op === 'validate' && failuresOf(step).length > 0) {
      const failed = failedRows(batch.names)
      if ((await rowsOf(session, batch, failed)) === 0) continue
      await rawOf(`select _row from ${failed}`)
      const letters = deadLettersSql(step, batch.names.staged, { source: step.from[0] ?? '', ...batch.range.where })
      selects.push(`select ${deadLetterColumns.join(', ')} from (\n${letters}\n)`)
    }
    if (step.op === 'table' && step.mode.is !== 'append') {
      const long = keyTooLongName(batch.names.of(step.id))
      if ((await rowsOf(session, batch, long)) > 0) {
        if (takesInputRows(plan, step)) await rawOf(`select _row from ${long}`)
        selects.push(lettersSql(plan, batch, step, keyTooLongSql(step, long)))
      }
    }
    if (step.op === 'table' && batch.names.refused.has(step.id)) {
      const refused = refusedName(batch.names.of(step.id))
      if (takesInputRows(plan, step)) await rawOf(`select _row from ${refused}`)
      selects.push(lettersSql(plan, batch, step, `select * from ${refused}`))
    }
    if (step.op === 'window' && (await rowsOf(session, batch, unfitName(batch.names.of(step.id)))) > 0) {
      const unfit = unfitName(batch.names.of(step.id))
      await rawOf(`select _row from ${unfit}`)
      selects.push(unfitSql(plan, batch, step, `select * from ${unfit}`))
    }
  }
  if (selects.length === 0) return undefined
  return batch.printing.add({
    name: `${batch.place.name}-dead`,
    select: `select ${deadLetterColumns.join(', ')}\nfrom (\n${selects.join('\nunion all by name\n')}\n)${batch.range.long ? '' : '\norder by place, line'}`,
    columns: deadLetterColumns,
    quoted: ['source', 'place', 'stage', 'code', 'column_name', 'message', 'raw', 'raw_bytes', 'fields'],
  })
}

function lettersSql(plan: Plan, batch: Batch, step: TableStep, rows: string): string {
  return takesInputRows(plan, step) ? unfitSql(plan, batch, step, rows) : madeSql(batch, step, rows)
}

// Of a row that a window has made there is no text that it was read from: it is told as JSON.
function madeSql({ names, plan }: Batch, step: TableStep, rows: string): string {
  const columns = step.columns.map(({ name }) => `${sqlText(name)}, m.${identifier(name)}`)
  return `select
  ${sqlText(step.from[0] ?? '')} as source,
  ${sqlText(`${plan.name}/${step.from[0] ?? ''}`)} as place,
  null::bigint as line,
  ${sqlText(step.id)} as stage,
  l.code,
  l.column_name,
  l.message,
  json_object(${columns.join(', ')})::varchar as raw,
  null as raw_bytes,
  null as fields
from (${rows}) l
join ${names.of(step.from[0] ?? '')} m using (_row)`
}

/** The late rows of a batch that are kept; a step may also drop them, or not go on. */
export async function printLateRows(tools: BatchTools, batch: Batch): Promise<Printed | undefined> {
  const { plan, session } = tools
  const { where, fetchRaw } = batch.range
  const selects: string[] = []
  for (const step of plan.steps) {
    if (step.op !== 'window' && step.op !== 'pairs') continue
    const late = lateName(batch.names.of(step.id))
    const rows = await rowsOf(session, batch, late)
    if (rows === 0) continue
    if (step.late === 'fail') {
      throw new MillraceError('LATE_ROW', {
        at: `${plan.name} / ${step.id}`,
        message: `${rows} rows are late, and this step is told to stop at one`,
        hint: `let it go on with late: 'keep' or late: 'drop', or raise outOfOrder`,
      })
    }
    if (step.late === 'drop') continue
    await fetchRaw?.(session, batch.names.staged, `select _row from ${late}`)
    selects.push(`(select
  ${sqlText(step.id)} as step,
  concat(${where.place}, case when ${where.line} is null then '' else ':' || ${where.line} end) as place,
  make_timestamp(epoch_us(l._time))::varchar || '+00' as event_time,
  make_timestamp(epoch_us(l._window_start))::varchar || '+00' as window_start,
  l._late_by_ms as late_by_ms,
  ${where.rawText} as raw
from ${late} l
join ${batch.names.staged} s using (_row)
${where.join}
order by l._row)`)
  }
  if (selects.length === 0) return undefined
  return batch.printing.add({
    name: `${batch.place.name}-late`,
    select: selects.join('\nunion all\n'),
    columns: lateColumns,
    quoted: ['step', 'place', 'raw'],
  })
}

// The dead letters of rows that a step cannot take, of which a select says `_row`, `code`, `column_name` and `message`.
function unfitSql(plan: Plan, batch: Batch, step: Step, rows: string): string {
  const { where, source = '' } = batch.range
  return `select
  ${sqlText(source)} as source,
  ${where.place} as place,
  ${where.line} as line,
  ${sqlText(step.id)} as stage,
  l.code,
  l.column_name,
  l.message,
  ${where.rawText} as raw,
  null as raw_bytes,
  ${fieldsSql(plan, source, where)} as fields
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

function fieldsSql(plan: Plan, source: string, where: Where): string {
  const columns = plan.sources[source]?.columns ?? []
  return `json_object(${columns.map(({ name }) => `${sqlText(name)}, ${columnSql(where, name)}`).join(', ')})`
}
