import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { letterPages } from '../../src/store/letter-pages.ts'
import type { DeadLetterQuery, LetterRevision, Store } from '../../src/store/store.ts'
import {
  contents,
  into,
  letterFile,
  letterOf,
  oncePerId,
  type Scenario,
  type Worker,
  type World,
  work,
} from './world.ts'

export function deadLetters(scenario: Scenario): void {
  describe('a dead letter', () => {
    scenario('keeps all that is known of the row', async (world) => {
      const worker = await work(world.store)
      const letters = [
        letterOf({
          raw: 'a "quoted",\nline\r\n\\xff\\.',
          fields: { 'a "b"': 'x\ny', empty: '', none: null },
          rawBytes: Buffer.from([0, 255, 10]),
        }),
        letterOf({
          line: null,
          columnName: null,
          fields: null,
          raw: '',
          message: '🐎',
          place: 'topic/0/9007199254740991',
        }),
      ]
      const before = Date.now()
      await worker.commit({ deadLetters: await letterFile(world, letters) })
      const stored = await world.store.deadLetters({})
      assert.deepEqual(
        stored.map(({ id, rejectedAt, ...rest }) => rest),
        letters.map(({ rawBytes, ...letter }) => ({
          ...letter,
          rawBytes: rawBytes ?? null,
          pipeline: 'shop',
          batch: 1,
          revision: 0,
          settled: null,
          settledAt: null,
          settledBy: null,
        })),
      )
      for (const { id, rejectedAt } of stored) {
        assert.ok(Number.isInteger(id) && id > 0)
        // the database's clock may differ a little
        assert.ok(Math.abs(rejectedAt.getTime() - before) < 60_000, rejectedAt.toISOString())
      }
    })

    // The engine writes such a character as \x00 and keeps the bytes beside it; a database could not store it.
    scenario('that holds U+0000 refuses its batch', async (world) => {
      const worker = await work(world.store)
      for (const parts of [
        { deadLetters: await letterFile(world, [letterOf({ raw: 'a\0b' })]) },
        { deadLetters: await letterFile(world, [letterOf({ fields: { id: 'a\0b' } })]) },
      ]) {
        await assert.rejects(worker.commit(parts))
      }
      assert.deepEqual(await world.store.deadLetters({ settled: true }), [])
      assert.equal((await world.store.committed('shop')).batch, 0)
    })
  })

  describe('dead letters are found', () => {
    const hour = 3_600_000
    const cases: { says: string; query: (ids: Record<string, number>) => DeadLetterQuery; found: string[] }[] = [
      { says: 'all that are open, oldest first', query: () => ({}), found: ['a1', 'a2', 'b1', 'b2', 'other'] },
      {
        says: 'the settled too, when asked for',
        query: () => ({ settled: true }),
        found: ['a1', 'a2', 'a3', 'b1', 'b2', 'b3', 'other'],
      },
      {
        says: 'only the open ones, when asked for so',
        query: () => ({ settled: false, pipeline: 'shop', batch: 1 }),
        found: ['a1', 'a2'],
      },
      { says: 'by pipeline', query: () => ({ pipeline: 'shop' }), found: ['a1', 'a2', 'b1', 'b2'] },
      { says: 'by a pipeline without any', query: () => ({ pipeline: 'nobody' }), found: [] },
      { says: 'by batch', query: () => ({ batch: 1 }), found: ['a1', 'a2', 'other'] },
      { says: 'by code', query: () => ({ code: 'EMPTY' }), found: ['a2', 'b2'] },
      { says: 'by code, in capitals or not', query: () => ({ code: 'empty' }), found: ['a2', 'b2'] },
      { says: 'by part of a code: none', query: () => ({ code: 'EMP' }), found: [] },
      { says: 'by column', query: () => ({ column: 'city' }), found: ['a2', 'b2'] },
      { says: 'by a column that none names', query: () => ({ column: 'CITY' }), found: [] },
      { says: 'those that can be replayed', query: () => ({ replayable: true }), found: ['a1', 'a2', 'b1', 'b2'] },
      { says: 'those that can not', query: () => ({ replayable: false }), found: ['other'] },
      {
        says: 'after a number, up to another',
        query: ({ a1, b1 }) => ({ after: a1 ?? 0, upTo: b1 ?? 0 }),
        found: ['a2', 'b1'],
      },
      { says: 'by number', query: ({ b1, a1 }) => ({ ids: [b1 ?? 0, a1 ?? 0, 999_999] }), found: ['a1', 'b1'] },
      {
        says: 'by number, though settled, when asked for',
        query: ({ a3 }) => ({ ids: [a3 ?? 0], settled: true }),
        found: ['a3'],
      },
      { says: 'by number, but not the settled', query: ({ a3 }) => ({ ids: [a3 ?? 0] }), found: [] },
      { says: 'by no number: none', query: () => ({ ids: [] }), found: [] },
      { says: 'by part of the place', query: () => ({ place: 'b_50' }), found: ['b1', 'b2'] },
      { says: 'by a place to the letter, not a pattern', query: () => ({ place: 'in/_' }), found: [] },
      { says: 'by a place with a percent sign', query: () => ({ place: '50%.' }), found: ['b1', 'b2'] },
      { says: 'by a place with a backslash', query: () => ({ place: '\\x' }), found: ['a2'] },
      { says: 'by a place with a dot', query: () => ({ place: 'b.50' }), found: [] },
      { says: 'by a place in its own case', query: () => ({ place: 'IN/' }), found: [] },
      {
        says: 'since an hour ago',
        query: () => ({ since: new Date(Date.now() - hour) }),
        found: ['a1', 'a2', 'b1', 'b2', 'other'],
      },
      { says: 'since an hour to come: none', query: () => ({ since: new Date(Date.now() + hour) }), found: [] },
      {
        says: 'until an hour to come',
        query: () => ({ until: new Date(Date.now() + hour), pipeline: 'other' }),
        found: ['other'],
      },
      { says: 'until an hour ago: none', query: () => ({ until: new Date(Date.now() - hour) }), found: [] },
      { says: 'the first few', query: () => ({ limit: 2 }), found: ['a1', 'a2'] },
      { says: 'no more than there are', query: () => ({ limit: 99, pipeline: 'other' }), found: ['other'] },
      {
        says: 'by everything at once',
        query: ({ b1, b2 }) => ({
          pipeline: 'shop',
          batch: 2,
          code: 'EMPTY',
          column: 'city',
          place: 'b_',
          since: new Date(Date.now() - hour),
          until: new Date(Date.now() + hour),
          ids: [b1 ?? 0, b2 ?? 0],
          replayable: true,
          settled: true,
          after: 1,
          upTo: 999_999,
          limit: 5,
        }),
        found: ['b2'],
      },
    ]
    scenario('by what is known of them', async (world) => {
      const ids = await lettersOf(world)
      for (const { says, query, found } of cases) {
        const letters = await world.store.deadLetters(query(ids))
        assert.deepEqual(
          letters.map(({ raw }) => raw),
          found,
          says,
        )
      }
      const [a1] = await world.store.deadLetters({ limit: 1 })
      assert.ok(a1)
      const since = await world.store.deadLetters({ since: a1.rejectedAt })
      assert.equal(since.length, 5, 'a letter counts from the moment it was rejected')
      assert.deepEqual(await world.store.deadLetters({ until: a1.rejectedAt }), [], 'and not before it')
    })

    scenario('page by page, each of them once', async (world) => {
      await lettersOf(world)
      const all = [['a1', 'a2'], ['a3', 'b1'], ['b2', 'b3'], ['other']]
      for (const limit of [1, 3, 7, 99]) {
        const found: string[][] = []
        for await (const page of letterPages(pagesOf(world.store, 2), { settled: true, limit }))
          found.push(page.map(({ raw }) => raw))
        assert.deepEqual(found.flat(), all.flat().slice(0, limit))
        if (limit >= 7) assert.deepEqual(found, all)
      }
    })
  })

  describe('dead letters are counted', () => {
    scenario('by pipeline and code, the most first', async (world) => {
      const { a1, b2, other } = await lettersOf(world)
      const count = { pipeline: 'shop', letters: 2, replayable: 2, bytes: 4 }
      assert.deepEqual(await world.store.countDeadLetters({ after: a1 ?? 0 }), [
        { ...count, code: 'EMPTY', lastId: b2 },
        { pipeline: 'other', code: 'BAD_LINE', letters: 1, replayable: 0, bytes: 5, lastId: other },
        { ...count, code: 'WRONG_TYPE', letters: 1, replayable: 1, bytes: 2, lastId: (b2 ?? 0) - 1 },
      ])
      assert.deepEqual(
        (await world.store.countDeadLetters({ code: 'EMPTY', settled: true })).map(({ letters }) => letters),
        [4],
      )
      assert.deepEqual(await world.store.countDeadLetters({ pipeline: 'nobody' }), [])
    })

    scenario('with the bytes of their texts', async (world) => {
      const worker = await work(world.store)
      await worker.commit({ deadLetters: await letterFile(world, [letterOf({ raw: 'Öl 🐎' }), letterOf({ raw: '' })]) })
      assert.equal((await world.store.countDeadLetters({}))[0]?.bytes, Buffer.byteLength('Öl 🐎'))
    })
  })

  describe('editing a dead letter', () => {
    scenario('changes the fields that are named and nothing else', async (world) => {
      const [id] = await openLetters(world, 2)
      const before = await world.store.deadLetters({})
      await world.store.editDeadLetter(id, { amount: '3', city: null })
      await world.store.editDeadLetter(id, { note: 'a "b"\nc', amount: '4' })
      const [first, ...others] = await world.store.deadLetters({})
      const fields = { id: 'a1', city: null, amount: '4', note: 'a "b"\nc' }
      assert.deepEqual(first, { ...before[0], fields, revision: 2 })
      assert.deepEqual(others, before.slice(1))
    })

    scenario('gives fields to a row that could not be cut', async (world) => {
      const worker = await work(world.store)
      await worker.commit({ deadLetters: await letterFile(world, [letterOf({ fields: null })]) })
      const [letter] = await world.store.deadLetters({})
      await world.store.editDeadLetter(letter?.id ?? 0, { id: 'a' })
      assert.deepEqual((await world.store.deadLetters({}))[0]?.fields, { id: 'a' })
    })

    scenario('that is not there is an error', async ({ store }) => {
      await assert.rejects(store.editDeadLetter(999_999, { id: 'a' }), { code: 'NO_SUCH_DEAD_LETTER' })
    })

    scenario('that is settled is an error', async (world) => {
      const [id] = await openLetters(world, 1)
      await world.store.discardDeadLetters({ ids: [id] }, 'a test')
      await assert.rejects(world.store.editDeadLetter(id, { id: 'b' }), { code: 'DEAD_LETTER_SETTLED' })
      assert.deepEqual((await world.store.deadLetters({ settled: true }))[0]?.fields, letterOf().fields)
    })
  })

  describe('discarding dead letters', () => {
    scenario('settles those that are open, says why, and how many they were', async (world) => {
      const [one, two, three] = await openLetters(world, 3)
      assert.equal(await world.store.discardDeadLetters({ ids: [one, two] }, 'not ours'), 2)
      assert.equal(await world.store.discardDeadLetters({ ids: [two, 999_999] }, 'another reason'), 0)
      assert.equal(await world.store.discardDeadLetters({ ids: [] }, 'nothing'), 0)
      const letters = await world.store.deadLetters({ settled: true })
      assert.deepEqual(
        letters.map(({ id, settled, settledBy, settledAt }) => [id, settled, settledBy, settledAt instanceof Date]),
        [
          [one, 'discarded', 'not ours', true],
          [two, 'discarded', 'not ours', true],
          [three, null, null, false],
        ],
      )
      assert.equal((await world.store.status())[0]?.deadLettersOpen, 1)
    })

    scenario('takes those of which all holds, and no others', async (world) => {
      const ids = await lettersOf(world)
      assert.equal(await world.store.discardDeadLetters({ code: 'EMPTY', settled: true }, 'a test'), 2)
      assert.equal(await world.store.discardDeadLetters({ pipeline: 'shop', upTo: ids['b1'] ?? 0 }, 'a test'), 2)
      assert.deepEqual(
        (await world.store.deadLetters({})).map(({ raw }) => raw),
        ['other'],
      )
      assert.equal((await world.store.deadLetters({ ids: [ids['b3'] ?? 0], settled: true }))[0]?.settled, 'replayed')
    })
  })

  describe('replaying dead letters', () => {
    scenario('settles them in the commit of their rows', async (world) => {
      const [one, two, three, worker] = await openLetters(world, 3)
      await worker.commit({
        kind: 'replay',
        settles: asRead(one, three),
        sinks: [await into(world, oncePerId, [['a1', null, '1']])],
      })
      const letters = await world.store.deadLetters({ settled: true })
      assert.deepEqual(
        letters.map(({ id, batch, settled, settledBy, settledAt }) => [
          id,
          batch,
          settled,
          settledBy,
          settledAt instanceof Date,
        ]),
        [
          [one, 1, 'replayed', 'batch 2', true],
          [two, 1, null, null, false],
          [three, 1, 'replayed', 'batch 2', true],
        ],
      )
      assert.deepEqual(
        (await world.store.deadLetters({})).map(({ id }) => id),
        [two],
      )
    })

    scenario('may make new ones', async (world) => {
      const [one, , , worker] = await openLetters(world, 3)
      const deadLetters = await letterFile(world, [letterOf({ raw: 'again' })])
      await worker.commit({ kind: 'replay', settles: asRead(one), deadLetters })
      assert.deepEqual(
        (await world.store.deadLetters({ batch: 2 })).map(({ raw, settled }) => [raw, settled]),
        [['again', null]],
      )
    })

    // Two replays, or a replay and a discard, may have chosen the same letter: only one of them may have its row.
    const settledBefore: { says: string; settle: (world: World, id: number, worker: Worker) => Promise<unknown> }[] = [
      { says: 'replayed before', settle: (_, id, worker) => worker.commit({ kind: 'replay', settles: asRead(id) }) },
      { says: 'discarded before', settle: (world, id) => world.store.discardDeadLetters({ ids: [id] }, 'a test') },
    ]
    for (const { says, settle } of settledBefore) {
      scenario(`refuses the whole batch when one of them was ${says}`, async (world) => {
        const [one, two, , worker] = await openLetters(world, 3)
        await settle(world, one, worker)
        const before = await world.store.deadLetters({ settled: true })
        const commit = worker.commit({
          kind: 'replay',
          settles: asRead(two, one),
          sinks: [await into(world, oncePerId, [['a1', null, '1']])],
        })
        await assert.rejects(commit, { code: 'DEAD_LETTER_SETTLED', retry: true })
        assert.deepEqual(await world.store.deadLetters({ settled: true }), before)
        assert.deepEqual(await contents(world), [])
      })
    }

    scenario('refuses the whole batch when one of them is discarded while it commits', async (world) => {
      const [one, , , worker] = await openLetters(world, 3)
      await using second = await world.again()
      const commit = worker.commit({
        kind: 'replay',
        settles: asRead(one),
        sinks: [await into(world, oncePerId, [['a1', null, '1']])],
        books: async () => {
          await second.discardDeadLetters({ ids: [one] }, 'a test')
          return { rowsIn: 1, written: 1, filtered: 0, duplicates: 0, late: 0, dead: 0 }
        },
      })
      await assert.rejects(commit, { code: 'DEAD_LETTER_SETTLED' })
      assert.deepEqual(await contents(world), [])
      assert.equal((await world.store.deadLetters({ ids: [one], settled: true }))[0]?.settled, 'discarded')
    })

    scenario('refuses the whole batch when one of them has been edited since it was read', async (world) => {
      const [one, two, , worker] = await openLetters(world, 3)
      const read = await world.store.deadLetters({ ids: [one, two] })
      await world.store.editDeadLetter(two, { amount: '2' })
      const sinks = [await into(world, oncePerId, [['a1', null, '1']])]
      const stale = worker.commit({ kind: 'replay', settles: read, sinks })
      await assert.rejects(stale, { code: 'DEAD_LETTER_EDITED', retry: true })
      assert.deepEqual(await contents(world), [])
      const again = await world.store.deadLetters({ ids: [one, two] })
      assert.deepEqual(
        again.map(({ settled, fields }) => [settled, fields?.['amount']]),
        [
          [null, 'x'],
          [null, '2'],
        ],
      )
      await worker.commit({ kind: 'replay', settles: again, sinks })
      assert.deepEqual(await contents(world), [['a1', null, '1']])
    })

    scenario('refuses those of another pipeline, and those that are not there', async (world) => {
      const [one] = await openLetters(world, 1)
      const other = await work(world.store, [oncePerId], { pipeline: 'other' })
      for (const settles of [asRead(one), asRead(999_999)]) {
        await assert.rejects(other.commit({ kind: 'replay', settles }), { code: 'DEAD_LETTER_SETTLED' })
      }
      assert.equal((await world.store.deadLetters({})).length, 1)
    })
  })
}

