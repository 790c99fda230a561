import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { openTestDuckdb, type TestDuckdb } from '../../test/duckdb.ts'
import type { Source, SourceColumn } from '../plan/plan.ts'
import { memoryDatabase, openMemoryStore } from '../store/memory.ts'
import type { DeadLetter, Store } from '../store/store.ts'
import { type LettersReaderOptions, openAllLetters, openLettersReader, sourceOfLetters } from './letters.ts'
import type { Range, SourceReader } from './source.ts'

const source: Source = {
  is: 'files',
  folder: '/in',
  format: { is: 'csv', delimiter: ',', quote: '"' },
  columns: ['a', 'b'].map((name) => ({ name, type: { is: 'text' }, nullable: true })),
}
const plenty = { rows: 1000, bytes: 1_000_000 }
let db: TestDuckdb
before(async () => {
  db = await openTestDuckdb()
})
after(async () => await db[Symbol.asyncDispose]())

// A store with these letters open, numbered from 1, and a reader over those that are chosen.
async function opened(letters: Partial<DeadLetter>[], chosen: Partial<LettersReaderOptions> = {}) {
  const folder = await mkdtempDisposable(join(tmpdir(), 'millrace-letters-'))
  const database = memoryDatabase(() => 0)
  const store = openMemoryStore(database)
  const add = (parts: Partial<DeadLetter>): void => {
    database.deadLetters.push(letterOf({ id: database.deadLetters.length + 1, ...parts }))
  }
  letters.forEach(add)
  const which = { upTo: letters.length }
  const reader = await openLettersReader({ id: 'files', source, store, spool: folder.path, which, set: {}, ...chosen })
  return { reader, store, add, [Symbol.asyncDispose]: () => folder.remove() }
}

function letterOf(parts: Partial<DeadLetter>): DeadLetter {
  return {
    id: 1,
    revision: 0,
    pipeline: 'shop',
    batch: 1,
    source: 'files',
    place: '/in/a.csv',
    line: 2,
    stage: 'validate',
    code: 'EMPTY',
    columnName: 'a',
    message: '',
    raw: 'x,y',
    rawBytes: null,
    fields: { a: 'x', b: 'y' },
    rejectedAt: new Date(0),
    settled: null,
    settledAt: null,
    settledBy: null,
    ...parts,
  }
}

async function idsOf(reader: SourceReader, limits = plenty): Promise<number[][]> {
  const found: number[][] = []
  for (let range = await reader.next(limits); range !== undefined; range = await reader.next(limits)) {
    assert.equal(range.rows, range.settles.length)
    found.push(range.settles.map(({ id }) => id))
    await range.release()
  }
  return found
}

async function rowsOf(range: Range | undefined): Promise<unknown[][]> {
  assert.ok(range)
  return (
    await db.query(
      `select _row::integer, ${range.where.line}, ${range.where.rawText}, a, b from (${range.select(1)}) s`,
    )
  ).rows
}

test('every text is read as it was written', async () => {
  const texts = ['', 'plain', 'a "quoted", text', '"', '""', 'two\nlines', 'two\r\nlines', '\r', '\n', '\\N', '日本 🐎']
  const letters = texts.map((text) => ({ raw: `raw ${text}`, line: null, fields: { a: text, b: null } }))
  await using world = await opened(letters)
  assert.deepEqual(
    await rowsOf(await world.reader.next(plenty)),
    texts.map((text, i) => [i + 1, null, `raw ${text}`, text, null]),
  )
})

test('a row of many megabytes is read too', async () => {
  const text = 'x,"\n'.repeat(1_000_000)
  await using world = await opened([{ raw: text, fields: { a: text, b: 'y' } }, {}])
  const [row] = await rowsOf(await world.reader.next(plenty))
  assert.deepEqual(row, [1, 2, text, text, 'y'])
})

test('values that are set replace those of every letter, a null too', async () => {
  await using world = await opened([{}, { fields: { a: '1', b: '2' } }], { set: { b: 'set', a: null } })
  assert.deepEqual(
    (await rowsOf(await world.reader.next(plenty))).map((row) => row.slice(3)),
    [
      [null, 'set'],
      [null, 'set'],
    ],
  )
})

