/** user-activity as its users meet it: through the command line, on a Postgres of its own. */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { zstdDecompressSync } from 'node:zlib'
import { eventually, startMillrace } from './crash/process.ts'
import { namesIn } from './crash/world.ts'
import { type TestDatabase, testDatabase } from './postgres.ts'

const header = 'event_id,user_id,event_type,product_id,product_name,category,price,quantity,event_time'
const time = '2026-01-02T03:04:05Z'

/** Rows that are wrong in one way each, and what the view says of them. */
const wrong: [row: string, code: string, column: string | null][] = [
  [`n1,u1,view,p1,Chair,Home,-0.01,,${time}`, 'BELOW_MINIMUM', 'price'],
  [`t1,u1,view,p1,Chair,Home,free,,${time}`, 'NOT_A_NUMBER', 'price'],
  [`t2,u1,view,p1,Chair,Home,1.005,,${time}`, 'TOO_MANY_DECIMALS', 'price'],
  [`t3,u1,purchase,p1,Chair,Home,1.00,two,${time}`, 'NOT_AN_INTEGER', 'quantity'],
  ['t4,u1,view,p1,Chair,Home,1.00,,yesterday', 'NOT_A_TIMESTAMP', 'event_time'],
  [`,u1,view,p1,Chair,Home,1.00,,${time}`, 'EMPTY', 'event_id'],
  [`m2,u1,view,p1,Chair,,1.00,,${time}`, 'EMPTY', 'category'],
  [`m3,u1,view,p1,Chair,Home,,,${time}`, 'MISSING', 'price'],
  [`e1,u1,refund,p1,Chair,Home,1.00,,${time}`, 'NOT_ONE_OF', 'event_type'],
  [`q1,u1,purchase,p1,Chair,Home,1.00,,${time}`, 'PURCHASE_OF_NOTHING', 'quantity'],
  [`q2,u1,purchase,p1,Chair,Home,1.00,0,${time}`, 'PURCHASE_OF_NOTHING', 'quantity'],
  [`q3,u1,view,p1,Chair,Home,1.00,2,${time}`, 'VIEW_WITH_QUANTITY', 'quantity'],
  [`l1,u1,view,p1,Chair,Home,1.00,${time}`, 'TOO_FEW_FIELDS', null],
  [`l2,u1,view,p1,Chair,Home,1.00,,${time},web`, 'TOO_MANY_FIELDS', null],
  [`l3,u1,view,p1,"Chair" new,Home,1.00,,${time}`, 'STRAY_QUOTE', null],
]
const right = [
  `g1,u1,view,p1,"Chair, ""big""",Home,0,,${time}`,
  `g2,u1,view,p1,Chair,Home,9999999999.99,0,${time}`,
  `g3,u2,purchase,p1,Chair,Home,12.5,3,${time}`,
]

