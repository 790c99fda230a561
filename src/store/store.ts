/**
 * What a store promises the engine. `postgres.ts` keeps it in Postgres, `memory.ts` in memory for generated histories
 * and the test kit; both pass `test/store-contract.ts`.
 */
import type { Plan, TableStep } from '../plan/plan.ts'

export interface Store extends AsyncDisposable {
  readonly kind: 'postgres' | 'memory'

  /**
   * Makes the pipeline known and its target tables ready: a missing table is created from the plan, and later gains the
   * nullable columns that the plan gains; one that somebody else made is checked, and no more. Errors: PLAN_CHANGED when
   * the stored plan means something else, TABLE_DIFFERS.
   */
  register(plan: Plan): Promise<void>

  /**
   * Takes the pipeline's lease, or answers at once who holds it, be it this very store; with `borrow` it asks the owner
   * and waits.
   */
  lease(request: LeaseRequest): Promise<LeaseAnswer>

  /** What is committed: read at start, on takeover, and when the outcome of a commit is unknown. */
  committed(pipeline: string): Promise<Committed>

  /**
   * The one transaction of a batch. Throws LEASE_LOST when another worker owns the pipeline now, DEAD_LETTER_SETTLED or
   * DEAD_LETTER_EDITED when a letter that it settles is no longer as it was read, and `RowsRefused` when the database does
   * not take some of the rows: then nothing is written, and the batch can be committed without them.
   */
  commit(batch: BatchCommit): Promise<CommitOutcome>

  /** What is stored of these files of a source, by id. */
  files(pipeline: string, source: string, ids: string[]): Promise<Map<string, StoredFile>>
  filesOfBatch(pipeline: string, batch: number): Promise<StoredFile[]>

  /** Which of these keys a dedup step has seen in committed batches: one column, and in the file `into` where they are many. */
  seenKeys(pipeline: string, step: string, keys: CsvRows, into: string): Promise<CsvRows>

  /** What is kept of open windows, written into files of a folder. */
  state(pipeline: string, folder: string): Promise<StoredState>

  /** What steps keep of some keys. */
  keyed(pipeline: string, query: KeyedQuery): Promise<CsvRows>
  /** Whether anything is kept by key, by any step. */
  keepsByKey(pipeline: string): Promise<boolean>
  /** The first `due` of what is kept; microseconds. */
  nextDue(pipeline: string): Promise<bigint | undefined>

  /** In the order of the batches: all after one, the first or the last so many of them. */
  ledger(pipeline: string, query: LedgerQuery): Promise<LedgerLine[]>
  /**
   * Makes one line of those of an hour and kind that are older than `before`, so that the ledger stays small: the sums and
   * the last number are kept. `upTo` is the last batch whose effects are done, for they read the lines one by one. Answers
   * how many lines went.
   */
  foldLedger(pipeline: string, before: Date, upTo: number): Promise<number>
  effectCursor(pipeline: string, effect: string): Promise<number>
  advanceEffect(pipeline: string, effect: string, batch: number): Promise<void>

  /** The messages behind a place that wait to be published, in order, as many as the limits let; one at least. */
  outbox(pipeline: string, after: OutboxPlace, limits: { rows: number; bytes: number }): Promise<OutboxPage>
  outboxRows(pipeline: string): Promise<number>
  /** The messages behind a place, up to another, are published, and go; so are all of these batches: the cursor says so. */
  forgetPublished(
    pipeline: string,
    published: { after: OutboxPlace; upTo: OutboxPlace; batchDone: number },
  ): Promise<void>

  /** In the order of their numbers, unless the newest are to come first. */
  deadLetters(query: DeadLetterQuery): Promise<DeadLetter[]>
  /** How many there are, by pipeline and code, the most first. */
  countDeadLetters(filter: DeadLetterFilter): Promise<DeadLetterCount[]>
  editDeadLetter(id: number, fields: Record<string, string | null>): Promise<void>
  /** Settles those of them that are open, all in one transaction, and answers how many they were. */
  discardDeadLetters(filter: DeadLetterFilter, reason: string): Promise<number>

