/** The command line as its users meet it: spawned, on a data directory of its own, with the embedded Postgres. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type EmbeddedPostgres, openEmbedded } from '../src/store/embedded/open.ts'

const main = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url))
const running = new Set<ChildProcess>()
let folder = ''
let data = ''
let events = ''
let held: EmbeddedPostgres | undefined

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-cli-'))
  data = join(folder, 'data')
  events = join(folder, 'events.csv')
})

after(async () => {
  await held?.[Symbol.asyncDispose]()
  for (const child of running) {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  await until(
    async () => !existsSync(join(data, 'postgres', 'cluster', 'postmaster.pid')),
    'the embedded Postgres has stopped',
  )
  await rm(folder, { recursive: true, force: true })
})

interface Ended {
  code: number | null
  out: string
  err: string
}

function launch(args: string[], environment: Record<string, string> = {}): ChildProcess {
  // nothing of this machine's own settings: they could name a database that is not ours
  const env = {
    PATH: process.env['PATH'],
    MILLRACE_DATA: data,
    PORT: '0',
    NODE_COMPILE_CACHE: join(folder, 'compiled'),
    ...environment,
  }
  const child = spawn(process.execPath, [main, ...args], { env, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  running.add(child)
  child.once('exit', () => running.delete(child))
  return child
}

async function millrace(args: string[], environment?: Record<string, string>): Promise<Ended> {
  const child = launch(args, environment)
  const ended: Ended = { code: null, out: '', err: '' }
  child.stdout?.on('data', (part) => {
    ended.out += part
  })
  child.stderr?.on('data', (part) => {
    ended.err += part
  })
  await once(child, 'close')
  ended.code = child.exitCode
  return ended
}

// Runs a verb that must succeed, and reads what it printed as JSON, a line each.
async function json(...args: string[]): Promise<Record<string, unknown>[]> {
  const { code, out, err } = await millrace([...args, '--json'])
  assert.equal(code, 0, `${args.join(' ')}\n${err}`)
  return out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
}

async function one(...args: string[]): Promise<Record<string, unknown>> {
  return (await json(...args))[0] ?? {}
}

async function count(sql: string): Promise<unknown> {
  return Object.values(await one('sql', sql))[0]
}

async function until(holds: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 20_000
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, `waited for this: ${what}`)
    await sleep(50)
  }
}

function lacking(program: string): string | false {
  const { error } = spawnSync(program, ['--version'])
  return error === undefined ? false : `there is no ${program} here`
}

let books: Record<string, unknown> = {}

test('what Node compiles is kept among temporary files, and nothing is written beside the user', async () => {
  const here = await mkdtemp(join(folder, 'here-'))
  const temporary = await mkdtemp(join(folder, 'temporary-'))
  const child = spawn(process.execPath, [main, '--help'], { env: { TMPDIR: temporary }, cwd: here, stdio: 'ignore' })
  assert.deepEqual(await once(child, 'exit'), [0, null])
  assert.deepEqual([await readdir(here), await readdir(temporary)], [[], ['node-compile-cache']])
})

test('verbs that need no database do not make one', async () => {
  assert.match((await millrace(['explain', 'shop-events'])).out, /in Postgres[\s\S]*user_events/)
  assert.match(
    (await millrace(['migrate', '--print'])).out,
    /\nbegin;\n[\s\S]*-- millrace: 0001_millrace\.sql\n[\s\S]*-- shop-events: [\s\S]*\ncommit;\n$/,
  )
  assert.deepEqual((await millrace(['explain', 'shop-evnts'])).code, 2)
  const status = await one('status')
  assert.equal((status['database'] as Record<string, unknown>)['embedded'], true)
  const [made] = await json(
    'generate',
    'shop-events',
    '--count',
    '1000',
    '--seed',
    '7',
    '--bad-percent',
    '3',
    '--duplicate-percent',
    '2',
    '--to',
    events,
  )
  assert.equal(made?.['events'], 1000)
  for (const wrong of [
    ['--events-per-second', '0'],
    ['--events-per-second', '-5'],
    ['--count', '1.5'],
    ['--count', 'NaN'],
  ]) {
    const refused = await millrace(['generate', 'shop-events', ...wrong])
    assert.equal(refused.code, 2)
    assert.match(refused.err, new RegExp(`^WRONG_USAGE: "${wrong[1]}" is not a (whole )?number.* \\(${wrong[0]}\\)\n$`))
  }
  assert.equal(existsSync(join(data, 'postgres', 'cluster')), false)
})

test('a file is read once, and its books balance', async () => {
  const { code, out } = await millrace(['run', 'shop-events', '--input', events, '--json'])
  assert.equal(code, 0)
  books = JSON.parse(out)
  const { rows_in, written, duplicates, dead } = books as Record<string, number>
  assert.equal(rows_in, 1000)
  assert.equal(rows_in, (written ?? 0) + (duplicates ?? 0) + (dead ?? 0))
  assert.ok((dead ?? 0) > 10 && (duplicates ?? 0) > 0)
  const [again] = await json('run', 'shop-events', '--input', events)
  assert.equal(again?.['rows_in'], 0)
})

test('another process may hold the database while verbs join it', async () => {
  held = await openEmbedded({ dataDirectory: data, log: () => {} })
  assert.equal(await count('select 1'), 1)
})

test('sql reads, one statement at a time, and says what is wrong with it', async () => {
  assert.equal(await count('select count(*) from user_events'), books['written'])
  assert.deepEqual(await json('sql', "select 1 as n, 1.50 as price, null as none, timestamptz '2026-01-31' as at;"), [
    { n: 1, price: 1.5, none: null, at: '2026-01-31T00:00:00+00:00' },
  ])
  const table = await millrace(['sql', "values (1, 'a'), (20, E'b\\x1b')"])
  assert.equal(table.out, 'column1  column2\n-------  -------\n      1  a\n     20  b\\x1b\n(2 rows)\n')
  const cases: [string, number, RegExp][] = [
    [
      'select evnt_id from user_events',
      1,
      /column "evnt_id" does not exist\n {2}select evnt_id from user_events\n {9}\^/,
    ],
    ['select 1; drop table user_events', 2, /more than one statement/],
    ['drop table user_events', 2, /not a statement that reads/],
    ['with gone as (delete from user_events returning 1) select * from gone', 1, /data-modifying/],
    ['explain analyze delete from user_events', 1, /read-only transaction/],
  ]
  for (const [sql, code, says] of cases) {
    const ended = await millrace(['sql', sql])
    assert.equal(ended.code, code, sql)
    assert.match(ended.err, says)
    assert.doesNotMatch(ended.err, /\n {4}at /, 'no stack')
  }
  assert.equal(await count('select count(*) from user_events'), books['written'])
})

test('status and doctor say how it stands', async () => {
  const status = await one('status')
  const [pipeline] = status['pipelines'] as Record<string, unknown>[]
  assert.equal(pipeline?.['state'], 'not running')
  assert.equal(pipeline?.['rows_in'], 1000)
  assert.equal(pipeline?.['dead_letters_open'], books['dead'])
  const findings = await json('doctor')
  assert.deepEqual(
    findings.filter(({ is }) => is === 'fault'),
    [],
  )
  assert.ok(findings.some(({ name, is }) => name === 'dead letters' && is === 'warning'))
})

test('status --watch draws itself anew on a terminal, until Ctrl-C', { skip: lacking('script') }, async () => {
  const command = `exec '${process.execPath}' '${main}' status --watch`
  const env = { PATH: process.env['PATH'], MILLRACE_DATA: data, TERM: 'xterm', COLUMNS: '80', LINES: '40' }
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    env,
    cwd: folder,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  running.add(child)
  child.once('exit', () => running.delete(child))
  let drawn = ''
  child.stdout.on('data', (part) => {
    drawn += part
  })
  await until(async () => drawn.split('every 2 s; Ctrl-C ends it').length > 2, 'it is drawn twice')
  const [first = '', second = ''] = drawn.split('every 2 s; Ctrl-C ends it')
  assert.match(first, /pipeline +state +last commit +files waiting/)
  assert.match(second, /pipeline .* rows\/s /, 'with what came in between')
  assert.ok(second.includes('\u001b[H'), 'over the one before')
  child.stdin.write('\u0003')
  assert.deepEqual(await once(child, 'exit'), [0, null])
  assert.ok(drawn.endsWith('\u001b[?25h'), 'the cursor is back')
})

test('dead letters are found, mended, tried, replayed once, and discarded', async () => {
  const letters = await json('dead-letters', 'list', '--limit', '1000')
  assert.equal(letters.length, books['dead'])
  const readable = letters.filter(({ fields, column_name }) => fields !== null && column_name !== null)
  const [mended, failing, dropped] = readable.map(({ id }) => String(id))
  assert.ok(mended !== undefined && failing !== undefined && dropped !== undefined)

  const listed = await millrace(['dead-letters', 'list', '--limit', '2'])
  assert.match(listed.out, new RegExp(`and ${Number(books['dead']) - 2} more`))
  assert.match(
    (await millrace(['dead-letters', 'show', mended])).out,
    new RegExp(`dead letter ${mended}\\n[\\s\\S]*> ${readable[0]?.['column_name']}`),
  )

  const values = {
    event_id: 'mended-1',
    user_id: 'u',
    event_type: 'view',
    product_id: 'p',
    price: '1.25',
    event_timestamp: '2026-01-31T12:00:00Z',
  }
  const set = Object.entries(values).flatMap(([column, value]) => ['--set', `${column}=${value}`])
  const [edited] = await json('dead-letters', 'edit', mended, ...set)
  assert.deepEqual(edited?.['fields'], values)
  assert.equal(edited?.['raw'], readable[0]?.['raw'])
  assert.match((await millrace(['dead-letters', 'edit', mended, '--set', 'prce=1'])).err, /did you mean "price"/)

  const forecasts = await json('dead-letters', 'replay', mended, failing, '--dry-run')
  assert.deepEqual(
    forecasts.map(({ id, would }) => [String(id), would]),
    [
      [mended, 'land'],
      [failing, 'fail again'],
    ],
  )
  assert.equal(await count("select count(*) from user_events where event_id = 'mended-1'"), 0)

  const replayed = await one('dead-letters', 'replay', mended, failing)
  assert.deepEqual([replayed['rows_in'], replayed['written'], replayed['dead']], [2, 1, 1])
  assert.deepEqual(replayed['dead_again'], { [String(readable[1]?.['code'])]: 1 })
  assert.equal(await count("select price from user_events where event_id = 'mended-1'"), 1.25)
  const twice = await millrace(['dead-letters', 'replay', mended])
  assert.equal(twice.code, 0)
  assert.match(twice.out, /was replayed already, in batch \d+; nothing is done with it/)
  assert.equal(await count("select count(*) from millrace.batches where kind = 'replay'"), 1)

  assert.equal((await millrace(['dead-letters', 'discard', dropped])).code, 2)
  assert.match(
    (await millrace(['dead-letters', 'discard', dropped, '--reason', 'a test'])).out,
    /discarded 1 dead letter/,
  )
  const [settled] = await json('dead-letters', 'show', dropped)
  assert.deepEqual([settled?.['settled'], settled?.['settled_by']], ['discarded', 'a test'])
  assert.equal((await millrace(['dead-letters', 'show', '999999'])).code, 1)
})

test('dead letters are listed by what is known of them, and settled by the same', async () => {
  const ids = async (...filter: string[]): Promise<unknown[]> =>
    (await json('dead-letters', 'list', '--limit', '1000', ...filter)).map(({ id }) => id)
  const open = await json('dead-letters', 'list', '--limit', '1000')
  const [first] = open
  const column = String(open.find(({ column_name }) => column_name !== null)?.['column_name'])
  const those = (holds: (letter: Record<string, unknown>) => boolean): unknown[] =>
    open.filter(holds).map(({ id }) => id)
  assert.deepEqual(
    await ids('--column', column),
    those(({ column_name }) => column_name === column),
  )
  assert.deepEqual(
    await ids('--where', `column=${column}`, '--code', String(first?.['code']).toLowerCase()),
    those(({ column_name, code }) => column_name === column && code === first?.['code']),
  )
  assert.deepEqual(await ids('--file', 'events.csv', '--since', '1h', '--pipeline', 'shop-events'), await ids())
  assert.deepEqual(await ids('--until', '1h'), [])
  const rejectedAt = String(open.at(-1)?.['rejected_at'])
  assert.deepEqual(
    await ids('--until', rejectedAt),
    those(({ rejected_at }) => String(rejected_at) < rejectedAt),
  )

  for (const verb of [['replay'], ['discard', '--reason', 'a test']]) {
    const refused = await millrace(['dead-letters', ...verb, '--file', 'events.csv'])
    assert.equal(refused.code, 2)
    assert.match(
      refused.err,
      new RegExp(`${open.length} dead letters are all that are open: .*\n.*nobody to ask.*\n.*--yes`),
    )
    assert.equal((await millrace(['dead-letters', ...verb])).code, 2)
    assert.equal((await millrace(['dead-letters', ...verb, '1', '--all'])).code, 2)
  }
  assert.deepEqual(
    await ids(),
    those(() => true),
  )

  const chosen = await ids('--column', column)
  const discarded = await millrace(['dead-letters', 'discard', '--column', column, '--reason', 'a test'])
  assert.match(discarded.err, new RegExp(`^${chosen.length} dead letters? (is|are) open and like that: `))
  assert.equal(discarded.out, `discarded ${chosen.length} dead letter${chosen.length === 1 ? '' : 's'}\n`)
  const rest = await millrace(['dead-letters', 'replay', '--all', '--yes', '--json'])
  // rows that were not told into columns are left alone, which is a failure
  assert.equal(rest.code, 1)
  assert.match(rest.err, /left alone: \d+ rows that could not be told into columns/)
  const { rows_in, dead } = JSON.parse(rest.out)
  assert.equal(rows_in, those(({ fields, column_name }) => fields !== null && column_name !== column).length)
  assert.equal(dead, rows_in)
  assert.equal(
    await count(`
      select count(*) from millrace.batches
      where kind = 'replay' and rows_in = written + filtered + duplicates + late + dead`),
    2,
  )
})

test('a dead letter is shown with an arrow under what was wrong, and harmlessly', async () => {
  const odd = join(folder, 'odd.csv')
  const rows = ['o1,u,view,"日本\n\u001b[2J",-1,2026-01-31T00:00:00Z', 'o2,u,refund,p,1,2026-01-31T00:00:00Z']
  await writeFile(odd, `event_id,user_id,event_type,product_id,price,event_timestamp\n${rows.join('\n')}\n`)
  await json('run', 'shop-events', '--input', odd)
  const [first, second] = await json('dead-letters', 'list', '--file', 'odd.csv')
  const shown = await millrace(['dead-letters', 'show', String(first?.['id']), String(second?.['id'])])
  const lines = ['  2 | o1,u,view,"日本', '  3 | \\x1b[2J",-1,2026-01-31T00:00:00Z', '    |          ^^']
  assert.ok(shown.out.includes(`\n${lines.join('\n')}\n`), shown.out)
  assert.ok(shown.out.includes('\n  o2,u,refund,p,1,2026-01-31T00:00:00Z\n       ^^^^^^\n'), shown.out)
  assert.equal(shown.out.includes('\u001b'), false)
})

test('reset forgets everything, when it is meant', async () => {
  const unasked = await millrace(['reset', 'shop-events', '--results'])
  assert.equal(unasked.code, 2)
  assert.match(unasked.err, /user_events will be emptied of [\d,]+ rows/)
  await json('reset', 'shop-events', '--results', '--yes')
  assert.equal(await count('select count(*) from user_events'), 0)
  assert.equal(await count('select count(*) from millrace.dead_letters'), 0)
  const [again] = await json('run', 'shop-events', '--input', events)
  assert.deepEqual({ ...again, seconds: 0 }, { ...books, seconds: 0 })
})

test('everything works beside a running start, and it stops cleanly', async () => {
  const start = launch(['start', '--json'])
  let log = ''
  start.stderr?.on('data', (part) => {
    log += part
  })
  assert.ok(start.stdout)
  const [line] = (await once(createInterface(start.stdout), 'line')) as [string]
  const { server, pid } = JSON.parse(line) as { server: string; pid: number }
  assert.equal(pid, start.pid)
  const ask = async (path: string): Promise<Response> => await fetch(`${server}${path}`)
  const pipeline = async (): Promise<Record<string, unknown>> => {
    const { pipelines } = (await (await ask('/api/pipelines')).json()) as { pipelines: Record<string, unknown>[] }
    return pipelines[0] ?? {}
  }
  const rowsIn = async (): Promise<number> =>
    Number(((await pipeline())['books'] as Record<string, number> | null)?.['rows_in'] ?? 0)
  await until(async () => (await ask('/health/ready')).status === 200, 'ready')

  const read = await rowsIn()
  await json('generate', 'shop-events', '--count', '20')
  await until(async () => (await rowsIn()) === read + 20, 'a dropped file is read')

  await writeFile(
    join(folder, 'more.csv'),
    'event_id,user_id,event_type,product_id,price,event_timestamp\nm1,u,view,p,1,2026-01-31T00:00:00Z\n',
  )
  const [lent] = await json('run', 'shop-events', '--input', join(folder, 'more.csv'))
  assert.equal(lent?.['written'], 1)
  const status = await one('status')
  assert.equal((status['server'] as Record<string, unknown>)['url'], server)
  await until(async () => (await pipeline())['owner'] !== null, 'the lease is given back')

  await json('reset', 'shop-events', '--yes')
  await json('generate', 'shop-events', '--count', '5')
  await until(async () => (await rowsIn()) === 5, 'it goes on with an empty state')
  assert.doesNotMatch(log, /a pipeline stopped/)

  const port = new URL(server).port
  const second = await millrace(['start'], { PORT: port })
  assert.equal(second.code, 1)
  assert.match(second.err, new RegExp(`PORT_TAKEN: port ${port} is in use by Millrace itself.*pid ${pid}`))

  const asked = performance.now()
  start.kill('SIGTERM')
  const [code] = (await once(start, 'exit')) as [number | null]
  assert.equal(code, 0, log)
  assert.ok(performance.now() - asked < 5000)
  assert.equal(existsSync(join(data, 'server.json')), false)
})
