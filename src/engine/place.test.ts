import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, beforeEach, suite, test } from 'node:test'
import { Duck } from './duckdb.ts'
import { OwnPlace, type Place, Room } from './place.ts'
import { noTime } from './relations.ts'

const folder = await mkdtemp(join(tmpdir(), 'millrace-place-'))
const duck = await Duck.open({ folders: [], temporary: folder, memoryLimitMb: 100, threads: 1, keepsPlans: true })
const session = await duck.connect()
after(async () => {
  session.close()
  await duck[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

let rooms = 0
const places = {
  'a room that takes back': () => new Room(session, 'shop', `room ${++rooms}`, true),
  'a room that is emptied': () => new Room(session, 'shop', `room ${++rooms}`, false),
  'a schema for one batch': () => new OwnPlace(session, 'shop', `batch ${++rooms}`),
}

for (const [what, open] of Object.entries(places)) {
  suite(what, () => {
    let place: Place
    beforeEach(async () => {
      place = open()
      await place.enter()
    })
    afterEach(() => place.leave())

    const name = (relation: string): string => `${place.schema}.${relation}`
    const make = async (relation: string, select: string, as: 'table' | 'view' = 'table'): Promise<number> =>
      (await place.make({ name: name(relation), as, select })) ?? (await session.count(name(relation)))
    const next = async (): Promise<void> => {
      await place.keep(false)
      await place.leave()
      await place.enter()
    }
    const rowsOf = async (relation: string) => await session.rows(`select * from ${name(relation)}`)

    test('a batch finds nothing of the one before it', async () => {
      // often enough that its statements are planned
      for (let batch = 1; batch <= 5; batch++) {
        assert.equal(await make('given', `select i from range(${batch}) t(i)`), batch)
        assert.equal(await make('odd', `select i from ${name('given')} where i % 2 = 1`), Math.floor(batch / 2))
        assert.equal(await make('all', `select * from ${name('odd')}`, 'view'), 0)
        assert.equal((await rowsOf('all')).length, Math.floor(batch / 2))
        await next()
      }
    })

    test('what is made again in a batch is made anew', async () => {
      await make('given', 'select 1 as a')
      await make('given', 'select 2 as a')
      await make('given', 'select 2 as a')
      assert.deepEqual(await rowsOf('given'), [{ a: 2 }])
    })

    test('other columns, and the same in another order, are those of the table from then on', async () => {
      for (const [select, expected] of [
        [`select 1 as a, 'x' as b`, { a: 1, b: 'x' }],
        [`select 'y' as b, 2 as a`, { a: 2, b: 'y' }],
        [`select 3::bigint as a, 'z' as b`, { a: '3', b: 'z' }],
        ['select 4 as a', { a: 4 }],
      ] as const) {
        await make('given', select)
        await make('seen', `select * from ${name('given')}`, 'view')
        await make('copied', `select * from ${name('seen')}`)
        assert.deepEqual(await rowsOf('copied'), [expected])
        await next()
      }
    })

    test('what a plan took for certain of the rows of one batch is not believed of the next', async () => {
      const found: number[] = []
      for (const value of ['1', '1', '1', '900000', 'null']) {
        await make('given', `select i, i as k from (values (${value}::bigint)) t(i)`)
        found.push(await make('large', `select distinct k from ${name('given')} where i > 1000 or i is null`))
        await next()
      }
      assert.deepEqual(found, [0, 0, 0, 1, 1])
    })

    test('what a batch leaves undone is not done for the next one', async () => {
      using other = await duck.connect()
      await other.run('create or replace table gone (a integer)')
      await make('given', 'select a from gone')
      await make('given', 'select a from gone')
      await place.make({ name: name('given'), as: 'table', select: 'select a from gone' })
      await place.leave()
      await other.run('drop table gone')
      await place.enter()
      assert.equal(await make('given', 'select 1 as a'), 1)
    })

    test('time is told to the batch that is at hand', async () => {
      for (const after of [1000, 2000, undefined]) {
        const { clock, ...time } = await place.tell({ ...noTime, before: 5, after })
        assert.deepEqual(time, { ...noTime, before: 5, after, few: place.again })
        if (clock === undefined) continue
        assert.deepEqual(await session.rows(`select * from ${clock}`), [
          { before_us: '5000', after_us: after === undefined ? null : String(after * 1000) },
        ])
      }
    })
  })
}

test('a room in which a batch has failed is left as it was, and can be dropped', async () => {
  for (const ends of ['leave', 'drop'] as const) {
    const room = new Room(session, 'shop', `failing ${ends}`, true)
    const given = `${room.schema}.given`
    for (const a of [1, 2, 3]) {
      await room.enter()
      await room.make({ name: given, as: 'table', select: `select ${a} as a` })
      await assert.rejects(session.run(`select error('no more')`), { code: 'DUCKDB_FAILED', message: /no more/ })
      await assert.rejects(session.run('select 1'), { code: 'DUCKDB_FAILED', message: /has failed before/ })
      await room[ends]()
      await room.enter()
      await room.make({ name: given, as: 'table', select: `select ${a} as a` })
      assert.deepEqual(await session.rows(`select * from ${given}`), [{ a }])
      await room.leave()
    }
    await room.drop()
    assert.equal(await session.count(`duckdb_schemas() where schema_name = 'shop failing ${ends}'`), 0)
  }
})

test('a room is built anew before what its tables keep adds up', async () => {
  const room = new Room(session, 'shop', 'long', false)
  for (let batch = 1; batch <= 1001; batch++) {
    await room.enter()
    const given = `${room.schema}.given`
    await room.make({ name: given, as: 'table', select: 'select 1 as a' })
    assert.equal(await session.count(given), 1)
    await room.keep(false)
    await room.leave()
  }
  await room.drop()
  assert.equal(await session.count(`duckdb_schemas() where schema_name = 'shop long'`), 0)
})

test('a question about a Parquet file is asked as often as one likes', async () => {
  const path = join(folder, 'a.parquet')
  await session.run(`copy (select 1 as n) to '${path}' (format parquet)`)
  for (let times = 1; times <= 4; times++) {
    for (const asked of ['parquet_schema', 'parquet_file_metadata']) {
      const [found] = await session.rows(`select count(*)::integer as n from ${asked}('${path}')`)
      assert.ok(Number(found?.['n']) > 0)
    }
  }
})

test('a transaction does not begin in another', async () => {
  using own = await duck.connect()
  own.begin()
  assert.throws(() => own.begin(), { code: 'DUCKDB_FAILED', message: /begins in another, which is wanted/ })
  await own.run('select 1')
  assert.throws(() => own.begin(), { code: 'DUCKDB_FAILED', message: /begins in another, which is open/ })
  await own.end(false)
  own.begin()
  assert.equal(await own.end(true), true)
})

test('what waits runs before the next statement, in one transaction; of one that fails nothing is left', async () => {
  await session.run('create or replace table given (a integer)')
  // often enough that its statements are planned
  for (let times = 1; times <= 4; times++) {
    session.later('truncate given')
    session.later('insert into given values (1), (2)')
    assert.deepEqual(await session.rows('select * from given'), [{ a: 1 }, { a: 2 }])
    session.later('truncate given')
    session.later(`insert into given select error('no ' || count(*)) from given`)
    await assert.rejects(session.count('given'), /no 0/)
    assert.equal(await session.count('given'), 2)
    session.later('truncate given')
    session.abandon()
    await session.flush()
    assert.equal(await session.count('given'), 2)
    session.later('insert into given values (3)')
    await session.flush()
    assert.equal(await session.count('given'), 3)
  }
})

suite('what a batch changes beside its room', () => {
  const place = new Room(session, 'shop', `room ${++rooms}`, false)
  const name = (relation: string): string => `${place.schema}.${relation}`
  const batch = async (number: number, odd = 'select 1 as a'): Promise<void> => {
    await place.enter()
    await place.make({ name: name('staged'), as: 'table', select: `select ${number} as i` })
    await place.tell(noTime)
    await place.make({ name: name('added'), as: 'table', select: `select i from ${name('staged')}` })
    await place.make({ name: name('odd'), as: 'table', select: odd })
    session.later(`insert into open_windows select i from ${name('added')}`)
  }
  const seen = async (): Promise<number[]> => {
    using other = await duck.connect()
    return [...(await other.numbers('select i::double from open_windows order by i'))]
  }

  test('is there for others when it is kept, and its own rows are gone unless they are looked at', async () => {
    await session.run('create or replace table open_windows (i bigint)')
    for (const [number, looks, odd] of [
      [1, false, 'select 1 as a'],
      [2, true, `select 'other columns' as b`],
      [3, false, `select 'other columns' as b`],
      [4, false, 'select 1 as a'],
      [5, false, 'select 1 as a'],
    ] as const) {
      await batch(number, odd)
      await place.keep(looks)
      assert.deepEqual(await seen(), [1, 2, 3, 4, 5].slice(0, number))
      assert.equal(await session.count(name('added')), looks ? 1 : 0)
      await place.leave()
    }
  })

  test('is not when it leaves without that, and the next one goes on', async () => {
    await session.run('create or replace table open_windows (i bigint)')
    await batch(1)
    await place.leave()
    await batch(2)
    await place.keep(false)
    assert.deepEqual(await seen(), [2])
    await place.leave()
  })

  test('is there though nothing was asked since time was told', async () => {
    await session.run('create or replace table open_windows (i bigint)')
    await batch(1)
    await place.keep(false)
    assert.deepEqual(await seen(), [1])
    await place.leave()
  })

  test('is no row of the batches before, whatever has become of what takes them out', async () => {
    for (const fails of [true, false]) {
      await session.run('create or replace table open_windows (i bigint)')
      await batch(1)
      await place.keep(false)
      await place.leave()
      await batch(2)
      await place.keep(true)
      await place.leave()
      await place.enter()
      await place.make({ name: name('staged'), as: 'table', select: 'select 3 as i' })
      if (fails) await assert.rejects(session.run('select * from nowhere'), { code: 'DUCKDB_FAILED' })
      await place.leave()
      await batch(4)
      await place.keep(false)
      assert.deepEqual(await seen(), [1, 2, 4])
      await place.leave()
    }
  })

  test('is not when one of its statements has failed, which is said', async () => {
    await session.run('create or replace table open_windows (i bigint)')
    await batch(1)
    await assert.rejects(session.run('select * from nowhere'), { code: 'DUCKDB_FAILED' })
    await assert.rejects(place.keep(false), { code: 'DUCKDB_FAILED' })
    await place.leave()
    await batch(2)
    await place.keep(false)
    assert.deepEqual(await seen(), [2])
    await place.leave()
  })
})

test('a statement that comes again is prepared again once something was made, and then no more', async () => {
  using own = await duck.connect()
  using other = await duck.connect()
  const prepared = async (): Promise<unknown[]> => {
    const rows = await own.rows(`from duckdb_prepared_statements() where statement ilike '%insert into numbers%'`)
    return rows.map(({ name }) => name)
  }
  const names: unknown[][] = []
  await own.run('create or replace table numbers (a bigint)')
  for (let i = 0; i < 6; i++) {
    if (i === 3) await other.run('create or replace table made (a bigint)')
    await own.run('insert into numbers select 1')
    names.push(await prepared())
  }
  const [[before] = [], [after] = []] = [names[2], names[3]]
  assert.notEqual(before, undefined)
  assert.notEqual(after, undefined)
  assert.notEqual(after, before, 'DuckDB would plan the first one anew each time')
  assert.deepEqual(names, [[], [before], [before], [after], [after], [after]])
})
