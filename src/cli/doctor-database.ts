/** What doctor sees of Postgres: the embedded programs, the server, its clock, and what the pipelines left there. */
import { execFile } from 'node:child_process'
import { access, constants, mkdir } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { Config } from '../config.ts'
import { MillraceError, messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import { type Client, clientConfig, connectPatiently, placeOf } from '../store/connection.ts'
import { findBinaries } from '../store/embedded/binaries.ts'
import { embeddedFolder } from '../store/embedded/folder.ts'
import { type Finding, fault, ok, warning } from './finding.ts'
import { hasCluster, openDatabase, sentenceOf } from './open.ts'
import { counted, duration } from './text.ts'

export async function* embeddedPrograms({ dataDirectory: folder }: Config): AsyncGenerator<Finding> {
  try {
    const place = embeddedFolder(folder)
    await mkdir(place.root, { recursive: true, mode: 0o700 })
    const { postgres, initdb, environment } = await findBinaries(place)
    await access(initdb, constants.X_OK)
    const { stdout } = await promisify(execFile)(postgres, ['--version'], { env: environment })
    yield ok('postgres', `the embedded one is installed: ${stdout.trim()}`)
  } catch (error) {
    yield fault(
      'postgres',
      `the embedded one cannot run: ${messageOf(error)}`,
      'run npm ci again, or set DATABASE_URL to a server of your own',
    )
  }
}

export async function* database(config: Config, log: Log): AsyncGenerator<Finding> {
  if (config.database === undefined && !(await hasCluster(config))) {
    yield ok('database', 'not made yet; the first start makes it')
    return
  }
  try {
    await using opened = await openDatabase(config, log)
    const settings = clientConfig(opened.url)
    const client = await connectPatiently(settings, { waitMs: 0, onWait: () => {} })
    try {
      yield* server(client, placeOf(settings))
      yield* clocks(client)
      if (await hasSchema(client)) yield* pipelines(client)
    } finally {
      await client.end()
    }
  } catch (error) {
    const from = config.database?.from
    yield fault(
      'database',
      error instanceof MillraceError ? error.message : sentenceOf(error),
      from === undefined
        ? `its log is ${embeddedFolder(config.dataDirectory).serverLog}`
        : `is Postgres running there, and do user, password and sslmode fit? The address comes from ${from}`,
    )
  }
}

async function* server(client: Client, place: string): AsyncGenerator<Finding> {
  const { rows } = await client.query<{
    version: number
    name: string
    creates: boolean
    public: boolean
    user: string
    standby: boolean
  }>(`
    select current_setting('server_version_num')::int as version,
           current_setting('server_version') as name,
           has_database_privilege(current_database(), 'create') as creates,
           coalesce(has_schema_privilege(current_schema(), 'create'), false) as public,
           current_user as user,
           pg_is_in_recovery() as standby`)
  const [row] = rows
  if (row === undefined) return
  if (row.version < 150_000) yield fault('database', `${place} is Postgres ${row.name}`, 'use Postgres 15 or later')
  else yield ok('database', `${place} is Postgres ${row.name}`)
  if (row.standby) yield fault('database', 'it is a read-only standby', 'name the primary server in DATABASE_URL')
  const owned = await hasSchema(client)
  if (!row.creates && !owned) {
    yield fault(
      'rights',
      `${row.user} may not create the schema millrace`,
      `as an administrator: grant create on database ... to ${row.user}`,
    )
  } else if (!row.public) {
    yield fault(
      'rights',
      `${row.user} may not create tables where they would be made`,
      `as an administrator: grant create on schema public to ${row.user}`,
    )
  } else yield ok('rights', `${row.user} may create the schema and the tables`)
}

async function hasSchema(client: Client): Promise<boolean> {
  const { rows } = await client.query<{ there: boolean }>(
    `select to_regclass('millrace.pipelines') is not null as there`,
  )
  return rows[0]?.there ?? false
}

const clockWarningMs = 2000

async function* clocks(client: Client): AsyncGenerator<Finding> {
  const before = Date.now()
  const { rows } = await client.query<{ now: Date }>('select clock_timestamp() as now')
  const here = (before + Date.now()) / 2
  const apart = Math.abs((rows[0]?.now.getTime() ?? here) - here)
  const says = `${duration(apart)} apart from the database's`
  if (apart < clockWarningMs) yield ok('clock', says)
  else yield warning('clock', says, 'set both by NTP: latencies, and how late an event is, are measured between them')
}

async function* pipelines(client: Client): AsyncGenerator<Finding> {
  const { rows: leases } = await client.query<{ pipeline: string; owner: string; expired_for_s: number }>(`
    select pipeline, owner, extract(epoch from clock_timestamp() - expires_at)::int as expired_for_s
    from   millrace.leases
    where  owner is not null and expires_at <= clock_timestamp()
    order by pipeline`)
  for (const { pipeline, owner, expired_for_s: seconds } of leases) {
    yield warning(
      'leases',
      `${owner} ended without giving ${pipeline} back, ${duration(seconds * 1000)} ago`,
      'nothing to mend: the next worker takes it at once. Start one: millrace start',
    )
  }
  if (leases.length === 0) yield ok('leases', 'every one is free or held by a living worker')
  const { rows: letters } = await client.query<{ pipeline: string; open: number; codes: string }>(`
    select pipeline, sum(n)::int as open, string_agg(n || ' ' || code, ', ' order by n desc) as codes
    from  (select pipeline, code, count(*)::int as n
           from   millrace.dead_letters
           where  settled is null
           group by pipeline, code) by_code
    group by pipeline
    order by pipeline`)
  for (const { pipeline, open, codes } of letters) {
    yield warning(
      'dead letters',
      `${pipeline} has ${counted(open, 'open one')}: ${codes}`,
      '`millrace dead-letters list` shows them; edit, replay or discard them',
    )
  }
  if (letters.length === 0) yield ok('dead letters', 'none is open')
}
