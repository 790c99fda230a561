/** A plan in words and SQL: its steps, the columns between them, and what each becomes in DuckDB and in the store. */
import { operators } from '../operators/index.ts'
import { pairsSays } from '../operators/pairs.ts'
import { totalSays } from '../operators/total.ts'
import { failuresOf } from '../operators/validate.ts'
import { type Column, typeName } from '../plan/columns.ts'
import { identifier } from '../plan/identifier.ts'
import { type Plan, planHash, type Source, type Step } from '../plan/plan.ts'
import { requestsSql } from '../sinks/enqueue.ts'
import { writeFileSql } from '../sinks/files.ts'
import { copySql, createTableSql } from '../sinks/table.ts'
import { messagesSql } from '../sinks/topic.ts'
import { mergeSql } from '../store/merge-sql.ts'
import { createSql, relationNames, relationsOf } from './relations.ts'

export interface Explanation {
  pipeline: string
  hash: string
  sources: { id: string; says: string; columns: ExplainedColumn[] }[]
  steps: ExplainedStep[]
}

export interface ExplainedColumn {
  name: string
  type: string
  nullable: boolean
}

export interface ExplainedStep {
  id: string
  op: Step['op']
  from: string[]
  says: string
  columns: ExplainedColumn[]
  /** Why a row can become a dead letter here: code, column, message. */
  reasons: { code: string; column: string | null; message: string }[]
  duckdb: string[]
  /** How the rows meet the target: SQL for Postgres. */
  store: string[]
}

export function explain(plan: Plan): Explanation {
  const names = relationNames(plan, identifier(`${plan.name} n`))
  return {
    pipeline: plan.name,
    hash: planHash(plan),
    sources: Object.entries(plan.sources).map(([id, source]) => ({
      id,
      says: sourceInWords(source),
      columns: source.columns.map(explained),
    })),
    steps: plan.steps.map((step) => ({
      id: step.id,
      op: step.op,
      from: step.from,
      says: stepInWords(step),
      columns: step.columns.map(explained),
      reasons:
        step.op === 'validate' ? failuresOf(step).map(({ code, column, message }) => ({ code, column, message })) : [],
      duckdb: [
        ...relationsOf(plan, step, names).map(createSql),
        ...(step.op === 'table'
          ? [`copy (\n${copySql(step, names.of(step.id), step.mode.is === 'upsert')}\n) to '<spool>.csv' (format csv)`]
          : []),
        ...(step.op === 'files'
          ? [writeFileSql(step, `select * from ${names.of(step.from[0] ?? '')}`, '<folder>/<day>/<batch>', true)]
          : []),
        ...(step.op === 'topic'
          ? [
              `copy (\n${messagesSql(step, `select * from ${names.of(step.from[0] ?? '')}`)}\n) to '<spool>.csv' (format csv)`,
            ]
          : []),
        ...(step.op === 'enqueue'
          ? [
              `copy (\n${requestsSql(step, `select * from ${names.of(step.from[0] ?? '')}`)}\n) to '<spool>.csv' (format csv)`,
            ]
          : []),
      ],
      store: step.op === 'table' ? [createTableSql(step), mergeSql(step)] : [],
    })),
  }
}

function explained({ name, type, nullable }: Column): ExplainedColumn {
  return { name, type: typeName(type), nullable }
}

function sourceInWords(source: Source): string {
  switch (source.is) {
    case 'files':
      return `files of the format ${source.format.is} in ${source.folder}`
    case 'topic':
      return `the topic ${source.topic}`
  }
}

function stepInWords(step: Step): string {
  switch (step.op) {
    case 'validate':
      return operators.validate.says(step)
    case 'select':
      return operators.select.says(step)
    case 'filter':
      return operators.filter.says(step)
    case 'dedup':
      return operators.dedup.says(step)
    case 'table':
      switch (step.mode.is) {
        case 'append':
          return `adds every row to the table ${step.table}`
        case 'insert if new':
          return `adds the first row of each ${step.mode.key.join(', ')} to the table ${step.table}; repeats are duplicates`
        case 'upsert':
          return `writes the last row of each ${step.mode.key.join(', ')} to the table ${step.table}`
      }
      break
    case 'window': {
      const each = step.sizeMs === step.slideMs ? '' : `, one every ${inWords(step.slideMs)}`
      const when = step.emit.on === 'close' ? 'when they are closed' : 'as they change, and when they are closed'
      return `gathers rows of each ${step.by.join(', ')} into windows of ${inWords(step.sizeMs)}${each}, and hands them on ${when}`
    }
    case 'pairs':
      return pairsSays(step)
    case 'total':
      return totalSays(step)
    case 'anomalies':
      return `judges ${step.of.map(({ column }) => column).join(', ')} of each closed window by the ${step.over} of its ${step.by.join(', ')} before it: ${step.threshold} deviations from their mean are told`
    case 'files': {
      const rows = step.landedIn === undefined ? 'all rows' : 'the rows that the table took'
      return `writes ${rows} of each batch as a file of the format ${step.format.is} into ${step.folder}`
    }
    case 'topic': {
      const rows = step.landedIn === undefined ? 'all rows' : 'the rows that the table took'
      const key = step.key.length === 0 ? '' : `, with ${step.key.join(', ')} as the key`
      return `publishes ${rows} of each batch as messages to the topic ${step.topic}${key}`
    }
    case 'enqueue':
      return `asks for the task ${step.task} for each ${step.key}${step.when === undefined ? '' : ' of some rows'}, once it is committed`
  }
}

function inWords(ms: number): string {
  if (ms % 60_000 === 0) return ms === 60_000 ? 'a minute' : `${ms / 60_000} minutes`
  return ms % 1000 === 0 ? (ms === 1000 ? 'a second' : `${ms / 1000} seconds`) : `${ms} ms`
}

/** The explanation as a person reads it in a terminal. */
export function explanationText(explanation: Explanation): string {
  const lines = [`${explanation.pipeline}  (plan ${explanation.hash})`, '']
  for (const { id, says, columns } of explanation.sources)
    lines.push(`source ${id}: ${says}`, ...columnLines(columns), '')
  for (const step of explanation.steps) {
    lines.push(`step ${step.id} (${step.op}) from ${step.from.join(', ')}: ${step.says}`, ...columnLines(step.columns))
    if (step.reasons.length > 0) {
      lines.push('  a row becomes a dead letter when')
      for (const { code, column, message } of step.reasons)
        lines.push(`    ${code.padEnd(18)} ${column ?? 'row'}: ${message}`)
    }
    lines.push('  in DuckDB', ...step.duckdb.flatMap((sql) => [...indented(sql), '']))
    if (step.store.length > 0) lines.push('  in Postgres', ...step.store.flatMap((sql) => [...indented(sql), '']))
  }
  return lines.join('\n').trimEnd()
}

function columnLines(columns: ExplainedColumn[]): string[] {
  const width = Math.max(...columns.map(({ name }) => name.length))
  return columns.map(({ name, type, nullable }) => `  ${name.padEnd(width)}  ${type}${nullable ? ', may be null' : ''}`)
}

function indented(sql: string): string[] {
  return sql.split('\n').map((line) => `    ${line}`)
}
