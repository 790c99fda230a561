/**
 * Whether a plan can run: names that are there, types that fit, one producer before each consumer. The builder makes
 * plans that pass; a plan from plain data gets the same sentences.
 */
import { checkChanging, checkPairs, checkTotal } from './check-changes.ts'
import { checkAnomalies, checkEventTime, checkWindow } from './check-windows.ts'
import { type Column, type ColumnType, sameType, typeName } from './columns.ts'
import type { Aggregate, Expression } from './expression.ts'
import { fault, located, suggestion, unknownColumn } from './fault.ts'
import {
  type FilesStep,
  type Origin,
  type Plan,
  plainColumns,
  type Source,
  type Step,
  type TopicStep,
  type ValidateStep,
} from './plan.ts'

/** The type of an expression over these columns; throws UNKNOWN_COLUMN, UNKNOWN_FUNCTION or WRONG_TYPE. */
export type TypeOf = (expression: Expression, columns: readonly Column[]) => { type: ColumnType; nullable: boolean }

/** The type of an aggregate over rows with these columns; throws as `TypeOf` does. */
export type TypeOfAggregate = (
  aggregate: Aggregate,
  columns: readonly Column[],
) => { type: ColumnType; nullable: boolean; largest: number | undefined }

/** What the function registry knows. */
export interface Types {
  typeOfExpression: TypeOf
  typeOfAggregate: TypeOfAggregate
}

/** Throws the first fault of a plan, naming the step. */
export function checkPlan(plan: Plan, types: Types): void {
  if (plan.format !== 1) {
    throw fault(
      plan.name,
      'INVALID_PLAN',
      `the plan's format is ${JSON.stringify(plan.format)}; this version reads format 1`,
    )
  }
  const known = new Map<string, Column[]>()
  for (const [id, source] of Object.entries(plan.sources)) {
    checkColumns(`${plan.name} / ${id}`, source.columns)
    checkSource(`${plan.name} / ${id}`, source)
    known.set(id, plainColumns(source.columns))
  }
  if (known.size === 0) throw fault(plan.name, 'INVALID_PLAN', 'the plan has no source')
  for (const step of plan.steps) {
    const at = `${plan.name} / ${step.id}`
    if (known.has(step.id)) throw fault(at, 'INVALID_PLAN', `there are two steps or sources called "${step.id}"`)
    for (const from of step.from) {
      if (known.has(from)) continue
      throw fault(
        at,
        'UNKNOWN_STEP',
        `it reads from "${from}", which is not before it`,
        suggestion(from, [...known.keys()], 'before it are'),
      )
    }
    checkColumns(at, step.columns)
    checkStep(at, step, plan, known, types)
    known.set(step.id, step.columns)
  }
  for (const id of Object.keys(plan.sources)) {
    const readers = plan.steps.filter(({ from }) => from.includes(id))
    if (readers.length === 1 && readers[0]?.op === 'validate') continue
    throw fault(`${plan.name} / ${id}`, 'INVALID_PLAN', 'a source is read by one step, of the kind "validate"')
  }
  if (!plan.steps.some((step) => ['table', 'topic', 'files'].includes(step.op))) {
    throw fault(plan.name, 'INVALID_PLAN', 'the plan has no sink', 'end it with into(table(...))')
  }
}

function checkSource(at: string, source: Source): void {
  if (!source.columns.some(({ origin }) => origin === undefined)) {
    throw fault(at, 'INVALID_PLAN', 'the source reads no column', 'name at least one that its rows have')
  }
  const foreign: Origin[] =
    source.is === 'files' ? ['partition', 'offset', 'timestamp', 'key', 'headers'] : ['file', 'line']
  const lacks = source.columns.find(({ origin }) => origin !== undefined && foreign.includes(origin))
  if (lacks !== undefined) {
    const what = source.is === 'files' ? 'files' : 'a topic'
    throw fault(at, 'INVALID_PLAN', `"${lacks.name}" is the ${lacks.origin} of a row, and rows of ${what} have none`)
  }
  const { unknown } = source
  const format = source.is === 'files' ? source.format : { is: 'json lines' as const }
  if (format.is === 'csv' && format.header === false && unknown !== undefined) {
    throw fault(at, 'INVALID_PLAN', 'without a header no column is unknown', 'leave unknownColumns out')
  }
  if (unknown?.is !== 'keep') return
  const column = source.columns.find(({ name }) => name === unknown.as)
  if (column === undefined) throw unknownColumn(at, unknown.as, source.columns)
  if (column.type.is !== 'json' || !column.nullable || column.origin !== undefined) {
    throw fault(at, 'WRONG_TYPE', `"${unknown.as}" keeps unknown columns`, 'declare it as json().optional()')
  }
}

