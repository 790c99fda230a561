/**
 * Texts become typed values, strictly: what is not plainly a value of its type is a dead letter, never a guess.
 * All columns are tried in one pass; the first failure of a row, in column order, is the one reported.
 */
import { duckdbType, printDuckdb } from '../functions/print.ts'
import type { Column, ColumnType } from '../plan/columns.ts'
import { identifier, sqlText } from '../plan/identifier.ts'
import type { Rule, ValidateStep } from '../plan/plan.ts'
import { beside, type Operator } from './operator.ts'

/** Why a row can fail, in the order the reasons are tried. `{value}` in the message is the column's text. */
export interface Failure {
  code: ReasonCode | (string & {})
  column: string | null
  message: string
  /** SQL over the typed columns, and the texts under `raw(...)`; true when the row fails. */
  when: string
}

/** Codes of dead letters, and what each means. Row checks of a pipeline add their own. */
export const reasons = {
  // found while cutting rows out of bytes
  TOO_FEW_FIELDS: 'the row has fewer fields than there are columns',
  TOO_MANY_FIELDS: 'the row has more fields than there are columns',
  UNCLOSED_QUOTE: 'a quoted field does not end',
  STRAY_QUOTE: 'something other than a delimiter follows a closing quote',
  INVALID_UTF8: 'the row is not valid UTF-8',
  NUL_BYTE: 'the row has a NUL byte, which text in Postgres cannot hold',
  ROW_TOO_LONG: 'the row is longer than 32 MiB, or takes more memory than MEMORY_LIMIT allows',
  NO_VALUE: 'the message has no value',
  NOT_JSON: 'the text is not JSON',
  NOT_AN_OBJECT: 'the line is JSON, but no object',
  DUPLICATE_KEY: 'the key comes more than once',
  UNKNOWN_COLUMN: 'the source has no such column',
  WRONG_TYPE: 'the value is an object or a list, and the column holds texts',
  TOO_DEEP: 'the JSON is nested deeper than 500 levels',
  LONE_SURROGATE: 'the text has half of a UTF-16 pair, which is no character',
  // found by validation
  MISSING: 'a value that must be there is absent',
  EMPTY: 'a text that must not be empty is empty',
  NOT_ONE_OF: 'the text is not one of those allowed',
  TOO_LONG: 'the text is longer than allowed',
  NOT_A_NUMBER: 'the text is not a number',
  NOT_AN_INTEGER: 'the text is not a whole number',
  TOO_MANY_DECIMALS: 'the number has more decimals than the column holds, and is not rounded',
  OUT_OF_RANGE: 'the value does not fit the column',
  BELOW_MINIMUM: 'the value is below the smallest allowed',
  ABOVE_MAXIMUM: 'the value is above the largest allowed',
  NOT_A_TIMESTAMP: 'the text is not a date and time in ISO 8601',
  NOT_A_BOOLEAN: 'the text is neither true nor false',
  NOT_A_LIST: 'the value is not a list of texts',
  // found at the sink
  KEY_TOO_LONG: 'the key is longer than an index can hold',
  REFUSED: 'the database refused the row',
} as const

export type ReasonCode = keyof typeof reasons

export const validate: Operator<ValidateStep> = {
  says: (step) =>
    `parses ${step.columns.length} columns strictly and checks their rules; a row that fails is a dead letter`,
  state: 'none',
  verdict: 'dead',
  relations(step, { input, out, lacks = [] }) {
    const failures = failuresOf(step)
    const parsed = step.columns.filter(isParsed)
    const typed = parsed.map(
      (column) => `    ${typedSql(column, step.rules[column.name] ?? [])} as ${identifier(column.name)}`,
    )
    const texts = parsed.map(({ name }) => `    ${identifier(name)} as ${raw(name)}`)
    const names = step.columns.flatMap(({ name }) => (lacks.includes(name) ? [] : [identifier(name)]))
    const time = step.eventTime === undefined ? '' : `, ${identifier(step.eventTime.column)} as _time`
    const failed =
      failures.length === 0
        ? 'null::smallint'
        : `case\n${failures.map((failure, i) => `    when ${failure.when} then ${i + 1}`).join('\n')}\n  end::smallint`
    return [
      {
        name: checkedName(out),
        as: 'table',
        select: `with parsed as (
  select
    ${[`*${without(parsed.map(({ name }) => identifier(name)))}`, ...[...typed, ...texts].map((sql) => sql.trim())].join(',\n    ')}
  from ${input}
)
select
  *,
  -- the number of the first rule the row breaks
  ${failed} as _failed
from parsed`,
      },
      {
        name: out,
        as: 'view',
        select: `select ${[`_row${time}`, ...names].join(', ')}\nfrom ${checkedName(out)}\nwhere _failed is null`,
      },
    ]
  },
}