describe('user-activity', () => {
  let database: TestDatabase
  let folder: string
  let activity: string
  let sql: Awaited<ReturnType<TestDatabase['connect']>>

  before(async () => {
    database = await testDatabase()
    folder = await mkdtemp(join(tmpdir(), 'millrace-activity-'))
    activity = join(folder, 'activity')
    sql = await database.connect()
  })
  after(async () => {
    await database[Symbol.asyncDispose]()
    await rm(folder, { recursive: true, force: true })
  })

  const start = (args: string[], env: Record<string, string> = {}) =>
    startMillrace(args, folder, {
      MILLRACE_DATA: join(folder, 'data'),
      DATABASE_URL: database.url,
      USER_ACTIVITY_DIR: activity,
      ...env,
    })
  // Runs a verb that must succeed, and reads the JSON it prints.
  const millrace = async (args: string[], env?: Record<string, string>) => {
    await using running = start([...args, '--json'], env)
    assert.deepEqual(await running.ended(), { code: 0, signal: null }, running.story())
    return JSON.parse(running.out)
  }
  const count = async (from: string): Promise<number> =>
    (await sql.query(`select count(*)::int as n from ${from}`)).rows[0].n
  const drop = async (name: string, rows: string[]) => {
    const input = join(activity, 'input')
    await mkdir(input, { recursive: true })
    const written = join(folder, name)
    await writeFile(written, `${[header, ...rows].join('\n')}\n`)
    const before = Date.now() / 1000 - 1
    await utimes(written, before, before)
    await rename(written, join(input, name))
  }

  test('what the generator makes lands, and what is wrong with it stands in user_activity_errors', async () => {
    const made = await millrace(
      'generate user-activity --count 5000 --seed 7 --bad-percent 10 --duplicate-percent 2'.split(' '),
    )
    const summary = await millrace(['run', 'user-activity'])
    assert.partialDeepStrictEqual(summary, {
      rows_in: 5000,
      written: 5000 - made.bad - made.duplicates,
      duplicates: made.duplicates,
      dead: made.bad,
      files_quarantined: 0,
    })
    assert.equal(await count('user_activity'), summary.written)
    assert.equal(await count('user_activity_errors'), made.bad)
    const { rows } = await sql.query('select distinct code from user_activity_errors')
    assert.deepEqual(
      rows.map(({ code }) => code).sort(),
      [...new Set(wrong.map(([, code]) => code))].sort(),
      'the generator breaks every rule that is tested here by hand',
    )
  })

  test('each way to be wrong has its code, with the row as it was, where it was and why', async () => {
    const rows = wrong.flatMap(([row], i) => (right[i] === undefined ? [row] : [row, right[i]]))
    await drop('by-hand.csv', rows)
    assert.partialDeepStrictEqual(await millrace(['run', 'user-activity']), {
      rows_in: rows.length,
      written: right.length,
      dead: wrong.length,
    })
    const errors = await sql.query(`select * from user_activity_errors where file like '%/by-hand.csv' order by line`)
    assert.deepEqual(
      errors.fields.map(({ name }) => name),
      [
        'id',
        ...header.split(','),
        'raw',
        'file',
        'line',
        'stage',
        'code',
        'column_name',
        'reason',
        'batch',
        'rejected_at',
      ],
    )
    assert.deepEqual(
      errors.rows.map(({ raw, code, column_name }) => [raw, code, column_name]),
      wrong,
    )
    const batch = await count('millrace.batches')
    for (const error of errors.rows) {
      assert.equal(error.line, rows.indexOf(error.raw) + 2)
      assert.equal(error.file, join(activity, 'input', 'by-hand.csv'))
      assert.equal(error.batch, batch)
      assert.equal(error.stage, error.column_name === null ? 'read' : 'validate')
      assert.ok(error.reason.length > 10 && error.rejected_at instanceof Date)
      // the fields as text, where there were as many as there should be
      const fields = header.split(',').map((column) => error[column] ?? '')
      assert.equal(fields.join(','), error.stage === 'read' ? ',,,,,,,,' : error.raw)
    }
    assert.match(errors.rows[0].reason, /"-0\.01" is below 0/)
    const landed = await sql.query(`select * from user_activity where event_id like 'g_' order by event_id`)
    assert.deepEqual(
      landed.rows.map(({ event_id, product_name, price, quantity }) => [event_id, product_name, price, quantity]),
      [
        ['g1', 'Chair, "big"', '0.00', null],
        ['g2', 'Chair', '9999999999.99', 0],
        ['g3', 'Chair', '12.50', 3],
      ],
    )
    assert.ok(
      landed.rows.every(
        (row) => row.ingested_at instanceof Date && row.event_time.toJSON() === '2026-01-02T03:04:05.000Z',
      ),
    )
  })

  test('what the view shows can be replayed, and is gone from it then', async () => {
    const { rows } = await sql.query(`select id from user_activity_errors where event_id in ('e1', 'n1')`)
    const before = await count('user_activity_errors')
    const replayed = await millrace([
      ...['dead-letters', 'replay', ...rows.map(({ id }) => String(id))],
      ...['--set', 'event_type=view', '--set', 'price=2.50'],
    ])
    assert.partialDeepStrictEqual(replayed, { pipeline: 'user-activity', written: 2, dead: 0 })
    assert.equal(await count('user_activity_errors'), before - 2)
    assert.equal(await count(`user_activity where event_id in ('e1', 'n1') and price = 2.50`), 2)
    // by code, with the value that is missing
    const bought = await millrace([
      ...['dead-letters', 'replay', '--where', 'pipeline=user-activity', '--where', 'code=PURCHASE_OF_NOTHING'],
      ...['--where', 'file=by-hand', '--set', 'quantity=1'],
    ])
    assert.partialDeepStrictEqual(bought, { written: 2, dead: 0 })
    assert.equal(await count(`user_activity_errors where code = 'PURCHASE_OF_NOTHING' and file like '%by-hand.csv'`), 0)
  })

  test('the view can only be read', async () => {
    const before = await count('millrace.dead_letters')
    for (const statement of [
      'delete from user_activity_errors',
      `update user_activity_errors set code = 'X'`,
      `insert into user_activity_errors (raw) values ('X')`,
    ]) {
      // not supported for this view
      await assert.rejects(sql.query(statement), { code: '55000' }, statement)
    }
    assert.equal(await count('millrace.dead_letters'), before)
  })

  test('the table refuses what the pipeline should have', async () => {
    const good = { event_id: 'r1', event_type: 'view', price: '0.00', quantity: '0' }
    const insert = ({ event_id, event_type, price, quantity }: Record<string, string | null>) =>
      sql.query(
        `insert into user_activity (event_id, user_id, event_type, product_id, product_name, category, price, quantity, event_time,
          source_file, batch)
        values ($1, 'u', $2, 'p', 'Chair', 'Home', $3, $4, $5, 'by-hand.csv', 1)`,
        [event_id, event_type, price, quantity, time],
      )
    await insert(good)
    await insert({ ...good, event_id: 'r2', quantity: null })
    await insert({ ...good, event_id: 'r3', event_type: 'purchase', quantity: '1' })
    const cases: [Record<string, string | null>, code: string][] = [
      [{}, '23505'],
      [{ event_id: '' }, '23514'],
      [{ event_id: 'r4', event_type: 'refund' }, '23514'],
      [{ event_id: 'r4', price: '-0.01' }, '23514'],
      [{ event_id: 'r4', price: 'NaN' }, '23514'],
      [{ event_id: 'r4', quantity: '1' }, '23514'],
      [{ event_id: 'r4', event_type: 'purchase' }, '23514'],
      [{ event_id: 'r4', event_type: 'purchase', quantity: null }, '23514'],
    ]
    for (const [change, code] of cases)
      await assert.rejects(insert({ ...good, ...change }), { code }, JSON.stringify(change))
  })

  test('an idle worker archives what has become old enough, and deletes what was kept for long enough', async () => {
    await drop('idle.csv', [`i1,u1,view,p1,Chair,Home,1.00,,${time}`])
    const archive = join(activity, 'archive')
    const filesIn = async (): Promise<string[]> =>
      (await readdir(archive, { recursive: true, withFileTypes: true }).catch(() => []))
        .filter((entry) => entry.isFile())
        .map(({ parentPath, name }) => join(parentPath, name))
    {
      await using worker = start(['work', 'user-activity'], { ARCHIVE_AFTER: '1 s', ARCHIVE_COMPRESS: 'zstd' })
      const found = await eventually(async () => (await filesIn()).find((path) => path.endsWith('/idle.csv.zst')), {
        what: () => `the file is archived: ${worker.story()}`,
      })
      assert.match(zstdDecompressSync(await readFile(found)).toString(), /\ni1,u1,view/)
      // a worker that is stopped between two steps leaves the rest to the next one
      await eventually(async () => (await namesIn(join(activity, 'input', 'done'))).length === 0, {
        what: () => `done/ is empty: ${worker.story()}`,
      })
      assert.deepEqual(await worker.stop(), { code: 0, signal: null })
    }
    assert.ok((await filesIn()).map((path) => basename(path)).includes('by-hand.csv.zst'), 'what waited before, too')
    await using worker = start(['work', 'user-activity'], { ARCHIVE_KEEP: '0' })
    await eventually(async () => (await namesIn(archive)).length === 0, {
      what: () => `the archive is empty: ${worker.story()}`,
    })
    assert.deepEqual(await worker.stop(), { code: 0, signal: null })
  })

  test('a file that cannot be read, or is read where it lies, is not archived', async () => {
    await writeFile(join(folder, 'given.csv'), `${header}\nw1,u1,view,p1,Chair,Home,1.00,,${time}\n`)
    await mkdir(join(activity, 'input'), { recursive: true })
    await writeFile(join(folder, 'strange.csv'), 'a,b\n1,2\n')
    const before = Date.now() / 1000 - 1
    await utimes(join(folder, 'strange.csv'), before, before)
    await rename(join(folder, 'strange.csv'), join(activity, 'input', 'strange.csv'))
    const soon = { ARCHIVE_AFTER: '0' }
    assert.partialDeepStrictEqual(await millrace(['run', 'user-activity'], soon), { files_quarantined: 1 })
    const given = ['run', 'user-activity', '--input', join(folder, 'given.csv')]
    assert.partialDeepStrictEqual(await millrace(given, soon), { written: 1 })
    assert.ok((await namesIn(folder)).includes('given.csv'))
    assert.deepEqual(await namesIn(join(activity, 'archive')), [])
    assert.equal((await namesIn(join(activity, 'error'))).filter((name) => name.endsWith('-strange.csv')).length, 1)
  })
})

