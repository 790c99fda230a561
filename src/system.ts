/**
 * What a shipped system is, and a user's system too: a pipeline with everything that belongs to it. Contracts only;
 * the command line hands systems to the engine, the tasks and the server.
 */
import type { SettingSpec, SettingValues } from './config.ts'
import type { Plan } from './plan/plan.ts'

export type { SettingSpec, SettingValues } from './config.ts'

export interface System {
  name: string
  /** One sentence: what it does, for lists and `--help`. */
  says: string
  /** Environment variables of its own. */
  settings: Record<string, SettingSpec>
  /** The plan, for these settings. Called after the settings are checked. */
  plan(settings: SettingValues): Plan
  /** Tables beside those of its plan. */
  tables?: {
    /** They say what was read: `reset` empties them, so that it is read again. */
    positions: readonly string[]
    /** They are made of it: `reset --results` empties them. */
    results: readonly string[]
    /** Answers in caches whose keys begin so are made of them, and go with them. */
    cachedAs?: readonly string[]
  }
  /** A folder of numbered SQL files, applied in order before the first row. */
  migrations?: URL
  /** The folder that gets `<batch>.csv` of bad rows and the files that cannot be read, so that a person finds them. */
  quarantine?: (settings: SettingValues) => string
  /** Where files go from `done/` when they are old enough; without it they stay there. */
  archive?: (settings: SettingValues) => Archive | undefined
  generate?: Generator
  /** Questions about the results, answered at `/api/results/<system>/<name>`. */
  routes?: Route[]
  /** Addresses of its own that take events. */
  posts?: PostRoute[]
  /** Addresses of its own that answer in their own way. */
  gets?: GetRoute[]
  /** What is done behind commits, by name: plans, routes and schedules ask for it. */
  tasks?: Record<string, Task>
  /** When tasks are asked for by the clock. */
  schedules?: Schedule[]
  /** How the page draws the answers. */
  charts?: Chart[]
  /** Pages of one thing each, such as one job. */
  views?: View[]
  /** Work beside the batches. */
  followers?: Follower[]
  /** Why it stays off Spark, whatever its plan says: a sentence that goes on from its name. */
  notOnSpark?: string
}

export type RouteColumn = 'text' | 'integer' | 'number' | 'timestamp'

export interface Route {
  /** The last part of its address. */
  name: string
  /** Another address for it, below `/api/`. */
  path?: string
  says: string
  query?: Record<string, RouteParameter>
  /** The columns of its rows. */
  answers: Record<string, RouteColumn>
  handle(request: { query: Record<string, string | number> }, tools: RouteTools): Promise<Record<string, unknown>[]>
}

export type RouteParameter =
  | { type: 'integer'; minimum: number; maximum: number; default: number; says: string }
  | { type: 'string'; maxLength: number; default: string; says: string }

export interface RouteTools {
  /** Reads Postgres, in a transaction that cannot write. */
  sql(statement: string, values?: unknown[]): Promise<Record<string, unknown>[]>
  cache: Cache
  /** Asks for a task of the system, for each of these keys: it runs outside of the request. */
  enqueue(task: string, keys: string[]): Promise<void>
  /** Reads files that a follower keeps, with a select of DuckDB. */
  files(follower: string, select: (folder: string) => string): Promise<Record<string, unknown>[]>
  signal: AbortSignal
}

/** Answers that are kept for a while: in Redis, where there is one, else in this process. */
export interface Cache {
  /**
   * What is kept under a key, else what `make` answers, which is kept for CACHE_TTL unless it is undefined, or was dropped
   * meanwhile: by a task, or because a row of a table `cachedAs` the beginning of the key has changed. A fault of the cache is no fault of the request.
   */
  through<T>(key: string, make: () => Promise<T | undefined>): Promise<T | undefined>
}

/** An address of the system's own. */
export interface GetRoute {
  /** `/analytics/jobs/:job_id`. */
  path: string
  says: string
  /** What each parameter of its path is. */
  params?: Record<string, string>
  /** Parameters that it does not know are left alone, as another's clients may send them. */
  lenient?: true
  query?: Record<string, RouteParameter>
  /** What it answers by status, beside the problems that any address can answer with. */
  answers: Record<number, { says: string; schema?: Record<string, unknown>; type?: string }>
  handle(
    request: { params: Record<string, string>; query: Record<string, string | number> },
    tools: RouteTools,
  ): Promise<RouteAnswer>
}

/** Background work. It is asked for by key, and a key that is asked for again before it runs is run once. */
export interface Task {
  says: string
  /** So many keys at a time: 1 when left out. When a run of several fails, each of them is run alone. */
  atOnce?: number
  /** How often a key that fails is tried again, 5 times when left out, and how long after the first failure, 1 second: then twice as long, and so on. */
  retries?: { times: number; afterSeconds: number }
  /** Everything it writes is one transaction, of which no other worker runs a key at the same time. */
  run(request: { keys: string[]; settings: SettingValues }, tools: TaskTools): Promise<void>
}