/** All that came in, with the values of the columns, their texts as `<name>~`, and the number of the rule a row breaks. */
export function checkedName(out: string): string {
  return beside(out, 'checked')
}

/** The select of the rows as they came in, with the number of the rule they break. */
export function uncheckedSql(step: ValidateStep, out: string): string {
  const parsed = step.columns.filter(isParsed)
  const added = parsed.flatMap(({ name }) => [identifier(name), raw(name)])
  const texts = parsed.map(({ name }) => `, ${raw(name)} as ${identifier(name)}`)
  return `select *${without(added)}${texts.join('')}\nfrom ${checkedName(out)}`
}

function isParsed({ type }: Column): boolean {
  return type.is !== 'text'
}

function without(columns: string[]): string {
  return columns.length === 0 ? '' : ` exclude (${columns.join(', ')})`
}

/** The reasons for which a row of this step can become a dead letter, numbered from 1 as `_failed` does. */
export function failuresOf(step: ValidateStep): Failure[] {
  const failures = step.columns.flatMap((column) => columnFailures(column, step.rules[column.name] ?? []))
  for (const check of step.checks) {
    failures.push({
      code: check.code,
      column: check.column ?? null,
      message: check.message,
      when: `not coalesce(${printDuckdb(check.where, step.columns)}, false)`,
    })
  }
  return failures
}

// The text of a column that is parsed; a text column is its own.
function raw(column: string): string {
  return identifier(`${column}~`)
}

function typedSql(column: Column, rules: Rule[]): string {
  const text = identifier(column.name)
  if (column.type.is === 'text') return text
  if (column.type.is === 'list') return listSql(text)
  const parsed = (value: string): string => `try_cast(${value} as ${duckdbType(column.type)})`
  // nearly all have seconds
  const cast = column.type.is === 'timestamp' ? `coalesce(${parsed(text)}, ${parsed(withSeconds(text))})` : parsed(text)
  const form = formOf(column.type)
  // a text that names a time zone would set it for all later texts of the same vector, so DuckDB is shown none
  if (form === undefined) return cast
  const iso = `when ${matches(text, form)} then ${cast}`
  // its milliseconds as microseconds, if it has few enough digits for a timestamp
  const epoch = takesEpoch(rules) ? ` when ${matches(text, epochMs)} then make_timestamptz(${text}::bigint * 1000)` : ''
  return `case ${iso}${epoch} end`
}

export function takesEpoch(rules: Rule[]): boolean {
  return rules.some(({ rule }) => rule === 'or epoch milliseconds')
}

export const epochMs = '[+-]?[0-9]{1,15}'

/** What a text must look like before it is parsed; engines would take others too, such as 1e3 and 1_000. */
export function formOf(type: ColumnType): string | undefined {
  switch (type.is) {
    case 'integer':
      return '[+-]?[0-9]+'
    case 'decimal':
      return `[+-]?[0-9]+${type.scale === 0 ? '' : `(\\.[0-9]{1,${type.scale}})?`}`
    case 'double':
      return '[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?'
    case 'timestamp':
      return iso8601
    case 'text':
    case 'boolean':
    case 'json':
    case 'list':
      return undefined
  }
}

// DuckDB reads 12:00 and 12:00:00Z, but not 12:00Z.
function withSeconds(text: string): string {
  return `case when substr(${text}, 17, 1) in ('Z', '+', '-') then concat(left(${text}, 16), ':00', substr(${text}, 17)) else ${text} end`
}

function matches(text: string, pattern: string): string {
  return `regexp_full_match(${text}, '${pattern}')`
}

