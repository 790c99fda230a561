/**
 * Validation as Spark's SQL: the same forms, the same rules, in the same order as in DuckDB, and so the same reasons. Each
 * failure stands where its counterpart does in `failuresOf`, whose codes and messages it has.
 */
import { printSpark } from '../functions/print-spark.ts'
import { sparkMatches, sparkName, sparkText, sparkType } from '../functions/spark-type.ts'
import {
  epochMs,
  failuresOf,
  formOf,
  iso8601,
  looseIso8601,
  type ReasonCode,
  takesEpoch,
} from '../operators/validate.ts'
import type { Column, ColumnType } from '../plan/columns.ts'
import type { Rule, ValidateStep } from '../plan/plan.ts'

/** What a row was read from: beside its texts, under their own names. */
export const origin = { file: '_file', raw: '_raw', malformed: '_malformed', about: '_about' } as const

export interface SparkFailure {
  code: ReasonCode | (string & {})
  column: string | null
  message: string
  when: string
}

const none: ReadonlySet<string> = new Set()

/** The reasons for which a row can become a dead letter, numbered from 1 as `_failed` does. */
export function sparkFailures(step: ValidateStep, typed = none): SparkFailure[] {
  const conditions = [
    ...step.columns.flatMap((column) =>
      columnConditions(column, step.rules[column.name] ?? [], typed.has(column.name)),
    ),
    ...step.checks.map(({ where }) => `not coalesce(${printSpark(where, step.columns)}, false)`),
  ]
  const failures = failuresOf(step)
  if (failures.length !== conditions.length) throw new Error('a rule of validation is missing on Spark')
  return failures.map(({ code, column, message }, i) => ({ code, column, message, when: conditions[i] ?? '' }))
}

/**
 * All rows with their values, their texts as `<name>~`, and `_failed`: 0 of a row that could not be cut. Columns that are
 * `typed` come so: to make their texts and read them again would be most of the work.
 */
export function checkedSql(step: ValidateStep, staged: string, typed = none): string {
  const failures = sparkFailures(step, typed).flatMap(({ when }, i) =>
    when === never ? [] : [`    when ${when} then ${i + 1}`],
  )
  const columns = step.columns.flatMap((column) => {
    const name = sparkName(column.name)
    if (column.type.is === 'text') return [name]
    if (typed.has(column.name)) return [name, rawName(column.name)]
    return [`${typedSql(column, step.rules[column.name] ?? [])} as ${name}`, `${name} as ${rawName(column.name)}`]
  })
  return `select
  *,
  -- the number of the first rule the row breaks
  case
    when ${origin.malformed} is not null then 0
${failures.join('\n')}
  end as _failed
from (
  select
    ${[...Object.values(origin), ...columns].join(',\n    ')}
  from ${staged}
)`
}

export function goodSql(step: ValidateStep, checked: string): string {
  const time = step.eventTime === undefined ? [] : [`${sparkName(step.eventTime.column)} as _time`]
  return `select ${[...time, ...step.columns.map(({ name }) => sparkName(name))].join(', ')}\nfrom ${checked}\nwhere _failed is null`
}

/** The dead letters of a step, in the columns of `millrace.dead_letters`, with a number that tells them apart. */
export function deadLettersSql(step: ValidateStep, checked: string, says: Record<string, string>): string {
  const columns = letterColumns(step, says).map(({ name, value }) => `  ${value} as ${name}`)
  return `select
  monotonically_increasing_id() as _n,
${columns.join(',\n')}
from ${checked}
where _failed is not null`
}

/** What a dead letter has in each of its columns, of a row that has failed. */
export function letterColumns(step: ValidateStep, says: Record<string, string>): { name: string; value: string }[] {
  const failures = sparkFailures(step)
  const of = (value: (failure: SparkFailure) => string): string =>
    failures.length === 0
      ? 'cast(null as string)'
      : `case _failed\n${failures.map((failure, i) => `    when ${i + 1} then ${value(failure)}`).join('\n')}\n  end`
  const message = ({ message, column }: SparkFailure): string =>
    column === null || !message.includes('{value}')
      ? sparkText(message)
      : `replace(${sparkText(message)}, '{value}', coalesce(left(${textOf(step, column)}, 200), ''))`
  const reasons = Object.entries(says).map(([code, text]) => `when ${sparkText(code)} then ${sparkText(text)}`)
  const fields = step.columns.flatMap(({ name }) => [sparkText(name), textOf(step, name)])
  const read = '_failed = 0'
  const about = of(({ column }) => (column === null ? 'cast(null as string)' : sparkText(column)))
  return [
    { name: 'source', value: sparkText(step.from[0] ?? '') },
    { name: 'place', value: origin.file },
    { name: 'line', value: 'cast(null as bigint)' },
    { name: 'stage', value: `if(${read}, 'read', ${sparkText(step.id)})` },
    { name: 'code', value: `if(${read}, ${origin.malformed}, ${of(({ code }) => sparkText(code))})` },
    { name: 'column_name', value: `if(${read}, ${origin.about}, ${about})` },
    {
      name: 'message',
      value: `if(${read}, concat(coalesce(concat('"', ${origin.about}, '": '), ''), case ${origin.malformed} ${reasons.join(' ')} end), ${of(message)})`,
    },
    { name: 'raw', value: storableRaw },
    {
      name: 'raw_bytes',
      value: `case when contains(${origin.raw}, chr(0)) or not is_valid_utf8(${origin.raw}) then concat('\\\\x', lower(hex(cast(${origin.raw} as binary)))) end`,
    },
    {
      name: 'fields',
      value: `if(${read}, cast(null as string), to_json(named_struct(${fields.join(', ')}), map('ignoreNullFields', 'false')))`,
    },
  ]
}

