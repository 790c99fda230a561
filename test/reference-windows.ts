/**
 * What windows, and what follows them, are of all events at once, slow and obvious: every row alone, every window alone.
 * Of each row it is told in which batch it came, and of each batch by which watermark its rows are judged.
 */
import type { Column, ColumnType } from '../src/plan/columns.ts'
import type { Aggregate } from '../src/plan/expression.ts'
import {
  type AnomaliesStep,
  makesRows,
  type Plan,
  type Step,
  type TotalStep,
  takesInputRows,
  type WindowStep,
} from '../src/plan/plan.ts'
import { evaluate, type InputRow, type OutputRow, pass, type Value, type Verdict, validate } from './reference.ts'
import {
  aggregateOf,
  decimalText,
  deviationOf,
  isTooLarge,
  nineDecimals,
  scaled,
  sumOf,
} from './reference-aggregates.ts'
import { judgePair, type PairEvent, pairsOf } from './reference-pairs.ts'
import { floorBy, microseconds, timestampText } from './reference-times.ts'

export interface ArrivedRow extends InputRow {
  source: string
  partition: string
  batch: number
}

/** The watermarks by which the rows of a batch are judged; without an entry, every row is on time. */
export type JudgedBy = ReadonlyMap<number, number | undefined>

export interface Books {
  rowsIn: number
  written: number
  filtered: number
  duplicates: number
  late: number
  dead: number
}

export interface WindowsResult {
  tables: Record<string, OutputRow[]>
  deadLetters: { place: string; line: number; code: string }[]
  lateRows: {
    step: string
    place: string
    line: number
    eventTime: string
    windowStart: string | null
    lateByMs: number
  }[]
  books: Map<number, Books>
  /** By step: what windows there are, each with the rows of each of its inputs. */
  windows: Map<string, Window[]>
  /** By step: the rows that it and what follows it hand on. */
  made: Map<string, OutputRow[]>
  /** By step: the events that pairs have taken. */
  events: Map<string, PairEvent[]>
  /** By step: which panes have which rows. */
  taken: Map<string, Taken[]>
  /** Rows that came when some of their windows, but not all, were closed. */
  partlyLate: number
}

export interface Taken {
  key: Value[]
  timeUs: bigint
  input: number
  values: OutputRow
  judgedBy: number | undefined
}

export interface Window {
  key: Value[]
  startUs: bigint
  endUs: bigint
  rows: Taken[]
  closed: boolean
}

/** `watermark`: where event time has come to in the end, so that windows up to it are closed. */
export function referenceWindows(
  plan: Plan,
  rows: ArrivedRow[],
  judgedBy: JudgedBy,
  watermark: number | undefined,
): WindowsResult {
  const result: WindowsResult = {
    tables: {},
    deadLetters: [],
    lateRows: [],
    books: new Map(),
    windows: new Map(),
    made: new Map(),
    events: new Map(plan.steps.filter(({ op }) => op === 'pairs').map(({ id }) => [id, []])),
    taken: new Map(plan.steps.filter(({ op }) => op === 'window').map(({ id }) => [id, []])),
    partlyLate: 0,
  }
  const seen = new Map<string, Set<string>>()
  for (const row of rows) {
    const verdict = judge(plan, row, judgedBy.get(row.batch), seen, result)
    const books = result.books.get(row.batch) ?? noBooks()
    books.rowsIn++
    books[verdict]++
    result.books.set(row.batch, books)
  }
  const { made } = result
  for (const step of plan.steps) {
    if (step.op === 'window') {
      const windows = windowsOf(step, result.taken.get(step.id) ?? [], watermark)
      result.windows.set(step.id, windows)
      const shown = windows.filter(({ closed }) => closed || step.emit.on === 'update')
      made.set(
        step.id,
        shown.map((window) => rowOfWindow(plan, step, window)),
      )
    } else if (step.op === 'pairs') made.set(step.id, pairsOf(step, result.events.get(step.id) ?? [], watermark))
    else if (step.op === 'total') {
      const [from = ''] = step.from
      const rows = (takesInputRows(plan, step) ? made.get(step.id) : made.get(from)) ?? []
      made.set(step.id, totalsOf(step, rows, columnsOf(plan, from)))
    } else if (!takesInputRows(plan, step)) follow(step, made, result.tables)
  }
  return result
}

export function noBooks(): Books {
  return { rowsIn: 0, written: 0, filtered: 0, duplicates: 0, late: 0, dead: 0 }
}

// ---- rows ----------------------------------------------------------------------------------------------------------

