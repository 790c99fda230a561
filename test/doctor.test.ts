/** Each fault that doctor knows, made to happen: the last test looks whether one was forgotten. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdir, mkdtempDisposable, symlink, utimes, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systems } from '../pipelines/index.ts'
import { doctor } from '../src/cli/doctor.ts'
import { findings } from '../src/cli/doctor-checks.ts'
import { type FaultCode, faults } from '../src/cli/faults.ts'
import type { Finding } from '../src/cli/finding.ts'
import { type Machine, type SparkFacts, thisMachine } from '../src/cli/machine.ts'
import { systemMigrations, systemSettings } from '../src/cli/open.ts'
import { type Config, loadConfig } from '../src/config.ts'
import { planOf } from '../src/engine/system-run.ts'
import { files, pipeline, table, text } from '../src/index.ts'
import type { Log } from '../src/log.ts'
import { embeddedFolder } from '../src/store/embedded/folder.ts'
import { openPostgres } from '../src/store/postgres.ts'
import { tlsDisagreements } from '../src/store/tls.ts'
import { olderServer } from './crash/older-server.ts'
import { noDisks, smallDisk } from './crash/small-disk.ts'
import { testDatabase } from './postgres.ts'

const quiet: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const provoked = new Set<FaultCode>()

interface Room extends AsyncDisposable {
  path: string
  data: string
  /** The folder that shop-events reads, made. */
  raw: string
}

async function room(): Promise<Room> {
  const folder = await mkdtempDisposable(join(tmpdir(), 'millrace-doctor-'))
  const data = join(folder.path, 'data')
  const raw = join(data, 'shop-events', 'raw')
  await mkdir(raw, { recursive: true })
  return { path: folder.path, data, raw, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() }
}

interface Circumstances {
  env?: Record<string, string>
  config?: Partial<Config>
  machine?: Partial<Machine>
}

async function examine(data: string, { env = {}, config = {}, machine = {} }: Circumstances = {}): Promise<Finding[]> {
  const read = loadConfig(systemSettings(), { MILLRACE_DATA: data, PORT: '0', ...env }, data)
  const warnings = read.database === undefined ? [] : tlsDisagreements(read.database.url)
  const all: Finding[] = []
  const circumstances = { ...read, warnings: [...read.warnings, ...warnings], ...config }
  for await (const finding of findings(circumstances, quiet, { ...thisMachine, ...machine })) all.push(finding)
  return all
}

// What is found is of this code, says so, and says how to mend it.
function holds(all: Finding[], code: FaultCode, says: RegExp): Finding {
  const [finding] = all.filter((each) => each.code === code)
  assert.ok(finding, `${code} was not found in\n${all.map((each) => JSON.stringify(each)).join('\n')}`)
  assert.match(finding.says, says)
  assert.equal(finding.is, faults[code].is)
  assert.ok((finding.mend ?? '').length > 10)
  provoked.add(code)
  return finding
}

function codesOf(all: Finding[]): string[] {
  return all.flatMap(({ code }) => code ?? [])
}

test('a folder that was never used has no fault', async () => {
  await using here = await room()
  assert.deepEqual(codesOf(await examine(here.data, { machine: plenty })), [])
})

// The disk and the memory of the machine that runs the tests are another matter.
const plenty: Partial<Machine> = { space: async () => ({ bytes: 1e12, files: 1e9 }), memoryBytes: 64e9 }

