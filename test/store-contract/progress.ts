import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe } from 'node:test'
import { readFields } from '../../src/store/csv-rows.ts'
import type { BatchKind, FileProgress, LedgerQuery, Position } from '../../src/store/store.ts'
import {
  inOrder,
  into,
  letterFile,
  letterOf,
  noBooks,
  oncePerId,
  planOf,
  type Scenario,
  type World,
  work,
} from './world.ts'

export function progress(scenario: Scenario): void {
  describe('positions', () => {
    scenario('are those of the last commit that moved them, by source and partition', async ({ store }) => {
      const worker = await work(store)
      const at = (source: string, partition: string, position: number): Position => ({
        source,
        partition,
        position,
        watermark: undefined,
      })
      await worker.commit({ positions: [at('files', 'in', 1), at('topic', '0', 10), at('topic', '1', 20)] })
      await worker.commit({ positions: [at('topic', '1', 21), at('files', 'in', Number.MAX_SAFE_INTEGER)] })
      await worker.commit()
      assert.deepEqual(inOrder((await store.committed('shop')).positions), [
        at('files', 'in', Number.MAX_SAFE_INTEGER),
        at('topic', '0', 10),
        at('topic', '1', 21),
      ])
    })

    scenario('carry a watermark to the millisecond, which is never lost and never moves back', async ({ store }) => {
      const worker = await work(store)
      const steps: { gives: number | undefined; leaves: number | undefined }[] = [
        { gives: undefined, leaves: undefined },
        { gives: 0, leaves: 0 },
        { gives: -1, leaves: 0 },
        { gives: 1_767_225_600_123, leaves: 1_767_225_600_123 },
        { gives: undefined, leaves: 1_767_225_600_123 },
        { gives: 1_767_225_600_122, leaves: 1_767_225_600_123 },
        { gives: 1_767_225_600_124, leaves: 1_767_225_600_124 },
      ]
      for (const [n, { gives, leaves }] of steps.entries()) {
        const moved = { source: 'files', partition: 'in', position: n }
        await worker.commit({ positions: [{ ...moved, watermark: gives }] })
        assert.deepEqual((await store.committed('shop')).positions, [{ ...moved, watermark: leaves }])
      }
    })
  })

  describe('files', () => {
    const file: FileProgress = {
      source: 'files',
      id: 'claim-1',
      path: 'in/a "b", c.csv',
      size: 5_000_000_000,
      mtimeNs: 1_790_000_000_123_456_789n,
      // the whole range of 64 bits
      inode: 18_446_744_073_709_551_615n,
      state: 'reading',
      bytesDone: 4_000_000_000,
      linesDone: 4000,
      rowsDone: 3999,
      arrivedAt: new Date('2026-01-01T12:34:56.789Z'),
    }
    const done: FileProgress = { ...file, state: 'done', bytesDone: 5_000_000_000, linesDone: 5000, rowsDone: 4999 }
    const quarantined: FileProgress = {
      ...file,
      id: 'claim-2',
      state: 'quarantined',
      code: 'BAD_HEADER',
      message: 'the header lacks "id"',
    }

    scenario('are stored as they were left, with their batch', async ({ store }) => {
      const worker = await work(store)
      const stored = async () => [...(await store.files('shop', 'files', ['claim-1', 'claim-2', 'claim-3']))]
      assert.deepEqual(await stored(), [])
      await worker.commit({ files: [file] })
      assert.deepEqual(await stored(), [['claim-1', { ...file, batch: 1 }]])
      await worker.commit({ files: [done, quarantined] })
      await worker.commit()
      assert.deepEqual(inOrderOfId(await stored()), [
        ['claim-1', { ...done, batch: 2 }],
        ['claim-2', { ...quarantined, batch: 2 }],
      ])
    })

    scenario('are known by batch: the last one that moved them', async ({ store }) => {
      const worker = await work(store)
      await worker.commit({ files: [file, quarantined] })
      await worker.commit({ files: [done] })
      assert.deepEqual(await store.filesOfBatch('shop', 1), [{ ...quarantined, batch: 1 }])
      assert.deepEqual(await store.filesOfBatch('shop', 2), [{ ...done, batch: 2 }])
      assert.deepEqual(await store.filesOfBatch('shop', 3), [])
    })

    scenario('of one id in two sources, or two pipelines, are two files', async ({ store }) => {
      const one = await work(store)
      const two = await work(store, [oncePerId], { pipeline: 'other' })
      await one.commit({ files: [file, { ...done, source: 'more' }] })
      await two.commit({ files: [{ ...file, size: 1, bytesDone: 1 }] })
      const stateIn = async (pipeline: string, source: string) =>
        (await store.files(pipeline, source, ['claim-1'])).get('claim-1')
      assert.equal((await stateIn('shop', 'files'))?.state, 'reading')
      assert.equal((await stateIn('shop', 'more'))?.state, 'done')
      assert.equal((await stateIn('other', 'files'))?.size, 1)
      assert.equal(await stateIn('other', 'more'), undefined)
    })

    scenario('that are not asked for are not told of', async ({ store }) => {
      const worker = await work(store)
      await worker.commit({ files: [file, quarantined] })
      assert.equal((await store.files('shop', 'files', [])).size, 0)
      assert.deepEqual([...(await store.files('shop', 'files', ['claim-2', 'claim-2'])).keys()], ['claim-2'])
    })
  })

  describe('dedup keys', () => {
    scenario('are seen once they are committed, by step', async (world) => {
      const worker = await work(world.store)
      const odd = ['a', '', 'a,b', 'x"y', 'line\nend', '🐎', '\\.', "';--"]
      assert.deepEqual(await seenKeys(world, 'shop', 'dedup', odd), [])
      await worker.commit({
        dedupKeys: await world.file(['step', 'key'], [...odd.map((key) => ['dedup', key]), ['other', 'b']]),
      })
      await worker.commit({ dedupKeys: await world.file(['step', 'key'], [['dedup', 'later']]) })
      assert.deepEqual(
        await seenKeys(world, 'shop', 'dedup', ['b', ...odd, 'later', 'A']),
        [...odd, 'later'].toSorted(),
      )
      assert.deepEqual(await seenKeys(world, 'shop', 'other', ['a', 'b']), ['b'])
      assert.deepEqual(await seenKeys(world, 'shop', 'none', ['a', 'b']), [])
      assert.deepEqual(await seenKeys(world, 'shop', 'dedup', []), [])
    })

    scenario('of one pipeline are nothing to another', async (world) => {
      const worker = await work(world.store)
      await worker.commit({ dedupKeys: await world.file(['step', 'key'], [['dedup', 'a']]) })
      await world.store.register(planOf([oncePerId], 'other'))
      assert.deepEqual(await seenKeys(world, 'other', 'dedup', ['a']), [])
    })

    scenario('come once: a batch that brings one again is refused', async (world) => {
      const worker = await work(world.store)
      await worker.commit({ dedupKeys: await world.file(['step', 'key'], [['dedup', 'a']]) })
      await assert.rejects(
        worker.commit({
          dedupKeys: await world.file(
            ['step', 'key'],
            [
              ['dedup', 'b'],
              ['dedup', 'a'],
            ],
          ),
        }),
      )
      assert.deepEqual(await seenKeys(world, 'shop', 'dedup', ['a', 'b']), ['a'])
    })
  })

  describe('the ledger', () => {
    const kinds: BatchKind[] = ['stream', 'backfill', 'replay', 'spark']

    scenario('has a line for each batch, as it was committed', async (world) => {
      const worker = await work(world.store)
      for (const [n, kind] of kinds.entries()) {
        const startedAt = new Date(Date.UTC(2026, 0, 1, 0, 0, n, 123))
        const ranges = [{ partition: 'in "a"', from: n, to: n + 1, path: 'é', nothing: null, deep: [[1.5, true]] }]
        const books = { ...noBooks, rowsIn: n, filtered: n }
        const sinks = [await into(world, oncePerId, [[`k${n}`, null, '1']])]
        const { committedAt } = await worker.commit({
          kind,
          startedAt,
          sinks,
          ranges,
          watermark: 1000 * n,
          filesQuarantined: n,
          phases: { read: 12, operate: 3.5 },
          stepRows: { validate: n },
          books: async () => books,
        })
        const line = (await world.store.ledger('shop', { last: 1 }))[0]
        assert.ok(line)
        const { phasesMs, ...rest } = line
        assert.deepEqual(rest, {
          pipeline: 'shop',
          batch: n + 1,
          epoch: 1,
          kind,
          startedAt,
          committedAt,
          ...books,
          filesQuarantined: n,
          rowsOut: { orders: { inserted: 1, updated: 0, deleted: 0 } },
          stepRows: { validate: n },
          watermark: 1000 * n,
          ranges,
        })
        assert.partialDeepStrictEqual(phasesMs, { read: 12, operate: 3.5 })
        assert.ok(Object.keys(phasesMs).length > 2, 'the store adds a phase of its own')
      }
    })

    scenario('holds names with characters that no text in a database can have', async ({ store }) => {
      const worker = await work(store)
      await worker.commit({ ranges: [{ file: 'a', unknown_columns: { 'x\0y': 1, '\ud800': 2, '\u{1f600}': 3 } }] })
      const [line] = await store.ledger('shop', {})
      assert.deepEqual(line?.ranges, [{ file: 'a', unknown_columns: { 'x\ufffdy': 1, '\ufffd': 2, '\u{1f600}': 3 } }])
    })

    const queries: { query: LedgerQuery; batches: number[] }[] = [
      { query: {}, batches: [1, 2, 3, 4, 5] },
      { query: { after: 0 }, batches: [1, 2, 3, 4, 5] },
      { query: { after: 3 }, batches: [4, 5] },
      { query: { after: 5 }, batches: [] },
      { query: { first: 2 }, batches: [1, 2] },
      { query: { after: 2, first: 2 }, batches: [3, 4] },
      { query: { after: 4, first: 9 }, batches: [5] },
      { query: { last: 2 }, batches: [4, 5] },
      { query: { last: 9 }, batches: [1, 2, 3, 4, 5] },
      { query: { last: 0 }, batches: [] },
      { query: { after: 1, last: 3 }, batches: [3, 4, 5] },
      { query: { after: 4, last: 3 }, batches: [5] },
    ]
    scenario('is read in the order of the batches: those after one, or the last few', async ({ store }) => {
      const worker = await work(store)
      const other = await work(store, [oncePerId], { pipeline: 'other' })
      for (let n = 0; n < 5; n++) await worker.commit()
      await other.commit()
      for (const { query, batches } of queries) {
        const lines = await store.ledger('shop', query)
        assert.deepEqual(
          lines.map(({ batch }) => batch),
          batches,
          JSON.stringify(query),
        )
      }
      assert.deepEqual(await store.ledger('nobody', {}), [])
    })

    scenario('is folded by the hour when it is old and its effects are done, and its sums stay', async (world) => {
      const worker = await work(world.store)
      for (const [n, kind] of (['stream', 'stream', 'replay', 'stream', 'stream'] as const).entries()) {
        const sinks = [await into(world, oncePerId, [[`k${n}`, null, '1']])]
        await worker.commit({ kind, sinks, stepRows: { validate: 1 }, phases: { read: 2 } })
      }
      const before = (await world.store.status())[0]
      const { store } = world
      const later = new Date(Date.now() + 2 * 3_600_000)
      assert.equal(await store.foldLedger('shop', later, 0), 0, 'no effect has come so far')
      // of an effect that has run once, and does not any more
      await store.advanceEffect('shop', 'archive', 1)
      assert.equal(await store.foldLedger('shop', new Date(0), 4), 0, 'it is too young')
      assert.equal(await store.foldLedger('shop', later, 4), 2)
      const lines = await store.ledger('shop', {})
      assert.deepEqual(
        lines.map(({ batch, kind, rowsIn, written, rowsOut, stepRows, phasesMs }) => [
          batch,
          kind,
          rowsIn,
          written,
          rowsOut['orders']?.inserted,
          stepRows['validate'],
          phasesMs['read'],
        ]),
        [
          [3, 'replay', 1, 1, 1, 1, 2],
          [4, 'stream', 3, 3, 3, 3, 6],
          [5, 'stream', 1, 1, 1, 1, 2],
        ],
      )
      assert.deepEqual((await store.status())[0], before)
      assert.equal(await store.foldLedger('shop', later, 4), 0, 'once is enough')
    })
  })

  describe('an effect', () => {
    scenario('has come to no batch before it began, and never goes back', async ({ store }) => {
      await work(store)
      assert.equal(await store.effectCursor('shop', 'quarantine'), 0)
      const steps = [
        [3, 3],
        [2, 3],
        [3, 3],
        [0, 3],
        [7, 7],
      ] as const
      for (const [to, at] of steps) {
        await store.advanceEffect('shop', 'quarantine', to)
        assert.equal(await store.effectCursor('shop', 'quarantine'), at)
      }
    })

    scenario('has a cursor of its own, in each pipeline', async ({ store, again }) => {
      await work(store)
      await work(store, [oncePerId], { pipeline: 'other' })
      await store.advanceEffect('shop', 'quarantine', 3)
      await store.advanceEffect('shop', 'move files', 1)
      await using second = await again()
      const cursors = [
        await second.effectCursor('shop', 'quarantine'),
        await second.effectCursor('shop', 'move files'),
        await second.effectCursor('shop', 'metrics'),
        await second.effectCursor('other', 'quarantine'),
      ]
      assert.deepEqual(cursors, [3, 1, 0, 0])
    })
  })

  describe('the status', () => {
    scenario('adds up the books of each pipeline', async (world) => {
      const { store } = world
      const worker = await work(store, [oncePerId], { owner: 'mill:17' })
      await store.register(planOf([oncePerId], 'idle'))
      const books = { rowsIn: 31, written: 1, filtered: 2, duplicates: 4, late: 8, dead: 16 }
      await worker.commit({
        books: async () => books,
        filesQuarantined: 2,
        deadLetters: await letterFile(world, [letterOf(), letterOf(), letterOf()]),
      })
      const { committedAt } = await worker.commit({ books: async () => books, filesQuarantined: 1 })
      const [first] = await store.deadLetters({})
      assert.equal(await store.discardDeadLetters({ ids: [first?.id ?? 0] }, 'a test'), 1)
      assert.deepEqual(await store.status(), [
        {
          pipeline: 'idle',
          owner: null,
          lentBy: null,
          doing: null,
          epoch: 0,
          alive: false,
          batch: 0,
          lastCommittedAt: null,
          ...noBooks,
          deadLettersOpen: 0,
          filesQuarantined: 0,
          outboxRows: 0,
        },
        {
          pipeline: 'shop',
          owner: 'mill:17',
          lentBy: null,
          doing: null,
          epoch: 1,
          alive: true,
          batch: 2,
          lastCommittedAt: committedAt,
          rowsIn: 62,
          written: 2,
          filtered: 4,
          duplicates: 8,
          late: 16,
          dead: 32,
          deadLettersOpen: 2,
          filesQuarantined: 3,
          outboxRows: 0,
        },
      ])
    })

    scenario('of a store that knows nothing is empty', async ({ store }) => {
      assert.deepEqual(await store.status(), [])
    })
  })
}

function inOrderOfId<T>(files: [string, T][]): [string, T][] {
  return files.toSorted(([a], [b]) => (a < b ? -1 : 1))
}

/** The keys seen, in a fixed order; the answer counts them. */
async function seenKeys(
  world: World,
  pipeline: string,
  step: string,
  keys: string[],
): Promise<(string | null | undefined)[]> {
  const path = join(world.folder, 'seen.csv')
  const wanted = await world.file(
    ['key'],
    keys.map((key) => [key]),
  )
  const found = await world.store.seenKeys(pipeline, step, wanted, path)
  const seen = (await readFields(found)).map(([key]) => key)
  assert.equal(found.rows, seen.length)
  return seen.toSorted()
}
