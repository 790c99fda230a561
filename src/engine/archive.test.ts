/** The archiver's clock, its files and its failures, from `done/` to the day they are deleted. */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { batchOf, planOf } from '../../test/store-contract/world.ts'
import { MillraceError } from '../errors.ts'
import { archiveFailpoints, arm } from '../failpoint.ts'
import { createLog } from '../log.ts'
import type { Plan } from '../plan/plan.ts'
import { claimFile } from '../sources/files/claims.ts'
import { memoryDatabase, openMemoryStore } from '../store/memory.ts'
import type { FileProgress, Lease, Store } from '../store/store.ts'
import type { Archive } from '../system.ts'
import { Archiver, type ArchiverOptions, type ArchiverState } from './archive.ts'
import { runEffects } from './effects.ts'

const minute = 60_000
const day = 24 * 60 * minute

// ---- moving --------------------------------------------------------------------------------------------------------

test('a file that is done moves to the day of its arrival once it is old enough, and not before', async () => {
  await using world = await openWorld()
  const arrivedAt = Date.parse('2026-03-04T23:59:30Z')
  await world.done('a.csv', 'one', { arrivedAt })
  const [inDone = ''] = await world.names(world.doneFolder)
  assert.match(inDone, /-a\.csv$/, 'a person finds it in done/ meanwhile')
  const { mtimeMs } = await stat(join(world.doneFolder, inDone))
  const archiver = world.archiver({ afterMs: minute })
  await archiver.round(arrivedAt + minute - 1)
  assert.deepEqual(await world.archived(), {})
  await archiver.round(arrivedAt + minute)
  assert.deepEqual(await world.archived(), { '2026/03/04/a.csv': 'one' })
  assert.equal((await stat(join(world.archive, '2026/03/04/a.csv'))).mtimeMs, mtimeMs)
  await world.isTidy()
})

test('only files of committed batches move that are done and came through the watched folder', async () => {
  await using world = await openWorld()
  const given = join(world.folder, 'given.csv')
  await writeFile(given, 'where it lies')
  await world.done('a.csv', 'one')
  await world.commit([{ ...(await world.claim('bad.csv', 'bad', { id: 'claim2' })), state: 'quarantined' }])
  await world.commit([{ ...(await world.claim('half.csv', 'half', { id: 'claim3' })), state: 'reading' }])
  await world.commit([{ ...(await world.claim('x.csv', 'x')), id: given, path: given }])
  // files of their owners, with the names that these would have
  const strangers = ['claim2-bad.csv', 'claim3-half.csv', '../../done/batch-4-given.csv']
  await mkdir(join(world.folder, 'done'))
  for (const name of strangers) await writeFile(join(world.doneFolder, name), 'a stranger')
  const last = await world.done('later.csv', 'later')
  const archiver = world.archiver({ afterMs: 0 })
  // the effects of the last batch have not been run: its file may still be under its claim
  archiver.settled(last - 1)
  await archiver.round(Date.now())
  assert.deepEqual(world.named(await world.archived()), { 'a.csv': 'one' })
  assert.equal(await readFile(given, 'utf8'), 'where it lies')
  for (const name of strangers) assert.equal(await readFile(join(world.doneFolder, name), 'utf8'), 'a stranger')
  archiver.settled(last)
  await archiver.round(Date.now())
  assert.deepEqual(world.named(await world.archived()), { 'a.csv': 'one', 'later.csv': 'later' })
  assert.equal(await world.store.effectCursor('shop', 'archive'), last)
})

test('a name that is taken is left alone, whoever took it', async () => {
  await using world = await openWorld()
  const arrivedAt = Date.parse('2026-03-04T12:00:00Z')
  await world.put('2026/03/04/a.csv', 'a stranger')
  for (const content of ['one', 'two']) await world.done('a.csv', content, { arrivedAt })
  await world.archiver({ afterMs: 0 }).round(arrivedAt)
  const archived = await world.archived()
  assert.equal(archived['2026/03/04/a.csv'], 'a stranger')
  const others = Object.keys(archived).filter((path) => path !== '2026/03/04/a.csv')
  assert.deepEqual(others.map((path) => archived[path]).sort(), ['one', 'two'])
  for (const path of others) assert.match(path, /^2026\/03\/04\/\w+-a\.csv$/)

  // even the name that only its claim should have
  await world.done('b.csv', 'three', { arrivedAt, id: 'claim9' })
  await world.put('2026/03/04/b.csv', 'a stranger')
  await world.put('2026/03/04/claim9-b.csv', 'another')
  await world.archiver({ afterMs: 0 }).round(arrivedAt)
  const all = await world.archived()
  assert.deepEqual([all['2026/03/04/b.csv'], all['2026/03/04/claim9-b.csv']], ['a stranger', 'another'])
  assert.equal(all['2026/03/04/claim9-2-b.csv'], 'three')
})

