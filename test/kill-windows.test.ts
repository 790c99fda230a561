import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { failpoints } from '../src/failpoint.ts'
import {
  casesOf,
  howMany,
  type KillCase,
  keepDatabase,
  killRun,
  killWorker,
  ofBoundedRuns,
  replaceWorker,
} from './crash/kill-cases.ts'
import { arrivedRows, firstWindows, secondWindows, windowedModule, windowedPlan } from './crash/windowed.ts'
import { openWorld, type World } from './crash/world.ts'
import { testDatabase } from './postgres.ts'
import type { OutputRow } from './reference.ts'
import { endOfTime } from './reference-times.ts'
import { referenceWindows } from './reference-windows.ts'

const everything = [...firstWindows, ...secondWindows]

// Within the transaction, on both sides of its end, and where the state in memory is not yet what is stored.
const core: KillCase[] = [
  { point: 'validated', occurrence: 4 },
  { point: 'after state', occurrence: 3 },
  { point: 'commit sent', occurrence: 2 },
  { point: 'commit acknowledged', occurrence: 4 },
]
// This pipeline writes no files.
const reached = failpoints.filter((point) => point !== 'effect publish files')
const all: KillCase[] = reached.flatMap((point) => [1, 3, 6].map((occurrence) => ({ point, occurrence })))
const chosen = casesOf(core, all)

describe(`windows killed with SIGKILL at a fail point, ${howMany}`, {
  concurrency: 2,
}, () => {
  keepDatabase()

  for (const { point, occurrence } of chosen) {
    test(`a worker killed at "${point}", time ${occurrence}, closes each window once and finds each moment once`, async () => {
      await using database = await testDatabase()
      await using world = await openWorld(database)
      const module = await windowedModule(world)
      await killWorker(world, module, [firstWindows, secondWindows], { point, occurrence })
      await replaceWorker(world, module, everything)
      await judge(world)
    })
  }

  for (const { point, occurrence } of ofBoundedRuns(chosen)) {
    test(`a bounded run killed at "${point}", time ${occurrence}, is completed by the same command`, async () => {
      await using database = await testDatabase()
      await using world = await openWorld(database)
      const module = await windowedModule(world)
      await world.lay(everything)
      const command = ['run', module, '--input', world.inputs, '--final', '--json']
      await killRun(world, command, { point, occurrence })
      await judge(world, endOfTime)
      const kept = await world.sql('select from millrace.pane_numbers union all select from millrace.pane_sets')
      assert.deepEqual(kept, [], 'what is kept')
    })
  }
})

/** Holds tables, letters and books against the reference; `end`: where the watermark must be. */
async function judge(world: World, end?: number): Promise<void> {
  const [stored] = await world.sql<{ ms: string }>(
    `select (extract(epoch from watermark) * 1000)::bigint::text as ms from millrace.pipelines where pipeline = 'windowed'`,
  )
  const watermark = Number(stored?.ms)
  if (end !== undefined) assert.equal(watermark, end)
  // no row is late, so neither the cut into batches nor the kill can be seen in what comes out
  const expected = referenceWindows(windowedPlan(world.raw), arrivedRows(everything), new Map(), watermark)
  const isFinal = ({ final }: OutputRow): boolean => final === true
  const windows = await world.sql<{ row: string }>(`
    select concat_ws('|', who, ${utc('window_start')}, ${utc('window_end')}, n, total, spread, average, notes, best::text, final) as row
    from   windowed`)
  assert.ok(windows.length > 40, 'windows have closed')
  assert.deepEqual(
    windows.map(({ row }) => row).sort(),
    (expected.made.get('window') ?? []).filter(isFinal).map(windowText).sort(),
    'windows',
  )
  const moments = await world.sql<{ row: string }>(`
    select concat_ws('|', who, ${utc('window_start')}, moment_type, value, mean, deviation, z_score) as row
    from   windowed_moments`)
  assert.ok(moments.length > 0, 'moments are found')
  assert.deepEqual(
    moments.map(({ row }) => row).sort(),
    (expected.tables['windowed_moments'] ?? []).map(momentText).sort(),
    'moments',
  )
  const [books] = await world.sql(`
    select sum(rows_in)::int as rows_in, sum(written)::int as written, sum(late)::int as late, sum(dead)::int as dead
    from   millrace.batches`)
  const dead = expected.deadLetters.length
  const rowsIn = arrivedRows(everything).length
  assert.deepEqual(books, { rows_in: rowsIn, written: rowsIn - dead, late: 0, dead }, 'books')
  const [letters] = await world.sql<{ n: number }>('select count(*)::int as n from millrace.dead_letters')
  assert.equal(letters?.n, dead, 'dead letters')
}

function utc(column: string): string {
  return `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')`
}

function windowText(row: OutputRow): string {
  const { who, n, total, spread, average, notes, best } = row
  // {"a","b c"}: quoted where Postgres quotes
  const items = (JSON.parse(String(best)) as string[]).map((item) =>
    /^[a-z]+$/.test(item) ? item : `"${item.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`,
  )
  const ends = [row['window_start'], row['window_end']].map((stamp) => String(stamp).slice(0, 19))
  return [who, ...ends, n, total, spread, average, notes, `{${items.join(',')}}`, 't'].join('|')
}

function momentText(row: OutputRow): string {
  const { who, value, mean, deviation } = row
  const start = String(row['window_start']).slice(0, 19)
  return [who, start, row['moment_type'], value, mean, deviation, row['z_score']].join('|')
}