/** What no text holds: a NUL is written out, and of other bytes the text has a mark. A message may have no value. */
export const storableRaw = `replace(make_valid_utf8(coalesce(${origin.raw}, '')), chr(0), '\\\\x00')`

/** The text of a column as it was read. */
export function textOf(step: ValidateStep, name: string): string {
  const column = step.columns.find((each) => each.name === name)
  return column === undefined || column.type.is === 'text' ? sparkName(name) : rawName(name)
}

/** The text of a column that is parsed; a text column is its own. */
export function rawName(column: string): string {
  return sparkName(`${column}~`)
}

function typedSql({ name, type }: Column, rules: Rule[]): string {
  const text = sparkName(name)
  const form = formOf(type)
  switch (type.is) {
    case 'text':
    case 'json':
      return text
    case 'boolean':
      return `case lower(${text}) when 'true' then true when 'false' then false end`
    case 'list':
      return listSql(text)
    case 'timestamp': {
      const iso = `when ${sparkMatches(text, iso8601)} then try_cast(${withSeconds(text)} as timestamp)`
      const epoch = takesEpoch(rules)
        ? ` when ${sparkMatches(text, epochMs)} then timestamp_millis(cast(${text} as bigint))`
        : ''
      return `case ${iso}${epoch} end`
    }
    case 'integer':
    case 'decimal':
    case 'double':
      return `case when ${sparkMatches(text, form ?? '')} then try_cast(${text} as ${sparkType(type)}) end`
  }
}

// Spark reads no time without seconds that has an offset.
function withSeconds(text: string): string {
  return `if(substring(${text}, 17, 1) = ':', ${text}, concat(left(${text}, 16), ':00', substring(${text}, 17)))`
}

// A list of texts and nothing else; a null in it is no text.
function listSql(text: string): string {
  const json = `try_parse_json(${text})`
  const list = `cast(${json} as array<string>)`
  return `case when schema_of_variant(${json}) in ('ARRAY<STRING>', 'ARRAY<VOID>') and not exists(${list}, _e -> _e is null) then ${list} end`
}

const never = 'false'

function columnConditions({ name, type, nullable }: Column, rules: Rule[], typed: boolean): string[] {
  const value = sparkName(name)
  if (typed) return typedConditions(value, type, nullable, rules)
  const text = type.is === 'text' ? value : rawName(name)
  const form = formOf(type)
  const unparsed = `${value} is null and ${text} is not null`
  const otherForm = form === undefined ? unparsed : `${value} is null and not ${sparkMatches(text, form)}`
  const conditions: string[] = []
  if (!nullable) conditions.push(`${text} is null`)
  switch (type.is) {
    case 'text':
      break
    case 'integer':
      conditions.push(otherForm, unparsed)
      break
    case 'decimal':
      conditions.push(`${otherForm} and ${sparkMatches(text, '[+-]?[0-9]+\\.[0-9]+')}`, otherForm, unparsed)
      break
    case 'double':
      conditions.push(otherForm, `(${value} is null or not abs(${value}) < double('infinity')) and ${text} is not null`)
      break
    case 'timestamp':
      if (takesEpoch(rules))
        conditions.push(
          `${otherForm} and not ${sparkMatches(text, epochMs)} and not ${sparkMatches(text, looseIso8601)}`,
        )
      conditions.push(`${otherForm} and ${sparkMatches(text, looseIso8601)}`, otherForm, unparsed, isOutOfTime(value))
      break
    case 'boolean':
      conditions.push(`lower(${text}) not in ('true', 'false')`)
      break
    case 'list':
      conditions.push(unparsed, hasEscapedNul(text))
      break
    case 'json':
      conditions.push(`${text} is not null and try_parse_json(${text}) is null`, hasEscapedNul(text))
      break
  }
  for (const rule of rules) conditions.push(...ruleConditions(value, type, rule))
  return conditions
}

// As many as above. A value has the form of its type, but for times that the form cannot say.
function typedConditions(value: string, type: ColumnType, nullable: boolean, rules: Rule[]): string[] {
  const conditions = nullable ? [] : [`${value} is null`]
  switch (type.is) {
    case 'integer':
      conditions.push(never, never)
      break
    case 'decimal':
      conditions.push(never, never, never)
      break
    case 'timestamp':
      if (takesEpoch(rules)) conditions.push(isOutOfTime(value))
      conditions.push(never, isOutOfTime(value), never, never)
      break
    case 'boolean':
      conditions.push(never)
      break
  }
  for (const rule of rules) conditions.push(...ruleConditions(value, type, rule))
  return conditions
}

function isOutOfTime(value: string): string {
  return `${value} < timestamp '0001-01-01 00:00:00Z' or ${value} >= timestamp '+10000-01-01 00:00:00Z'`
}

// A \u0000 whose backslash is not itself escaped.
function hasEscapedNul(text: string): string {
  return `(${text} rlike ${sparkText('(^|[^\\\\])(\\\\\\\\)*\\\\u0000')})`
}

function ruleConditions(value: string, type: ColumnType, rule: Rule): string[] {
  const limit = (at: string | number): string => {
    if (type.is === 'timestamp') return `timestamp ${sparkText(String(at))}`
    return type.is === 'double' ? `cast('${at}' as double)` : String(at)
  }
  switch (rule.rule) {
    case 'or epoch milliseconds':
      return []
    case 'not empty':
      return [`${value} = ''`]
    case 'one of':
      return [`${value} not in (${rule.values.map(sparkText).join(', ')})`]
    case 'at least':
      return [`${value} < ${limit(rule.value)}`]
    case 'at most':
      return [`${value} > ${limit(rule.value)}`]
    case 'length at most':
      return [`length(${value}) > ${rule.characters}`]
  }
}
