/** A plan on Spark in words and SQL: what `explain --engine spark` says, without a server. */
import { sparkName } from '../functions/spark-type.ts'
import { type Plan, planHash } from '../plan/plan.ts'
import { mergeSql } from '../store/merge-sql.ts'
import { cutOf, type SparkCut } from './cut.ts'
import { refusals, sparkPlan, textsName } from './plan-sql.ts'
import { messagesOf, prefixOf } from './prefix.ts'
import { keepSql, sessionSettings } from './settings.ts'
import { textsSql } from './source-sql.ts'

export interface SparkExplanation {
  pipeline: string
  hash: string
  /** Why a bounded run is refused; none where it is not. */
  refused: string[]
  settings: Record<string, string>
  views: { name: string; sql: string; kept: boolean }[]
  counts: string[]
  tables: { table: string; sql: string; merge: string }[]
  dead_letters: string[]
  streaming: SparkCut & {
    queries: { source: string; topic: string; views: { name: string; sql: string }[]; sql: string }[]
  }
}

/** `notThere` is why its system stays off Spark, where it does. */
export function explainSpark(plan: Plan, notThere?: string): SparkExplanation {
  const refused = notThere === undefined ? refusals(plan) : [notThere]
  const explanation: SparkExplanation = {
    pipeline: plan.name,
    hash: planHash(plan),
    refused,
    settings: { ...sessionSettings },
    views: [],
    counts: [],
    tables: [],
    dead_letters: [],
    streaming: { ...cutOf(plan), ...(notThere === undefined ? {} : { refused: notThere }), queries: [] },
  }
  if (explanation.streaming.refused === undefined) explanation.streaming.queries = queriesOf(plan)
  if (refused.length > 0) return explanation
  for (const [id, source] of Object.entries(plan.sources)) {
    const format = source.is === 'files' ? source.format : ({ is: 'json lines' } as const)
    const input = { source: id, format, paths: ['<input>'] }
    const lines = '(select _metadata.file_path as _file, value from text.`<input>`)'
    explanation.views.push({ name: textsName(id), sql: textsSql(source, input, lines, '<batch>'), kept: false })
  }
  const made = sparkPlan(plan)
  explanation.views.push(...made.views.map(({ name, select, kept }) => ({ name, sql: select, kept })))
  explanation.counts = made.counts.map(({ select }) => select)
  explanation.dead_letters = made.deadLetters
  explanation.tables = made.tables.map(({ step, select }) => ({
    table: step.table,
    sql: select,
    merge: mergeSql(step, `millrace_staging."<run> ${step.id}"`),
  }))
  return explanation
}

function queriesOf(plan: Plan): SparkExplanation['streaming']['queries'] {
  return Object.entries(plan.sources).flatMap(([id, source]) => {
    if (source.is !== 'topic') return []
    const { views, select } = prefixOf(plan, id, source, messagesOf(id), sparkName(`${id} lines`))
    const told = views.map(({ name, select: sql }) => ({ name, sql }))
    return [{ source: id, topic: source.topic, views: told, sql: select }]
  })
}

/** The explanation as a person reads it in a terminal. */
export function sparkExplanationText(explanation: SparkExplanation): string {
  const { pipeline, hash, refused, settings, views, counts, tables, dead_letters, streaming } = explanation
  const lines = [`${pipeline} on Spark  (plan ${hash})`, '', 'a bounded run: millrace run --engine spark']
  const sql = (text: string): string[] => [...text.split('\n').map((line) => `    ${line}`), '']
  if (refused.length > 0) lines.push(...refused.map((why) => `  refused: ${why}`), '')
  else {
    lines.push('', '  the session')
    lines.push(...Object.entries(settings).map(([name, value]) => `    set ${name} = ${value}`), '')
    for (const view of views) {
      lines.push(...sql(`create temporary view ${view.name} as\n${view.sql}`))
      if (view.kept) lines.push(...sql(keepSql(view.name)))
    }
    for (const { table, sql: select, merge } of tables) {
      lines.push(
        `  into the table ${table}, beside it and then in one transaction with all others`,
        ...sql(select),
        ...sql(merge),
      )
    }
    for (const letters of dead_letters) lines.push('  dead letters', ...sql(letters))
    lines.push('  the books')
    for (const count of counts) lines.push(...sql(count))
  }
  lines.push('a stream: millrace work --engine spark')
  if (streaming.refused !== undefined) lines.push(`  refused: ${streaming.refused}`)
  else {
    lines.push(
      `  on Spark: ${streaming.onSpark.join(', ')}`,
      `  here: ${streaming.here.join(', ')}`,
      `  the cut: ${streaming.why}`,
    )
    for (const { source, topic, views: own, sql: select } of streaming.queries) {
      lines.push('', `  a query of ${source}: messages of ${topic}; with --input files of a folder`)
      for (const { name, sql: text } of own) lines.push(...sql(`create temporary view ${name} as\n${text}`))
      lines.push('  as Parquet, of which the worker here takes what the manifest names', ...sql(select))
    }
  }
  return lines.join('\n').trimEnd()
}