function checkStep(at: string, step: Step, plan: Plan, known: ReadonlyMap<string, Column[]>, types: Types): void {
  const input = known.get(step.from[0] ?? '') ?? []
  const needs = (names: string[]): void => {
    for (const name of names) if (!input.some((column) => column.name === name)) throw unknownColumn(at, name, input)
  }
  const typed = (expression: Expression) => located(at, () => types.typeOfExpression(expression, input))
  const condition = (expression: Expression): void => {
    const { type } = typed(expression)
    if (type.is !== 'boolean') throw fault(at, 'WRONG_TYPE', `the condition is a ${typeName(type)}, not a boolean`)
  }
  const same = (): void => {
    if (JSON.stringify(step.columns) === JSON.stringify(input)) return
    throw fault(at, 'INVALID_PLAN', `a step of the kind "${step.op}" hands on the columns it gets: ${list(input)}`)
  }
  checkChanging(at, step, plan)
  switch (step.op) {
    case 'validate':
      same()
      if (!Object.hasOwn(plan.sources, step.from[0] ?? '')) {
        throw fault(at, 'INVALID_PLAN', 'a step of the kind "validate" reads a source')
      }
      if (step.eventTime !== undefined) checkEventTime(at, step.eventTime, input)
      checkRules(at, step, input)
      for (const check of step.checks) condition(check.where)
      return
    case 'filter':
      same()
      condition(step.where)
      return
    case 'select': {
      const names = Object.keys(step.select)
      if (names.join() !== step.columns.map(({ name }) => name).join()) {
        throw fault(at, 'INVALID_PLAN', `its columns are ${list(step.columns)}, but it computes ${names.join(', ')}`)
      }
      for (const column of step.columns) {
        const expression = step.select[column.name]
        if (expression === undefined) continue
        const { type, nullable } = typed(expression)
        if (!sameType(type, column.type)) {
          throw fault(
            at,
            'WRONG_TYPE',
            `"${column.name}" is said to be ${typeName(column.type)}, but is computed as ${typeName(type)}`,
          )
        }
        if (nullable && !column.nullable)
          throw fault(at, 'WRONG_TYPE', `"${column.name}" can be null, and is said not to be`)
      }
      return
    }
    case 'dedup':
      same()
      if (step.by.length === 0) throw fault(at, 'INVALID_PLAN', 'dedup needs at least one column')
      needs(step.by)
      return
    case 'table':
      same()
      if (step.mode.is !== 'append') {
        if (step.mode.key.length === 0) throw fault(at, 'INVALID_PLAN', 'a key needs at least one column')
        needs(step.mode.key)
      }
      if (
        step.cachedAs !== undefined &&
        (step.mode.is !== 'upsert' || step.mode.key.length !== 1 || step.cachedAs === '')
      ) {
        throw fault(at, 'INVALID_PLAN', 'cachedAs is the beginning of names, of a table with a key of one column')
      }
      return
    case 'window':
      checkWindow(at, step, plan, known, types)
      return
    case 'pairs':
      condition(step.open)
      if (step.close !== undefined) condition(step.close)
      checkPairs(at, step, plan, input)
      return
    case 'total':
      checkTotal(at, step, plan, input, types)
      return
    case 'anomalies':
      needs(['window_start', 'final', ...step.by, ...step.of.map(({ column }) => column)])
      checkAnomalies(at, step, plan, input)
      return
    case 'topic':
      same()
      needs(step.key)
      if (step.landedIn !== undefined) checkLandedIn(at, step, plan)
      checkTopic(at, step.topic, plan)
      return
    case 'enqueue':
      same()
      needs([step.key])
      if (!/^[a-z][a-z0-9_]{0,62}$/.test(step.task)) {
        throw fault(
          at,
          'INVALID_PLAN',
          `"${step.task}" cannot be the name of a task`,
          'use lower-case letters, digits and underscores, beginning with a letter',
        )
      }
      if (step.when) condition(step.when)
      return
    case 'files':
      same()
      if (step.landedIn !== undefined) checkLandedIn(at, step, plan)
      return
  }
}