  status(): Promise<PipelineStatus[]>
}

export interface LeaseRequest {
  pipeline: string
  /** `host:pid`, as status shows it. */
  owner: string
  /** Ask a living owner to lend the lease, for a bounded run or a replay. */
  borrow: boolean
  /** Called when somebody else would like to borrow it. */
  onWanted: (by: string) => void
  /** Called when the lease could not be renewed in time or was taken. */
  onLost: (why: string) => void
  signal?: AbortSignal
}

export type LeaseAnswer = { is: 'taken'; lease: Lease } | { is: 'held'; by: string; expiresInMs: number }

export interface Lease {
  readonly pipeline: string
  readonly epoch: number
  /** Tells whoever looks what is being done: soon, and until it is given back. */
  says(doing: string): void
  /** Gives the lease back at once. */
  release(): Promise<void>
  /** Lets a borrower have it: releases, and resolves when it may be taken again. */
  lend(signal: AbortSignal): Promise<void>
}

export interface Committed {
  /** The number of the last committed batch; 0 before the first. */
  batch: number
  epoch: number
  positions: Position[]
  /** By which the next batch judges its rows; milliseconds. */
  watermark: number | undefined
}

export interface Position {
  source: string
  partition: string
  position: number
  watermark: number | undefined
}

/**
 * Rows as CSV without a header, as Postgres `COPY` reads and writes them: null is empty, texts are quoted. Few of them are
 * a text, for to make a file takes longer than to write them; more lie in a file.
 */
export interface CsvRows {
  csv: { text: string } | { path: string }
  columns: string[]
  rows: number
}

export interface BatchCommit {
  pipeline: string
  epoch: number
  batch: number
  kind: BatchKind
  startedAt: Date
  sinks: SinkRows[]
  deadLetters: CsvRows | undefined
  /** Columns: step, key. Keys that no committed batch has. */
  dedupKeys: CsvRows | undefined
  /** Columns: `lateColumns`. */
  lateRows?: CsvRows | undefined
  /** What changes in the state of windows. */
  state?: StateChange | undefined
  /** What changes in what steps keep by key. */
  keyed?: KeyedChange | undefined
  /** Columns: `requestColumns`. Tasks that are asked for. */
  requests?: CsvRows | undefined
  files: FileProgress[]
  positions: Position[]
  /** Where the batch moves the watermark; it never moves back. */
  watermark?: number | undefined
  filesQuarantined: number
  ranges: unknown
  /** Dead letters that this batch settles, when it is a replay: as they were read, and not as they were edited since. */
  settles: LetterRevision[]
  /** Milliseconds by phase, up to now; the store adds its own. */
  phases: Record<string, number>
  /** How many rows each step handed on. */
  stepRows: Record<string, number>
  /** Rows that lie in tables of the database already, in place of those of `sinks` and `deadLetters`. */
  staged?: StagedRows
  /** The verdicts, once it is known what each sink took. */
  books(outcomes: SinkOutcome[]): Promise<Verdicts>
  /** Messages to be published once the batch is committed; asked for after `books`. */
  outbox?(outcomes: SinkOutcome[]): Promise<OutboxRows[]>
}

/** What another engine has written beside the target tables. */
export interface StagedRows {
  tables: { step: TableStep; table: string }[]
  /** A table of dead letters. */
  deadLetters: string
}

/** The columns of `BatchCommit.lateRows`, in order. */
export const lateColumns = ['step', 'place', 'event_time', 'window_start', 'late_by_ms', 'raw'] as const

export const requestColumns = ['task', 'key'] as const

export interface OutboxRows {
  step: string
  /** Columns: `outboxColumns`. */
  rows: CsvRows
}

/** `key` is a JSON text, or null for none; `n` is the number of the message in its batch and step, from 1. */
export const outboxColumns = ['step', 'topic', 'n', 'key', 'value'] as const