function columnFailures(column: Column, rules: Rule[]): Failure[] {
  const { name, type, nullable } = column
  const value = identifier(name)
  const text = type.is === 'text' ? value : raw(name)
  const failure = (code: ReasonCode, when: string, message: string): Failure => ({ code, column: name, message, when })
  const failures: Failure[] = []
  const form = formOf(type)
  // asked only where there is no value, so that a good text is matched once
  const unparsed = `${value} is null and ${text} is not null`
  const otherForm = form === undefined ? unparsed : `${value} is null and not ${matches(text, form)}`
  if (!nullable) failures.push(failure('MISSING', `${text} is null`, 'the value is missing'))
  switch (type.is) {
    case 'text':
      break
    case 'integer':
      failures.push(failure('NOT_AN_INTEGER', otherForm, '"{value}" is not a whole number'))
      failures.push(failure('OUT_OF_RANGE', unparsed, '"{value}" does not fit 64 bits'))
      break
    case 'decimal':
      failures.push(
        failure(
          'TOO_MANY_DECIMALS',
          `${otherForm} and ${matches(text, '[+-]?[0-9]+\\.[0-9]+')}`,
          `"{value}" has more than ${type.scale} decimals`,
        ),
        failure('NOT_A_NUMBER', otherForm, '"{value}" is not a number in plain digits'),
        failure(
          'OUT_OF_RANGE',
          unparsed,
          `"{value}" has more than ${type.precision - type.scale} digits before the point`,
        ),
      )
      break
    case 'double':
      failures.push(
        failure('NOT_A_NUMBER', otherForm, '"{value}" is not a number'),
        failure(
          'OUT_OF_RANGE',
          `(${value} is null or not isfinite(${value})) and ${text} is not null`,
          '"{value}" does not fit a 64-bit floating-point number',
        ),
      )
      break
    case 'timestamp':
      if (takesEpoch(rules))
        failures.push(
          failure(
            'NOT_A_TIMESTAMP',
            `${otherForm} and not ${matches(text, epochMs)} and not ${matches(text, looseIso8601)}`,
            '"{value}" is neither a date and time in ISO 8601 nor whole milliseconds since 1970',
          ),
        )
      failures.push(
        failure(
          'NOT_A_TIMESTAMP',
          `${otherForm} and ${matches(text, looseIso8601)}`,
          '"{value}" goes past 23:59:59, six decimals of a second, or an offset of 14 hours',
        ),
        failure(
          'NOT_A_TIMESTAMP',
          otherForm,
          '"{value}" is not a date and time in ISO 8601, such as 2026-01-31T12:00:00Z',
        ),
        failure('NOT_A_TIMESTAMP', unparsed, '"{value}" is not a day of the calendar'),
        failure(
          'OUT_OF_RANGE',
          `${value} < timestamptz '0001-01-01 00:00:00+00' or ${value} >= timestamptz '10000-01-01 00:00:00+00'`,
          '"{value}" is outside the years 1 to 9999',
        ),
      )
      break
    case 'boolean':
      failures.push(
        // a regular expression that ignores case would take a long s for an s
        failure('NOT_A_BOOLEAN', `lower(${text}) not in ('true', 'false')`, '"{value}" is neither true nor false'),
      )
      break
    case 'list':
      failures.push(
        failure('NOT_A_LIST', unparsed, '"{value}" is not a list of texts'),
        failure('NUL_BYTE', hasEscapedNul(text), 'the JSON has a NUL character'),
      )
      break
    case 'json':
      failures.push(
        failure('NOT_JSON', `not json_valid(${text}) or ${isLaxJson(text)}`, '"{value}" is not JSON'),
        failure('NUL_BYTE', hasEscapedNul(text), 'the JSON has a NUL character'),
      )
      break
  }
  for (const rule of rules) failures.push(...ruleFailures(column, rule))
  return failures
}

/**
 * Seconds go to 59 and hours to 23: a leap second or 24:00 would be moved to another moment without a word.
 * No place on earth is more than 14 hours from UTC.
 */
export const iso8601 =
  '[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,6})?)?(Z|[+-](0[0-9]|1[0-3])(:?[0-5][0-9])?|[+-]14(:?00)?)?'

/** The same form with any digits. */
export const looseIso8601 =
  '[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\\.[0-9]+)?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?'

// Nearly all are plain: only what is not is read as JSON. A case tries what stands later on the rows that are left alone.
function listSql(text: string): string {
  const plain = '\\["[^"\\\\\\x00-\\x1f]*"(,"[^"\\\\\\x00-\\x1f]*")*\\]'
  const items = `json_extract(${text}, '$[*]')`
  const isList = `json_valid(${text}) and json_type(${text}) = 'ARRAY' and not ${isLaxJson(text)}`
  const isTexts = `coalesce(list_bool_and(list_transform(${items}, lambda item: json_type(item) = 'VARCHAR')), true)`
  return `case
      when ${matches(text, plain)} then string_split(substr(${text}, 3, length(${text}) - 4), '","')
      when ${text} = '[]' then []::varchar[]
      when ${isList} then case when ${isTexts} then ${text}::json::varchar[] end
    end`
}