// What becomes of one row: written if any branch takes it, else what the first step says that gives a verdict.
function judge(
  plan: Plan,
  row: ArrivedRow,
  before: number | undefined,
  seen: Map<string, Set<string>>,
  result: WindowsResult,
): Verdict | 'late' {
  const verdicts: (Verdict | 'late')[] = []
  const at = new Map<string, OutputRow>()
  let timeUs = 0n
  for (const step of plan.steps) {
    if (step.op === 'validate') {
      if (step.from[0] !== row.source) continue
      const checked = validate(step, row)
      if ('code' in checked) {
        result.deadLetters.push({ place: row.place, line: row.line, code: checked.code })
        verdicts.push('dead')
      } else {
        at.set(step.id, checked.values)
        timeUs = microseconds(String(checked.values[step.eventTime?.column ?? '']))
      }
    } else if (step.op === 'window') {
      step.inputs.forEach(({ from, aggregates }, input) => {
        const values = at.get(from)
        if (values === undefined) return
        const verdict = take(plan, step, { input, aggregates, values, timeUs, row, before }, result)
        verdicts.push(verdict)
      })
    } else if (step.op === 'pairs') {
      const [from = ''] = step.from
      const values = at.get(from)
      const taken = result.events.get(step.id) ?? []
      if (values === undefined) continue
      const judged = judgePair(step, columnsOf(plan, from), values, timeUs, { batch: row.batch, before, taken })
      verdicts.push(judged.is)
      if (judged.is === 'written') taken.push(judged.event)
      if (judged.is === 'late') {
        const { place, line } = row
        const eventTime = timestampText(timeUs)
        result.lateRows.push({ step: step.id, place, line, eventTime, windowStart: null, lateByMs: judged.lateByMs })
      }
    } else if (step.op === 'total' && takesInputRows(plan, step)) {
      const values = at.get(step.from[0] ?? '')
      if (values === undefined) continue
      verdicts.push('written')
      result.made.set(step.id, [...(result.made.get(step.id) ?? []), values])
    } else if (takesInputRows(plan, step)) {
      const values = at.get(step.from[0] ?? '')
      if (values === undefined) continue
      const verdict = pass(step, values, at, seen, result.tables)
      if (verdict !== undefined) verdicts.push(verdict)
    }
  }
  return verdicts.includes('written') ? 'written' : (verdicts[0] ?? 'filtered')
}

function take(
  plan: Plan,
  step: WindowStep,
  {
    input,
    aggregates,
    values,
    timeUs,
    row,
    before,
  }: {
    input: number
    aggregates: Record<string, Aggregate>
    values: OutputRow
    timeUs: bigint
    row: ArrivedRow
    before: number | undefined
  },
  result: WindowsResult,
): 'late' | 'dead' | 'written' {
  const isClosed = ({ endUs }: { endUs: bigint }): boolean => before !== undefined && endUs <= BigInt(before) * 1000n
  const windows = windowsWith(step, timeUs)
  const last = windows.at(-1)
  if (last !== undefined && before !== undefined && windows.every(isClosed)) {
    const { place, line } = row
    const lateByMs = Number((BigInt(before) * 1000n - timeUs) / 1000n)
    const [eventTime, windowStart] = [timestampText(timeUs), timestampText(last.startUs)]
    result.lateRows.push({ step: step.id, place, line, eventTime, windowStart, lateByMs })
    return 'late'
  }
  const columns = columnsOf(plan, step.from[input] ?? '')
  for (const asked of Object.values(aggregates)) {
    if (asked.of === undefined) continue
    const counts = asked.where === undefined || evaluate(asked.where, values) === true
    if (counts && isTooLarge(asked, typeOf(asked, columns), evaluate(asked.of, values))) {
      result.deadLetters.push({ place: row.place, line: row.line, code: 'OUT_OF_RANGE' })
      return 'dead'
    }
  }
  if (windows.some(isClosed)) result.partlyLate++
  const key = step.by.map((name) => values[name] ?? null)
  result.taken.get(step.id)?.push({ key, timeUs, input, values, judgedBy: before })
  return 'written'
}

// ---- windows -------------------------------------------------------------------------------------------------------

/** The windows that a moment is in, the earliest first. */
export function windowsWith({ sizeMs, slideMs }: WindowStep, timeUs: bigint): { startUs: bigint; endUs: bigint }[] {
  const [size, slide] = [BigInt(sizeMs) * 1000n, BigInt(slideMs) * 1000n]
  const found: { startUs: bigint; endUs: bigint }[] = []
  for (let start = floorBy(timeUs, slide) * slide; start + size > timeUs; start -= slide) {
    found.unshift({ startUs: start, endUs: start + size })
  }
  return found
}

