/** What stands where: the store's word on each pipeline, the server's, and the files that wait. For status. */
import { systems } from '../../pipelines/index.ts'
import type { Config } from '../config.ts'
import type { WorkerState } from '../engine/progress.ts'
import { planOf } from '../engine/system-run.ts'
import type { Log } from '../log.ts'
import type { Plan } from '../plan/plan.ts'
import { type Numbers, numbersOf, positionsOf, type StoredPosition } from '../server/numbers.ts'
import { countWaiting, filesSources, type WaitingFiles } from '../sources/files/waiting.ts'
import { TopicEnds, type TopicLag, topicLags } from '../sources/topic/lag.ts'
import { openTopics } from '../sources/topic/open.ts'
import { clientConfig, codeOf, configOf, connectPatiently } from '../store/connection.ts'
import { PostgresStore } from '../store/postgres.ts'
import type { PipelineStatus } from '../store/store.ts'
import { hasCluster, openDatabase, sentenceOf } from './open.ts'
import { askServer, findServer, type ServerAddress, urlOf } from './server-file.ts'

export interface Standing {
  database: DatabaseStanding
  server: { url: string; pid: number; answers: boolean } | undefined
  pipelines: PipelineStanding[]
}

export interface DatabaseStanding {
  /** Why it could not be asked. */
  fault: string | undefined
  embedded: boolean
  /** What psql and pgAdmin need; undefined when the embedded one never was started. */
  access: Access | undefined
}

export interface Access {
  host: string
  port: number
  user: string
  database: string
  password: string
  url: string
}

export interface PipelineStanding {
  pipeline: string
  /** Undefined when it was never started on this database, or the database does not answer. */
  stored: PipelineStatus | undefined
  /** What the server's own worker says. */
  worker: WorkerState | undefined
  files: WaitingFiles
  folders: string[]
  topics: string[]
  /** Its watermark, and what it keeps; undefined as `stored` is. */
  numbers: Numbers | undefined
  /** How far it is behind each of its topics; none where it was never started. */
  lags: TopicLag[]
}

/** Brokers that do not answer keep nobody waiting for longer. */
const topicPatienceMs = 3000

/** Everything status shows. It changes nothing, but starts the embedded Postgres when no other process has. */
export async function standing(config: Config, log: Log, signal?: AbortSignal): Promise<Standing> {
  const address = findServer(config.dataDirectory)
  const [served, stored] = await Promise.all([
    address === undefined ? undefined : askServer(address),
    askStore(config, log, signal),
  ])
  const plans = new Map(systems.map((system): [string, Plan] => [system.name, planOf(system, config)]))
  // those of users are known by what they were last started with
  for (const { pipeline, plan } of stored.plans) if (!plans.has(pipeline)) plans.set(pipeline, plan)
  await using ends = new TopicEnds(() => openTopics(config), topicPatienceMs)
  const lagsOf = async (name: string, plan: Plan): Promise<TopicLag[]> => {
    if (!stored.numbers.has(name)) return []
    const positions = stored.positions.filter(({ pipeline }) => pipeline === name)
    return await topicLags(plan, positions, ends)
  }
  const pipelines: PipelineStanding[] = []
  for (const [name, plan] of plans) {
    pipelines.push({
      pipeline: name,
      stored: stored.pipelines.find(({ pipeline }) => pipeline === name),
      numbers: stored.numbers.get(name),
      lags: await lagsOf(name, plan),
      worker: served?.find(({ pipeline }) => pipeline === name)?.state ?? undefined,
      files: await countWaiting(plan),
      folders: filesSources(plan).map(({ folder }) => folder),
      topics: topicsOf(plan),
    })
  }
  return { database: stored.database, server: serverStanding(address, served !== undefined), pipelines }
}

/** The topics that a plan reads, by name. */
export function topicsOf({ sources }: Plan): string[] {
  return Object.values(sources).flatMap((source) => (source.is === 'topic' ? [source.topic] : []))
}

function serverStanding(address: ServerAddress | undefined, answers: boolean): Standing['server'] {
  return address === undefined ? undefined : { url: urlOf(address), pid: address.pid, answers }
}