for (const [compress, ending, unpack] of [
  ['gzip', '.gz', gunzipSync],
  ['zstd', '.zst', zstdDecompressSync],
] as const) {
  test(`${compress} makes files smaller and nothing else of them`, async () => {
    await using world = await openWorld()
    const content = Array.from({ length: 20_000 }, (_, i) => `row ${i % 1000}, ü`).join('\n')
    await world.done('a.csv', content)
    await world.done('empty.csv', '')
    const { mtimeMs } = await stat(join(world.doneFolder, (await world.names(world.doneFolder))[0] ?? ''))
    await world.archiver({ afterMs: 0, compress }).round(Date.now())
    const paths = await world.paths()
    assert.deepEqual(paths.map((path) => basename(path)).sort(), [`a.csv${ending}`, `empty.csv${ending}`])
    for (const path of paths) {
      const bytes = await readFile(join(world.archive, path))
      assert.ok(path.includes('empty') || bytes.length < content.length / 3)
      assert.equal(unpack(bytes).toString(), path.includes('empty') ? '' : content)
    }
    const { mtimeMs: kept } = await stat(join(world.archive, paths.find((path) => path.includes('a.csv')) ?? ''))
    assert.ok(Math.abs(kept - mtimeMs) < 1, `the time of the content stays: ${kept} after ${mtimeMs}`)
    await world.isTidy()
  })
}

test('on another file system a file is copied', async (t) => {
  const other = await mkdtemp('/dev/shm/millrace-archive-').catch(() => undefined)
  if (other === undefined) return t.skip('there is no other file system here')
  await using world = await openWorld()
  try {
    if ((await stat(other)).dev === (await stat(world.folder)).dev) return t.skip('there is no other file system here')
    const arrivedAt = Date.parse('2026-03-04T12:00:00Z')
    await mkdir(join(other, '2026/03/04'), { recursive: true })
    await writeFile(join(other, '2026/03/04/a.csv'), 'a stranger')
    await world.done('a.csv', 'one', { arrivedAt })
    await world.done('b.csv', 'two', { arrivedAt })
    await world.archiver({ afterMs: 0, folder: other }).round(arrivedAt)
    const archived = await contentsOf(other)
    assert.deepEqual(Object.values(archived).sort(), ['a stranger', 'one', 'two'])
    assert.deepEqual([archived['2026/03/04/a.csv'], archived['2026/03/04/b.csv']], ['a stranger', 'two'])
    assert.deepEqual(await world.names(world.doneFolder), [])
  } finally {
    await rm(other, { recursive: true })
  }
})

test('a name as long as a file system takes is cut where the claim or the ending needs room', async () => {
  await using world = await openWorld()
  const name = `${'ü'.repeat(125)}.csv`
  for (const content of ['one', 'two']) await world.done(name, content)
  await world.archiver({ afterMs: 0, compress: 'gzip' }).round(Date.now())
  const paths = await world.paths()
  assert.equal(paths.length, 2)
  for (const path of paths) assert.match(path, /\/\w+-?[ü~]+\.csv\.gz$/)
  assert.deepEqual(Object.values(await world.archived()).sort(), ['one', 'two'])
})