/** The effect whose cursor says up to which batch all messages are published. */
export const outboxEffect = 'publish'

/** Messages are in the order of these three; steps in that of their ids. */
export interface OutboxPlace {
  batch: number
  step: string
  n: number
}

export interface OutboxMessage extends OutboxPlace {
  topic: string
  key: string | null
  value: string
}

export interface OutboxPage {
  messages: OutboxMessage[]
  /** Whether others wait behind them. */
  more: boolean
}

export interface StateChange {
  /** Columns: `numberColumns`. The numbers of a pane as they are now. */
  numbers: CsvRows | undefined
  /** Columns: `setColumns`. What is new in a pane. */
  sets: CsvRows | undefined
  /** Columns: step, key, pane. Numbers that are no longer needed. */
  gone: CsvRows | undefined
  /** Of these steps, panes before this one are no longer needed. */
  closed: { step: string; before: number }[]
  /** Nothing will follow: all of it goes. */
  forget?: boolean
}

/** `key` is a JSON list of texts, `numbers` a JSON object of texts. */
export const numberColumns = ['step', 'key', 'pane', 'numbers'] as const
/** `members` are hashes as a Postgres array, `items` a JSON object of counts; one of them is null. */
export const setColumns = ['step', 'aggregate', 'key', 'pane', 'members', 'items'] as const

export interface KeyedChange {
  /** Columns: `keyedColumns`. In place of what is there. */
  set: CsvRows | undefined
  /** Columns: step, key, item. */
  gone: CsvRows | undefined
  /** Steps after which nothing will follow: all that they keep goes. */
  forget?: string[]
}

/** `state` is a JSON object of texts; `due` is in microseconds, or null. */
export const keyedColumns = ['step', 'key', 'item', 'state', 'due'] as const
export const storedKeyedColumns = ['step', 'key', 'item', 'state', 'due'] as const

export interface KeyedQuery {
  /** Columns: step, key, item; without an item all of the key is meant. */
  wanted: CsvRows
  /** Also all of the keys for which one of these steps has something due before this; microseconds. */
  due?: { steps: string[]; beforeUs: bigint } | undefined
  /** The file to write where there are many: columns `storedKeyedColumns`. */
  into: string
}

/** Files with these columns. Of a set, what several batches added may be in several rows. */
export interface StoredState {
  numbers: { path: string; rows: number }
  sets: { path: string; rows: number }
}

export type BatchKind = 'stream' | 'backfill' | 'replay' | 'spark'

export interface SinkRows {
  step: TableStep
  /** Rows to be added or merged as the step's mode says; to be replaced by key, the last of a key wins. */
  rows: CsvRows
  /** Rows to insert if new whose keys are likely new: a straight COPY may try them. They are numbered before `rows`. */
  fresh?: CsvRows
  /** Columns: those of the key. Rows that are to go, after those of `rows` have come. */
  deleted?: CsvRows | undefined
  /** The store must say which rows were duplicates, not only how many: the plan branches. */
  ordinals: boolean
}

/** A row of a sink's files that the database would not take, by its place in them, and why. */
export interface RefusedRow {
  step: string
  ordinal: number
  /** Postgres's own code of the error. */
  sqlState: string
  message: string
}

/** Some rows of a batch cannot be stored. Without them the others can. */
export class RowsRefused extends Error {
  readonly rows: RefusedRow[]

  constructor(rows: RefusedRow[]) {
    super(`the database refuses ${rows.length} rows: ${rows[0]?.message}`)
    this.name = 'RowsRefused'
    this.rows = rows
  }
}

export interface SinkOutcome {
  step: string
  inserted: number
  updated: number
  deleted: number
  duplicates: number
  /** Which rows of the sink's files were duplicates; only when asked for. */
  duplicateOrdinals: number[]
}

export interface Verdicts {
  rowsIn: number
  written: number
  filtered: number
  duplicates: number
  late: number
  dead: number
}

export interface CommitOutcome {
  verdicts: Verdicts
  rowsOut: Record<string, { inserted: number; updated: number; deleted: number }>
  committedAt: Date
}