test('faults of the machine', async () => {
  await using here = await room()
  const of = (machine: Partial<Machine>): Promise<Finding[]> =>
    examine(here.data, { machine: { ...plenty, ...machine } })
  holds(await of({ nodeVersion: '22.4.1' }), 'NODE_TOO_OLD', /version 22\.4\.1; Millrace needs 24/)
  holds(await of({ space: async () => ({ bytes: 1e9, files: undefined }) }), 'DISK_FILLING', /1\.0 GB free/)
  holds(await of({ space: async () => ({ bytes: 9e7, files: 1e6 }) }), 'DISK_NEARLY_FULL', /90\.0 MB free/)
  holds(await of({ space: async () => ({ bytes: 1e12, files: 12 }) }), 'DISK_NEARLY_FULL', /for 12 files/)
  const onNfs = await of({ networkDisk: async () => 'NFS' })
  holds(onNfs, 'DATA_ON_NETWORK_DISK', /is on NFS/)
  holds(onNfs, 'FOLDER_NOT_WATCHED', /shop-events.raw is on NFS/)
  const allMemory = { env: { MEMORY_LIMIT: '3 GB' } }
  holds(await examine(here.data, { ...allMemory, machine: { memoryBytes: 2e9 } }), 'MEMORY_LIMIT_TOO_LARGE', /2\.0 GB/)
  holds(await examine(here.data, { ...allMemory, machine: { memoryBytes: 4e9 } }), 'MEMORY_LIMIT_HIGH', /half/)
  // the real one: no machine has as much
  holds(await examine(here.data, { env: { MEMORY_LIMIT: '900000 GB' } }), 'MEMORY_LIMIT_TOO_LARGE', /900 TB/)
})

test('a disk that is full is found as that, and not as one that cannot be written to', {
  skip: noDisks(),
}, async () => {
  await using here = await room()
  const data = join(here.path, 'small')
  await using disk = await smallDisk(data, { megabytes: 64 })
  await disk.fill()
  const all = await examine(data)
  holds(all, 'DISK_NEARLY_FULL', /0 bytes free/)
  assert.ok(!codesOf(all).includes('DATA_NOT_WRITABLE'))
})

test('faults of the settings', async () => {
  await using here = await room()
  const [unreadable] = await said(['--json'], { MILLRACE_DATA: here.data, PORT: 'many' })
  assert.equal(unreadable?.is, 'fault')
  holds([unreadable as Finding], 'SETTINGS_UNREADABLE', /INVALID_SETTING: "many" is not a whole number \(PORT\)/)
  const [noPort] = await said(['--json'], { MILLRACE_DATA: here.data, PORT: '70000' })
  holds([noPort as Finding], 'SETTINGS_UNREADABLE', /70000 is no port/)
  const nowhere = 'postgresql://u:p@127.0.0.1:1/a'
  holds(
    await examine(here.data, { env: { DATABASE_URL: nowhere, DB_HOST: 'elsewhere' } }),
    'SETTINGS_DISAGREE',
    /DATABASE_URL \(127\.0\.0\.1:1\/a\) and DB_HOST .* disagree/,
  )
  process.env['PGSSLMODE'] = 'disable'
  try {
    const all = await examine(here.data, { env: { DATABASE_URL: `${nowhere}?sslmode=require` } })
    holds(all, 'TLS_DISAGREES', /sslmode=require .* PGSSLMODE=disable disagree/)
    assert.ok(!codesOf(all).includes('SETTINGS_DISAGREE'))
  } finally {
    delete process.env['PGSSLMODE']
  }
})

test('faults of the data directory and of ports', async () => {
  await using here = await room()
  const file = join(here.path, 'file')
  await writeFile(file, '')
  holds(
    await examine(here.data, { config: { dataDirectory: join(file, 'data') } }),
    'DATA_NOT_WRITABLE',
    /cannot be written to: ENOTDIR/,
  )
  await using taken = await listening()
  const [held] = [holds(await examine(here.data, { env: { PORT: taken.port } }), 'PORT_TAKEN', /another program/)]
  assert.match(held.mend ?? '', new RegExp(`sport = :${taken.port}`))
  // an address that documents are written with, and no machine has
  const elsewhere = { host: '192.0.2.1', port: 4040 }
  holds(await examine(here.data, { config: elsewhere }), 'PORT_UNUSABLE', /4040 on 192\.0\.2\.1 .*EADDRNOTAVAIL/)
  // a process that lives and serves nothing: this one
  await writeFile(join(here.data, 'server.json'), JSON.stringify({ pid: process.pid, host: '127.0.0.1', port: 1 }))
  holds(await examine(here.data), 'SERVER_SILENT', new RegExp(`pid ${process.pid} should answer on port 1`))
  const left = join(here.data, 'duckdb', String(deadPid()))
  await mkdir(left, { recursive: true })
  await writeFile(join(left, 'block'), '')
  const { mend } = holds(await examine(here.data), 'LEFTOVERS', /1 folder of processes that ended/)
  assert.ok(mend?.endsWith(`rm -r ${left}`))
})