function windowsOf(step: WindowStep, taken: Taken[], watermark: number | undefined): Window[] {
  const windows = new Map<string, Window>()
  for (const row of taken) {
    for (const { startUs, endUs } of windowsWith(step, row.timeUs)) {
      // a late row changes no closed window
      if (row.judgedBy !== undefined && endUs <= BigInt(row.judgedBy) * 1000n) continue
      const name = JSON.stringify([row.key, String(startUs)])
      const closed = watermark !== undefined && endUs <= BigInt(watermark) * 1000n
      const window = windows.get(name) ?? { key: row.key, startUs, endUs, rows: [], closed }
      window.rows.push(row)
      windows.set(name, window)
    }
  }
  return [...windows.values()].sort((a, b) => Number(a.startUs - b.startUs))
}

function rowOfWindow(plan: Plan, step: WindowStep, { key, startUs, endUs, rows, closed }: Window): OutputRow {
  const values: OutputRow = {}
  step.by.forEach((name, i) => {
    values[name] = key[i] ?? null
  })
  values['window_start'] = timestampText(startUs)
  values['window_end'] = timestampText(endUs)
  step.inputs.forEach(({ from, aggregates }, input) => {
    const own = rows.filter((row) => row.input === input).map((row) => row.values)
    Object.assign(values, aggregated(aggregates, own, columnsOf(plan, from)))
  })
  values['final'] = closed
  return values
}

function totalsOf({ by, aggregates }: TotalStep, rows: OutputRow[], columns: Column[]): OutputRow[] {
  const keyOf = (row: OutputRow): OutputRow => Object.fromEntries(by.map((name) => [name, row[name] ?? null]))
  return [...Map.groupBy(rows, (row) => JSON.stringify(keyOf(row))).values()].map((own) => ({
    ...keyOf(own[0] ?? {}),
    ...aggregated(aggregates, own, columns),
  }))
}

function aggregated(aggregates: Record<string, Aggregate>, rows: OutputRow[], columns: Column[]): OutputRow {
  const values: OutputRow = {}
  for (const [name, asked] of Object.entries(aggregates)) {
    const counting = rows.filter((row) => asked.where === undefined || evaluate(asked.where, row) === true)
    const of = asked.of
    const found = of === undefined ? counting.map(() => 1) : counting.map((row) => evaluate(of, row))
    values[name] = aggregateOf(
      asked,
      typeOf(asked, columns),
      found.filter((value) => value !== null),
    )
  }
  return values
}

function columnsOf(plan: Plan, id: string): Column[] {
  return plan.steps.find((step) => step.id === id)?.columns ?? []
}

// Aggregates of histories are asked of columns.
function typeOf({ of }: Aggregate, columns: Column[]): ColumnType {
  if (of === undefined) return { is: 'integer' }
  const column = 'column' in of ? columns.find(({ name }) => name === of.column) : undefined
  if (column === undefined) throw new Error('the reference takes aggregates of columns alone')
  return column.type
}

// ---- what follows --------------------------------------------------------------------------------------------------

function follow(step: Step, made: Map<string, OutputRow[]>, tables: Record<string, OutputRow[]>): void {
  const input = made.get(step.from[0] ?? '') ?? []
  if (step.op === 'anomalies') {
    made.set(step.id, anomaliesOf(step, input))
    return
  }
  if (makesRows(step)) throw new Error(`the reference knows no ${step.op}`)
  const passed: OutputRow[] = []
  for (const row of input) {
    const at = new Map([[step.from[0] ?? '', row]])
    pass(step, row, at, new Map(), tables)
    const next = at.get(step.id)
    if (next !== undefined) passed.push(next)
  }
  made.set(step.id, passed)
}

/** Closed windows that are far from those of their key before them; rows in the order of their windows. */
export function anomaliesOf({ of, by, over, threshold }: AnomaliesStep, rows: OutputRow[]): OutputRow[] {
  const found: OutputRow[] = []
  const closed = rows.filter((row) => row['final'] === true)
  for (const own of Map.groupBy(closed, (row) => JSON.stringify(by.map((name) => row[name]))).values()) {
    for (const { column, spike, drop } of of) {
      // only values of up to 9 digits before the point are judged, with 9 after it
      const judged = own.filter((row) => row[column] !== null && Math.abs(Number(row[column])) < 1e8)
      judged.forEach((row, i) => {
        const before = judged.slice(Math.max(0, i - over), i).map((each) => each[column] ?? null)
        if (before.length < over) return
        const value = Number(decimalText(scaled(row[column] ?? null, 9), 9))
        const mean = nineDecimals(Number(decimalText(sumOf(before, 9), 9)) / over)
        const deviation = deviationOf(before, 9)
        if (deviation === 0) return
        const z = nineDecimals((value - mean) / deviation)
        const name = z > 0 ? spike : drop
        if (Math.abs(z) < threshold || name === undefined) return
        const key = Object.fromEntries(by.map((each) => [each, row[each] ?? null]))
        const window_start = row['window_start'] ?? null
        found.push({ ...key, window_start, moment_type: name, value, mean, deviation, z_score: z })
      })
    }
  }
  return found
}
