/**
 * Generated histories of windows: random plans over random streams. Windows, late rows, anomalies, books, watermarks and
 * what is kept in the store must be what the reference says.
 */
import assert from 'node:assert/strict'
import type { AnomaliesStep, Plan, WindowStep } from '../src/plan/plan.ts'
import type { LedgerLine } from '../src/store/store.ts'
import type { Bench } from './histories.ts'
import type { Ground, Intake } from './intake.ts'
import { endOfTime, floorBy, microseconds } from './reference-times.ts'
import { referenceWindows, type WindowsResult } from './reference-windows.ts'
import {
  compareRows,
  compareTables,
  type HistoryShape,
  outcomeOf,
  playHistory,
  type World,
} from './stream-histories.ts'
import { type Chance, windowPlan } from './window-plans.ts'
import { fieldsOf } from './window-rows.ts'

/** Runs the history of a seed and compares it with the reference; the error names the seed. */
export async function checkWindowHistory(
  bench: Bench,
  seed: number,
  openIntake?: (ground: Ground) => Promise<Intake>,
): Promise<void> {
  const shapeOf = (chance: Chance): HistoryShape => {
    const shape = windowPlan(`windows-${seed}`, chance)
    return { ...shape, fieldsOf: (source, progressMs, nowMs, by) => fieldsOf(source, shape, progressMs, nowMs, by) }
  }
  await playHistory(bench, seed, shapeOf, compare, openIntake)
}

async function compare(world: World): Promise<void> {
  const { plan } = world
  const { ledger, rows, watermarks, watermark, furthest, judgedBy } = await outcomeOf(world)
  const expected = referenceWindows(plan, rows, judgedBy, furthest)
  for (const [step, windows] of expected.windows) {
    const open = windows.filter(
      ({ endUs, closed }) => closed && (watermark === undefined || endUs > BigInt(watermark) * 1000n),
    )
    assert.deepEqual(open, [], `windows of ${step} that should have been closed`)
  }
  compareTables(world, expected)
  if (expected.lateRows.length === 0 && expected.partlyLate === 0) {
    const whole = referenceWindows(plan, rows, new Map(), furthest)
    assert.deepEqual(whole.tables, expected.tables, 'the reference over all events at once')
  }
  compareRows(world, ledger, expected)
  compareState(world, expected, watermark)
  idleBatchesHaveReasons(plan, ledger, watermarks, expected)
}

// Time goes on without rows only when that closes something, or hands on what has changed, or is the end.
function idleBatchesHaveReasons(
  plan: Plan,
  ledger: LedgerLine[],
  watermarks: (number | undefined)[],
  { windows }: WindowsResult,
): void {
  const updates = plan.steps.some((step) => step.op === 'window' && step.emit.on === 'update')
  ledger.forEach(({ batch, rowsIn, rowsOut }, i) => {
    if (rowsIn > 0 || watermarks[i] === endOfTime) return
    const [before, after] = [watermarks[i - 1], watermarks[i]]
    const closes = [...windows.values()].flat().some(({ endUs }) => {
      const endMs = Number(endUs / 1000n)
      return after !== undefined && endMs <= after && (before === undefined || endMs > before)
    })
    const writes = Object.values(rowsOut).some(({ inserted, updated }) => inserted + updated > 0)
    assert.ok(closes || (updates && writes), `batch ${batch} has no reason`)
  })
}

// ---- what is kept --------------------------------------------------------------------------------------------------

function compareState({ plan, database }: World, expected: WindowsResult, watermark: number | undefined): void {
  const stored = database.pipelines.get(plan.name)
  const numbers = [...(stored?.paneNumbers.values() ?? [])].map(({ step, key, pane }) => `${step} ${key} ${pane}`)
  const wanted: string[] = []
  const panes: string[] = []
  for (const step of plan.steps) {
    if (step.op === 'window') panes.push(...openPanes(step, expected, watermark))
    if (step.op === 'anomalies') wanted.push(...neededWindows(step, expected, watermark))
  }
  assert.deepEqual(numbers.sort(), [...panes, ...wanted].sort(), 'panes and windows that are kept')
  const known = new Set(panes)
  const strange = (stored?.paneSets ?? []).filter(({ step, key, pane }) => !known.has(`${step} ${key} ${pane}`))
  assert.deepEqual(strange, [], 'values and items of panes that are closed')
  const members = (stored?.paneSets ?? []).flatMap(({ step, aggregate, key, pane, members }) =>
    (members?.slice(1, -1).split(',') ?? []).map((member) => [step, aggregate, key, pane, member].join(' ')),
  )
  assert.equal(new Set(members).size, members.length, 'a value is kept once of each pane')
}

function openPanes(step: WindowStep, { taken }: WindowsResult, watermark: number | undefined): string[] {
  const paneUs = BigInt(greatestDivisor(step.sizeMs, step.slideMs)) * 1000n
  const slideUs = BigInt(step.slideMs) * 1000n
  const found = (taken.get(step.id) ?? []).flatMap(({ key, timeUs }) => {
    const lastEnd = floorBy(timeUs, slideUs) * slideUs + BigInt(step.sizeMs) * 1000n
    if (watermark !== undefined && lastEnd <= BigInt(watermark) * 1000n) return []
    return [`${step.id} ${JSON.stringify(key.map(String))} ${floorBy(timeUs, paneUs)}`]
  })
  return [...new Set(found)]
}

// Of each key, the windows with one of the last values of any column that is judged.
function neededWindows(step: AnomaliesStep, { made }: WindowsResult, watermark: number | undefined): string[] {
  if (watermark === endOfTime) return []
  const closed = (made.get(step.from[0] ?? '') ?? []).filter((row) => row['final'] === true)
  const found = new Set<string>()
  for (const own of Map.groupBy(closed, (row) => JSON.stringify(step.by.map((name) => String(row[name]))))) {
    const [key, rows] = own
    for (const { column } of step.of) {
      const judged = rows.filter((row) => row[column] !== null && Math.abs(Number(row[column])) < 1e8)
      for (const row of judged.slice(-step.over))
        found.add(`${step.id} ${key} ${microseconds(String(row['window_start']))}`)
    }
  }
  return [...found]
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b)
}