test('where a row came from is told anew, and need not be given', async () => {
  const origins = (['file', 'line', 'batch'] as const).map(
    (origin): SourceColumn => ({ name: `its ${origin}`, type: { is: 'text' }, nullable: false, origin }),
  )
  const told = { 'its file': 'old', 'its line': 'old', 'its batch': 'old' }
  await using world = await opened([{ fields: { a: '1', b: '2', ...told } }, { fields: null }], {
    source: { ...source, columns: [...source.columns, ...origins] },
    set: { a: 'x', b: 'y' },
  })
  const range = await world.reader.next(plenty)
  const { rows } = await db.query(`select a, b, "its file", "its line", "its batch" from (${range?.select(7)})`)
  assert.deepEqual(rows, [
    ['x', 'y', '/in/a.csv', '2', '7'],
    ['x', 'y', '/in/a.csv', '2', '7'],
  ])
})

test('a range ends at its rows, at its bytes, and early where lines are very long', async () => {
  await using short = await opened(Array.from({ length: 5 }, () => ({})))
  assert.deepEqual(await idsOf(short.reader, { rows: 2, bytes: 1_000_000 }), [[1, 2], [3, 4], [5]])

  const long = { raw: 'x'.repeat(5_000_000) }
  await using mixed = await opened([{}, long, {}, long])
  const few: Pick<Store, 'deadLetters' | 'countDeadLetters'> = {
    // as a store answers whose rows are very long
    deadLetters: (query) => mixed.store.deadLetters({ ...query, limit: 1 }),
    countDeadLetters: (filter) => mixed.store.countDeadLetters(filter),
  }
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-letters-'))
  const options = { id: 'files', source, store: few, spool: folder.path, which: { upTo: 4 }, set: {} }
  await using byLength = await openLettersReader(options)
  assert.deepEqual(await idsOf(byLength, { rows: 9, bytes: 1e9 }), [
    [1, 2],
    [3, 4],
  ])
  await using byBytes = await openLettersReader(options)
  assert.deepEqual(await idsOf(byBytes, { rows: 9, bytes: 3 }), [[1], [2], [3], [4]])
})

test('what is settled meanwhile is left out, and what fails again is not read again', async () => {
  await using world = await opened([{}, {}, {}, {}], { which: { code: 'EMPTY', upTo: 4 } })
  assert.deepEqual((await world.reader.next({ rows: 1, bytes: 1e6 }))?.settles, [{ id: 1, revision: 0 }])
  await world.store.discardDeadLetters({ ids: [1, 3] }, 'a test')
  world.add({ code: 'EMPTY' })
  assert.deepEqual(await idsOf(world.reader), [[2, 4]])
  await world.reader.rewind()
  assert.deepEqual(await idsOf(world.reader), [[2, 4]])
})

test('a row that could not be told into columns is read only when every column is given', async () => {
  const letters = [{}, { fields: null }]
  await using some = await opened(letters, { set: { a: '1' } })
  assert.deepEqual(await idsOf(some.reader), [[1]])
  await using all = await opened(letters, { set: { a: '1', b: '2' } })
  assert.deepEqual(await rowsOf(await all.reader.next(plenty)), [
    [1, 2, 'x,y', '1', '2'],
    [2, 2, 'x,y', '1', '2'],
  ])
})

test('the bytes ahead are those not handed out yet', async () => {
  await using world = await opened([{ raw: 'Öl' }, { raw: 'four' }, { raw: 'left', fields: null }])
  assert.equal(await world.reader.bytesAhead?.(), 7)
  const range = await world.reader.next({ rows: 1, bytes: 1e6 })
  assert.deepEqual([range?.bytes, await world.reader.bytesAhead?.()], [3, 4])
})

test('two sources of one plan are read into one folder, and the rows of one stay when those of the other go', async () => {
  await using one = await opened([{ source: 'a' }, { source: 'b' }, { source: 'b' }], { id: 'a' })
  await using folder = await mkdtempDisposable(join(tmpdir(), 'millrace-letters-'))
  const shared = { store: one.store, spool: folder.path, which: { upTo: 3 }, set: {} }
  const all = await openAllLetters({ sources: { a: source, b: source } }, shared)
  const [first, second] = [await all.next(plenty), await all.next(plenty)]
  assert.deepEqual(
    [first, second].map((range) => range?.settles.map(({ id }) => id)),
    [[1], [2, 3]],
  )
  await first?.release()
  assert.equal((await db.query(second?.select(1) ?? '')).rows.length, 2)
  await second?.release()
  assert.equal(await all.next(plenty), undefined)
})

test('what may be set in the letters of a plan are the columns of all its sources', () => {
  const other: Source = {
    ...source,
    columns: ['b', 'c'].map((name) => ({ name, type: { is: 'text' }, nullable: true })),
  }
  assert.deepEqual(
    sourceOfLetters({ sources: { one: source, other } })?.columns.map(({ name }) => name),
    ['a', 'b', 'c'],
  )
  assert.equal(sourceOfLetters({ sources: {} }), undefined)
})
