import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { event, goodFile, type InputFile, modelOf } from './crash/events.ts'
import { judge } from './crash/judge.ts'
import { type Cut, openProxy, type Proxy } from './crash/proxy.ts'
import { openWorld } from './crash/world.ts'
import { type TestDatabase, testDatabase } from './postgres.ts'

const rounds = 25

// Each file is a batch; a third of its rows repeat the file before, and one is bad, so that what is read twice shows.
const files: InputFile[] = Array.from({ length: rounds + 5 }, (_, i) => {
  const name = `${String(i).padStart(3, '0')}.csv`
  const file = goodFile(name, [`${i}-0`, `${i}-1`, `${i}-2`, `${i}-3`, `${i - 1}-0`, `${i - 1}-1`])
  return { ...file, rows: [...file.rows, event(`${i}-bad`, name, { price: 'dear' })] }
})

const rowsPerFile = '7'

// A worker cannot tell which of the two was cut; now and then it fares well in between.
function everyOther(first: Cut, second: Cut): (commit: number) => Cut | undefined {
  let cut = 0
  return (commit) => {
    if (commit % 3 === 0 || cut === rounds) return undefined
    return cut++ % 2 === 0 ? first : second
  }
}

describe(`a lost COMMIT, ${2 * rounds} times`, { concurrency: 2 }, () => {
  let server: TestDatabase
  before(async () => {
    server = await testDatabase()
  })
  after(async () => await server[Symbol.asyncDispose]())

  test('a worker that does not hear of its commits loses and doubles nothing', async () => {
    await using database = await testDatabase()
    await using proxy = await openProxy(database.url, everyOther('the reply', 'the request'))
    await using world = await openWorld(database)
    await world.drop(files)
    await using worker = world.start(['work', 'shop-events'], {
      DATABASE_URL: proxy.url,
      BATCH_MAX_ROWS: rowsPerFile,
    })
    await world.drained(files, { worker, withinMs: 120_000 })
    assert.deepEqual(await worker.stop(), { code: 0, signal: null })
    wereCut(proxy)
    assert.ok(worker.log.filter((line) => line.event === 'retrying').length >= rounds, 'it says that it tries again')
    await judge(world, files)
  })

  test('a bounded run that does not hear of its commits has the right books all the same', async () => {
    await using database = await testDatabase()
    await using proxy = await openProxy(database.url, everyOther('the request', 'the reply'))
    await using world = await openWorld(database)
    await world.lay(files)
    await using run = world.start(['run', 'shop-events', '--input', world.inputs, '--json'], {
      DATABASE_URL: proxy.url,
      BATCH_MAX_ROWS: rowsPerFile,
    })
    assert.deepEqual(await run.ended(120_000), { code: 0, signal: null }, run.story())
    wereCut(proxy)
    await judge(world, files, files)
    const { rowsIn, written, duplicates, dead } = modelOf(files).books
    assert.partialDeepStrictEqual(JSON.parse(run.out), {
      rows_in: rowsIn,
      written,
      duplicates,
      dead,
      batches: files.length,
    })
  })
})

function wereCut({ cuts, commits }: Proxy): void {
  const requests = cuts.filter((cut) => cut === 'the request').length
  assert.equal(cuts.length, rounds)
  assert.ok(Math.abs(requests - rounds / 2) < 1, 'half of the cuts of each kind')
  assert.equal(
    commits,
    files.length + requests,
    'each commit that was cut before the server heard of it was made again',
  )
}