interface Stored {
  pipelines: PipelineStatus[]
  plans: { pipeline: string; plan: Plan }[]
  numbers: Map<string, Numbers>
  positions: StoredPosition[]
}

const nothingStored: Stored = { pipelines: [], plans: [], numbers: new Map(), positions: [] }

async function askStore(
  config: Config,
  log: Log,
  signal?: AbortSignal,
): Promise<Stored & { database: DatabaseStanding }> {
  const embedded = config.database === undefined
  let access = config.database === undefined ? undefined : accessOf(config.database.url)
  // asking is no reason to make a database
  if (embedded && !(await hasCluster(config)))
    return { database: { fault: undefined, embedded, access }, ...nothingStored }
  try {
    await using database = await openDatabase(config, log)
    access = accessOf(database.url)
    // one connection made with care first: the store's own say less of what is wrong, and try TLS or no TLS, not both
    const client = await connectPatiently(clientConfig(database.url), { waitMs: 0, onWait: () => {}, signal })
    await client.end()
    await using store = new PostgresStore(configOf(client), [])
    return { database: { fault: undefined, embedded, access }, ...(await storedIn(store)) }
  } catch (error) {
    return { database: { fault: sentenceOf(error), embedded, access }, ...nothingStored }
  }
}

async function storedIn(store: PostgresStore): Promise<Stored> {
  try {
    const plans = await store.select('select pipeline, plan from millrace.pipelines order by pipeline')
    // as: the columns of the statement above
    return {
      pipelines: await store.status(),
      plans: plans as Stored['plans'],
      ...(await behindIn(store)),
    }
  } catch (error) {
    // no such table: nothing has run on this database yet
    if (codeOf(error) === '42P01') return nothingStored
    throw error
  }
}

async function behindIn(store: PostgresStore): Promise<Pick<Stored, 'numbers' | 'positions'>> {
  try {
    return { numbers: await numbersOf(store), positions: await positionsOf(store) }
  } catch (error) {
    // a table or column that the next start brings: status does not migrate
    if (codeOf(error) === '42P01' || codeOf(error) === '42703') return nothingStored
    throw error
  }
}

export function accessOf(url: string): Access {
  const { hostname, port, username, password, pathname } = new URL(url)
  return {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port || 5432),
    user: decodeURIComponent(username),
    database: decodeURIComponent(pathname.slice(1)),
    password: decodeURIComponent(password),
    url,
  }
}

export type PipelineState =
  | 'unknown'
  | 'never started'
  | 'not running'
  | 'starting'
  | 'running'
  | 'backfill'
  | 'standing by'
  | 'retrying'
  | 'stopped'
  /** Its owner died, and nobody has taken over. */
  | 'left'

export function stateOf({ stored, worker }: PipelineStanding, database: DatabaseStanding): PipelineState {
  if (worker?.is === 'retrying' || worker?.is === 'stopped' || worker?.is === 'starting') return worker.is
  if (stored === undefined) {
    if (worker !== undefined) return worker.is === 'lending' ? 'backfill' : worker.is
    return database.fault === undefined ? 'never started' : 'unknown'
  }
  if (stored.owner === null) return 'not running'
  if (!stored.alive) return 'left'
  return stored.lentBy === null ? 'running' : 'backfill'
}

/** What a pipeline does, and who does it. */
export function stateInWords(standing: PipelineStanding, database: DatabaseStanding): string {
  const state = stateOf(standing, database)
  const { owner, lentBy, doing } = standing.stored ?? {}
  const what = doing == null ? '' : `: ${doing}`
  switch (state) {
    case 'running':
      return owner == null ? state : `running on ${owner}${what}`
    case 'backfill':
      return owner == null ? state : `backfill by ${owner}${lentBy == null ? '' : `, lent by ${lentBy}`}${what}`
    case 'left':
      return `not running; ${owner} ended without giving it back`
    case 'unknown':
    case 'never started':
    case 'not running':
    case 'starting':
    case 'standing by':
    case 'retrying':
    case 'stopped':
      return state
  }
}

/** The sentence of the worker that says what is wrong. */
export function trouble({ worker }: PipelineStanding): string | undefined {
  if (worker?.is === 'retrying') return `${worker.why} (try ${worker.tries})`
  return worker?.is === 'stopped' ? worker.why : undefined
}