test('faults of source folders', async () => {
  await using here = await room()
  const of = (machine: Partial<Machine> = {}): Promise<Finding[]> => examine(here.data, { machine })
  holds(await of({ whyNoNotices: () => 'ENOSPC' }), 'INOTIFY_LIMIT', /cannot be watched: ENOSPC/)
  holds(await of({ whyNoNotices: () => 'ENOSYS' }), 'FOLDER_NOT_WATCHED', /cannot be watched: ENOSYS/)
  await mkdir(join(here.raw, 'folder.csv'))
  holds(await of(), 'FILES_LEFT_ALONE', /1 that is no regular file: folder\.csv \(a folder\)/)
  const claim = join(here.raw, '.claimed', '000001')
  await mkdir(claim, { recursive: true })
  await writeFile(join(claim, 'old.csv'), '')
  assert.ok(!codesOf(await of()).includes('CLAIMS_STALE'), 'a fresh one is being read')
  const before = Date.now() / 1000 - 7200
  await utimes(claim, before, before)
  holds(await of(), 'CLAIMS_STALE', /1 file was taken over an hour ago and not finished, such as .*old\.csv/)
  const file = join(here.path, 'file')
  await writeFile(file, '')
  holds(
    await examine(here.data, { env: { SHOP_EVENTS_DIR: join(file, 'shop') } }),
    'SOURCE_FOLDER_UNUSABLE',
    /shop-events cannot use .*ENOTDIR/,
  )
  const other = join(here.path, 'other')
  await mkdir(join(other, 'raw'), { recursive: true })
  // the devices are a disk of their own everywhere
  await symlink('/dev', join(other, 'raw', 'done'))
  holds(await examine(here.data, { env: { SHOP_EVENTS_DIR: other } }), 'CLAIMS_ON_ANOTHER_DISK', /^done of .*raw lie/)
})

test('the kernel itself says when it gives no more notices', { skip: noNamespaces() }, async () => {
  await using here = await room()
  const script = `echo 0 > /proc/sys/user/max_inotify_instances && exec "$0" "$@"`
  const args = ['--user', '--map-root-user', 'sh', '-c', script, process.execPath, main, 'doctor', '--json']
  const env = { PATH: process.env['PATH'], MILLRACE_DATA: here.data, PORT: '0' }
  const { stdout, stderr } = spawnSync('unshare', args, { env, cwd: here.path, encoding: 'utf8' })
  holds(parsed(stdout), 'INOTIFY_LIMIT', /cannot be watched: EMFILE/)
  assert.equal(stderr, '')
})

test('faults of the embedded Postgres', async () => {
  await using here = await room()
  await writeFile(join(here.data, 'postgres'), '')
  holds(await examine(here.data), 'EMBEDDED_POSTGRES', /the embedded one cannot run: EEXIST/)
  await using there = await room()
  const { cluster } = embeddedFolder(there.data)
  await mkdir(cluster, { recursive: true })
  await writeFile(join(cluster, 'PG_VERSION'), '12\n')
  const all = await examine(there.data)
  const { mend } = holds(all, 'EMBEDDED_POSTGRES', /the embedded one does not start: .*12/)
  assert.match(mend ?? '', /its log is .*server\.log/)
})