// What DuckDB takes for JSON and Postgres does not: a comma before a closing bracket, NaN, Infinity. Texts may hold all of
// it, so they are taken out where something was found.
function isLaxJson(text: string): string {
  const lax = `',[ \\t\\r\\n]*[\\]}]|[nN][aA][nN]|[iI][nN][fF]'`
  const withoutTexts = `regexp_replace(${text}, '"([^"\\\\]|\\\\.)*"', '""', 'g')`
  return `(regexp_matches(${text}, ${lax}) and regexp_matches(${withoutTexts}, ${lax}))`
}

// A \u0000 whose backslash is not itself escaped.
function hasEscapedNul(text: string): string {
  return `(contains(${text}, '\\u0000') and regexp_matches(${text}, '(^|[^\\\\])(\\\\\\\\)*\\\\u0000'))`
}

function ruleFailures(column: Column, rule: Rule): Failure[] {
  const value = identifier(column.name)
  const failure = (code: ReasonCode, message: string, when: string): Failure[] => [
    { code, column: column.name, message, when },
  ]
  switch (rule.rule) {
    case 'or epoch milliseconds':
      return []
    case 'not empty':
      return failure('EMPTY', 'the text is empty', `${value} = ''`)
    case 'one of':
      return failure(
        'NOT_ONE_OF',
        `"{value}" is not one of ${rule.values.join(', ')}`,
        `${value} not in (${rule.values.map(sqlText).join(', ')})`,
      )
    case 'at least':
      return failure('BELOW_MINIMUM', `"{value}" is below ${rule.value}`, `${value} < ${limitSql(column, rule.value)}`)
    case 'at most':
      return failure('ABOVE_MAXIMUM', `"{value}" is above ${rule.value}`, `${value} > ${limitSql(column, rule.value)}`)
    case 'length at most':
      return failure(
        'TOO_LONG',
        `"{value}" is longer than ${rule.characters} characters`,
        `length(${value}) > ${rule.characters}`,
      )
  }
}

// A limit is a constant of the column's own kind; a decimal's may have other digits than the column.
function limitSql(column: Column, limit: string | number): string {
  if (column.type.is === 'timestamp') return `timestamptz ${sqlText(String(limit))}`
  return column.type.is === 'double' ? `${limit}::double` : String(limit)
}

/** The text of a column of a staged row `s`; what it lacks has been joined to it as `w`. */
export function columnSql({ lacks }: { lacks?: readonly string[] }, name: string): string {
  return identifier(lacks?.includes(name) ? 'w' : 's', name)
}

/** The select of dead letters for rows that broke a rule. `place` and `rawText` are SQL over the staged relation `s`. */
export function deadLettersSql(
  step: ValidateStep,
  staged: string,
  where: { source: string; place: string; line: string; rawText: string; join: string; lacks?: readonly string[] },
): string {
  const failures = failuresOf(step)
  if (failures.length === 0) return ''
  const values = failures.map(
    (failure, i) =>
      `    (${i + 1}, ${sqlText(failure.code)}, ${failure.column === null ? 'null' : sqlText(failure.column)}, ${sqlText(failure.message)})`,
  )
  const text = step.columns.map((column) => `      when ${sqlText(column.name)} then ${columnSql(where, column.name)}`)
  const fields = step.columns.map(({ name }) => `${sqlText(name)}, ${columnSql(where, name)}`)
  return `select
  s._row,
  ${sqlText(where.source)} as source,
  ${where.place} as place,
  ${where.line} as line,
  ${sqlText(step.id)} as stage,
  f.code,
  f.column_name,
  replace(
    f.message,
    '{value}',
    coalesce(left(case f.column_name
${text.join('\n')}
    end, 200), '')
  ) as message,
  ${where.rawText} as raw,
  null as raw_bytes,
  json_object(${fields.join(', ')}) as fields
from ${staged} s
join (
  values
${values.join(',\n')}
) f(no, code, column_name, message) on f.no = s._failed
${where.join}
where s._failed is not null`
}