function checkTopic(at: string, topic: string, plan: Plan): void {
  if (!/^[a-zA-Z0-9._-]{1,249}$/.test(topic) || topic === '.' || topic === '..') {
    throw fault(
      at,
      'INVALID_PLAN',
      `${JSON.stringify(topic)} cannot be the name of a topic`,
      'a name has up to 249 letters, digits, dots, underscores and hyphens, and is neither "." nor ".."',
    )
  }
  if (!Object.values(plan.sources).some((source) => source.is === 'topic' && source.topic === topic)) return
  throw fault(
    at,
    'INVALID_PLAN',
    `it publishes to "${topic}", which the pipeline reads: each message would make another, without end`,
    'publish to another topic',
  )
}

function checkLandedIn(at: string, step: FilesStep | TopicStep, plan: Plan): void {
  const table = plan.steps.find(({ id }) => id === step.landedIn)
  if (table?.op === 'table' && table.from.join() === step.from.join()) return
  throw fault(
    at,
    'INVALID_PLAN',
    `"${step.landedIn}" is no table that takes the same rows`,
    'put it directly after one',
  )
}

function checkRules(at: string, step: ValidateStep, columns: Column[]): void {
  for (const [name, rules] of Object.entries(step.rules)) {
    const column = columns.find((candidate) => candidate.name === name)
    if (column === undefined) throw unknownColumn(at, name, columns)
    for (const rule of rules) {
      if (rule.rule === 'or epoch milliseconds') {
        if (column.type.is === 'timestamp') continue
        throw fault(at, 'WRONG_TYPE', `"${name}" is no timestamp, and has no epoch`)
      }
      const forText = rule.rule === 'not empty' || rule.rule === 'one of' || rule.rule === 'length at most'
      const fits = forText
        ? column.type.is === 'text'
        : ['integer', 'decimal', 'double', 'timestamp'].includes(column.type.is)
      if (!fits)
        throw fault(
          at,
          'WRONG_TYPE',
          `the rule "${rule.rule}" does not fit "${name}", which is ${typeName(column.type)}`,
        )
      if ('value' in rule && column.type.is !== 'timestamp' && !Number.isFinite(Number(rule.value))) {
        throw fault(at, 'WRONG_TYPE', `"${rule.value}" is not a limit for "${name}", which is ${typeName(column.type)}`)
      }
      if ('value' in rule && column.type.is === 'timestamp' && Number.isNaN(Date.parse(String(rule.value)))) {
        throw fault(at, 'WRONG_TYPE', `"${rule.value}" is not a timestamp`)
      }
    }
  }
}

function checkColumns(at: string, columns: Column[]): void {
  const seen = new Set<string>()
  for (const { name } of columns) {
    const why = whyNoColumnName(name)
    if (why !== undefined) throw fault(at, 'INVALID_PLAN', `"${name}" ${why}`, columnNameRule)
    if (seen.has(name.toLowerCase())) throw fault(at, 'INVALID_PLAN', `there are two columns called "${name}"`)
    seen.add(name.toLowerCase())
  }
}

/** What a column may be called. */
export const columnNameRule = 'use letters, digits and _, beginning with a letter; 63 at most'

const postgresOwn = new Set(['ctid', 'xmin', 'xmax', 'cmin', 'cmax', 'tableoid'])

/** Why a name cannot be a column's; nothing when it can. */
export function whyNoColumnName(name: string): string | undefined {
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,62}$/.test(name)) return "cannot be a column's name"
  if (postgresOwn.has(name.toLowerCase())) return 'is a column that every table of Postgres has already'
  // names that begin with _ are the engine's own, as _row is
  return name.startsWith('_') ? "begins with _, as only Millrace's own columns do" : undefined
}

function list(columns: Column[]): string {
  return columns.map(({ name }) => name).join(', ')
}