export interface TaskTools {
  /** Reads and writes, in the transaction of this run. */
  sql(statement: string, values?: unknown[]): Promise<Record<string, unknown>[]>
  /** Asks for a task, if the transaction commits. */
  enqueue(task: string, keys: string[]): Promise<void>
  /** Drops what caches keep under these keys, once the transaction has committed. */
  drop(keys: string[]): Promise<void>
  signal: AbortSignal
}

/** Asks for a task with the key '' by the database's clock, once for all workers. */
export interface Schedule {
  task: string
  everyMs(settings: SettingValues): number
  /** Also when a worker starts. */
  atStart?: boolean
}

/** An address of the system's own that takes events, and answers in its own way. */
export interface PostRoute {
  /** Such as `/api/process`. */
  path: string
  says: string
  /** It takes bodies with whatever in place of an event, and says of each what became of it. */
  judges?: 'each event'
  query?: Record<string, RouteParameter>
  /** What it answers by status, beside the problems that any address can answer with. */
  answers: Record<number, { says: string; schema?: Record<string, unknown> }>
  handle(request: { query: Record<string, string | number>; body: EventBody }, tools: PostTools): Promise<RouteAnswer>
}

/** A body as it was sent. */
export interface EventBody {
  bytes: Uint8Array
  /** Its content-type and content-encoding. */
  type: string
  encoding: string | undefined
  idempotencyKey: string | undefined
}

export interface PostTools extends RouteTools {
  /**
   * The events of a body, unpacked and cut where they lie, and what cannot be one. A body of which it is not known where
   * its events are ends the request with a problem.
   */
  events(body: EventBody): Promise<PostedEvent[]>
  /** Appends the events of a body to a topic. What is wrong with the body ends the request with a problem. */
  ingest(topic: string, body: EventBody, options?: IngestOptions): Promise<Ingested>
  /**
   * Appends lines to a file for a follower, which finds it in the folder `posted` of its own. Resolves when they are durable;
   * those whose answer was lost are posted again, so that a line can be there twice.
   */
  keep(follower: string, file: string, lines: readonly string[]): Promise<void>
}

/** An event's JSON as it was sent; or why there is none. */
export type PostedEvent = { is: 'event'; text: string } | { is: 'rejected'; code: string; message: string }

export interface IngestOptions {
  /** Resolves when every pipeline that reads the topic, and this server knows, has committed them; after INGEST_WAIT in any case. */
  wait?: 'commit'
  /** All of them, or none: one that would become a dead letter is a problem, and nothing is stored. */
  strict?: boolean
}

/** Events that are durable. */
export interface Ingested {
  topic: string
  accepted: number
  /** Where they lie, in the order in which they came. */
  ranges: EventRange[]
  /** They had been posted under the same Idempotency-Key before. */
  repeated: boolean
  /** Of those that were waited for: what became of them; undefined when it took too long. */
  committed?: CommittedEvents | undefined
  /** Of those that were waited for: where it is told later what became of them. */
  location?: string
}

export interface EventRange {
  partition: number
  /** The offset of the first of them, and the one after the last. */
  first: number
  end: number
}

export interface CommittedEvents {
  batches: CommittedIn[]
  /** How many of them are dead letters, and the first of these. */
  rejected: number
  rejections: Rejection[]
}

/** A line of the ledger. Its batch may have had other events, too. */
export interface CommittedIn {
  pipeline: string
  batch: number
  committed_at: string
  rows_in: number
  written: number
  filtered: number
  duplicates: number
  late: number
  dead: number
}

export interface Rejection {
  pipeline: string
  /** The place of the event in its body, from 0. */
  index: number
  code: string
  column: string | null
  message: string
}

export type RouteAnswer = PostAnswer | { problem: RouteProblem }

/** What is wrong with a request: it is answered as problem+json. */
export interface RouteProblem {
  status: 400 | 404 | 409 | 422
  /** In capitals: it is what programs go by. */
  code: string
  detail: string
  hint?: string
  errors?: readonly object[]
}

export interface PostAnswer {
  /** 200, unless it says otherwise. */
  status?: number
  headers?: Record<string, string>
  /** `application/json`, unless it says otherwise: then a text or bytes are sent as they are. */
  type?: string
  /** Parts are sent as they come; anything else as JSON. */
  body: AsyncIterable<string | Uint8Array> | unknown
}

/**
 * Work that goes on beside the batches of a system: it looks at something outside again and again, and keeps results up
 * with it. It may run in several processes at once, so each of its transactions makes sure by itself that what it goes on
 * from is still so.
 */
export interface Follower {
  name: string
  says: string
  /** How long it rests when there was nothing to do. */
  everyMs(settings: SettingValues): number
  /** What DuckDB may use of memory; more goes to disk. */
  memoryMb: number
  /** Does what there is to do now, and answers whether there was anything. */
  round(tools: FollowerTools): Promise<boolean>
}