test('what lay in done/ before there was an archive follows under its own name', async () => {
  await using world = await openWorld()
  await world.done('a.csv', 'one', { archived: false })
  await world.done('a.csv', 'two', { archived: false })
  await world.done('gone.csv', 'gone', { archived: false })
  assert.ok((await world.names(world.doneFolder)).includes('a.csv'))
  // somebody has taken a file away, and another file its name
  await rm(join(world.doneFolder, 'gone.csv'))
  await writeFile(join(world.doneFolder, 'gone.csv'), 'here')
  await world.archiver({ afterMs: 0 }).round(Date.now())
  assert.deepEqual(Object.values(await world.archived()).sort(), ['one', 'two'])
  assert.deepEqual(await world.names(world.doneFolder), ['gone.csv'])
})

test('a file that somebody has taken out of done/ is his, and leaves no trace', async () => {
  await using world = await openWorld()
  for (const compress of [undefined, 'gzip'] as const) {
    await world.done('a.csv', 'one')
    for (const name of await world.names(world.doneFolder)) await rm(join(world.doneFolder, name))
    await world.archiver({ afterMs: 0, compress }).round(Date.now())
    assert.deepEqual(await world.names(world.archive), [])
    assert.deepEqual(await world.names(world.records), [])
  }
  assert.equal(await world.store.effectCursor('shop', 'archive'), 2)
})

test('a file whose time lies ahead waits no longer than others', async () => {
  await using world = await openWorld()
  const now = Date.now()
  await world.done('a.csv', 'one', { arrivedAt: now + 400 * day })
  const archiver = world.archiver({ afterMs: minute })
  await archiver.round(now)
  assert.deepEqual(await world.archived(), {})
  await archiver.round(now + minute)
  assert.deepEqual(Object.values(await world.archived()), ['one'])
})

test('a round with nothing to do writes nothing', async () => {
  await using world = await openWorld()
  await world.done('a.csv', 'one')
  const moved: number[] = []
  const archiver = world.archiver({ afterMs: minute, keepMs: day }, (options) => ({
    ...options,
    store: {
      effectCursor: (...of) => world.store.effectCursor(...of),
      filesOfBatch: (...of) => world.store.filesOfBatch(...of),
      files: (...of) => world.store.files(...of),
      async advanceEffect(pipeline, effect, batch) {
        moved.push(batch)
        await world.store.advanceEffect(pipeline, effect, batch)
      },
    },
  }))
  const before = await stat(world.doneFolder)
  for (let i = 0; i < 3; i++) await archiver.round(Date.now())
  assert.deepEqual(moved, [])
  assert.deepEqual(await world.names(world.folder), ['input', 'logs'])
  assert.equal((await stat(world.doneFolder)).mtimeMs, before.mtimeMs)
  const later = Date.now() + minute
  for (let i = 0; i < 3; i++) await archiver.round(later)
  assert.deepEqual(moved, [1])
})

// ---- dying on the way ----------------------------------------------------------------------------------------------

for (const mode of ['plain', 'gzip', 'copied'] as const) {
  for (const point of archiveFailpoints) {
    // reached on both sides of each of the files
    for (const time of [1, 2, 3, 6]) {
      const written = point === 'archive write' || point === 'archive remove temp'
      if ((mode === 'plain' && written) || (point === 'archive cursor' && time > 2)) continue
      test(`${mode}: ended at "${point}", time ${time}, it leaves one copy of each file`, async (t) => {
        const other = mode === 'copied' ? await mkdtemp('/dev/shm/millrace-archive-').catch(() => undefined) : undefined
        if (mode === 'copied' && other === undefined) return t.skip('there is no other file system here')
        await using world = await openWorld(other)
        const arrivedAt = Date.parse('2026-03-04T12:00:00Z')
        await world.put('2026/03/04/a.csv', 'a stranger')
        await world.put('2026/03/04/a.csv.gz', 'a stranger')
        for (const [name, content] of files) await world.done(name, content, { arrivedAt })
        const archive: Partial<Archive> = { afterMs: 0, compress: mode === 'gzip' ? 'gzip' : undefined }
        try {
          arm(`${point}@${time}=throw`)
          await assert.rejects(
            world.archiver(archive).round(arrivedAt),
            (error) => error instanceof MillraceError && error.code === 'FAILPOINT',
          )
        } finally {
          arm(undefined)
        }
        await world.archiver(archive).round(arrivedAt + 1)
        const { '2026/03/04/a.csv': a, '2026/03/04/a.csv.gz': gz, ...others } = await world.archived()
        assert.deepEqual([a, gz], ['a stranger', 'a stranger'])
        assert.deepEqual(Object.values(others).sort(), files.map(([, content]) => content).sort())
        await world.isTidy()
        assert.equal(await world.store.effectCursor('shop', 'archive'), files.length)
      })
    }
  }
}