/** Letters of two pipelines and two batches, by their raw text; a3 is discarded and b3 replayed. */
async function lettersOf(world: World): Promise<Record<string, number>> {
  const shop = await work(world.store)
  const other = await work(world.store, [oncePerId], { pipeline: 'other' })
  const odd = 'in/b_50%.csv'
  await shop.commit({
    deadLetters: await letterFile(world, [
      letterOf({ raw: 'a1', code: 'WRONG_TYPE', place: 'in/a.csv' }),
      letterOf({ raw: 'a2', code: 'EMPTY', columnName: 'city', place: 'in/a\\x.csv' }),
      letterOf({ raw: 'a3', code: 'EMPTY', place: 'in/a.csv' }),
    ]),
  })
  await shop.commit({
    deadLetters: await letterFile(world, [
      letterOf({ raw: 'b1', code: 'WRONG_TYPE', place: odd }),
      letterOf({ raw: 'b2', code: 'EMPTY', columnName: 'city', place: odd }),
      letterOf({ raw: 'b3', code: 'EMPTY', place: odd }),
    ]),
  })
  await other.commit({
    deadLetters: await letterFile(world, [
      letterOf({ raw: 'other', code: 'BAD_LINE', columnName: null, fields: null, place: 'topic/0/5' }),
    ]),
  })
  const ids = Object.fromEntries((await world.store.deadLetters({})).map(({ raw, id }) => [raw, id]))
  await world.store.discardDeadLetters({ ids: [ids['a3'] ?? 0] }, 'a test')
  await shop.commit({ kind: 'replay', settles: asRead(ids['b3'] ?? 0) })
  return ids
}

/** The store as one whose rows are so long that it answers only a few at a time. */
function pagesOf(store: Store, few: number): Pick<Store, 'deadLetters'> {
  return { deadLetters: (query) => store.deadLetters({ ...query, limit: Math.min(few, query.limit ?? few) }) }
}

/** The numbers of fresh letters (as many of the three as asked for), and the worker that made them. */
async function openLetters(world: World, count: 1 | 2 | 3): Promise<[number, number, number, Worker]> {
  const worker = await work(world.store)
  await worker.commit({
    deadLetters: await letterFile(
      world,
      Array.from({ length: count }, () => letterOf()),
    ),
  })
  const [one = 0, two = 0, three = 0] = (await world.store.deadLetters({})).map(({ id }) => id)
  return [one, two, three, worker]
}

/** Letters that nobody has edited. */
function asRead(...ids: number[]): LetterRevision[] {
  return ids.map((id) => ({ id, revision: 0 }))
}