test('faults on the way to a database', async () => {
  await using here = await room()
  await using database = await testDatabase()
  const of = (url: string): Promise<Finding[]> => examine(here.data, { env: { DATABASE_URL: url } })
  await using gone = await listening()
  const { port } = gone
  await gone[Symbol.asyncDispose]()
  const { mend } = holds(await of(`postgresql://u@127.0.0.1:${port}/d`), 'DATABASE_UNREACHABLE', /ECONNREFUSED/)
  assert.match(mend ?? '', /the address comes from DATABASE_URL/)
  const other = new URL(database.url)
  other.pathname = '/no_such_database'
  holds(await of(other.href), 'DATABASE_LOGIN', /database "no_such_database" does not exist/)
  const withTls = (mode: string): string => {
    const url = new URL(database.url)
    url.searchParams.set('sslmode', mode)
    return url.href
  }
  holds(await of(withTls('require')), 'TLS_REFUSED', /the server does not speak TLS/)
  holds(await of(withTls('some')), 'SETTINGS_UNREADABLE', /"some" is not disable, allow/)
  await using older = await olderServer(database.url, '140019')
  holds(await of(older.url), 'DATABASE_TOO_OLD', /Postgres 14; Millrace needs 15/)
  await using latin = await testDatabase(`encoding 'LATIN1' locale_provider libc locale 'C' template template0`)
  holds(await of(latin.url), 'DATABASE_ENCODING', /encoded in LATIN1/)
  const far = { env: { DATABASE_URL: database.url }, machine: { now: () => Date.now() + 90_000 } }
  holds(await examine(here.data, far), 'CLOCK_SKEW', /8\d s|90 s apart/)
  const client = await database.connect()
  const name = new URL(database.url).pathname.slice(1)
  await client.query(`alter database ${name} set default_transaction_read_only = on`)
  const readOnly = holds(await of(database.url), 'DATABASE_READ_ONLY', /read-only by default/)
  // what it says mends it
  const administrator = await database.connect()
  await administrator.query('set default_transaction_read_only = off')
  await administrator.query((readOnly.mend ?? '').replace(/^as an administrator: /, ''))
  assert.deepEqual(
    codesOf(await of(database.url)).filter((code) => code.startsWith('DATABASE')),
    [],
  )
})

test('rights that lack, each mended by the statement that doctor says', async () => {
  await using here = await room()
  await using database = await testDatabase()
  const administrator = await database.connect()
  const role = `Doctor ${process.pid}`
  await administrator.query(`create role "${role}" login password 'secret'`)
  try {
    const url = new URL(database.url)
    url.username = encodeURIComponent(role)
    url.password = 'secret'
    const of = (): Promise<Finding[]> => examine(here.data, { env: { DATABASE_URL: url.href } })
    const mended = async (finding: Finding): Promise<void> => {
      await administrator.query((finding.mend ?? '').replace(/^as an administrator: /, ''))
    }
    await mended(holds(await of(), 'NO_RIGHT_TO_CREATE_SCHEMA', /may not create the schema millrace/))
    await mended(holds(await of(), 'NO_RIGHT_TO_CREATE_TABLES', /may not create tables/))
    assert.deepEqual(codesOf(await of()), [])
    // somebody else made the tables
    await using _store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations: [] })
    holds(await of(), 'NO_RIGHT_TO_USE_TABLES', /permission denied for/)
  } finally {
    await administrator.query(`drop owned by "${role}"`)
    await administrator.query(`drop role "${role}"`)
  }
})

