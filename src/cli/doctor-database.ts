/** What doctor sees of Postgres: the embedded programs, the server, its clock, its rights; the pipelines are beside this. */
import { execFile } from 'node:child_process'
import { access, constants, mkdir } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { Config } from '../config.ts'
import { MillraceError, messageOf } from '../errors.ts'
import type { Log } from '../log.ts'
import { identifier } from '../plan/identifier.ts'
import type { Plan } from '../plan/plan.ts'
import { type Client, clientConfig, codeOf, connectPatiently, placeOf } from '../store/connection.ts'
import { findBinaries } from '../store/embedded/binaries.ts'
import { embeddedFolder } from '../store/embedded/folder.ts'
import { tlsFault } from '../store/tls.ts'
import { unfitServer } from '../store/unfit-server.ts'
import { storedPipelines, storedPlans, targetTables } from './doctor-pipelines.ts'
import { type Finding, found, ok } from './finding.ts'
import type { Machine } from './machine.ts'
import { hasCluster, openDatabase, sentenceOf } from './open.ts'
import { duration } from './text.ts'

export async function* embeddedPrograms({ dataDirectory: folder }: Config): AsyncGenerator<Finding> {
  try {
    const place = embeddedFolder(folder)
    await mkdir(place.root, { recursive: true, mode: 0o700 })
    const { postgres, initdb, environment } = await findBinaries(place)
    await access(initdb, constants.X_OK)
    const { stdout } = await promisify(execFile)(postgres, ['--version'], { env: environment })
    yield ok('postgres', `the embedded one is installed: ${stdout.trim()}`)
  } catch (error) {
    yield found('EMBEDDED_POSTGRES', `the embedded one cannot run: ${messageOf(error)}`)
  }
}

/** `plans` are those of the systems that ship; it answers those of users, which are known by what is stored. */
export async function* database(
  config: Config,
  plans: Plan[],
  log: Log,
  machine: Machine,
): AsyncGenerator<Finding, Plan[]> {
  if (config.database === undefined && !(await hasCluster(config))) {
    yield ok('database', 'not made yet; the first start makes it')
    return []
  }
  try {
    await using opened = await openDatabase(config, log)
    const settings = clientConfig(opened.url)
    const client = await connectPatiently(settings, { waitMs: 0, onWait: () => {} })
    try {
      const unfit = await unfitServer(client, placeOf(settings))
      if (unfit !== undefined) {
        const code = unfit.code === 'DATABASE_TOO_OLD' ? unfit.code : 'DATABASE_ENCODING'
        yield found(code, `${placeOf(settings)}: ${unfit.message}`)
        return []
      }
      const schema = await hasSchema(client)
      yield* server(client, placeOf(settings), schema)
      yield* clocks(client, machine)
      const stored = schema ? await storedPlans(client) : []
      const own = stored.filter(({ name }) => !plans.some((plan) => plan.name === name))
      yield* targetTables(client, [...plans, ...own])
      if (schema) yield* storedPipelines(client, stored, plans)
      return own
    } finally {
      await client.end()
    }
  } catch (error) {
    yield unreachable(error, config)
    return []
  }
}

function unreachable(error: unknown, { database: address, dataDirectory }: Config): Finding {
  const says = error instanceof MillraceError ? error.message : sentenceOf(error)
  if (address === undefined) {
    return found(
      'EMBEDDED_POSTGRES',
      `the embedded one does not start: ${says}`,
      `its log is ${embeddedFolder(dataDirectory).serverLog}`,
    )
  }
  const from = `the address comes from ${address.from}`
  // sslmode, and the files that it needs, are read only now
  if (error instanceof MillraceError && error.code === 'INVALID_SETTING') {
    return found('SETTINGS_UNREADABLE', String(error), `mend it in the address, or in the PGSSL variable: ${from}`)
  }
  const tls = error instanceof MillraceError ? tlsFault(error.cause) : undefined
  if (tls !== undefined) return found('TLS_REFUSED', tls.message, `${tls.hint}; ${from}`)
  const code = codeOf(error) ?? ''
  if (code === '42501') return found('NO_RIGHT_TO_USE_TABLES', says)
  // who one is, and which database one asks for
  if (/^(28|3D000)/.test(code)) {
    return found('DATABASE_LOGIN', says, `mend user, password or the name of the database: ${from}`)
  }
  return found('DATABASE_UNREACHABLE', says, `is Postgres running there? ${from}`)
}

async function* server(client: Client, place: string, owned: boolean): AsyncGenerator<Finding> {
  const { rows } = await client.query<{
    name: string
    creates: boolean
    tables: boolean
    user: string
    database: string
    schema: string | null
    standby: boolean
    reads: string
  }>(`
    select current_setting('server_version') as name,
           has_database_privilege(current_database(), 'create') as creates,
           coalesce(has_schema_privilege(current_schema(), 'create'), false) as tables,
           current_user as user,
           current_database() as database,
           current_schema() as schema,
           pg_is_in_recovery() as standby,
           current_setting('transaction_read_only') as reads`)
  const [row] = rows
  if (row === undefined) return
  yield ok('database', `${place} is Postgres ${row.name}`)
  if (row.standby) yield found('DATABASE_READ_ONLY', `${place} is a standby`, 'name the primary server in DATABASE_URL')
  else if (row.reads === 'on') {
    yield found(
      'DATABASE_READ_ONLY',
      `transactions in ${place} are read-only by default`,
      `as an administrator: alter database ${identifier(row.database)} set default_transaction_read_only = off`,
    )
  }
  const user = identifier(row.user)
  if (!row.creates && !owned) {
    yield found(
      'NO_RIGHT_TO_CREATE_SCHEMA',
      `${row.user} may not create the schema millrace`,
      `as an administrator: grant create on database ${identifier(row.database)} to ${user}`,
    )
  } else if (!row.tables) {
    yield found(
      'NO_RIGHT_TO_CREATE_TABLES',
      `${row.user} may not create tables where they would be made`,
      `as an administrator: grant create on schema ${identifier(row.schema ?? 'public')} to ${user}`,
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

async function* clocks(client: Client, machine: Machine): AsyncGenerator<Finding> {
  const before = machine.now()
  const { rows } = await client.query<{ now: Date }>('select clock_timestamp() as now')
  const here = (before + machine.now()) / 2
  const apart = Math.abs((rows[0]?.now.getTime() ?? here) - here)
  const says = `${duration(apart)} apart from the database's`
  yield apart < clockWarningMs ? ok('clock', says) : found('CLOCK_SKEW', says)
}
