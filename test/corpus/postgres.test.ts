/** The corpus on a real Postgres: what COPY, jsonb and an index make of it, and the command line. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { openPostgres } from '../../src/store/postgres.ts'
import { goodFile } from '../crash/events.ts'
import { openWorld } from '../crash/world.ts'
import { type TestDatabase, testDatabase } from '../postgres.ts'
import { type Case, committedCases, expectedOf, type Outcome, outcomesOf, type Run } from './corpus.ts'
import { type Format, formats, tableName } from './formats.ts'

// keeps the shared server up from test to test
let server: TestDatabase
before(async () => {
  server = await testDatabase()
})
after(async () => await server[Symbol.asyncDispose]())

for (const format of formats) {
  test(`the files in files/${format} become in Postgres what they become in memory`, async () => {
    const cases = await committedCases(format)
    const found = await inPostgres(format, cases)
    for (const each of cases) {
      assert.deepEqual(inOneForm(found.get(each.name)), inOneForm(expectedOf(each)), `${each.name}: ${each.shows}`)
    }
  })
}

test('what only Postgres refuses is a dead letter, and the rows around it land', async () => {
  const refused = (name: string, shows: string, doc: string, says: string): Case => ({
    name,
    shows,
    make: (path) => writeFile(path, `id,n,doc\na,1,1\nb,2,"${doc}"\nc,3,3\n`),
    rows: [
      { line: 2, id: 'a', n: '1', doc: '1' },
      { line: 4, id: 'c', n: '3', doc: '3' },
    ],
    dead: [{ line: 3, code: 'REFUSED', says, raw: `b,2,"${doc}"` }],
  })
  const deep = '['.repeat(50_000)
  const cases = [
    refused(
      'large-number.csv',
      'a number beyond those of jsonb',
      '1e999999',
      'Postgres refused the row (22003): value overflows numeric format',
    ),
    refused(
      'deep.csv',
      'JSON nested deeper than its parser goes',
      `${deep}${deep.replaceAll('[', ']')}`,
      'Postgres refused the row (54001): stack depth limit exceeded',
    ),
  ]
  const found = await inPostgres('csv', cases)
  for (const each of cases) {
    const expected = expectedOf(each)
    for (const letter of [...(expected.dead ?? []), ...(found.get(each.name)?.dead ?? [])]) {
      letter.raw = letter.raw.slice(0, 20)
    }
    assert.deepEqual(found.get(each.name), expected, each.shows)
  }
})

async function inPostgres(format: Format, cases: Case[]): Promise<Map<string, Outcome>> {
  await using database = await testDatabase()
  await using store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations: [] })
  const rest = format.endsWith('kept') ? ', rest::text' : ''
  const stored: Run['stored'] = {
    store,
    async rows() {
      const rows = await store.select(
        `select id, n::text, price::text, x::text, at::text, ok::text, kind, note, doc::text${rest}, file, line::text from ${tableName}`,
      )
      // as: every column is a text
      return rows as Record<string, string | null>[]
    },
  }
  return await outcomesOf({ format, cases, road: 'a watched folder', stored })
}

// Doubles and jsonb are printed in another way than they came.
function inOneForm(outcome: Outcome | undefined): unknown {
  const rows = outcome?.rows?.map((row) => ({
    ...row,
    ...(row['x'] === undefined ? {} : { x: Number(row['x']) }),
    ...(row['doc'] === undefined ? {} : { doc: parsed(String(row['doc'])) }),
    ...(row['rest'] === undefined ? {} : { rest: parsed(String(row['rest'])) }),
  }))
  return { ...outcome, rows }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // one that was shortened
    return text
  }
}

// ---- the command line ----------------------------------------------------------------------------------------------

const header = 'event_id,user_id,event_type,product_id,price,event_timestamp'
const event = (id: string, more = 'view,p,1.00,2026-01-31T12:00:00Z'): string => `${id},u,${more}`

test('files of odd names and with odd keys land from the command line', async () => {
  await using database = await testDatabase()
  await using world = await openWorld(database)
  const rows = [
    event('\\.'),
    event('\\N'),
    event('"say ""x"""'),
    event('a\0b'),
    event('k'.repeat(8192)),
    event('=1+1'),
    event('\u202e\u{1f600}'),
    event("'; drop table user_events; --"),
  ]
  const odd = `${header}\n${rows.join('\n')}\n`
  await writeFile(join(world.inputs, '-x.csv'), odd)
  await writeFile(join(world.inputs, "a *[1]'s.csv"), `${header}\n${event('starred')}\n`)
  await symlink("a *[1]'s.csv", join(world.inputs, 'link.csv'))
  await mkdir(join(world.inputs, 'folder.csv'))
  execFileSync('mkfifo', [join(world.inputs, 'fifo.csv')])

  await using run = world.start(['run', 'shop-events', `--input=${world.inputs}`, '--json'])
  assert.deepEqual(await run.ended(60_000), { code: 0, signal: null }, run.story())
  assert.partialDeepStrictEqual(JSON.parse(run.out), { rows_in: 9, written: 7, dead: 2, files_quarantined: 0 })
  const stored = await world.sql<{ event: string }>('select event_id as event from user_events order by id')
  assert.deepEqual(
    stored.map(({ event }) => event),
    ['\\.', '\\N', 'say "x"', '=1+1', '\u202e\u{1f600}', "'; drop table user_events; --", 'starred'],
  )
  assert.deepEqual(
    await world.sql('select line::int, code, left(raw, 5) as raw from millrace.dead_letters order by id'),
    [
      { line: 5, code: 'NUL_BYTE', raw: 'a\\x00' },
      { line: 6, code: 'KEY_TOO_LONG', raw: 'kkkkk' },
    ],
  )
  assert.deepEqual(leftAlone(run.log), [
    'fifo.csv: it is a FIFO',
    'folder.csv: it is a folder',
    'link.csv: it is a symbolic link',
  ])

  // what is named is read, as a file
  await using again = world.start(['run', 'shop-events', `--input=${join(world.inputs, 'link.csv')}`, '--json'])
  assert.deepEqual(await again.ended(60_000), { code: 0, signal: null }, again.story())
  assert.partialDeepStrictEqual(JSON.parse(again.out), { rows_in: 1, duplicates: 1 })
  await using never = world.start(['run', 'shop-events', `--input=${join(world.inputs, 'fifo.csv')}`])
  assert.deepEqual(await never.ended(60_000), { code: 1, signal: null }, never.story())
  assert.match(never.story(), /NO_INPUT: ".*fifo\.csv" is a FIFO, and only regular files are read/)
})

test('a worker says once what it leaves alone, and status and doctor say it too', async () => {
  await using database = await testDatabase()
  await using world = await openWorld(database)
  await mkdir(join(world.raw, 'x.csv'))
  const good = goodFile('good.csv', ['good'])
  await world.drop([good])
  await using worker = world.start(['work', 'shop-events'])
  await world.drained([good], { worker })
  await using status = world.start(['status', '--json'])
  await status.ended(60_000)
  assert.deepEqual(JSON.parse(status.out).pipelines[0].left_alone, ['x.csv (a folder)'])
  await using doctor = world.start(['doctor'])
  await doctor.ended(60_000)
  assert.match(doctor.out, /holds 1 that is no regular file: x\.csv \(a folder\)/)
  await worker.stop()
  assert.deepEqual(leftAlone(worker.log), ['x.csv: it is a folder'])
})

function leftAlone(log: readonly { event: string; [field: string]: unknown }[]): string[] {
  return log.flatMap(({ event, path, why }) =>
    event === 'left alone' ? [`${String(path).split('/').at(-1)}: ${why}`] : [],
  )
}
