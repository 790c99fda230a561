/**
 * Generated bounded runs of pairs and totals, with a throw at any fail point and another run after it. All rows of the run
 * are judged together: the tables must be what the reference says of them in one batch, through buckets or not.
 */
import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { takesWholeKeys } from '../src/engine/keyed-run.ts'
import { MillraceError } from '../src/errors.ts'
import { arm, failpoints, runFailpoints } from '../src/failpoint.ts'
import { memoryDatabase, openMemoryStore } from '../src/store/memory.ts'
import { type Bench, randomFrom } from './histories.ts'
import { memoryIntake } from './intake.ts'
import type { Feed } from './memory-source.ts'
import { pairPlan } from './pair-plans.ts'
import { referenceWindows } from './reference-windows.ts'
import { canonicalRow, rowsOf, type Stretch, type World, work } from './stream-histories.ts'
import { chanceFrom } from './window-plans.ts'

/** Runs the history of a seed and compares it with the reference; answers whether its rows went through buckets. */
export async function checkKeyedRun(bench: Bench, seed: number): Promise<boolean> {
  const chance = chanceFrom(randomFrom(seed))
  const { pick, maybe, upTo } = chance
  const shape = pairPlan(`keyed-${seed}`, chance)
  const { plan } = shape
  if (!takesWholeKeys(plan)) return false
  const folder = join(bench.folder, 'spool', 'runs', String(seed))
  const keyed = { folder, request: 'what is there', rows: 1 + upTo(pick([5, 20, 100])) }
  const feeds = Array.from({ length: 1 + upTo(2) }, (_, i): Feed => {
    return { source: 'events', partition: String(i), rows: [], stalled: false }
  })
  const database = memoryDatabase(Date.now)
  const clock = { nowMs: Date.UTC(2026, 0, 2) }
  const told = [`seed ${seed}`]
  try {
    await using intake = await memoryIntake({ bench, chance, plan, feeds })
    const world: World = { bench, chance, shape, plan, intake, database, feeds, clock, log: [], mode: 'stream', keyed }
    const arrive = async (count: number) => {
      for (let i = 0; i < count; i++) {
        const feed = pick(feeds)
        await intake.add(feed, shape.fieldsOf(feed.source, clock.nowMs + upTo(shape.sizeMs), clock.nowMs, chance))
      }
    }
    const play = async (mode: Stretch['mode'], throws: string | undefined) => {
      told.push(`${mode}${throws === undefined ? '' : ` with ${throws}`}`)
      world.mode = mode
      arm(throws)
      const stretch = { mode, arrivals: [], throws, hurries: false, fails: undefined }
      await work(world, stretch).catch((error: unknown) => {
        if (!(error instanceof MillraceError && error.code === 'FAILPOINT')) throw error
        arm(undefined)
        return work(world, stretch)
      })
      arm(undefined)
    }
    if (maybe(0.4)) {
      await arrive(upTo(20))
      await play('stream', undefined)
    }
    await using store = openMemoryStore(database)
    const before = await store.ledger(plan.name, {})
    const known = before.flatMap((line) => rowsOf(line, feeds))
    await arrive(upTo(pick([3, 30, 80])))
    await play(
      maybe(0.6) ? 'final' : 'bounded',
      maybe(0.7) ? `${pick([...failpoints, ...runFailpoints])}@${1 + upTo(6)}=throw` : undefined,
    )

    const { batch: last = 0 } = before.at(-1) ?? {}
    const arrived = feeds.flatMap(({ source, partition, rows: fed }) =>
      fed.map((fields, line) => {
        const row = known.find((each) => each.partition === partition && each.line === line)
        return row ?? { source, partition, place: `${source}/${partition}`, line, fields, batch: last + 1 }
      }),
    )
    const rows = arrived.sort((a, b) => a.batch - b.batch)
    const { watermark } = await store.committed(plan.name)
    const expected = referenceWindows(plan, rows, new Map(), watermark)
    for (const step of plan.steps) {
      if (step.op !== 'table') continue
      assert.deepEqual(
        database
          .rowsOf(step.table)
          .map((row) => canonicalRow(step.columns, row))
          .sort(),
        (expected.tables[step.table] ?? []).map((row) => canonicalRow(step.columns, row)).sort(),
        `table ${step.table}`,
      )
    }
    const keeps = plan.steps.some((step) => step.op === 'pairs' && step.late === 'keep')
    assert.deepEqual(
      database.lateRows
        .map(
          (row) =>
            `${row['place']?.replace('/', ':').replace('events:', 'events/')} ${row['event_time']} ${row['late_by_ms']}`,
        )
        .sort(),
      (keeps ? expected.lateRows : []).map((row) => `${row.place}:${row.line} ${row.eventTime} ${row.lateByMs}`).sort(),
      'late rows',
    )
    const ledger = (await store.ledger(plan.name, {})).filter(({ batch }) => batch > last)
    const books = expected.books.get(last + 1)
    for (const verdict of ['rowsIn', 'written', 'filtered', 'duplicates', 'late', 'dead'] as const) {
      assert.equal(
        ledger.reduce((sum, line) => sum + line[verdict], 0),
        books?.[verdict] ?? 0,
        `${verdict} of the run`,
      )
    }
    return ledger.some(({ ranges }) => JSON.stringify(ranges).includes('"bucket"'))
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new Error(`a run went wrong: ${told.join(', ')}\n${why}`, { cause: error })
  } finally {
    arm(undefined)
    await rm(folder, { recursive: true, force: true })
  }
}
