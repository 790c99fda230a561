import assert from 'node:assert/strict'
import { rename, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Case, committedCases, expectedOf, expectFrom, outcomesOf } from './corpus.ts'
import { formats } from './formats.ts'
import { changes, changing, folderCases, nameCases, pathWhileRead, sixRows, unmovable, unreadable } from './places.ts'

// MILLRACE_CORPUS=write: what is found is written beside the files, to be read and judged before it is committed.
const write = process.env['MILLRACE_CORPUS'] === 'write'
const roads = ['a watched folder', 'inputs'] as const

for (const format of formats) {
  test(`the files in files/${format} become what stands beside them`, async () => {
    const cases = await committedCases(format)
    assert.ok(cases.length > 0)
    for (const road of roads) {
      // once in large batches, once in small ones
      const bytes = road === 'inputs' ? 300 : 1e6
      const found = await outcomesOf({ format, cases, road, limits: { rows: 1000, bytes } })
      for (const each of cases) {
        const outcome = found.get(each.name) ?? {}
        if (write) {
          await expectFrom(format, each, outcome)
          continue
        }
        assert.notEqual(each.shows, '', `say in ${each.name}.json what it shows`)
        assert.deepEqual(outcome, expectedOf(each), `${each.name}: ${each.shows}`)
      }
    }
  })
}

test('a file lands whatever its name is', async () => {
  compare(await outcomesOf({ format: 'csv', cases: nameCases, road: 'a watched folder' }), nameCases)
})

test('what is no regular file is left alone, and a person is told', async () => {
  for (const road of roads) {
    await using opened = await folderCases()
    compare(await outcomesOf({ format: 'csv', cases: opened.cases, road }), opened.cases)
  }
})

for (const road of roads) {
  for (const { what, act, outcome } of changes) {
    test(`a file that ${what} while it is read (${road}) is put aside, and what was read of it has landed`, async () => {
      const make = (path: string): Promise<void> => writeFile(path, sixRows)
      const found = await outcomesOf({
        format: 'csv',
        cases: [{ name: changing, shows: what, make }],
        road,
        // two rows of the neighbour before it, then two of its own
        limits: { rows: 4, bytes: 1e6 },
        before: async (time, place) => {
          if (time === 2) await act(await pathWhileRead(place, road))
        },
      })
      assert.deepEqual(found.get(changing), outcome)
    })
  }
}

test('two files of one name that come one after the other both land', async () => {
  const found = await outcomesOf({
    format: 'csv',
    cases: [{ name: 'x.csv', shows: '', make: (path) => writeFile(path, 'id,n\na,1\n') }],
    road: 'a watched folder',
    before: async (time, place) => {
      if (time !== 2) return
      await writeFile(join(place, '.x.csv'), 'id,n\n\nb,2\n')
      await utimes(join(place, '.x.csv'), 1, 1)
      await rename(join(place, '.x.csv'), join(place, 'x.csv'))
    },
  })
  assert.deepEqual(found.get('x.csv'), {
    rows: [
      { line: 2, id: 'a', n: '1' },
      { line: 3, id: 'b', n: '2' },
    ],
  })
})

test('a file that was written in its place a moment ago is waited for', async () => {
  const fresh = (path: string): Promise<void> => writeFile(path, 'id,n\na,1\n')
  const found = await outcomesOf({
    format: 'csv',
    cases: [{ name: 'x.csv', shows: '', make: fresh }],
    road: 'a watched folder',
    before: async (time, place) => {
      if (time === 1) await fresh(join(place, 'x.csv'))
    },
  })
  assert.deepEqual(found.get('x.csv'), { rows: [{ line: 2, id: 'a', n: '1' }] })
})

const isRoot = process.getuid?.() === 0
// root may read everything: then another user reads
const as = isRoot ? { as: 65_534 } : {}

test('a file that this user may not read is put aside', async () => {
  for (const road of roads) compare(await outcomesOf({ format: 'csv', cases: [unreadable], road, ...as }), [unreadable])
})

test("another user's file that cannot be moved is left alone, and a person is told", {
  skip: isRoot ? false : 'only root can make a file of another user',
}, async () => {
  compare(await outcomesOf({ format: 'csv', cases: [unmovable], road: 'a watched folder', ...as }), [unmovable])
})

function compare(found: Awaited<ReturnType<typeof outcomesOf>>, cases: readonly Case[]): void {
  for (const each of cases) assert.deepEqual(found.get(each.name), expectedOf(each), each.shows)
}