test('shop-events archives its files when it is told to, those that were done before too', async () => {
  await using database = await testDatabase()
  const folder = await mkdtemp(join(tmpdir(), 'millrace-shop-'))
  const shop = join(folder, 'data/shop-events')
  const land = async (env: Record<string, string> = {}) => {
    for (const args of ['generate shop-events --count 10 --seed 1', 'run shop-events']) {
      await using running = startMillrace(args.split(' '), folder, {
        MILLRACE_DATA: join(folder, 'data'),
        DATABASE_URL: database.url,
        ARCHIVE_AFTER: '0',
        ...env,
      })
      assert.deepEqual(await running.ended(), { code: 0, signal: null }, running.story())
    }
  }
  const name = 'events_20260101T000000000Z_000000.csv'
  try {
    await land()
    assert.deepEqual(await namesIn(join(shop, 'raw/done')), [name])
    await land({ SHOP_EVENTS_ARCHIVE: '1' })
    assert.deepEqual(await namesIn(join(shop, 'raw/done')), [])
    const archived = (await readdir(join(shop, 'archive'), { recursive: true })).filter((path) => path.endsWith('.csv'))
    assert.equal(archived.length, 2)
    assert.ok(archived.every((path) => /^\d{4}\/\d\d\/\d\d\/[^/]*events_20260101T000000000Z_000000.csv$/.test(path)))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