test('faults of pipelines', async () => {
  await using here = await room()
  await using database = await testDatabase()
  const migrations = systemMigrations()
  await using store = await openPostgres({ url: database.url, waitMs: 0, onWait: () => {}, migrations })
  const client = await database.connect()
  const of = (): Promise<Finding[]> => examine(here.data, { env: { DATABASE_URL: database.url }, machine: plenty })
  assert.deepEqual(codesOf(await of()), [])

  const shop = systems.find(({ name }) => name === 'shop-events')
  assert.ok(shop)
  const config = loadConfig(systemSettings(), { MILLRACE_DATA: here.data }, here.data)
  const plan = planOf(shop, config)
  await store.register(plan)
  assert.deepEqual(codesOf(await of()), [])

  const orders = join(here.path, 'orders')
  await mkdir(join(orders, 'folder'), { recursive: true })
  await store.register(
    pipeline('orders')
      .from(files(orders, { format: 'csv', columns: { id: text() } }))
      .into(table('orders')).plan,
  )
  const [own] = (await of()).filter(({ code }) => code === 'FILES_LEFT_ALONE')
  assert.ok(own?.says.startsWith(orders), 'a pipeline of a user is looked at too')

  await writeFile(join(here.raw, 'waits.csv'), '')
  holds(await of(), 'NO_OWNER', /1 file of shop-events wait, and no worker runs it/)
  await client.query(`
    insert into millrace.leases (pipeline, owner, epoch, expires_at)
    values ('shop-events', 'gone:7', 1, now() - interval '3 minutes')
    on conflict (pipeline) do update
    set owner = excluded.owner, epoch = excluded.epoch, expires_at = excluded.expires_at`)
  const left = await of()
  holds(left, 'OWNER_DIED', /gone:7 ended without giving shop-events back, 3 min ago/)

  await client.query(`
    insert into millrace.batches (pipeline, batch, epoch, kind, started_at, rows_in, written, filtered, duplicates, late, dead, files_quarantined)
    values ('shop-events', 1, 1, 'stream', now(), 1000, 850, 0, 0, 0, 150, 2)`)
  await client.query(`
    insert into millrace.dead_letters (pipeline, batch, source, place, stage, code, message, raw)
    select 'shop-events', 1, 'source', 'a.csv', 'validate', case when n < 3 then 'EMPTY' else 'NOT_ONE_OF' end, 'no', 'a,b'
    from   generate_series(1, 150) n`)
  const dirty = await of()
  holds(dirty, 'DEAD_LETTERS_OPEN', /shop-events has 150 open ones: 148 NOT_ONE_OF, 2 EMPTY/)
  holds(dirty, 'DEAD_LETTERS_PILING_UP', /of 1,000 rows of shop-events in the last hour 150 were refused: 15 %/)
  const { mend } = holds(dirty, 'FILES_QUARANTINED', /2 files of shop-events could not be read/)
  const [, select = ''] = /"(.*)"/.exec(mend ?? '') ?? []
  assert.deepEqual(await store.select(select), [])

  const changed = { ...plan, steps: plan.steps.map((step) => (step.op === 'table' ? { ...step, mode: append } : step)) }
  await client.query('update millrace.pipelines set plan = $1', [JSON.stringify(changed)])
  holds(await of(), 'PLAN_CHANGED', /shop-events was started with another plan: /)

  await client.query('alter table user_events drop column price cascade')
  const { mend: statement } = holds(await of(), 'TABLE_DIFFERS', /user_events of shop-events: .*no column price/)
  assert.match(statement ?? '', /run: alter table/)
})

const append = { is: 'append' } as const

test('the command lists every fault, for people in 80 columns and for programs', async () => {
  const lines: string[] = []
  assert.equal(await ran(['--list'], lines), 0)
  for (const [code, { means }] of Object.entries(faults)) {
    assert.ok(
      lines.some((line) => line.startsWith(`${code}  (`)),
      code,
    )
    assert.match(means, /^[A-Z].*\.$/)
  }
  // a command or a statement is not broken
  for (const line of lines) assert.ok(line.length <= 80 || !line.trim().includes(' '), line)
  const listed: string[] = []
  assert.equal(await ran(['--list', '--json'], listed), 0)
  assert.deepEqual(
    listed.map((line) => JSON.parse(line).code),
    Object.keys(faults),
  )
})