const files = [
  ['a.csv', 'one'],
  ['a.csv', 'two'],
  ['b.csv', 'three'],
] as const

test('what a killed worker had half written goes, and what it had written is finished, though the cursor is past it', async () => {
  await using world = await openWorld()
  await world.done('a.csv', 'one', { id: 'claim1', arrivedAt: Date.parse('2026-03-04T12:00:00Z') })
  const desk = join(world.archive, '.archiving-shop')
  try {
    arm('archive remove temp@1=throw')
    await assert.rejects(world.archiver({ afterMs: 0, compress: 'gzip' }).round(Date.now()))
  } finally {
    arm(undefined)
  }
  assert.deepEqual(await world.names(desk), ['claim1.gz'])
  await writeFile(join(desk, 'claim1.gz.other-worker.part'), 'half')
  // of a file that the store knows nothing of any more
  await writeFile(join(desk, 'claim3.gz'), 'whole')
  await world.store.advanceEffect('shop', 'archive', 1)
  await world.archiver({ afterMs: 0 }).round(Date.now())
  assert.deepEqual(await world.archived(), { '2026/03/04/a.csv.gz': 'one' })
  await world.isTidy()
})

for (const [first, second] of [
  [undefined, 'gzip'],
  ['gzip', undefined],
  ['zstd', 'gzip'],
] as const) {
  test(`killed with ${first ?? 'no compression'} and started with ${second ?? 'none'}, it makes no second copy`, async () => {
    await using world = await openWorld()
    await world.done('a.csv', 'one')
    try {
      arm('archive link@2=throw')
      await assert.rejects(world.archiver({ afterMs: 0, compress: first }).round(Date.now()))
    } finally {
      arm(undefined)
    }
    await world.archiver({ afterMs: 0, compress: second }).round(Date.now())
    assert.deepEqual(Object.values(await world.archived()), ['one'])
    await world.isTidy()
  })
}

test('two workers at once, one of which should no longer be there, leave one copy of each file', async () => {
  for (const compress of [undefined, 'gzip'] as const) {
    await using world = await openWorld()
    const expected: string[] = []
    for (let i = 0; i < 40; i++) {
      const name = `${i % 7}.csv`
      expected.push(`file ${i}`)
      await world.done(name, `file ${i}`)
    }
    const two = [world.archiver({ afterMs: 0, compress }), world.archiver({ afterMs: 0, compress })]
    // one may find its file gone between two steps, and says so; the next round goes on
    await Promise.allSettled(two.map((archiver) => archiver.round(Date.now())))
    for (const archiver of two) await archiver.round(Date.now())
    assert.deepEqual(Object.values(await world.archived()).sort(), expected.sort())
    await world.isTidy()
  }
})

test('a worker that was replaced while it wrote a file makes no second copy of it', async () => {
  await using world = await openWorld()
  await world.done('a.csv', 'one')
  const two = [world.archiver({ afterMs: 0, compress: 'gzip' }), world.archiver({ afterMs: 0, compress: 'gzip' })]
  try {
    // the third time is that of the one who has written first, on the other side of it
    arm('archive write@3=delay:500')
    await Promise.allSettled(two.map((archiver) => archiver.round(Date.now())))
  } finally {
    arm(undefined)
  }
  for (const archiver of two) await archiver.round(Date.now())
  assert.deepEqual(Object.values(await world.archived()), ['one'])
  await world.isTidy()
})

// ---- failing -------------------------------------------------------------------------------------------------------