export interface FollowerTools {
  settings: SettingValues
  /** Its own folder, which is kept, and which routes read with `files`. */
  folder: string
  /** Its own folder, for what passes between DuckDB and Postgres. */
  scratch: string
  /** A DuckDB of its own, which reaches these two folders and nothing else. */
  duck: {
    run(statement: string): Promise<number>
    rows(select: string): Promise<Record<string, unknown>[]>
  }
  /** One transaction of Postgres: when `work` throws, nothing of it has happened. */
  write<T>(work: (transaction: WriteTransaction) => Promise<T>): Promise<T>
  now(): number
  /** Something is wrong that concerns a part of the work only. */
  warn(message: string, fields: Record<string, unknown>): void
  signal: AbortSignal
}

export interface WriteTransaction {
  sql(statement: string, values?: unknown[]): Promise<Record<string, unknown>[]>
  /** Rows of a CSV file without header, where an empty field is null and `""` an empty text. */
  copy(table: string, columns: readonly string[], path: string): Promise<void>
  /** Asks for a task of the system, if the transaction commits. */
  enqueue(task: string, keys: readonly string[]): Promise<void>
}

/** What the page draws of the rows of a route; it knows nothing else of a system. */
export interface Chart {
  title: string
  says?: string
  /** The route's name, and parameters if it has any: `top-products?limit=10`. */
  route: string
  /** The same with other parameters, for its files, which may have more than is shown. */
  takes?: string
  draws: 'line' | 'bars' | 'funnel' | 'table'
  /** The column along which it is drawn. */
  x: string
  y: string[]
  /** A line for each value of this column. */
  by?: string
  unit?: string
  /** A line across, and what it means. */
  limit?: { value: number; label: string }
  /** What happened along it: rows of another route, marked on the line that their `by` names, or else on the axis. */
  marks?: ChartMarks
  /** What the reader may choose: parameters of the route, each with what it is called. */
  asks?: Record<string, string>
  /** Of a table: where a value of one of its columns leads. */
  leads?: Lead
  refreshSeconds: number
}

/** A page of one thing, which its reader names or is led to. */
export interface View {
  /** The last part of its address. */
  name: string
  title: string
  says: string
  /** What it is of: parameters of the routes of all its charts, each with what it is called. */
  asks: Record<string, string>
  charts: Chart[]
}

export interface Lead {
  /** The column whose values lead there. */
  column: string
  /** The name of a view. */
  to: string
  /** What it is told: its parameters, each with the column that has the value. */
  with: Record<string, string>
}

export interface ChartMarks {
  /** The route's name, and parameters if it has any. */
  route: string
  /** Their column along which the chart is drawn. */
  x: string
  /** The column that says what each is. */
  label: string
  /** What they are together, for the legend. */
  says: string
}

export interface Archive {
  /** Gets a file in `YYYY/MM/DD/`, the day of its arrival in UTC. */
  folder: string
  /** How long a file of a committed batch stays in `done/`, counted from its arrival. */
  afterMs: number
  /** How long it stays in the archive; without it, for ever. */
  keepMs?: number | undefined
  compress?: Compression | undefined
}

export type Compression = 'gzip' | 'zstd'

export interface Generator {
  says: string
  /** The options that mean something to it, beside those every generator has. */
  options?: Record<string, { default: string; says: string }>
  /** It can also write its tables itself, with --bulk. */
  bulk?: true
  /** Writes sample data by the same road a user's would take, until the signal or the count ends it. */
  run(request: GenerateRequest): Promise<GenerateSummary>
}

export interface GenerateRequest {
  settings: SettingValues
  eventsPerSecond: number | undefined
  durationSeconds: number | undefined
  count: number | undefined
  /** Drawn by the caller when the user gave none; the same seed gives the same bytes. */
  seed: number
  /** With a seed from the user, times begin at 2026-01-01T00:00:00Z; otherwise they are now. */
  startTime: Date
  /** Whether times follow the clock (no seed given) or the seed alone. */
  live: boolean
  badPercent: number
  duplicatePercent: number
  /** A file to write instead of the usual road. */
  to: string | undefined
  /** With --bulk: the database, and the system's tasks. */
  bulk?: Pick<TaskTools, 'sql' | 'enqueue'> | undefined
  /** Those of `Generator.options`, each with what was given or its default. */
  options: Record<string, string>
  /** Where messages go. Nothing is opened before the first append; with `to` they become lines of that file. */
  topic(name: string): SampleTopic
  signal: AbortSignal
  /** One line of the generator's metrics log per file made. */
  onFile(file: GeneratedFile): void | Promise<void>
}

/** A topic as a generator knows it: of Kafka where there are brokers, else a local one. */
export interface SampleTopic {
  /** Resolves when they are durable. Messages of one key keep their order. */
  append(messages: readonly SampleMessage[]): Promise<void>
}

export interface SampleMessage {
  key?: string
  /** Bytes, for what no text can be; null, for a message without a value. */
  value: string | Uint8Array | null
}

export interface GeneratedFile {
  path: string
  events: number
  bad: number
  duplicates: number
  bytes: number
}

export interface GenerateSummary {
  events: number
  bad: number
  duplicates: number
  /** Of a generator that was asked for late ones. */
  late?: number
  files: number
}
