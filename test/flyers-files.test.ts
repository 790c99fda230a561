/** flyers from files in place of its topic: any of three formats gives the same tables, and a wrong input says why. */
import assert from 'node:assert/strict'
import { mkdtempDisposable, readdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { generate } from '../pipelines/flyers/generate.ts'
import { flyers } from '../pipelines/flyers/pipeline.ts'
import { sampleRequest } from '../pipelines/sample-request.ts'
import { telemetra } from '../pipelines/telemetra/pipeline.ts'
import { runGenerator } from '../src/cli/generate.ts'
import { loadConfig } from '../src/config.ts'
import { Duck, spoolFolder } from '../src/engine/duckdb.ts'
import { runSystem } from '../src/engine/system-run.ts'
import { createLog } from '../src/log.ts'
import { memoryDatabase, openMemoryStore } from '../src/store/memory.ts'
import type { System } from '../src/system.ts'

async function run(system: System, folder: string, inputs: string[]) {
  const config = loadConfig(system.settings, { MILLRACE_DATA: folder }, folder)
  const database = memoryDatabase(Date.now)
  await using store = openMemoryStore(database)
  await using duck = await Duck.open({
    folders: [spoolFolder(folder), folder],
    temporary: join(folder, 'duckdb'),
    memoryLimitMb: 256,
    threads: 1,
  })
  const progress = await runSystem({
    system,
    config,
    store,
    duck,
    log: createLog('error', { write: () => {} }),
    signal: new AbortController().signal,
    bounded: { inputs, again: false, final: true },
  })
  const rowsOf = (table: string) =>
    database
      .rowsOf(table)
      .map((row) => JSON.stringify(row))
      .sort()
  return { books: progress.books, users: rowsOf('flyer_time_per_user'), merchants: rowsOf('merchant_flyer_daily') }
}

test('CSV, JSON lines and Parquet, one or several, give the same tables', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-flyers-'))
  const [csv, lines, parquet] = ['a.csv', 'a.jsonl', 'a.parquet'].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
  ]
  for (const to of [csv, lines])
    await generate(sampleRequest({ count: 2000, durationSeconds: 20_000, seed: 7, duplicatePercent: 2, to }))
  {
    await using duck = await Duck.open({
      folders: [folder.path],
      temporary: join(folder.path, 'making'),
      memoryLimitMb: 256,
      threads: 1,
    })
    using session = await duck.connect()
    await session.run(
      `copy (select "timestamp"::timestamptz as "timestamp", * exclude ("timestamp") from read_csv('${csv}', all_varchar = true)) to '${parquet}'`,
    )
  }
  const fromCsv = await run(flyers, folder.path, [csv])
  assert.ok(fromCsv.users.length > 100)
  assert.equal(fromCsv.books.rowsIn, 2000)
  assert.deepEqual(await run(flyers, folder.path, [lines]), fromCsv)
  assert.deepEqual(await run(flyers, folder.path, [parquet]), fromCsv)
  // every event is there twice, and counts once
  const both = await run(flyers, folder.path, [csv, lines])
  assert.deepEqual([both.users, both.merchants], [fromCsv.users, fromCsv.merchants])
  assert.equal(both.books.rowsIn, 4000)
})

test('the generator writes Parquet whose columns have types, unless some of their texts are wrong', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-flyers-'))
  const config = loadConfig(flyers.settings, { MILLRACE_DATA: folder.path }, folder.path)
  const typesOf = async (path: string) => {
    await using duck = await Duck.open({
      folders: [folder.path],
      temporary: join(folder.path, 'reading'),
      memoryLimitMb: 256,
      threads: 1,
    })
    using session = await duck.connect()
    const columns = await session.rows<{ column_name: string; column_type: string }>(
      `describe select * from read_parquet('${path}')`,
    )
    return columns.map(({ column_type: type }) => type)
  }
  const request = { count: 3000, durationSeconds: 30_000, seed: 3, badPercent: 0, duplicatePercent: 1 }
  const [csv, parquet, bad] = ['a.csv', 'a.parquet', 'bad.parquet'].map((name) => join(folder.path, name)) as [
    string,
    string,
    string,
  ]
  const signal = new AbortController().signal
  for (const to of [csv, parquet]) await runGenerator(flyers, config, { ...request, to }, signal)
  const made = await runGenerator(flyers, config, { ...request, badPercent: 5, to: bad }, signal)
  assert.deepEqual(
    (await readdir(folder.path)).filter((name) => name.startsWith('.')),
    [],
    'nothing is left beside',
  )
  assert.deepEqual(await typesOf(parquet), ['TIMESTAMP WITH TIME ZONE', ...Array(4).fill('VARCHAR')])
  assert.deepEqual(await typesOf(bad), Array(5).fill('VARCHAR'))
  assert.deepEqual(await run(flyers, folder.path, [parquet]), await run(flyers, folder.path, [csv]))
  assert.equal((await run(flyers, folder.path, [bad])).books.dead, made.bad)
})

test('a generator of messages does not write Parquet, and says what it does write', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-flyers-'))
  const config = loadConfig(telemetra.settings, { MILLRACE_DATA: folder.path }, folder.path)
  const request = { count: 10, durationSeconds: 10, seed: 3, badPercent: 0, duplicatePercent: 0 }
  const to = join(folder.path, 'a.parquet')
  await assert.rejects(
    runGenerator(telemetra, config, { ...request, to }, new AbortController().signal),
    /writes messages.*\.jsonl/s,
  )
  assert.deepEqual(
    (await readdir(folder.path)).filter((name) => name.includes('parquet')),
    [],
  )
})

test('a file of which nobody knows what is in it, or to which topic it belongs, is refused', async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-flyers-'))
  const path = join(folder.path, 'events.txt')
  await writeFile(path, '')
  await assert.rejects(run(flyers, folder.path, [path]), /does not say what is in the file/)
  await assert.rejects(run(flyers, folder.path, [join(folder.path, 'no.csv')]), /names no file/)
  await assert.rejects(run(telemetra, folder.path, [path]), /cannot say to which of its sources they belong/)
})