describe('what cannot be archived', () => {
  test('pauses the archiver, which says why and goes on by itself', async () => {
    await using world = await openWorld()
    await world.done('a.csv', 'one')
    // a file where the archive's folder should be
    await writeFile(world.archive, 'in the way')
    const states: ArchiverState[] = []
    const reached = { paused: Promise.withResolvers<void>(), working: Promise.withResolvers<void>() }
    const lines: string[] = []
    await using archiver = world.archiver({ afterMs: 0 }, (options) => ({
      ...options,
      log: createLog('info', { write: (line) => lines.push(line), readable: false }),
      onState(state) {
        states.push(state)
        if (state.is === 'paused') reached.paused.resolve()
        else if (states.some(({ is }) => is === 'paused')) reached.working.resolve()
      },
    }))
    archiver.start()
    await reached.paused.promise
    assert.equal((await world.names(world.doneFolder)).length, 1)
    await rm(world.archive)
    await reached.working.promise
    assert.deepEqual(Object.values(await world.archived()), ['one'])
    const [first, second, ...rest] = states
    assert.deepEqual([first, rest.at(-1)], [{ is: 'working' }, { is: 'working' }])
    assert.partialDeepStrictEqual(second, { is: 'paused', tries: 1, nextInMs: 1000 })
    assert.match(second?.is === 'paused' ? second.why : '', /ENOTDIR|EEXIST/)
    assert.deepEqual(
      [lines[0], lines.at(-1)].map((line) => JSON.parse(line ?? '{}').event),
      ['archiving is paused', 'archiving again'],
    )
  })

  test('does not hold up a worker that is told to stop', async () => {
    await using world = await openWorld()
    for (let i = 0; i < 50; i++) await world.done(`${i}.csv`, `file ${i}`)
    const stop = new AbortController()
    const archiver = world.archiver({ afterMs: 0, compress: 'gzip' }, (options) => ({
      ...options,
      signal: stop.signal,
    }))
    const finished = archiver.finish()
    stop.abort()
    await finished
    assert.ok((await world.names(world.doneFolder)).length > 40, 'it ended between two files')
    await world.archiver({ afterMs: 0, compress: 'gzip' }).finish()
    assert.equal(Object.keys(await world.archived()).length, 50)
    await world.isTidy()
  })

  test('does not keep what has expired from making room', async () => {
    await using world = await openWorld()
    const arrivedAt = Date.parse('2026-03-04T12:00:00Z')
    await world.done('old.csv', 'old', { arrivedAt })
    await world.archiver({ afterMs: 0 }).round(arrivedAt)
    await world.done('new.csv', 'new', { arrivedAt: arrivedAt + 2 * day })
    await world.put('2026/03/06', 'in the way')
    await assert.rejects(world.archiver({ afterMs: 0, keepMs: day }).round(arrivedAt + 2 * day))
    assert.deepEqual(await world.paths(), ['2026/03/06'])
    assert.equal((await world.names(world.doneFolder)).length, 1)
  })
})

// ---- keeping -------------------------------------------------------------------------------------------------------

test('what has been in the archive for long enough goes, with the folders that are empty then', async () => {
  await using world = await openWorld()
  const start = Date.parse('2026-03-30T12:00:00Z')
  const archive = { afterMs: minute, keepMs: 2 * day }
  for (let i = 0; i < 4; i++) {
    await world.done(`${i}.csv`, `file ${i}`, { arrivedAt: start + i * day })
    await world.archiver(archive).round(start + i * day + minute)
  }
  assert.deepEqual(await world.paths(), ['2026/04/01/2.csv', '2026/04/02/3.csv'])
  assert.deepEqual(await world.names(join(world.archive, '2026')), ['04'])
  await world.archiver(archive).round(start + 4 * day + minute - 1)
  assert.equal((await world.paths()).length, 2)
  await world.archiver(archive).round(start + 4 * day + minute)
  assert.deepEqual(await world.names(join(world.archive, '2026/04')), ['02'])
  await world.archiver(archive).round(start + 5 * day + minute)
  assert.deepEqual(await world.names(world.archive), [])
  assert.deepEqual(await world.names(world.records), ['2026-04-02.jsonl'])
  await world.archiver(archive).round(start + 6 * day)
  assert.deepEqual(await world.names(world.records), [])
})

test('the time in the archive counts, and not the age of the file', async () => {
  await using world = await openWorld()
  const arrivedAt = Date.parse('2026-01-01T12:00:00Z')
  const archivedAt = Date.parse('2026-03-30T12:00:00Z')
  await world.done('a.csv', 'one', { arrivedAt })
  const archiver = world.archiver({ afterMs: minute, keepMs: minute })
  await archiver.round(archivedAt)
  await archiver.round(archivedAt + minute - 1)
  assert.deepEqual(await world.paths(), ['2026/01/01/a.csv'])
  await archiver.round(archivedAt + minute)
  assert.deepEqual(await world.names(world.archive), [])
})

