/**
 * Generated histories of pairs and totals: rows in any order, any cut into batches, late and repeated ones, restarts. At
 * the end tables, books, late rows and what is kept must be what the reference says of all events at once.
 */
import assert from 'node:assert/strict'
import { takesInputRows } from '../src/plan/plan.ts'
import type { Bench } from './histories.ts'
import type { Ground, Intake } from './intake.ts'
import { pairPlan } from './pair-plans.ts'
import { keptOf } from './reference-pairs.ts'
import { endOfTime } from './reference-times.ts'
import { referenceWindows } from './reference-windows.ts'
import { compareRows, compareTables, outcomeOf, playHistory, type World } from './stream-histories.ts'

/** Runs the history of a seed and compares it with the reference; the error names the seed. */
export async function checkPairHistory(
  bench: Bench,
  seed: number,
  openIntake?: (ground: Ground) => Promise<Intake>,
): Promise<void> {
  await playHistory(bench, seed, (chance) => pairPlan(`pairs-${seed}`, chance), compare, openIntake)
}

async function compare(world: World): Promise<void> {
  const { plan, database } = world
  const { ledger, rows, watermark, furthest, judgedBy } = await outcomeOf(world)
  const expected = referenceWindows(plan, rows, judgedBy, furthest)
  compareTables(world, expected)
  compareRows(world, ledger, expected)
  if (expected.lateRows.length === 0) {
    const whole = referenceWindows(
      plan,
      rows.map((row) => ({ ...row, batch: 1 })),
      new Map(),
      furthest,
    )
    assert.deepEqual(sorted(whole.tables), sorted(expected.tables), 'the reference over all events at once')
  }
  const stored = [...(database.pipelines.get(plan.name)?.keyed.values() ?? [])]
  for (const step of plan.steps) {
    if (step.op === 'pairs') {
      const kept = stored.filter((row) => row['step'] === step.id)
      assert.deepEqual(
        kept.map((row) => `${row['step']} ${row['key']} ${row['item']} ${row['due']}`).sort(),
        keptOf(step, expected.events.get(step.id) ?? [], watermark === endOfTime ? endOfTime : furthest).sort(),
        'events that are kept',
      )
    }
    if (step.op === 'total' && (watermark !== endOfTime || takesInputRows(plan, step))) {
      const kept = stored.filter((row) => row['step'] === step.id)
      assert.equal(kept.length, expected.made.get(step.id)?.length, 'totals that are kept')
    }
  }
  const ended = plan.steps.filter((step) => step.op === 'pairs' || !takesInputRows(plan, step)).map(({ id }) => id)
  const left = stored.filter(({ step }) => ended.includes((step ?? '').replace(/\/.*/, '')))
  if (watermark === endOfTime) assert.deepEqual(left, [], 'nothing is kept when nothing will follow')
}

function sorted(tables: Record<string, object[]>): Record<string, string[]> {
  return Object.fromEntries(
    Object.entries(tables).map(([name, rows]) => [name, rows.map((row) => JSON.stringify(row)).sort()]),
  )
}