/** What a batch has handed to each table and topic. */
export function rowsOutOf(outcomes: SinkOutcome[], messages: OutboxRows[]): CommitOutcome['rowsOut'] {
  return Object.fromEntries([
    ...outcomes.map(({ step, inserted, updated, deleted }) => [step, { inserted, updated, deleted }]),
    ...messages.map(({ step, rows }) => [step, { inserted: rows.rows, updated: 0, deleted: 0 }]),
  ])
}

export interface FileProgress {
  source: string
  id: string
  path: string
  size: number
  mtimeNs: bigint
  inode: bigint
  state: 'reading' | 'done' | 'quarantined'
  bytesDone: number
  linesDone: number
  rowsDone: number
  code?: string
  message?: string
  arrivedAt: Date
}

export interface StoredFile extends FileProgress {
  batch: number
}

export interface NewDeadLetter {
  source: string
  place: string
  line: number | null
  stage: string
  code: string
  columnName: string | null
  message: string
  raw: string
  fields: Record<string, string | null> | null
}

/** The columns of `BatchCommit.deadLetters`, in order. `raw_bytes` is `\x` and hexadecimal digits, or null. */
export const deadLetterColumns = [
  'source',
  'place',
  'line',
  'stage',
  'code',
  'column_name',
  'message',
  'raw',
  'raw_bytes',
  'fields',
] as const

/** A dead letter as it was at a time. */
export interface LetterRevision {
  id: number
  /** How often it had been edited. */
  revision: number
}

export interface DeadLetter extends NewDeadLetter, LetterRevision {
  pipeline: string
  batch: number
  rawBytes: Buffer | null
  rejectedAt: Date
  settled: 'replayed' | 'discarded' | null
  settledAt: Date | null
  settledBy: string | null
}

/** All of it must hold. */
export interface DeadLetterFilter {
  pipeline?: string
  /** The source's id in the plan. */
  source?: string
  ids?: number[]
  batch?: number
  /** In capitals or not. */
  code?: string
  column?: string
  /** Text that the place contains. */
  place?: string
  /** Rejected then or later. */
  since?: Date
  /** Rejected before then. */
  until?: Date
  /** Only those whose row could be told into columns. */
  replayable?: boolean
  /** Also those replayed or discarded. */
  settled?: boolean
  /** Numbers above this one, and up to that one. */
  after?: number
  upTo?: number
}

export interface DeadLetterQuery extends DeadLetterFilter {
  /** So many at most. Where rows are very long it may be fewer, though never none: `letterPages` goes on. */
  limit?: number
  /** The highest numbers, from above; otherwise the lowest, from below. */
  newestFirst?: boolean
}

export interface LedgerQuery {
  after?: number
  first?: number
  last?: number
}

export interface DeadLetterCount {
  pipeline: string
  code: string
  letters: number
  /** Those of them whose row could be told into columns. */
  replayable: number
  /** Of their raw texts. */
  bytes: number
  /** The highest number among them. */
  lastId: number
}

export interface LedgerLine extends Verdicts {
  pipeline: string
  batch: number
  epoch: number
  kind: BatchKind
  startedAt: Date
  committedAt: Date
  filesQuarantined: number
  rowsOut: Record<string, { inserted: number; updated: number; deleted: number }>
  phasesMs: Record<string, number>
  stepRows: Record<string, number>
  watermark: number | undefined
  ranges: unknown
}

export interface PipelineStatus {
  pipeline: string
  owner: string | null
  lentBy: string | null
  /** What the owner says that it does. */
  doing: string | null
  epoch: number
  /** Whether the owner's lease has not run out. */
  alive: boolean
  batch: number
  lastCommittedAt: Date | null
  rowsIn: number
  written: number
  filtered: number
  duplicates: number
  late: number
  dead: number
  deadLettersOpen: number
  filesQuarantined: number
  /** Messages that wait to be published. */
  outboxRows: number
}