test('faults of a Spark server', async () => {
  await using here = await room()
  const facts = { version: '4.0.0', unfit: undefined, timeZone: 'UTC', noDatabase: undefined, hasKafka: true }
  const of = (more: Partial<SparkFacts>, env: Record<string, string> = {}): Promise<Finding[]> =>
    examine(here.data, {
      env: { SPARK_REMOTE: 'sc://127.0.0.1:15002', ...env },
      machine: { ...plenty, spark: async () => ({ ...facts, ...more }) },
    })
  assert.deepEqual(codesOf(await of({})), [])
  const nobody = { env: { SPARK_REMOTE: 'sc://127.0.0.1:1' }, machine: plenty }
  holds(await examine(here.data, nobody), 'SPARK_UNREACHABLE', /no Spark Connect server answers/)
  holds(await of({ unfit: new Error('the server is Spark 3.5.1') }), 'SPARK_UNFIT', /Spark 3\.5\.1/)
  holds(await of({ timeZone: 'Europe/Berlin' }), 'SPARK_TIME_ZONE', /Europe.Berlin/)
  holds(await of({ hasKafka: false }), 'SPARK_NO_KAFKA', /Kafka/)
  const driver = new Error('java.lang.ClassNotFoundException: org.postgresql.Driver\n\tat somewhere')
  holds(await of({ noDatabase: driver }), 'SPARK_NO_JDBC', /no driver/)
  const refused = new Error('Connection to db:5432 refused')
  const elsewhere = { SPARK_DATABASE_URL: 'postgresql://u@127.0.0.1:1/d' }
  holds(await of({ noDatabase: refused }, elsewhere), 'SPARK_NO_DATABASE', /refused/)
  assert.deepEqual(codesOf(await of({ noDatabase: refused })), [], 'the embedded Postgres is no fault of it')
})

test('no fault that doctor knows was forgotten here', () => {
  assert.ok(Object.keys(faults).length >= 15)
  assert.deepEqual(
    Object.keys(faults).filter((code) => !provoked.has(code as FaultCode)),
    [],
  )
})

const main = join(import.meta.dirname, '..', 'src', 'cli', 'main.ts')

async function ran(flags: string[], lines: string[]): Promise<number> {
  const options = Object.fromEntries(flags.map((flag) => [flag.slice(2), true]))
  const out = (text: string): void => void lines.push(...text.split('\n'))
  return await doctor.run({ words: [], options, signal: new AbortController().signal, out })
}

// The command in a process of its own; it ends with 1, for something is wrong.
async function said(flags: string[], env: Record<string, string>): Promise<Finding[]> {
  const { stdout, status } = spawnSync(process.execPath, [main, 'doctor', ...flags], {
    env: { PATH: process.env['PATH'], ...env },
    cwd: tmpdir(),
    encoding: 'utf8',
  })
  assert.equal(status, 1, `${hostname()}: ${stdout}`)
  return parsed(stdout)
}

function parsed(lines: string): Finding[] {
  return lines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
}

async function listening(): Promise<{ port: string } & AsyncDisposable> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const address = server.address()
  return {
    port: String(typeof address === 'object' ? address?.port : ''),
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

// Of a process that has ended.
function deadPid(): number {
  const { pid } = spawnSync(process.execPath, ['--version'])
  return pid
}

function noNamespaces(): string | false {
  const { status, stderr, error } = spawnSync(
    'unshare',
    ['--user', '--map-root-user', 'sh', '-c', 'echo 0 > /proc/sys/user/max_inotify_instances'],
    { encoding: 'utf8' },
  )
  return status === 0 ? false : `the limit cannot be lowered for one process here: ${error?.message ?? stderr.trim()}`
}