test('nothing is deleted that was not archived, was changed since, or lies elsewhere', async () => {
  await using world = await openWorld()
  const arrivedAt = Date.parse('2026-03-04T12:00:00Z')
  const outside = join(world.folder, 'outside')
  for (const name of ['gone.csv', 'edited.csv', 'replaced.csv']) await world.done(name, name, { arrivedAt })
  await world.done('moved.csv', 'moved', { arrivedAt: arrivedAt - day })
  const archive = { afterMs: 0, keepMs: minute }
  await world.archiver(archive).round(arrivedAt)
  await world.put('2026/03/04/notes.txt', 'a stranger')
  await world.put('2026/03/02/notes.txt', 'a stranger')
  await writeFile(join(world.archive, '2026/03/04/edited.csv'), 'and more')
  await rm(join(world.archive, '2026/03/04/replaced.csv'))
  await symlink(join(world.archive, '2026/03/04/notes.txt'), join(world.archive, '2026/03/04/replaced.csv'))
  // the day moved elsewhere by somebody who ran out of room: it is his now
  await rename(join(world.archive, '2026/03/03'), outside)
  await symlink(outside, join(world.archive, '2026/03/03'))
  // and a line of records that somebody wrote
  const records = join(world.records, '2026-03-04.jsonl')
  await writeFile(join(world.folder, 'precious.csv'), 'precious')
  const { size, mtimeNs } = await stat(join(world.folder, 'precious.csv'), { bigint: true })
  const path = '2026/03/04/../../../../precious.csv'
  await writeFile(
    records,
    `${await readFile(records, 'utf8')}{"at":0,"path":"${path}","size":${size},"mtime_ns":"${mtimeNs}"}\n{"at":0`,
  )
  await world.archiver(archive).round(arrivedAt + 2 * day)
  assert.deepEqual((await world.paths()).sort(), [
    '2026/03/02/notes.txt',
    '2026/03/03/moved.csv',
    '2026/03/04/edited.csv',
    '2026/03/04/notes.txt',
  ])
  assert.deepEqual(await world.names(outside), ['moved.csv'])
  assert.ok((await world.names(world.folder)).includes('precious.csv'))
})

test('a torn line of records costs its own file alone', async () => {
  await using world = await openWorld()
  const arrivedAt = Date.parse('2026-03-04T12:00:00Z')
  await mkdir(world.records, { recursive: true })
  await writeFile(join(world.records, '2026-03-04.jsonl'), '\n{"at":1772625600000,"path":"2026/03/0')
  await world.done('a.csv', 'one', { arrivedAt })
  const archiver = world.archiver({ afterMs: 0, keepMs: minute })
  await archiver.round(arrivedAt)
  assert.deepEqual(await world.paths(), ['2026/03/04/a.csv'])
  await archiver.round(arrivedAt + minute)
  assert.deepEqual(await world.paths(), [])
})

// ---- the world -----------------------------------------------------------------------------------------------------

interface World extends AsyncDisposable {
  folder: string
  doneFolder: string
  archive: string
  records: string
  store: Store
  /** Claims a file as a worker would, read to its end. */
  claim(name: string, content: string, options?: { arrivedAt?: number; id?: string }): Promise<FileProgress>
  /** Commits a batch of these files and runs its effects; answers its number. */
  commit(files: FileProgress[], archived?: boolean): Promise<number>
  /** Claims and commits one file. */
  done(
    name: string,
    content: string,
    options?: { arrivedAt?: number; id?: string; archived?: boolean },
  ): Promise<number>
  /** Puts a file of somebody's own into the archive. */
  put(path: string, content: string): Promise<void>
  archiver(archive: Partial<Archive>, change?: (options: ArchiverOptions) => ArchiverOptions): Archiver
  /** The files in the archive, by path, sorted. */
  paths(): Promise<string[]>
  /** What is in them, unpacked. */
  archived(): Promise<Record<string, string>>
  named(archived: Record<string, string>): Record<string, string>
  names(folder: string): Promise<string[]>
  /** Nothing is left in `done/`, under claims, or on the way. */
  isTidy(): Promise<void>
}

async function openWorld(archive?: string): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-archive-'))
  const input = join(folder, 'input')
  await mkdir(input)
  const store = openMemoryStore(memoryDatabase(Date.now))
  const made = planOf([])
  const plan: Plan = { ...made, sources: { files: { ...sourceOf(made), folder: input } } }
  await store.register(plan)
  const lease = await leaseOf(store)
  let claims = 0
  let workers = 0
  let last = 0
  const world: World = {
    folder,
    doneFolder: join(input, 'done'),
    archive: archive ?? join(folder, 'archive'),
    records: join(folder, 'records'),
    store,
    async claim(name, content, { arrivedAt, id = `claim${++claims}` } = {}) {
      const path = join(input, name)
      await writeFile(path, content)
      const before = new Date(Date.now() - 1000)
      await utimes(path, before, before)
      const taking = await claimFile(input, { name }, id, Date.now())
      if (taking.is !== 'claimed') throw new Error(`${name} was not claimed`)
      const { at: _, ...file } = taking.claim
      return {
        ...file,
        source: 'files',
        state: 'done',
        arrivedAt: arrivedAt === undefined ? file.arrivedAt : new Date(arrivedAt),
      }
    },
    async commit(files, archived = true) {
      last++
      await store.commit(batchOf({ batch: last, epoch: lease.epoch, files }))
      await runEffects({ plan, store, archived, quarantine: join(folder, 'error'), logs: join(folder, 'logs') })
      return last
    },
    async done(name, content, { archived = true, ...claim } = {}) {
      return await world.commit([await world.claim(name, content, claim)], archived)
    },
    async put(path, content) {
      await mkdir(dirname(join(world.archive, path)), { recursive: true })
      await writeFile(join(world.archive, path), content)
    },
    archiver(settings, change = (options) => options) {
      const archiver = new Archiver(
        change({
          plan,
          store,
          archive: { folder: world.archive, afterMs: minute, ...settings },
          records: world.records,
          worker: `worker-${++workers}`,
          log: createLog('error', { write: () => {} }),
          signal: new AbortController().signal,
        }),
      )
      archiver.settled(last)
      return archiver
    },
    paths: async () => Object.keys(await contentsOf(world.archive)).sort(),
    archived: async () => await contentsOf(world.archive),
    named: (archived) => Object.fromEntries(Object.entries(archived).map(([path, text]) => [basename(path), text])),
    names: async (of) => (await readdir(of).catch(() => [])).sort(),
    async isTidy() {
      assert.deepEqual(await world.names(world.doneFolder), [])
      assert.deepEqual(await world.names(join(input, '.claimed')), [])
      assert.deepEqual(
        (await world.names(world.archive)).filter((name) => name.startsWith('.')),
        [],
      )
    },
    async [Symbol.asyncDispose]() {
      await rm(folder, { recursive: true, force: true })
      if (archive !== undefined) await rm(archive, { recursive: true, force: true })
    },
  }
  return world
}

function sourceOf({ sources }: Plan): Extract<Plan['sources'][string], { is: 'files' }> {
  const source = sources['files']
  if (source?.is !== 'files') throw new Error('the plan reads no files')
  return source
}

async function leaseOf(store: Store): Promise<Lease> {
  const answer = await store.lease({
    pipeline: 'shop',
    owner: 'one:1',
    borrow: false,
    onWanted: () => {},
    onLost: () => {},
  })
  if (answer.is !== 'taken') throw new Error('the lease is held')
  return answer.lease
}

// Regular files below a folder, hidden ones too, with what is in them.
async function contentsOf(folder: string): Promise<Record<string, string>> {
  const contents: Record<string, string> = {}
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    const bytes = await readFile(path)
    const text = bytes.toString()
    const packed = text.startsWith('a stranger') ? '' : path.slice(path.lastIndexOf('.'))
    contents[path.slice(folder.length + 1)] =
      packed === '.gz' ? gunzipSync(bytes).toString() : packed === '.zst' ? zstdDecompressSync(bytes).toString() : text
  }
  return contents
}
